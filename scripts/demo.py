#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fill a running Firn with Debian's package index, ten times its memory budget; show it settle into the tiers; read it back and check it.

Of each package there is one string (its stanza, "PREFIX:stanza:NAME") and one hash (its fields, "PREFIX:package:NAME"), under as many prefixes as it
takes. Python's standard library only.
"""
import argparse
import glob
import hashlib
import random
import socket
import subprocess
import sys
import time

BATCH = 400
READS = 20000


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb", buffering=1 << 18)

    def send(self, data):
        self.socket.sendall(data)

    def call(self, *words):
        self.send(encode(words))
        return self.read()

    def read(self):
        line = self.input.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.input.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        raise RuntimeError("the server closed the connection" if not line else f"unexpected reply {line!r}")


def encode(words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def read_index():
    """[(name, stanza, {field: value})] of every package the machine's package lists know."""
    lists = sorted(glob.glob("/var/lib/apt/lists/*_Packages*"))
    if not lists:
        sys.exit("no package lists under /var/lib/apt/lists: run apt-get update first")
    packages, seen = [], set()
    for path in lists:
        text = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", path], stdout=subprocess.PIPE, check=True).stdout
        for stanza in text.split(b"\n\n"):
            stanza = stanza.strip(b"\n")
            if not stanza.startswith(b"Package: "):
                continue
            fields, last = {}, None
            for line in stanza.split(b"\n"):
                if line[:1] in b" \t" and last:
                    fields[last] += b"\n" + line
                else:
                    last, _, value = line.partition(b": ")
                    fields[last] = value
            name = fields[b"Package"] + b"_" + fields.get(b"Version", b"")
            if name not in seen:  # security updates stand in several lists
                seen.add(name)
                packages.append((name, stanza, fields))
    return packages


def tiering(connection):
    rows = connection.call("INFO", "tiering").decode().split("\r\n")
    return {name: value for name, _, value in (row.partition(":") for row in rows if ":" in row)}


def size(count):
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.0f} {unit}" if unit in ("B", "KB") else f"{count:.1f} {unit}"
        count /= 1024


class Picture:
    """The live picture: redrawn in place on a terminal, a line now and then elsewhere."""

    def __init__(self, memory_max):
        self.terminal = sys.stdout.isatty()
        self.memory_max, self.drawn, self.last = memory_max, 0, 0.0

    def show(self, done, goal, rate, facts, final=False):
        now = time.time()
        if not final and now - self.last < (0.2 if self.terminal else 5):
            return
        self.last = now
        live = {tier: int(facts.get(f"tier_{tier}_bytes_live", 0)) for tier in ("dram", "pmem", "nvme")}
        keys = {tier: int(facts.get(f"tier_{tier}_keys", 0)) for tier in live}
        memory = int(facts.get("tier_memory_used", 0))
        share = min(1.0, done / goal)
        if not self.terminal:
            print(f"  {share:4.0%}  {size(done)} loaded, {size(rate)}/s | memory {size(memory)} of {size(self.memory_max)} | " +
                  " | ".join(f"{tier} {size(live[tier])}, {keys[tier]} keys" for tier in live), flush=True)
            return
        width = 46
        lines = [f"  load  [{'#' * int(share * width):<{width}}] {share:4.0%}  {size(done)}, {size(rate)}/s",
                 f"  memory {size(memory)} of {size(self.memory_max)}, zone {facts.get('tier_zone', '?')}"]
        top = max(goal, sum(live.values()), 1)
        for tier, mark, name in (("dram", "*", "snow"), ("pmem", "=", "firn"), ("nvme", "-", "ice ")):
            bar = mark * max(int(live[tier] / top * width), 1 if live[tier] else 0)
            lines.append(f"  {tier} {name} |{bar:<{width}}| {size(live[tier]):>9}  {keys[tier]:>9} keys")
        sys.stdout.write((f"\x1b[{self.drawn}A" if self.drawn else "") + "".join(f"\x1b[2K{line}\n" for line in lines))
        sys.stdout.flush()
        self.drawn = len(lines)


