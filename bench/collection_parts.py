# SPDX-License-Identifier: BSD-3-Clause
"""Parts of bench/run.py about lists, sets, sorted sets, streams and large hashes. Each takes run.py's namespace, ${bench}."""
import os
import socket
import statistics
import subprocess
import threading
import time

BATCH = 1000  # elements in one command of a load


def encode(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in (w if isinstance(w, bytes) else str(w).encode() for w in words))


def drain(link, replies, found):
    """Read ${replies} short replies; errors are collected in ${found}."""
    data = link.makefile("rb", buffering=1 << 16)
    for _ in range(replies):
        line = data.readline()
        if line.startswith(b"-"):
            found.append(line)
        if line.startswith(b"$"):
            data.read(int(line[1:]) + 2)


def load(server, commands, count):
    """Send ${count} encoded commands as they come, reading replies beside."""
    found = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=600) as link:
        reader = threading.Thread(target=drain, args=(link, count, found))
        reader.start()
        for command in commands:
            link.sendall(command)
        reader.join()
    if found:
        raise SystemExit(f"{server.name}: {found[0]!r}")


def element(i):
    """Element number ${i}, in an order that is not sorted."""
    return b"member:%08d" % (i * 7919 % 100_000_007)


def fill(server, kind, count):
    """A collection named by its ${kind} with ${count} elements of 15 bytes."""
    if kind == "stream":
        load(server, (b"".join(encode("XADD", kind, f"{i + j + 1}-0", "f", element(i + j)) for j in range(BATCH)) for i in range(0, count, BATCH)), count)
        return
    words = {"set": lambda i: (element(i),), "list": lambda i: (element(i),), "zset": lambda i: (b"%d" % (i * 31 % 1_000_003), element(i)),
             "hash": lambda i: (element(i), b"v")}[kind]
    name = {"set": "SADD", "list": "RPUSH", "zset": "ZADD", "hash": "HSET"}[kind]
    load(server, (encode(name, kind, *(word for j in range(BATCH) for word in words(i + j))) for i in range(0, count, BATCH)), count // BATCH)


OPERATIONS = (
    ("LPUSH", "LPUSH list value:__rand_int__"), ("RPOP", "RPOP list"), ("LRANGE_100", "LRANGE short 0 99"),
    ("SADD", "SADD set member:__rand_int__"), ("SPOP", "SPOP set"), ("ZADD", "ZADD zset __rand_int__ member:__rand_int__"),
    ("ZRANGEBYSCORE", "ZRANGEBYSCORE zset __rand_int__ +inf LIMIT 0 10"), ("ZRANK", "ZRANK zset member:__rand_int__"),
    ("XADD", "XADD stream * field value:__rand_int__"), ("XREADGROUP", "XREADGROUP GROUP g c COUNT 1 STREAMS stream >"),
)


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def benchmark(bench, server, command, pipeline, count):
    before = cpu_seconds(server.process.pid)
    subprocess.run(["taskset", "-c", bench.CLIENT_CORE, "redis-benchmark", "-p", str(server.port), "-c", "50", "-P", str(pipeline), "-n", str(count), "-r", "100000", "-q", *command.split()],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (cpu_seconds(server.process.pid) - before) * 1e6 / count


def types(bench):
    count = 100_000 if bench.arguments.quick else 400_000
    print(f"\n## Types: everything in DRAM, no tier; redis-benchmark, 50 connections, {count:,} operations a run (twice as many with -P 32); server CPU per operation")
    rows = []
    for pipeline in (1, 32):
        pair = {name: bench.Server(name) for name in ("redis", "firn")}
        for server in pair.values():
            server.call("RPUSH", "short", *range(100))
            server.call("XGROUP", "CREATE", "stream", "g", "0", "MKSTREAM")
        got = {}
        for _ in range(bench.arguments.rounds):
            for label, command in OPERATIONS:
                for name, server in pair.items():
                    got.setdefault((label, name), []).append(benchmark(bench, server, command, pipeline, count * 2 if pipeline > 1 else count))
        for server in pair.values():
            server.stop()
        for label, _ in OPERATIONS:
            redis, firn = got[label, "redis"], got[label, "firn"]
            rows.append((f"{label} -P {pipeline}", f"{statistics.median(redis):.2f}", f"{statistics.median(firn):.2f}", f"**{statistics.median(f / r for f, r in zip(firn, redis)):.2f}x**"))
    bench.table(("operation", "redis CPU us/op", "Firn CPU us/op", "ratio"), rows)


def elements(bench):
    count = 100_000 if bench.arguments.quick else 1_000_000
    print(f"\n## Memory: one collection of {count:,} elements of 15 bytes; resident bytes per element")
    rows = []
    for kind in ("set", "zset", "list", "stream"):
        used = {}
        for name in ("redis", "firn"):
            server = bench.Server(name)
            before = server.resident()
            fill(server, kind, count)
            time.sleep(1)
            used[name] = (server.resident() - before) / count
            server.stop()
        rows.append((kind, f"{used['redis']:.1f}", f"{used['firn']:.1f}", f"**{bench.ratio(used['firn'], used['redis'])}**"))
    bench.table(("type", "redis", "Firn", "ratio"), rows)


def cold_elements(bench):
    count = 1_000_000 if bench.arguments.quick else 10_000_000
    print(f"\n## One element of a cold collection of {count:,} elements (all of it demoted to NVMe; used_memory as INFO tells it)")
    one = element(count // 3)
    asked = {"set": (("SISMEMBER", "set", one),), "zset": (("ZSCORE", "zset", one), ("ZRANK", "zset", one), ("ZRANGE", "zset", count // 2, count // 2 + 9)),
             "list": (("LINDEX", "list", count // 2),), "stream": (("XRANGE", "stream", f"{count // 2}-0", f"{count // 2}-0"),)}
    rows = []
    for kind, commands in asked.items():
        server = bench.Server("firn", *bench.tiers(4 << 30))
        fill(server, kind, count)
        server.call("TIER", "DEMOTE", kind, "NVME")
        time.sleep(2)
        for command in commands:
            before, memory = server.info("tiering"), int(server.info("memory")["used_memory"])
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
                link.sendall(encode(*command))
                reply = link.recv(1 << 16)
            after = server.info("tiering")
            time.sleep(1)
            rows.append((command[0], int(after["tier_nvme_reads"]) - int(before["tier_nvme_reads"]), int(after["tier_nvme_read_bytes"]) - int(before["tier_nvme_read_bytes"]),
                         int(server.info("memory")["used_memory"]) - memory, "no" if reply[:1] == b"-" or reply[:3] == b"$-1" else "yes"))
        server.stop()
    bench.table(("command", "page reads", "bytes read", "growth after a second", "answered"), rows)


def read_all(server, words, result):
    """Count the bytes of one reply, which ends when PING's does."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=600) as link:
        link.sendall(encode(*words) + encode("PING", "the-end"))
        total, tail = 0, b""
        while not tail.endswith(b"\r\nthe-end\r\n"):
            data = link.recv(1 << 18)
            if not data:
                result["error"] = "closed"
                return
            result.setdefault("first", data[:1])
            total, tail = total + len(data), (tail + data)[-32:]
        result["bytes"] = total


VALUE_BYTES = 1000  # of an element of a whole collection
WRITERS = 8
WHOLE_PART = 20  # elements in one of its commands


def fill_whole(server, kind, key, first, last):
    """Elements first to last of VALUE_BYTES, from several connections, as most go to a page that is cold: a stream and a list from one."""
    value = b"v" * (VALUE_BYTES - 9)
    words = {"set": lambda i: (b"%08d:" % i + value,), "list": lambda i: (b"%08d:" % i + value,), "numbers": lambda i: (b"%d" % (i * 7919 % 100_000_007),),
             "zset": lambda i: (b"%d" % (i * 31 % 1_000_003), b"%08d:" % i + value), "hash": lambda i: (b"%08d" % i, value), "stream": lambda i: (b"f", value)}[kind]
    name = {"set": "SADD", "list": "RPUSH", "numbers": "RPUSH", "zset": "ZADD", "hash": "HSET", "stream": "XADD"}[kind]

    def commands(low, high):
        for i in range(low, high, WHOLE_PART):
            if kind == "stream":
                yield b"".join(encode(name, key, f"{j + 1}-0", *words(j)) for j in range(i, i + WHOLE_PART))
            else:
                yield encode(name, key, *(word for j in range(i, i + WHOLE_PART) for word in words(j)))

    parts = 1 if kind in ("list", "stream", "numbers") else WRITERS
    bounds = [first + (last - first) * i // parts // WHOLE_PART * WHOLE_PART for i in range(parts)] + [last]
    threads = [threading.Thread(target=load, args=(server, commands(low, high), (high - low) // (1 if kind == "stream" else WHOLE_PART))) for low, high in zip(bounds, bounds[1:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def whole(bench):
    memory_max = (32 if bench.arguments.quick else 256) << 20
    count = 4 * memory_max // VALUE_BYTES // WHOLE_PART * WHOLE_PART
    half, numbers = count // 2 // WHOLE_PART * WHOLE_PART, count // 4 // WHOLE_PART * WHOLE_PART * 4
    print(f"\n## Whole collections of four times maxmemory ({memory_max >> 20} MB, from the start; {count:,} elements of {VALUE_BYTES} bytes; the inputs of unions half of that each, "
          "of ZUNIONSTORE and ZRANGESTORE a quarter, as a sorted set has every member twice), with a hot GET at 1,000/s beside")
    quarter = half // 2 // WHOLE_PART * WHOLE_PART
    rows = []
    for fills, words in ((((("set", "s", 0, count),), ("SMEMBERS", "s"))), ((("hash", "h", 0, count),), ("HGETALL", "h")), ((("list", "l", 0, count),), ("LRANGE", "l", 0, -1)),
                         ((("zset", "z", 0, half),), ("ZRANGE", "z", 0, -1, "WITHSCORES")), ((("stream", "x", 0, count),), ("XRANGE", "x", "-", "+")),
                         ((("numbers", "n", 0, numbers),), ("SORT", "n")), ((("list", "l", 0, count),), ("SORT", "l", "ALPHA", "LIMIT", 0, 1000)),
                         ((("set", "a", 0, half), ("set", "b", half, 2 * half)), ("SUNIONSTORE", "u", "a", "b")),
                         ((("zset", "a", 0, quarter), ("zset", "b", quarter, 2 * quarter)), ("ZUNIONSTORE", "u", 2, "a", "b")),
                         ((("zset", "a", 0, quarter),), ("ZRANGESTORE", "u", "a", 0, -1)), ((("list", "l", 0, count),), ("COPY", "l", "copy"))):
        server = bench.Server("firn", *bench.tiers(memory_max))
        server.load(command="set", keys=100, first=900_000_000, operations=100, distribution="sequence", value_bytes=64)
        for each in fills:
            fill_whole(server, *each)
        time.sleep(1)
        before, result, peak = server.resident("RssAnon"), {}, 0
        hot = server.load_start(command="get", keys=100, first=900_000_000, value_bytes=64, rate=1000, seconds=6, connections=1)
        reader = threading.Thread(target=read_all, args=(server, words, result))
        started = time.time()
        reader.start()
        while reader.is_alive():
            peak = max(peak, server.resident("RssAnon"))
            reader.join(0.02)
        seconds = time.time() - started
        beside = bench.parse(hot.communicate()[0])
        answer = result.get("error") or ("refused" if result["first"] == b"-" else f"{result['bytes'] / 1e6:.1f} MB")
        rows.append((" ".join(map(str, words)), answer, f"{seconds:.1f}", f"{before / memory_max:.2f}x", f"{peak / memory_max:.2f}x", f"{beside['p999_us']:.0f}", f"{beside['max_us']:.0f}"))
        server.stop()
    bench.table(("command", "reply", "seconds", "resident before / maxmemory", "peak", "hot p99.9 us", "longest us"), rows)


def deletes(bench):
    count = 2_000_000 if bench.arguments.quick else 20_000_000
    print(f"\n## Deleting a collection of {count:,} elements in DRAM, with a hot GET at 1,000/s beside; redis-server's DEL frees in its turn, its UNLINK in a thread")
    rows = []
    for kind in ("zset", "set"):
        for name, command in (("firn", "DEL"), ("firn", "UNLINK"), ("redis", "DEL"), ("redis", "UNLINK")):
            server = bench.Server(name)
            server.load(command="set", keys=100, first=900_000_000, operations=100, distribution="sequence", value_bytes=64)
            fill(server, kind, count)
            hot = server.load_start(command="get", keys=100, first=900_000_000, value_bytes=64, rate=1000, seconds=4, connections=1)
            time.sleep(1)
            started = time.time()
            server.call(command, kind)
            took = time.time() - started
            beside = bench.parse(hot.communicate()[0])
            rows.append((f"{command} {kind}", name, f"{took * 1e3:.2f}", f"{beside['p999_us']:.0f}", f"{beside['max_us']:.0f}"))
            server.stop()
    bench.table(("command", "server", "its reply, ms", "hot p99.9 us", "longest us"), rows)
