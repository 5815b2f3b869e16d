# SPDX-License-Identifier: BSD-3-Clause
"""Replies with a whole collection that is larger than memory: streamed, as of the moment of the command, inside the budget, while others go on."""
import multiprocessing
import threading
import time
import unittest

import firn
from test_tiers import anonymous_bytes, tiered

FORK = multiprocessing.get_context("fork")
MEMORY = 32 << 20
TIMES = 1 if firn.QUICK else 4  # the collection, in maxmemory
MEMBER_BYTES = 1000
COUNT = TIMES * MEMORY // (MEMBER_BYTES + 4)


def member(number):
    return b"%08d:" % number + b"m" * (MEMBER_BYTES - 9)


def fill(server, key, command, first=0, last=COUNT):
    """Elements first to last, from several connections (most go to a page that is cold); returns how many."""
    problems = []

    def part(first, last):
        client = server.client()
        for begin in range(first, last, 2000):
            batch = []
            for low in range(begin, min(last, begin + 2000), 10):
                numbers = range(low, min(last, low + 10))
                if command in ("SADD", "RPUSH"):
                    words = [member(i) for i in numbers]
                elif command == "ZADD":
                    words = [part for i in numbers for part in (i, member(i))]
                else:
                    words = [part for i in numbers for part in (b"f%07d" % i, member(i))]
                batch.append((command, key, *words))
            problems.extend(reply for reply in client.pipeline(batch) if isinstance(reply, firn.ReplyError))
        client.close()

    parts = 1 if command == "RPUSH" else 8
    threads = [threading.Thread(target=part, args=(first + (last - first) * i // parts, first + (last - first) * (i + 1) // parts)) for i in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [], problems[:3]
    time.sleep(0.5)
    return last - first


class Watch:
    """A client in a process of its own that GETs a hot key all the time, and looks at the server's memory."""

    def __init__(self, server):
        self.server = server
        self.over = FORK.Event()
        self.result, self.report = FORK.Pipe(duplex=False)

    def run(self):
        client, answered, peak = self.server.client(), 0, 0
        while not self.over.is_set():
            assert client("GET", "hot") == b"value"
            answered += 1
            if answered % 20 == 0:
                peak = max(peak, anonymous_bytes(self.server.process.pid))
            time.sleep(0.001)
        self.report.send((answered, peak))

    def __enter__(self):
        client = self.server.client()
        client("SET", "hot", "value")
        client.close()
        self.process = FORK.Process(target=self.run)
        self.process.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.answered, self.peak = self.result.recv()
        self.process.join()


def streams_end(client):
    """Nothing is held any more: no stream is left, and what died meanwhile is gone from the tiers."""
    firn.wait_until(lambda: b"streaming_replies:0\r\n" in client("INFO", "clients"), "a stream is left")


class WholeCollections(firn.Case):
    OPTIONS = None
    CHOOSES_TIERS = True
    SECONDS_MAX = 180

    def memory_fits(self, watch):
        """With so small a maxmemory the engine's threads and the allocator's slack count; bench/run.py --part whole has large ones."""
        if not firn.SANITIZED:
            self.assertLessEqual(watch.peak, MEMORY * 1.1 + (4 << 20))

    def others_run(self, watch):
        """In turns, not after the whole. How fast is for bench/run.py --part whole: this machine may do other things beside."""
        self.assertGreater(watch.answered, 20)

    def finish(self, watch, *clients):
        """What was watched was bounded, nothing is left of it, and the connections go."""
        self.memory_fits(watch)
        self.others_run(watch)
        streams_end(clients[0])
        for client in clients:
            client.close()

    def test_set_larger_than_memory(self):
        for pmem in (None, "32mb"):
            with tiered(str(MEMORY), pmem) as server:
                client, writer = server.client(), server.client()
                count = fill(server, "s", "SADD")
                with Watch(server) as watch:
                    client.send("SMEMBERS", "s")
                    client.send("PING")
                    time.sleep(0.005)
                    # These come after the answer's moment, or before it as a whole: size and content tell.
                    for number in range(0, count, count // 500):
                        writer("SREM", "s", member(number))
                    for number in range(2000):
                        writer("SADD", "s", b"later:%d" % number)
                    reply = client.receive()
                    self.assertEqual(client.receive(), "PONG")
                self.assertEqual(len(reply), count)
                self.assertEqual(set(reply), set(map(member, range(count))))
                self.assertEqual(writer("SCARD", "s"), count - len(range(0, count, count // 500)) + 2000)
                with Watch(server) as popping:  # gone when it begins, replied as long as it takes
                    client.send("SPOP", "s", 10 * count)
                    time.sleep(0.02)
                    self.assertEqual(writer("EXISTS", "s"), 0)
                    writer("SADD", "s", "another")
                    reply = client.receive()
                self.assertEqual(set(reply), set(map(member, set(range(count)) - set(range(0, count, count // 500)))) | {b"later:%d" % i for i in range(2000)})
                self.memory_fits(popping)
                self.finish(watch, writer, client)

    def test_hash_larger_than_memory(self):
        with tiered(str(MEMORY), None) as server:
            client, writer = server.client(), server.client()
            count = fill(server, "h", "HSET")
            with Watch(server) as watch:
                client.send("HGETALL", "h")
                time.sleep(0.005)
                for number in range(0, count, count // 500):
                    writer("HSET", "h", b"f%07d" % number, "changed")
                reply = client.receive()
                self.assertEqual(dict(zip(reply[::2], reply[1::2])), {b"f%07d" % i: member(i) for i in range(count)})
                del reply
                keys = client("HKEYS", "h")
                values = client("HVALS", "h")
                self.assertEqual(len(set(keys)), count)
                changed = {b"f%07d" % i for i in range(0, count, count // 500)}
                for key, value in zip(keys, values):
                    self.assertEqual(value, b"changed" if key in changed else member(int(key[1:])))
            self.memory_fits(watch)
            self.others_run(watch)
            client("HELLO", "3")
            self.assertEqual(len(client("HGETALL", "h")), count)
            # In MULTI and for a hash with a due field it is answered in one go.
            client("HELLO", "2")
            client("MULTI")
            client("HLEN", "h")
            client("HKEYS", "h")
            self.assertEqual([reply if isinstance(reply, int) else len(reply) for reply in client("EXEC")], [count, count])
            streams_end(writer)
            client.close()
            writer.close()

    def test_list_larger_than_memory(self):
        with tiered(str(MEMORY), None) as server:
            client, writer = server.client(), server.client()
            count = fill(server, "l", "RPUSH")
            with Watch(server) as watch:
                client.send("LRANGE", "l", 0, -1)
                time.sleep(0.005)
                for number in range(300):
                    writer("LSET", "l", number * (count // 300), "changed")
                    writer("RPUSH", "l", "later")
                reply = client.receive()
                first = reply.index(member(1)) - 1  # a change or two may have come first
                self.assertEqual([element for element in reply if element not in (b"changed", b"later")][-1], member(count - 1))
                if first == 0 and reply[0] == member(0):
                    self.assertEqual(reply, [member(i) for i in range(count)])
                writer("LTRIM", "l", 0, count - 1)
                reply = client("LRANGE", "l", 1001, -1001)
                changed = {number * (count // 300) for number in range(300)}
                self.assertEqual(reply, [b"changed" if i in changed else member(i) for i in range(1001, count - 1000)])
            self.finish(watch, writer, client)

    def test_searches_of_a_list_larger_than_memory(self):
        """The key is held while a search goes on: what others ask of it comes after, other keys go on."""
        with tiered(str(MEMORY), None) as server:
            client, other = server.client(), server.client()
            fill(server, "l", "RPUSH")
            for number in (COUNT // 3, COUNT // 3 + 1, COUNT - 5000):
                client("LSET", "l", number, "rare")
            blocked = server.client()
            blocked.send("BLMOVE", "source", "l", "LEFT", "RIGHT", 0)
            server.wait_for_blocked(1)
            with Watch(server) as watch:
                self.assertEqual(client("LPOS", "l", member(COUNT - 100)), COUNT - 100)
                self.assertEqual(client("LPOS", "l", "rare", "RANK", 2, "COUNT", 0), [COUNT // 3 + 1, COUNT - 5000])
                self.assertEqual(client("LPOS", "l", "rare", "RANK", -2, "COUNT", 5), [COUNT // 3 + 1, COUNT // 3])
                self.assertEqual(client("LPOS", "l", "none"), None)
                self.assertEqual(client("LPOS", "l", "none", "COUNT", 0), [])
                self.assertEqual(client("LPOS", "l", member(COUNT - 100), "MAXLEN", COUNT - 100), None)
                client.send("LREM", "l", 0, "rare")
                time.sleep(0.02)
                other.send("LLEN", "l")
                pusher = server.client()
                pusher.send("RPUSH", "source", "moved")  # the waiter may not push to the list in between
                self.assertEqual(client.receive(), 3)
                self.assertIn(other.receive(), (COUNT, COUNT - 3, COUNT - 2))  # before or after, never in between
                self.assertEqual((pusher.receive(), blocked.receive()), (1, b"moved"))
                self.assertEqual(client("LINSERT", "l", "BEFORE", member(COUNT - 10), "before"), COUNT - 1)
                self.assertEqual(client("LINSERT", "l", "AFTER", "none", "x"), -1)
                self.assertEqual(client("LRANGE", "l", -12, -10), [b"before", member(COUNT - 10), member(COUNT - 9)])
                for number in (1, COUNT // 2, COUNT - 6000, COUNT - 6001):
                    client("LSET", "l", number, "rare")
                self.assertEqual(client("LREM", "l", -2, "rare"), 2)
                self.assertEqual(client("LREM", "l", -2, "rare"), 2)
                self.assertEqual(client("LREM", "l", -2, "rare"), 0)
                # The list goes while it is searched: as if the command had come after that.
                client("RPUSH", "spare", "a")
                client.send("LREM", "l", 0, "none")
                time.sleep(0.02)
                other.send("DEL", "l")
                self.assertEqual((client.receive(), other.receive()), (0, 1))
            self.memory_fits(watch)
            self.others_run(watch)
            # A client that goes leaves nothing held.
            fill(server, "l", "RPUSH")
            client.send("LPOS", "l", "none")
            time.sleep(0.02)
            client.close()
            self.assertEqual(other("LLEN", "l"), COUNT)

    def test_sorted_set_larger_than_memory(self):
        with tiered(str(MEMORY), None) as server:
            client, writer = server.client(), server.client()
            count = fill(server, "z", "ZADD")
            with Watch(server) as watch:
                client.send("ZRANGE", "z", 0, -1)
                time.sleep(0.05)
                for number in range(0, count, count // 300):
                    writer("ZREM", "z", member(number))
                reply = client.receive()
                self.assertEqual(reply, [member(i) for i in range(count)])
                left = [i for i in range(count) if i % (count // 300) != 0]
                reply = client("ZRANGE", "z", 500, -800, "REV", "WITHSCORES")
                self.assertEqual(reply[::2], [member(i) for i in left[::-1][500:-799]])
                self.assertEqual(list(map(int, reply[1::2])), left[::-1][500:-799])
                client("HELLO", "3")
                reply = client("ZRANGEBYSCORE", "z", 1000, "(%d" % (count - 1000), "WITHSCORES", "LIMIT", 100, 5000)
                self.assertEqual(reply, [[member(i), float(i)] for i in left if 1000 <= i < count - 1000][100:5100])
            self.finish(watch, writer, client)

    def test_stream_larger_than_memory(self):
        with tiered(str(MEMORY), None) as server:
            client, writer = server.client(), server.client()
            for begin in range(0, COUNT, 1000):
                client.pipeline([("XADD", "x", "%d-1" % (i + 1), "f", member(i)) for i in range(begin, min(COUNT, begin + 1000))])

            def item(i):
                return [b"%d-1" % (i + 1), [b"f", member(i)]]

            with Watch(server) as watch:
                client.send("XRANGE", "x", "-", "+")
                time.sleep(0.05)
                for number in range(300):
                    writer("XDEL", "x", "%d-1" % (number * (COUNT // 300) + 1))
                    writer("XADD", "x", "*", "f", "later")
                self.assertEqual(client.receive(), [item(i) for i in range(COUNT)])
                gone = {number * (COUNT // 300) for number in range(300)}
                left = [i for i in range(1000, COUNT - 2000) if i not in gone]
                reply = client("XREVRANGE", "x", COUNT - 2000, "(%d-1" % 1000)
                self.assertEqual(reply, [item(i) for i in left[::-1]])
                self.assertEqual(client("XRANGE", "x", "1001-0", COUNT - 2000, "COUNT", len(left) // 2), [item(i) for i in left[:len(left) // 2]])
                writer("XADD", "y", "1-1", "a", "b")
                client.send("XREAD", "STREAMS", "x", "none", "y", "x", 0, 0, 0, COUNT // 2)
                time.sleep(0.05)
                for number in range(300):  # what comes and goes now is not for this answer
                    writer("XDEL", "x", "%d-1" % (number * (COUNT // 300) + 2))
                    writer("XADD", "x", "*", "f", "later")
                reply = client.receive()
                self.assertEqual([key for key, _ in reply], [b"x", b"y", b"x"])
                there = [i for i in range(COUNT) if i not in gone]
                self.assertEqual(reply[0][1][:len(there)], [item(i) for i in there])
                self.assertEqual(len(reply[0][1]), len(there) + 300)
                self.assertEqual(reply[1][1], [[b"1-1", [b"a", b"b"]]])
                self.assertEqual(reply[2][1][:10], [item(i) for i in there if i >= COUNT // 2 - 1][:10])
                del reply
                client("HELLO", 3)
                there = [i for i in there if i - 1 not in gone]
                reply = client("XREAD", "COUNT", len(there) // 2, "STREAMS", "x", "y", 0, 0)
                self.assertEqual(reply, {b"x": [item(i) for i in there[:len(there) // 2]], b"y": [[b"1-1", [b"a", b"b"]]]})
            self.finish(watch, writer, client)

    def test_groups_of_a_stream_larger_than_memory(self):
        with tiered(str(MEMORY), None) as server:
            client, other = server.client(), server.client()
            for begin in range(0, COUNT, 1000):
                client.pipeline([("XADD", "x", "%d-1" % (i + 1), "f", member(i)) for i in range(begin, min(COUNT, begin + 1000))])
            client("XGROUP", "CREATE", "x", "g", 0)
            client("XGROUP", "CREATE", "x", "no-ack", 0)
            half = COUNT // 2

            def item(i):
                return [b"%d-1" % (i + 1), [b"f", member(i)]]

            with Watch(server) as watch:
                client.send("XREADGROUP", "GROUP", "g", "one", "COUNT", half, "STREAMS", "x", ">")
                time.sleep(0.02)
                other.send("XREADGROUP", "GROUP", "g", "two", "COUNT", 1, "STREAMS", "x", ">")
                adder = server.client()
                adder.send("XADD", "x", "%d-1" % (2 * COUNT), "f", "later")
                reply = client.receive()
                self.assertEqual(len(reply[0][1]), half)
                got = other.receive()[0][1][0]
                first = 1 if got == item(0) else 0  # it came before or after, never in between
                self.assertEqual(got, item(0 if first else half))
                self.assertEqual(reply, [[b"x", [item(i) for i in range(first, half + first)]]])
                self.assertEqual(adder.receive(), b"%d-1" % (2 * COUNT))
                self.assertEqual(other("XPENDING", "x", "g")[0], half + 1)
                self.assertEqual(other("XINFO", "GROUPS", "x")[0][7], b"%d-1" % (half + 1))
                client("HELLO", 3)
                reply = client("XREADGROUP", "GROUP", "no-ack", "one", "NOACK", "STREAMS", "x", ">")
                self.assertEqual(reply[b"x"][:-1], [item(i) for i in range(COUNT)])
                del reply
                self.assertEqual(other("XPENDING", "x", "no-ack")[0], 0)
                self.assertEqual(client("XREADGROUP", "GROUP", "no-ack", "one", "NOACK", "STREAMS", "x", ">"), None)
            self.memory_fits(watch)
            self.others_run(watch)
            streams_end(other)

    def test_algebra_of_sets_larger_than_memory(self):
        """Each set is half of what test_set_... has; every second member of the second is in the first."""
        with tiered(str(MEMORY), None) as server:
            client, writer = server.client(), server.client()
            half = COUNT // 2
            fill(server, "a", "SADD", 0, half)
            fill(server, "b", "SADD", half // 2, half // 2 + half)
            client("SADD", "few", *(member(i) for i in range(0, COUNT, COUNT // 50)))
            both, either = set(range(half // 2, half)), half // 2 + half
            with Watch(server) as watch:
                client.send("SUNIONSTORE", "u", "a", "b")
                time.sleep(0.05)
                for number in range(0, half, half // 200):
                    writer("SREM", "a", member(number))
                writer("SADD", "a", *(member(number) for number in range(0, half, half // 200)))
                self.assertEqual(client.receive(), either)
                self.assertEqual(client("SCARD", "u"), either)
                self.assertEqual(client("SINTERSTORE", "i", "a", "b"), len(both))
                self.assertEqual(client("SDIFFSTORE", "d", "a", "b"), half - len(both))
                self.assertEqual(client("SDIFFSTORE", "none", "few", "u"), len(range(0, COUNT, COUNT // 50)) - len([i for i in range(0, COUNT, COUNT // 50) if i < either]))
                self.assertEqual(client("SINTERCARD", 2, "a", "b"), len(both))
                self.assertEqual(client("SINTERCARD", 2, "a", "b", "LIMIT", 100), 100)
                self.assertEqual(set(client("SINTER", "a", "u", "b")), {member(i) for i in both})
                self.assertEqual(set(client("SINTER", "few", "u")), {member(i) for i in range(0, COUNT, COUNT // 50) if i < either})
                self.assertEqual(set(client("SDIFF", "a", "b", "few")), {member(i) for i in range(half) if i not in both and i % (COUNT // 50)})
                self.assertEqual(len(set(client("SUNION", "a", "b", "few"))), len(set(range(either)) | set(range(0, COUNT, COUNT // 50))))
            self.assertEqual(set(client("SMEMBERS", "u")), {member(i) for i in range(either)})
            self.assertEqual(set(client("SMEMBERS", "d")), {member(i) for i in range(half) if i not in both})
            self.memory_fits(watch)
            self.others_run(watch)
            gone = server.client()
            gone.send("SUNIONSTORE", "never", "u", "a")
            time.sleep(0.05)
            gone.close()
            client("FLUSHALL")
            streams_end(writer)
            client.close()
            writer.close()

    def test_algebra_of_sorted_sets_larger_than_memory(self):
        with tiered(str(MEMORY), None) as server:
            client, writer = server.client(timeout=600), server.client(timeout=300)
            half = COUNT // 4  # each holds every member twice, and so does the result; runs are beside them
            fill(server, "a", "ZADD", 0, half)
            fill(server, "b", "ZADD", half // 2, half // 2 + half)
            fill(server, "s", "SADD", 0, half // 4)
            both, either = range(half // 2, half), range(half // 2 + half)

            def scored(reply):
                return list(zip(reply[::2], map(float, reply[1::2])))

            def ordered(scores):
                return sorted(((member(i), float(score)) for i, score in scores.items()), key=lambda item: (item[1], item[0]))

            union = {i: (i if i < half else 0) + (2 * i if i >= half // 2 else 0) for i in either}
            with Watch(server) as watch:
                client.send("ZUNIONSTORE", "u", 2, "a", "b", "WEIGHTS", 1, 2)
                time.sleep(0.1)
                for number in range(0, half, half // 200):
                    writer("ZREM", "a", member(number))
                writer("ZADD", "a", *(part for i in range(0, half, half // 200) for part in (i, member(i))))
                self.assertEqual(client.receive(), len(either))
                self.assertEqual(scored(client("ZRANGE", "u", 0, -1, "WITHSCORES")), ordered(union))
                for number in list(either)[::len(either) // 100]:
                    self.assertEqual(float(writer("ZSCORE", "u", member(number))), union[number])
                self.assertEqual(client("ZINTERSTORE", "i", 2, "a", "b", "AGGREGATE", "MAX", "WEIGHTS", 3, -1), len(both))
                self.assertEqual(scored(client("ZRANGE", "i", 0, -1, "WITHSCORES")), ordered({i: 3 * i for i in both}))
                self.assertEqual(client("ZDIFFSTORE", "i", 2, "a", "b"), half // 2)
                self.assertEqual(scored(client("ZRANGE", "i", 0, -1, "WITHSCORES")), ordered({i: i for i in range(half // 2)}))
                self.assertEqual(client("ZINTERCARD", 2, "a", "b"), len(both))
                self.assertEqual(client("ZINTERCARD", 3, "a", "b", "u", "LIMIT", 100), 100)
                self.assertEqual(scored(client("ZINTER", 2, "a", "s", "WITHSCORES")), ordered({i: i + 1 for i in range(half // 4)}))
                self.assertEqual(scored(client("ZUNION", 3, "s", "b", "a", "WITHSCORES")), ordered({i: (i if i < half else 0) + (i if i >= half // 2 else 0) + (i < half // 4) for i in either}))
                self.assertEqual(client("ZDIFF", 2, "a", "i"), [member(i) for i in both])
                self.assertEqual(client("ZRANGESTORE", "r", "a", 100, "(%d" % (half - 50), "BYSCORE"), half - 150)
                self.assertEqual(scored(client("ZRANGE", "r", 0, -1, "WITHSCORES")), ordered({i: i for i in range(100, half - 50)}))
                self.assertEqual(int(writer("ZRANK", "r", member(half // 2))), half // 2 - 100)
                self.assertEqual(client("ZRANGESTORE", "r", "u", 0, 5), 6)
            gone = server.client()
            gone.send("ZUNIONSTORE", "never", 2, "u", "a")
            time.sleep(0.05)
            gone.close()
            client("FLUSHALL")
            self.finish(watch, writer, client)

    def test_copy_of_what_is_larger_than_memory(self):
        """Its pages are shared: no reading, no room; then each changes by itself, and either may go first."""
        for command, length in (("RPUSH", "LLEN"), ("SADD", "SCARD"), ("ZADD", "ZCARD"), ("HSET", "HLEN")):
            with tiered(str(MEMORY), "8mb" if command == "SADD" else None) as server:
                client, writer = server.client(timeout=300), server.client(timeout=300)
                count = fill(server, "k", command, 0, COUNT // 2)

                def content(key):
                    if command == "RPUSH":
                        return client("LRANGE", key, 0, -1)
                    if command == "SADD":
                        return sorted(client("SMEMBERS", key))
                    if command == "ZADD":
                        return client("ZRANGE", key, 0, -1)
                    reply = client("HGETALL", key)
                    return [value for _, value in sorted(zip(reply[::2], reply[1::2]))]

                with Watch(server) as watch:
                    if command == "HSET":
                        client("HPEXPIRE", "k", 600000, "FIELDS", 1, "f0000005")
                    nvme = int(server.info("tiering")["tier_nvme_read_bytes"])
                    self.assertEqual(client("COPY", "k", "copy"), 1)
                    self.assertLess(int(server.info("tiering")["tier_nvme_read_bytes"]) - nvme, MEMORY // 8)
                    self.assertEqual(client(length, "copy"), count)
                    if command == "HSET":
                        self.assertEqual(client("HTTL", "copy", "FIELDS", 2, "f0000005", "f0000006")[1], -1)
                        self.assertGreater(client("HTTL", "copy", "FIELDS", 1, "f0000005")[0], 0)
                        self.assertEqual(client("HPERSIST", "copy", "FIELDS", 1, "f0000005"), [1])
                    for i in range(0, count, count // 100):  # of the first only
                        if command == "RPUSH":
                            client("LSET", "k", i, "changed")
                        else:
                            client({"SADD": "SREM", "ZADD": "ZREM", "HSET": "HDEL"}[command], "k", member(i) if command != "HSET" else b"f%07d" % i)
                    self.assertEqual(client("COPY", "copy", "third"), 1)
                    fill(server, "third", command, count, count + 500)
                    self.assertEqual(content("copy"), [member(i) for i in range(count)])
                    client("DEL", "k")
                    self.assertEqual(client(length, "third"), count + 500)
                    self.assertEqual(content("third"), [member(i) for i in range(count + 500)])
                    client("DEL", "third")
                    self.assertEqual(content("copy"), [member(i) for i in range(count)])
                client("DEL", "copy")
                deadline = time.time() + 60
                while time.time() < deadline and int(server.info("tiering")["tier_nvme_bytes_live"]) > 0:
                    time.sleep(0.1)
                self.assertEqual(int(server.info("tiering")["tier_nvme_bytes_live"]), 0, "what was shared is discarded with its last owner")
                self.finish(watch, writer, client)

    def test_key_that_a_command_in_turns_will_write(self):
        """Such a command is of its beginning: who names its key, or flushes, comes after it; others go on."""
        with tiered(str(MEMORY), None) as server:
            client, other, third, watcher = (server.client(timeout=300) for _ in range(4))
            half = COUNT // 4
            fill(server, "a", "SADD", 0, half)
            fill(server, "b", "SADD", half, 2 * half)
            fill(server, "za", "ZADD", 0, half // 2)
            fill(server, "zb", "ZADD", half // 2, half)
            for command, size in ((("SUNIONSTORE", "d", "a", "b"), 2 * half), (("ZUNIONSTORE", "d", 2, "za", "zb"), half), (("ZRANGESTORE", "d", "za", 0, -1), half // 2)):
                card = "SCARD" if command[0][0] == "S" else "ZCARD"
                client("SET", "d", "before")
                client.send(*command)
                time.sleep(0.02)
                other.send("DEL", "d")
                third.send("MULTI")
                third.send("EXISTS", "a")
                third.send(card, "d")
                third.send("EXEC")
                self.assertEqual(watcher("SET", "e", "x"), "OK")
                self.assertIn(watcher("DBSIZE"), (5, 6))  # it does not wait: before the command, or after all of it
                self.assertEqual(client.receive(), size)
                self.assertEqual(other.receive(), 1)
                reply = [third.receive() for _ in range(4)][3]
                self.assertIn(reply, ([1, size], [1, 0]), "after the command, before or after the DEL")
            client("DEL", "e")
            third.send("BLMOVE", "source", "d", "LEFT", "LEFT", 0)
            client.send("SUNIONSTORE", "d", "a", "b")
            time.sleep(0.02)
            other("RPUSH", "source", "x")
            self.assertEqual(client.receive(), 2 * half)
            with self.assertRaises(firn.ReplyError, msg="who waited comes after it too: d is a set then"):
                third.receive()
            self.assertEqual((other("LLEN", "source"), other("SCARD", "d"), other("DEL", "source")), (1, 2 * half, 1))
            gone = server.client()
            gone.send("SUNIONSTORE", "d", "a", "b")
            time.sleep(0.02)
            other.send("SET", "d", "now")
            time.sleep(0.02)
            gone.close()
            self.assertEqual(other.receive(), "OK", "who would have written it is gone")
            client.send("SUNIONSTORE", "d", "a", "b")
            time.sleep(0.02)
            other.send("FLUSHALL")
            self.assertEqual(client.receive(), 2 * half)
            self.assertEqual(other.receive(), "OK")
            self.assertEqual(other("DBSIZE"), 0)
            for each in (client, other, third, watcher):
                each.close()

    def test_slow_reader_and_disconnect(self):
        with tiered(str(MEMORY), None) as server:
            client, slow, writer = server.client(), server.client(), server.client()
            count = fill(server, "s", "SADD")
            with Watch(server) as watch:
                slow.send("SMEMBERS", "s")
                time.sleep(1)
                for number in range(3000):
                    writer("SADD", "s", b"later:%d" % number)
                gone = [server.client() for _ in range(4)]
                for other in gone:
                    other.send("SMEMBERS", "s")
                    other.input.read(100000)
                for other in gone:
                    other.close()
                reply = slow.receive()
            self.assertEqual(len(reply), count)
            self.assertEqual(set(reply), set(map(member, range(count))))
            self.finish(watch, writer, client, slow)

    def test_flush_in_the_middle(self):
        with tiered(str(MEMORY), "16mb") as server:
            client, other = server.client(), server.client()
            for round_number in range(2):
                count = fill(server, "s", "SADD")
                client.send("SMEMBERS", "s")
                time.sleep(0.01)
                other("FLUSHALL" if round_number == 0 else "DEL", *(() if round_number == 0 else ("s",)))
                reply = client.receive()
                if reply != []:  # the flush may have come first
                    self.assertEqual(len(reply), count)
                    self.assertEqual(set(reply), set(map(member, range(count))))
                self.assertEqual(other("DBSIZE"), 0)
                streams_end(other)
            firn.wait_until(lambda: server.info("tiering")["tier_nvme_bytes_live"] == "0", "what was held is not discarded")
            client.close()
            other.close()


if __name__ == "__main__":
    unittest.main()
