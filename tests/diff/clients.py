#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Differential test of many clients: one random script of what several connections do (blocking commands, MULTI and WATCH, SWAPDB, CLIENT UNBLOCK, KILL, REPLY,
RESET, HELLO, pub/sub, notifications, pipelines, disconnections) to Firn and to Debian's redis-server; every connection must get the same replies.

    clients.py --server FIRN_SERVER [--oracle redis-server] [--stress off|pmem|nvme|random] [--steps N] [--seed N] [--seeds N]

One step is one piece of input of one connection. The oracle's replies to a step, on whichever connections, must come from Firn too, and nothing else, before
the next step begins; so who waits and who is served is the same in both, in whatever tier the values are.
"""
import argparse
import os
import random
import select
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "blackbox"))
parser = argparse.ArgumentParser()
parser.add_argument("--server", required=True)
parser.add_argument("--oracle", default="/usr/bin/redis-server")
parser.add_argument("--stress", default="random")
parser.add_argument("--steps", type=int, default=3000)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--seeds", type=int, default=1)
options = parser.parse_args()
os.environ["FIRN_SERVER"] = os.path.abspath(options.server)
import firn  # noqa: E402  (after the environment it reads)

CLIENTS = 8
WAITS = ("BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP")
SUBSCRIBERS = 2  # connections that do nothing else: where a message to oneself goes in EXEC changed between 7.0 and 7.4


class Half(Exception):
    """The reply is not all here yet."""


def parse(data, at):
    """One reply of either protocol: (value, where it ends)."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Half
    kind, rest = data[at:at + 1], data[at + 1:end]
    end += 2
    if kind in b"+-:,#_(":
        return (kind + rest).decode(), end
    size = int(rest)
    if size < 0:
        return "null", end
    if kind in b"$=":
        if len(data) < end + size + 2:
            raise Half
        return data[end:end + size], end + size + 2
    parts = [kind.decode()]
    for _ in range(size * 2 if kind in b"%|" else size):
        part, end = parse(data, end)
        parts.append(part)
    return parts, end


class Connection:
    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.closed = b"", False
        self.send(firn.Client.encode("CLIENT", "ID"))
        self.id = int(self.take(1, 30)[0][1:])

    def send(self, raw):
        try:
            self.socket.sendall(raw)
        except OSError:
            self.closed = True

    def take(self, wanted, seconds):
        """Replies that come within so many seconds, until there are as many as wanted; the end of the connection is one."""
        deadline, replies = time.monotonic() + seconds, []
        while True:
            try:
                while self.data:
                    reply, end = parse(self.data, 0)
                    self.data = self.data[end:]
                    replies.append(reply)
            except Half:
                pass
            left = deadline - time.monotonic()
            if self.closed or len(replies) >= wanted or not select.select([self.socket], [], [], max(left, 0))[0]:
                return replies
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionResetError:
                piece = b""
            if not piece:
                self.closed = True
                return replies + ["closed"]
            self.data += piece


def steady(reply):
    """Without what two servers cannot have in common."""
    if isinstance(reply, str) and reply.startswith(("-UNBLOCKED the stream", "-NOGROUP")):
        return "the group has gone"
    if isinstance(reply, list):
        if len(reply) > 2 and reply[1] == b"server":  # HELLO
            return "hello " + reply[0]
        reply = [steady(part) for part in reply]
        if all(part in (b"f", b"g") for part in reply[1::2]):  # HGETALL has no order
            return reply[:1] + sorted(zip(reply[1::2], reply[2::2]))
    return reply


