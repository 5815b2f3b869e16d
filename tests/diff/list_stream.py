# SPDX-License-Identifier: BSD-3-Clause
"""Random list commands with every option, over lists of a few and of thousands of elements, for run.py. Encodings are not asked for: 7.0 knows no lists that are a listpack."""
import random

ODD = ("", "0", "-0", "01", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "3.0", "abc", " 1", "127", "128", "-4096", "-4097", "4095",
       "4096", "32767", "32768", "8388607", "8388608", "-8388609", "2147483647", "2147483648")
NUMBERS = (0, 1, -1, 2, -2, 5, -5, 100, -100, 1000, 100000, -100000, "x", "", "9223372036854775807", "-9223372036854775807")
ENDS = ("LEFT", "RIGHT")


class ListStream:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def key(self):
        return "k%d" % self.rng.randrange(12)

    def element(self, key):
        """Keys lean towards numbers, words or both."""
        rng, number = self.rng, int(key[1:])
        chance = rng.random()
        if chance < 0.01:
            return rng.choice(ODD)
        if chance < 0.013:
            return "x" * rng.choice((63, 64, 4095, 4096, 5000, 9000, 70000))
        value = rng.randrange((5, 50, 3000)[number % 3])
        if number % 2 == 0 or rng.random() < 0.3:
            return value * (1, 1000, 10**14)[number % 7 % 3] - 20
        return "element:%d" % value

    def elements(self, key):
        return tuple(self.element(key) for _ in range(self.rng.choice((1, 1, 1, 2, 3, 10, 100, 800) if int(key[1:]) % 3 else (1, 1, 2, 5))))

    def position(self):
        rng = self.rng
        return rng.choice(NUMBERS) if rng.random() < 0.2 else rng.randrange(-30, 30) if rng.random() < 0.5 else rng.randrange(-3000, 3000)

    def pos_options(self):
        rng, options = self.rng, ()
        for word, values in (("RANK", (1, 2, 5, -1, -3, 0, "x")), ("COUNT", (0, 1, 2, 100, -1, "x")), ("MAXLEN", (0, 1, 10, 1000, -1, "x"))):
            if rng.random() < 0.4:
                options += (word, rng.choice(values[:-2] if rng.random() < 0.9 else values))
        return options if rng.random() < 0.97 else options + ("RANK",)

    def next(self):
        rng, key = self.rng, self.key()
        word = rng.choice((
            "LPUSH", "RPUSH", "LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "LPOP", "RPOP", "LPOP", "RPOP", "LLEN", "LINDEX", "LINDEX", "LSET", "LINSERT", "LINSERT",
            "LRANGE", "LRANGE", "LREM", "LTRIM", "LPOS", "LPOS", "LMOVE", "RPOPLPUSH", "LMPOP", "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP",
            "DUMPRESTORE", "COPY", "RENAME", "TYPE", "EXPIRE", "TTL", "DEL", "SET", "EXISTS", "DBSIZE", "ODD"))
        if word in ("LPUSH", "RPUSH", "LPUSHX", "RPUSHX"):
            return (word, key) + self.elements(key)
        if word in ("LPOP", "RPOP"):
            return (word, key) + rng.choice(((), (), (), (1,), (3,), (100,), (0,), (-1,), ("x",), (1, 2)))
        if word == "LINDEX":
            return (word, key, self.position())
        if word == "LSET":
            return (word, key, self.position(), self.element(key))
        if word == "LINSERT":
            return (word, key, rng.choice(("BEFORE", "AFTER", "after") if rng.random() < 0.95 else ("near",)), self.element(key), self.element(key))
        if word == "LRANGE":
            return (word, key, self.position(), self.position()) if rng.random() < 0.7 else (word, key, 0, -1)
        if word == "LTRIM":
            if rng.random() < 0.8:
                return (word, key, rng.randrange(20), -1 - rng.randrange(20))
            return (word, key, self.position(), self.position())
        if word == "LREM":
            return (word, key, rng.choice((0, 1, -1, 2, -2, 10, "x") if rng.random() < 0.9 else NUMBERS), self.element(key))
        if word == "LPOS":
            return (word, key, self.element(key)) + self.pos_options()
        if word in ("LMOVE", "BLMOVE"):
            return (word, key, self.key(), rng.choice(ENDS), rng.choice(ENDS) if rng.random() < 0.97 else "UP") + ((0.001,) if word == "BLMOVE" else ())
        if word in ("RPOPLPUSH", "BRPOPLPUSH"):
            return (word, key, self.key()) + ((0.001,) if word == "BRPOPLPUSH" else ())
        if word in ("LMPOP", "BLMPOP"):
            keys = tuple(self.key() for _ in range(rng.randrange(1, 4)))
            count = rng.choice(((), (), ("COUNT", 1), ("COUNT", 50), ("COUNT", 0), ("COUNT", "x"), ("COUNT",), ("LIMIT", 1)))
            return (word,) + ((0.001,) if word == "BLMPOP" else ()) + (len(keys) if rng.random() < 0.95 else rng.choice((0, "x", 9)),) + keys + (rng.choice(ENDS),) + count
        if word in ("BLPOP", "BRPOP"):
            return (word,) + tuple(self.key() for _ in range(rng.randrange(1, 4))) + (rng.choice((0.001, "0.001", 0.001, -1, "x")),)
        if word == "COPY":
            return (word, key, self.key(), "REPLACE")
        if word == "RENAME":
            return (word, key, self.key())
        if word == "EXPIRE":
            return (word, key, "100000")
        if word == "SET":
            return (word, key, "text") if rng.random() < 0.3 else ("TYPE", key)
        if word == "DEL":
            return (word, key) if rng.random() < 0.3 else ("LLEN", key)
        if word == "ODD":
            return rng.choice((("LPUSH", key), ("LPOP",), ("LINDEX", key), ("LSET", key, 0), ("LINSERT", key, "BEFORE", 1), ("LRANGE", key, 1), ("LMOVE", key, key, "LEFT"),
                               ("LMPOP", 1), ("BLPOP", 0), ("HGET", key, "f"), ("LLEN", key, key), ("LPOS", key), ("BLMPOP", 0, 1, key), ("BRPOPLPUSH", key, key, "x")))
        return (word, key) if word != "DBSIZE" else (word,)
