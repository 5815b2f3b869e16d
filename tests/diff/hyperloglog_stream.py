# SPDX-License-Identifier: BSD-3-Clause
"""Random HyperLogLog commands for run.py: the strings they make are compared byte by byte, damaged ones included."""
import random


class HyperLogLogStream:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.dense = False

    def key(self):
        return "k%d" % self.rng.randrange(12)

    def elements(self):
        rng = self.rng
        span = rng.choice((50, 3000, 10**6, 10**12))
        return tuple(b"%d" % rng.randrange(span) if rng.random() < 0.8 else rng.randbytes(rng.randrange(40))
                     for _ in range(rng.choice((0, 1, 1, 1, 2, 5, 30, 300))))

    def next(self):
        rng, key = self.rng, self.key()
        word = rng.choice((
            "PFADD", "PFADD", "PFADD", "PFADD", "PFADD", "PFADD", "PFCOUNT", "PFCOUNT", "PFMERGE", "GET", "GET", "GET", "PFDEBUG", "DEL", "DAMAGE", "RENAME",
            "COPY", "OBJECT", "DUMPRESTORE", "EXPIRE", "TTL", "SET", "CONFIG", "ODD"))
        if word == "PFADD":
            return (word, key) + self.elements()
        if word == "PFCOUNT":
            return (word,) + tuple(self.key() for _ in range(rng.choice((1, 1, 2, 5))))
        if word == "PFMERGE":
            return (word,) + tuple(self.key() for _ in range(rng.choice((1, 2, 2, 4))))
        if word == "PFDEBUG":
            return (word, rng.choice(("ENCODING", "DECODE", "DECODE", "GETREG", "todense", "NOPE")), key)
        if word == "DEL":
            return (word, key) if rng.random() < 0.5 else ("GET", key)
        if word == "DAMAGE":
            # what PFADD makes of damaged runs is nobody's business: they get keys of their own
            if rng.random() < 0.3:
                return ("SETRANGE", key, rng.choice((4, 8, 15)), rng.choice((b"\0", b"\2", b"\x80")))
            return rng.choice((
                ("COPY", key, "damaged", "REPLACE"), ("SETRANGE", "damaged", rng.choice((0, 4, rng.randrange(16, 19), rng.randrange(16, 200))), rng.randbytes(1)),
                ("APPEND", "damaged", "hello"), ("PFCOUNT", "damaged"), ("PFCOUNT", "damaged", key), ("PFMERGE", "none", "damaged"), ("PFMERGE", "damaged"),
                ("PFDEBUG", rng.choice(("GETREG", "TODENSE", "ENCODING")), "damaged")))
        if word == "RENAME":
            return (word, key, self.key())
        if word == "COPY":
            return (word, key, self.key(), "REPLACE")
        if word == "OBJECT":
            return (word, "ENCODING", key)
        if word == "EXPIRE":
            return (word, key, "100000")
        if word == "SET":
            return (word, key, rng.choice(("text", "HYLL", "1234567890123456789", "HYLL" + "x" * 20))) if rng.random() < 0.2 else ("STRLEN", key)
        if word == "CONFIG":
            return (word, "SET", "hll-sparse-max-bytes", rng.choice((0, 100, 3000, 3000, 3000, 20000)))
        if word == "ODD":
            return rng.choice((("PFADD",), ("PFCOUNT",), ("PFMERGE",), ("PFDEBUG", "ENCODING"), ("PFDEBUG", "ENCODING", "none"), ("PFDEBUG", "ENCODING", key, key),
                               ("SADD", "set", "1"), ("PFADD", "set", "1"), ("PFCOUNT", "set"), ("PFCOUNT", key, "set"), ("PFMERGE", key, "set"),
                               ("PFMERGE", "set", key), ("PFCOUNT", "none"), ("PFCOUNT", "none", "none"), ("PFSELFTEST", "x")))
        return (word, key)
