# SPDX-License-Identifier: BSD-3-Clause
"""Random string and bit commands with every option, odd numbers and sizes around the limits of the shapes, for run.py."""
import random

NUMBERS = (0, 1, -1, 2, 7, 8, 63, 100, -100, 1000, 65535, 70000, 9223372036854775807, -9223372036854775808, "abc", "", " 1", "1.5")
TEXTS = ("", "0", "-0", "01", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "3.0", "1e5", "abc", "nan", "inf")
FLOATS = ("1", "0.1", "-2.5", "1e10", "abc", "3.0e3", "1e-5", "inf", "nan", " 1", "1 ", "0x10", "5e300", "0.3", "-0.0")
SIZES = (1, 3, 10, 44, 45, 100, 4096, 4097, 5000, 16320, 20000, 65536, 65537, 70000, 200000)
TIMES = (100000, 0, -1, "abc", 9223372036854775807, 1000000, 9223372036854775)  # none ends while the test runs
TYPES = ("u8", "i8", "u1", "i1", "u63", "i64", "u64", "i65", "u0", "i16", "u13", "i31", "x8", "u", "i5", "i63")


class StringStream:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def key(self):
        return "k%d" % self.rng.randrange(8)

    def number(self):
        return self.rng.choice(NUMBERS + (self.rng.randrange(-50, 50), self.rng.randrange(-200000, 200000)))

    def index(self):
        rng = self.rng
        return rng.choice((0, 1, -1, 2, 5, 10, 100, -5, -10, rng.randrange(-300, 300), rng.randrange(-300000, 300000)))

    def offset(self):
        rng = self.rng
        if rng.random() < 0.1:
            return self.number()
        return rng.choice((0, 1, 7, 8, 9, 100, 1000, rng.randrange(5000), rng.randrange(300000), rng.randrange(3000000)))

    def value(self):
        rng, kind = self.rng, self.rng.randrange(10)
        if kind == 0:
            return rng.choice(TEXTS)
        if kind < 3:
            return rng.randrange(-100000, 100000)
        if kind == 3:
            return "%.4f" % rng.uniform(-100, 100)
        size = rng.choice(SIZES if kind > 7 else (3, 20, 60))
        return rng.choice((rng.randbytes(size), bytes([rng.choice((0, 255, 97))]) * size))

    def set_options(self):
        rng, words = self.rng, ()
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
            time = rng.choice(TIMES)
            words += rng.choice((("NX",), ("xx",), ("GET",), ("KEEPTTL",), ("EX", time), ("PX", time), ("EXAT", 99999999999), ("PXAT", time), ("bad",)))
        return words

    def fields(self):
        rng, words = self.rng, ()
        for _ in range(rng.randrange(5)):
            kind, offset = rng.choice(TYPES), rng.choice((0, 1, 5, 7, 8, 100, "#1", "#3", "#0", rng.randrange(1000), rng.randrange(700000), -1, "#-1", "a"))
            words += rng.choice((("GET", kind, offset), ("SET", kind, offset, self.number()), ("INCRBY", kind, offset, self.number()),
                                 ("OVERFLOW", rng.choice(("WRAP", "SAT", "FAIL", "bad"))), ("INCRBY", kind, offset, rng.randrange(-200, 200))))
        return words

    def range(self, start_alone):
        rng, kinds = self.rng, [(), (self.index(), self.index()), (self.index(), self.index(), self.rng.choice(("BIT", "byte")))]
        return rng.choice(kinds + [(self.index(),)] if start_alone else kinds)

    def next(self):
        rng, key = self.rng, self.key()
        time = rng.choice(TIMES)
        makers = (
            lambda: ("SET", key, self.value()) + self.set_options(),
            lambda: ("SET", key, self.value()),
            lambda: ("GET", key),
            lambda: ("GETDEL", key),
            lambda: ("GETEX", key) + rng.choice(((), ("PERSIST",), ("EX", time), ("PX", time), ("EXAT", time), ("PXAT", time), ("EX",), ("bad",), ("PERSIST", "EX", 10))),
            lambda: ("MGET",) + tuple(self.key() for _ in range(rng.randrange(1, 6))),
            lambda: ("MSET", key, self.value(), self.key(), self.value()),
            lambda: ("MSETNX", key, self.value(), self.key(), self.value()),
            lambda: (rng.choice(("INCR", "DECR")), key),
            lambda: (rng.choice(("INCRBY", "DECRBY")), key, self.number()),
            lambda: ("INCRBYFLOAT", key, rng.choice(FLOATS)),
            lambda: ("APPEND", key, self.value()),
            lambda: ("STRLEN", key),
            lambda: (rng.choice(("GETRANGE", "SUBSTR")), key, self.index(), self.index()),
            lambda: ("GETRANGE", key, self.number(), self.number()),
            lambda: ("SETRANGE", key, self.offset(), self.value()),
            lambda: (rng.choice(("SETEX", "PSETEX")), key, time, self.value()),
            lambda: (rng.choice(("SETNX", "GETSET")), key, self.value()),
            lambda: ("SETBIT", key, self.offset(), rng.choice((0, 1, 1, 2, -1, "a"))),
            lambda: ("SETBIT", key, self.offset(), rng.choice((0, 1))),
            lambda: ("GETBIT", key, self.offset()),
            lambda: ("BITCOUNT", key) + self.range(False),
            lambda: ("BITPOS", key, rng.choice((0, 1))) + self.range(True),
            lambda: ("BITOP", rng.choice(("AND", "OR", "XOR", "NOT")), key) + tuple(self.key() for _ in range(rng.randrange(1, 4))),
            lambda: (rng.choice(("BITFIELD", "BITFIELD", "BITFIELD_RO")), key) + self.fields(),
            lambda: ("OBJECT", "ENCODING", key),
            lambda: ("DUMPRESTORE", key),
        )
        return tuple(part if isinstance(part, (str, bytes)) else str(part) for part in rng.choice(makers)())
