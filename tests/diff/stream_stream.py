# SPDX-License-Identifier: BSD-3-Clause
"""Random stream commands with every option, over few keys and small IDs so that they meet, for run.py. Times are left out of what is compared."""
import random

ODD_IDS = ("-", "+", "$", ">", "*", "", "x", "1-", "-1", "1--1", "1-2-3", "01-01", "+1", " 1", "18446744073709551615", "18446744073709551616", "0", "0-0", "(", "((1", "1-x",
           "18446744073709551615-18446744073709551615", "9" * 200)
COUNTS = (1, 2, 3, 10, 100, 0, -1, "x", "")
NAMES = ("g1", "g2", "g3")
CONSUMERS = ("alice", "bob", "", "carol")
DAY = 100000000  # ms that no test lives


def pairs(reply):
    return dict(zip(reply[::2], reply[1::2])) if isinstance(reply, list) else reply


def steady(command, reply):
    """What of a reply does not depend on the time, nor on 7.2's new fields; nor on consumers that never had anything, which 7.2 makes earlier."""
    words = [str(word).upper() for word in command[:2]]
    if isinstance(reply, str) and "Unbalanced" in reply:
        return "unbalanced"  # 7.2 names the command
    if isinstance(reply, str) and "Elements are too large" in reply:
        return reply.replace("Elements are too large to be stored", "The ID specified in XADD is equal or smaller than the target stream top item")  # <ms>-* after the last one
    if not isinstance(reply, list):
        return reply
    if words[0] == "XPENDING" and len(command) > 3:
        return [[row[0], row[1], row[3]] for row in reply]
    if words == ["XINFO", "CONSUMERS"]:
        return [(row[b"name"], row[b"pending"]) for row in map(pairs, reply) if row[b"pending"]]
    if words == ["XINFO", "GROUPS"]:
        return [{**pairs(row), b"consumers": 0} for row in reply]
    if words == ["XINFO", "STREAM"] and len(command) == 3:
        return {name: value for name, value in pairs(reply).items() if not name.startswith(b"radix")}
    if words == ["XINFO", "STREAM"]:
        whole = {name: value for name, value in pairs(reply).items() if not name.startswith(b"radix")}  # an exact trim of 7.0 may leave an empty node
        groups = []
        for group in map(pairs, whole[b"groups"]):
            group[b"pending"] = [[row[0], row[1], row[3]] for row in group[b"pending"]]
            group[b"consumers"] = [(one[b"name"], one[b"pel-count"], [[row[0], row[2]] for row in one[b"pending"]]) for one in map(pairs, group[b"consumers"])
                                   if one[b"pel-count"]]
            groups.append(group)
        whole[b"groups"] = groups
        return whole
    return reply


