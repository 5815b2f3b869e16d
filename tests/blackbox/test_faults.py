# SPDX-License-Identifier: BSD-3-Clause
"""Everything that can fail, failing under a whole server: a scenario runs again and again while the 1st, 2nd, ... nth pass of a fault point fails,
once and for ever. A command may succeed or answer with a clear error, a connection may be lost; nothing acknowledged is lost, and once
the point is off the server answers and every value is as the model says."""
import unittest

import firn

FOREVER = 2**62
KEYS = 12
CLEAR = ("ERR ", "OOM ", "TIERIO", "IOERR", "BUSY")


def payload(number, size):
    return (b"%06d." % number * (size // 7 + 1))[:size]


class Scenario:
    """Commands over a few keys, and for every key the values that it may have: one when the last change was answered, two when it was not."""

    def __init__(self, server):
        self.server, self.client, self.may_be, self.errors = server, server.client(), {}, []

    def run(self, command, key, after):
        """One command; `after` makes the new value of the key from one that it may have (None for a read: `check` sees the reply)."""
        values = self.may_be.setdefault(key, [None])
        try:
            reply = self.client(*command)
        except firn.ReplyError as error:
            self.errors.append(str(error))  # refused: nothing may have changed
            return None
        except (ConnectionError, OSError):
            self.client.close()
            self.client = self.again()
            if after:
                self.may_be[key] = values + [after(value) for value in values]
            return None
        if after:
            self.may_be[key] = [after(value) for value in values]
        return reply

    def arm(self, point, skip, count):
        try:
            self.client("DEBUG", "FAULT", point, skip, count)
        except ConnectionError:  # its own answer was the first to fail
            self.client.close()
            self.client = self.again()

    def again(self):
        def try_once():
            try:
                client = self.server.client()
                client("PING")
                return client
            except OSError:
                assert self.server.alive(), self.server.text()[-2000:]

        return firn.wait_until(try_once, lambda: "the server takes no connection: " + self.server.text()[-1000:])

    def check(self, key, reply):
        if reply is not None and reply not in self.may_be[key]:
            raise AssertionError(f"{key}: {str(reply)[:80]} where {str(self.may_be[key])[:160]} was acknowledged")

    def go(self):
        for i in range(KEYS):
            small, big = payload(i, 40), payload(i, 3000 * (i + 1))
            self.run(("SET", "s%d" % i, small if i % 3 == 0 else big), "s%d" % i, lambda _, v=(small if i % 3 == 0 else big): v)
            self.run(("HSET", "h%d" % i, "f", payload(i, 20), "g", payload(i, 600)), "h%d" % i,
                     lambda old, i=i: {**(old or {}), b"f": payload(i, 20), b"g": payload(i, 600)})
        for i in range(KEYS):
            for kind in "sh":
                self.run(("TIER", "DEMOTE", "%s%d" % (kind, i), ("PMEM", "NVME")[i % 2]), "%s%d" % (kind, i), None)
        for i in range(KEYS):
            key, field = "s%d" % i, "h%d" % i
            self.check(key, self.run(("GET", key), key, None))
            self.run(("APPEND", key, "tail"), key, lambda old: (old or b"") + b"tail")
            self.run(("HSET", field, "n%d" % i, "new"), field, lambda old, i=i: {**(old or {}), b"n%d" % i: b"new"})
            if i % 4 == 0:
                self.run(("TIER", "PROMOTE", field), field, None)
            if i % 4 == 1:
                self.run(("TIER", "DEMOTE", key, "NVME"), key, None)
            self.read_hash(field)
            if i % 5 == 4:
                self.run(("DEL", key), key, lambda _: None)

    def read_hash(self, key):
        reply = self.run(("HGETALL", key), key, None)
        if reply is not None:
            self.check(key, dict(zip(reply[::2], reply[1::2])) or None)

    def verify(self):
        self.client.close()
        for _ in range(100):
            self.client = self.again()
            try:
                self.client("DEBUG", "FAULT", "RESET")
                break
            except ConnectionError:
                self.client.close()
        assert self.client("PING") == "PONG"
        for key, values in self.may_be.items():
            if key[0] == "s":
                reply = self.client("GET", key)
            else:
                reply = self.client("HGETALL", key)
                reply = dict(zip(reply[::2], reply[1::2])) or None
            assert reply in values, f"{key}: {str(reply)[:80]} where {str(values)[:160]} was acknowledged"
        assert self.client("DBSIZE") == sum(self.client("EXISTS", key) for key in self.may_be)
        self.client("FLUSHALL")
        self.client.close()


class Faults(firn.Case):
    OPTIONS = None
    SECONDS_MAX = 180

    def server(self, memory):
        if firn.STRESS != "off":
            return firn.Server("--maxmemory", memory)
        return firn.Server("--maxmemory", memory, "--tier-pmem-path", "pmem", "--tier-pmem-size", "64mb", "--tier-nvme-path", "nvme",
                           "--tier-nvme-size", "1gb")

    def sweep(self, point, steps, memory="64mb"):
        with self.server(memory) as server:
            for count in (1, FOREVER):
                for skip in steps:
                    with self.subTest(point=point, skip=skip, count=count):
                        scenario = Scenario(server)
                        scenario.arm(point, skip, count)
                        scenario.go()
                        scenario.verify()
                        for text in scenario.errors:
                            self.assertTrue(text.startswith(CLEAR), text)
                        self.assertIsNone(server.process.poll(), server.text()[-2000:])

    def steps(self, most):
        small = list(range(0, 8 if firn.QUICK else 24))
        return small + [step for step in (31, 47, 64, 96, 150, 220, 400) if step < most]

    def test_allocations(self):
        self.sweep("MEMORY_TRY", self.steps(400))

    def test_nvme_writes(self):
        self.sweep("ROCKS_WRITE", self.steps(40))

    def test_nvme_reads(self):
        self.sweep("ROCKS_READ", self.steps(100))

    def test_nvme_checksums(self):
        self.sweep("ROCKS_CHECKSUM", self.steps(100))

    def test_pmem_reservations(self):
        self.sweep("PMEM_RESERVE", self.steps(100))

    def test_pmem_checksums(self):
        self.sweep("PMEM_CHECKSUM", self.steps(100))

    def test_connections(self):
        """The connection that fails is lost, the server is not; what was not answered may have happened or not."""
        with self.server("64mb") as server:
            for point in ("LOOP_RECV", "LOOP_SEND", "LOOP_ACCEPT"):
                for skip in self.steps(100):
                    with self.subTest(point=point, skip=skip):
                        scenario = Scenario(server)
                        scenario.arm(point, skip, 1)
                        scenario.go()
                        scenario.verify()


if __name__ == "__main__":
    unittest.main()
