#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Differential test: one random stream of commands to Firn (in every tier mode) and to Debian's redis-server; every reply must be the same.

    run.py --server FIRN_SERVER [--oracle redis-server] [--commands N] [--seed N]

A difference prints the seed, the command's number and both replies; a command that is not answered in --command-seconds, where the servers were. Ends with "N passed, N failed" (streams).
"""
import argparse
import concurrent.futures
import multiprocessing
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "blackbox"))
parser = argparse.ArgumentParser()
parser.add_argument("--server", required=True)
parser.add_argument("--oracle", default="/usr/bin/redis-server")
parser.add_argument("--commands", type=int, default=30000)
parser.add_argument("--seed", type=int, default=20261122)
parser.add_argument("--command-seconds", type=float, default=20, help="for the answer of both servers to a command")
parser.add_argument("--only", help="streams of this class only")
parser.add_argument("--draw", type=int, help="so many of the streams, drawn by the seed")
parser.add_argument("--jobs", type=int, default=1, help="streams beside each other")
options = parser.parse_args()
os.environ["FIRN_SERVER"] = os.path.abspath(options.server)
import firn  # noqa: E402  (after the environment it reads)
from geo_stream import GeoStream  # noqa: E402
from hyperloglog_stream import HyperLogLogStream  # noqa: E402
from list_stream import ListStream  # noqa: E402
from odd_stream import OddStream  # noqa: E402
from set_stream import SetStream  # noqa: E402
from sort_stream import SortStream  # noqa: E402
from stream_stream import StreamStream, steady  # noqa: E402
from string_stream import StringStream  # noqa: E402
from zset_stream import ZsetStream  # noqa: E402

UNORDERED = {"KEYS", "HKEYS", "HVALS", "HGETALL", "SMEMBERS", "SINTER", "SUNION", "SDIFF", "SPOP", "SRANDMEMBER"}


class Stream:
    """Random commands over a small key space, so that types collide and keys come and go."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def key(self):
        return "k%d" % self.rng.randrange(40)

    def field(self):
        return "f%d" % self.rng.randrange(self.rng.choice((5, 50, 700)))

    def value(self):
        kind = self.rng.randrange(8)
        if kind == 0:
            return str(self.rng.randrange(-1000, 1000))
        if kind == 1:
            return "%.3f" % self.rng.uniform(-10, 10)
        if kind == 2:
            return self.rng.choice(("", "9223372036854775807", "-9223372036854775808", "007", "1e3", " 1", "inf", "nan", "abc"))
        return self.rng.randbytes(self.rng.choice((1, 10, 44, 45, 200, 1000, 5000, 20000, 70000) if kind > 5 else (3, 30)))

    def number(self):
        return str(self.rng.choice((0, 1, -1, 2, 7, 8, 63, 100, -100, 1000, 65535, 70000, self.rng.randrange(-50, 50))))

    def small(self):
        return str(self.rng.randrange(0, 200000) if self.rng.random() < 0.1 else self.rng.randrange(0, 300))

    def next(self):
        rng, key = self.rng, self.key()
        word = rng.choice((
            "SET", "SET", "SET", "GET", "GET", "APPEND", "STRLEN", "GETRANGE", "SETRANGE", "INCR", "INCRBY", "DECRBY", "INCRBYFLOAT", "GETSET",
            "GETDEL", "SETNX", "MSET", "MSETNX", "MGET", "SETBIT", "GETBIT", "BITCOUNT", "BITPOS", "BITOP", "BITFIELD", "HSET", "HSET", "HSET",
            "HGET", "HDEL", "HMGET", "HGETALL", "HLEN", "HKEYS", "HVALS", "HEXISTS", "HSTRLEN", "HINCRBY", "HINCRBYFLOAT", "HSETNX", "DEL", "UNLINK",
            "EXISTS", "TYPE", "RENAME", "RENAMENX", "COPY", "EXPIRE", "TTL", "PERSIST", "EXPIREAT", "DBSIZE", "KEYS", "OBJECT", "MOVE", "LCS",
            "DUMPRESTORE", "GETEX", "TOUCH", "SUBSTR", "PSETEX", "EXPIRETIME", "ODD"))
        if word == "SET":
            extra = rng.choice(((), (), (), ("NX",), ("XX",), ("GET",), ("KEEPTTL",), ("EX", "1000"), ("XX", "GET"), ("PX", "5000000"), ("EX", "-1"), ("NX", "XX")))
            return ("SET", key, self.value()) + extra
        if word in ("GET", "STRLEN", "INCR", "GETDEL", "HGETALL", "HLEN", "HKEYS", "HVALS", "DEL", "UNLINK", "TYPE", "PERSIST", "TTL", "EXPIRETIME"):
            return (word, key)
        if word in ("APPEND", "GETSET", "SETNX"):
            return (word, key, self.value())
        if word in ("GETRANGE", "SUBSTR"):
            return (word, key, self.number(), self.number())
        if word == "SETRANGE":
            return (word, key, self.small(), self.value())
        if word in ("INCRBY", "DECRBY"):
            return (word, key, rng.choice((self.number(), "x", "9223372036854775807")))
        if word == "INCRBYFLOAT":
            return (word, key, rng.choice(("0.5", "-1.25", "3", "1e2", "x")))
        if word in ("MSET", "MSETNX"):
            return (word,) + tuple(part for _ in range(rng.randrange(1, 4)) for part in (self.key(), self.value()))
        if word in ("MGET", "EXISTS", "TOUCH"):
            return (word,) + tuple(self.key() for _ in range(rng.randrange(1, 6)))
        if word == "SETBIT":
            return (word, key, self.small(), rng.choice("01"))
        if word == "GETBIT":
            return (word, key, self.small())
        if word == "BITCOUNT":
            return rng.choice(((word, key), (word, key, self.number(), self.number()), (word, key, self.number(), self.number(), rng.choice(("BIT", "BYTE")))))
        if word == "BITPOS":
            return rng.choice(((word, key, rng.choice("01")), (word, key, rng.choice("01"), self.number()),
                               (word, key, rng.choice("01"), self.number(), self.number(), rng.choice(("BIT", "BYTE")))))
        if word == "BITOP":
            name = rng.choice(("AND", "OR", "XOR", "NOT"))
            return (word, name, self.key()) + tuple(self.key() for _ in range(1 if name == "NOT" else rng.randrange(1, 4)))
        if word == "BITFIELD":
            return (word, key, "OVERFLOW", rng.choice(("WRAP", "SAT", "FAIL")), "INCRBY", rng.choice(("u8", "i8", "u31", "i64", "u63", "i5")), self.small(), self.number(),
                    "SET", rng.choice(("u4", "i16")), "#" + str(rng.randrange(20)), self.number(), "GET", rng.choice(("u7", "i33")), self.small())
        if word == "HSET":
            return (word, key) + tuple(part for _ in range(rng.choice((1, 1, 3, 30))) for part in (self.field(), self.value()))
        if word in ("HGET", "HEXISTS", "HSTRLEN"):
            return (word, key, self.field())
        if word in ("HDEL", "HMGET"):
            return (word, key) + tuple(self.field() for _ in range(rng.randrange(1, 6)))
        if word == "HINCRBY":
            return (word, key, self.field(), rng.choice((self.number(), "x")))
        if word == "HINCRBYFLOAT":
            return (word, key, self.field(), rng.choice(("0.5", "-2", "x")))
        if word == "HSETNX":
            return (word, key, self.field(), self.value())
        if word in ("RENAME", "RENAMENX"):
            return (word, key, self.key())
        if word == "COPY":
            return (word, key, self.key()) + rng.choice(((), ("REPLACE",), ("DB", "0")))
        if word == "EXPIRE":
            return (word, key, rng.choice(("1000", "5000", "-1", "x"))) + rng.choice(((), (), ("NX",), ("XX",), ("GT",), ("LT",), ("NX", "GT")))
        if word == "EXPIREAT":
            return (word, key, rng.choice(("4000000000", "1")))
        if word == "KEYS":
            return (word, rng.choice(("*", "k1*", "k[2-4]?", "k\\1", "none")))
        if word == "OBJECT":
            return (word, "ENCODING", key)
        if word == "MOVE":
            return (word, key, rng.choice(("1", "0", "99")))
        if word == "LCS":
            # on short strings only: its cost is the product of the lengths
            first, second = "short%d" % rng.randrange(4), "short%d" % rng.randrange(4)
            if rng.random() < 0.5:
                return ("SET", first, self.value()[:60])
            return (word, first, second) + rng.choice(((), ("LEN",), ("IDX",), ("IDX", "MINMATCHLEN", "2", "WITHMATCHLEN")))
        if word == "GETEX":
            return (word, key) + rng.choice(((), ("PERSIST",), ("EX", "500"), ("EX", "0")))
        if word == "PSETEX":
            return (word, key, rng.choice(("1000000", "0", "x")), self.value())
        if word == "ODD":
            return rng.choice((("GET",), ("HSET", key, "odd"), ("NOPE", key), ("SET", key), ("OBJECT", "NOPE", key), ("DEL",), ("CONFIG", "GET")))
        return (word, key) if word == "DUMPRESTORE" else (word,)


