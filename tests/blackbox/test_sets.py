# SPDX-License-Identifier: BSD-3-Clause
"""Sets: integers, small, paged, and their algebra, against Python's. The same holds for redis-server 7.0."""
import random
import unittest

import firn

FACTOR = 1 if firn.STRESS == "off" else 4  # fewer rounds where every access is a fault


class Sets(firn.Case):
    def setUp(self):
        super().setUp()
        self.has_listpack = bool(self.c("CONFIG", "GET", "set-max-listpack-entries"))

    def encoding(self, key, expected):
        if expected == b"listpack" and not self.has_listpack:
            expected = b"hashtable"
        self.assertEqual(self.c("OBJECT", "ENCODING", key), expected)

    def members(self, key):
        members = self.c("SMEMBERS", key)
        self.assertEqual(len(members), len(set(members)))
        return set(members)

    def fill(self, key, members):
        members = list(members)
        for start in range(0, len(members), 1000):
            self.c("SADD", key, *members[start:start + 1000])

    def test_random_operations_against_a_set(self):
        for seed, name, span in ((1, b"%d", 40), (2, b"%d", 700), (3, b"member:%d", 20), (4, b"member:%d", 300), (5, b"member:%d", 5000)):
            model, rng = set(), random.Random(seed)
            for _ in range(3000 // FACTOR):
                member, kind = name % rng.randrange(span), rng.random()
                if kind < 0.5:
                    self.assertEqual(self.c("SADD", "s", member), int(member not in model))
                    model.add(member)
                elif kind < 0.7:
                    self.assertEqual(self.c("SREM", "s", member), int(member in model))
                    model.discard(member)
                elif kind < 0.85:
                    self.assertEqual(self.c("SISMEMBER", "s", member), int(member in model))
                elif kind < 0.9:
                    asked = [name % rng.randrange(span) for _ in range(10)]
                    self.assertEqual(self.c("SMISMEMBER", "s", *asked), [int(one in model) for one in asked])
                elif kind < 0.95:
                    drawn = self.c("SRANDMEMBER", "s")
                    self.assertTrue(drawn in model if model else drawn is None)
                elif kind < 0.98:
                    popped = self.c("SPOP", "s")
                    self.assertTrue(popped in model if model else popped is None)
                    model.discard(popped)
                else:
                    self.assertEqual(self.c("SCARD", "s"), len(model))
            self.assertEqual(self.members("s"), model)
            self.c("DEL", "s")

    def test_encodings_change_one_way(self):
        self.c("SADD", "s", 3, 1, 2)
        self.encoding("s", b"intset")
        self.assertEqual(self.c("SMEMBERS", "s"), [b"1", b"2", b"3"])
        self.c("SADD", "s", "word")
        self.encoding("s", b"listpack")
        self.c("SREM", "s", "word")
        self.encoding("s", b"listpack")
        self.c("SADD", "s", "x" * 65)
        self.encoding("s", b"hashtable")
        self.fill("n", range(512))
        self.encoding("n", b"intset")
        self.c("SADD", "n", 5000)
        self.encoding("n", b"hashtable")
        self.fill("w", ("w%d" % i for i in range(128)))
        self.encoding("w", b"listpack")
        self.c("SADD", "w", "more")
        self.encoding("w", b"hashtable")
        self.assertEqual(self.c("SREM", "n", *range(6000)), 513)
        self.assertEqual(self.c("EXISTS", "n"), 0)

    def test_numbers_that_are_none(self):
        for member in ("01", "+1", "-0", " 1", "1 ", "", "9223372036854775808", "1.0"):
            self.c("DEL", "s")
            self.c("SADD", "s", "1", member)
            self.encoding("s", b"listpack")
            self.assertEqual(self.members("s"), {b"1", member.encode()})
        self.c("DEL", "s")
        limits = [b"-9223372036854775808", b"-2147483649", b"-32769", b"-1", b"32767", b"32768", b"2147483648", b"9223372036854775807"]
        self.c("SADD", "s", *reversed(limits))
        self.encoding("s", b"intset")
        self.assertEqual(self.c("SMEMBERS", "s"), limits)

    def test_large_set(self):
        count = 20000
        self.fill("big", ("member:%d" % i for i in range(count)))
        everything = {b"member:%d" % i for i in range(count)}
        self.assertEqual(self.c("SCARD", "big"), count)
        for i in random.Random(1).sample(range(count), 300 // FACTOR):
            self.assertEqual(self.c("SMISMEMBER", "big", "member:%d" % i, "none:%d" % i), [1, 0])
        seen, cursor = set(), b"0"
        while True:
            cursor, part = self.c("SSCAN", "big", cursor, "COUNT", 500)
            seen.update(part)
            if cursor == b"0":
                break
        self.assertEqual(seen, everything)
        self.assertEqual(self.members("big"), everything)
        popped = self.c("SPOP", "big", 5000)
        self.assertEqual(len(set(popped)), 5000)
        self.assertEqual(self.members("big"), everything - set(popped))
        self.assertEqual(set(self.c("SPOP", "big", 100000)), everything - set(popped))
        self.assertEqual(self.c("EXISTS", "big"), 0)

    def test_algebra(self):
        rng = random.Random(7)
        kinds = (("%d", 50), ("%d", 2000), ("m%d", 50), ("m%d", 3000), ("%d", 600), ("m%d", 500))
        for _round in range(12 // FACTOR):
            sets = {}
            for number, (name, span) in enumerate(kinds):
                members = {(name % i).encode() for i in rng.sample(range(span), rng.randrange(1, span))}
                if rng.random() < 0.3:
                    members |= {b"common", b"17"}
                key = "a%d" % number
                self.c("DEL", key)
                self.fill(key, sorted(members))
                sets[key] = members
            sets["missing"] = set()
            for _ in range(12):
                keys = [rng.choice(list(sets)) for _ in range(rng.randrange(1, 5))]
                values = [sets[key] for key in keys]
                for word, expected in (("SINTER", set.intersection(*values)), ("SUNION", set.union(*values)), ("SDIFF", values[0].difference(*values[1:]))):
                    got = self.c(word, *keys)
                    self.assertEqual(len(got), len(set(got)))
                    self.assertEqual(set(got), expected, (word, keys))
                    target = rng.choice(("target", "target2"))
                    self.assertEqual(self.c(word + "STORE", target, *keys), len(expected))
                    self.assertEqual(self.members(target), expected)
                    self.assertEqual(self.c("EXISTS", target), int(bool(expected)))
                expected = len(set.intersection(*values))
                self.assertEqual(self.c("SINTERCARD", len(keys), *keys), expected)
                limit = rng.randrange(1, 40)
                self.assertEqual(self.c("SINTERCARD", len(keys), *keys, "LIMIT", limit), min(limit, expected))

    def test_store_into_a_source(self):
        self.c("SADD", "a", 1, 2, 3)
        self.c("SADD", "b", 2, 3, 4)
        self.assertEqual(self.c("SUNIONSTORE", "a", "a", "b"), 4)
        self.encoding("a", b"intset")
        self.assertEqual(self.c("SINTERSTORE", "b", "a", "b", "b"), 3)
        self.c("EXPIRE", "a", 100)
        self.assertEqual(self.c("SDIFFSTORE", "a", "a", "b"), 1)
        self.assertEqual(self.c("TTL", "a"), -1)
        self.c("SET", "text", "x")
        self.assertEqual(self.c("SDIFFSTORE", "text", "a"), 1)
        self.assertEqual(self.c("TYPE", "text"), "set")
        self.assertEqual(self.c("SINTERSTORE", "text", "a", "none"), 0)
        self.assertEqual(self.c("EXISTS", "text"), 0)

    def test_smove(self):
        c = self.c
        c("SADD", "a", 1, 2, "x")
        c("SADD", "b", 2)
        self.assertEqual(c("SMOVE", "a", "b", "none"), 0)
        self.assertEqual(c("SMOVE", "none", "b", 1), 0)
        self.assertEqual(c("SMOVE", "a", "b", 2), 1)
        self.assertEqual(c("SMOVE", "a", "a", "x"), 1)
        self.assertEqual(c("SMOVE", "a", "a", "y"), 0)
        self.assertEqual(c("SMOVE", "a", "c", "x"), 1)
        self.assertEqual(c("SMOVE", "a", "c", 1), 1)
        self.assertEqual(c("EXISTS", "a"), 0)
        self.assertEqual((self.members("b"), self.members("c")), ({b"2"}, {b"x", b"1"}))
        c("SET", "text", "x")
        self.assertEqual(c("SMOVE", "none", "text", 1), 0)
        self.assertTrue(c.error("SMOVE", "b", "text", 2).startswith("WRONGTYPE"))
        self.assertTrue(c.error("SMOVE", "text", "b", 2).startswith("WRONGTYPE"))

    def test_counts(self):
        c = self.c
        self.fill("s", range(100))
        self.assertEqual(len(set(c("SRANDMEMBER", "s", 30))), 30)
        self.assertEqual(len(c("SRANDMEMBER", "s", -300)), 300)
        self.assertEqual(len(set(c("SRANDMEMBER", "s", 1000))), 100)
        self.assertEqual((c("SRANDMEMBER", "s", 0), c("SRANDMEMBER", "none", 3), c("SRANDMEMBER", "none")), ([], [], None))
        self.assertEqual((c("SPOP", "s", 0), c("SPOP", "none", 3), c("SPOP", "none")), ([], [], None))
        self.assertEqual(len(set(c("SPOP", "s", 99))), 99)
        self.assertEqual(len(c("SPOP", "s", 99)), 1)
        self.fill("s", ("m%d" % i for i in range(3000)))
        self.assertEqual(len(set(c("SRANDMEMBER", "s", 40))), 40)
        self.assertEqual(len(set(c("SRANDMEMBER", "s", 2900))), 2900)

    def test_errors(self):
        c = self.c
        c("SADD", "s", 1)
        self.assertEqual(c.error("SPOP", "s", -1), "ERR value is out of range, must be positive")
        self.assertEqual(c.error("SPOP", "s", "x"), "ERR value is out of range, must be positive")
        self.assertEqual(c.error("SPOP", "s", 1, 2), "ERR syntax error")
        self.assertEqual(c.error("SRANDMEMBER", "s", "x"), "ERR value is not an integer or out of range")
        self.assertEqual(c.error("SRANDMEMBER", "s", "-9223372036854775808"),
                         "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
        self.assertEqual(c.error("SRANDMEMBER", "s", 1, 2), "ERR syntax error")
        self.assertEqual(c.error("SINTERCARD", 0, "s"), "ERR numkeys should be greater than 0")
        self.assertEqual(c.error("SINTERCARD", "x", "s"), "ERR numkeys should be greater than 0")
        self.assertEqual(c.error("SINTERCARD", 2, "s"), "ERR Number of keys can't be greater than number of args")
        self.assertEqual(c.error("SINTERCARD", 1, "s", "LIMIT", -1), "ERR LIMIT can't be negative")
        self.assertEqual(c.error("SINTERCARD", 1, "s", "LIMIT", "x"), "ERR LIMIT can't be negative")
        self.assertEqual(c.error("SINTERCARD", 1, "s", "LIMIT"), "ERR syntax error")
        self.assertEqual(c.error("SSCAN", "s", "x"), "ERR invalid cursor")
        self.assertEqual(c.error("SSCAN", "s", 0, "COUNT", 0), "ERR syntax error")
        c("SET", "text", "x")
        for command in (("SADD", "text", 1), ("SREM", "text", 1), ("SCARD", "text"), ("SMEMBERS", "text"), ("SPOP", "text"), ("SPOP", "text", 1),
                        ("SISMEMBER", "text", 1), ("SRANDMEMBER", "text", 1), ("SSCAN", "text", 0), ("SINTER", "none", "text"), ("SUNION", "s", "text"),
                        ("SDIFF", "none", "text"), ("SINTERSTORE", "t", "s", "text"), ("SINTERCARD", 2, "none", "text"), ("SMISMEMBER", "text", 1)):
            self.assertEqual(c.error(*command), "WRONGTYPE Operation against a key holding the wrong kind of value", command)

    def test_dump_and_restore(self):
        for name, count in (("%d", 3), ("%d", 500), ("%d", 3000), ("m%d", 3), ("m%d", 300), ("m%d", 3000)):
            members = {(name % i).encode() for i in range(count)}
            self.c("DEL", "s")
            self.fill("s", sorted(members))
            self.c("RESTORE", "copy", 0, self.c("DUMP", "s"), "REPLACE")
            self.assertEqual(self.members("copy"), members)
            self.assertEqual(self.c("OBJECT", "ENCODING", "copy"), self.c("OBJECT", "ENCODING", "s"))
            self.assertEqual(self.c("COPY", "s", "copy", "REPLACE"), 1)
            self.c("SADD", "copy", "another")
            self.assertEqual(self.members("copy"), members | {b"another"})
            self.assertEqual(self.members("s"), members)

    def test_resp3(self):
        c = self.c
        c("SADD", "s", 1, 2)
        c("HELLO", 3)
        for command in (("SMEMBERS", "s"), ("SINTER", "s"), ("SUNION", "s", "none"), ("SDIFF", "s"), ("SPOP", "s", 1)):
            c.send(*command)
            self.assertEqual(c._line()[:1], b"~", command)
            c.close()
            self.c = c = self.server.client()
            c("HELLO", 3)
            c("SADD", "s", 1, 2)


if __name__ == "__main__":
    unittest.main()
