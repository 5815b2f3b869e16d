# SPDX-License-Identifier: BSD-3-Clause
"""Argument lists that are mostly wrong, made from the command specifications: words missing, twice, in another order, of another kind, beyond the limits. For run.py."""
import glob
import json
import os
import random

SPECS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "src", "cmd", "spec", "*.json")
GROUPS = ("string", "bitmap", "hyperloglog", "list", "hash", "set", "sorted-set", "geo", "stream", "generic")
# Draws, cursors, the time of day, other connections; members in order of names where scores differ (which Redis answers by encoding).
LEFT_OUT = {"spop", "srandmember", "hrandfield", "zrandmember", "randomkey", "scan", "sscan", "hscan", "zscan", "dump", "restore", "wait", "object", "sort", "sort_ro", "keys",
            "zrangebylex", "zrevrangebylex", "zremrangebylex", "zlexcount", "lcs", "pfdebug", "pfselftest", "restore-asking"}
KEYS = {"string": "s1 s2 s3 sb", "bitmap": "s1 sb s3", "hyperloglog": "p1 p2 s1", "list": "l1 l2 l3", "hash": "h1 h2", "set": "S1 S2 S3", "sorted-set": "z1 z2 z3",
        "geo": "g1 z1", "stream": "x1 x2"}
ALL = sorted(set(" ".join(KEYS.values()).split()) | {"none", "new"})
NUMBERS = ("0", "1", "-1", "2", "3", "5", "-2", "-5", "10", "100")
ODD = ("9223372036854775807", "-9223372036854775808", "9223372036854775808", "99999999999999999999", "2147483648", "-0", "+1", "01", "", "a", "1.5", " 1", "1 ", "1e3", "0x10", "nan", "(1",
       "1e400", "#1", "-", "+", "(", "[a", "$", ">", "1-1", "2-", "-1-1", "x" * 70)
TEXTS = ("", "a", "b", "c", "abc", "f1", "f2", "m1", "0", "1", "10", b"\xff\0", "x" * 70, "Palermo")
LONG_TIMES = ("100000", "1000000", "9999999999999", "-1", "0", "x", "", "9223372036854775807", "-9223372036854775808", "9223372036854775")
TIME_NAMES = ("seconds", "milliseconds", "timestamp", "unix-time-seconds", "unix-time-milliseconds", "ttl")
BY_NAME = {
    "timeout": ("0.01", "0.001", "-1", "x", "", "1e400", "nan", " 1", "-1e400"), "group": ("G", "G", "G2", ""), "consumer": ("c1", "c2", ""), "encoding": ("u8", "i8", "i64", "u64", "u0", "i65", "x", ""),
    "offset": ("0", "1", "#1", "8", "100", "-1", "#-1", "x", "4294967296", "#9223372036854775807"), "operation": ("AND", "or", "XOR", "NOT", "NOR", ""), "unit": ("m", "km", "x"),
    "id": ("1-1", "2-2", "0", "3", "5-1", "0-0", "9-*", "x", "18446744073709551616-0"), "start": NUMBERS + ("-", "+", "(1", "x", "1-1", "(2-2", "0-0"), "stop": NUMBERS + ("+", "(2", "x"),
    "end": NUMBERS + ("+", "-", "(3", "x"), "min": NUMBERS + ("(1", "-inf", "x", "("), "max": NUMBERS + ("(2", "+inf", "x"), "milliseconds-block": ("1", "-1", "x"), "pattern": ("*", "a*", "[", ""),
    "min-idle-time": ("0", "-1", "x", "0"), "index": ("0", "1", "-1", "100", "x"), "numkeys": ("1", "2", "0", "-1", "x", "9223372036854775807")}
SETUP = (("SET", "s1", "hello"), ("SET", "s2", "10"), ("SET", "s3", "3.5"), ("SETRANGE", "sb", "20", b"\xff"), ("PFADD", "p1", "a", "b"), ("PFADD", "p2", "c"),
         ("RPUSH", "l1", "a", "b", "c", "a"), ("RPUSH", "l2", "m1"), ("RPUSH", "l3") + tuple(str(i) for i in range(200)), ("HSET", "h1", "f1", "v", "f2", "2", "f3", "3.5"),
         ("HSET", "h2", "a", "b" * 80), ("SADD", "S1", "a", "b", "1"), ("SADD", "S2", "a", "m1"), ("SADD", "S3", "1", "2", "100"), ("ZADD", "z1", "1", "a", "2", "b", "2.5", "m1"),
         ("ZADD", "z2", "0", "a", "0", "b", "0", "c"), ("ZADD", "z3", "-5", "c", "7", "f1"), ("GEOADD", "g1", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "a"),
         ("XADD", "x1", "1-1", "a", "b"), ("XADD", "x1", "2-2", "c", "d"), ("XADD", "x1", "3-0", "m", "n"), ("XGROUP", "CREATE", "x1", "G", "0"),
         ("XREADGROUP", "GROUP", "G", "c1", "COUNT", "2", "STREAMS", "x1", ">"), ("XADD", "x2", "5-1", "a", "b"))


