# SPDX-License-Identifier: BSD-3-Clause
"""What an operator asks a server: ACL as far as it goes, CLIENT, COMMAND, LATENCY, MEMORY, SLOWLOG, SHUTDOWN, and the HELP of each."""
import firn


class Admin(firn.Case):
    def test_every_help_names_its_subcommands(self):
        containers = [row[0] for row in self.c("COMMAND") if row[1] == -2 and row[9]]
        helps = 0
        for name in containers:
            subcommands = [row[0].split(b"|")[1].upper() for row in self.c("COMMAND", "INFO", name)[0][9]]
            if b"HELP" not in subcommands:
                continue
            lines = self.c(name, "HELP")
            self.assertTrue(lines[0].startswith(name.decode().upper() + " <subcommand>"), lines[0])
            text = "\n".join(lines)
            for subcommand in subcommands:
                self.assertIn(subcommand.decode(), text)
            self.assertEqual(self.c.error(name, "HELP", "x", "y"), f"ERR wrong number of arguments for '{name.decode()}|help' command")
            helps += 1
        self.assertIn("SETID <key>", "\n".join(self.c("XGROUP", "HELP")))
        self.assertIn("FULL", "\n".join(self.c("XINFO", "HELP")))
        self.assertGreaterEqual(helps, 12)  # ACL, CLIENT, COMMAND, CONFIG ...

    def test_acl_of_the_one_user(self):
        c = self.c
        self.assertEqual((c("ACL", "WHOAMI"), c("ACL", "USERS")), (b"default", [b"default"]))
        self.assertEqual(c("ACL", "LIST"), [b"user default on nopass sanitize-payload ~* &* +@all"])
        user = c("ACL", "GETUSER", "default")
        self.assertEqual(user[user.index(b"commands") + 1], b"+@all")
        self.assertIsNone(c("ACL", "GETUSER", "nobody"))
        self.assertIn(b"sortedset", c("ACL", "CAT"))
        self.assertEqual(set(c("ACL", "CAT", "geo")), {b"geoadd", b"geodist", b"geohash", b"geopos", b"geosearch", b"geosearchstore", b"georadius",
                                                        b"georadius_ro", b"georadiusbymember", b"georadiusbymember_ro"})
        self.assertEqual(c.error("ACL", "CAT", "nosuch"), "ERR Unknown category 'nosuch'")
        passwords = {c("ACL", "GENPASS") for _ in range(5)}
        self.assertEqual((len(passwords), {len(password) for password in passwords}), (5, {64}))
        self.assertEqual(len(c("ACL", "GENPASS", 5)), 2)
        self.assertIn("positive number up to 4096", c.error("ACL", "GENPASS", 0))
        self.assertEqual(c("ACL", "LOG"), [])
        self.assertEqual(c("ACL", "LOG", "RESET"), "OK")

    def fields(self, client):
        return dict(part.split("=", 1) for part in client("CLIENT", "INFO").decode().split())

    def ended(self, *names):
        """Which of these clients the server has closed: they are no longer in its list."""
        alive = [row.split(b" name=")[1].split(b" ")[0].decode() for row in self.c("CLIENT", "LIST").splitlines()]
        return {name for name in names if name not in alive}

    def test_client_kill_by_filters(self):
        names = ("one", "two", "three")

        def fresh():
            clients = {name: self.client() for name in names}
            for name, client in clients.items():
                client("CLIENT", "SETNAME", name)
            clients["two"]("SUBSCRIBE", "channel")
            return clients
        me = self.fields(self.c)["addr"]
        clients = fresh()
        self.assertEqual(self.c("CLIENT", "KILL", "TYPE", "PUBSUB"), 1)
        self.assertEqual(self.ended(*names), {"two"})
        self.assertEqual((self.c("CLIENT", "KILL", "TYPE", "REPLICA"), self.c("CLIENT", "KILL", "TYPE", "SLAVE"), self.c("CLIENT", "KILL", "TYPE", "MASTER")), (0, 0, 0))
        self.assertEqual(self.c("CLIENT", "KILL", "ADDR", self.fields(clients["one"])["addr"]), 1)
        self.assertEqual(self.ended(*names), {"one", "two"})
        self.assertEqual(self.c("CLIENT", "KILL", "ID", self.fields(clients["three"])["id"], "TYPE", "PUBSUB"), 0)
        self.assertEqual(self.c("CLIENT", "KILL", "ID", self.fields(clients["three"])["id"], "USER", "default"), 1)
        clients = fresh()
        self.assertEqual(self.c("CLIENT", "KILL", "MAXAGE", 100000), 0)
        self.assertEqual(self.c("CLIENT", "KILL", "LADDR", "127.0.0.1:%d" % self.server.port), 3)  # SKIPME is the default
        clients = fresh()
        self.assertEqual(self.c("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES"), 2)
        self.assertEqual(self.ended(*names), {"one", "three"})
        clients["one"] = self.client()
        self.assertEqual(clients["one"]("CLIENT", "KILL", "ADDR", me, "SKIPME", "NO"), 1)
        self.assertTrue(self.c.at_end())
        self.c = self.client()
        self.c("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "NO")  # itself: answered, then closed
        self.assertTrue(self.c.at_end())
        self.c = self.client()
        self.assertEqual(self.c.error("CLIENT", "KILL", "USER", "nobody"), "ERR No such user 'nobody'")
        self.assertEqual(self.c.error("CLIENT", "KILL", "TYPE", "nobody"), "ERR Unknown client type 'nobody'")
        self.assertEqual(self.c.error("CLIENT", "KILL", "ID", "0"), "ERR client-id should be greater than 0")
        self.assertEqual(self.c.error("CLIENT", "KILL", "127.0.0.1:1"), "ERR No such client")

    def test_client_settings(self):
        c = self.c
        self.assertEqual(c("CLIENT", "SETINFO", "LIB-NAME", "library"), "OK")
        self.assertEqual(c("CLIENT", "SETINFO", "lib-ver", "1.2"), "OK")
        self.assertEqual((self.fields(c)["lib-name"], self.fields(c)["lib-ver"]), ("library", "1.2"))
        self.assertEqual(c.error("CLIENT", "SETINFO", "LIB-NAME", "a b"), "ERR lib-name cannot contain spaces, newlines or special characters.")
        self.assertEqual(c.error("CLIENT", "SETINFO", "nope", "x"), "ERR Unrecognized option 'nope'")
        self.assertEqual(c("CLIENT", "LIST", "TYPE", "REPLICA"), b"")
        self.assertEqual(c("CLIENT", "NO-TOUCH", "ON"), "OK")
        self.assertIn("T", self.fields(c)["flags"])
        self.assertEqual(c("CLIENT", "NO-TOUCH", "OFF"), "OK")
        self.assertNotIn("T", self.fields(c)["flags"])

    def test_client_side_caching_is_off(self):
        c = self.c
        self.assertEqual(c("CLIENT", "GETREDIR"), -1)
        self.assertEqual(c("CLIENT", "TRACKINGINFO"), [b"flags", [b"off"], b"redirect", -1, b"prefixes", []])
        self.assertEqual(c("CLIENT", "TRACKING", "OFF"), "OK")
        self.assertIn("OPTIN or OPTOUT", c.error("CLIENT", "CACHING", "YES"))
        for words in (("ON",), ("ON", "BCAST", "PREFIX", "a", "NOLOOP"), ("ON", "OPTIN"), ("ON", "OPTOUT"), ("ON", "REDIRECT", "1")):
            self.assertIn("client-side caching is not available", c.error("CLIENT", "TRACKING", *words))

    def test_command_introspection(self):
        c = self.c
        self.assertEqual(c("COMMAND", "GETKEYSANDFLAGS", "SET", "a", "b"), [[b"a", ["OW", "update"]]])
        self.assertEqual(c("COMMAND", "GETKEYSANDFLAGS", "LMOVE", "a", "b", "LEFT", "LEFT"), [[b"a", ["RW", "access", "delete"]], [b"b", ["RW", "insert"]]])
        self.assertEqual(c.error("COMMAND", "GETKEYSANDFLAGS", "PING"), "ERR The command has no key arguments")
        self.assertEqual(sorted(c("COMMAND", "LIST", "FILTERBY", "PATTERN", "geor*_ro")), [b"georadius_ro", b"georadiusbymember_ro"])
        self.assertEqual(set(c("COMMAND", "LIST", "FILTERBY", "ACLCAT", "geo")), set(c("ACL", "CAT", "geo")))
        self.assertEqual(c("COMMAND", "LIST", "FILTERBY", "ACLCAT", "nosuch"), [])
        self.assertEqual(c("COMMAND", "LIST", "FILTERBY", "MODULE", "nosuch"), [])
        self.assertEqual(c.error("COMMAND", "LIST", "FILTERBY", "NOSUCH", "x"), "ERR syntax error")

    def test_latency(self):
        c = self.c
        c("CONFIG", "SET", "latency-monitor-threshold", 1)
        c("DEBUG", "SLEEP", 0.02)
        samples = c("LATENCY", "HISTORY", "command")
        self.assertGreaterEqual(samples[-1][1], 20)
        self.assertIn("command", str(c("LATENCY", "GRAPH", "command")))
        self.assertIn("command", c("LATENCY", "DOCTOR").decode())
        self.assertGreaterEqual(c("LATENCY", "RESET", "command", "nosuch"), 1)
        self.assertEqual(c("LATENCY", "HISTORY", "command"), [])
        self.assertEqual(c.error("LATENCY", "GRAPH", "command"), "ERR No samples available for event 'command'")
        c("CONFIG", "SET", "latency-monitor-threshold", 0)
        c("CONFIG", "RESETSTAT")
        for _ in range(3):
            c("GET", "x")
        (name, row), = zip(*[iter(c("LATENCY", "HISTOGRAM", "GET"))] * 2)
        self.assertEqual((name, row[:2]), (b"get", [b"calls", 3]))
        self.assertEqual(row[3][-1], 3)  # the last bucket holds all

    def test_memory(self):
        c = self.c
        self.assertEqual(c("MEMORY", "PURGE"), "OK")
        self.assertIn(b"MEMORY PURGE" if firn.SANITIZED else b"Sam", c("MEMORY", "DOCTOR"))  # a sanitizer takes much for itself
        self.assertGreater(len(c("MEMORY", "MALLOC-STATS")), 10)
        c("HSET", "h", *(part for i in range(2000) for part in ("f%d" % i, "v" * 50)))
        for samples in (0, 5, 100000):
            self.assertGreater(c("MEMORY", "USAGE", "h", "SAMPLES", samples), 100 if firn.STRESS != "off" else 100000)
        self.assertEqual(c.error("MEMORY", "USAGE", "h", "SAMPLES", -1), "ERR syntax error")
        self.assertIsNone(c("MEMORY", "USAGE", "none"))

    def test_slowlog(self):
        c = self.c
        c("CONFIG", "SET", "slowlog-log-slower-than", 0)
        c("SLOWLOG", "RESET")
        c("GET", "slow")
        self.assertEqual(c("SLOWLOG", "GET", 1)[0][3], [b"GET", b"slow"])
        c("CONFIG", "SET", "slowlog-log-slower-than", 10000)
        self.assertEqual(c("SLOWLOG", "RESET"), "OK")
        self.assertEqual(c("SLOWLOG", "LEN"), 0)

    def test_flushes_now_and_later(self):
        for words in (("FLUSHALL", "SYNC"), ("FLUSHALL", "ASYNC"), ("FLUSHDB", "SYNC"), ("FLUSHDB", "ASYNC"), ("FLUSHDB",)):
            self.c("SET", "a", "b")
            self.assertEqual(self.c(*words), "OK")
            self.assertEqual(self.c("DBSIZE"), 0)
        self.assertEqual(self.c.error("FLUSHALL", "LATER"), "ERR syntax error")

    def test_lolwut_and_restore_asking(self):
        self.assertIn(b"7.4", self.c("LOLWUT", "VERSION", 5))
        self.c("SET", "a", "value")
        dump = self.c("DUMP", "a")
        self.assertEqual(self.c("RESTORE-ASKING", "b", 0, dump), "OK")
        self.assertEqual(self.c("GET", "b"), b"value")
        for word in ("RESTORE", "RESTORE-ASKING"):
            self.assertEqual(self.c.error(word, "b", 0, dump), "BUSYKEY Target key name already exists.")
            self.assertEqual(self.c(word, "b", 4000000000000, dump, "REPLACE", "ABSTTL", "IDLETIME", 1000), "OK")
            self.assertEqual(self.c("PEXPIRETIME", "b"), 4000000000000)
            self.assertGreaterEqual(self.c("OBJECT", "IDLETIME", "b"), 1000 if firn.STRESS == "off" else 0)
            self.assertEqual(self.c(word, "b", 1, dump, "ABSTTL", "REPLACE"), "OK")  # long past
            self.assertEqual(self.c("EXISTS", "b"), 0)
            self.assertEqual(self.c(word, "b", 0, dump, "FREQ", 100), "OK")
            self.assertEqual(self.c.error(word, "b", 0, dump, "FREQ", 256), "ERR Invalid FREQ value, must be >= 0 and <= 255")
            self.assertEqual(self.c.error(word, "b", 0, dump, "IDLETIME", -1), "ERR Invalid IDLETIME value, must be >= 0")

    def test_shutdown_words(self):
        self.assertEqual(self.c.error("SHUTDOWN", "ABORT"), "ERR No shutdown in progress.")
        for words in (("ABORT", "NOW"), ("SAVE", "NOSAVE"), ("LATER",)):
            self.assertEqual(self.c.error("SHUTDOWN", *words), "ERR syntax error")
        with firn.Server() as server:
            client = server.client()
            client.send("SHUTDOWN", "NOSAVE", "NOW")
            self.assertEqual(server.wait_exit(), 0)
            client.close()
