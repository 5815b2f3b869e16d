# SPDX-License-Identifier: BSD-3-Clause
"""MULTI, EXEC, DISCARD, WATCH. The same holds for redis-server, apart from the numbers of the tiers."""
import time
import unittest

import firn

OK, QUEUED = "OK", "QUEUED"


class Transactions(firn.Case):
    def setUp(self):
        super().setUp()
        self.other = self.client()

    def fields(self, client):
        line = client("CLIENT", "INFO").decode()
        return dict(part.split("=", 1) for part in line.split())

    def queue(self, *commands):
        self.assertEqual(self.c("MULTI"), OK)
        for command in commands:
            self.assertEqual(self.c(*command), QUEUED)

    def test_runs_in_order_and_answers_each(self):
        self.queue(("SET", "a", 1), ("INCR", "a"), ("GET", "a"), ("HSET", "h", "f", "v"), ("HGETALL", "h"), ("HGET", "a", "f"), ("PING",))
        self.assertEqual(self.other("EXISTS", "a"), 0)
        answer = self.c("EXEC")
        self.assertEqual(answer[:5], [OK, 2, b"2", 1, [b"f", b"v"]])
        self.assertTrue(str(answer[5]).startswith("WRONGTYPE"))
        self.assertEqual(answer[6], "PONG")
        self.queue()
        self.assertEqual(self.c("EXEC"), [])

    def test_discard_and_misuse(self):
        self.assertEqual(self.c.error("EXEC"), "ERR EXEC without MULTI")
        self.assertEqual(self.c.error("DISCARD"), "ERR DISCARD without MULTI")
        self.queue(("SET", "a", 1))
        self.assertEqual(self.c.error("MULTI"), "ERR MULTI calls can not be nested")
        self.assertEqual(self.c.error("WATCH", "a"), "ERR WATCH inside MULTI is not allowed")
        self.assertEqual(self.c("DISCARD"), OK)
        self.assertEqual(self.c("GET", "a"), None)
        self.queue(("SET", "a", 1))
        self.assertEqual(self.c("RESET"), "RESET")
        self.assertEqual(self.c("GET", "a"), None)
        self.assertEqual(self.c.error("EXEC"), "ERR EXEC without MULTI")

    def test_refused_commands_abort(self):
        for bad, text in ((("NOSUCH",), "ERR unknown command 'NOSUCH', with args beginning with: "),
                          (("SET", "a"), "ERR wrong number of arguments for 'set' command"),
                          (("CLIENT", "NOSUCH"), "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.")):
            self.queue(("SET", "a", 1))
            self.assertEqual(self.c.error(*bad), text)
            self.assertEqual(self.c.error("EXEC"), "EXECABORT Transaction discarded because of previous errors.")
            self.assertEqual(self.c("EXISTS", "a"), 0)
            self.assertEqual(self.c.error("EXEC"), "ERR EXEC without MULTI")
        self.queue(("SET", "a", 1))
        self.assertEqual(self.c.error("EXEC", "x"), "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command")
        self.assertEqual(self.c.error("EXEC"), "ERR EXEC without MULTI")

    def test_watch(self):
        for change in (("SET", "w", 2), ("DEL", "w"), ("EXPIRE", "w", 100), ("APPEND", "w", "x"), ("RENAME", "w", "v"), ("FLUSHALL",), ("SWAPDB", 0, 1), ("MOVE", "w", 3),
                       ("COPY", "s", "w", "REPLACE"), ("PEXPIRE", "w", 1)):
            self.other("FLUSHALL")
            self.c("MSET", "w", 1, "s", 2)
            self.c("WATCH", "x", "w", "w")
            self.assertEqual(self.fields(self.c)["watch"], "2")
            self.other(*change)
            time.sleep(0.01 if change[0] == "PEXPIRE" else 0)
            self.queue(("SET", "y", 1))
            self.assertEqual(self.c("EXEC"), None, change)
            self.assertEqual(self.c("EXISTS", "y"), 0)
            self.queue(("SET", "y", 1))
            self.assertEqual(self.c("EXEC"), [OK], change)
        for harmless in (("GET", "w"), ("SET", "other", 1), ("OBJECT", "ENCODING", "w"), ("DEL", "nosuch"), ("TOUCH", "w"), ("EXPIRE", "nosuch", 1)):
            self.c("SET", "w", 1)
            self.c("WATCH", "w", "x")
            self.other(*harmless)
            self.queue(("SET", "y", 1))
            self.assertEqual(self.c("EXEC"), [OK], harmless)
        self.c("WATCH", "w")
        self.other("SET", "w", 2)
        self.assertIn("d", self.fields(self.c)["flags"])
        self.c("UNWATCH")
        self.queue(("GET", "w"))
        self.assertEqual(self.c("EXEC"), [b"2"])

    def test_a_key_that_changed_tier_did_not_change(self):
        if firn.STRESS == "off":
            return
        self.c("SET", "big", "x" * 3000)
        self.c("HSET", "h", *[x for i in range(500) for x in (f"field{i}", "v" * 50)])
        self.c("WATCH", "big", "h")
        for tier in ("nvme", "pmem"):
            for key in ("big", "h"):
                try:
                    self.other("TIER", "DEMOTE", key, tier)
                    self.other("TIER", "PROMOTE", key)
                except firn.ReplyError:
                    pass  # not with this tier
        self.assertEqual(len(self.other("GET", "big")), 3000)
        self.assertEqual(self.other("HLEN", "h"), 500)
        self.queue(("STRLEN", "big"), ("HGET", "h", "field7"), ("GET", "big"))
        self.assertEqual(self.c("EXEC"), [3000, b"v" * 50, b"x" * 3000])

    def test_cold_keys_of_a_queue(self):
        self.c("CONFIG", "RESETSTAT")
        for i in range(50):
            self.c("SET", f"k{i}", str(i) * 1000)
        self.queue(*[("GET", f"k{i}") for i in range(50)], ("APPEND", "k0", "x"), *[("STRLEN", f"k{i}") for i in range(50)], *[("GETRANGE", f"k{i}", 0, 3) for i in range(50)])
        answer = self.c("EXEC")
        self.assertEqual(answer[:50], [(str(i) * 1000).encode() for i in range(50)])
        self.assertEqual(answer[50], 1001)
        self.assertEqual(answer[101:], [(str(i) * 1000)[:4].encode() for i in range(50)])
        self.assertEqual(self.server.info()["tier_sync_faults"], "0")  # all were asked for before

    def test_cold_elements_of_a_queue(self):
        """Large values of which single pages are cold: reads behind a write, and writes of single elements."""
        fields = [x for i in range(3000) for x in (f"field{i}", "v" * 40)]
        self.c("HSET", "h", *fields)
        self.c("HSET", "h2", *fields)
        self.c("SADD", "s", *[f"member{i}" for i in range(3000)])
        self.c("ZADD", "z", *[x for i in range(3000) for x in (i, f"member{i}")])
        self.c("SETRANGE", "bits", 300000, "x")
        self.c("CONFIG", "RESETSTAT")
        self.queue(("SET", "a", 1), ("HGET", "h", "field7"), ("HSET", "h2", "field8", "w"), ("HDEL", "h2", "field9"), ("HINCRBY", "h2", "new", 1), ("SISMEMBER", "s", "member5"),
                   ("SREM", "s", "member6", "member7"), ("ZSCORE", "z", "member9"), ("GETBIT", "bits", 150000), ("SETBIT", "bits", 250000, 1), ("GETRANGE", "bits", 300000, -1))
        self.assertEqual(self.c("EXEC"), [OK, b"v" * 40, 0, 1, 1, 1, 2, b"9", 0, 0, b"x"])
        self.assertEqual(self.c("HGET", "h2", "field8"), b"w")
        self.assertEqual(self.server.info()["tier_sync_faults"], "0")
        self.assertEqual(self.c("INFO", "commandstats").decode().count("cmdstat_hmget"), 0)

    def test_cold_ends_of_a_queue(self):
        """What pushes, pops, appends and sorted sets change: pages at ends, in the middle, by score."""
        for key in ("l", "l2", "l3"):
            self.c("RPUSH", key, *[b"%04d" % i + b"e" * 100 for i in range(2000)])
        self.c("SETRANGE", "s", 500000, "x")
        self.c("ZADD", "z", *[x for i in range(5000) for x in (i, f"member{i}")])
        for i in range(1000):
            self.c("XADD", "x", f"{i + 1}-0", "f", "v" * 50)
        self.c("CONFIG", "RESETSTAT")
        self.queue(("SET", "a", 1), ("LPOP", "l"), ("RPOP", "l", 200), ("RPUSH", "l2", "t"), ("LPUSH", "l2", "h"), ("LMOVE", "l3", "l", "RIGHT", "LEFT"), ("APPEND", "s", "y"), ("SETRANGE", "s", 100000, "mid"),
                   ("ZADD", "z", "CH", 2500.5, "member7", 1, "new"), ("ZINCRBY", "z", 100, "member3000"), ("ZREM", "z", "member4000"), ("ZPOPMIN", "z", 2), ("ZPOPMAX", "z"), ("XADD", "x", "5000-0", "f", "w"))
        answer = self.c("EXEC")
        self.assertEqual(answer[1][:4], b"0000")
        self.assertEqual([len(answer[2]), answer[3], answer[4], answer[6], answer[7]], [200, 2001, 2002, 500002, 500002])
        self.assertEqual(answer[8:], [2, b"3100", 1, [b"member0", b"0", b"member1", b"1"], [b"member4999", b"4999"], b"5000-0"])
        self.assertEqual(self.server.info()["tier_sync_faults"], "0")

    def test_a_queue_is_memory(self):
        self.queue(("SET", "a", "x" * 100000))
        fields = self.fields(self.other)
        line = [line for line in self.other("CLIENT", "LIST").decode().splitlines() if " multi=1 " in line][0]
        fields = dict(part.split("=", 1) for part in line.split())
        self.assertGreater(int(fields["multi-mem"]), 100000)
        self.assertGreater(int(fields["tot-mem"]), 100000)
        self.assertIn("x", fields["flags"])
        self.c("DISCARD")
        limit = self.c("CONFIG", "GET", "client-query-buffer-limit")[1]
        self.c("CONFIG", "SET", "client-query-buffer-limit", 1 << 20)
        self.c("MULTI")
        with self.assertRaises((ConnectionError, OSError)):
            for _ in range(20):
                self.c("SET", "a", "x" * 100000)
        self.other("CONFIG", "SET", "client-query-buffer-limit", limit)

    def test_blocking_commands_do_not_wait(self):
        self.queue(("WAIT", 1, 0), ("GET", "a"))
        self.assertEqual(self.c("EXEC"), [0, None])

    def test_time_stands_still(self):
        self.queue(("SET", "a", 1, "PX", 20), ("DEBUG", "SLEEP", "0.05"), ("GET", "a"), ("PTTL", "a"))
        answer = self.c("EXEC")
        self.assertEqual(answer[:3], [OK, OK, b"1"])
        self.assertGreater(answer[3], 0)
        self.assertEqual(self.c("GET", "a"), None)

    def test_select_inside(self):
        self.queue(("SELECT", 2), ("SET", "a", 1), ("SELECT", 0), ("GET", "a"))
        self.assertEqual(self.c("EXEC"), [OK, OK, OK, None])
        self.c("SELECT", 2)
        self.assertEqual(self.c("GET", "a"), b"1")

    def test_pause(self):
        self.queue(("SET", "a", 1))
        self.other("CLIENT", "PAUSE", 100000, "WRITE")
        self.c.send("EXEC")
        reader = self.server.client()
        reader("MULTI")
        reader("GET", "a")
        self.assertEqual(reader("EXEC"), [None])
        self.other("CLIENT", "UNPAUSE")
        self.assertEqual(self.c.receive(), [OK])
        reader.close()

    def test_resp3_null(self):
        self.c("HELLO", 3)
        self.c("WATCH", "a")
        self.other("SET", "a", 1)
        self.queue(("GET", "a"))
        self.assertEqual(self.c("EXEC"), None)

    def test_one_turn(self):
        """Nobody sees the middle of a transaction."""
        for i in range(100 if firn.STRESS == "off" else 20):
            self.other.send_raw(b"".join(self.other.encode("MGET", "a", "b") for _ in range(20)))
            self.c.pipeline([("MULTI",), ("INCR", "a"), ("GET", "a"), ("INCR", "b"), ("EXEC",)])
            for _ in range(20):
                a, b = self.other.receive()
                self.assertEqual(a, b)


if __name__ == "__main__":
    unittest.main()