class StreamStream:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.top = {}

    def key(self):
        return "k%d" % self.rng.randrange(6)

    def id(self, key):
        rng, top = self.rng, self.top.get(key, 10)
        if rng.random() < 0.01:
            return rng.choice(ODD_IDS)
        ms = rng.randrange(max(1, top - 300), top + 5) if rng.random() < 0.7 else rng.randrange(top + 5)
        return rng.choice(("%d-%d" % (ms, rng.randrange(3)), "%d" % ms, "%d-0" % ms, "%d-0" % ms))

    def new_id(self, key):
        rng = self.rng
        if rng.random() < 0.02:
            return self.id(key).replace("*", "x")  # the time of day
        self.top[key] = self.top.get(key, 10) + rng.choice((0, 1, 1, 1, 2))
        ms = self.top[key]
        if rng.random() < 0.001:
            return "%d-18446744073709551615" % ms
        return rng.choice(("%d-*" % ms, "%d-*" % ms, "%d-*" % ms, "%d" % ms, "%d-%d" % (ms, rng.randrange(4)), "%d-%d" % (ms, 2**33 + rng.randrange(4))))

    def bound(self, key):
        return self.rng.choice(("-", "+", self.id(key), self.id(key), self.id(key), "(" + self.id(key)))

    def interval(self, key):
        return self.rng.choice((("-", "+"), (self.bound(key), self.bound(key)), (self.bound(key), "+"), ("-", self.bound(key))))

    def fields(self):
        rng = self.rng
        kind = rng.randrange(12)
        if kind < 8:  # as those before, mostly
            return ("name", "v%d" % rng.randrange(10**rng.randrange(1, 12)), "n", rng.choice((rng.randrange(-10**5, 10**5), rng.randrange(200), 2**40, -2**63)))
        count = rng.choice((1, 1, 2, 3, 20))
        value = lambda: rng.choice(("", "007", "-0", "x" * rng.choice((1, 63, 64, 500, 4095, 4096, 5000)), rng.randrange(-5000, 5000), rng.randbytes(5), "9223372036854775808"))
        return tuple(part for _ in range(count) for part in (rng.choice(("f", "name", 12, "", "g" * 70)), value()))

    def trim(self, key):
        rng = self.rng
        how = rng.choice((("MAXLEN",), ("MAXLEN", "="), ("MAXLEN", "~"), ("MINID",), ("MINID", "="), ("MINID", "~")))
        size = rng.choice((0, 1, 10, 50, 200, 1000)) if rng.random() < 0.97 else rng.choice((-1, "x", "1-1"))
        threshold = size if how[0] == "MAXLEN" else self.id(key)
        return how + (threshold,) + rng.choice(((), (), (), ("LIMIT", rng.choice((0, 1, 10, 1000, -1, "x"))))) + (("MAXLEN", 1) if rng.random() < 0.01 else ())

    def claim_options(self):
        rng = self.rng
        some = []
        for option in (("IDLE", rng.choice((0, 5 * DAY, -1))), ("TIME", rng.choice((0, 5, -5))), ("RETRYCOUNT", rng.choice((0, 3, -1, "x"))), ("FORCE",), ("JUSTID",),
                       ("LASTID", "5-5"), ("NOPE",)):
            if rng.random() < (0.2 if option[0] != "NOPE" else 0.01):
                some += option
        return tuple(some)

    def read(self, key):
        rng = self.rng
        keys = tuple(key if rng.random() < 0.7 else self.key() for _ in range(rng.choice((1, 1, 1, 2, 3))))
        options = ()
        if rng.random() < 0.8:
            options += ("COUNT", rng.choice(COUNTS))
        if rng.random() < 0.5:
            tail = keys + tuple(rng.choice((self.id(k).replace("+", "0"), self.id(k).replace("+", "0"), "0", "$", "$")) for k in keys)
            return ("XREAD",) + options + ("STREAMS",) + (tail if rng.random() < 0.99 else tail[:-1])
        if rng.random() < 0.2:
            options += ("NOACK",)
        ids = tuple(rng.choice((">", ">", ">", ">", "0", self.id(k).replace("+", "0"))) for k in keys)  # + is 7.4's
        return ("XREADGROUP", "GROUP", rng.choice(NAMES), rng.choice(CONSUMERS)) + options + ("STREAMS",) + keys + ids

    def next(self):
        rng, key = self.rng, self.key()
        group, consumer = rng.choice(NAMES), rng.choice(CONSUMERS)
        word = rng.choice((
            "XADD", "XADD", "XADD", "XADD", "XADD", "XADD", "XADD", "XADD", "XLEN", "XRANGE", "XRANGE", "XREVRANGE", "XREVRANGE", "READ", "READ", "READ", "READ", "XDEL", "XDEL",
            "XTRIM", "XSETID", "CREATE", "XGROUP", "XACK", "XACK", "XPENDING", "XCLAIM", "XCLAIM", "XAUTOCLAIM", "INFO", "INFO", "FULL", "OTHER", "ODD"))
        if word == "XADD":
            options = ("NOMKSTREAM",) if rng.random() < 0.05 else ()
            options += self.trim(key) if rng.random() < 0.05 else ()
            return (word, key) + options + (self.new_id(key),) + (self.fields() if rng.random() < 0.995 else ("odd",))
        if word in ("XRANGE", "XREVRANGE"):
            first, last = self.interval(key)
            tail = ("COUNT", rng.choice(COUNTS)) if rng.random() < 0.7 else ()
            return (word, key, first, last) + tail if word == "XRANGE" else (word, key, last, first) + tail
        if word == "READ":
            return self.read(key)
        if word == "XDEL":
            return (word, key) + tuple(self.id(key) for _ in range(rng.choice((1, 1, 3, 20))))
        if word == "XTRIM":
            return (word, key) + self.trim(key) if rng.random() < 0.3 else ("XLEN", key)
        if word == "XSETID":
            self.top[key] = self.top.get(key, 10) + 6  # 7.0 has no check against the greatest deleted ID
            return (word, key, "%d-5" % self.top[key]) + rng.choice(((), ("ENTRIESADDED", rng.choice((0, 10, 1000, -1)), "MAXDELETEDID", self.id(key)), ("MAXDELETEDID", "0-0"), ("x",)))
        if word == "CREATE":
            return ("XGROUP", word, key, group, rng.choice(("$", "0", self.id(key)))) + rng.choice(((), (), ("MKSTREAM",), ("ENTRIESREAD", rng.choice((0, 3, -1, -2)))))
        if word == "XGROUP":
            return rng.choice(((word, "DESTROY", key, group), (word, "SETID", key, group, rng.choice(("$", "0", "-", "+", self.id(key)))),
                               (word, "SETID", key, group, "0", "ENTRIESREAD", "5"), (word, "CREATECONSUMER", key, group, "new%d" % rng.randrange(10**9)),
                               (word, "DELCONSUMER", key, group, consumer), (word, "CREATE", key, group), (word, "NOPE", key, group), (word, "SETID", key, group, "$", "x")))
        if word == "XACK":
            return (word, key, group) + tuple(self.id(key) for _ in range(rng.choice((1, 3, 30))))
        if word == "XPENDING":
            idle = ("IDLE", rng.choice((0, DAY, "x"))) if rng.random() < 0.2 else ()
            first, last = self.interval(key)
            return rng.choice(((word, key, group), (word, key, group) + idle + (first, last, rng.choice(COUNTS)),
                               (word, key, group) + idle + (first, last, rng.choice(COUNTS), consumer), (word, key, group, "-", "+")))
        if word == "XCLAIM":
            return (word, key, group, consumer, rng.choice((0, 0, 0, DAY, -1, "x"))) + tuple(self.id(key) for _ in range(rng.choice((1, 2, 20)))) + self.claim_options()
        if word == "XAUTOCLAIM":
            tail = ("COUNT", rng.choice(COUNTS)) if rng.random() < 0.5 else ()
            return (word, key, group, consumer, rng.choice((0, 0, 0, DAY, -1, "x")), self.bound(key)) + tail + rng.choice(((), ("JUSTID",), ("NOPE",) if rng.random() < 0.1 else ()))
        if word == "INFO":
            return rng.choice((("XINFO", "STREAM", key), ("XINFO", "GROUPS", key), ("XINFO", "CONSUMERS", key, group), ("XINFO", "NOPE", key)))
        if word == "FULL":
            return ("XINFO", "STREAM", key, "FULL") + rng.choice(((), ("COUNT", rng.choice((0, 1, 5, -1, "x"))), ("COUNT",)))
        if word == "OTHER":
            other = rng.choice(("DUMPRESTORE", "DIGEST", "COPY", "RENAME", "TYPE", "OBJECT", "EXISTS", "DEL", "SET", "CONFIG", "CONFIG", "CONFIG", "EXPIRE"))
            if other in ("COPY", "RENAME"):
                target = self.key()
                self.top[target] = max(self.top.get(key, 10), self.top.get(target, 10))
                return (other, key, target, "REPLACE") if other == "COPY" else (other, key, target) if rng.random() < 0.3 else ("XLEN", key)
            if other == "DIGEST":
                return ("DEBUG", "DIGEST-VALUE", key)
            if other == "CONFIG":
                return rng.choice(((other, "SET", "stream-node-max-entries", rng.choice((0, 1, 2, 10, 100, 100))), (other, "SET", "stream-node-max-bytes", rng.choice((0, 100, 4096, 4096)))))
            if other in ("DEL", "SET"):
                return ((other, key) + (("text",) if other == "SET" else ())) if rng.random() < 0.1 else ("DEL", "k0")
            if other == "OBJECT":
                return (other, "ENCODING", key)
            return (other, key) + (("10000",) if other == "EXPIRE" else ())
        if word == "ODD":
            return rng.choice((("XADD", key), ("XADD", key, "*"), ("XADD", key, "MAXLEN", "5"), ("XADD", key, "MAXLEN"), ("XREAD", "STREAMS", key), ("XREAD", "COUNT", 1, "STREAMS"), ("XREAD", "x"),
                               ("XREADGROUP", "STREAMS", key, ">", "a", "b", "c"), ("XREAD", "NOACK", "STREAMS", key, "0"), ("XREAD", "GROUP", "g1", "c", "STREAMS", key, "0"),
                               ("XREAD", "STREAMS", key, ">"), ("XREADGROUP", "GROUP", "g1", "c", "STREAMS", key, "$"), ("XREAD", "BLOCK", "-1", "STREAMS", key, "0"),
                               ("XREAD", "BLOCK", "x", "STREAMS", key, "0"), ("XREAD", "BLOCK", "1", "STREAMS", key, "$"), ("XDEL", key), ("XTRIM", key, "LIMIT", "5"),
                               ("XTRIM", key, "x"), ("XRANGE", key, "-", "+", "COUNT"), ("XRANGE", key, "-", "+", "x", 1), ("XSETID", key), ("XLEN",), ("XACK", key, group),
                               ("XADD", key, "0-0", "f", "v"), ("GET", key)))
        return (word, key)
