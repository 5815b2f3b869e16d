# SPDX-License-Identifier: BSD-3-Clause
"""Streams from outside: against Python's lists, waiting readers, groups, RDB forms, old nodes that go cold while the tail stays."""
import random
import time
import unittest

import firn

FACTOR = 1 if firn.STRESS == "off" else 4  # fewer rounds where every access is a fault


def pairs(reply):
    return dict(zip(reply[::2], reply[1::2]))


class Base(firn.Case):
    def fill(self, key, count, first=1):
        for start in range(first, first + count, 1000):
            self.c.pipeline([("XADD", key, "%d-0" % i, "n", i) for i in range(start, min(start + 1000, first + count))])


class Entries(Base):
    def test_random_operations_against_a_list(self):
        rng, model, last = random.Random(5), [], 0
        for _ in range(4000 // FACTOR):
            kind = rng.random()
            if kind < 0.6:
                last += rng.randrange(1, 4)
                fields = [b"name", b"v%d" % rng.randrange(10**rng.randrange(1, 9))] if rng.random() < 0.8 else [b"f%d" % rng.randrange(3), b"x" * rng.randrange(300), b"g", b"12"]
                self.assertEqual(self.c("XADD", "s", "%d-1" % last, *fields), b"%d-1" % last)
                model.append([b"%d-1" % last, fields])
            elif kind < 0.7 and model:
                gone = rng.choice(model)
                self.assertEqual(self.c("XDEL", "s", gone[0], "0-5"), 1)
                model.remove(gone)
            elif kind < 0.72 and model:
                keep = max(0, len(model) - rng.randrange(20))
                self.assertEqual(self.c("XTRIM", "s", "MAXLEN", keep), len(model) - keep)
                model = model[len(model) - keep:]
            elif model:
                first, end = sorted((rng.randrange(len(model)), rng.randrange(len(model))))
                found = model[first:end + 1]
                self.assertEqual(self.c("XRANGE", "s", model[first][0], model[end][0]), found)
                self.assertEqual(self.c("XREVRANGE", "s", model[end][0], model[first][0], "COUNT", 7), found[::-1][:7])
                self.assertEqual(self.c("XRANGE", "s", b"(" + model[first][0], "+", "COUNT", 3), model[first + 1:first + 4])
            self.assertEqual(self.c("XLEN", "s"), len(model))
        self.assertEqual(self.c("XRANGE", "s", "-", "+"), model)
        self.assertEqual(self.c("XREVRANGE", "s", "+", "-"), model[::-1])

    def test_ids(self):
        c = self.c
        first = c("XADD", "s", "*", "f", "v")
        self.assertTrue(abs(int(first.split(b"-")[0]) - time.time() * 1000) < 10000)
        self.assertEqual(c("XADD", "t", "0-*", "f", "v"), b"0-1")
        self.assertEqual(c("XADD", "t", "7-*", "f", "v"), b"7-0")
        self.assertEqual(c("XADD", "t", "7-*", "f", "v"), b"7-1")
        self.assertIn("equal or smaller", c.error("XADD", "t", "7-1", "f", "v"))
        self.assertIn("greater than 0-0", c.error("XADD", "u", "0-0", "f", "v"))
        self.assertEqual(c("XADD", "t", "18446744073709551615-18446744073709551615", "f", "v"), b"18446744073709551615-18446744073709551615")
        self.assertIn("exhausted", c.error("XADD", "t", "*", "f", "v"))
        self.assertIsNone(c("XADD", "none", "NOMKSTREAM", "*", "f", "v"))
        self.assertEqual(c("EXISTS", "none"), 0)

    def test_trims(self):
        for approximate, kept in (("=", 123), ("~", 200)):
            self.c("DEL", "s")
            self.fill("s", 1000)
            self.assertEqual(self.c("XTRIM", "s", "MAXLEN", approximate, 123), 1000 - kept)
            self.assertEqual(self.c("XTRIM", "s", "MINID", approximate, "950"), 49 + kept - 100 if approximate == "=" else kept - 100)
        self.assertEqual(self.c("XTRIM", "s", "MAXLEN", "~", 0, "LIMIT", 50), 0)  # a node has more
        self.assertEqual(self.c("XADD", "s", "MAXLEN", "0", "5000-0", "f", "v"), b"5000-0")
        self.assertEqual((self.c("XLEN", "s"), self.c("EXISTS", "s")), (0, 1))

    def test_dump_copy_and_save(self):
        self.fill("s", 500)
        self.c("XDEL", "s", 3, 77, 500)
        self.c("XGROUP", "CREATE", "s", "g", 0)
        self.c("XREADGROUP", "GROUP", "g", "alice", "COUNT", 150, "STREAMS", "s", ">")
        before = self.c("XINFO", "STREAM", "s", "FULL", "COUNT", 0)
        digest = self.c("DEBUG", "DIGEST-VALUE", "s")
        self.assertEqual(self.c("RESTORE", "t", 0, self.c("DUMP", "s")), "OK")
        self.assertEqual(self.c("COPY", "s", "u"), 1)
        self.c("XADD", "u", "*", "only", "here")
        self.assertEqual(self.c("XLEN", "s"), 497)
        self.c("XDEL", "u", self.c("XREVRANGE", "u", "+", "-", "COUNT", 1)[0][0])
        for key in ("s", "t", "u"):
            self.assertEqual(self.c("DEBUG", "DIGEST-VALUE", key), digest)
        self.assertEqual(self.c("DEBUG", "RELOAD"), "OK")
        for key in ("s", "t"):
            self.assertEqual(self.c("XINFO", "STREAM", key, "FULL", "COUNT", 0), before)
        for size in range(0, 40):  # damaged payloads are refused
            self.assertTrue(self.c.error("RESTORE", "x", 0, self.c("DUMP", "s")[:size]))


class Groups(Base):
    def test_delivery_and_acknowledgement(self):
        c = self.c
        self.fill("s", 300)
        c("XGROUP", "CREATE", "s", "g", "0")
        owned = {"a": [], "b": []}
        for i in range(60):
            name = "ab"[i % 2]
            got = c("XREADGROUP", "GROUP", "g", name, "COUNT", 5, "STREAMS", "s", ">")
            owned[name] += [one[0] for one in got[0][1]]
        self.assertIsNone(c("XREADGROUP", "GROUP", "g", "a", "STREAMS", "s", ">"))
        for name in "ab":
            self.assertEqual([one[0] for one in c("XREADGROUP", "GROUP", "g", name, "STREAMS", "s", "0")[0][1]], owned[name])
        self.assertEqual(c("XPENDING", "s", "g"), [300, b"1-0", b"300-0", [[b"a", b"150"], [b"b", b"150"]]])
        self.assertEqual(c("XACK", "s", "g", *owned["a"][:100], "999-0"), 100)
        self.assertEqual([one[0] for one in c("XPENDING", "s", "g", "-", "+", 1000, "a")], owned["a"][100:])
        c("XDEL", "s", owned["a"][100])
        self.assertEqual(c("XREADGROUP", "GROUP", "g", "a", "COUNT", 1, "STREAMS", "s", "0")[0][1], [[owned["a"][100], None]])
        claimed = c("XAUTOCLAIM", "s", "g", "b", 0, "-", "COUNT", 1000)
        self.assertEqual((claimed[0], claimed[2]), (b"0-0", [owned["a"][100]]))
        self.assertEqual(len(claimed[1]), 199)
        self.assertEqual(c("XGROUP", "DELCONSUMER", "s", "g", "b"), 199)
        self.assertEqual(c("XPENDING", "s", "g"), [0, None, None, None])
        info = pairs(c("XINFO", "GROUPS", "s")[0])
        self.assertEqual((info[b"consumers"], info[b"entries-read"], info[b"lag"]), (1, 300, 0))
        self.assertEqual(c("XGROUP", "DESTROY", "s", "g"), 1)
        self.assertIn("NOGROUP", c.error("XREADGROUP", "GROUP", "g", "a", "STREAMS", "s", ">"))

    def test_readers_wait_in_order(self):
        self.c("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
        readers = [self.client() for _ in range(3)]
        for number, reader in enumerate(readers):
            reader.send("XREADGROUP", "GROUP", "g", "c%d" % number, "COUNT", 1, "BLOCK", 20000, "STREAMS", "s", ">")
            self.server.wait_for_blocked(number + 1)
        for number, reader in enumerate(readers):
            self.c("XADD", "s", "%d-0" % (number + 1), "f", "v")
            self.assertEqual(reader.receive(), [[b"s", [[b"%d-0" % (number + 1), [b"f", b"v"]]]]])

    def test_what_dollar_meant_is_kept(self):
        self.fill("s", 10)
        reader = self.client()
        reader.send("XREAD", "BLOCK", 20000, "STREAMS", "t", "s", "$", "$")
        self.server.wait_for_blocked(1)
        self.c("XGROUP", "CREATE", "s", "g", "$")  # a change without an entry
        self.c("MULTI")
        self.c("XADD", "s", "20-0", "f", "v")
        self.c("XADD", "s", "21-0", "f", "v")
        self.c("EXEC")
        self.assertEqual(reader.receive(), [[b"s", [[b"20-0", [b"f", b"v"]], [b"21-0", [b"f", b"v"]]]]])
        reader.send("XREAD", "BLOCK", 20000, "STREAMS", "new", "+")
        self.server.wait_for_blocked(1)
        self.c("XADD", "new", "1-0", "f", "v")
        self.assertEqual(reader.receive(), [[b"new", [[b"1-0", [b"f", b"v"]]]]])
        self.assertEqual(self.c("XREAD", "STREAMS", "s", "+"), [[b"s", [[b"21-0", [b"f", b"v"]]]]])

    def test_waiting_readers_learn_that_the_group_went(self):
        for change in (("XGROUP", "DESTROY", "s", "g"), ("DEL", "s"), ("SET", "s", "x")):
            self.c("DEL", "s")
            self.c("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
            reader = self.client()
            reader.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 20000, "STREAMS", "s", ">")
            self.server.wait_for_blocked(1)
            self.c(*change)
            with self.assertRaises(firn.ReplyError) as caught:
                reader.receive()
            self.assertTrue(str(caught.exception).startswith("WRONGTYPE" if change[0] == "SET" else "NOGROUP"))

    def test_resp3_maps(self):
        c = self.client()
        c("HELLO", 3)
        self.fill("s", 2)
        self.assertEqual(c("XREAD", "STREAMS", "s", "0"), {b"s": [[b"1-0", [b"n", b"1"]], [b"2-0", [b"n", b"2"]]]})
        self.assertEqual(c("XINFO", "STREAM", "s")[b"length"], 2)


class Cold(firn.Case):
    OPTIONS = ("--maxmemory", "256mb", "--tier-nvme-path", "nvme", "--tier-nvme-size", "1gb")
    CHOOSES_TIERS = True

    def reads(self):
        return int(self.server.info("tiering")["tier_nvme_reads"])

    def test_history_is_cold_and_the_tail_is_not(self):
        c, count = self.c, 100000
        for start in range(1, count + 1, 2000):
            c.pipeline([("XADD", "s", "%d-0" % i, "n", i) for i in range(start, start + 2000)])
        c("XGROUP", "CREATE", "s", "g", "$")
        c("TIER", "DEMOTE", "s", "nvme")
        where = c("TIER", "WHERE", "s")
        where = where if isinstance(where, dict) else pairs(where)
        self.assertEqual((where[b"tier"], where[b"pages_dram"], where[b"pages"]), (b"nvme", 0, 1000))
        self.assertTrue(where[b"dram_bytes"] < 100000)
        c("XADD", "s", "%d-0" % (count + 1), "n", 0)  # brings the tail back
        self.assertEqual(len(c("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")[0][1]), 1)
        before = self.reads()
        for i in range(1, 100):  # the group and the tail read nothing
            c("XADD", "s", "%d-0" % (count + 1 + i), "n", i)
            self.assertEqual(len(c("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")[0][1]), 1)
            self.assertEqual(c("XACK", "s", "g", "%d-0" % (count + 1 + i)), 1)
        self.assertEqual(self.reads(), before)
        for i in (5, 777, 50000, 99000):
            before = self.reads()
            self.assertEqual(c("XRANGE", "s", "%d-0" % i, "%d-0" % i), [[b"%d-0" % i, [b"n", b"%d" % i]]])
            self.assertTrue(self.reads() - before <= 4)
        before = self.reads()
        self.assertEqual(c("XTRIM", "s", "MAXLEN", "~", 92000), 8100)  # whole nodes are not read
        self.assertEqual(self.reads(), before)
        self.assertEqual(len(c("XRANGE", "s", "-", "+")), 92000)


if __name__ == "__main__":
    unittest.main()
