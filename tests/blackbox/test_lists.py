# SPDX-License-Identifier: BSD-3-Clause
"""Lists: small and paged, every command against Python's list; encodings of 7.4; waiting commands, their order and chains."""
import random
import time
import unittest

import firn

FACTOR = 1 if firn.STRESS == "off" else 4  # fewer rounds where every access is a fault


class Base(firn.Case):
    def elements(self, key):
        return self.c("LRANGE", key, 0, -1)

    def fill(self, key, elements, word="RPUSH"):
        elements = list(elements)
        for start in range(0, len(elements), 1000):
            self.c(word, key, *elements[start:start + 1000])


class Lists(Base):
    def check_round(self, rng, model, element):
        kind, size = rng.randrange(12), len(model)
        if kind < 3:
            many = [element() for _ in range(rng.choice((1, 1, 5, 200)))]
            if rng.random() < 0.5:
                self.assertEqual(self.c("LPUSH", "l", *many), size + len(many))
                model[:0] = many[::-1]
            else:
                self.assertEqual(self.c("RPUSH", "l", *many), size + len(many))
                model += many
        elif kind == 3:
            count = rng.choice((1, 3, 100))
            got, expected = self.c("LPOP", "l", count), model[:count]
            self.assertEqual(got, expected if size else None)
            del model[:count]
        elif kind == 4:
            count = rng.choice((1, 3, 100))
            self.assertEqual(self.c("RPOP", "l", count), model[::-1][:count] if size else None)
            del model[max(0, size - count):]
        elif kind == 5 and size:
            index, new = rng.randrange(-size, size), element()
            self.assertEqual(self.c("LINDEX", "l", index), model[index])
            self.assertEqual(self.c("LSET", "l", index, new), "OK")
            model[index] = new
        elif kind == 6 and size:
            pivot, new = rng.choice(model), element()
            at, after = model.index(pivot), rng.random() < 0.5
            self.assertEqual(self.c("LINSERT", "l", "AFTER" if after else "BEFORE", pivot, new), size + 1)
            model.insert(at + after, new)
        elif kind == 7:
            start, stop = rng.randrange(size + 1), rng.randrange(size + 10)
            self.assertEqual(self.c("LRANGE", "l", start, stop), model[start:stop + 1])
        elif kind == 8 and size:
            gone, count = rng.choice(model), rng.choice((0, 1, -1, 2, -2))
            places = [i for i, one in enumerate(model) if one == gone]
            places = places if count == 0 else places[:count] if count > 0 else places[count:]
            self.assertEqual(self.c("LREM", "l", count, gone), len(places))
            model[:] = [one for i, one in enumerate(model) if i not in set(places)]
        elif kind == 9 and size:
            wanted = rng.choice(model)
            self.assertEqual(self.c("LPOS", "l", wanted, "COUNT", 0), [i for i, one in enumerate(model) if one == wanted])
            self.assertEqual(self.c("LPOS", "l", wanted, "RANK", -1), size - 1 - model[::-1].index(wanted))
        elif kind == 10 and size > 20:
            start, stop = rng.randrange(10), -1 - rng.randrange(10)
            self.assertEqual(self.c("LTRIM", "l", start, stop), "OK")
            model[:] = model[start:size + stop + 1]
        elif kind == 11 and size:
            ends = rng.choice(("LEFT", "RIGHT")), rng.choice(("LEFT", "RIGHT"))
            moved = model.pop(0 if ends[0] == "LEFT" else -1)
            self.assertEqual(self.c("LMOVE", "l", "l", *ends), moved)
            model.insert(0 if ends[1] == "LEFT" else size, moved)

    def test_random_operations_against_a_list(self):
        for seed, span, length in ((1, 5, 3), (2, 100, 10), (3, 5000, 60), (4, 30, 3000)):
            model, rng = [], random.Random(seed)

            def element():
                value = rng.randrange(span)
                return b"%d" % (value * 1000) if value % 3 else b"%d:" % value + b"e" * rng.randrange(length)

            for _ in range(1200 // FACTOR):
                self.check_round(rng, model, element)
            self.assertEqual(self.elements("l"), model)
            self.assertEqual(self.c("LLEN", "l"), len(model))
            self.c("DEL", "l")

    def test_encodings_follow_the_limit(self):
        c = self.c

        def encoding(expected, key="l"):
            self.assertEqual(c("OBJECT", "ENCODING", key), expected)

        for limit, count in ((3, 3), (0, 1), (1, 1), (128, 128)):
            c("CONFIG", "SET", "list-max-listpack-size", limit)
            c("DEL", "l")
            self.fill("l", range(count))
            encoding(b"listpack")
            c("LPUSH", "l", "x")
            encoding(b"quicklist")
            if count == 1:
                continue  # half of it is none
            c("LTRIM", "l", 0, count // 2)
            encoding(b"quicklist")
            c("RPOP", "l")
            encoding(b"listpack")
        for limit, most in ((-1, 4096), (-2, 8192), (-5, 65536), (-6, 65536)):
            c("CONFIG", "SET", "list-max-listpack-size", limit)
            c("DEL", "l")
            c("RPUSH", "l", "x" * (most - 7 - 9 - 16), "tail")  # 7 are a listpack's own, up to 9 around an element
            encoding(b"listpack")
            c("RPUSH", "l", "y" * 16)
            encoding(b"quicklist")
            c("LPOP", "l")
            encoding(b"listpack")
        c("CONFIG", "SET", "list-max-listpack-size", -1)
        for change in (("LSET", "l", 1, "z" * 5000), ("LINSERT", "l", "AFTER", "b", "z" * 5000), ("LINSERT", "l", "AFTER", "none", "z" * 5000), ("LPUSHX", "l", "z" * 5000)):
            c("DEL", "l")
            c("RPUSH", "l", "a", "b", "c")
            encoding(b"listpack")
            c(*change)
            encoding(b"quicklist")
        c("LSET", "l", 0, "a")
        encoding(b"listpack")
        c("RPUSH", "from", "z" * 5000)
        encoding(b"quicklist", "from")
        c("LMOVE", "from", "l", "LEFT", "LEFT")
        encoding(b"quicklist")
        c("CONFIG", "SET", "list-max-listpack-size", -2)

    def test_large_list(self):
        count = 50000
        self.fill("big", ("element:%d" % i for i in range(count)))
        rng = random.Random(1)
        for i in rng.sample(range(count), 400 // FACTOR):
            self.assertEqual(self.c("LINDEX", "big", i), b"element:%d" % i)
            self.assertEqual(self.c("LINDEX", "big", i - count), b"element:%d" % i)
        for i in rng.sample(range(count - 200), 40 // FACTOR):
            self.assertEqual(self.c("LRANGE", "big", i, i + 150), [b"element:%d" % j for j in range(i, i + 151)])
        for i in rng.sample(range(count), 40 // FACTOR):
            self.assertEqual(self.c("LPOS", "big", "element:%d" % i), i)
        self.assertIsNone(self.c("LPOS", "big", "element:40000", "MAXLEN", 1000))
        self.assertEqual(self.c("LPOS", "big", "element:40000", "MAXLEN", 20000, "RANK", -1), 40000)
        self.assertEqual(self.c("LINSERT", "big", "BEFORE", "element:25000", "new"), count + 1)
        self.assertEqual(self.c("LRANGE", "big", 24999, 25001), [b"element:24999", b"new", b"element:25000"])
        self.assertEqual(self.c("LREM", "big", -1, "new"), 1)
        self.c("LTRIM", "big", 100, -101)
        self.assertEqual(self.elements("big"), [b"element:%d" % i for i in range(100, count - 100)])
        self.c("LTRIM", "big", 20000, 20009)
        self.assertEqual(self.elements("big"), [b"element:%d" % i for i in range(20100, 20110)])
        self.fill("big", range(30000), "LPUSH")
        self.assertEqual(self.c("LPOP", "big", 30000), [b"%d" % i for i in range(29999, -1, -1)])
        self.assertEqual(self.c("RPOP", "big", 100), [b"element:%d" % i for i in range(20109, 20099, -1)])
        self.assertEqual(self.c("EXISTS", "big"), 0)

    def test_giant_elements(self):
        c, giant = self.c, b"g" * 300000
        c("RPUSH", "l", "a", giant, "b")
        c("LSET", "l", 0, giant)
        c("LINSERT", "l", "AFTER", "b", giant)
        c("LINSERT", "l", "BEFORE", "b", "c")
        self.assertEqual(self.elements("l"), [giant, giant, b"c", b"b", giant])
        self.assertEqual(c("LREM", "l", 2, giant), 2)
        self.assertEqual(c("LMOVE", "l", "l", "RIGHT", "LEFT"), giant)
        self.assertEqual(self.elements("l"), [giant, b"c", b"b"])

    def test_moves(self):
        c = self.c
        for wherefrom in ("LEFT", "RIGHT"):
            for whereto in ("LEFT", "RIGHT"):
                c("DEL", "a", "b")
                c("RPUSH", "a", 1, 2, 3)
                c("RPUSH", "b", 4, 5)
                moved = c("LMOVE", "a", "b", wherefrom, whereto)
                self.assertEqual(moved, b"1" if wherefrom == "LEFT" else b"3")
                self.assertEqual(self.elements("b"), [moved, b"4", b"5"] if whereto == "LEFT" else [b"4", b"5", moved])
        c("DEL", "a", "b")
        c("RPUSH", "a", "only")
        self.assertEqual(c("RPOPLPUSH", "a", "b"), b"only")
        self.assertEqual(c("EXISTS", "a", "b"), 1)
        self.assertEqual(c("LMOVE", "b", "b", "LEFT", "RIGHT"), b"only")
        self.assertIsNone(c("LMOVE", "none", "b", "LEFT", "RIGHT"))
        c("SET", "text", "x")
        self.assertTrue(c.error("LMOVE", "b", "text", "LEFT", "LEFT").startswith("WRONGTYPE"))
        self.assertIsNone(c("RPOPLPUSH", "none", "text"))
        self.assertEqual(self.elements("b"), [b"only"])

    def test_mpop(self):
        c = self.c
        c("RPUSH", "b", 1, 2, 3, 4)
        self.assertEqual(c("LMPOP", 2, "a", "b", "LEFT"), [b"b", [b"1"]])
        self.assertEqual(c("LMPOP", 2, "a", "b", "RIGHT", "COUNT", 2), [b"b", [b"4", b"3"]])
        self.assertEqual(c("BLMPOP", 0, 2, "a", "b", "RIGHT", "COUNT", 100), [b"b", [b"2"]])
        self.assertEqual(c("EXISTS", "b"), 0)
        self.assertIsNone(c("LMPOP", 2, "a", "b", "LEFT"))

    def test_errors(self):
        c = self.c
        c("RPUSH", "l", 1)
        c("SET", "text", "x")
        for command in (("LPUSH", "text", 1), ("RPUSHX", "text", 1), ("LPOP", "text"), ("RPOP", "text", 1), ("LLEN", "text"), ("LINDEX", "text", 0), ("LSET", "text", 0, 1),
                        ("LINSERT", "text", "BEFORE", 1, 2), ("LRANGE", "text", 0, 1), ("LREM", "text", 0, 1), ("LTRIM", "text", 0, 1), ("LPOS", "text", 1),
                        ("RPOPLPUSH", "text", "l"), ("BLPOP", "text", "l", 0), ("BLMOVE", "text", "l", "LEFT", "LEFT", 0), ("LMPOP", 1, "text", "LEFT")):
            self.assertEqual(c.error(*command), "WRONGTYPE Operation against a key holding the wrong kind of value", command)
        self.assertEqual(c.error("LSET", "none", 0, 1), "ERR no such key")
        self.assertEqual(c.error("LSET", "l", 1, 1), "ERR index out of range")
        self.assertEqual(c.error("LINDEX", "l", "x"), "ERR value is not an integer or out of range")
        self.assertEqual(c.error("LINSERT", "l", "NEAR", 1, 2), "ERR syntax error")
        self.assertEqual(c.error("LPOP", "l", 1, 2), "ERR wrong number of arguments for 'lpop' command")
        self.assertEqual(c.error("LPOP", "l", -1), "ERR value is out of range, must be positive")
        self.assertEqual(c.error("LPOS", "l", 1, "COUNT", -1), "ERR COUNT can't be negative")
        self.assertEqual(c.error("LPOS", "l", 1, "MAXLEN", -1), "ERR MAXLEN can't be negative")
        self.assertTrue(c.error("LPOS", "l", 1, "RANK", 0).startswith("ERR RANK can't be zero: use 1 to start from the first match"))
        self.assertEqual(c.error("LPOS", "l", 1, "RANK", "-9223372036854775808"),
                         "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
        self.assertEqual(c.error("LMPOP", 0, "l", "LEFT"), "ERR numkeys should be greater than 0")
        self.assertEqual(c.error("LMPOP", 1, "l", "LEFT", "COUNT", 0), "ERR count should be greater than 0")
        self.assertEqual(c.error("BLPOP", "l", -1), "ERR timeout is negative")
        self.assertEqual(c.error("BLPOP", "l", "x"), "ERR timeout is not a float or out of range")

    def test_changes_are_counted_by_element(self):
        def changes():
            return int(self.c("INFO", "persistence").split(b"rdb_changes_since_last_save:")[1].split(b"\r")[0])

        for command, expected in (("RPUSH l a b c d e f g h", 8), ("LPUSH l x", 1), ("LPOP l 2", 2), ("LREM l 0 g", 1), ("LREM l 0 none", 0), ("LTRIM l 1 3", 3),
                                  ("LTRIM l 0 -1", 0), ("LMOVE l m LEFT LEFT", 1), ("LSET l 0 z", 1), ("LINSERT l BEFORE z y", 1), ("LMPOP 1 l LEFT COUNT 9", 3)):
            before = changes()
            self.c(*command.split())
            self.assertEqual(changes() - before, expected, command)

    def test_dump_restore_and_copy(self):
        for number, elements in enumerate(([b"a", b"1"], [b"%d" % (i * 7 ** (i % 20)) for i in range(3000)], [b"e" * (i % 200) for i in range(2000)], [b"x" * 20000, b"y", b"z" * 9000])):
            key = "k%d" % number
            self.fill(key, elements)
            self.c("RESTORE", "copy", 0, self.c("DUMP", key), "REPLACE")
            self.assertEqual(self.elements("copy"), elements)
            self.assertEqual(self.c("OBJECT", "ENCODING", "copy"), self.c("OBJECT", "ENCODING", key))
            self.assertEqual(self.c("COPY", key, "copy", "REPLACE"), 1)
            self.c("LPUSH", "copy", "another")
            self.c("LSET", "copy", 1, "changed")
            self.assertEqual(self.elements("copy"), [b"another", b"changed"] + elements[1:])
            self.assertEqual(self.elements(key), elements)
            self.assertGreater(self.c("MEMORY", "USAGE", key), 20)


class Waiting(Base):
    def blocked(self, count):
        self.server.wait_for_blocked(count)

    def waiting(self, *command):
        """A client that waits in ${command}."""
        before = int(self.c("INFO", "clients").split(b"blocked_clients:")[1].split(b"\r")[0])
        client = self.client()
        client.send(*command)
        self.blocked(before + 1)
        return client

    def test_first_come_first_served(self):
        waiting = [self.waiting("BLPOP", "l", 0) for _ in range(4)]
        self.c("RPUSH", "l", "a", "b", "c")
        for client, element in zip(waiting, (b"a", b"b", b"c")):
            self.assertEqual(client.receive(), [b"l", element])
        self.assertEqual(self.c("EXISTS", "l"), 0)
        self.c("LPUSH", "l", "d", "e")
        self.assertEqual(waiting[3].receive(), [b"l", b"e"])
        self.assertEqual(self.elements("l"), [b"d"])

    def test_keys_in_the_order_given(self):
        client = self.waiting("BRPOP", "a", "b", 0)
        self.c("MULTI")
        self.c("RPUSH", "b", 1)
        self.c("RPUSH", "a", 2, 3)
        self.c("EXEC")
        self.assertEqual(client.receive(), [b"a", b"3"])
        self.assertEqual(self.elements("b"), [b"1"])

    def test_chain_of_moves(self):
        first = self.waiting("BLMOVE", "a", "b", "LEFT", "RIGHT", 0)
        second = self.waiting("BRPOPLPUSH", "b", "c", 0)
        third = self.waiting("BLMPOP", 0, 2, "none", "c", "LEFT", "COUNT", 5)
        self.c("RPUSH", "a", "x")
        self.assertEqual((first.receive(), second.receive(), third.receive()), (b"x", b"x", [b"c", [b"x"]]))
        self.assertEqual(self.c("EXISTS", "a", "b", "c"), 0)

    def test_circular_move(self):
        one, two = self.waiting("BLMOVE", "a", "b", "LEFT", "LEFT", 0), self.waiting("BLMOVE", "b", "a", "LEFT", "LEFT", 0)
        self.c("RPUSH", "a", "x")
        self.assertEqual((one.receive(), two.receive()), (b"x", b"x"))
        self.assertEqual(self.elements("a"), [b"x"])

    def test_move_to_wrong_type(self):
        client = self.waiting("BLMOVE", "a", "text", "LEFT", "LEFT", 0)
        self.c("SET", "text", "x")
        self.c("RPUSH", "a", 1)
        with self.assertRaisesRegex(firn.ReplyError, "WRONGTYPE"):
            client.receive()
        self.assertEqual(self.elements("a"), [b"1"])

    def test_other_types_do_not_wake(self):
        client = self.waiting("BLPOP", "l", 0)
        self.c("SET", "l", "text")
        self.c("DEL", "l")
        self.c("SADD", "l", "member")
        self.blocked(1)
        self.c("RPUSH", "other", "a")
        self.c("RENAME", "other", "l")
        self.assertEqual(client.receive(), [b"l", b"a"])

    def test_timeouts(self):
        for command in (("BLPOP", "l", 0.05), ("BRPOP", "l", 0.05), ("BLMOVE", "l", "m", "LEFT", "LEFT", 0.05), ("BRPOPLPUSH", "l", "m", 0.05), ("BLMPOP", 0.05, 1, "l", "LEFT")):
            begin = time.monotonic()
            self.c.send(*command)
            self.assertEqual(self.c._line(), b"*-1")
            self.assertGreaterEqual(time.monotonic() - begin, 0.045)

    def test_unblock(self):
        for how, reply in (("TIMEOUT", None), ("ERROR", firn.ReplyError)):
            client = self.client()
            identity = client("CLIENT", "ID")
            client.send("BLPOP", "l", 0)
            self.blocked(1)
            self.assertEqual(self.c("CLIENT", "UNBLOCK", identity, how), 1)
            if reply is None:
                self.assertIsNone(client.receive())
            else:
                with self.assertRaisesRegex(firn.ReplyError, "UNBLOCKED"):
                    client.receive()

    def test_in_a_transaction_nobody_waits(self):
        c = self.c
        c("MULTI")
        c("BLPOP", "l", 0)
        c("BLMOVE", "l", "m", "LEFT", "LEFT", 0)
        c("BLMPOP", 0, 1, "l", "LEFT")
        self.assertEqual(c("EXEC"), [None, None, None])

    def test_many_waiters_and_elements(self):
        rounds = 30 // FACTOR
        waiting = [self.waiting("BLPOP", "l", 0) for _ in range(rounds)]
        self.fill("l", range(10000), "RPUSH")
        got = [client.receive()[1] for client in waiting]
        self.assertEqual(got, [b"%d" % i for i in range(rounds)])
        self.assertEqual(self.c("LLEN", "l"), 10000 - rounds)


class Events(Base):
    """What keyspace notifications say, in Redis's order (as seen of redis-server 7.0)."""

    def test_order_of_events(self):
        subscriber = self.client()
        self.c("CONFIG", "SET", "notify-keyspace-events", "KEAn")
        subscriber("PSUBSCRIBE", "__keyevent*")
        for command, expected in (
                ("RPUSH l 1 2 3", "new:l rpush:l"), ("LPUSH l 0", "lpush:l"), ("LPUSHX l 9", "lpush:l"), ("RPUSHX n 1", ""), ("LINSERT l BEFORE 1 x", "linsert:l"),
                ("LINSERT l BEFORE none x", ""), ("LSET l 0 z", "lset:l"), ("LREM l 0 z", "lrem:l"), ("LREM l 0 none", ""), ("LTRIM l 0 2", "ltrim:l"),
                ("LTRIM l 0 -1", "ltrim:l"), ("LMOVE l m LEFT RIGHT", "new:m rpush:m lpop:l"), ("RPOPLPUSH l l", "lpush:l rpop:l"),
                ("LMOVE l m LEFT LEFT", "lpush:m lpop:l"), ("LMOVE l m RIGHT RIGHT", "rpush:m rpop:l del:l"), ("LPOP m", "lpop:m"), ("RPOP m 0", ""),
                ("RPOP m 5", "rpop:m del:m"), ("RPUSH a 1 2 3", "new:a rpush:a"), ("LMPOP 2 z a LEFT COUNT 2", "lpop:a"), ("BLPOP a 0", "lpop:a del:a"),
                ("RPUSH a 1", "new:a rpush:a"), ("BLMOVE a b LEFT LEFT 0", "new:b lpush:b lpop:a del:a"), ("BRPOPLPUSH b b 0", "lpush:b rpop:b"),
                ("BLMPOP 0 1 b LEFT", "lpop:b del:b"), ("RPUSH t 1 2", "new:t rpush:t"), ("LTRIM t 5 9", "ltrim:t del:t"), ("RPUSH t 1", "new:t rpush:t"),
                ("LREM t 0 1", "lrem:t del:t"), ("LMOVE none x LEFT LEFT", ""), ("LPOP none", "")):
            self.c(*command.split())
            self.c("SET", "mark", 1)
            events = []
            while True:
                message = subscriber.receive()
                event, key = message[2].split(b":")[1].decode(), message[3].decode()
                if (event, key) == ("set", "mark"):
                    break
                if key != "mark":
                    events.append(event + ":" + key)
            self.assertEqual(" ".join(events), expected, command)


class Cold(firn.Case):
    """A list that is all on NVMe: an element is one page away, and stays there."""

    OPTIONS = None
    CHOOSES_TIERS = True

    def test_one_element_is_one_page_read(self):
        with firn.Server("--maxmemory", "200mb", "--tier-nvme-path", "nvme", "--tier-nvme-size", "2gb", stress="off") as server:
            c, count = server.client(), 200000

            def number(section, field):
                return int(c("INFO", section).split(field + b":")[1].split(b"\r")[0])

            def reads(*command):
                before = number("tiering", b"tier_nvme_reads"), number("tiering", b"tier_nvme_read_bytes")
                reply = c(*command)
                self.assertLessEqual(number("tiering", b"tier_nvme_read_bytes") - before[1], 65536)
                return number("tiering", b"tier_nvme_reads") - before[0], reply

            for start in range(0, count, 5000):
                c("RPUSH", "big", *["element:%08d" % i for i in range(start, start + 5000)])
            self.assertEqual(c("TIER", "DEMOTE", "big", "NVME"), "OK")
            for i in (0, count // 2, count - 1, count // 3):
                self.assertEqual(reads("LINDEX", "big", i), (1, b"element:%08d" % i))
            where = c("TIER", "WHERE", "big")
            self.assertEqual(where[where.index(b"pages_dram") + 1], 0)  # nothing stayed
            self.assertLessEqual(reads("LRANGE", "big", 70000, 70099)[0], 2)
            self.assertLessEqual(reads("LSET", "big", 40000, "new")[0], 1)
            self.assertEqual(reads("LINDEX", "big", 40000), (0, b"new"))
            for word in ("LPUSH", "RPUSH", "LPOP", "RPOP", "LPUSH", "RPUSH"):
                self.assertLessEqual(reads(*((word, "big", "x") if "PUSH" in word else (word, "big")))[0], 1)
            self.assertEqual(reads("LPUSH", "big", "x")[0], 0)
            self.assertEqual(reads("RPOP", "big"), (0, b"x"))
            c.close()


if __name__ == "__main__":
    unittest.main()