def load(connection, packages, goal, picture):
    """Fill up to ${goal} bytes of values; returns how many prefixes were begun and how many packages the last one holds."""
    tails = []  # everything of the two commands but the key: the same under every prefix
    for name, stanza, fields in packages:
        flat = [part for pair in fields.items() for part in pair]
        hash_tail = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in flat)
        tails.append((name, b"$%d\r\n%s\r\n" % (len(stanza), stanza), len(flat) + 2, hash_tail, len(stanza) + sum(map(len, flat))))
    done, started, prefix = 0, time.time(), 0
    while True:
        for start in range(0, len(tails), BATCH):
            out = []
            for name, set_tail, words, hash_tail, count in tails[start:start + BATCH]:
                string, hashed = b"%d:stanza:%s" % (prefix, name), b"%d:package:%s" % (prefix, name)
                out.append(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n%s*%d\r\n$4\r\nHSET\r\n$%d\r\n%s\r\n%s" %
                           (len(string), string, set_tail, words, len(hashed), hashed, hash_tail))
                done += count
            connection.send(b"".join(out))
            for _ in range(2 * len(out)):
                connection.read()
            picture.show(done, goal, done / (time.time() - started + 1e-9), tiering(connection) if time.time() - picture.last > 0.2 else {})
            if done >= goal:
                picture.show(done, goal, done / (time.time() - started), tiering(connection), final=True)
                return prefix, start + len(out), done, time.time() - started
        prefix += 1


def zipf(count, rng, theta=0.99):
    """Ranks 0..count-1 with probability ~ 1/(rank+1)^theta (the closed form of Gray et al., SIGMOD 1994)."""
    zeta = sum(1 / i ** theta for i in range(1, min(count, 10**6) + 1))
    if count > 10**6:
        zeta += ((count ** (1 - theta)) - (10**6) ** (1 - theta)) / (1 - theta)
    alpha, half = 1 / (1 - theta), 1 + 0.5 ** theta
    eta = (1 - (2 / count) ** (1 - theta)) / (1 - half / zeta)
    while True:
        u = rng.random()
        uz = u * zeta
        yield 0 if uz < 1 else 1 if uz < half else int(count * (eta * u - eta + 1) ** alpha)


def read_back(connection, packages, prefixes, in_last):
    """Zipf-distributed reads, each timed by the tier that held the key, each compared byte for byte."""
    total = (prefixes * len(packages) + in_last) * 2
    times, wrong, rng = {}, 0, random.Random(1)
    ranks = zipf(total, rng)
    before, started, digest = tiering(connection), time.time(), hashlib.sha256()
    step = 2654435761 % total | 1
    for number in range(READS):
        item = next(ranks) * step % total
        hashed, place = item & 1, item >> 1
        prefix, index = divmod(place, len(packages))
        name, stanza, fields = packages[index]
        key = b"%d:%s:%s" % (prefix, b"package" if hashed else b"stanza", name)
        where = connection.call("TIER", "WHERE", key)
        tier = dict(zip(where[::2], where[1::2]))[b"tier"].decode()
        begin = time.perf_counter()
        reply = connection.call("HGETALL", key) if hashed else connection.call("GET", key)
        times.setdefault(tier, []).append(time.perf_counter() - begin)
        good = dict(zip(reply[::2], reply[1::2])) == fields if hashed else reply == stanza
        wrong += not good
        if not good:
            print(f"  WRONG: {key.decode(errors='replace')}")
        digest.update(key)
    after = tiering(connection)
    print(f"\nRead back {READS} keys, Zipf 0.99, in {time.time() - started:.1f} s: {READS - wrong} byte for byte as written, {wrong} wrong.\n")
    print("  tier   hit ratio      p50        p99      max     (one request at a time, round trip included)")
    for tier in ("dram", "pmem", "nvme", "mixed"):
        row = sorted(times.get(tier, []))
        if row:
            print(f"  {tier:<6} {len(row) / READS:8.1%} {row[len(row) // 2] * 1e6:8.0f} us {row[int(len(row) * 0.99)] * 1e6:8.0f} us {row[-1] * 1e6:8.0f} us")
    promoted = sum(int(after.get(f"tier_{tier}_promotions", 0)) - int(before.get(f"tier_{tier}_promotions", 0)) for tier in ("pmem", "nvme"))
    print(f"\n  promoted meanwhile: {promoted}; faults that held up the server: {after.get('tier_sync_faults', '?')}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=6379)
    parser.add_argument("--times", type=float, default=10, help="data in multiples of maxmemory")
    options = parser.parse_args()
    connection = Connection(options.port)
    memory_max = int(connection.call("CONFIG", "GET", "maxmemory")[1])
    if memory_max == 0:
        sys.exit("the server has no maxmemory: nothing would move")
    print("\nReading Debian's package index ...", flush=True)
    packages = read_index()
    goal = int(memory_max * options.times)
    print(f"{len(packages)} packages. Loading {size(goal)} of strings and hashes into a server with {size(memory_max)} of memory:\n", flush=True)
    picture = Picture(memory_max)
    prefixes, in_last, done, seconds = load(connection, packages, goal, picture)
    print(f"\nLoaded {size(done)} as {connection.call('DBSIZE')} keys in {seconds:.0f} s, no error.")
    sys.exit(1 if read_back(connection, packages, prefixes, in_last) else 0)


main()
