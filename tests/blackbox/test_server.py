# SPDX-License-Identifier: BSD-3-Clause
"""The server as a program: command line, configuration, INFO, clients, signals, bad starts."""
import os
import re
import signal
import subprocess
import time
import unittest

import firn


def run(*arguments, text=None):
    return subprocess.run([os.path.abspath(firn.SERVER), *arguments], capture_output=True, text=True, input=text, timeout=60)


class Program(firn.Case):
    OPTIONS = None

    def test_version_and_help(self):
        self.assertIn("v=", run("--version").stdout)
        self.assertIn("Usage", run("--help").stdout + run("--help").stderr)

    def test_bad_starts_say_what_is_wrong(self):
        for arguments, expected in ((("--nonsense", "1"), "Bad directive or wrong number of arguments"),
                                    (("--maxmemory", "10xb"), "argument must be a memory value"),
                                    (("--port", "abc"), "argument couldn't be parsed into an integer"),
                                    (("--appendfsync", "sometimes"), "argument(s) must be one of the following"),
                                    (("/no/such/file.conf",), "/no/such/file.conf")):
            result = run(*arguments)
            self.assertNotEqual(result.returncode, 0, arguments)
            self.assertIn(expected, result.stdout + result.stderr)

    def test_port_in_use(self):
        with firn.Server(stress="off") as server:
            result = run("--port", str(server.port), "--bind", "127.0.0.1")
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("Failed listening on port %d" % server.port, result.stdout + result.stderr)

    def test_configuration_from_standard_input_and_include(self):
        with firn.Server(config="maxclients 77\nsave \"\"\n# a comment\nproto-max-bulk-len 1mb\n") as server:
            client = server.client()
            self.assertEqual(client("CONFIG", "GET", "maxclients"), [b"maxclients", b"77"])
            self.assertEqual(client("CONFIG", "GET", "proto-max-bulk-len"), [b"proto-max-bulk-len", b"1048576"])
            client.close()

    def test_config_set_get_rewrite(self):
        with firn.Server(config="# keep this comment\nhz 20\nsave \"\"\n") as server:
            client = server.client()
            self.assertEqual(client("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "slowlog-max-len", "200"), "OK")
            self.assertIn("CONFIG SET failed", client.error("CONFIG", "SET", "slowlog-max-len", "300", "maxmemory-policy", "nope"))
            self.assertEqual(client("CONFIG", "GET", "slowlog-max-len"), [b"slowlog-max-len", b"200"])
            self.assertIn("Unknown option", client.error("CONFIG", "SET", "nope", "1"))
            self.assertEqual(client("CONFIG", "REWRITE"), "OK")
            text = open(server.config).read()
            self.assertIn("# keep this comment", text)
            self.assertIn("maxmemory-policy allkeys-lru", text)
            got = dict(zip(*[iter(client("CONFIG", "GET", "max*"))] * 2))
            self.assertEqual(got[b"maxmemory-policy"], b"allkeys-lru")
            client.close()

    def test_info_sections(self):
        with firn.Server() as server:
            client = server.client()
            client("SET", "k", "v")
            client("GET", "k")
            client("GET", "none")
            client.close()
            info = server.info()
            self.assertEqual((info["redis_mode"], info["role"], info["tcp_port"]), ("standalone", "master", str(server.port)))
            self.assertEqual((info["keyspace_hits"], info["keyspace_misses"]), ("1", "1"))
            self.assertEqual(info["db0"].split(",")[0], "keys=1")
            self.assertEqual(int(info["process_id"]), server.process.pid)
            self.assertIn("calls=2", info["cmdstat_get"])
            self.assertGreater(int(info["used_memory"]), 100000)
            self.assertIn("firn_version", info)

    def test_client_commands(self):
        with firn.Server() as server:
            client, other = server.client(), server.client()
            client("CLIENT", "SETNAME", "alpha")
            self.assertEqual(client("CLIENT", "GETNAME"), b"alpha")
            number = client("CLIENT", "ID")
            self.assertIn(b"name=alpha", client("CLIENT", "INFO"))
            self.assertIn(b"id=%d " % number, client("CLIENT", "LIST", "ID", str(number)))
            self.assertEqual(client("CLIENT", "KILL", "ID", str(other("CLIENT", "ID"))), 1)
            self.assertTrue(other.at_end())
            self.assertEqual(client.error("CLIENT", "SETNAME", "with space"),
                             "ERR Client names cannot contain spaces, newlines or special characters.")
            self.assertEqual(client("CLIENT", "PAUSE", 3000, "WRITE"), "OK")
            third, start = server.client(), time.time()
            self.assertIsNone(third("GET", "x"))
            self.assertLess(time.time() - start, 2.5)
            third("SET", "x", "1")
            self.assertGreater(time.time() - start, 2)
            client.close(), other.close(), third.close()

    def test_command_table(self):
        with firn.Server() as server:
            client = server.client()
            rows = client("COMMAND")
            self.assertEqual(len(rows), client("COMMAND", "COUNT"))
            get = client("COMMAND", "INFO", "get")[0]
            self.assertEqual((get[0], get[1], get[3], get[4], get[5]), (b"get", 2, 1, 1, 1))
            self.assertEqual(client("COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"), [b"a", b"b"])
            self.assertIn(b"summary", client("COMMAND", "DOCS", "set")[1])
            client.close()

    def test_signals_stop_it_in_order(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            server = firn.Server()
            client = server.client()
            client.pipeline([("SET", "k:%d" % i, "v" * 500) for i in range(2000)])
            client.close()
            server.process.send_signal(how)
            self.assertEqual(server.wait_exit(), 0)
            server.stop()

    def test_shutdown_command(self):
        server = firn.Server()
        client = server.client()
        client.send("SHUTDOWN", "NOSAVE")
        self.assertTrue(client.at_end())
        self.assertEqual(server.wait_exit(), 0)
        server.stop()

    def test_daemon_with_pidfile(self):
        server = firn.Server("--daemonize", "yes", "--pidfile", "firn.pid", "--logfile", "daemon.log", wait=False)
        self.assertEqual(server.wait_exit(), 0)
        deadline = time.time() + 20
        while True:
            try:
                client = firn.Client(server.port)
                break
            except OSError:
                self.assertLess(time.time(), deadline)
                time.sleep(0.05)
        self.assertEqual(client("PING"), "PONG")
        pid = int(open(os.path.join(server.folder, "firn.pid")).read())
        self.assertEqual(int(dict(row.split(":", 1) for row in client("INFO", "server").decode().split("\r\n") if ":" in row)["process_id"]), pid)
        client.send("SHUTDOWN", "NOSAVE")
        self.assertTrue(client.at_end())
        while os.path.exists("/proc/%d" % pid) and time.time() < deadline:
            time.sleep(0.05)
        self.assertFalse(os.path.exists(os.path.join(server.folder, "firn.pid")))
        server.stop()

    def test_slowlog_and_latency(self):
        with firn.Server("--slowlog-log-slower-than", "10000", "--latency-monitor-threshold", "10") as server:
            client = server.client()
            client("DEBUG", "SLEEP", "0.05")
            self.assertEqual(client("SLOWLOG", "LEN"), 1)
            self.assertEqual(client("SLOWLOG", "GET")[0][3], [b"DEBUG", b"SLEEP", b"0.05"])
            self.assertEqual(client("LATENCY", "LATEST")[0][0], b"command")
            client.close()

    def test_rename_command(self):
        with firn.Server("--rename-command", "FLUSHALL", "WIPE", config="rename-command KEYS \"\"\n") as server:
            client = server.client()
            self.assertIn("unknown command", client.error("FLUSHALL"))
            self.assertIn("unknown command", client.error("KEYS", "*"))
            self.assertEqual(client("WIPE"), "OK")
            client.close()

    def test_a_pidfile_that_cannot_be_written(self):
        with firn.Server("--pidfile", "/no/such/folder/firn.pid") as server:
            self.assertIn("Failed to write PID file '/no/such/folder/firn.pid': No such file or directory", server.text())

    def test_firn_conf(self):
        """It is taken as it is, and what is commented out in it shows the defaults."""
        with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "conf", "firn.conf")) as file:
            conf = file.read()
        with firn.Server(stress="off", config=conf.replace("\ndir ./data\n", "\ndir .\n")) as server:
            settings = server.client()("CONFIG", "GET", "*")
        self.assertEqual(settings[settings.index(b"tier-pmem-size") + 1], b"536870912")
        with firn.Server(stress="off") as server:
            settings = server.client()("CONFIG", "GET", "*")
        plain = dict(zip(settings[::2], settings[1::2]))
        shown = [line for line in re.findall(r"^# ([a-z][a-z0-9-]+ .*)$", conf, re.M)
                 if line.split()[0].encode() in plain and line.split()[0] not in ("unixsocket", "requirepass", "save", "dir", "bind")]
        self.assertGreater(len(shown), 70)
        with firn.Server(stress="off", config="\n".join(shown) + "\n") as server:
            settings = server.client()("CONFIG", "GET", "*")
        same = dict(zip(settings[::2], settings[1::2]))
        for name in (b"port", b"dir"):
            plain.pop(name), same.pop(name)
        self.assertEqual({name: (value, same[name]) for name, value in plain.items() if same[name] != value}, {})


if __name__ == "__main__":
    unittest.main()
