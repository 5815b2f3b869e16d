# SPDX-License-Identifier: BSD-3-Clause
"""Commands that wait for keys: order, ends of waits, what wakes. The same holds for redis-server 7."""
import random
import socket
import threading
import time
import unittest

import firn


class Blocking(firn.Case):
    def setUp(self):
        super().setUp()
        self.blocked(0)

    def tearDown(self):
        self.c("CLIENT", "UNPAUSE")

    def blocked(self, count):
        self.server.wait_for_blocked(count)

    def wait(self, *command):
        """A client that waits in that command, behind those before it."""
        before = int(self.server.info("clients")["blocked_clients"])
        client = self.server.client()
        client.ident = client("CLIENT", "ID")
        client.send(*command)
        self.clients.append(client)
        self.blocked(before + 1)
        return client

    def test_first_come_first_served(self):
        waiters = [self.wait("BLPOP", "a", 0) for _ in range(4)]
        info = self.server.info("clients")
        self.assertEqual((info["total_blocking_keys"], info["total_blocking_keys_on_nokey"], info["clients_in_timeout_table"]), ("1", "0", "0"))
        self.assertEqual(self.c("RPUSH", "a", 1, 2, 3), 3)
        self.assertEqual(self.c("EXISTS", "a"), 0)
        for i in range(3):
            self.assertEqual(waiters[i].receive(), [b"a", b"%d" % (i + 1)])
        self.blocked(1)
        self.assertEqual(self.c("RPUSH", "a", 4), 1)
        self.assertEqual(waiters[3].receive(), [b"a", b"4"])
        self.assertEqual(self.server.info("clients")["total_blocking_keys"], "0")

    def test_a_pipeline_sees_each_command_served(self):
        waiter = self.wait("BLPOP", "a", 0)
        replies = self.c.pipeline([("RPUSH", "a", 1), ("LLEN", "a"), ("RPUSH", "a", 2), ("LLEN", "a")])
        self.assertEqual(replies, [1, 0, 1, 1])
        self.assertEqual(waiter.receive(), [b"a", b"1"])

    def test_order_of_keys(self):
        """Among its keys a waiter takes from the first in its order; keys are served in the order they became ready."""
        one, two = self.wait("BLPOP", "a", "b", 0), self.wait("BLPOP", "b", "a", 0)
        self.c("MULTI")
        self.c("RPUSH", "b", "vb")
        self.c("RPUSH", "a", "va")
        self.assertEqual(self.c("EXEC"), [1, 1])
        self.assertEqual(one.receive(), [b"a", b"va"])  # b was ready first; the first waiter of b looks at a first
        self.assertEqual(two.receive(), [b"b", b"vb"])

    def test_exec_is_one_command(self):
        waiter = self.wait("BLPOP", "a", 0)
        self.c("MULTI")
        self.c("RPUSH", "a", 1)
        self.c("DEL", "a")
        self.c("RPUSH", "a", 2)
        self.c("LLEN", "a")
        self.assertEqual(self.c("EXEC"), [1, 1, 1, 1])
        self.assertEqual(waiter.receive(), [b"a", b"2"])
        waiter = self.wait("BLPOP", "a", 0)
        self.c("MULTI")
        self.c("RPUSH", "a", 1)
        self.c("DEL", "a")
        self.assertEqual(self.c("EXEC"), [1, 1])
        self.blocked(1)
        self.c("RPUSH", "a", 3)
        self.assertEqual(waiter.receive(), [b"a", b"3"])

    def test_other_types_do_not_wake(self):
        waiter = self.wait("BLPOP", "a", 0)
        self.c("SET", "a", "x")
        self.c("DEL", "a")
        self.c("SADD", "a", "x")
        self.blocked(1)
        self.c("DEL", "a")
        self.c("RPUSH", "a", 1)
        self.assertEqual(waiter.receive(), [b"a", b"1"])

    def test_what_wakes(self):
        self.c("RPUSH", "src", "v")
        for change in (("RENAME", "src", "a"), ("COPY", "src", "a"), ("LMOVE", "src", "a", "LEFT", "LEFT"), ("RPUSH", "a", "v")):
            self.c("DEL", "src")
            self.c("RPUSH", "src", "v")
            waiter = self.wait("BLPOP", "a", 0)
            self.c(*change)
            self.assertEqual(waiter.receive(), [b"a", b"v"], change)
        dump = (self.c("DEL", "src"), self.c("RPUSH", "src", "v"), self.c("DUMP", "src"))[2]
        waiter = self.wait("BLPOP", "a", 0)
        self.c("RESTORE", "a", 0, dump)
        self.assertEqual(waiter.receive(), [b"a", b"v"])
        other = self.server.client()
        other("SELECT", 5)
        other("RPUSH", "a", "v")
        waiter = self.wait("BLPOP", "a", 0)
        other("SWAPDB", 0, 5)
        self.assertEqual(waiter.receive(), [b"a", b"v"])
        other("RPUSH", "a", "v")
        waiter = self.wait("BLPOP", "a", 0)
        other("MOVE", "a", 0)
        self.assertEqual(waiter.receive(), [b"a", b"v"])
        other.close()

    def test_chain(self):
        """One wakes the other: all of it within the command that began it."""
        first, second, third = self.wait("BLMOVE", "a", "b", "LEFT", "RIGHT", 0), self.wait("BRPOPLPUSH", "b", "c", 0), self.wait("BLPOP", "c", 0)
        self.assertEqual(self.c.pipeline([("RPUSH", "a", "v"), ("EXISTS", "a", "b", "c")]), [1, 0])
        self.assertEqual((first.receive(), second.receive(), third.receive()), (b"v", b"v", [b"c", b"v"]))

    def test_to_itself(self):
        waiter = self.wait("BLMOVE", "a", "a", "LEFT", "RIGHT", 0)
        other = self.wait("BLPOP", "a", 0)
        self.c("RPUSH", "a", 1)
        self.assertEqual((waiter.receive(), other.receive()), (b"1", [b"a", b"1"]))

    def test_wrong_target(self):
        self.c("SET", "b", 1)
        waiter, other = self.wait("BLMOVE", "a", "b", "LEFT", "LEFT", 0), self.wait("BLPOP", "a", 0)
        self.c("RPUSH", "a", 1)
        with self.assertRaisesRegex(firn.ReplyError, "^WRONGTYPE"):
            waiter.receive()
        self.assertEqual(other.receive(), [b"a", b"1"])

    def test_timeouts(self):
        client = self.server.client()
        self.clients.append(client)
        for command, seconds in ((("BLPOP", "a", "0.1"), 0.1), (("BRPOP", "a", "b", "0.05"), 0.05), (("BLMOVE", "a", "b", "LEFT", "LEFT", 0.03), 0.03), (("BLMPOP", 0.02, 1, "a", "LEFT"), 0.02), (("BLPOP", "a", "0.001"), 0.001)):
            start = time.monotonic()
            self.assertEqual(client(*command), None)
            took = time.monotonic() - start
            self.assertGreaterEqual(took, seconds - 0.0001, command)
            self.assertLess(took, seconds + 10, command)
        for timeout, error in ((-1, "ERR timeout is negative"), ("x", "ERR timeout is not a float or out of range"), ("0x7FFFFFFFFFFFFFFFFF", "ERR timeout is out of range"),
                               ("1e400", "ERR timeout is out of range"), ("-1e400", "ERR timeout is negative")):
            self.assertEqual(client.error("BLPOP", "a", timeout), error)
        self.assertIsNone(client("BLPOP", "a", "1e-400"))  # a millisecond
        self.assertEqual(client.error("BLMPOP", -1, 1, "a", "LEFT", "COUNT", 0), "ERR count should be greater than 0")
        self.assertEqual(client.error("BLMPOP", -1, 1, "a", "LEFT"), "ERR timeout is negative")
        # A wake in between that brings nothing does not make the wait longer.
        start = time.monotonic()
        client.send("BLPOP", "a", "3")
        time.sleep(2.5)
        self.c.pipeline([("MULTI",), ("RPUSH", "a", 1), ("DEL", "a"), ("EXEC",)])
        self.assertEqual(client.receive(), None)
        self.assertLess(time.monotonic() - start, 5)

    def test_unblock_wins_over_a_push_of_the_same_exec(self):
        for order in (1, -1):
            for how, answer in (("TIMEOUT", None), ("ERROR", "UNBLOCKED client unblocked via CLIENT UNBLOCK")):
                waiter = self.wait("BLPOP", "a", 0)
                self.c("MULTI")
                for command in (("CLIENT", "UNBLOCK", waiter.ident, how), ("RPUSH", "a", "x"))[::order]:
                    self.c(*command)
                self.assertEqual(self.c("EXEC"), [1, 1])
                reply = waiter._read()
                self.assertEqual(str(reply) if reply is not None else None, answer)
                self.assertEqual(self.c("LPOP", "a"), b"x")

    def test_unblock(self):
        waiter = self.wait("BLPOP", "a", 0)
        line = [line for line in self.c("CLIENT", "LIST").decode().splitlines() if line.startswith(f"id={waiter.ident} ")][0]
        self.assertIn(" flags=b ", line)
        self.assertIn(" cmd=blpop ", line)
        self.assertEqual(self.c("CLIENT", "UNBLOCK", waiter.ident), 1)
        self.assertEqual(waiter.receive(), None)
        self.assertEqual(self.c("CLIENT", "UNBLOCK", waiter.ident), 0)
        waiter = self.wait("BLPOP", "a", 0)
        self.assertEqual(self.c("CLIENT", "UNBLOCK", waiter.ident, "ERROR"), 1)
        with self.assertRaisesRegex(firn.ReplyError, "^UNBLOCKED client unblocked via CLIENT UNBLOCK"):
            waiter.receive()
        self.assertEqual(waiter("PING"), "PONG")
        waiter = self.wait("BLPOP", "a", 0)
        self.c.pipeline([("CLIENT", "UNBLOCK", waiter.ident), ("RPUSH", "a", 1)])
        self.assertEqual(waiter.receive(), None)  # its wait was over
        self.assertEqual(self.c("LLEN", "a"), 1)

    def test_kill(self):
        waiter, other = self.wait("BLPOP", "a", 0), self.wait("BLPOP", "a", 0)
        self.c.pipeline([("CLIENT", "KILL", "ID", waiter.ident), ("RPUSH", "a", 1)])
        self.assertTrue(waiter.at_end())
        self.assertEqual(other.receive(), [b"a", b"1"])

    def test_disconnect_is_noticed_at_once(self):
        for how in ("close", "half", "with a pipeline behind"):
            waiter, other = self.wait("BLPOP", "a", 0), self.wait("BLPOP", "a", 0)
            if how == "with a pipeline behind":
                waiter.send("SET", "behind", 1)
            if how == "half":
                waiter.socket.shutdown(socket.SHUT_WR)
                self.assertTrue(waiter.at_end())
            else:
                waiter.close()
            self.blocked(1)
            self.c("RPUSH", "a", 1)
            self.assertEqual(other.receive(), [b"a", b"1"])
            self.assertEqual(self.c("EXISTS", "behind"), 0)
        # One that CLIENT PAUSE holds back: its command never runs.
        self.c("CLIENT", "PAUSE", 100000, "WRITE")
        paused = self.client()
        paused.send("SET", "behind", 1)
        self.blocked(1)
        paused.close()
        self.blocked(0)
        self.c("CLIENT", "UNPAUSE")
        self.assertEqual(self.c("EXISTS", "behind"), 0)
        # Gone before it even began to wait.
        with socket.create_connection(("127.0.0.1", self.server.port)) as raw:
            raw.sendall(b"BLPOP a 0\r\n")
        self.blocked(0)

    def test_pipeline_behind_a_wait(self):
        waiter = self.wait("BLPOP", "a", 0)
        waiter.send("INCR", "n")
        waiter.send("BLPOP", "a", 0)
        waiter.send("INCR", "n")
        self.assertEqual(self.c("EXISTS", "n"), 0)
        self.c("RPUSH", "a", 1, 2)
        self.assertEqual([waiter.receive() for _ in range(4)], [[b"a", b"1"], 1, [b"a", b"2"], 2])

    def test_in_a_transaction(self):
        self.c("MULTI")
        for command in (("BLPOP", "a", 0), ("BLMOVE", "a", "b", "LEFT", "LEFT", 0), ("RPUSH", "a", 1), ("BLPOP", "a", 0), ("BLMPOP", 0, 1, "a", "LEFT")):
            self.c(*command)
        self.assertEqual(self.c("EXEC"), [None, None, 1, [b"a", b"1"], None])

    def test_pause(self):
        waiter = self.wait("BLPOP", "a", 0)
        self.c("CLIENT", "PAUSE", 60000, "WRITE")
        late = self.wait("BLPOP", "b", "0.01")  # held by the pause, not waiting yet
        time.sleep(0.05)
        pusher = self.server.client()
        self.clients.append(pusher)
        pusher.send("RPUSH", "a", 1)
        self.blocked(3)
        self.c("CLIENT", "UNPAUSE")
        self.assertEqual(pusher.receive(), 1)
        self.assertEqual(waiter.receive(), [b"a", b"1"])
        self.assertEqual(late.receive(), None)

    def test_nothing_expires_in_a_pause(self):
        before = int(self.server.info("stats")["expired_keys"])
        self.c("MULTI")
        for command in (("SET", "a", 1, "PX", 5), ("HSET", "h", "f", 1), ("PEXPIRE", "h", 5), ("CLIENT", "PAUSE", 60000, "WRITE")):
            self.c(*command)
        self.c("EXEC")
        time.sleep(0.15)
        self.assertEqual((self.c("GET", "a"), self.c("HGET", "h", "f"), self.c("EXISTS", "a", "h")), (None, None, 0))
        self.assertIn(self.c("RANDOMKEY"), (b"a", b"h"))
        self.assertEqual(int(self.server.info("stats")["expired_keys"]), before)
        self.c("CLIENT", "UNPAUSE")
        self.assertEqual((self.c("GET", "a"), self.c("HGET", "h", "f")), (None, None))
        self.assertEqual(int(self.server.info("stats")["expired_keys"]), before + 2)

    def test_resp3(self):
        waiter = self.server.client()
        self.clients.append(waiter)
        waiter("HELLO", 3)
        self.assertEqual(waiter("BLPOP", "a", "0.01"), None)
        waiter("SUBSCRIBE", "ch")
        waiter.send("BLPOP", "a", 0)
        self.blocked(1)
        self.c("PUBLISH", "ch", "m")
        self.assertEqual(waiter.receive(), firn.Push([b"message", b"ch", b"m"]))
        self.c("RPUSH", "a", 1)
        self.assertEqual(waiter.receive(), [b"a", b"1"])

    def test_monitor_and_statistics(self):
        monitor = self.server.client()
        self.clients.append(monitor)
        self.c("CONFIG", "RESETSTAT")
        monitor("MONITOR")
        waiter = self.wait("BLPOP", "a", 0)
        while True:
            line = monitor.receive()
            if '"BLPOP"' in line:
                break
        self.c("RPUSH", "a", 1)
        self.assertEqual(waiter.receive(), [b"a", b"1"])
        self.c("PING", "end")
        seen = []
        while not seen or '"end"' not in seen[-1]:
            seen.append(monitor.receive())
        self.assertEqual([line for line in seen if '"BLPOP"' in line], [])
        self.assertIn("calls=1,", self.server.info("commandstats")["cmdstat_blpop"])

    def test_storm(self):
        """Everything at once, ends of clients and of waits included: each element that was pushed is popped once or still there."""
        keys, stop = [f"k{i}" for i in range(5)], time.monotonic() + (2 if firn.SANITIZED else 1.5)
        pushed, popped, failures = [], [], []

        def pusher(seed):
            rng, client, n = random.Random(seed), self.server.client(), 0
            while time.monotonic() < stop:
                values = [f"{seed}:{n + i}:" + "x" * rng.choice((0, 0, 200, 2000)) for i in range(rng.choice((1, 1, 1, 3)))]
                n += len(values)
                if rng.random() < 0.3:
                    client("MULTI")
                    for value in values:
                        client("RPUSH", rng.choice(keys), value)
                    client("EXEC")
                else:
                    client(rng.choice(("LPUSH", "RPUSH")), rng.choice(keys), *values)
                pushed.extend(value.encode() for value in values)
                if rng.random() < 0.1:
                    client.pipeline([("SWAPDB", 0, 1), ("SWAPDB", 0, 1)])
            client.close()

        def popper(seed):
            rng, client = random.Random(seed), self.server.client()
            while time.monotonic() < stop:
                kind, timeout = rng.random(), rng.choice(("0.001", "0.01", "0.05"))
                some = rng.sample(keys, rng.randrange(1, 4))
                try:
                    if kind < 0.6:
                        got = client(rng.choice(("BLPOP", "BRPOP")), *some, timeout)
                        popped.extend(got[1:] if got else [])
                    elif kind < 0.75:
                        got = client("BLMPOP", timeout, len(some), *some, "LEFT", "COUNT", 2)
                        popped.extend(got[1] if got else [])
                    else:
                        client("BLMOVE", some[0], rng.choice(keys), "LEFT", "RIGHT", timeout)
                except firn.ReplyError as error:
                    if not str(error).startswith("UNBLOCKED"):
                        raise
            client.close()

        def nuisance(seed):
            rng, client = random.Random(seed), self.server.client()
            while time.monotonic() < stop:
                victim = self.server.client()
                victim.send("BLPOP", "never", 0)  # takes nothing, is killed, unblocked or goes
                ident = int(client("CLIENT", "LIST").decode().strip().splitlines()[-1].split()[0][3:])
                for line in client("CLIENT", "LIST").decode().splitlines():
                    if "flags=b " in line and rng.random() < 0.3:
                        client("CLIENT", "UNBLOCK", line.split()[0][3:], rng.choice(("TIMEOUT", "ERROR")))
                if rng.random() < 0.5:
                    client("CLIENT", "KILL", "ID", ident)
                victim.close()
            client.close()

        def guarded(work, seed):
            try:
                work(seed)
            except Exception as error:  # told by the main thread
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(work, seed)) for seed, work in enumerate([pusher] * 3 + [popper] * 8 + [nuisance])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # A nuisance may have killed one of the others: then its last command may have been carried out without its knowing.
        failures = [error for error in failures if not isinstance(error, (ConnectionError, OSError))]
        self.assertEqual(failures, [])
        self.blocked(0)
        self.assertGreater(len(popped), 20)
        left = [value for key in keys for value in self.c("LRANGE", key, 0, -1)]
        self.assertEqual(len(set(popped + left)), len(popped + left))
        if len(pushed) == len(set(pushed)):
            self.assertLessEqual(len(set(pushed) ^ set(popped + left)), 3)
        self.assertEqual(self.server.info("clients")["total_blocking_keys"], "0")

    def test_many(self):
        """Long lists of cold elements: whoever waits is served in order, nothing is lost, whatever is where."""
        waiters = [self.wait("BLPOP", "a", "b", 0) for _ in range(20)]
        for i in range(10):
            self.c("RPUSH", "a" if i % 2 else "b", *[f"{i}:{n}:" + "x" * 300 for n in range(2)])
        seen = [waiter.receive()[1].decode().rsplit(":", 1)[0] for waiter in waiters]
        self.assertEqual(seen, [f"{i}:{n}" for i in range(10) for n in range(2)])
        self.assertEqual(self.c("EXISTS", "a", "b"), 0)


if __name__ == "__main__":
    unittest.main()
