# SPDX-License-Identifier: BSD-3-Clause
"""Many clients change strings and hashes of their own at once while memory is far too small: every reply is checked against a model, so a command that
meets a page on its way up or down must still see exactly what was written."""
import random
import threading
import unittest

import firn

SIZES = (10, 60, 500, 1000, 4000, 4200, 9000, 40000, 70000, 150000)


class Model:
    """One client's keys, and random commands on them with the reply each must get."""

    def __init__(self, number):
        self.rng, self.number, self.strings, self.hashes = random.Random(number), number, {}, {}

    def key(self):
        return "c%d:%d" % (self.number, min(int(self.rng.paretovariate(0.3)), 10**9) % 400)

    def bytes(self, size):
        return (self.rng.randbytes(min(size, 64)) * (size // 64 + 1))[:size]

    def string(self):
        rng, key = self.rng, self.key()
        value, kind = self.strings.get(key), self.rng.randrange(10)
        size = len(value or b"")
        if kind < 3:
            self.strings[key] = bytearray(self.bytes(rng.choice(SIZES) if rng.random() < 0.5 else 300))
            return ("SET", key, bytes(self.strings[key])), "OK"
        if kind < 5:
            return ("GET", key), None if value is None else bytes(value)
        if kind == 5 and size < 400000:
            value = self.strings.setdefault(key, bytearray())
            more = rng.randbytes(rng.choice((1, 30, 500)))
            value += more
            return ("APPEND", key, more), len(value)
        if kind == 6:
            start, data = rng.randrange(size + 2000), rng.randbytes(rng.choice((1, 30, 3000)))
            value = self.strings.setdefault(key, bytearray())
            value.extend(bytes(max(0, start + len(data) - len(value))))
            value[start:start + len(data)] = data
            return ("SETRANGE", key, str(start), data), len(value)
        if kind == 7:
            start = rng.randrange(size + 10)
            return ("GETRANGE", key, str(start), str(start + 4999)), bytes((value or b"")[start:start + 5000])
        if kind == 8:
            keys = ["c%d:%d" % (self.number, rng.randrange(400)) for _ in range(6)]
            return ("MGET", *keys), [None if self.strings.get(k) is None else bytes(self.strings[k]) for k in keys]
        return ("DEL", key), 1 if self.strings.pop(key, None) is not None else 0

    def hash(self):
        rng, key, field = self.rng, "h" + self.key(), "f%d" % self.rng.randrange(300)
        fields, kind = self.hashes.setdefault(key, {}), self.rng.randrange(5)
        if kind < 2:
            value = self.bytes(rng.choice((3, 40, 200)))
            new = field not in fields
            fields[field] = value
            return ("HSET", key, field, value), int(new)
        if kind == 2:
            return ("HDEL", key, field), int(fields.pop(field, None) is not None)
        if kind == 3:
            return ("HLEN", key), len(fields)
        return ("HGET", key, field), fields.get(field)

    def step(self):
        return self.string() if self.rng.random() < 0.7 else self.hash()


class Concurrent(firn.Case):
    OPTIONS = None
    CHOOSES_TIERS = True
    SECONDS_MAX = 180

    def work(self, server, number, steps, wrong, finished):
        model = Model(number)
        with_pipeline = random.Random(number + 1000)
        client = server.client()
        for _ in range(steps):
            batch = [model.step() for _ in range(with_pipeline.choice((1, 1, 8)))]
            replies = client.pipeline([command for command, _ in batch])
            for (command, expected), got in zip(batch, replies):
                if isinstance(expected, str):
                    expected = expected.encode()
                if isinstance(got, str):
                    got = got.encode()
                if got != expected:
                    wrong.append("%s: %.80r instead of %.80r" % (command[:2], got, expected))
                    return
        client.close()
        finished.append(number)

    def test_strings_and_hashes(self):
        clients, steps = (6, 1500) if firn.QUICK else (12, 2500)
        with firn.Server("--maxmemory", "24mb", "--tier-pmem-path", "pmem", "--tier-pmem-size", "16mb", "--tier-nvme-path", "nvme",
                         "--tier-nvme-size", "2gb", stress="off") as server:
            wrong, finished = [], []
            threads = [threading.Thread(target=self.work, args=(server, number, steps, wrong, finished)) for number in range(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])
            self.assertEqual(len(finished), clients)
            info = server.info()
            self.assertEqual(int(info["tier_sync_faults"]), 0)
            self.assertEqual(int(info["tier_nvme_corruptions"]), 0)
            self.assertGreater(int(info["tier_nvme_demotions"]), 0)
            self.assertGreater(int(info["tier_faults"]), 0)


if __name__ == "__main__":
    unittest.main()
