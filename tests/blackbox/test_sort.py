# SPDX-License-Identifier: BSD-3-Clause
"""SORT against Python's sort: every option, over lists, sets and sorted sets, with keys and hashes that may be cold."""
import random
import unittest

import firn


class Sort(firn.Case):
    def fill(self, command, key, values):
        values = list(values)
        for start in range(0, len(values), 1000):
            self.c(command, key, *values[start:start + 1000])

    def sorted_set(self, key, names):
        """In the order of ${names}: scores rise with the latitude."""
        for i, name in enumerate(names):
            self.c("GEOADD", key, "0", repr(i * 0.001), name)

    def cool(self, *keys):
        if firn.STRESS != "off":
            for key in keys:
                self.c("TIER", "DEMOTE", key)

    def test_numbers_and_words(self):
        rng = random.Random(1)
        numbers = [b"%d" % n for n in rng.sample(range(-10000, 10000), 3000)]
        for command, key in (("RPUSH", "list"), ("SADD", "set")):
            self.fill(command, key, numbers)
            self.cool(key)
            expected = sorted(numbers, key=int)
            self.assertEqual(self.c("SORT", key), expected)
            self.assertEqual(self.c("SORT", key, "DESC"), expected[::-1])
            self.assertEqual(self.c("SORT", key, "LIMIT", 100, 50), expected[100:150])
            self.assertEqual(self.c("SORT_RO", key, "LIMIT", 2995, 50, "DESC"), expected[::-1][2995:])
            self.assertEqual(self.c("SORT", key, "LIMIT", 5000, 50), [])
            self.assertEqual(self.c("SORT", key, "ALPHA"), sorted(numbers))
            self.assertEqual(self.c("SORT", key, "ALPHA", "DESC", "LIMIT", 0, 7), sorted(numbers)[::-1][:7])
            self.assertEqual(self.c("SORT", key, "STORE", "to"), 3000)
            self.assertEqual(self.c("LRANGE", "to", 0, -1), expected)

    def test_limit_over_many(self):
        rng = random.Random(2)
        numbers = rng.sample(range(10**6), 30000)
        self.fill("SADD", "s", numbers)
        self.cool("s")
        expected = [b"%d" % n for n in sorted(numbers)]
        self.assertEqual(self.c("SORT", "s", "LIMIT", 10, 10), expected[10:20])
        self.assertEqual(self.c("SORT", "s", "DESC", "LIMIT", 0, 3), expected[::-1][:3])
        self.assertEqual(self.c("SORT", "s", "ALPHA", "LIMIT", 0, 3), sorted(expected)[:3])

    def test_many_pages_while_they_change(self):
        """Large enough to be sorted in turns: the answer is the one of the moment it was asked for."""
        count = 8000 if firn.SANITIZED else 20000
        names = [b"%0120d" % n for n in random.Random(5).sample(range(10**9), count)]
        self.fill("RPUSH", "list", names)
        self.fill("SADD", "set", names)
        for start in range(0, count, 500):
            self.c("GEOADD", "zset", *(part for i in range(start, start + 500) for part in ("0", repr(i * 0.001), names[i])))
        self.cool("list", "set", "zset")
        ordered, other = sorted(names), self.server.client()
        for key, remove in (("list", ("LPOP", "list", 5000)), ("set", ("SREM", "set") + tuple(names[:5000])), ("zset", ("DEL", "zset"))):
            self.assertEqual(self.c("SORT", key, "LIMIT", 3, 10), ordered[3:13])
            self.assertEqual(self.c("SORT", key, "ALPHA", "DESC", "LIMIT", 0, 10, "GET", "#", "GET", "#"), [name for name in ordered[::-1][:10] for _ in range(2)])
            self.assertEqual(self.c("SORT", key, "LIMIT", 0, 0), [])
            self.c.send("SORT", key, "ALPHA")
            self.c.send("SORT", key, "LIMIT", 7, 3)
            other(*remove)
            self.assertIn(len(self.c.receive()), (count, count - 5000, 0))
            self.assertIn(len(self.c.receive()), (3, 0))
        self.c("RPUSH", "list", "word")
        with self.assertRaisesRegex(firn.ReplyError, "One or more scores can't be converted into double"):
            self.c("SORT", "list")
        self.assertEqual(self.c("PING"), "PONG")
        for _ in range(3):  # a client that goes away meanwhile
            gone = self.server.client()
            gone.send("SORT", "list", "ALPHA")
            gone.close()
        other.close()

    def test_by_and_get(self):
        rng = random.Random(3)
        count = 600
        weights = dict(zip(range(count), rng.sample(range(10**6), count)))
        self.fill("RPUSH", "list", range(count))
        for i in range(count):
            self.c("SET", "w:%d" % i, b"%0300d" % weights[i])  # long enough to be moved down
            self.c("HSET", "h:%d" % i, "weight", weights[i], "name", "name %d" % i, "more", "x" * 300)
        expected = [b"%d" % i for i in sorted(weights, key=weights.get)]
        for pattern in ("w:*", "h:*->weight"):
            self.cool("list", *("w:%d" % i for i in range(count)), *("h:%d" % i for i in range(count)))
            self.assertEqual(self.c("SORT", "list", "BY", pattern), expected)
            self.cool("list", *("w:%d" % i for i in range(count)), *("h:%d" % i for i in range(count)))
            got = self.c("SORT", "list", "BY", pattern, "DESC", "LIMIT", 5, 300, "GET", "#", "GET", "h:*->name", "GET", "w:*", "GET", "none:*", "GET", "constant")
            wanted = []
            for name in expected[::-1][5:305]:
                wanted += [name, b"name " + name, b"%0300d" % weights[int(name)], None, None]
            self.assertEqual(got, wanted)
        self.assertEqual(self.c("SORT", "list", "BY", "w:*", "GET", "h:*->name", "GET", "none:*", "LIMIT", 0, 2, "STORE", "list"), 4)
        self.assertEqual(self.c("LRANGE", "list", 0, -1), [b"name " + expected[0], b"", b"name " + expected[1], b""])

    def test_missing_weights(self):
        self.fill("RPUSH", "k", "bac")
        self.c("SET", "w:a", "5")
        self.assertEqual(self.c("SORT", "k", "BY", "w:*"), [b"b", b"c", b"a"])
        self.assertEqual(self.c("SORT", "k", "BY", "w:*", "ALPHA"), [b"b", b"c", b"a"])
        self.assertEqual(self.c("SORT", "k", "BY", "w:*", "DESC"), [b"a", b"c", b"b"])
        self.assertEqual(self.c("SORT", "k", "BY", "nosort", "GET", "w:*->"), [None] * 3)
        self.c("SET", "x:a->", "found")
        self.assertEqual(self.c("SORT", "k", "BY", "nosort", "GET", "x:*->"), [None, b"found", None])

    def test_own_order(self):
        names = [b"m%d" % i for i in random.Random(4).sample(range(1000), 400)]
        self.fill("RPUSH", "list", names)
        self.sorted_set("zset", names)
        for key in ("list", "zset"):
            self.cool(key)
            for first, count in ((0, -1), (0, 5), (390, 50), (100, 100), (400, 5), (7, 0)):
                end = len(names) if count < 0 else first + count
                self.assertEqual(self.c("SORT", key, "BY", "nosort", "LIMIT", first, count), names[first:end])
                self.assertEqual(self.c("SORT", key, "BY", "nosort", "DESC", "LIMIT", first, count), names[::-1][first:end])
        self.assertEqual(self.c("SORT", "zset", "ALPHA"), sorted(names))
        self.fill("SADD", "set", names)
        self.assertEqual(set(self.c("SORT", "set", "BY", "nosort")), set(names))
        some = self.c("SORT", "set", "BY", "nosort", "LIMIT", 10, 20)
        self.assertEqual(len(set(some) & set(names)), 20)
        self.assertEqual(self.c("SORT", "set", "BY", "nosort", "STORE", "to"), 400)
        self.assertEqual(self.c("LRANGE", "to", 0, -1), sorted(names))

    def test_storing_nothing(self):
        self.c("SET", "to", "text")
        self.assertEqual(self.c("SORT", "none", "STORE", "to"), 0)
        self.assertEqual(self.c("EXISTS", "to"), 0)
        self.assertEqual(self.c("SORT", "none"), [])

    def test_errors(self):
        self.fill("RPUSH", "k", "ab")
        self.c("SET", "text", "x")
        for command, text in ((("SORT", "k"), "ERR One or more scores can't be converted into double"), (("SORT", "k", "LIMIT", "x", "1"), "ERR value is not an integer or out of range"),
                              (("SORT", "k", "NOPE"), "ERR syntax error"), (("SORT_RO", "k", "STORE", "to"), "ERR syntax error"), (("SORT", "k", "BY"), "ERR syntax error"),
                              (("SORT", "text"), "WRONGTYPE Operation against a key holding the wrong kind of value")):
            with self.assertRaises(firn.ReplyError) as caught:
                self.c(*command)
            self.assertEqual(str(caught.exception), text)
        with self.assertRaisesRegex(firn.ReplyError, "Invalid locale name"):
            self.c("CONFIG", "SET", "locale-collate", "no such locale")
        self.assertEqual(self.c("CONFIG", "GET", "locale-collate"), [b"locale-collate", b""])
        self.assertEqual(self.c("COMMAND", "GETKEYS", "SORT", "k", "BY", "store", "STORE", "a", "STORE", "b"), [b"k", b"b"])


if __name__ == "__main__":
    unittest.main()
