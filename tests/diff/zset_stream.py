# SPDX-License-Identifier: BSD-3-Clause
"""Random sorted set commands with every option for run.py: sorted sets of a few and of some thousand elements (k*), lexicographic ones with
one score (l*), and sets among the sources (s*). What is random in a reply is not asked for; scores are such that 7.0 and 7.4 print alike."""
import random

ALL = 100000
SCORES = ("inf", "-inf", "+inf", "0", "-0", "1e3", "0x10", "1.5", "-2.25", "4503599627370497", "-9007199254740991")
BAD = ("nan", "x", "", "1.5.", "(1", "1 ")


class ZsetStream:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def key(self):
        return "k%d" % self.rng.randrange(8)

    def lex_key(self):
        return "l%d" % self.rng.randrange(4)

    def source(self):
        return self.key() if self.rng.random() < 0.8 else "s%d" % self.rng.randrange(3)

    def member(self, key):
        rng, number = self.rng, int(key[1:])
        span = (10, 60, 400, 4000)[number % 4]
        if rng.random() < 0.001:
            return rng.choice(("", "0", "-1", "9223372036854775807", "x" * 64, "x" * 65, "y" * 6000))
        value = rng.randrange(span)
        return ("member:%d" % value, str(value - 20), "m%d" % value)[value % 3]

    def score(self):
        rng = self.rng
        if rng.random() < 0.05:
            return rng.choice(SCORES)
        return rng.choice((str(rng.randrange(-50, 50)), str(rng.randrange(10**9)), "%.2f" % (rng.randrange(-4000, 4000) / 4)))

    def bound(self):
        rng = self.rng
        if rng.random() < 0.01:
            return rng.choice(BAD)
        return rng.choice(("", "(")) + rng.choice((self.score(), self.score(), "-inf", "+inf"))

    def lex(self):
        rng = self.rng
        if rng.random() < 0.02:
            return rng.choice(("", "x", "+x", "-x", "[", "("))
        return rng.choice(("-", "+", "[" + self.member("l3"), "(" + self.member("l3"), "[m", "(member:", "[member:2"))

    def rank(self):
        rng = self.rng
        return rng.choice((0, -1, 1, -2, 5, -100, rng.randrange(-5000, 5000), rng.randrange(0, 60), "x" if rng.random() < 0.05 else 3))

    def limit(self):
        rng = self.rng
        return rng.choice(((), (), ("LIMIT", rng.choice((0, 1, 5, 100, -1)), rng.choice((0, 1, 10, 200, -1)))))

    def sources(self, lex=False):
        keys = tuple(self.lex_key() if lex else self.source() for _ in range(self.rng.choice((1, 2, 2, 3, 4))))
        return (len(keys),) + keys

    def combine(self, word, lex):
        rng = self.rng
        sources = self.sources(lex)
        extra = ()
        if word not in ("ZDIFF", "ZDIFFSTORE"):
            if rng.random() < 0.4:
                extra += ("WEIGHTS",) + tuple(rng.choice(("1", "2", "-1", "0.5", "0", "inf") if not lex else ("1", "2")) for _ in range(sources[0]))
            if rng.random() < 0.4:
                extra += ("AGGREGATE", rng.choice(("SUM", "MIN", "MAX")))
        if rng.random() < 0.01:
            sources = (rng.choice((0, -1, "x", 20)),) + sources[1:]
        if rng.random() < 0.01:
            extra += (rng.choice(("WEIGHTS", "AGGREGATE", "LIMIT", "NOPE")),)
        return sources + extra

    def zadd(self):
        rng = self.rng
        lex = rng.random() < 0.25
        key = self.lex_key() if lex else self.key()
        flags = () if lex or rng.random() < 0.6 else rng.choice((("NX",), ("XX",), ("GT",), ("LT",), ("CH",), ("XX", "GT", "CH"), ("CH", "LT"), ("NX", "GT"), ("NX", "XX"), ("GT", "LT")))
        incr = not lex and rng.random() < 0.15
        count = 1 if incr else rng.choice((1, 1, 1, 3, 10, 100))
        pairs = []
        for _ in range(count):
            score = "0" if lex else rng.choice(BAD) if rng.random() < 0.003 else self.score()
            member = self.member(key)
            if flags and len(member) > 64:
                member = "short"  # 7.4 looks at the lengths of all arguments before it decides
            pairs += [score, member]
        return ("ZADD", key) + flags + (("INCR",) if incr else ()) + tuple(pairs)

    def next(self):
        rng, key, lex_key = self.rng, self.key(), self.lex_key()
        word = rng.choice((
            "ZADD", "ZADD", "ZADD", "ZADD", "ZADD", "ZADD", "ZINCRBY", "ZREM", "ZREM", "ZCARD", "ZSCORE", "ZMSCORE", "ZRANK", "ZREVRANK", "ZCOUNT",
            "ZLEXCOUNT", "ZRANGE", "ZRANGE", "ZRANGE", "ZRANGESTORE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE", "ZRANGEBYLEX",
            "ZREVRANGEBYLEX", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZREMRANGEBYLEX", "ZPOPMIN", "ZPOPMAX", "ZMPOP", "ZRANDMEMBER", "ZSCAN",
            "ZUNION", "ZINTER", "ZDIFF", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "ZINTERCARD", "OBJECT", "OBJECT", "DUMPRESTORE", "COPY",
            "RENAME", "DEL", "EXPIRE", "SADD", "SET", "BZPOPMIN", "BZMPOP", "DBSIZE", "ODD"))
        scores = rng.choice(((), ("WITHSCORES",)))
        if word == "ZADD":
            return self.zadd()
        if word == "ZINCRBY":
            return (word, key, self.score() if rng.random() < 0.98 else rng.choice(BAD), self.member(key))
        if word == "ZREM":
            key = rng.choice((key, lex_key))
            return (word, key) + tuple(self.member(key) for _ in range(rng.choice((1, 1, 3, 30))))
        if word == "ZMSCORE":
            return (word, key) + tuple(self.member(key) for _ in range(rng.randrange(1, 10)))
        if word in ("ZSCORE", "ZRANK", "ZREVRANK"):
            return (word, key, self.member(key))
        if word in ("ZCOUNT", "ZREMRANGEBYSCORE"):
            if word != "ZCOUNT" and rng.random() < 0.8:
                score = rng.randrange(-50, 50)
                return (word, key, score, score + rng.choice((0, 0, 3)))
            return (word, key, self.bound(), self.bound())
        if word in ("ZLEXCOUNT", "ZREMRANGEBYLEX"):
            if word != "ZLEXCOUNT" and rng.random() < 0.8:
                member = self.member(lex_key)
                return (word, lex_key, "[" + member, "[" + member)
            return (word, lex_key, self.lex(), self.lex())
        if word in ("ZRANGE", "ZRANGESTORE"):
            kind = rng.choice(((), (), ("BYSCORE",), ("BYLEX",)))
            if kind == ("BYLEX",):
                head, bounds = ((word, lex_key) if word == "ZRANGE" else (word, self.lex_key(), lex_key)), (self.lex(), self.lex())
            else:
                head = (word, key) if word == "ZRANGE" else (word, self.key(), key)
                bounds = (self.bound(), self.bound()) if kind else (self.rank(), self.rank())
            limit = self.limit() if kind or rng.random() < 0.03 else ()
            return head + bounds + kind + rng.choice(((), ("REV",))) + limit + (scores if word == "ZRANGE" or rng.random() < 0.02 else ())
        if word == "ZREVRANGE":
            return (word, key, self.rank(), self.rank()) + scores
        if word in ("ZRANGEBYSCORE", "ZREVRANGEBYSCORE"):
            return (word, key, self.bound(), self.bound()) + scores + self.limit()
        if word in ("ZRANGEBYLEX", "ZREVRANGEBYLEX"):
            return (word, lex_key, self.lex(), self.lex()) + self.limit()
        if word == "ZREMRANGEBYRANK":
            start = self.rank()
            return (word, key, start, start if rng.random() < 0.9 else self.rank())
        if word in ("ZPOPMIN", "ZPOPMAX"):
            return (word, key) + rng.choice(((), (), (1,), (0,), (7,), (-1,), ("x",)))
        if word == "ZMPOP":
            return (word,) + self.sources() + (rng.choice(("MIN", "MAX", "min", "NOPE")),) + rng.choice(((), ("COUNT", rng.choice((1, 5, 0, 300, "x")))))
        if word == "ZRANDMEMBER":
            return (word, key, ALL) + scores if rng.random() < 0.5 else (word, "none") + rng.choice(((), (5,), (-5, "WITHSCORES"), ("x",), (3, "x")))
        if word == "ZSCAN":
            return (word, key, "0", "COUNT", 10 * ALL) + rng.choice(((), ("MATCH", "*1*"), ("MATCH", "*"), ("NOPE",)))
        if word in ("ZUNION", "ZINTER", "ZDIFF"):
            return (word,) + self.combine(word, False) + scores
        if word in ("ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"):
            lex = rng.random() < 0.2
            return (word, self.lex_key() if lex else self.key()) + self.combine(word, lex)
        if word == "ZINTERCARD":
            return (word,) + self.sources() + rng.choice(((), ("LIMIT", rng.choice((0, 3, 1000, -1, "x"))), ("LIMIT",)))
        if word == "OBJECT":
            return (word, "ENCODING", rng.choice((key, lex_key)))
        if word == "COPY":
            return (word, key, self.key(), "REPLACE")
        if word == "RENAME":
            return (word, key, self.key())
        if word == "EXPIRE":
            return (word, key, "100000")
        if word == "SADD":
            return (word, "s%d" % rng.randrange(3)) + tuple(self.member(rng.choice(("k1", "k2"))) for _ in range(rng.choice((1, 20))))
        if word == "SET":
            return (word, key, "text") if rng.random() < 0.3 else ("TYPE", key)
        if word == "DEL":
            return (word, rng.choice((key, lex_key))) if rng.random() < 0.3 else ("ZCARD", key)
        if word == "BZPOPMIN":
            return (rng.choice((word, "BZPOPMAX")), key, self.key(), "0.001")
        if word == "BZMPOP":
            return (word, "0.001") + self.sources() + (rng.choice(("MIN", "MAX")),) + rng.choice(((), ("COUNT", 3)))
        if word == "ODD":
            return rng.choice((("ZADD", key), ("ZADD", key, "1"), ("ZADD", key, "1", "a", "2"), ("ZADD", key, "INCR", "1", "a", "2", "b"), ("ZREM", key),
                               ("ZPOPMIN",), ("ZPOPMIN", key, 1, 2), ("ZSCAN", key, "x"), ("ZSCAN", key, "0", "COUNT", "0"), ("ZINTERCARD", 1),
                               ("HGET", key, "f"), ("ZCARD", key, key), ("ZRANK", key), ("BZPOPMIN", key, "x"), ("BZPOPMIN", key, "-1"), ("ZSCORE", "s0", "a"),
                               ("ZRANGE", key, 0, -1, "BYSCORE", "BYLEX", "LIMIT"), ("ZRANGE", key, "a", "b", "BYLEX", "WITHSCORES"), ("ZMPOP", 1, key)))
        return (word, key) if word != "DBSIZE" else (word,)
