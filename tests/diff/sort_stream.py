# SPDX-License-Identifier: BSD-3-Clause
"""Random SORTs for run.py, over lists, sets and sorted sets of numbers and words, with keys and hashes for BY and GET. Equal weights with LIMIT and ALPHA are
avoided: Redis sorts those as it happens."""
import random


class SortStream:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.unique = 0

    def element(self, key):
        """Keys lean towards numbers or words; some of each hold what is none."""
        rng, number = self.rng, int(key[1:])
        if number % 2 == 0:
            if rng.random() < 0.002:
                return rng.choice(("word", "", " 7", "0x1f", "inf", "nan", "9223372036854775808"))
            return rng.choice((str(rng.randrange(-50, 300)), "%.2f" % rng.uniform(-5, 5)))
        return rng.choice(("a", "b", "abc", "A", "zz", "word:%d" % rng.randrange(300)))

    def key(self):
        return "k%d" % self.rng.randrange(6)

    def options(self, may_store):
        rng, out, alpha = self.rng, [], self.rng.random() < 0.5
        by = rng.choice((None, None, None, "weight:*", "hash:*->weight", "constant", "weight:*:none", "hash:*->"))
        if by:
            out += ["BY", by]
        if alpha:
            out.append("ALPHA")
        if rng.random() < 0.4:
            out.append(rng.choice(("ASC", "DESC", "desc")))
        if rng.random() < 0.4 and not (alpha and by and "*" in by):
            out += ["LIMIT", rng.choice(("0", "3", "-5", "100", "100000")), rng.choice(("10", "1", "0", "-1", "-7", "100000", "9223372036854775807"))]
        for _ in range(rng.choice((0, 0, 1, 3))):
            out += ["GET", rng.choice(("#", "weight:*", "hash:*->name", "hash:*->none", "constant", "text:*", "hash:*->"))]
        if may_store and rng.random() < 0.3:
            out += ["STORE", rng.choice(("to", "to", "k0"))]
        if rng.random() < 0.03:
            out.append(rng.choice(("LIMIT", "GET", "BY", "STORE", "NOPE")))
        return tuple(out)

    def next(self):
        rng, key = self.rng, self.key()
        word = rng.choice(("RPUSH", "RPUSH", "SADD", "ZADD", "ZSORT", "SET", "HSET", "HSET", "SORT", "SORT", "SORT", "SORT", "SORT_RO", "LRANGE", "DEL", "OBJECT", "ODD"))
        if word == "RPUSH":
            return (word if int(key[1:]) < 4 else "SADD", key) + tuple(self.element(key) for _ in range(rng.choice((1, 5, 40))))
        if word == "ZADD":
            return (word, "zset") + tuple(part for _ in range(10) for part in (rng.randrange(10**6), rng.randrange(500)))
        if word == "ZSORT":
            return ("SORT", "zset") + tuple(option for option in self.options(True) if option != "ALPHA")
        if word == "SADD":
            return ("SADD", "k5") + tuple("word:%d" % rng.randrange(400) for _ in range(20))
        if word == "SET":  # weights differ from one another
            self.unique += 1
            return rng.choice((("SET", "weight:" + self.element(key), "%d.%d" % (rng.randrange(1000), self.unique)), ("SET", "text:" + self.element(key), "text %d" % self.unique),
                               ("SET", "weight:" + self.element(key), str(self.unique))))
        if word == "HSET":
            self.unique += 1
            return ("HSET", "hash:" + self.element(key), "weight", str(rng.randrange(1000) * 100000 + self.unique), "name", "name %d" % self.unique)
        if word == "SORT":
            options = self.options(True)
            if int(key[1:]) >= 4 and ("constant" in options or ("ALPHA" in options and "BY" in options)):  # a set's own order is nobody's promise
                key = "k1"
            return (word, key) + options
        if word == "SORT_RO":
            return (word, rng.choice(("k0", "k1", "k2", "none"))) + self.options(rng.random() < 0.05)
        if word == "LRANGE":
            return (word, "to", "0", "-1")
        if word == "DEL":
            return (word, rng.choice((key, "to", "weight:" + self.element(key)))) if rng.random() < 0.4 else ("EXISTS", key)
        if word == "OBJECT":
            return ("TYPE", rng.choice(("to", key, "zset")))
        return rng.choice((("SORT", "none", "STORE", "to"), ("SORT",), ("SORT", "weight:1"), ("COMMAND", "GETKEYS", "SORT", "abc", "STORE", "a", "BY", "store", "STORE", "b"),
                           ("COMMAND", "GETKEYS", "SORT", "abc"), ("LPUSH", "weight:odd", "x"), ("SORT", "string"), ("SORT", "none", "NOPE"), ("SET", "string", "x")))