def without_signs(reply):
    """Whether a zero kept its minus depends on when 7.0 and 7.4 leave the listpack, which has none."""
    if isinstance(reply, list):
        return [without_signs(part) for part in reply]
    return b"0" if reply == b"-0" else reply


def run(client, command):
    try:
        if command[0] == "DUMPRESTORE":  # the payloads differ in version; what they restore to must not
            payload = client("DUMP", command[1])
            return payload and client("RESTORE", command[1], "0", payload, "REPLACE")
        reply = client(*command)
    except firn.ReplyError as error:
        return steady(command, "error: " + str(error)) if command[0].startswith("X") else "error: " + str(error)
    if command[0].startswith(("Z", "BZ")):
        reply = without_signs(reply)
    if command[0] == "ZRANGE" and command[-1] == "WITHSCORES" and isinstance(reply, list):  # 7.4 prints scores with fewer digits
        reply = list(zip(reply[::2], (float(score) for score in reply[1::2])))
    if command[0] == "ZSCAN" and isinstance(reply, list):
        return [reply[0], sorted(zip(reply[1][::2], reply[1][1::2]))]
    if command[0] == "ZRANDMEMBER" and isinstance(reply, list):
        return sorted(zip(reply[::2], reply[1::2])) if command[-1] == "WITHSCORES" else sorted(reply)
    if command[0].startswith("X"):
        return steady(command, reply)
    if command[0] == "SSCAN" and isinstance(reply, list):
        return [reply[0], sorted(reply[1])]
    if command[0] in UNORDERED and isinstance(reply, list):
        if command[0] == "HGETALL":
            return sorted(zip(reply[::2], reply[1::2]))
        return sorted(reply)
    return reply


