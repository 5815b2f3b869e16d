# SPDX-License-Identifier: BSD-3-Clause
"""Random geo commands for run.py: places all over the world and in clusters, areas of every size, every option."""
import random

UNITS = ("m", "km", "ft", "mi", "KM")


class GeoStream:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def key(self):
        return "k%d" % self.rng.randrange(6)

    def member(self):
        return "place:%d" % self.rng.randrange(self.rng.choice((20, 20, 200, 2000)))

    def place(self):
        rng, kind = self.rng, self.rng.random()
        if kind < 0.5:
            return (repr(rng.uniform(2, 3)), repr(rng.uniform(48, 49)))
        if kind < 0.6:
            edge = rng.choice((-180, 180))
            return (repr(edge - edge / 180 * rng.uniform(0, 0.5)), repr(rng.uniform(-2, 2)))
        if kind < 0.605:
            if rng.random() < 0.5:  # at the edge; never two at one place, as the order of equal distances is nobody's promise
                return rng.choice((("180", repr(rng.uniform(-85, 85))), ("-180", repr(rng.uniform(-85, 85))), (repr(rng.uniform(-180, 180)), "85.05112878"),
                                   (repr(rng.uniform(-180, 180)), "-85.05112878")))
            return rng.choice((("181", "0"), ("0", "86"), ("x", "1"), ("1", ""), ("inf", "1"), ("nan", "1")))
        if kind < 0.7:
            return (repr(rng.uniform(-180, 180)), repr(rng.choice((-1, 1)) * rng.uniform(60, 85.05)))
        return (repr(rng.uniform(-180, 180)), repr(rng.uniform(-85, 85)))

    def length(self):
        return rng_choice(self.rng, ("0", "-1", "x", "inf", "1e9"), lambda: repr(10 ** self.rng.uniform(0, 7.5)))

    def area(self):
        rng = self.rng
        unit = rng.choice(UNITS) if rng.random() < 0.97 else rng.choice(("yd", ""))
        origin = ("FROMMEMBER", self.member()) if rng.random() < 0.4 else ("FROMLONLAT",) + self.place()
        shape = ("BYRADIUS", self.length(), unit) if rng.random() < 0.5 else ("BYBOX", self.length(), self.length(), unit)
        return origin + shape if rng.random() < 0.8 else shape + origin

    def options(self, *more):
        rng, out = self.rng, []
        if rng.random() < 0.4:
            out.append(rng.choice(("ASC", "DESC")))
        if rng.random() < 0.4:
            out += ["COUNT", rng.choice(("1", "3", "10", "1000", "0", "x") if rng.random() < 0.2 else ("1", "5", "40"))]
            if rng.random() < 0.3:
                out.append("ANY")
        elif rng.random() < 0.02:
            out.append(rng.choice(("ANY", "COUNT", "NOPE", "STORE", "STOREDIST")))
        for word in more:
            if rng.random() < 0.4:
                out += word.split()
        return tuple(out)

    def next(self):
        rng, key = self.rng, self.key()
        word = rng.choice((
            "GEOADD", "GEOADD", "GEOADD", "GEODIST", "GEOHASH", "GEOPOS", "GEOSEARCH", "GEOSEARCH", "GEOSEARCH", "GEOSEARCHSTORE", "GEORADIUS",
            "GEORADIUS_RO", "GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO", "ZRANGE", "ZADD", "DEL", "SET", "OBJECT", "ODD"))
        withs = ("WITHDIST", "WITHCOORD", "WITHHASH")
        if word == "GEOADD":
            options = rng.choice(((), (), (), ("NX",), ("XX",), ("CH",), ("CH", "NX"), ("XX", "NX"), ("NOPE",)))
            return (word, key) + options + tuple(part for _ in range(rng.choice((1, 3, 30))) for part in self.place() + (self.member(),))
        if word == "GEODIST":
            return (word, key, self.member(), self.member()) + rng.choice(((), ("km",), ("ft",), ("MI",), ("x",), ("m", "m")))
        if word in ("GEOHASH", "GEOPOS"):
            return (word, key) + tuple(self.member() for _ in range(rng.choice((0, 1, 10))))
        if word == "GEOSEARCH":
            return (word, key) + self.area() + self.options(*withs)
        if word == "GEOSEARCHSTORE":
            return (word, "to", key) + self.area() + self.options("STOREDIST") if rng.random() < 0.9 else (word, key, key) + self.area() + self.options()
        if word in ("GEORADIUS", "GEORADIUS_RO"):
            store = () if rng.random() < 0.7 else rng.choice((("STORE to",), ("STOREDIST to",)))
            return (word, key) + self.place() + (self.length(), rng.choice(UNITS)) + self.options(*(store or withs))
        if word in ("GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO"):
            store = () if rng.random() < 0.7 else rng.choice((("STORE to",), ("STOREDIST to",)))
            return (word, key, self.member(), self.length(), rng.choice(UNITS)) + self.options(*(store or withs))
        if word == "ZRANGE":
            return (word, rng.choice(("to", key)), "0", "-1", "WITHSCORES")
        if word == "ZADD":  # scores that are no places of ours
            return (word, key, rng.choice(("-1", "0.5", "1e17", "-1e300", "inf", "3479099956230698")), self.member()) if rng.random() < 0.1 else ("TYPE", key)
        if word in ("DEL", "SET"):
            return ((word, key) + (("text",) if word == "SET" else ())) if rng.random() < 0.08 else ("EXISTS", key)
        if word == "OBJECT":
            return (word, "ENCODING", rng.choice((key, "to")))
        return rng.choice((("GEOADD", key, "1", "2"), ("GEOSEARCH", key, "FROMMEMBER", "a"), ("GEODIST", key, "a"), ("GEOSEARCH", "none", "FROMMEMBER", "a", "BYRADIUS", "1", "m"),
                           ("GEOSEARCHSTORE", "to", "none", "FROMLONLAT", "1", "1", "BYRADIUS", "1", "m"), ("GEORADIUSBYMEMBER", "none", "a", "1", "zz"),
                           ("GEOSEARCH", key, "FROMLONLAT", "1", "2", "FROMMEMBER", "a", "BYRADIUS", "1", "m"), ("GEOSEARCH", key, "ASC", "DESC", "WITHDIST", "WITHHASH", "ASC"),
                           ("GEOSEARCH", key, "FROMLONLAT", "1", "2", "BYRADIUS", "1", "m", "STOREDIST"), ("GEOPOS",), ("GEOHASH",)))


def rng_choice(rng, odd, usual):
    return rng.choice(odd) if rng.random() < 0.04 else usual()
