# SPDX-License-Identifier: BSD-3-Clause
"""Strings and bitmaps of every shape (integer, inline, blob, page sequence), in whatever tier the mode puts them."""
import random
import unittest

import firn


class Strings(firn.Case):
    def test_every_shape_reads_back(self):
        values = {}
        for size in (0, 1, 20, 44, 45, 64, 1000, 4095, 4096, 4097, 16384, 65535, 65536, 65537, 200000, 1 << 20):
            values["size:%d" % size] = random.Random(size).randbytes(size)
        for key, value in values.items():
            self.assertEqual(self.c("SET", key, value), "OK")
        for _ in range(2):
            for key, value in values.items():
                self.assertEqual(self.c("GET", key), value)
                self.assertEqual(self.c("STRLEN", key), len(value))
        self.assertEqual(self.c("MGET", *values), list(values.values()))

    def test_encodings(self):
        for value, encoding in ((b"12345", b"int"), (b"-9223372036854775808", b"int"), (b"9223372036854775808", b"embstr"),
                                (b"007", b"embstr"), (b"x" * 44, b"embstr"), (b"x" * 45, b"raw"), (b"", b"embstr")):
            self.c("SET", "k", value)
            self.assertEqual(self.c("OBJECT", "ENCODING", "k"), encoding, value)
        self.c("SET", "k", "abc")
        self.c("APPEND", "k", "d")
        self.assertEqual(self.c("OBJECT", "ENCODING", "k"), b"raw")

    def test_set_options(self):
        c = self.c
        self.assertIsNone(c("SET", "k", "v", "XX"))
        self.assertEqual(c("SET", "k", "v", "NX", "EX", "100"), "OK")
        self.assertIsNone(c("SET", "k", "w", "NX"))
        self.assertEqual(c("SET", "k", "w", "GET", "KEEPTTL"), b"v")
        self.assertTrue(0 < c("TTL", "k") <= 100)
        self.assertEqual(c("SET", "k", "x", "PXAT", "99999999999999"), "OK")
        self.assertEqual(c("PEXPIRETIME", "k"), 99999999999999)
        self.assertEqual(c.error("SET", "k", "v", "EX", "0"), "ERR invalid expire time in 'set' command")
        self.assertEqual(c.error("SET", "k", "v", "EX", "5", "KEEPTTL"), "ERR syntax error")
        self.assertEqual(c.error("SET", "k", "v", "NX", "XX"), "ERR syntax error")

    def test_append_and_ranges_across_shapes(self):
        model = b""
        rng = random.Random(7)
        while len(model) < 150000:
            part = rng.randbytes(rng.choice((1, 10, 300, 5000, 20000)))
            model += part
            self.assertEqual(self.c("APPEND", "k", part), len(model))
        self.assertEqual(self.c("GET", "k"), model)
        for _ in range(60):
            start, end = rng.randrange(len(model)), rng.randrange(len(model))
            self.assertEqual(self.c("GETRANGE", "k", start, end), model[start:end + 1])
        for _ in range(40):
            at, part = rng.randrange(len(model)), rng.randbytes(rng.choice((1, 100, 17000)))
            model = model[:at] + part + model[at + len(part):]
            self.assertEqual(self.c("SETRANGE", "k", at, part), len(model))
        self.assertEqual(self.c("GET", "k"), model)
        self.assertEqual(self.c("GETRANGE", "k", -5, -1), model[-5:])

    def test_setrange_pads_with_zeros(self):
        self.assertEqual(self.c("SETRANGE", "k", 100000, "end"), 100003)
        self.assertEqual(self.c("GET", "k"), b"\0" * 100000 + b"end")
        self.assertEqual(self.c("SETRANGE", "none", 10, ""), 0)
        self.assertEqual(self.c("EXISTS", "none"), 0)

    def test_numbers(self):
        c = self.c
        self.assertEqual(c("INCR", "n"), 1)
        self.assertEqual(c("INCRBY", "n", 41), 42)
        self.assertEqual(c("DECRBY", "n", 50), -8)
        self.assertEqual(c("INCRBYFLOAT", "n", "0.5"), b"-7.5")
        self.assertEqual(c.error("INCR", "n"), "ERR value is not an integer or out of range")
        c("SET", "n", "9223372036854775807")
        self.assertEqual(c.error("INCR", "n"), "ERR increment or decrement would overflow")
        c("HSET", "h", "f", "v")
        self.assertEqual(c.error("INCR", "h"), "WRONGTYPE Operation against a key holding the wrong kind of value")

    def test_mset_is_all_or_nothing(self):
        self.assertEqual(self.c("MSETNX", "a", "1", "b", "2"), 1)
        self.assertEqual(self.c("MSETNX", "b", "3", "c", "4"), 0)
        self.assertEqual(self.c("EXISTS", "c"), 0)
        self.assertEqual(self.c.error("MSET", "a", "1", "b"), "ERR wrong number of arguments for 'mset' command")

    def test_getdel_getex_getset(self):
        c = self.c
        c("SET", "k", "x" * 5000)
        self.assertEqual(c("GETEX", "k", "EX", "50"), b"x" * 5000)
        self.assertTrue(0 < c("TTL", "k") <= 50)
        self.assertEqual(c("GETEX", "k", "PERSIST"), b"x" * 5000)
        self.assertEqual(c("TTL", "k"), -1)
        self.assertEqual(c("GETSET", "k", "new"), b"x" * 5000)
        self.assertEqual(c("GETDEL", "k"), b"new")
        self.assertIsNone(c("GETDEL", "k"))

    def test_bits_against_a_model(self):
        model = bytearray(40000)
        rng = random.Random(3)
        for _ in range(400):
            bit, value = rng.randrange(len(model) * 8), rng.randrange(2)
            old = model[bit // 8] >> (7 - bit % 8) & 1
            self.assertEqual(self.c("SETBIT", "b", bit, value), old)
            model[bit // 8] = model[bit // 8] & ~(1 << (7 - bit % 8)) | value << (7 - bit % 8)
        length = self.c("STRLEN", "b")
        self.assertEqual(self.c("GET", "b"), bytes(model[:length]))
        self.assertEqual(self.c("BITCOUNT", "b"), sum(bin(byte).count("1") for byte in model))
        self.assertEqual(self.c("BITCOUNT", "b", 100, 2000), sum(bin(byte).count("1") for byte in model[100:2001]))
        first = next(i for i in range(len(model) * 8) if model[i // 8] >> (7 - i % 8) & 1)
        self.assertEqual(self.c("BITPOS", "b", 1), first)
        self.assertEqual(self.c("GETBIT", "b", 10**7), 0)

    def test_big_sparse_bitmap(self):
        self.assertEqual(self.c("SETBIT", "big", 80_000_000, 1), 0)
        self.assertEqual(self.c("STRLEN", "big"), 10_000_001)
        self.assertEqual(self.c("GETBIT", "big", 80_000_000), 1)
        self.assertEqual(self.c("GETBIT", "big", 40_000_000), 0)
        self.assertEqual(self.c("BITCOUNT", "big"), 1)

    def test_bitop(self):
        rng = random.Random(5)
        a, b = rng.randbytes(70000), rng.randbytes(30000)
        self.c("SET", "a", a)
        self.c("SET", "b", b)
        padded = b + b"\0" * 40000
        for name, function in (("AND", lambda x, y: x & y), ("OR", lambda x, y: x | y), ("XOR", lambda x, y: x ^ y)):
            self.assertEqual(self.c("BITOP", name, "r", "a", "b"), 70000)
            self.assertEqual(self.c("GET", "r"), bytes(map(function, a, padded)))
        self.assertEqual(self.c("BITOP", "NOT", "r", "b"), 30000)
        self.assertEqual(self.c("GET", "r"), bytes(255 - x for x in b))

    def test_bitfield(self):
        self.assertEqual(self.c("BITFIELD", "f", "SET", "u8", "#0", 255, "INCRBY", "u8", "#0", 10, "OVERFLOW", "SAT", "INCRBY", "i5", 100, 20,
                                "GET", "u4", 0), [0, 9, 15, 0])
        self.assertEqual(self.c("BITFIELD", "f", "OVERFLOW", "FAIL", "INCRBY", "u2", 0, 4), [None])
        self.assertIn("Invalid bitfield type", self.c.error("BITFIELD", "f", "GET", "u64", 0))

    def test_lcs(self):
        self.c("MSET", "a", "ohmytext", "b", "mynewtext")
        self.assertEqual(self.c("LCS", "a", "b"), b"mytext")
        self.assertEqual(self.c("LCS", "a", "b", "LEN"), 6)

    def test_dump_and_restore(self):
        for value in (b"12", b"hello", b"a" * 5000, random.Random(1).randbytes(100000)):
            self.c("SET", "k", value)
            payload = self.c("DUMP", "k")
            self.assertEqual(self.c.error("RESTORE", "k", 0, payload), "BUSYKEY Target key name already exists.")
            self.assertEqual(self.c("RESTORE", "copy", 0, payload, "REPLACE"), "OK")
            self.assertEqual(self.c("GET", "copy"), value)
        bad = bytearray(payload)
        bad[10] ^= 1
        self.assertEqual(self.c.error("RESTORE", "bad", 0, bytes(bad)), "ERR DUMP payload version or checksum are wrong")
        self.assertIsNone(self.c("DUMP", "none"))


if __name__ == "__main__":
    unittest.main()
