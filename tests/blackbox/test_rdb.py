# SPDX-License-Identifier: BSD-3-Clause
"""RDB files: saved, loaded, exchanged with redis-server, and what happens when disks, files and processes fail."""
import glob
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import firn

ORACLE = shutil.which("redis-server")
FACTOR = 1 if firn.STRESS == "off" and not firn.SANITIZED else 4
SAMPLES = os.environ.get("FIRN_RDB_SAMPLES", "")  # a folder of RDB files by others


class Oracle(firn.Server):
    """A redis-server on the folder of a test."""

    def __init__(self, folder, *options):
        self.keep, self.folder, self.port = True, folder, firn.free_port()
        self.log = os.path.join(folder, "log.oracle")
        self.launch([ORACLE, "--port", str(self.port), "--dir", folder, "--save", "", "--enable-debug-command", "yes", *options])
        self.wait_ready()


def knows(client, command):
    return client("COMMAND", "INFO", command) not in ([None], [])


def types_of(client):
    """The types beside strings, hashes and sets that a server knows."""
    return {kind for kind, command in (("list", "RPUSH"), ("zset", "ZADD"), ("stream", "XADD")) if knows(client, command)}


def commands_of_everything(rng, types, keys):
    """Keys of every type there is, small and large, with and without deadlines."""
    out = []
    later = int(time.time() * 1000) + 10 ** 7
    sizes = [1, 3, 20, 130, 600 // FACTOR]
    for i in range(keys):
        size = rng.choice(sizes)
        out.append(("SET", "string:%d" % i, rng.choice([b"", b"x", b"12", b"x" * 60, b"-99999999999", bytes(rng.randrange(256) for _ in range(300))]) + b"%d" % i))
        out.append(("SET", "number:%d" % i, rng.choice([0, -1, 127, 128, -129, 40000, 2 ** 31, -2 ** 40, 2 ** 63 - 1])))
        out.append(("HSET", "hash:%d" % i, *sum(([b"field:%d" % j, rng.choice([b"v", b"17", b"y" * 70]) + b"%d" % j] for j in range(size)), [])))
        out.append(("SADD", "integers:%d" % i, *(rng.randrange(-2 ** rng.choice([7, 15, 31, 62]), 2 ** 20) for _ in range(size))))
        out.append(("SADD", "set:%d" % i, *("member:%d" % rng.randrange(10 ** 6) for _ in range(size))))
        if "list" in types:
            out.append(("RPUSH", "list:%d" % i, *(rng.choice([b"e", b"1234", b"z" * 100]) + b"%d" % j for j in range(size))))
        if "zset" in types:
            out.append(("ZADD", "zset:%d" % i, *sum(([rng.choice([j, j / 7, -j * 1e18, "inf", "-inf"]), "m:%d" % j] for j in range(size)), [])))
        if "stream" in types:
            for j in range(min(size, 130)):
                out.append(("XADD", "stream:%d" % i, "%d-%d" % (j + 1, i), "f", "v%d" % j, "g", j))
            out.append(("XDEL", "stream:%d" % i, "2-%d" % i))
            for group in range(i % 3):
                out.append(("XGROUP", "CREATE", "stream:%d" % i, "group:%d" % group, "0"))
                out.append(("XREADGROUP", "GROUP", "group:%d" % group, "consumer", "COUNT", 3, "STREAMS", "stream:%d" % i, ">"))
        if i % 3 == 0:
            out.append(("PEXPIREAT", "string:%d" % i, later + i))
            out.append(("PEXPIREAT", "hash:%d" % i, later - i))
    out.append(("SET", "long", bytes(rng.randrange(256) for _ in range(100)) * 2000))
    out.append(("SELECT", 3))
    out.append(("SET", "elsewhere", "x"))
    out.append(("SELECT", 0))
    return out


def fill(client, seed, keys, types=None):
    commands = commands_of_everything(random.Random(seed), types_of(client) if types is None else types, keys)
    for start in range(0, len(commands), 500):
        for reply in client.pipeline(commands[start:start + 500]):
            assert not isinstance(reply, firn.ReplyError), reply


def value(client, key, kind):
    if kind == "string":
        return client("GET", key)
    if kind == "hash":
        flat = client("HGETALL", key)
        return sorted(zip(flat[::2], flat[1::2]))
    if kind == "set":
        return sorted(client("SMEMBERS", key))
    if kind == "list":
        return client("LRANGE", key, 0, -1)
    if kind == "zset":
        flat = client("ZRANGE", key, 0, -1, "WITHSCORES")  # 7.0 prints 17 digits, 7.4 as few as needed
        return [(member, float(score)) for member, score in zip(flat[::2], flat[1::2])]
    groups = [dict(zip(group[::2], group[1::2])) for group in client("XINFO", "GROUPS", key)]
    pending = [client("XPENDING", key, group[b"name"], "-", "+", 10) for group in groups]
    return client("XRANGE", key, "-", "+"), groups, [[one[:2] + one[3:] for one in rows] for rows in pending]


def content(client):
    out = {}
    for db in range(16):
        client("SELECT", db)
        for key in client("KEYS", "*"):
            kind = client("TYPE", key)
            out[db, key] = kind, client("PEXPIRETIME", key), client("OBJECT", "ENCODING", key), value(client, key, kind)
    client("SELECT", 0)
    return out


def plain(everything):
    """Without encodings: those of sets differ between levels of Redis."""
    return {key: (kind, deadline, data) for key, (kind, deadline, _, data) in everything.items()}


class WithFolder(firn.Case):
    OPTIONS = None

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(prefix="firn-rdb-")
        self.path = os.path.join(self.folder, "dump.rdb")
        self.servers = []

    def tearDown(self):
        for server in self.servers:
            if not server.output.closed:
                server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def server(self, *options, loaded=True, **more):
        """It has loaded its file, but for those that take their time by order, or are asked meanwhile (loaded=False)."""
        self.servers.append(firn.Server(*options, folder=self.folder, **more))
        if loaded and more.get("wait", True) and "--key-load-delay" not in options:
            firn.wait_until(lambda: self.servers[-1].info("persistence")["loading"] == "0", "it loads for ever", 60)
        return self.servers[-1]

    def oracle(self, *options):
        self.servers.append(Oracle(self.folder, *options))
        return self.servers[-1]

    def file(self):
        with open(self.path, "rb") as file:
            return file.read()

    def temporary(self):
        return glob.glob(os.path.join(self.folder, "temp-*"))


class Files(WithFolder):
    def test_what_is_saved_is_loaded(self):
        server = self.server()
        c = server.client()
        fill(c, 1, 60 // FACTOR)
        before, digest = content(c), c("DEBUG", "DIGEST")
        last = c("LASTSAVE")
        time.sleep(1.1)
        self.assertGreater(int(server.info()["rdb_changes_since_last_save"]), 0)
        self.assertEqual(c("SAVE"), "OK")
        self.assertGreater(c("LASTSAVE"), last)
        info = server.info()
        self.assertEqual(info["rdb_changes_since_last_save"], "0")
        self.assertEqual((info["rdb_saves"], info["rdb_last_bgsave_status"]), ("1", "ok"))
        self.assertEqual(self.temporary(), [])
        server.stop(signal.SIGKILL)
        server = self.server()
        c = server.client()
        self.assertEqual(content(c), before)
        self.assertEqual(c("DEBUG", "DIGEST"), digest)
        self.assertEqual(server.info()["rdb_last_load_keys_loaded"], str(len(before)))
        for _ in range(2):
            self.assertEqual(c("DEBUG", "RELOAD"), "OK")
            self.assertEqual(c("DEBUG", "DIGEST"), digest)
        self.assertEqual(content(c), before)

    @unittest.skipUnless(ORACLE, "no redis-server here")
    def test_redis_reads_it_and_is_read(self):
        for options in ((), ("--rdbcompression", "no"), ("--maxmemory-policy", "allkeys-lfu"), ("--maxmemory-policy", "volatile-lru")):
            server = self.server(*options)
            c = server.client()
            c("FLUSHALL")
            fill(c, 2, 30 // FACTOR)
            before = plain(content(c))
            self.assertEqual(c("SAVE"), "OK")
            self.assertEqual(self.file()[:9], b"REDIS0010")
            redis = self.oracle(*options)
            r = redis.client()
            self.assertEqual(plain(content(r)), before)
            self.assertEqual(r("DEBUG", "DIGEST"), c("DEBUG", "DIGEST"))
            for key in ("string:0", "hash:1", "set:2", "integers:0", "list:1", "zset:1", "stream:1"):
                self.assertEqual(r("DEBUG", "DIGEST-VALUE", key), c("DEBUG", "DIGEST-VALUE", key))
            r("FLUSHALL")
            fill(r, 3, 30 // FACTOR, types_of(c))
            before, digest = plain(content(r)), r("DEBUG", "DIGEST")
            self.assertEqual(r("SAVE"), "OK")
            server.stop()
            server = self.server(*options)
            c = server.client()
            self.assertEqual(plain(content(c)), before)
            self.assertEqual(c("DEBUG", "DIGEST"), digest)
            redis.stop()
            server.stop()

    @unittest.skipUnless(ORACLE, "no redis-server here")
    def test_old_encodings_from_redis(self):
        """Thresholds of 0 make redis-server write the plain forms; both ways."""
        options = ("--hash-max-listpack-entries", "0", "--set-max-intset-entries", "0", "--zset-max-listpack-entries", "0", "--list-max-listpack-size", "1")
        probe = self.server()
        types = types_of(probe.client())
        probe.stop()
        redis = self.oracle(*options)
        r = redis.client()
        fill(r, 4, 20, types)
        before, digest = plain(content(r)), r("DEBUG", "DIGEST")
        self.assertEqual(r("SAVE"), "OK")
        redis.stop()
        c = self.server().client()
        self.assertEqual(plain(content(c)), before)
        self.assertEqual(c("DEBUG", "DIGEST"), digest)

    def test_the_version_follows_the_content(self):
        c = self.server().client()
        c("HSET", "h", "a", "1", "b", "2")
        c("SADD", "s", "x", "y")
        self.assertEqual(c("SAVE"), "OK")
        self.assertEqual(self.file()[:9], b"REDIS0010")
        deadline = int(time.time() * 1000) + 10 ** 7
        c("HPEXPIREAT", "h", deadline, "FIELDS", 1, "a")
        c("HSET", "large", *sum((["f%d" % i, i] for i in range(300)), []))
        c("HPEXPIREAT", "large", deadline, "FIELDS", 2, "f1", "f7")
        digest = c("DEBUG", "DIGEST")
        self.assertEqual(c("DEBUG", "RELOAD"), "OK")
        self.assertEqual(self.file()[:9], b"REDIS0012")
        self.assertEqual(c("HPEXPIRETIME", "h", "FIELDS", 2, "a", "b"), [deadline, -1])
        self.assertEqual(c("HPEXPIRETIME", "large", "FIELDS", 3, "f1", "f2", "f7"), [deadline, -1, deadline])
        self.assertEqual(c("DEBUG", "DIGEST"), digest)
        c("DEL", "h", "large")
        self.assertEqual(c("SAVE"), "OK")
        self.assertEqual(self.file()[:9], b"REDIS0010")
        if "stream" in types_of(c):
            c("XADD", "stream", "1-1", "f", "v")
            c("XGROUP", "CREATE", "stream", "g", "0")
            c("XREADGROUP", "GROUP", "g", "reader", "STREAMS", "stream", ">")
            self.assertEqual(c("DEBUG", "RELOAD"), "OK")
            self.assertEqual(self.file()[:9], b"REDIS0010")
            c("XGROUP", "CREATECONSUMER", "stream", "g", "idle")
            full = c("XINFO", "STREAM", "stream", "FULL")
            self.assertEqual(c("DEBUG", "RELOAD"), "OK")
            self.assertEqual(self.file()[:9], b"REDIS0011")
            self.assertEqual(c("XINFO", "STREAM", "stream", "FULL"), full)

    def test_without_checksum(self):
        server = self.server("--rdbchecksum", "no")
        c = server.client()
        c("SET", "a", "b")
        c("SAVE")
        self.assertEqual(self.file()[-8:], bytes(8))
        server.stop()
        server = self.server()
        self.assertEqual(server.client()("GET", "a"), b"b")
        self.assertIn("checksum disabled", server.text())

    def test_due_keys_are_not_loaded(self):
        server = self.server()
        c = server.client()
        c("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        c("SET", "due", 1, "PX", 50)
        c("SET", "stays", 1)
        c("SAVE")
        server.stop()
        time.sleep(0.1)
        server = self.server()
        self.assertEqual(server.client()("KEYS", "*"), [b"stays"])
        self.assertEqual(server.info()["rdb_last_load_keys_expired"], "1")
        self.assertEqual(server.info()["rdb_last_load_keys_loaded"], "1")

    def test_clocks_are_kept(self):
        server = self.server("--maxmemory-policy", "allkeys-lru")
        c = server.client()
        payload = None
        c("SET", "a", "b")
        payload = c("DUMP", "a")
        c("RESTORE", "idle", 0, payload, "IDLETIME", 1000)
        c("DEBUG", "RELOAD")
        self.assertAlmostEqual(c("OBJECT", "IDLETIME", "idle"), 1000, delta=5)
        c("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
        c("RESTORE", "often", 0, payload, "FREQ", 100)
        c("DEBUG", "RELOAD")
        self.assertAlmostEqual(c("OBJECT", "FREQ", "often"), 100, delta=2)

    def test_reload_options(self):
        c = self.server().client()
        c("SET", "a", "saved")
        c("SET", "b", "saved")
        c("SAVE")
        c("SET", "a", "later")
        c("SET", "new", "later")
        self.assertIn("check server logs", c.error("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH"))
        self.assertEqual(c("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE"), "OK")
        self.assertEqual([c("GET", key) for key in ("a", "b", "new")], [b"saved", b"saved", b"later"])
        self.assertEqual(c("DEBUG", "RELOAD", "NOSAVE"), "OK")
        self.assertEqual([c("GET", key) for key in ("a", "b", "new")], [b"saved", b"saved", None])
        self.assertEqual(c.error("DEBUG", "RELOAD", "firn.QUICK"), "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")

    def test_bgsave_is_answered_as_by_redis(self):
        server = self.server()
        c = server.client()
        c("SET", "a", "b")
        for arguments in (("BGSAVE",), ("BGSAVE", "SCHEDULE")):
            self.assertEqual(c(*arguments), "Background saving started")
            info = server.info()
            self.assertEqual((info["rdb_bgsave_in_progress"], info["rdb_last_bgsave_status"]), ("0", "ok"))
        self.assertEqual(c.error("BGSAVE", "SOON"), "ERR syntax error")
        self.assertTrue(os.path.exists(self.path))

    def test_flushall_writes_the_empty_file_when_there_are_save_points(self):
        server = self.server("--save", "3600 1")
        c = server.client()
        c("SET", "a", "b")
        c("SAVE")
        c("FLUSHALL")
        self.assertEqual(server.info()["rdb_changes_since_last_save"], "0")
        server.stop(signal.SIGKILL)
        server = self.server("--save", "")
        c = server.client()
        self.assertEqual(c("DBSIZE"), 0)
        c("SET", "a", "b")
        c("SAVE")
        c("FLUSHALL")
        self.assertNotEqual(server.info()["rdb_changes_since_last_save"], "0")
        server.stop(signal.SIGKILL)
        self.assertEqual(self.server().client()("DBSIZE"), 1)

    def test_check(self):
        """The same program, called firn-check-rdb."""
        c = self.server().client()
        fill(c, 8, 5)
        keys = sum(c.pipeline([("SELECT", i), ("DBSIZE",)])[1] for i in range(16))
        c("SAVE")
        program = os.path.join(self.folder, "firn-check-rdb")
        os.symlink(os.path.abspath(firn.SERVER), program)

        def check(path):
            run = subprocess.run([program] + ([path] if path else []), capture_output=True, text=True, cwd="/")
            return run.returncode, run.stdout + run.stderr
        status, said = check(self.path)
        self.assertEqual(status, 0, said)
        self.assertIn("RDB looks OK!", said)
        self.assertIn("[info] %d keys read" % keys, said)
        broken = os.path.join(self.folder, "broken.rdb")
        with open(broken, "wb") as file:
            file.write(self.file()[:-20])
        status, said = check(broken)
        self.assertEqual(status, 1)
        self.assertIn("RDB ERROR DETECTED", said)
        self.assertEqual(check(os.path.join(self.folder, "none"))[0], 1)
        self.assertEqual(check(None)[0], 1)
        if os.path.isdir(SAMPLES):
            for name, expected in (("module.rdb", 0), ("future_v19.rdb", 1), ("multiple_dbs.rdb", 0)):
                self.assertEqual(check(os.path.abspath(os.path.join(SAMPLES, name)))[0], expected, name)

    def test_debug_object(self):
        c = self.server().client()
        c("SET", "i", 12)
        c("HSET", "h", "f", "v")
        self.assertRegex(c("DEBUG", "OBJECT", "i"), r"^Value at:0x[0-9a-f]+ refcount:\d+ encoding:int serializedlength:2 lru:\d+ lru_seconds_idle:0$")
        self.assertEqual(c.error("DEBUG", "OBJECT", "none"), "ERR no such key")
        self.assertEqual(c("DEBUG", "LISTPACK", "h"), "Listpack structure printed on stdout")
        self.assertEqual(c.error("DEBUG", "LISTPACK", "i"), "ERR Not a listpack encoded object.")
        self.assertEqual(c("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "10b"), "OK")
        self.assertEqual(c.error("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "x"), "ERR argument must be a memory value bigger than 1 and smaller than 4gb")
        payload = c("DUMP", "i")
        wrong = payload[:-1] + bytes([payload[-1] ^ 1])
        self.assertEqual(c.error("RESTORE", "r", 0, wrong), "ERR DUMP payload version or checksum are wrong")
        c("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
        self.assertEqual(c("RESTORE", "r", 0, wrong), "OK")

    def test_deadlines_of_fields_out_of_order_are_refused(self):
        c = self.server("--rdbcompression", "no").client()
        early, late, beyond = 4000000000001, 4000000000002, 2**48
        c("HSET", "h", "f1", "v1", "f2", "v2", "f3", "v3")
        c("HPEXPIREAT", "h", early, "FIELDS", 1, "f2")
        c("HPEXPIREAT", "h", late, "FIELDS", 1, "f1")
        payload = c("DUMP", "h")
        c("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
        self.assertEqual(c("RESTORE", "r", 0, payload), "OK")
        self.assertEqual(c("HPEXPIRETIME", "r", "FIELDS", 3, "f1", "f2", "f3"), [late, early, -1])
        for first, second in ((late, early), (early, early - 1), (early, beyond), (beyond, beyond), (0, late)):
            wrong = payload.replace(struct.pack("<q", early), b"first...").replace(struct.pack("<q", late), struct.pack("<q", second)).replace(b"first...", struct.pack("<q", first))
            self.assertEqual(c.error("RESTORE", "r", 0, wrong, "REPLACE"), "ERR Bad data format", (first, second))

    def test_a_listpack_that_says_it_is_empty_is_refused(self):
        c = self.server("--rdbcompression", "no").client()
        c("SADD", "s", "a", "b")
        c("HSET", "h", "a", "b")
        c("ZADD", "z", 1, "b")
        c("RPUSH", "l", "a", "b")
        c("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
        for key in ("s", "h", "z", "l"):
            payload = c("DUMP", key)
            self.assertEqual(payload.count(b"\0\0\0\x02\0"), 1)
            self.assertEqual(c("RESTORE", "r", 0, payload, "REPLACE"), "OK")
            self.assertEqual(c.error("RESTORE", "r", 0, payload.replace(b"\0\0\0\x02\0", b"\0\0\0\0\0"), "REPLACE"), "ERR Bad data format", key)

    def test_name_and_folder(self):
        c = self.server("--enable-protected-configs", "yes").client()
        os.mkdir(os.path.join(self.folder, "below"))
        self.assertIn("dbfilename can't be a path", c.error("CONFIG", "SET", "dbfilename", "a/b.rdb"))
        self.assertEqual(c("CONFIG", "GET", "dbfilename")[1], b"dump.rdb")
        c("CONFIG", "SET", "dir", os.path.join(self.folder, "below"), "dbfilename", "other.rdb")
        c("SET", "a", "b")
        self.assertEqual(c("SAVE"), "OK")
        self.assertEqual(os.listdir(os.path.join(self.folder, "below")), ["other.rdb"])


class Loading(WithFolder):
    def test_clients_are_answered_while_it_loads(self):
        server = self.server(stress="off")
        c = server.client()
        c.pipeline([("SET", "key:%d" % i, "v" * 100) for i in range(2000)])
        c("SAVE")
        server.stop()
        os.unlink(server.log)
        server = self.server("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024", stress="off")
        c = server.client()
        self.assertEqual(c.error("GET", "key:1"), "LOADING Redis is loading the dataset in memory")
        self.assertNotIn("Ready to accept", server.text())
        info = server.info("persistence")
        self.assertEqual(info["loading"], "1")
        self.assertEqual(info["loading_total_bytes"], str(os.path.getsize(self.path)))
        self.assertLess(float(info["loading_loaded_perc"]), 100)
        for field in ("loading_start_time", "loading_rdb_used_mem", "loading_loaded_bytes", "loading_eta_seconds"):
            self.assertIn(field, info)
        c("CONFIG", "SET", "key-load-delay", 0)
        firn.wait_until(lambda: server.info("persistence")["loading"] == "0", "it loads for ever")
        self.assertNotIn("loading_total_bytes", server.info("persistence"))
        self.assertEqual(c("DBSIZE"), 2000)
        self.assertIn("Ready to accept", server.text())

    def test_a_stop_while_loading_saves_nothing(self):
        server = self.server(stress="off")
        c = server.client()
        c.pipeline([("SET", "key:%d" % i, "v" * 100) for i in range(2000)])
        c("SAVE")
        server.stop()
        before = self.file()
        server = self.server("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024", "--save", "1 1", stress="off")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait_exit(), 0)
        self.assertEqual(self.file(), before)

    def test_a_file_cut_off_while_it_loads(self):
        server = self.server(stress="off")
        c = server.client()
        for start in range(0, 20000, 1000):
            c.pipeline([("SET", "key:%d" % i, os.urandom(100)) for i in range(start, start + 1000)])
        c("SAVE")
        server.stop()
        server = self.server("--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024", stress="off")
        os.truncate(self.path, 8192)
        self.assertEqual(server.wait_exit(), 1)
        self.assertRegex(server.text(), "Error reading the RDB file dump.rdb near offset [0-9]+ of [0-9]+: ")
        self.assertNotIn("BUG REPORT", server.text())

    def refused(self, data, expected):
        with open(self.path, "wb") as file:
            file.write(data)
        server = self.server(wait=False, stress="off")
        self.assertEqual(server.wait_exit(), 1, server.text())
        self.assertIn(expected, server.text())
        self.assertIn("Fatal error loading the DB", server.text())
        self.assertEqual(self.file(), data)
        server.stop()
        os.unlink(server.log)

    def test_broken_files_are_refused_and_left_alone(self):
        server = self.server(stress="off")
        c = server.client()
        fill(c, 5, 3)
        c("SAVE")
        server.stop()
        os.unlink(server.log)
        whole, rng = self.file(), random.Random(6)
        self.refused(b"", "Short read")
        self.refused(whole[:5], "Short read")
        self.refused(b"RADIS" + whole[5:], "Wrong signature")
        self.refused(b"REDIS0099" + whole[9:], "Can't handle RDB format version 0099")
        self.refused(b"REDIS00x1" + whole[9:], "Can't handle RDB format version")
        for size in [len(whole) - 1, len(whole) - 8, len(whole) - 9] + [rng.randrange(10, len(whole)) for _ in range(12 // FACTOR)]:
            self.refused(whole[:size], "Short read")
        for _ in range(12 // FACTOR):
            at = rng.randrange(9, len(whole) - 9)
            self.refused(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1:], "rror reading the RDB file")
        self.refused(whole[:-8] + bytes([1]) * 8, "RDB CRC error")
        head = b"REDIS0012"
        self.refused(head + b"\x1b\x01a\x01b\xff" + bytes(8), "unknown type or opcode 27 (0x1b) at offset 9")
        self.refused(head + b"\x00\x01a\x01b\x00\x01a\x01b\xff" + bytes(8), "a key twice in DB 0")
        self.refused(head + b"\xfe\x40\x63\x00\x01a\x01b\xff" + bytes(8), "more than 16 databases")
        self.refused(head + b"\xf6\x00\xff" + bytes(8), "before the release of Redis 7.0")

    def test_what_is_left_out_is_said(self):
        with open(self.path, "wb") as file:
            file.write(b"REDIS0012\xfa\x03foo\x03bar\xf5\x10#!lua name=mylib\xfe\x01\xfb\x02\x01\xf4\x05\x01\x00\xf8\x0a\x00\x01a\x01b"
                       b"\xf9\x10\xfc" + (4102444800000).to_bytes(8, "little") + b"\x00\x01c\x01d\xfd" + (4102444800).to_bytes(4, "little", signed=False)[:4] +
                       b"\x00\x01e\x01f\x04\x05empty\x00\xff" + bytes(8))
        server = self.server()
        c = server.client()
        c("SELECT", 1)
        self.assertEqual([c("GET", key) for key in "ac"], [b"b", b"d"])
        self.assertEqual(c("PEXPIRETIME", "c"), 4102444800000)
        self.assertIn("function libraries", server.text())
        self.assertIn("empty keys skipped: 1", server.text())

    @unittest.skipUnless(os.path.isdir(SAMPLES), "no sample files here")
    def test_sample_files(self):
        """Files of versions 2 to 12 by others, with their contents; see the note in their folder."""
        pairs = {"hash_lp_v11": "hash_lp_v11", "hash_zl_v6": "hash_zl_v6", "hash_zm_v2": "hash_zm_v2", "hash_lp_with_hexpire_v12": "hash_lp_ex_v12",
                 "hash_with_expire_v12": "hash_ex_v12", "multiple_dbs": "multiple_dbs", "multiple_lists_strings": "multiple_lists_strings",
                 "plain_list_v6": "plain_list_v6", "plain_set_v6": "plain_set_v6", "plain_zset_v6": "plain_zset_v6", "plain_zset_2_v11": "plain_zset_2_v11",
                 "quicklist": "quicklist", "quicklist2_v11": "single_list", "set_is_v11": "set_is_v11", "set_lp_v11": "set_lp_v11", "single_key": "single_key",
                 "stream_v11": "stream", "zset_lp_v11": "zset_lp_v11", "zset_zl_v6": "zset_zl_v6", "hash_v3": "plain_hash", "ziplist_v3": None}
        probe = self.server()
        types = types_of(probe.client())
        has = {kind: kind in types for kind in ("stream", "list", "zset")}
        probe.stop()
        for path in sorted(glob.glob(os.path.join(SAMPLES, "*.rdb"))):
            name = os.path.basename(path)[:-4]
            with self.subTest(file=name):
                refused = {"future_v19": "Can't handle RDB", "invalid_chksum_v8": "RDB CRC error", "module": "no matching module type 'test__rdb'",
                           "module_aux_v12": "no matching module type 'test__rdb'"}
                with open(path, "rb") as file:
                    data = file.read()
                if name in refused:
                    self.refused(data, refused[name])
                    continue
                if "stream" in name and not has["stream"]:
                    continue
                with open(self.path, "wb") as file:
                    file.write(data)
                server = self.server()
                c = server.client()
                if pairs.get(name):
                    self.compare(c, os.path.join(SAMPLES, pairs[name] + "_data.json"), has)
                digest = c("DEBUG", "DIGEST")
                self.assertEqual(c("DEBUG", "RELOAD"), "OK")
                self.assertEqual(c("DEBUG", "DIGEST"), digest)
                server.stop()

    def compare(self, c, path, has):
        with open(path) as file:
            text = file.read().strip()
        wanted = json.loads(text if text.startswith("[") else "[{" + text + "}]") if not text.startswith("{") else [json.loads(text)]
        for db, keys in enumerate(wanted):
            keys = {key: data for key, data in keys.items() if not key.startswith("__")}
            c("SELECT", db)
            self.assertEqual({key.decode() for key in c("KEYS", "*")}, set(keys))
            for key, data in keys.items():
                kind = c("TYPE", key)
                if not has.get(kind, True):
                    continue
                found = value(c, key, kind)
                if kind == "string":
                    self.assertEqual(found.decode("latin1"), data)
                elif kind == "list":
                    self.assertEqual([one.decode("latin1") for one in found], data)
                elif kind == "set":
                    self.assertEqual(sorted(one.decode() for one in found), sorted(data))
                elif kind == "hash":
                    self.assertEqual({one.decode("latin1"): two.decode("latin1") for one, two in found}, data)
                elif kind == "zset":
                    self.assertEqual({one.decode(): two for one, two in found}, {one: float(two) for one, two in data.items()})
                else:
                    items = [(one["id"], one["items"]) for one in data["entries"]]
                    self.assertEqual([(one.decode(), {a.decode(): b.decode() for a, b in zip(fields[::2], fields[1::2])}) for one, fields in found[0]], items)


class Failures(WithFolder):
    POINTS = ("RDB_OPEN", "RDB_WRITE", "RDB_FSYNC", "RDB_RENAME")

    def test_a_failing_save_keeps_the_old_file(self):
        server = self.server()
        c = server.client()
        c("SET", "a", "old")
        self.assertEqual(c("SAVE"), "OK")
        before = self.file()
        c("SET", "a", "new")
        c("SET", "large", "x" * 1000000)
        for point in self.POINTS:
            for skip in (0, 1) if point == "RDB_WRITE" else (0,):
                c("DEBUG", "FAULT", point, skip)
                self.assertEqual(c.error("SAVE"), "ERR")
                c("DEBUG", "FAULT", "RESET")
                self.assertEqual(self.file(), before)
                self.assertEqual(self.temporary(), [])
        for said in ("Failed opening the temp RDB file", "No space left on device", "Error moving temp DB file"):
            self.assertIn(said, server.text())
        self.assertNotEqual(server.info()["rdb_changes_since_last_save"], "0")
        c("DEBUG", "FAULT", "RDB_FOLDER")
        self.assertEqual(c.error("SAVE"), "ERR")
        self.assertEqual(c("SAVE"), "OK")
        server.stop(signal.SIGKILL)
        self.assertEqual(self.server().client()("GET", "a"), b"new")

    def test_the_name_is_taken_by_a_folder(self):
        server = self.server()
        os.mkdir(self.path)
        self.assertEqual(server.client().error("SAVE"), "ERR")
        self.assertEqual(self.temporary(), [])
        self.assertIn("Error moving temp DB file", server.text())

    def test_writes_stop_after_a_failed_bgsave(self):
        server = self.server("--save", "3600 1")
        c = server.client()
        c("SET", "a", "b")
        c("DEBUG", "FAULT", "RDB_WRITE")
        self.assertEqual(c("BGSAVE"), "Background saving started")
        self.assertEqual(server.info()["rdb_last_bgsave_status"], "err")
        for command in (("SET", "a", "c"), ("DEL", "a"), ("PING",)):
            self.assertTrue(c.error(*command).startswith("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."))
        self.assertEqual(c("GET", "a"), b"b")
        c("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        c("SET", "a", "c")
        c("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
        c.error("SET", "a", "d")
        self.assertEqual(c("BGSAVE"), "Background saving started")
        self.assertEqual(c("SET", "a", "e"), "OK")
        c("CONFIG", "SET", "save", "")
        c("DEBUG", "FAULT", "RDB_WRITE")
        c("BGSAVE")
        self.assertEqual(c("SET", "a", "f"), "OK")

    def wait_save(self, c, before, seconds=10):
        deadline = time.time() + seconds
        while c("LASTSAVE") == before and time.time() < deadline:
            time.sleep(0.05)
        return c("LASTSAVE") != before

    def test_save_points(self):
        server = self.server("--save", "1 3", "--save", "100000 1")
        c = server.client()
        before = c("LASTSAVE")
        c.pipeline([("SET", "key:%d" % i, "v") for i in range(2)])
        self.assertFalse(self.wait_save(c, before, 2.5), "2 changes are too few")
        self.assertFalse(os.path.exists(self.path))
        c("SET", "key:2", "v")
        self.assertTrue(self.wait_save(c, before))
        self.assertIn("3 changes in 1 seconds. Saving...", server.text())
        info = server.info("persistence")
        self.assertEqual([info["rdb_changes_since_last_save"], info["rdb_last_bgsave_status"]], ["0", "ok"])
        server.stop(signal.SIGKILL)
        c = self.server("--save", "").client()
        self.assertEqual(c("DBSIZE"), 3)

    def test_default_save_points_only_save_at_the_end(self):
        server = self.server("--save", "3600 1 300 100 60 10000")
        c = server.client()
        c.pipeline([("SET", "key:%d" % i, "v") for i in range(100)])
        self.assertEqual(c("CONFIG", "GET", "save"), [b"save", b"3600 1 300 100 60 10000"])
        c("CONFIG", "SET", "save", "1 100000")
        c("CONFIG", "SET", "save", "3600 1 300 100 60 10000")
        server.stop()
        self.assertIn(b"key:99", self.file())

    def test_save_points_try_again(self):
        server = self.server("--save", "1 1")
        c = server.client()
        before = c("LASTSAVE")
        os.mkdir(self.path)
        c("SET", "key", "v")
        deadline = time.time() + 10
        while server.info("persistence")["rdb_last_bgsave_status"] == "ok" and time.time() < deadline:
            time.sleep(0.05)
        self.assertTrue(c.error("SET", "key", "w").startswith("MISCONF"))
        os.rmdir(self.path)
        self.assertTrue(self.wait_save(c, before, 15))
        self.assertEqual(c("SET", "key", "w"), "OK")

    def test_shutdown(self):
        for arguments, points, saved in ((("SAVE",), "", True), (("NOSAVE",), "3600 1", False), ((), "3600 1", True), ((), "", False)):
            server = self.server("--save", points)
            c = server.client()
            c("SET", "a", repr(arguments))
            c.send("SHUTDOWN", *arguments)
            self.assertTrue(c.at_end())
            self.assertEqual(server.wait_exit(), 0)
            self.assertEqual(os.path.exists(self.path), saved)
            if saved:
                os.unlink(self.path)

    def test_shutdown_when_saving_fails(self):
        server = self.server("--save", "3600 1")
        c = server.client()
        c("SET", "a", "b")
        for arguments in ((), ("SAVE",)):
            c("DEBUG", "FAULT", "RDB_FSYNC")
            self.assertEqual(c.error("SHUTDOWN", *arguments), "ERR Errors trying to SHUTDOWN. Check logs.")
            self.assertEqual(c("GET", "a"), b"b")
        self.assertIn("Error trying to save the DB, can't exit", server.text())
        c("DEBUG", "FAULT", "RDB_FSYNC")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        self.assertIsNone(server.process.poll())
        c("DEBUG", "FAULT", "RDB_FSYNC")
        c.send("SHUTDOWN", "SAVE", "FORCE")
        self.assertEqual(server.wait_exit(), 0)

    def test_kill_while_saving(self):
        """The file is the one before or the one after, whole, whenever the process dies."""
        rng, versions = random.Random(7), set()
        server = self.server()
        c = server.client()
        keys = 300 // FACTOR
        state = 0
        c.pipeline([("SET", "key:%d" % i, state) for i in range(keys)] + [("HSET", "h", "f", state)])
        c("SAVE")
        for _ in range(16 // FACTOR):
            state += 1
            c.pipeline([("SET", "key:%d" % i, state) for i in range(keys)] + [("HSET", "h", "f", state)])
            c("CONFIG", "SET", "rdb-key-save-delay", rng.choice([0, 100]))
            c.send("SAVE")
            time.sleep(rng.random() * 0.05)
            server.stop(signal.SIGKILL)
            server = self.server()
            c = server.client()
            found = set(c("MGET", *("key:%d" % i for i in range(keys)))) | {c("HGET", "h", "f")}
            self.assertEqual(len(found), 1)
            self.assertIn(int(found.pop()), (state, state - 1))
            versions.add(int(c("GET", "key:0")) == state)
            state = int(c("GET", "key:0"))
        for path in self.temporary():
            os.unlink(path)

    def test_a_collection_of_one_cold_page_that_cannot_be_read(self):
        if firn.STRESS != "nvme":
            self.skipTest("needs values on NVMe")
        server = self.server()
        c = server.client()
        c.pipeline([("SET", "key:%d" % i, "x" * 500) for i in range(50)])
        c("SAVE")
        before = self.file()
        c("DEBUG", "FAULT", "ROCKS_READ", 0, 1000)
        reply = c.error("SAVE")
        c("DEBUG", "FAULT", "RESET")
        self.assertEqual(reply, "ERR")
        self.assertEqual(self.file(), before)
        self.assertEqual(c("SAVE"), "OK")


class Large(WithFolder):
    CHOOSES_TIERS = True

    def tiered(self, limit):
        return self.server("--maxmemory", limit, "--tier-nvme-path", os.path.join(self.folder, "nvme"), "--tier-nvme-size", "4gb", stress="off", loaded=False)

    @unittest.skipIf(firn.SANITIZED, "resident memory is not to be judged here")
    def test_more_than_memory(self):
        """Five times maxmemory is saved and loaded inside the budget, and nothing comes up for it."""
        server = self.tiered("24mb")
        c = server.client()
        count, body = 60000, "v" * 1900
        for start in range(0, count, 500):
            for reply in c.pipeline([("SET", "key:%d" % i, body + str(i)) for i in range(start, start + 500)]):
                self.assertEqual(reply, "OK")
        for start in range(0, 60000, 2000):
            c("HSET", "hash", *sum((["field:%d" % i, "w" * 100 + str(i)] for i in range(start, start + 2000)), []))
        promotions = server.info()["tier_nvme_promotions"]
        self.assertEqual(c("SAVE"), "OK")
        self.assertEqual(server.info()["tier_nvme_promotions"], promotions)
        self.assertLess(int(server.info()["used_memory_peak"]), 24 * 2 ** 20 * 1.05)
        server.stop(signal.SIGKILL)
        shutil.rmtree(os.path.join(self.folder, "nvme"))
        server = self.tiered("24mb")
        c = server.client()
        firn.wait_until(lambda: server.info("persistence")["loading"] == "0", "it loads for ever")
        self.assertLess(int(server.info()["used_memory_peak"]), 24 * 2 ** 20 * 1.05)
        self.assertEqual(c("DBSIZE"), count + 1)
        for i in random.Random(1).sample(range(count), 300):
            self.assertEqual(c("GET", "key:%d" % i), (body + str(i)).encode())
            self.assertEqual(c("HGET", "hash", "field:%d" % i), ("w" * 100 + str(i)).encode())
        self.assertEqual(c("HLEN", "hash"), 60000)

    COUNT = 300000

    def write_collections(self, twice=False):
        """A file with a hash, a set and a sorted set, each larger than memory will be, elements in no order of hash."""
        def length(number):
            return b"\x80" + struct.pack(">I", number)

        def text(value):
            return bytes([0x40 | len(value) >> 8, len(value) & 255]) + value

        with open(os.path.join(self.folder, "dump.rdb"), "wb") as out:
            out.write(b"REDIS0010\xfe\x00")
            out.write(b"\x04" + text(b"hash") + length(self.COUNT))
            for i in range(self.COUNT):
                out.write(text(b"field:%d" % i) + text(b"h" * 60 + b"%d" % i))
            out.write(b"\x02" + text(b"set") + length(self.COUNT))
            for i in range(self.COUNT):
                out.write(text(b"s" * 60 + b"member:%d" % (i - (twice and i == self.COUNT - 1))))
            out.write(b"\x05" + text(b"zset") + length(self.COUNT))
            for i in reversed(range(self.COUNT)):
                out.write(text(b"z" * 30 + b"member:%d" % i) + struct.pack("<d", i / 2))
            out.write(b"\xff" + bytes(8))

    def test_collections_larger_than_memory(self):
        """They load in any order of elements; clients are answered meanwhile."""
        self.write_collections()
        server = self.tiered("24mb")
        c = server.client(timeout=300)
        refused = longest = 0
        while True:
            begun = time.time()
            answer = c.pipeline([("PING",)])[0]
            longest = max(longest, time.time() - begun)
            if answer == "PONG":
                break
            self.assertEqual(str(answer), "LOADING Redis is loading the dataset in memory")
            refused += 1
            time.sleep(0.005)
        self.assertGreater(refused, 3)
        if not firn.SANITIZED and firn.STRESS == "off":
            self.assertLess(longest, 2)  # never the time of a whole collection
            self.assertLess(int(server.info()["used_memory_peak"]), 24 * 2 ** 20 * 1.1)
        self.assertEqual([c("HLEN", "hash"), c("SCARD", "set"), c("ZCARD", "zset")], [self.COUNT] * 3)
        for i in random.Random(1).sample(range(self.COUNT), 200):
            self.assertEqual(c("HGET", "hash", "field:%d" % i), b"h" * 60 + b"%d" % i)
            self.assertEqual(c("SISMEMBER", "set", b"s" * 60 + b"member:%d" % i), 1)
            self.assertEqual(c("ZSCORE", "zset", b"z" * 30 + b"member:%d" % i), str(i / 2).replace(".0", "").encode())
            self.assertEqual(c("ZRANK", "zset", b"z" * 30 + b"member:%d" % i), i)
        self.assertEqual(c("ZREM", "zset", b"z" * 30 + b"member:5"), 1)
        self.assertEqual(c("ZCOUNT", "zset", "-inf", "+inf"), self.COUNT - 1)
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("temp-")], [])

    def test_an_element_twice(self):
        """Where it comes in, in which order, makes no difference."""
        self.write_collections(twice=True)
        server = self.tiered("24mb")
        self.assertEqual(server.wait_exit(), 1)
        self.assertIn("integrity check failed", server.text())

    def test_a_stop_within_a_collection(self):
        self.write_collections()
        before = self.file()
        for command in ("SHUTDOWN", signal.SIGTERM):
            server = self.tiered("24mb")
            c = server.client(timeout=300)
            if command == "SHUTDOWN":
                c.send("SHUTDOWN")
            else:
                server.process.send_signal(command)
            self.assertEqual(server.wait_exit(), 0)
            self.assertEqual(self.file(), before)
            shutil.rmtree(os.path.join(self.folder, "nvme"))


if __name__ == "__main__":
    unittest.main()