def since(node):
    return tuple(int(part) for part in node.get("since", "1.0.0").split("."))


def old(nodes):
    """Of ${nodes} what the oracle, a 7.0, knows."""
    return [{**node, "arguments": old(node.get("arguments", []))} for node in nodes if since(node) < (7, 0, 16)]


def load():
    commands = []
    for path in sorted(glob.glob(SPECS)):
        with open(path) as file:
            spec = json.load(file)
        name = spec["name"]
        if spec["group"] in GROUPS and since(spec) < (7, 0, 16) and not LEFT_OUT & {name.split("|")[0]} and "help" not in name:
            commands.append((name.upper().split("|"), old(spec.get("arguments", [])), spec["group"]))
    return commands


def numbers(reply):
    """Scores as numbers: 7.4 prints large ones with fewer digits."""
    if isinstance(reply, list):
        return [numbers(part) for part in reply]
    try:
        return float(reply)
    except (TypeError, ValueError):
        return reply


class OddStream:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.commands = load()
        self.tokens = sorted(set(self.tokens_of([argument for _, arguments, _ in self.commands for argument in arguments])))
        self.waiting = []

    def tokens_of(self, nodes):
        for node in nodes:
            if "token" in node:
                yield node["token"]
            yield from self.tokens_of(node["arguments"])

    def key(self, group):
        return self.rng.choice(KEYS[group].split() if group in KEYS and self.rng.random() < 0.8 else ALL)

    def leaf(self, node, group):
        rng, kind, name = self.rng, node["type"], node["name"]
        if kind == "key":
            return self.key(group)
        if kind == "pure-token":
            return node["token"]
        if node.get("token") == "BLOCK":
            name = "milliseconds-block"
        if name in TIME_NAMES or kind == "unix-time":
            return rng.choice(LONG_TIMES)
        if name in BY_NAME and (name in ("timeout", "milliseconds-block") or rng.random() < 0.9):
            return rng.choice(BY_NAME[name])
        if kind in ("integer", "double"):
            return rng.choice(NUMBERS if rng.random() < 0.7 else ODD)
        return rng.choice(TEXTS if rng.random() < 0.8 else ODD)

    def make(self, node, group):
        rng, out = self.rng, []
        if node.get("optional") and rng.random() < 0.6:
            return out
        while True:
            if "token" in node and node["type"] != "pure-token" and (not out or node.get("multiple_token")):
                out.append(node["token"])
            if node["type"] == "block":
                out += [word for part in node["arguments"] for word in self.make(part, group)]
            elif node["type"] == "oneof":
                out += self.make(rng.choice(node["arguments"]), group) if node["arguments"] else []
            else:
                out.append(self.leaf(node, group))
            if not node.get("multiple") or len(out) > 10 or rng.random() < 0.55:
                return out

    def spoil(self, words, timed):
        rng, at = self.rng, self.rng.randrange(len(words))
        change = rng.randrange(6)
        if change == 0:
            del words[at]
        elif change == 1:
            words.insert(at, words[at])
        elif change == 2:
            words[at] = rng.choice(TEXTS[1:8] if timed else TEXTS + NUMBERS + ODD)
        elif change == 3:
            words.append(rng.choice(TEXTS[1:8] + tuple(self.tokens)))
        elif change == 4:
            words.insert(at, rng.choice(self.tokens))
        else:
            words[at] = rng.choice(ALL)

    def next(self):
        rng = self.rng
        if rng.random() < 0.005:  # what was there is gone by and by
            self.waiting = [("FLUSHALL",)] + list(SETUP)
        if self.waiting:
            return self.waiting.pop(0)
        name, arguments, group = rng.choice(self.commands)
        words = [word for node in arguments for word in self.make(node, group)]
        timed = "EX" in name[0] or name[0].startswith("B") or any(word in ("EX", "PX", "EXAT", "PXAT", "BLOCK") for word in words)  # nothing waits long or expires meanwhile
        if words and rng.random() < 0.3:
            self.spoil(words, timed)
        if "*" in words and name[0] == "XADD":
            return ("PING",)
        return tuple(name) + tuple(words)

    @staticmethod
    def excused(command, expected, got):
        """Where 7.4 answers otherwise than 7.0."""
        word, wrong = command[0], isinstance(got, str) and got.startswith("error")
        return (word.startswith(("Z", "BZ")) and numbers(expected) == numbers(got)
                or word in ("BITCOUNT", "BITPOS") and wrong  # arguments are judged without the key
                or word in ("ZRANK", "ZREVRANK") and len(command) > 3  # WITHSCORE
                or word in ("XREAD", "XREADGROUP") and ("+" in command or "out of range" in str(got))
                or "timeout is out of range" in str(got) and "timeout is negative" in str(expected)
                or word == "LPOS" and "-9223372036854775808" in command)
