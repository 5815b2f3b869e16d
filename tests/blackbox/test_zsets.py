# SPDX-License-Identifier: BSD-3-Clause
"""Sorted sets: small and paged, by member, rank, score and order of members, and their algebra, against Python's. The same holds for
redis-server 7.0 (but for ZRANK's WITHSCORE)."""
import bisect
import random
import threading
import unittest

import firn

FACTOR = 1 if firn.STRESS == "off" else 4  # fewer rounds where every access is a fault


def text(score):
    """As Redis prints one: %.17g is as short as it gets for what is used here."""
    return b"%d" % score if score == int(score) else b"%.17g" % score


class Model:
    def __init__(self):
        self.scores = {}

    def ordered(self):
        return sorted((score, member) for member, score in self.scores.items())

    def flat(self, pairs):
        return [part for score, member in pairs for part in (member, text(score))]


class Zsets(firn.Case):
    def fill(self, key, scores):
        pairs = [part for member, score in scores.items() for part in (score, member)]
        for start in range(0, len(pairs), 2000):
            self.c("ZADD", key, *pairs[start:start + 2000])

    def check(self, key, model):
        ordered = model.ordered()
        self.assertEqual(self.c("ZCARD", key), len(ordered))
        self.assertEqual(self.c("ZRANGE", key, 0, -1, "WITHSCORES"), model.flat(ordered))
        self.assertEqual(self.c("ZREVRANGE", key, 0, -1), [member for _, member in reversed(ordered)])

    def step(self, model, rng, member, ordered):
        c, kind, scores = self.c, rng.random(), model.scores
        score = rng.randrange(-100, 100) / 4
        if kind < 0.35:
            self.assertEqual(c("ZADD", "z", score, member), int(member not in scores))
            scores[member] = score
        elif kind < 0.45:
            scores[member] = scores.get(member, 0) + score
            self.assertEqual(c("ZINCRBY", "z", score, member), text(scores[member]))
        elif kind < 0.6:
            self.assertEqual(c("ZREM", "z", member), int(member in scores))
            scores.pop(member, None)
        elif kind < 0.7:
            at = ordered.index((scores[member], member)) if member in scores else None
            self.assertEqual(c("ZRANK", "z", member), at)
            self.assertEqual(c("ZREVRANK", "z", member), None if at is None else len(ordered) - 1 - at)
            self.assertEqual(c("ZSCORE", "z", member), None if at is None else text(scores[member]))
        elif kind < 0.8:
            low, high = sorted((score, rng.randrange(-100, 100) / 4))
            first, end = bisect.bisect_left(ordered, (low, b"")), bisect.bisect_left(ordered, (high, b""))
            self.assertEqual(c("ZCOUNT", "z", low, "(%s" % high), end - first)
            self.assertEqual(c("ZRANGEBYSCORE", "z", low, "(%s" % high, "WITHSCORES"), model.flat(ordered[first:end]))
            self.assertEqual(c("ZRANGE", "z", "(%s" % high, low, "BYSCORE", "REV", "LIMIT", 1, 5), [m for _, m in ordered[first:end][::-1][1:6]])
        elif kind < 0.9:
            first, last = rng.randrange(-len(ordered) - 2, len(ordered) + 2), rng.randrange(-len(ordered) - 2, len(ordered) + 2)
            size = len(ordered)
            from_, to = max(first + size if first < 0 else first, 0), last + size if last < 0 else last
            self.assertEqual(c("ZRANGE", "z", first, last), [m for _, m in ordered[from_:max(to + 1, 0)]])
        elif kind < 0.95 and ordered:
            score, popped = ordered[0] if kind < 0.92 else ordered[-1]
            self.assertEqual(c("ZPOPMIN" if kind < 0.92 else "ZPOPMAX", "z"), [popped, text(score)])
            del scores[popped]
        elif ordered:
            first = rng.randrange(len(ordered))
            gone = ordered[first:first + 3]
            self.assertEqual(c("ZREMRANGEBYRANK", "z", first, first + 2), len(gone))
            for _, member in gone:
                del scores[member]

    def test_random_operations(self):
        for seed, name, span in ((1, b"%d", 20), (2, b"member:%d", 200), (3, b"a-rather-long-member-name:%d", 1500), (4, b"m%d", 6000)):
            model, rng = Model(), random.Random(seed)
            model.scores = {name % i: rng.randrange(-100, 100) / 4 for i in range(0, span, 2)}
            self.fill("z", model.scores)
            for _ in range(1500 // FACTOR):
                self.step(model, rng, name % rng.randrange(span), model.ordered())
            self.check("z", model)
            self.c("DEL", "z")

    def test_encodings_change_one_way(self):
        c = self.c
        self.fill("z", {"m%d" % i: i for i in range(128)})
        self.assertEqual(c("OBJECT", "ENCODING", "z"), b"listpack")
        c("ZADD", "z", 1, "more")
        self.assertEqual(c("OBJECT", "ENCODING", "z"), b"skiplist")
        c("ZREMRANGEBYRANK", "z", 0, 120)
        self.assertEqual(c("OBJECT", "ENCODING", "z"), b"skiplist")
        c("ZADD", "y", 1, "x" * 64)
        self.assertEqual(c("OBJECT", "ENCODING", "y"), b"listpack")
        c("ZADD", "y", 1, "x" * 65)
        self.assertEqual(c("OBJECT", "ENCODING", "y"), b"skiplist")
        c("ZUNIONSTORE", "w", 1, "z")
        self.assertEqual(c("OBJECT", "ENCODING", "w"), b"listpack")
        c("ZRANGESTORE", "w", "z", 0, -1)
        self.assertEqual(c("OBJECT", "ENCODING", "w"), b"listpack")

    def test_options_of_zadd(self):
        c = self.c
        self.assertEqual(c("ZADD", "z", "XX", 1, "a"), 0)
        self.assertEqual(c("EXISTS", "z"), 0)
        self.assertEqual(c("ZADD", "z", 1, "a", 2, "b", 3, "a"), 2)
        self.assertEqual(c("ZADD", "z", "NX", 9, "a", 9, "c"), 1)
        self.assertEqual(c("ZADD", "z", "XX", "CH", 5, "a", 9, "d"), 1)
        self.assertEqual(c("ZADD", "z", "GT", "CH", 4, "a", 3, "b", 7, "e"), 2)
        self.assertEqual(c("ZADD", "z", "LT", "CH", 4, "a", 5, "b"), 1)
        self.assertEqual(c("ZADD", "z", "INCR", 2.5, "a"), b"6.5")
        self.assertIsNone(c("ZADD", "z", "NX", "INCR", 2.5, "a"))
        self.assertIsNone(c("ZADD", "z", "LT", "INCR", 1, "a"))
        self.assertIsNone(c("ZADD", "z", "XX", "INCR", 1, "none"))
        self.assertEqual(c("ZADD", "z", "inf", "i", "-inf", "j"), 2)
        self.assertEqual(c.error("ZINCRBY", "z", "-inf", "i"), "ERR resulting score is not a number (NaN)")
        self.assertEqual(c("ZRANGE", "z", 0, -1, "WITHSCORES"), [b"j", b"-inf", b"b", b"3", b"a", b"6.5", b"e", b"7", b"c", b"9", b"i", b"inf"])
        self.assertEqual(c("ZMSCORE", "z", "a", "none", "i"), [b"6.5", None, b"inf"])

    def test_order_of_members(self):
        c = self.c
        words = sorted({b"%s%s" % (a, b) for a in (b"alpha", b"beta", b"gamma", b"a", b"") for b in (b"", b"x", b"\xff", b"1")})
        for extra in (0, 3000 // FACTOR):
            members = sorted(words + [b"n%06d" % i for i in range(extra)])
            self.fill("l", {member: 0 for member in members})
            for low, high in ((b"alpha", b"beta"), (b"", b"b"), (b"n000500", b"n000520"), (b"x", b"a"), (b"zz", b"zzz")):
                inside = [m for m in members if low <= m <= high]
                self.assertEqual(c("ZRANGEBYLEX", "l", b"[" + low, b"[" + high), inside)
                self.assertEqual(c("ZREVRANGEBYLEX", "l", b"[" + high, b"[" + low, "LIMIT", 1, 3), inside[::-1][1:4])
                self.assertEqual(c("ZLEXCOUNT", "l", b"(" + low, b"(" + high), len([m for m in inside if m not in (low, high)]))
                self.assertEqual(c("ZRANGE", "l", b"[" + low, "+", "BYLEX", "LIMIT", 0, 4), [m for m in members if m >= low][:4])
                self.assertEqual(c("ZLEXCOUNT", "l", "-", b"(" + low), len([m for m in members if m < low]))
            self.assertEqual(c("ZLEXCOUNT", "l", "-", "+"), len(members))
            self.assertEqual((c("ZLEXCOUNT", "l", "+", "-"), c("ZLEXCOUNT", "l", "+", "+"), c("ZLEXCOUNT", "l", "-", "-")), (0, 0, 0))
            gone = len([m for m in members if b"alpha" <= m < b"beta"])
            self.assertEqual(c("ZREMRANGEBYLEX", "l", "[alpha", "(beta"), gone)
            self.assertEqual(c("ZREMRANGEBYLEX", "l", "-", "+"), len(members) - gone)
            self.assertEqual(c("EXISTS", "l"), 0)

    def test_large(self):
        c, count, rng = self.c, 20000, random.Random(5)
        model = Model()
        model.scores = {b"member:%d" % i: rng.randrange(10**6) for i in range(count)}
        self.fill("z", model.scores)
        self.check("z", model)
        ordered = model.ordered()
        for at in rng.sample(range(count), 300 // FACTOR):
            score, member = ordered[at]
            self.assertEqual((c("ZRANK", "z", member), c("ZSCORE", "z", member)), (at, text(score)))
            self.assertEqual(c("ZRANGE", "z", at, at + 9), [m for _, m in ordered[at:at + 10]])
        seen, cursor = {}, b"0"
        while True:
            cursor, part = c("ZSCAN", "z", cursor, "COUNT", 500)
            seen.update(zip(part[::2], part[1::2]))
            if cursor == b"0":
                break
        self.assertEqual(seen, {member: text(score) for member, score in model.scores.items()})
        self.assertEqual(c("ZREMRANGEBYSCORE", "z", 300000, 700000), len([1 for s, _ in ordered if 300000 <= s <= 700000]))
        model.scores = {member: score for member, score in model.scores.items() if not 300000 <= score <= 700000}
        self.check("z", model)
        popped = c("ZPOPMAX", "z", 1000)
        ordered = model.ordered()
        self.assertEqual(popped, model.flat(ordered[:-1001:-1]))
        self.assertEqual(c("ZRANGESTORE", "part", "z", 100, 5099), 5000)
        self.assertEqual(c("ZRANGE", "part", 0, -1, "WITHSCORES"), model.flat(ordered[100:5100]))
        self.assertEqual(c("ZPOPMIN", "z", 100000), model.flat(ordered[:-1000]))
        self.assertEqual(c("EXISTS", "z"), 0)

    def test_algebra(self):
        rng = random.Random(7)
        spans = (30, 300, 2000)
        for _round in range(8 // FACTOR):
            sets = {"none": {}}
            for number in range(5):
                name, span = "a%d" % number, rng.choice(spans)
                sets[name] = {b"m%d" % i: rng.choice((1, -1)) * rng.randrange(1, 50) for i in rng.sample(range(span), rng.randrange(1, span))}
                self.c("DEL", name)
                self.fill(name, sets[name])
            sets["set"] = {b"m%d" % i: 1 for i in rng.sample(range(500), 200)}
            self.c("DEL", "set")
            self.c("SADD", "set", *sets["set"])
            for _ in range(10):
                keys = [rng.choice(list(sets)) for _ in range(rng.randrange(1, 4))]
                weights, how = [rng.choice((1, 2, -3)) for _ in keys], rng.choice(("SUM", "MIN", "MAX"))
                aggregate = {"SUM": sum, "MIN": min, "MAX": max}[how]
                every = set().union(*(sets[key] for key in keys))
                union, both, first = Model(), Model(), Model()
                for member in every:
                    parts = [sets[key][member] * weight for key, weight in zip(keys, weights) if member in sets[key]]
                    union.scores[member] = aggregate(parts)
                    if len(parts) == len(keys):
                        both.scores[member] = aggregate(parts)
                    if member in sets[keys[0]] and not any(member in sets[key] for key in keys[1:]):
                        first.scores[member] = sets[keys[0]][member]
                options = ("WEIGHTS", *weights, "AGGREGATE", how)
                for word, model, extra in (("ZUNION", union, options), ("ZINTER", both, options), ("ZDIFF", first, ())):
                    self.assertEqual(self.c(word, len(keys), *keys, *extra, "WITHSCORES"), model.flat(model.ordered()), (word, keys, options))
                    self.assertEqual(self.c(word + "STORE", "target", len(keys), *keys, *extra), len(model.scores))
                    self.check("target", model)
                self.assertEqual(self.c("ZINTERCARD", len(keys), *keys), len(both.scores))
                self.assertEqual(self.c("ZINTERCARD", len(keys), *keys, "LIMIT", 7), min(7, len(both.scores)))

    def test_dump_and_restore(self):
        for name, count in ((b"%d", 3), (b"m%d", 100), (b"m%d", 300), (b"m%d", 5000)):
            model = Model()
            model.scores = {name % i: (i * 7919 % 1000) / 8 for i in range(count)}
            self.c("DEL", "z")
            self.fill("z", model.scores)
            self.c("RESTORE", "copy", 0, self.c("DUMP", "z"), "REPLACE")
            self.check("copy", model)
            self.assertEqual(self.c("OBJECT", "ENCODING", "copy"), self.c("OBJECT", "ENCODING", "z"))
            self.assertEqual(self.c("COPY", "z", "copy", "REPLACE"), 1)
            self.c("ZADD", "copy", 5, "another")
            self.check("z", model)
            model.scores[b"another"] = 5
            self.check("copy", model)

    def test_random_members(self):
        c = self.c
        for count in (50, 3000):
            self.fill("z", {"m%d" % i: i for i in range(count)})
            for wanted in (1, 10, count // 2, count - 1, count, count * 2):
                drawn = c("ZRANDMEMBER", "z", wanted)
                self.assertEqual((len(drawn), len(set(drawn))), (min(wanted, count),) * 2)
            drawn = c("ZRANDMEMBER", "z", -200, "WITHSCORES")
            self.assertTrue(len(drawn) == 400 and all(member == b"m" + score for member, score in zip(drawn[::2], drawn[1::2])))
            self.assertEqual(c("ZRANDMEMBER", "z", 0), [])
        self.assertIsNone(c("ZRANDMEMBER", "none"))

    def waiter(self, *command):
        got, client = [], self.server.client()
        thread = threading.Thread(target=lambda: got.append(client(*command)))
        thread.start()
        firn.wait_until(lambda: b"flags=b" in self.c("CLIENT", "LIST"), "it does not wait")
        return got, client, thread

    def finish(self, waiter):
        waiter[2].join(20)
        waiter[1].close()
        return waiter[0][0]

    def test_waiting(self):
        c = self.c
        waiter = self.waiter("BZPOPMIN", "p", "q", 0)
        c("ZADD", "q", 2, "b", 1, "a")
        self.assertEqual(self.finish(waiter), [b"q", b"a", b"1"])
        self.assertEqual(c("BZPOPMAX", "p", "q", 0), [b"q", b"b", b"2"])
        waiter = self.waiter("BZMPOP", 0, 2, "p", "q", "MAX", "COUNT", 2)
        c("SADD", "s", "x", "y")
        c("ZUNIONSTORE", "p", 1, "s", "WEIGHTS", 3)
        self.assertEqual(self.finish(waiter), [b"p", [[b"y", b"3"], [b"x", b"3"]]])
        self.assertIsNone(c("BZPOPMIN", "p", 0.05))
        self.assertIsNone(c("BZMPOP", 0.05, 1, "p", "MIN"))
        self.assertEqual(c("EXISTS", "p", "q"), 0)
        c("MULTI")
        c("BZPOPMIN", "p", 0)
        self.assertEqual(c("EXEC"), [None])

    def test_resp3(self):
        c = self.c
        c("ZADD", "z", 1.5, "a", 2, "b")
        c("HELLO", 3)
        self.assertEqual(c("ZRANGE", "z", 0, -1, "WITHSCORES"), [[b"a", 1.5], [b"b", 2.0]])
        self.assertEqual(c("ZRANK", "z", "b", "WITHSCORE"), [1, 2.0])
        self.assertEqual(c("ZSCORE", "z", "a"), 1.5)
        self.assertEqual(c("ZMSCORE", "z", "a", "x"), [1.5, None])
        self.assertEqual(c("ZADD", "z", "INCR", 1, "a"), 2.5)
        self.assertEqual(c("ZRANDMEMBER", "z", 5, "WITHSCORES"), [[b"b", 2.0], [b"a", 2.5]])
        self.assertEqual(c("ZUNION", 1, "z", "WITHSCORES"), [[b"b", 2.0], [b"a", 2.5]])
        self.assertEqual(c("ZPOPMIN", "z"), [b"b", 2.0])
        self.assertEqual(c("ZPOPMAX", "z", 1), [[b"a", 2.5]])
        c("ZADD", "z", 1, "a")
        self.assertEqual(c("ZMPOP", 1, "z", "MIN"), [b"z", [[b"a", 1.0]]])
        self.assertIsNone(c("ZMPOP", 1, "z", "MIN"))

    def test_errors(self):
        c = self.c
        c("ZADD", "z", 1, "a")
        for command, error in (
                (("ZADD", "z", "x", "a"), "value is not a valid float"), (("ZADD", "z", 1, "a", 2), "syntax error"),
                (("ZADD", "z", "NX", "XX", 1, "a"), "XX and NX options at the same time are not compatible"),
                (("ZADD", "z", "GT", "LT", 1, "a"), "GT, LT, and/or NX options at the same time are not compatible"),
                (("ZADD", "z", "INCR", 1, "a", 2, "b"), "INCR option supports a single increment-element pair"),
                (("ZRANGE", "z", 0, -1, "LIMIT", 0, 1), "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"),
                (("ZRANGE", "z", "-", "+", "BYLEX", "WITHSCORES"), "syntax error, WITHSCORES not supported in combination with BYLEX"),
                (("ZRANGE", "z", "x", "1", "BYSCORE"), "min or max is not a float"), (("ZCOUNT", "z", "nan", 1), "min or max is not a float"),
                (("ZLEXCOUNT", "z", "a", "[b"), "min or max not valid string range item"), (("ZRANGE", "z", 0, "x"), "value is not an integer or out of range"),
                (("ZPOPMIN", "z", -1), "value is out of range, must be positive"), (("ZMPOP", 0, "z", "MIN"), "numkeys should be greater than 0"),
                (("ZMPOP", 1, "z", "MIN", "COUNT", 0), "count should be greater than 0"), (("ZMPOP", 1, "z", "MID"), "syntax error"),
                (("ZRANGE", "z", 0, 1, "REV", "REV"), "syntax error"), (("ZRANGE", "z", 0, 1, "BYSCORE", "BYLEX"), "syntax error"),
                (("LMPOP", 1, "l", "LEFT", "COUNT", 0, "x"), "count should be greater than 0"), (("LMPOP", 1, "l", "LEFT", "COUNT", 1, "COUNT", 1), "syntax error"),
                (("ZRANDMEMBER", "z", "x", "y"), "value is not an integer or out of range"), (("ZRANDMEMBER", "z", 1, "y"), "syntax error"),
                (("BZMPOP", -1, 1, "z", "MID"), "syntax error"), (("BZMPOP", -1, 1, "z", "MIN"), "timeout is negative"),
                (("ZUNION", 0, "z"), "at least 1 input key is needed for 'zunion' command"), (("ZUNION", 3, "z"), "syntax error"),
                (("ZUNION", 1, "z", "WEIGHTS", "x"), "weight value is not a float"), (("ZINTERCARD", 1, "z", "LIMIT", -1), "LIMIT can't be negative"),
                (("BZPOPMIN", "z", "x"), "timeout is not a float or out of range"), (("BZPOPMIN", "z", -1), "timeout is negative")):
            self.assertEqual(c.error(*command), "ERR " + error, command)
        c("SET", "text", "x")
        for command in (("ZADD", "text", 1, "a"), ("ZREM", "text", "a"), ("ZCARD", "text"), ("ZSCORE", "text", "a"), ("ZRANK", "text", "a"),
                        ("ZRANGE", "text", 0, 1), ("ZCOUNT", "text", 0, 1), ("ZPOPMIN", "text"), ("BZPOPMIN", "text", 1), ("ZUNION", 2, "z", "text"),
                        ("ZRANGESTORE", "t", "text", 0, 1), ("ZSCAN", "text", 0), ("ZRANDMEMBER", "text"), ("ZREMRANGEBYRANK", "text", 0, 1)):
            self.assertEqual(c.error(*command), "WRONGTYPE Operation against a key holding the wrong kind of value", command)


if __name__ == "__main__":
    unittest.main()
