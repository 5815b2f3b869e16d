# SPDX-License-Identifier: BSD-3-Clause
"""Keys: existence, expiry, scanning, databases, renaming; all of it exact with any part of the data cold."""
import time
import unittest

import firn


class Keys(firn.Case):
    def fill(self, count, size=100):
        self.c.pipeline([("SET", "key:%d" % i, ("%d|" % i) * (size // 4)) for i in range(count)])

    def test_scan_with_a_type_deletes_what_has_expired(self):
        with firn.Server() as server:
            client = server.client()
            client("DEBUG", "SET-ACTIVE-EXPIRE", 0)
            client("HSET", "hash", "f", "v"), client("SET", "string", "v")
            client("PEXPIRE", "hash", 1)
            time.sleep(0.02)
            self.assertEqual(client("SCAN", 0, "TYPE", "string", "COUNT", 100), [b"0", [b"string"]])
            self.assertEqual(client("DBSIZE"), 1)
            client.close()

    def test_large_values_and_flushed_databases_are_freed_later(self):
        with firn.Server(stress="off") as server:
            client = server.client()
            client("SADD", "large", *range(1000), "a")
            client("SADD", "small", "a")
            client("UNLINK", "large", "small")
            self.assertEqual(server.info("memory")["lazyfreed_objects"], "1")
            client.pipeline([("SET", "k:%d" % i, "v") for i in range(500)])
            client("FLUSHALL")
            self.assertEqual(server.info("memory")["lazyfreed_objects"], "501")
            client("CONFIG", "RESETSTAT")
            self.assertEqual(server.info("memory")["lazyfreed_objects"], "0")
            client.close()

    def test_dbsize_exists_type_are_exact(self):
        self.fill(2000)
        self.c("HSET", "hash", "f", "v")
        self.assertEqual(self.c("DBSIZE"), 2001)
        self.assertEqual(self.c("EXISTS", "key:1", "key:1999", "none", "key:1"), 3)
        self.assertEqual((self.c("TYPE", "hash"), self.c("TYPE", "key:1"), self.c("TYPE", "none")), ("hash", "string", "none"))
        self.assertEqual(self.c("DEL", "key:1", "key:2", "none"), 2)
        self.assertEqual(self.c("UNLINK", "key:3", "hash"), 2)
        self.assertEqual(self.c("DBSIZE"), 1997)

    def test_scan_sees_every_key_while_others_come_and_go(self):
        self.fill(3000, 20)
        seen, cursor, step = set(), b"0", 0
        while True:
            cursor, keys = self.c("SCAN", cursor, "COUNT", "50")
            seen.update(keys)
            step += 1
            self.c.pipeline([("SET", "extra:%d:%d" % (step, i), "x") for i in range(200)] +
                            [("DEL", "extra:%d:%d" % (step - 1, i)) for i in range(200)])
            if cursor == b"0":
                break
        self.assertTrue({b"key:%d" % i for i in range(3000)} <= seen)

    def test_scan_match_and_type(self):
        self.fill(300)
        for i in range(10):
            self.c("HSET", "h:%d" % i, "f", "v")

        def scan(*options):
            found, cursor = set(), b"0"
            while True:
                cursor, keys = self.c("SCAN", cursor, *options)
                found.update(keys)
                if cursor == b"0":
                    return found
        self.assertEqual(scan("TYPE", "hash"), {b"h:%d" % i for i in range(10)})
        self.assertEqual(scan("MATCH", "key:29?"), {b"key:%d" % i for i in range(290, 300)})
        self.assertEqual(len(self.c("KEYS", "key:*")), 300)
        for wrong in ("x", "", " 1", "1 ", "18446744073709551616"):
            self.assertEqual(self.c.error("SCAN", wrong), "ERR invalid cursor")
        self.c("MSET", *(part for i in range(5000) for part in ("scanned:%d" % i, i)))
        cursor, largest = b"0", 0
        while True:
            cursor, _ = self.c("SCAN", cursor)
            largest = max(largest, int(cursor))
            if cursor == b"0":
                break
        self.assertTrue(0 < largest < 2**53)  # JavaScript keeps it in a double
        self.c("FLUSHALL")

    def test_expiry_lazy_and_active(self):
        self.c.pipeline([("SET", "e:%d" % i, "v" * 200, "PX", 300) for i in range(500)])
        self.fill(100)
        self.assertEqual(self.c("EXISTS", "e:1"), 1)
        firn.wait_until(lambda: self.c("DBSIZE") == 100, "keys are left")
        self.assertIsNone(self.c("GET", "e:1"))

    def test_expire_options(self):
        c = self.c
        c("SET", "k", "v")
        self.assertEqual(c("EXPIRE", "k", 100, "XX"), 0)
        self.assertEqual(c("EXPIRE", "k", 100, "NX"), 1)
        self.assertEqual(c("EXPIRE", "k", 50, "GT"), 0)
        self.assertEqual(c("EXPIRE", "k", 50, "LT"), 1)
        self.assertEqual(c("PERSIST", "k"), 1)
        self.assertEqual(c("TTL", "k"), -1)
        self.assertEqual(c("TTL", "none"), -2)
        self.assertEqual(c("EXPIRE", "k", -1), 1)
        self.assertEqual(c("EXISTS", "k"), 0)
        c("SET", "k", "v")
        self.assertEqual(c.error("EXPIRE", "k", "9223372036854775807"), "ERR invalid expire time in 'expire' command")
        self.assertEqual(c("PEXPIREAT", "k", "32503680000000"), 1)
        self.assertEqual(c("EXPIRETIME", "k"), 32503680000)

    def test_rename_copy_move_swap(self):
        c = self.c
        c("SET", "a", "x" * 10000, "EX", 100)
        self.assertEqual(c("RENAME", "a", "b"), "OK")
        self.assertTrue(0 < c("TTL", "b") <= 100)
        self.assertEqual(c("GET", "b"), b"x" * 10000)
        self.assertEqual(c("COPY", "b", "c"), 1)
        self.assertEqual(c("COPY", "b", "c"), 0)
        self.assertEqual(c("COPY", "b", "c", "DB", 1), 1)
        self.assertEqual(c("RENAMENX", "b", "c"), 0)
        self.assertEqual(c("MOVE", "b", 2), 1)
        self.assertEqual(c("EXISTS", "b"), 0)
        self.assertEqual(c.error("RENAME", "none", "z"), "ERR no such key")
        c("SELECT", 2)
        self.assertEqual(c("GET", "b"), b"x" * 10000)
        c("SWAPDB", 0, 2)
        self.assertEqual(c("GET", "c"), b"x" * 10000)
        c("SELECT", 0)
        self.assertEqual(c("GET", "b"), b"x" * 10000)
        self.assertEqual(c.error("SELECT", 99), "ERR DB index is out of range")
        self.assertEqual(c.error("SELECT", 2**31), "ERR value is out of range, value must between -2147483648 and 2147483647")

    def test_random_key_and_touch(self):
        self.assertIsNone(self.c("RANDOMKEY"))
        self.fill(50)
        self.assertGreater(len({self.c("RANDOMKEY") for _ in range(100)}), 10)
        self.assertEqual(self.c("TOUCH", "key:1", "key:2", "none"), 2)

    def test_flush(self):
        self.fill(5000)
        self.c("SELECT", 1)
        self.c("SET", "other", "1")
        self.c("SELECT", 0)
        self.assertEqual(self.c("FLUSHDB"), "OK")
        self.assertEqual(self.c("DBSIZE"), 0)
        self.c("SELECT", 1)
        self.assertEqual(self.c("DBSIZE"), 1)
        self.assertEqual(self.c("FLUSHALL", "ASYNC"), "OK")
        self.assertEqual(self.c("DBSIZE"), 0)
        self.assertEqual(self.c.error("FLUSHALL", "NOW"), "ERR syntax error")


if __name__ == "__main__":
    unittest.main()
