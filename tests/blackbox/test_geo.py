# SPDX-License-Identifier: BSD-3-Clause
"""Places: searches against a naive one, the forms of replies, storing, cold sorted sets."""
import math
import random
import unittest

import firn

RADIUS = 6372797.560856


def distance(a, b):
    along, across = math.sin(math.radians(b[1] - a[1]) / 2), math.sin(math.radians(b[0] - a[0]) / 2)
    return 2 * RADIUS * math.asin(math.sqrt(along * along + math.cos(math.radians(a[1])) * math.cos(math.radians(b[1])) * across * across))


def in_box(middle, place, width, height):
    return distance(middle, (middle[0], place[1])) <= height / 2 and distance((middle[0], place[1]), place) <= width / 2


class Geo(firn.Case):
    def cities(self):
        self.assertEqual(self.c("GEOADD", "Sicily", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania"), 2)

    def fill(self, key, count, seed, spread=None):
        rng, places = random.Random(seed), {}
        for i in range(count):
            places[b"place:%d" % i] = (rng.uniform(-180, 180), rng.uniform(-70, 70)) if spread is None else (rng.gauss(2, spread), rng.gauss(48, spread))
        names = list(places)
        for start in range(0, count, 500):
            self.c("GEOADD", key, *(part for name in names[start:start + 500] for part in (repr(places[name][0]), repr(places[name][1]), name)))
        for start in range(0, count, 1000):  # as they are kept
            for name, place in zip(names[start:start + 1000], self.c("GEOPOS", key, *names[start:start + 1000])):
                places[name] = (float(place[0]), float(place[1]))
        return places

    def test_replies(self):
        self.cities()
        self.assertEqual(self.c("GEOADD", "Sicily", "CH", "13", "38", "Palermo", "15.087269", "37.502669", "Catania"), 1)
        self.assertEqual(self.c("GEOADD", "Sicily", "NX", "13.361389", "38.115556", "Palermo"), 0)
        self.assertEqual(self.c("GEOADD", "Sicily", "XX", "13.361389", "38.115556", "Palermo", "1", "1", "new"), 0)
        self.assertEqual(self.c("GEOADD", "none", "XX", "1", "1", "new"), 0)
        self.assertEqual(self.c("EXISTS", "none"), 0)
        self.assertEqual(self.c("GEODIST", "Sicily", "Palermo", "Catania"), b"166274.1516")
        self.assertEqual(self.c("GEODIST", "Sicily", "Palermo", "Catania", "km"), b"166.2742")
        self.assertEqual(self.c("GEODIST", "Sicily", "Palermo", "new"), None)
        self.assertEqual(self.c("GEOHASH", "Sicily", "Palermo", "new", "Catania"), [b"sqc8b49rny0", None, b"sqdtr74hyu0"])
        self.assertEqual(self.c("GEOPOS", "Sicily", "Palermo", "new"), [[b"13.36138933897018433", b"38.11555639549629859"], None])
        self.assertEqual(self.c("GEOSEARCH", "Sicily", "FROMLONLAT", 15, 37, "BYRADIUS", 200, "km", "ASC", "WITHDIST", "WITHHASH", "WITHCOORD"), [
            [b"Catania", b"56.4413", 3479447370796909, [b"15.08726745843887329", b"37.50266842333162032"]],
            [b"Palermo", b"190.4424", 3479099956230698, [b"13.36138933897018433", b"38.11555639549629859"]]])
        self.c("HELLO", "3")
        place = self.c("GEOPOS", "Sicily", "Palermo", "new")
        self.assertEqual(place, [[13.361389338970184, 38.1155563954963], None])
        self.assertEqual(self.c("GEODIST", "Sicily", "Palermo", "Catania", "km"), b"166.2742")
        self.assertEqual(self.c("GEODIST", "none", "a", "b"), None)

    def test_searches_against_a_naive_one(self):
        rng = random.Random(7)
        for key, count, spread in (("world", 3000, None), ("town", 2000, 0.5)):
            places = self.fill(key, count, 1, spread)
            for _ in range(60):
                middle = (rng.uniform(-180, 180), rng.uniform(-70, 70)) if spread is None else (rng.gauss(2, spread), rng.gauss(48, spread))
                metres = 10 ** rng.uniform(4, 6.3) if spread is None else 10 ** rng.uniform(1, 5)
                origin = ("FROMLONLAT", repr(middle[0]), repr(middle[1]))
                if rng.random() < 0.5:
                    name = rng.choice(list(places))
                    middle, origin = places[name], ("FROMMEMBER", name)
                expected = {name for name, place in places.items() if distance(middle, place) <= metres}
                edge = {name for name, place in places.items() if abs(distance(middle, place) - metres) < 1}
                got = self.c("GEOSEARCH", key, *origin, "BYRADIUS", repr(metres), "m", "ASC")
                self.assertEqual(set(got) - edge, expected - edge)
                far = [distance(middle, places[name]) for name in got]
                self.assertTrue(all(a <= b + 0.01 for a, b in zip(far, far[1:])))
                self.assertEqual(self.c("GEOSEARCH", key, *origin, "BYRADIUS", repr(metres), "m", "DESC"), got[::-1])
                self.assertEqual(self.c("GEOSEARCH", key, *origin, "BYRADIUS", repr(metres), "m", "COUNT", 5), got[:5])
                self.assertEqual(self.c("GEOSEARCH", key, *origin, "BYRADIUS", repr(metres), "m", "COUNT", 5, "DESC"), got[::-1][:5])
                some = self.c("GEOSEARCH", key, *origin, "BYRADIUS", repr(metres), "m", "COUNT", 5, "ANY")
                self.assertEqual((len(some), set(some) - set(got)), (min(5, len(got)), set()))
                width, height = metres * rng.uniform(0.1, 2), metres * rng.uniform(0.1, 2)
                inner = {name for name, place in places.items() if in_box(middle, place, width - 1, height - 1)}
                outer = {name for name, place in places.items() if in_box(middle, place, width + 1, height + 1)}
                got = set(self.c("GEOSEARCH", key, *origin, "BYBOX", repr(width), repr(height), "m"))
                self.assertTrue(inner <= got <= outer)

    def test_nearest_of_many(self):
        places = self.fill("k", 5000, 3, 0.3)
        nearest = sorted(places, key=lambda name: distance((2, 48), places[name]))
        got = self.c("GEORADIUS", "k", 2, 48, 1000, "km", "COUNT", 100)
        self.assertEqual(got, nearest[:100])
        got = self.c("GEORADIUS_RO", "k", 2, 48, 1000, "km", "COUNT", 3, "DESC")
        self.assertEqual(got, nearest[::-1][:3])

    def test_storing(self):
        places = self.fill("k", 2000, 5, 0.3)
        near = [name for name in places if distance((2, 48), places[name]) < 20000]
        self.c("SET", "to", "text")
        self.assertEqual(self.c("GEOSEARCHSTORE", "to", "k", "FROMLONLAT", 2, 48, "BYRADIUS", 20, "km"), len(near))
        self.assertEqual(set(self.c("GEOSEARCH", "to", "FROMLONLAT", 2, 48, "BYRADIUS", 50000, "km")), set(near))
        self.assertEqual(self.c("GEORADIUS", "k", 2, 48, 20, "km", "STORE", "k"), len(near))  # onto itself
        self.assertEqual(set(self.c("GEOSEARCH", "k", "FROMLONLAT", 2, 48, "BYRADIUS", 50000, "km")), set(near))
        self.assertEqual(self.c("GEOSEARCHSTORE", "to", "k", "FROMLONLAT", 0, 0, "BYRADIUS", 1, "m"), 0)
        self.assertEqual(self.c("EXISTS", "to"), 0)
        self.c("SET", "to", "text")
        self.assertEqual(self.c("GEOSEARCHSTORE", "to", "none", "FROMLONLAT", 0, 0, "BYRADIUS", 1, "m"), 0)
        self.assertEqual(self.c("EXISTS", "to"), 0)

    def test_errors(self):
        self.cities()
        for command, text in (
                (("GEOADD", "k", "200", "1", "m"), "ERR invalid longitude,latitude pair 200.000000,1.000000"),
                (("GEOADD", "k", "x", "1", "m"), "ERR value is not a valid float"),
                (("GEOADD", "k", "NX", "XX", "1", "1", "m"), "ERR syntax error"),
                (("GEODIST", "Sicily", "Palermo", "Catania", "yd"), "ERR unsupported unit provided. please use M, KM, FT, MI"),
                (("GEOSEARCH", "Sicily", "FROMMEMBER", "none", "BYRADIUS", "1", "m"), "ERR could not decode requested zset member"),
                (("GEOSEARCH", "Sicily", "FROMMEMBER", "Palermo", "BYRADIUS", "-1", "m"), "ERR radius cannot be negative"),
                (("GEOSEARCH", "Sicily", "FROMMEMBER", "Palermo", "BYBOX", "1", "-1", "m"), "ERR height or width cannot be negative"),
                (("GEOSEARCH", "Sicily", "FROMMEMBER", "Palermo", "BYRADIUS", "1", "m", "ANY"), "ERR the ANY argument requires COUNT argument"),
                (("GEOSEARCH", "Sicily", "FROMMEMBER", "Palermo", "BYRADIUS", "1", "m", "COUNT", "0"), "ERR COUNT must be > 0"),
                (("GEORADIUS", "Sicily", "1", "1", "1", "m", "STORE", "to", "WITHDIST"),
                 "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"),
                (("GEORADIUS_RO", "Sicily", "1", "1", "1", "m", "STORE", "to"), "ERR syntax error")):
            with self.assertRaises(firn.ReplyError) as caught:
                self.c(*command)
            self.assertEqual(str(caught.exception), text)
        self.c("SET", "text", "x")
        for command in (("GEOADD", "text", "1", "1", "m"), ("GEOPOS", "text", "m"), ("GEOSEARCH", "text", "NOPE", "x", "x", "x", "x")):
            with self.assertRaisesRegex(firn.ReplyError, "WRONGTYPE"):
                self.c(*command)

    def test_cold_ones(self):
        if firn.STRESS == "off":
            self.skipTest("needs tiers")
        places = self.fill("k", 4000, 9, 0.3)
        names = list(places)
        for i in range(20):
            self.c("TIER", "DEMOTE", "k")
            got = self.c("GEOSEARCH", "k", "FROMMEMBER", names[i], "BYRADIUS", 5, "km", "ASC")
            expected = [name for name in names if distance(places[names[i]], places[name]) <= 5000]
            self.assertEqual(set(got), set(expected))
            self.c("TIER", "DEMOTE", "k")
            self.c("GEOADD", "k", "2", "48", "new:%d" % i, "2.1", "48", names[-1 - i])
            places[names[-1 - i]] = (2.1, 48)
            self.assertEqual(len(self.c("GEORADIUSBYMEMBER", "k", "new:%d" % i, "1", "m")), i + 1)


if __name__ == "__main__":
    unittest.main()
