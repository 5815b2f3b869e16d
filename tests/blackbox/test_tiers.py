# SPDX-License-Identifier: BSD-3-Clause
"""The tiers: data beyond maxmemory, where it is, and what happens when a tier is bad, full, broken or lies."""
import os
import random
import subprocess
import threading
import unittest

import firn


def tiered(memory="64mb", pmem="64mb", nvme="4gb", **options):
    words = ["--maxmemory", memory]
    if pmem:
        words += ["--tier-pmem-path", "pmem", "--tier-pmem-size", pmem]
    if nvme:
        words += ["--tier-nvme-path", "nvme", "--tier-nvme-size", nvme]
    words += [word for name, value in options.items() if name not in ("wait",) for word in ("--" + name.replace("_", "-"), value)]
    return firn.Server(*words, stress="off", wait=options.get("wait", True))


def value_of(number, size):
    half = random.Random(number).randbytes(size // 2)
    return half + b"%08d" % number * ((size - len(half)) // 8)


def anonymous_bytes(pid):
    for line in open("/proc/%d/status" % pid):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024


class Tiers(firn.Case):
    OPTIONS = None
    CHOOSES_TIERS = True
    SECONDS_MAX = 180

    def test_ten_times_the_memory(self):
        """Strings and hashes of several sizes, ten times maxmemory: no error, memory bounded, everything reads back."""
        memory = 32 << 20 if firn.QUICK else 64 << 20
        for pmem in ("64mb", None):
            with tiered(str(memory), pmem) as server:
                client, rng = server.client(), random.Random(1)
                written, number, peak, sizes = 0, 0, 0, (512, 1000, 4000, 16384, 100000)
                keys = []
                while written < 10 * memory:
                    batch = []
                    for _ in range(30):
                        size = rng.choice(sizes)
                        if number % 10 == 0:
                            batch.append(("HSET", "h:%d" % number, *(part for i in range(size // 100) for part in ("f%d" % i, value_of(number + i, 80)))))
                        else:
                            batch.append(("SET", "s:%d" % number, value_of(number, size)))
                        keys.append(size)
                        written, number = written + size, number + 1
                    errors = [reply for reply in client.pipeline(batch) if isinstance(reply, firn.ReplyError)]
                    self.assertEqual(errors, [])
                    if number % 300 == 0:
                        peak = max(peak, anonymous_bytes(server.process.pid))
                self.assertEqual(client("DBSIZE"), number)
                for chosen in rng.sample(range(number), 1500):
                    if chosen % 10 == 0:
                        fields = client("HGETALL", "h:%d" % chosen)
                        expected = [part for i in range(keys[chosen] // 100) for part in (b"f%d" % i, value_of(chosen + i, 80))]
                        self.assertEqual(dict(zip(fields[::2], fields[1::2])), dict(zip(expected[::2], expected[1::2])))
                    else:
                        self.assertEqual(client("GET", "s:%d" % chosen), value_of(chosen, keys[chosen]))
                info = server.info("tiering")
                self.assertEqual(int(info["tier_sync_faults"]), 0, "common commands never wait for the device")
                if not firn.SANITIZED:
                    self.assertLessEqual(peak, memory * 1.1 + (8 << 20))
                client.close()

    def test_maxmemory_set_later_bounds_the_process_too(self):
        """A server without a limit gets one: what the NVMe tier takes for itself shrinks with it, and grows no more."""
        memory, count = 32 << 20, 40000 if firn.QUICK else 100000
        with tiered("0", None) as server:
            client = server.client()

            def load(first):
                peak = 0
                for number in range(first, first + count, 100):
                    errors = [reply for reply in client.pipeline([("SET", "s:%d" % i, value_of(i, 1000)) for i in range(number, number + 100)]) if reply != "OK"]
                    self.assertEqual(errors, [])
                    peak = max(peak, anonymous_bytes(server.process.pid))
                return peak

            for number in range(0, 2000):
                client("SET", "first:%d" % number, value_of(number, 4000))
                client("TIER", "DEMOTE", "first:%d" % number)  # into memtables of a server with much memory
            load(0)
            client("CONFIG", "SET", "maxmemory", str(memory))
            firn.wait_until(lambda: int(server.info("memory")["used_memory"]) <= memory, "used memory does not follow maxmemory", 60)
            if not firn.SANITIZED:
                firn.wait_until(lambda: anonymous_bytes(server.process.pid) <= memory * 1.1, "resident memory does not follow maxmemory", 60)
            peak = load(count)
            if not firn.SANITIZED:
                self.assertLessEqual(peak, memory * 1.1 + (8 << 20))
            for number in range(0, 2 * count, 997):
                self.assertEqual(client("GET", "s:%d" % number), value_of(number, 1000))
            client.close()

    def test_where_demote_promote_pin(self):
        with tiered() as server:
            client = server.client()
            client("SET", "k", "v" * 1000)

            def where(key):
                reply = client("TIER", "WHERE", key)
                return dict(zip(reply[::2], reply[1::2]))[b"tier"] if isinstance(reply, list) else reply
            self.assertEqual(where("k"), b"dram")
            self.assertEqual(client("TIER", "DEMOTE", "k", "PMEM"), "OK")
            self.assertEqual(where("k"), b"pmem")
            self.assertEqual(client("GET", "k"), b"v" * 1000)
            self.assertEqual(client("TIER", "DEMOTE", "k", "NVME"), "OK")
            self.assertEqual(where("k"), b"nvme")
            self.assertEqual((client("STRLEN", "k"), client("TYPE", "k"), client("TTL", "k")), (1000, "string", -1))
            self.assertEqual(where("k"), b"nvme")
            self.assertEqual(client("TIER", "PROMOTE", "k"), "OK")
            self.assertEqual(where("k"), b"dram")
            self.assertEqual(client("TIER", "PIN", "k"), "OK")
            self.assertIn("pinned", client.error("TIER", "DEMOTE", "k").lower())
            self.assertEqual(client("TIER", "UNPIN", "k"), "OK")
            self.assertEqual(client("TIER", "DEMOTE", "k"), "OK")
            self.assertEqual(client.error("TIER", "WHERE", "none"), "ERR no such key")
            self.assertTrue(client("TIER", "STATS"))
            client.close()

    def test_one_field_of_a_cold_hash_reads_one_page(self):
        with tiered("256mb", None) as server:
            client = server.client()
            count = 100_000
            for start in range(0, count, 1000):
                client("HSET", "big", *(part for i in range(start, start + 1000) for part in ("field:%d" % i, "value:%d" % i)))
            self.assertEqual(client("TIER", "DEMOTE", "big", "NVME"), "OK")
            before = server.info("tiering")
            memory = int(server.info("memory")["used_memory"])
            self.assertEqual(client("HGET", "big", "field:777"), b"value:777")
            after = server.info("tiering")
            self.assertLessEqual(int(after["tier_nvme_reads"]) - int(before["tier_nvme_reads"]), 1)
            self.assertLessEqual(int(after["tier_nvme_read_bytes"]) - int(before["tier_nvme_read_bytes"]), 65536)
            self.assertLessEqual(int(server.info("memory")["used_memory"]) - memory, 65536)
            self.assertEqual(client("HLEN", "big"), count)
            client.close()

    def test_a_cold_reader_does_not_hold_up_others(self):
        with tiered() as server:
            client, hot = server.client(), server.client()
            client.pipeline([("SET", "cold:%d" % i, value_of(i, 2000)) for i in range(500)] + [("SET", "hot", "h")])
            for i in range(500):
                client("TIER", "DEMOTE", "cold:%d" % i, "NVME")
            client.send_raw(b"".join(client.encode("GET", "cold:%d" % i) for i in range(500)))
            self.assertEqual(hot("GET", "hot"), b"h")
            self.assertEqual([client.receive() for _ in range(500)], [value_of(i, 2000) for i in range(500)])
            client.close(), hot.close()

    def test_keys_off_dram_answer_exactly(self):
        """More keys than their entries would fit into memory: unused ones sink to NVMe, and nothing can be told from outside but time."""
        with tiered("20mb" if firn.QUICK else "24mb", None) as server:
            client, count = server.client(), 0

            def sinking():
                sample = random.Random(count).sample(range(count), 1000)
                return sum(b"nvme" == dict(zip(*[iter(client("TIER", "WHERE", "off:dram:key:%08d" % i))] * 2))[b"key"] for i in sample)
            # Only keys unused for some seconds sink, and only under pressure: go on until one in ten has.
            while count < 120_000 or (sinking() < 100 and count < 1_000_000):
                batch = range(count, count + 10_000)
                replies = client.pipeline([("SET", "off:dram:key:%08d" % i, value_of(i, 104)) for i in batch])
                self.assertEqual(set(map(str, replies)), {"OK"})
                count += 10_000
            self.assertGreaterEqual(sinking(), 100)
            self.assertEqual(client("DBSIZE"), count)
            rng = random.Random(9)
            sample = rng.sample(range(count), 2000)
            for i in sample:
                self.assertEqual(client("GET", "off:dram:key:%08d" % i), value_of(i, 104))
            self.assertEqual(client("EXISTS", *("off:dram:key:%08d" % i for i in sample)), len(sample))
            self.assertEqual(client("EXISTS", *("no:such:key:%d" % i for i in sample)), 0)
            seen, cursor = set(), b"0"
            while True:
                cursor, keys = client("SCAN", cursor, "COUNT", 1000)
                seen.update(keys)
                if cursor == b"0":
                    break
            self.assertEqual(len(seen), count)
            self.assertEqual(len(client("KEYS", "off:dram:key:000001??")), 100)
            self.assertIn(client("RANDOMKEY"), seen)
            renamed, deleted, changed = sample[:300], sample[300:600], sample[600:900]
            for i in renamed:
                self.assertEqual(client("RENAME", "off:dram:key:%08d" % i, "renamed:%d" % i), "OK")
            self.assertEqual(client("DEL", *("off:dram:key:%08d" % i for i in deleted)), len(deleted))
            self.assertEqual(client("MSET", *(part for i in changed for part in ("off:dram:key:%08d" % i, "changed %d" % i))), "OK")
            self.assertEqual(client("DBSIZE"), count - len(deleted))
            client.pipeline([("SET", "push:%d" % i, value_of(i, 400)) for i in range(60000)])
            for i in renamed:
                self.assertEqual(client("GET", "renamed:%d" % i), value_of(i, 104))
            self.assertEqual(client("MGET", *("off:dram:key:%08d" % i for i in deleted)), [None] * len(deleted))
            self.assertEqual(client("MGET", *("off:dram:key:%08d" % i for i in changed)), [b"changed %d" % i for i in changed])
            self.assertEqual(client("TYPE", "off:dram:key:%08d" % sample[1000]), "string")
            self.assertEqual(client("EXPIRE", "off:dram:key:%08d" % sample[1000], 1000), 1)
            self.assertEqual(client("TTL", "off:dram:key:%08d" % sample[1000]), 1000)
            self.assertEqual(client("FLUSHALL"), "OK")
            self.assertEqual(client("DBSIZE"), 0)
            client.close()

    def test_keys_that_alone_fill_memory_are_refused_inside_it(self):
        """Long keys stay in DRAM. When they fill it, writes are refused, and the process fits."""
        memory = 48 << 20
        with tiered(str(memory), None) as server:
            client, count, refused = server.client(), 0, []
            while not refused and count < 200_000:
                replies = client.pipeline([("SET", "k:%02000d" % i, "a short value") for i in range(count, count + 500)])
                refused = [str(reply) for reply in replies if isinstance(reply, firn.ReplyError)]
                count += 500 - len(refused)
            self.assertIn("no value is left to move to the tiers", refused[0])
            if not firn.SANITIZED:
                self.assertLessEqual(anonymous_bytes(server.process.pid), memory * 1.1 + (4 << 20))
            self.assertEqual(client("DBSIZE"), count)
            self.assertEqual(client("GET", "k:%02000d" % (count // 2)), b"a short value")
            self.assertEqual(client("UNLINK", *("k:%02000d" % i for i in range(0, count, 50))), len(range(0, count, 50)))
            client.close()

    def test_everything_changes_while_it_moves(self):
        """Several clients write, read and delete under pressure; each checks its own keys byte for byte."""
        with tiered("48mb", "32mb") as server:
            failures = []

            def worker(seed):
                try:
                    client, rng, model = server.client(), random.Random(seed), {}
                    for step in range(800 if firn.QUICK else 3000):
                        key = b"w%d:%d" % (seed, rng.randrange(1500))
                        kind = rng.random()
                        if kind < 0.5:
                            model[key] = rng.randbytes(rng.choice((10, 1000, 6000, 70000)))
                            client("SET", key, model[key])
                        elif kind < 0.6:
                            client("DEL", key)
                            model.pop(key, None)
                        elif kind < 0.7 and key in model:
                            model[key] += b"tail"
                            client("APPEND", key, "tail")
                        else:
                            reply = client("GET", key)
                            if reply != model.get(key):
                                raise AssertionError(f"{key}: {reply and reply[:40]!r} instead of {model.get(key) and model[key][:40]!r}")
                    client.close()
                except Exception as problem:
                    failures.append(f"worker {seed}: {problem!r}")
            threads = [threading.Thread(target=worker, args=(seed,)) for seed in range(4)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            self.assertEqual(failures, [])

    def test_maxmemory_without_tiers_is_as_in_redis(self):
        with firn.Server("--maxmemory", "10mb", stress="off") as server:
            client = server.client()
            replies = client.pipeline([("SET", "k:%d" % i, "x" * 1000) for i in range(20000)])
            self.assertTrue(any(str(reply) == "OOM command not allowed when used memory > 'maxmemory'." for reply in replies))
            self.assertEqual(client("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), "OK")
            replies = client.pipeline([("SET", "n:%d" % i, "x" * 1000) for i in range(20000)])
            self.assertEqual(set(replies), {"OK"})
            self.assertGreater(int(server.info("stats")["evicted_keys"]), 1000)
            client.close()


class BadLuck(firn.Case):
    OPTIONS = None
    CHOOSES_TIERS = True
    SECONDS_MAX = 120

    def refused(self, expected, *options):
        server = firn.Server(*options, stress="off", wait=False)
        try:
            self.assertNotEqual(server.wait_exit(), 0)
            self.assertIn(expected, server.text())
            self.assertNotIn("ASSERTION", server.text().upper())
        finally:
            server.stop()

    def test_paths_that_cannot_be(self):
        self.refused("/no/such", "--maxmemory", "64mb", "--tier-nvme-path", "/no/such/folder/nvme", "--tier-nvme-size", "1gb")
        self.refused("/no/such", "--maxmemory", "64mb", "--tier-pmem-path", "/no/such/folder/pmem", "--tier-pmem-size", "64mb")
        self.refused("/proc", "--maxmemory", "64mb", "--tier-pmem-path", "/proc/pmem", "--tier-pmem-size", "64mb")
        self.refused("tier-nvme-size", "--maxmemory", "64mb", "--tier-nvme-path", "nvme", "--tier-nvme-size", "12 parsecs")

    def test_foreign_content_is_left_alone(self):
        server = firn.Server(stress="off")
        folder = server.folder
        server.stop()
        os.makedirs(os.path.join(folder, "nvme"))
        try:
            precious = os.path.join(folder, "nvme", "thesis.txt")
            with open(precious, "w") as file:
                file.write("do not lose me")
            self.refused("nvme", "--tier-nvme-path", os.path.join(folder, "nvme"), "--tier-nvme-size", "1gb", "--maxmemory", "64mb")
            self.assertEqual(open(precious).read(), "do not lose me")
            foreign = os.path.join(folder, "image")
            with open(foreign, "wb") as file:
                file.write(b"an image of something else" * 1000)
            self.refused("image", "--tier-pmem-path", foreign, "--tier-pmem-size", "64mb", "--maxmemory", "64mb")
            self.assertEqual(open(foreign, "rb").read(), b"an image of something else" * 1000)
        finally:
            subprocess.run(["rm", "-rf", folder], check=True)

    def test_a_full_lower_tier_names_itself_and_loses_nothing(self):
        with tiered("32mb", None, "64mb") as server:
            client, accepted, refused = server.client(), 0, None
            while refused is None and accepted < 400_000:
                for reply in client.pipeline([("SET", "k:%d" % (accepted + i), value_of(accepted + i, 2000)) for i in range(100)]):
                    if isinstance(reply, firn.ReplyError):
                        refused = str(reply)
                        break
                    accepted += 1
            self.assertIsNotNone(refused)
            self.assertIn("OOM", refused)
            self.assertIn("nvme", refused)
            for i in random.Random(2).sample(range(accepted), 500):
                self.assertEqual(client("GET", "k:%d" % i), value_of(i, 2000))
            client.pipeline([("DEL", "k:%d" % i) for i in range(accepted)])
            firn.wait_until(lambda: client.pipeline([("SET", "again", value_of(1, 2000))]) == ["OK"], "it takes nothing again")
            self.assertEqual(client("GET", "again"), value_of(1, 2000))
            client.close()

    def test_evicting_out_of_a_full_lower_tier(self):
        with tiered("32mb", None, "64mb", tier_full="evict", maxmemory_policy="allkeys-lru") as server:
            client = server.client()
            for start in range(0, 60000, 100):
                replies = client.pipeline([("SET", "k:%d" % i, value_of(i, 2000)) for i in range(start, start + 100)])
                self.assertEqual(set(map(str, replies)), {"OK"})
            self.assertLess(client("DBSIZE"), 60000)
            self.assertEqual(client("GET", "k:59999"), value_of(59999, 2000))
            client.close()

    def cold_keys(self, client, count=200):
        client.pipeline([("SET", "k:%d" % i, value_of(i, 3000)) for i in range(count)])
        for i in range(count):
            client("TIER", "DEMOTE", "k:%d" % i, "NVME")

    def test_a_failing_read_is_an_error_and_the_key_stays(self):
        with tiered() as server:
            client = server.client()
            self.cold_keys(client)
            client("DEBUG", "FAULT", "ROCKS_READ", 0, 1)
            self.assertIn("nvme", client.error("GET", "k:5").lower())
            self.assertEqual(client("EXISTS", "k:5"), 1)
            self.assertEqual(client("GET", "k:5"), value_of(5, 3000))
            client("DEBUG", "FAULT", "ROCKS_CHECKSUM", 0, 1)
            self.assertIn("checksum", client.error("GET", "k:6").lower())
            self.assertEqual(client("GET", "k:7"), value_of(7, 3000))
            client.close()

    def test_failing_writes_keep_everything_in_memory(self):
        with tiered("48mb", None) as server:
            client = server.client()
            client("DEBUG", "FAULT", "ROCKS_WRITE", 0, 2**62)
            accepted = []
            for i in range(40000):
                try:
                    client("SET", "k:%d" % i, value_of(i, 2000))
                    accepted.append(i)
                except firn.ReplyError as error:
                    self.assertIn("nvme", str(error))
                    break
            self.assertLess(len(accepted), 40000)
            for i in random.Random(3).sample(accepted, 300):
                self.assertEqual(client("GET", "k:%d" % i), value_of(i, 2000))
            client("DEBUG", "FAULT", "ROCKS_WRITE", 0, 0)
            firn.wait_until(lambda: client.pipeline([("SET", "after", "repair")]) == ["OK"], "it takes nothing again")
            self.assertEqual(client("GET", "after"), b"repair")
            for i in random.Random(4).sample(accepted, 300):
                self.assertEqual(client("GET", "k:%d" % i), value_of(i, 2000))
            client.close()

    def test_killed_and_started_again_on_the_same_tiers(self):
        server = tiered()
        client = server.client()
        client.pipeline([("SET", "k:%d" % i, value_of(i, 5000)) for i in range(30000)])
        client.close()
        server.process.kill()
        server.process.wait()
        again = firn.Server("--maxmemory", "64mb", "--tier-pmem-path", os.path.join(server.folder, "pmem"), "--tier-pmem-size", "64mb",
                            "--tier-nvme-path", os.path.join(server.folder, "nvme"), "--tier-nvme-size", "4gb", stress="off")
        client = again.client()
        self.assertEqual(client("DBSIZE"), 0)
        client("SET", "k", "v")
        self.assertEqual(client("GET", "k"), b"v")
        client.close()
        again.stop()
        server.stop()


if __name__ == "__main__":
    unittest.main()
