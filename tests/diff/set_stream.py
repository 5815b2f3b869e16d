# SPDX-License-Identifier: BSD-3-Clause
"""Random set commands with every option, over sets of numbers, of words and of both, for run.py. What is random in a reply is not asked for."""
import random

ODD = ("", "0", "-0", "01", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "3.0", "abc", " 1", "1 ", "+1", "-1")
COUNTS = (0, 1, -1, 2, 5, 100000, "abc", "", "-9223372036854775808", "9223372036854775807", "9223372036854775808")
ALL = 100000
LIMITS = (0, 1, 3, 50, -1, "x")


class SetStream:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def key(self):
        return "k%d" % self.rng.randrange(12)

    def keys(self):
        return tuple(self.key() for _ in range(self.rng.randrange(1, 5)))

    def member(self, key):
        """Keys lean towards numbers, words or both, and towards a size."""
        rng, number = self.rng, int(key[1:])
        span = (10, 40, 600, 3000)[number % 4]
        if rng.random() < 0.002:
            return rng.choice(ODD)
        if rng.random() < 0.002:
            return "x" * rng.choice((64, 65, 5000, 70000))
        value = rng.randrange(span)
        kind = number % 3
        if kind == 0 or (kind == 1 and rng.random() < 0.5):
            return value * (1, 1000, 10**14)[number % 7 % 3] - 20
        return "member:%d" % value

    def next(self):
        rng, key = self.rng, self.key()
        word = rng.choice((
            "SADD", "SADD", "SADD", "SADD", "SADD", "SREM", "SREM", "SISMEMBER", "SMISMEMBER", "SCARD", "SMEMBERS", "SPOP", "SRANDMEMBER", "SMOVE",
            "SMOVE", "SINTER", "SINTERCARD", "SUNION", "SDIFF", "SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE", "SSCAN", "OBJECT", "DUMPRESTORE", "COPY",
            "RENAME", "TYPE", "EXPIRE", "TTL", "DEL", "SET", "EXISTS", "DBSIZE", "ODD"))
        if word == "SADD":
            # no more than an intset takes: 7.4 switches by the number of arguments, 7.0 by that of members
            return (word, key) + tuple(self.member(key) for _ in range(rng.choice((1, 1, 3, 10, 150, 500))))
        if word == "SREM":
            return (word, key) + tuple(self.member(key) for _ in range(rng.choice((1, 3, 30, 300))))
        if word == "SMISMEMBER":
            return (word, key) + tuple(self.member(key) for _ in range(rng.randrange(1, 20)))
        if word == "SISMEMBER":
            return (word, key, self.member(key))
        if word == "SPOP":
            return (word, key, ALL) if rng.random() < 0.1 else (word, "none", rng.choice(COUNTS)) if rng.random() < 0.5 else (word, "none")
        if word == "SRANDMEMBER":
            return (word, key, ALL) if rng.random() < 0.5 else (word, "none", rng.choice(COUNTS))
        if word == "SMOVE":
            return (word, key, self.key(), self.member(key))
        if word in ("SINTER", "SUNION", "SDIFF"):
            return (word,) + self.keys()
        if word == "SINTERCARD":
            keys = self.keys()
            count = len(keys) if rng.random() < 0.95 else rng.choice((0, 9, "x"))
            return (word, count) + keys + rng.choice(((), (), ("LIMIT", rng.choice(LIMITS)), ("LIMIT",)))
        if word in ("SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"):
            return (word, self.key()) + self.keys()
        if word == "SSCAN":
            return (word, key, "0", "COUNT", 10 * ALL) + rng.choice(((), ("MATCH", "*1*"), ("MATCH", "*"), ("NOPE",)))
        if word == "OBJECT":
            return (word, "ENCODING", key)
        if word == "COPY":
            return (word, key, self.key(), "REPLACE")
        if word == "RENAME":
            return (word, key, self.key())
        if word == "EXPIRE":
            return (word, key, "100000")
        if word == "SET":
            return (word, key, "text") if rng.random() < 0.3 else ("TYPE", key)
        if word == "DEL":
            return (word, key) if rng.random() < 0.3 else ("SCARD", key)
        if word == "ODD":
            return rng.choice((("SADD", key), ("SREM", key), ("SPOP",), ("SPOP", key, -1), ("SPOP", key, 1, 2), ("SRANDMEMBER", key, 1, 2), ("SMOVE", key),
                               ("SSCAN", key, "x"), ("SSCAN", key, "0", "COUNT", "0"), ("SINTERCARD", 1), ("HGET", key, "f"), ("SCARD", key, key)))
        return (word, key) if word != "DBSIZE" else (word,)
