# SPDX-License-Identifier: BSD-3-Clause
"""HyperLogLogs: estimates, the format, cold keys, damaged values."""
import unittest

import firn


class HyperLogLogs(firn.Case):
    def fill(self, key, first, count):
        for start in range(first, first + count, 500):
            self.c("PFADD", key, *(b"element:%d" % i for i in range(start, min(start + 500, first + count))))

    def near(self, got, expected):
        self.assertLess(abs(got - expected), expected * 0.04 + 1)

    def test_estimates(self):
        self.assertEqual(self.c("PFADD", "h"), 1)
        self.assertEqual(self.c("PFADD", "h"), 0)
        self.assertEqual(self.c("PFCOUNT", "h"), 0)
        self.assertEqual(self.c("PFADD", "h", "a", "b", "c"), 1)
        self.assertEqual(self.c("PFADD", "h", "a", "b", "c"), 0)
        self.assertEqual(self.c("PFCOUNT", "h"), 3)
        self.assertEqual(self.c("TYPE", "h"), "string")
        self.assertEqual(self.c("PFCOUNT", "none"), 0)
        for count in (100, 1000, 5000, 20000):
            self.c("DEL", "h")
            self.fill("h", 0, count)
            self.near(self.c("PFCOUNT", "h"), count)
            self.assertEqual(self.c("PFDEBUG", "ENCODING", "h"), "sparse" if count <= 1000 else "dense")

    def test_union_and_merge_over_many_keys(self):
        keys = ["h%d" % i for i in range(20)]
        for i, key in enumerate(keys):
            self.fill(key, i * 250, 500 if i % 2 else 4000)
        before = [self.c("DUMP", key) for key in keys]
        self.near(self.c("PFCOUNT", *keys, "none"), 18 * 250 + 4000)
        self.assertEqual([self.c("DUMP", key) for key in keys], before)  # counting several keys changes none
        self.c("SET", "merged", self.c("GET", keys[1]), "EX", 1000)
        self.assertEqual(self.c("PFMERGE", "merged", *keys), "OK")
        self.assertEqual(self.c("PFCOUNT", "merged"), self.c("PFCOUNT", *keys))
        self.assertGreater(self.c("TTL", "merged"), 900)
        self.assertEqual(self.c("PFDEBUG", "ENCODING", "merged"), "dense")
        self.assertEqual(self.c("PFMERGE", "empty"), "OK")
        self.assertEqual(self.c("PFCOUNT", "empty"), 0)

    def test_cold_ones_change_whole(self):
        self.fill("sparse", 0, 300)
        self.fill("dense", 0, 10000)
        if firn.STRESS == "off":
            self.skipTest("needs tiers")
        for key, count in (("sparse", 300), ("dense", 10000)):
            for more in range(20):
                self.c("TIER", "DEMOTE", key)
                self.c("PFADD", key, "more:%d" % more)
                self.c("TIER", "DEMOTE", key)
                self.near(self.c("PFCOUNT", key), count + more + 1)
            self.c("TIER", "DEMOTE", key)
            self.assertEqual(self.c("PFADD", key, *("more:%d" % i for i in range(20))), 0)

    def test_what_is_none(self):
        self.c("SET", "text", "bar")
        self.c("SADD", "set", "1")
        self.c("SET", "big", b"x" * 200000)
        for key, text in (("text", "WRONGTYPE Key is not a valid HyperLogLog string value."), ("set", "WRONGTYPE Operation against a key holding the wrong kind of value"),
                          ("big", "WRONGTYPE Key is not a valid HyperLogLog string value.")):
            for command in (("PFADD", key, "x"), ("PFCOUNT", key), ("PFCOUNT", "none", key), ("PFMERGE", "to", key), ("PFMERGE", key), ("PFDEBUG", "GETREG", key)):
                with self.assertRaisesRegex(firn.ReplyError, text):
                    self.c(*command)
        self.assertEqual(self.c("EXISTS", "to"), 0)
        self.c("PFADD", "h", "a", "b", "c")
        self.c("APPEND", "h", "hello")
        for command in (("PFCOUNT", "h"), ("PFCOUNT", "h", "h"), ("PFMERGE", "to", "h"), ("PFDEBUG", "GETREG", "h"), ("PFDEBUG", "TODENSE", "h")):
            with self.assertRaisesRegex(firn.ReplyError, "INVALIDOBJ Corrupted HLL object detected"):
                self.c(*command)
        self.c("SET", "endless", b"HYLL\1" + bytes(11) + b"\x7f\xff" * 150000)
        with self.assertRaisesRegex(firn.ReplyError, "INVALIDOBJ"):
            self.c("PFCOUNT", "endless", "endless")
        self.assertEqual(self.c("EXISTS", "to"), 0)

    def test_selftest(self):
        self.assertEqual(self.c("PFSELFTEST"), "OK")


if __name__ == "__main__":
    unittest.main()
