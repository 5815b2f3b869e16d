# SPDX-License-Identifier: BSD-3-Clause
"""Pub/sub and keyspace notifications. The same holds for redis-server."""
import unittest

import firn
from firn import Push


class PubSub(firn.Case):
    def setUp(self):
        super().setUp()
        self.s = self.client()

    def tearDown(self):
        self.c("CONFIG", "SET", "notify-keyspace-events", "")

    def fields(self, client):
        ident = client
        return [dict(part.split("=", 1) for part in line.split()) for line in self.c("CLIENT", "LIST").decode().splitlines() if line.startswith(f"id={ident} ")][0]

    def test_channels_and_patterns(self):
        self.assertEqual(self.s("SUBSCRIBE", "a", "b"), [b"subscribe", b"a", 1])
        self.assertEqual(self.s.receive(), [b"subscribe", b"b", 2])
        self.assertEqual(self.s("PSUBSCRIBE", "a*", "[xy]"), [b"psubscribe", b"a*", 3])
        self.assertEqual(self.s.receive(), [b"psubscribe", b"[xy]", 4])
        self.assertEqual(self.s("SUBSCRIBE", "a"), [b"subscribe", b"a", 4])
        self.assertEqual(self.c("PUBLISH", "a", "m\r\n\x00"), 2)
        self.assertEqual(self.s.receive(), [b"message", b"a", b"m\r\n\x00"])
        self.assertEqual(self.s.receive(), [b"pmessage", b"a*", b"a", b"m\r\n\x00"])
        self.assertEqual(self.c("PUBLISH", "x", ""), 1)
        self.assertEqual(self.s.receive(), [b"pmessage", b"[xy]", b"x", b""])
        self.assertEqual(self.c("PUBLISH", "nobody", "m"), 0)
        self.assertEqual(sorted(self.c("PUBSUB", "CHANNELS")), [b"a", b"b"])
        self.assertEqual(self.c("PUBSUB", "CHANNELS", "b*"), [b"b"])
        self.assertEqual(self.c("PUBSUB", "NUMSUB", "a", "c"), [b"a", 1, b"c", 0])
        self.assertEqual(self.c("PUBSUB", "NUMPAT"), 2)
        info = self.server.info()
        self.assertEqual((info["pubsub_channels"], info["pubsub_patterns"], info["pubsub_clients"]), ("2", "2", "1"))
        self.assertEqual(self.s("UNSUBSCRIBE"), [b"unsubscribe", b"a", 3])
        self.assertEqual(self.s.receive(), [b"unsubscribe", b"b", 2])
        self.assertEqual(self.s("UNSUBSCRIBE"), [b"unsubscribe", None, 2])
        self.assertEqual(self.s("PUNSUBSCRIBE", "a*", "nosuch", "[xy]"), [b"punsubscribe", b"a*", 1])
        self.assertEqual(self.s.receive(), [b"punsubscribe", b"nosuch", 1])
        self.assertEqual(self.s.receive(), [b"punsubscribe", b"[xy]", 0])
        self.assertEqual(self.s("PING"), "PONG")
        self.assertEqual(self.c("PUBSUB", "CHANNELS"), [])

    def test_shard_channels(self):
        self.assertEqual(self.s("SSUBSCRIBE", "a"), [b"ssubscribe", b"a", 1])
        self.assertEqual(self.s("SUBSCRIBE", "a"), [b"subscribe", b"a", 1])
        self.assertEqual(self.c("SPUBLISH", "a", "m"), 1)
        self.assertEqual(self.s.receive(), [b"smessage", b"a", b"m"])
        self.assertEqual(self.c("PUBSUB", "SHARDCHANNELS"), [b"a"])
        self.assertEqual(self.c("PUBSUB", "SHARDNUMSUB", "a", "b"), [b"a", 1, b"b", 0])
        self.assertEqual(self.s("SUNSUBSCRIBE", "a"), [b"sunsubscribe", b"a", 0])
        self.assertEqual(self.c("SPUBLISH", "a", "m"), 0)

    def test_what_a_subscriber_may_do(self):
        ident = self.s("CLIENT", "ID")
        self.s("SUBSCRIBE", "a")
        self.assertEqual(self.s.error("GET", "x"), "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
        self.assertEqual(self.s.error("CONFIG", "GET", "x")[:28], "ERR Can't execute 'config|ge")
        self.assertEqual(self.s("PING"), [b"pong", b""])
        self.assertEqual(self.s("PING", "x"), [b"pong", b"x"])
        fields = self.fields(ident)
        self.assertEqual((fields["sub"], fields["psub"], fields["ssub"], fields["flags"]), ("1", "0", "0", "P"))
        self.assertIn(f"id={ident} ", self.c("CLIENT", "LIST", "TYPE", "pubsub").decode())
        self.assertEqual(self.s("RESET"), "RESET")
        self.assertEqual(self.s("PING"), "PONG")
        self.assertEqual(self.c("PUBLISH", "a", "m"), 0)
        self.s("HELLO", 3)
        self.assertEqual(self.s("SUBSCRIBE", "a"), Push([b"subscribe", b"a", 1]))
        self.assertEqual(self.s("SET", "x", 1), "OK")
        self.assertEqual(self.s("PING"), "PONG")

    def test_to_itself(self):
        """Messages come behind the reply of the command that caused them, behind all of an EXEC."""
        self.s("HELLO", 3)
        self.s("SUBSCRIBE", "a")
        self.s.send("PUBLISH", "a", 1)
        self.assertEqual(self.s.receive(), 1)
        self.assertEqual(self.s.receive(), Push([b"message", b"a", b"1"]))
        self.s("MULTI")
        for command in (("PING", "x"), ("PUBLISH", "a", 2), ("PING", "y")):
            self.assertEqual(self.s(*command), "QUEUED")
        self.assertEqual(self.s("EXEC"), [b"x", 1, b"y"])
        self.assertEqual(self.s.receive(), Push([b"message", b"a", b"2"]))
        self.s("MULTI")
        self.s("PING", "x")
        self.s("UNSUBSCRIBE", "a")
        self.assertEqual(self.s("EXEC"), [b"x", Push([b"unsubscribe", b"a", 0])])

    def test_reply_off(self):
        self.s("HELLO", 3)
        self.s.send("CLIENT", "REPLY", "OFF")
        self.assertEqual(self.s("SUBSCRIBE", "a"), Push([b"subscribe", b"a", 1]))
        self.assertEqual(self.c("PUBLISH", "a", "m"), 1)
        self.assertEqual(self.s.receive(), Push([b"message", b"a", b"m"]))

    def test_output_limit(self):
        self.c("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
        self.s("SUBSCRIBE", "a")
        for _ in range(400):
            if self.c("PUBLISH", "a", "x" * 50000) == 0:
                break
        else:
            self.fail("a subscriber that does not read stays for ever")
        self.c("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60")

    def test_a_subscriber_that_goes(self):
        for _ in range(20):
            client = self.server.client()
            client("SUBSCRIBE", "a", "b")
            client("PSUBSCRIBE", "*")
            client.close()
        firn.wait_until(lambda: self.server.info()["pubsub_clients"] == "0", "subscribers are left")
        self.assertEqual(self.c("PUBLISH", "a", "m"), 0)

    # --- keyspace notifications ---

    def events(self, classes, *commands, count=None):
        """(event, key) in order, of the commands run one after the other."""
        self.c("CONFIG", "SET", "notify-keyspace-events", "E" + classes)
        listener = self.server.client()
        listener("PSUBSCRIBE", "__key*__:*")
        for command in commands:
            try:
                self.c(*command)
            except firn.ReplyError:
                pass
        self.c("CONFIG", "SET", "notify-keyspace-events", "")
        self.c("PUBLISH", "__key__:", "end")
        seen = []
        while True:
            message = listener.receive()
            if message[3] == b"end":
                break
            seen.append((message[2].split(b":", 1)[1].decode(), message[3].decode()))
        listener.close()
        return seen

    def test_names_of_channels(self):
        self.c("CONFIG", "SET", "notify-keyspace-events", "KEA")
        self.s("PSUBSCRIBE", "*")
        self.c("SELECT", 3)
        self.c("SET", "k", 1)
        self.assertEqual(self.s.receive(), [b"pmessage", b"*", b"__keyspace@3__:k", b"set"])
        self.assertEqual(self.s.receive(), [b"pmessage", b"*", b"__keyevent@3__:set", b"k"])
        self.assertEqual(self.c("CONFIG", "GET", "notify-keyspace-events"), [b"notify-keyspace-events", b"AKE"])

    def test_events_in_order(self):
        for classes, commands, expected in (
                ("A", [("SET", "a", 1), ("EXPIRE", "a", 100), ("RENAME", "a", "b"), ("DEL", "b", "c")],
                 [("set", "a"), ("expire", "a"), ("rename_from", "a"), ("rename_to", "b"), ("del", "b")]),
                ("A", [("SET", "a", 1, "EX", 100), ("APPEND", "a", "x"), ("PERSIST", "a"), ("GETDEL", "a")],
                 [("set", "a"), ("expire", "a"), ("append", "a"), ("persist", "a"), ("del", "a")]),
                ("A", [("HSET", "h", "f", 1), ("HINCRBY", "h", "f", 1), ("HDEL", "h", "f")], [("hset", "h"), ("hincrby", "h"), ("hdel", "h"), ("del", "h")]),
                ("s", [("SADD", "s", 1, 2), ("SREM", "s", 1), ("SPOP", "s")], [("sadd", "s"), ("srem", "s"), ("spop", "s")]),
                ("n$g", [("SET", "k", 1), ("SET", "k", 2), ("COPY", "k", "l"), ("MSET", "m", 1, "k", 3)],
                 [("new", "k"), ("set", "k"), ("set", "k"), ("new", "l"), ("copy_to", "l"), ("new", "m"), ("set", "m"), ("set", "k")]),
                ("m", [("GET", "no"), ("SET", "k", 1), ("GET", "k"), ("MGET", "x", "k", "y"), ("HGET", "no", "f"), ("SET", "no", 1, "XX")],
                 [("keymiss", "no"), ("keymiss", "x"), ("keymiss", "y"), ("keymiss", "no")]),
                ("xm", [("SET", "k", 1, "PX", 5), ("DEBUG", "SLEEP", "0.02"), ("GET", "k")], None),
                ("", [("SET", "k", 1)], []),
        ):
            self.c("FLUSHALL")
            seen = self.events(classes, *commands)
            if expected is None:
                self.assertEqual(sorted(seen), [("expired", "k"), ("keymiss", "k")])
            else:
                self.assertEqual(seen, expected, commands)

    def test_a_miss_is_told_once(self):
        """However often a command runs again for its cold pages."""
        for i in range(20):
            self.c("SET", f"k{i}", "x" * 500)
        seen = self.events("m", ("MGET", "no1", *[f"k{i}" for i in range(10)], "no2", *[f"k{i}" for i in range(10, 20)]), ("GET", "no3"))
        self.assertEqual(seen, [("keymiss", "no1"), ("keymiss", "no2"), ("keymiss", "no3")])

    def test_evicted(self):
        if firn.STRESS != "off":
            return
        self.c("SET", "k", "v")
        self.c("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "notify-keyspace-events", "Ee")
        self.s("PSUBSCRIBE", "*")
        self.c("CONFIG", "SET", "maxmemory", 1)
        self.assertEqual(self.s.receive(), [b"pmessage", b"*", b"__keyevent@0__:evicted", b"k"])
        self.c("CONFIG", "SET", "maxmemory", 0, "maxmemory-policy", "noeviction")


if __name__ == "__main__":
    unittest.main()
