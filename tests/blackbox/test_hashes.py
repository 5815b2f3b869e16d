# SPDX-License-Identifier: BSD-3-Clause
"""Hashes: small, paged, with field TTLs, against a dictionary."""
import random
import unittest

import firn


class Hashes(firn.Case):
    @staticmethod
    def pairs(flat):
        return dict(zip(flat[::2], flat[1::2]))

    def test_random_operations_against_a_dictionary(self):
        for seed, fields, values in ((1, 20, 30), (2, 500, 60), (3, 5000, 200)):
            model, rng = {}, random.Random(seed)
            for _ in range(3000 if firn.STRESS == "off" else 700):
                field = b"field:%d" % rng.randrange(fields)
                kind = rng.random()
                if kind < 0.6:
                    value = rng.randbytes(rng.randrange(values))
                    self.assertEqual(self.c("HSET", "h", field, value), int(field not in model))
                    model[field] = value
                elif kind < 0.8:
                    self.assertEqual(self.c("HDEL", "h", field), int(model.pop(field, None) is not None))
                elif kind < 0.95:
                    self.assertEqual(self.c("HGET", "h", field), model.get(field))
                else:
                    self.assertEqual(self.c("HLEN", "h"), len(model))
                    self.assertEqual(self.c("HSTRLEN", "h", field), len(model.get(field, b"")))
            self.assertEqual(self.pairs(self.c("HGETALL", "h")), model)
            self.assertEqual(set(self.c("HKEYS", "h")), set(model))
            self.assertEqual(sorted(self.c("HVALS", "h")), sorted(model.values()))
            self.c("DEL", "h")

    def test_large_hash(self):
        count = 20000
        for start in range(0, count, 1000):
            self.c("HSET", "big", *(part for i in range(start, start + 1000) for part in ("f:%d" % i, "value of %d" % i)))
        self.assertEqual(self.c("HLEN", "big"), count)
        self.assertEqual(self.c("OBJECT", "ENCODING", "big"), b"hashtable")
        for i in random.Random(1).sample(range(count), 300):
            self.assertEqual(self.c("HGET", "big", "f:%d" % i), b"value of %d" % i)
        seen, cursor = {}, b"0"
        while True:
            cursor, flat = self.c("HSCAN", "big", cursor, "COUNT", 100)
            seen.update(self.pairs(flat))
            if cursor == b"0":
                break
        self.assertEqual(seen, {b"f:%d" % i: b"value of %d" % i for i in range(count)})
        self.assertEqual(self.pairs(self.c("HGETALL", "big")), seen)
        self.assertEqual(self.c("HMGET", "big", "f:1", "none", "f:19999"), [b"value of 1", None, b"value of 19999"])
        self.assertEqual(self.c("DEL", "big"), 1)
        self.assertEqual(self.c("DBSIZE"), 0)

    def test_encodings_change_one_way(self):
        self.c("HSET", "h", "f", "v")
        self.assertEqual(self.c("OBJECT", "ENCODING", "h"), b"listpack")
        self.c("HSET", "h", "f", "v" * 65)
        self.assertEqual(self.c("OBJECT", "ENCODING", "h"), b"hashtable")
        self.c("HSET", "h", "f", "v")
        self.assertEqual(self.c("OBJECT", "ENCODING", "h"), b"hashtable")

    def test_small_hash_keeps_its_order(self):
        self.c("HSET", "h", "b", 1, "a", 2, "c", 3)
        self.assertEqual(self.c("HGETALL", "h"), [b"b", b"1", b"a", b"2", b"c", b"3"])

    def test_numbers(self):
        self.assertEqual(self.c("HINCRBY", "h", "n", 5), 5)
        self.assertEqual(self.c("HINCRBYFLOAT", "h", "n", "1.5"), b"6.5")
        self.assertEqual(self.c.error("HINCRBY", "h", "n", 1), "ERR hash value is not an integer")
        self.assertEqual(self.c("HSETNX", "h", "n", 1), 0)
        self.assertEqual(self.c("HSETNX", "h", "m", 1), 1)
        self.assertEqual(self.c.error("HSET", "h", "odd"), "ERR wrong number of arguments for 'hset' command")

    def test_random_fields(self):
        self.c("HSET", "h", *(part for i in range(100) for part in (i, i)))
        self.assertEqual(len(set(self.c("HRANDFIELD", "h", 30))), 30)
        self.assertEqual(len(self.c("HRANDFIELD", "h", -300)), 300)
        self.assertEqual(len(self.c("HRANDFIELD", "h", 1000, "WITHVALUES")), 200)

    def test_field_expiry(self):
        c = self.c
        c("HSET", "h", "a", 1, "b", 2, "c", 3)
        self.assertEqual(c("HPEXPIRE", "h", 200, "FIELDS", 2, "a", "none"), [1, -2])
        self.assertEqual(c("HTTL", "h", "FIELDS", 3, "a", "b", "none")[1:], [-1, -2])
        self.assertEqual(c("HEXPIRE", "h", 100, "NX", "FIELDS", 1, "b"), [1])
        self.assertEqual(c("HEXPIRE", "h", 100, "NX", "FIELDS", 1, "b"), [0])
        self.assertEqual(c("HPERSIST", "h", "FIELDS", 1, "b"), [1])
        firn.wait_until(lambda: c("HGET", "h", "a") is None, "the field is left")
        self.assertEqual(self.pairs(c("HGETALL", "h")), {b"b": b"2", b"c": b"3"})
        self.assertEqual(c("HEXPIRE", "h", 0, "FIELDS", 2, "b", "c"), [2, 2])
        self.assertEqual(c("EXISTS", "h"), 0)

    def test_field_expiry_is_proactive_in_a_large_hash(self):
        self.c("HSET", "big", *(part for i in range(3000) for part in ("f%d" % i, "v%d" % i)))
        self.c("HPEXPIRE", "big", 150, "FIELDS", 1000, *("f%d" % i for i in range(1000)))
        firn.wait_until(lambda: self.c("HLEN", "big") == 2000, "fields are left")
        self.assertEqual(self.c("HMGET", "big", "f0", "f999", "f1000"), [None, None, b"v1000"])

    def test_dump_and_restore(self):
        for count in (3, 300, 3000):
            fields = {b"f%d" % i: b"value %d" % i for i in range(count)}
            self.c("DEL", "h")
            self.c("HSET", "h", *(part for pair in fields.items() for part in pair))
            self.c("RESTORE", "copy", 0, self.c("DUMP", "h"), "REPLACE")
            self.assertEqual(self.pairs(self.c("HGETALL", "copy")), fields)
            self.assertEqual(self.c("COPY", "h", "copy", "REPLACE"), 1)
            self.assertEqual(self.pairs(self.c("HGETALL", "copy")), fields)


if __name__ == "__main__":
    unittest.main()