def one_tick_apart(word, expected, got):
    """The two servers see a clock a moment apart."""
    return word in ("TTL", "EXPIRETIME", "PTTL", "PEXPIRETIME") and isinstance(expected, int) and isinstance(got, int) and min(expected, got) > 0 \
        and abs(expected - got) <= (50 if word[0] == "P" else 1)


def shown_from(reply, other):
    """The reply from shortly before it differs."""
    a, b = str(reply), str(other)
    same = len(os.path.commonprefix((a, b)))
    return ("..." + a[same - 150:] if same > 200 else a)[:300]


def differs(a, b, command, excused):
    """What the two servers answered where it is not the same: (redis, firn)."""
    with firn.limit(options.command_seconds):
        expected, got = run(a, command), run(b, command)
    if expected == got or one_tick_apart(command[0], expected, got) or excused(command, expected, got):
        return None
    if isinstance(expected, list) and isinstance(got, list):  # from where they differ
        at = next((i for i, (x, y) in enumerate(zip(expected, got)) if x != y), 0)
        expected, got = expected[at:], got[at:]
    return shown_from(expected, got), shown_from(got, expected)


def compare(kind, stress, seed):
    """Whether one stream has the same replies on two servers of its own; says what is wrong."""
    number, command = -1, ()
    try:
        with firn.Server(binary=options.oracle, stress="off") as oracle, \
                firn.Server("--set-max-listpack-entries", "0", stress=stress) as server:  # 7.0 knows no such sets
            before = server.used_memory()
            a, b, stream = oracle.client(), server.client(), kind(seed)
            excused = getattr(stream, "excused", lambda *_: False)
            for number in range(options.commands if stress == "off" else options.commands // 3):
                command = stream.next()
                wrong = differs(a, b, command, excused)
                if wrong:
                    raise AssertionError("\n    redis: %s\n    firn:  %s" % wrong)
            a.close()
            b.close()
            firn.nothing_is_left(server, before)
        return True
    except (AssertionError, firn.TooLong, OSError) as problem:
        shown = [part[:60] if isinstance(part, (str, bytes)) else part for part in command]
        print(f"{kind.__name__} seed {seed}, {stress}, command {number}: {shown}: {problem or type(problem).__name__}", flush=True)
        return False


# How many streams in each mode; more of what moves the most ways.
PLAN = ((Stream, {"off": 3, "pmem": 1, "nvme": 1, "random": 2}),
        (StringStream, {"off": 1, "pmem": 1, "nvme": 1, "random": 1}),
        (OddStream, {"off": 2, "pmem": 1, "nvme": 1, "random": 1}),
        (SetStream, {"off": 2, "pmem": 1, "nvme": 1, "random": 2}),
        (GeoStream, {"off": 2, "pmem": 1, "nvme": 1, "random": 1}),
        (ListStream, {"off": 2, "pmem": 1, "nvme": 1, "random": 2}),
        (SortStream, {"off": 2, "pmem": 1, "nvme": 1, "random": 1}),
        (ZsetStream, {"off": 3, "pmem": 1, "nvme": 2, "random": 2}),
        (StreamStream, {"off": 3, "pmem": 1, "nvme": 1, "random": 2}),
        (HyperLogLogStream, {"off": 2, "pmem": 1, "nvme": 1, "random": 1}))
runs = [(kind, mode, options.seed + number) for kind, modes in PLAN for mode, count in modes.items() for number in range(count)
        if options.only in (None, kind.__name__)]
if options.draw:
    runs = [(kind, mode, options.seed) for kind, mode, _ in random.Random(options.seed).sample(runs, options.draw)]
with concurrent.futures.ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as pool:
    results = list(pool.map(compare, *zip(*runs)))
print(f"differential: {sum(results)} passed, {len(results) - sum(results)} failed")
sys.exit(not all(results))