class Script:
    """What happens next: (number of the connection, "send", commands) or (number, "close", None). An id of a client is written as its connection."""

    def __init__(self, seed):
        self.rng, self.id, self.queueing = random.Random(seed), 0, set()

    def key(self, kind=None):
        return (kind or self.rng.choice("lzshx")) + str(self.rng.randrange(3))

    def names(self, kind):
        """One key: which of several that are ready 7.4 takes from is another than 7.0 does."""
        return (self.key(kind),)

    def value(self):
        return "v%d" % self.rng.randrange(1000) * self.rng.choice((1, 1, 1, 30, 300))

    def change(self):
        rng = self.rng
        self.id += 1
        other = rng.random() < 0.04  # of a type that is not the key's
        lst, zset, stream = (self.key(None if other else kind) for kind in "lzx")
        return rng.choice((
            ("RPUSH", lst, self.value()), ("LPUSH", lst, self.value(), self.value()), ("RPUSH", lst) + tuple(self.value() for _ in range(20)), ("LPOP", lst),
            ("ZADD", zset, rng.randrange(9), self.value()[:300]), ("ZADD", zset, 1, "a", 2, "b", 3, "c"), ("ZPOPMAX", zset), ("ZREM", zset, "a"),
            ("XADD", stream, "%d-1" % self.id, "f", self.value()), ("XADD", stream, "%d-1" % self.id, "f", self.value()), ("XGROUP", "CREATE", stream, "g", "$", "MKSTREAM"),
            ("XDEL", stream, "%d-1" % rng.randrange(1, self.id + 1)), ("XTRIM", stream, "MAXLEN", 5), ("XACK", stream, "g", "%d-1" % rng.randrange(1, self.id + 1)),
            ("SET", self.key("s"), self.value()), ("APPEND", self.key("s"), self.value()), ("HSET", self.key("h"), "f", self.value(), "g", self.value()), ("HDEL", self.key("h"), "f"),
            ("INCR", "n"), ("DEL", self.key()), ("DEL", self.key("l"), self.key("z")), ("RENAME", self.key("l"), self.key("l")), ("RENAME", self.key("z"), self.key("z")),
            ("COPY", self.key("l"), self.key("l"), "REPLACE"), ("MOVE", self.key(), 1), ("LMOVE", lst, self.key("l"), "LEFT", "RIGHT"), ("LTRIM", lst, 0, 3),
            ("ZUNIONSTORE", zset, 2, self.key("z"), self.key("z")), ("SORT", lst, "ALPHA", "STORE", self.key("l")), ("PEXPIRE", self.key(), 10000000), ("EXPIRE", self.key(), -1),
            ("PERSIST", self.key()), ("SWAPDB", 0, 1), ("SETRANGE", self.key("s"), rng.randrange(5000), "xx"), ("FLUSHDB",) if rng.random() < 0.1 else ("INCR", "n"),
            ("LREM", lst, 0, "v1"), ("LINSERT", lst, "BEFORE", "v1", "v2"), ("GETDEL", self.key("s")), ("XGROUP", "DESTROY", stream, "g") if rng.random() < 0.3 else ("INCR", "n")))

    def read(self):
        return self.rng.choice((("LRANGE", self.key("l"), 0, -1), ("GET", self.key("s")), ("HGETALL", self.key("h")), ("ZRANGE", self.key("z"), 0, -1, "WITHSCORES"), ("TYPE", self.key()),
                                ("XRANGE", self.key("x"), "-", "+"), ("XLEN", self.key("x")), ("EXISTS", self.key(), self.key()), ("DBSIZE",), ("GETRANGE", self.key("s"), 10, 20), ("LLEN", self.key("l"))))

    def wait(self):
        rng = self.rng
        streams = self.names("x")
        return rng.choice((
            ("BLPOP",) + self.names("l") + (0,), ("BRPOP",) + self.names("l") + (0,), ("BLMOVE", self.key("l"), self.key("l"), "LEFT", "RIGHT", 0), ("BRPOPLPUSH", self.key("l"), self.key("l"), 0),
            ("BLMPOP", 0, len(streams)) + tuple("l" + name[1:] for name in streams) + ("LEFT", "COUNT", 2), ("BZPOPMIN",) + self.names("z") + (0,), ("BZPOPMAX",) + self.names("z") + (0,),
            ("BZMPOP", 0, len(streams)) + tuple("z" + name[1:] for name in streams) + ("MIN", "COUNT", 2), ("XREAD", "BLOCK", 0, "STREAMS", streams[0], "$"),
            ("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", streams[0], ">"), ("XREAD", "BLOCK", 0, "COUNT", 2, "STREAMS", streams[0], "%d-0" % rng.randrange(self.id + 1))))

    def about_clients(self):
        who = ("id", self.rng.randrange(CLIENTS))
        return self.rng.choice((
            ("MULTI",), ("MULTI",), ("EXEC",), ("EXEC",), ("EXEC",), ("DISCARD",), ("WATCH", self.key(), self.key()), ("WATCH", self.key()), ("UNWATCH",), ("SELECT", self.rng.randrange(2)), ("SELECT", 0),
            ("CLIENT", "UNBLOCK", who), ("CLIENT", "UNBLOCK", who, "ERROR"), ("CLIENT", "UNBLOCK", who, "TIMEOUT"), ("CLIENT", "KILL", "ID", who), ("CLIENT", "REPLY", "SKIP"), ("CLIENT", "REPLY", "OFF"),
            ("CLIENT", "REPLY", "ON"), ("CLIENT", "REPLY", "ON"), ("RESET",), ("HELLO", 3), ("HELLO", 2),
            ("PUBLISH", "c1", self.value()), ("PUBLISH", "c1", "m"), ("PING",), ("ECHO", "e"), ("NOSUCH",)))

    def subscriber(self):
        return self.rng.choice((("SUBSCRIBE", "c1"), ("SUBSCRIBE", "c1"), ("UNSUBSCRIBE",), ("PSUBSCRIBE", "c*"), ("PUNSUBSCRIBE", "c*"), ("RESET",), ("HELLO", 3), ("PING",), self.read(), ("QUIT",)))

    def command(self, number):
        if number < SUBSCRIBERS:
            return self.subscriber()
        return self.rng.choices((self.change, self.read, self.wait, self.about_clients), (50, 15, 8, 27))[0]()

    def next(self, waiting):
        """${waiting}: the connections that wait. They are sent nothing more: in what order the pipelines of several go on afterwards is nobody's promise."""
        number = self.rng.choice([i for i in range(CLIENTS) if i not in waiting])
        if self.rng.random() < 0.03:
            return self.rng.choice(sorted(waiting) or [number]), "close", None
        commands = [self.command(number) for _ in range(self.rng.choice((1, 1, 1, 2, 3, 12)))]
        del commands[next((i + 1 for i, command in enumerate(commands) if command[0] in WAITS or "BLOCK" in command), len(commands)):]
        for i, command in enumerate(commands):
            if command[0] == "SWAPDB" and waiting or command[:2] in (("CLIENT", "REPLY"), ("CLIENT", "UNBLOCK")) and number in self.queueing:
                commands[i] = ("PING",)  # who is served first then has no order; half a reply; in EXEC Firn ends a wait when EXEC is through
            elif i > 0 and command[:2] in (("CLIENT", "UNBLOCK"), ("CLIENT", "KILL")):
                commands[i] = ("PING",)  # what those before it did for others may take a page
            elif command[0] == "MULTI":
                self.queueing.add(number)
            elif command[0] in ("EXEC", "DISCARD", "RESET"):
                self.queueing.discard(number)
        return number, "send", commands


class Side:
    """A server and the connections to it: the script's, one that hears all notifications, one to ask it."""

    def __init__(self, server):
        self.server = server
        self.control, self.listener = Connection(server), Connection(server)
        self.ask("CONFIG", "SET", "notify-keyspace-events", "KEg$lshzxe")  # not those of streams: 7.4 has one more
        self.listener.send(firn.Client.encode("PSUBSCRIBE", "__key*"))
        self.listener.take(1, 30)
        self.connections = [Connection(server) for _ in range(CLIENTS)]

    def ask(self, *words):
        self.control.send(firn.Client.encode(*words))
        return self.control.take(1, 30)[0]

    def do(self, number, what, commands):
        if what == "close":
            self.connections[number].socket.close()
            self.connections[number] = Connection(self.server)
            return
        self.connections[number].send(b"".join(firn.Client.encode(*(
            self.connections[word[1]].id if isinstance(word, tuple) else word for word in command)) for command in commands))

    def all(self):
        return self.connections + [self.listener]

    def info(self, section, field):
        text = self.ask("INFO", section).decode()
        return text.split(field + ":")[1].split("\r\n")[0] if field + ":" in text else None

    def waiting(self):
        blocked = {int(line.split()[0][3:]) for line in self.ask("CLIENT", "LIST").decode().split("\n") if line and "b" in line.split("flags=")[1].split()[0]}
        return {i for i, connection in enumerate(self.connections) if connection.id in blocked}

    def renew(self):
        for i, connection in enumerate(self.connections):
            if connection.closed:
                self.connections[i] = Connection(self.server)


def step(oracle, side, event):
    """One event; what is wrong, or None."""
    for each in (oracle, side):
        each.do(*event)
    for _ in range(2):
        oracle.ask("PING")
    expected = [[steady(reply) for reply in connection.take(1 << 30, 0)] for connection in oracle.all()]
    for number, (connection, replies) in enumerate(zip(side.all(), expected)):
        got = [steady(reply) for reply in connection.take(len(replies), 5)]
        if connection is side.listener and options.stress != "off":  # what waits for a page is overtaken by what has to do with other keys
            got, replies = sorted(got), sorted(replies)
        if got != replies:
            assert oracle.server.alive(), "the oracle has ended"
            same = next((i for i, pair in enumerate(zip(got, replies)) if pair[0] != pair[1]), min(len(got), len(replies)))
            return number, replies[max(0, same - 2):], got[max(0, same - 2):]
    firn.wait_until(lambda: side.info("clients", "blocked_clients") == oracle.info("clients", "blocked_clients"),
                    lambda: "blocked clients: redis %s, firn %s" % (oracle.info("clients", "blocked_clients"), side.info("clients", "blocked_clients")), 3)
    firn.wait_until(lambda: side.info("tiering", "tier_parked_reads") in ("0", None), "a client stays parked for pages")
    for number, connection in enumerate(side.all()):
        more = connection.take(1, 0)
        if more:
            return number, "nothing more", more
    oracle.renew()
    side.renew()
    return None


def short(value):
    text = str(value)
    return text if len(text) < 700 else text[:350] + " ... " + text[-350:]


def compare(seed):
    at, event, history = -1, None, []
    try:
        with firn.Server(binary=options.oracle, stress="off") as a, firn.Server("--set-max-listpack-entries", "0", stress=options.stress) as b:
            oracle, side, script = Side(a), Side(b), Script(seed)
            for at in range(options.steps):
                event = script.next(oracle.waiting())
                history.append(event)
                wrong = step(oracle, side, event)
                if wrong:
                    raise AssertionError("connection %d\n    redis: %s\n    firn:  %s" % (wrong[0], short(wrong[1]), short(wrong[2])))
        return True
    except (AssertionError, OSError) as problem:
        print(f"seed {seed}, {options.stress}, step {at}: {problem}\n  before:", flush=True)
        for number, what, commands in history[-12:]:
            print("   ", number, what, short(commands))
        return False


failed = sum(not compare(seed) for seed in range(options.seed, options.seed + options.seeds))
print(f"clients [{options.stress}]: {options.seeds - failed} passed, {failed} failed")
sys.exit(bool(failed))
