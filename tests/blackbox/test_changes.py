# SPDX-License-Identifier: BSD-3-Clause
"""rdb_changes_since_last_save: what each write adds to it, as redis-server 7.0.15 counts (the lines marked 7.4: as that one does)."""
import firn

# Groups of commands on an empty server, each behind the number it adds.
GROUPS = """
1 SET s a
1 SET s a EX 100
1 SET s a GET
0 SETNX s b
1 SETNX n b
1 GETSET s c
0 GETEX s
1 GETEX s EX 100
1 GETEX s PERSIST
1 GETDEL n
0 GETDEL n
3 MSET a 1 b 2 c 3
0 MSETNX a 1 z 2
2 MSETNX y 1 z 2

1 APPEND s x
1 APPEND s ""
1 SETRANGE s 2 abc
0 SETRANGE s 2 ""
0 SETRANGE nokey 0 ""
1 INCR i
1 INCRBY i 5
1 INCRBYFLOAT i 1.5
1 DECR i2
1 SETBIT bits 7 1
0 SETBIT bits 7 1
1 BITOP AND dest bits a
1 BITOP AND dest none
1 BITFIELD bits SET u8 0 1 INCRBY u8 8 1  # 7.4
0 BITFIELD bits GET u8 0
1 PSETEX p 10000 x
1 SETEX p 100 x

3 LPUSH l a b c
2 RPUSH l d e
2 LPUSHX l f g
0 LPUSHX none f
1 LINSERT l BEFORE a zz
0 LINSERT l BEFORE nope zz
1 LSET l 0 q
1 LREM l 0 q
0 LREM l 0 nope
4 LTRIM l 1 3
0 LTRIM l 0 -1
1 LPOP l
2 LPOP l 2
7 RPUSH l a b c d e a a
3 RPOP l 3
1 LREM l 2 a
1 LMOVE l m LEFT RIGHT
1 RPOPLPUSH l m
1 LMPOP 1 l LEFT COUNT 2
1 BLPOP m 1
3 RPUSH m 1 2 3
1 BLMOVE m l LEFT LEFT 1
2 BLMPOP 1 1 m LEFT COUNT 2
1 LTRIM l 5 1
0 RPOPLPUSH none m
0 LPOP none
1 RPUSH l x
1 RPOPLPUSH l l

3 SADD t a b c
0 SADD t a b
1 SADD t c d
1 SREM t a x
0 SREM t zz
1 SPOP t
2 SPOP t 2
6 SADD t a b c d e f
2 SMOVE t u a
0 SMOVE t u zz
1 SADD u b
1 SMOVE t u b
4 SPOP t 100
3 SADD t a b c
1 SINTERSTORE d t u
1 SUNIONSTORE d t u
1 SDIFFSTORE d t u
1 SDIFFSTORE d none
0 SDIFFSTORE d none
0 SMOVE t t b

2 ZADD z 1 a 2 b
0 ZADD z 1 a
2 ZADD z 3 a 4 c
1 ZADD z XX CH 5 a 6 q
1 ZADD z NX 1 a 7 r
1 ZADD z INCR 1 a
0 ZADD z INCR 0 a
1 ZADD z GT 0 a 100 b
1 ZINCRBY z 1 a
0 ZINCRBY z 0 a
1 ZREM z a nope
0 ZREM z nope
1 ZPOPMIN z
8 ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g 8 h
2 ZPOPMAX z 2
2 ZREMRANGEBYRANK z 0 1
2 ZREMRANGEBYSCORE z 5 6
3 ZREMRANGEBYLEX z - +
5 ZADD z 1 a 2 b 3 c 4 d 5 e
2 ZADD y 1 a 2 b
1 ZUNIONSTORE zd 2 z y
1 ZINTERSTORE zd 2 z y
1 ZDIFFSTORE zd 2 z y
1 ZRANGESTORE zd z 0 1
1 ZRANGESTORE zd none 0 1
0 ZRANGESTORE zd none 0 1
2 ZMPOP 1 z MIN COUNT 2
1 BZPOPMIN z 1
2 BZMPOP 1 1 z MAX COUNT 5
1 BZPOPMAX y 1
0 ZUNIONSTORE zd 1 none
2 ZADD z2 -inf a inf b

2 HSET h a 1 b 2
1 HSET h a 1
2 HSET h a 2 c 3
2 HMSET h a 5 d 6
0 HSETNX h a 1
1 HSETNX h n 1
1 HINCRBY h i 5
1 HINCRBYFLOAT h i 1.5
1 HDEL h a nope
0 HDEL h nope
5 HDEL h b c d n i

1 XADD x 1-1 a 1
1 XADD x 2-1 a 1
1 XADD x 3-1 a 1
1 XADD x 4-1 a 1
1 XADD x MAXLEN 2 5-1 a 1
1 XTRIM x MAXLEN 1
0 XTRIM x MAXLEN 1
1 XADD x 6-1 a 1
1 XADD x 7-1 a b
1 XDEL x 6-1 9-9
0 XDEL x 9-9
1 XGROUP CREATE x g 0
1 XGROUP CREATE x2 g $ MKSTREAM
1 XGROUP CREATECONSUMER x g c
0 XGROUP CREATECONSUMER x g c
1 XREADGROUP GROUP g c STREAMS x >
0 XREADGROUP GROUP g c STREAMS x >
1 XREADGROUP GROUP g c2 STREAMS x 0  # 7.4
0 XREADGROUP GROUP g c STREAMS x 0  # 7.4
1 XACK x g 5-1 9-9
0 XACK x g 9-9
1 XADD x 10-1 a 1
1 XADD x 11-1 a 1
1 XADD x 12-1 a 1
2 XREADGROUP GROUP g c3 NOACK COUNT 1 STREAMS x >
1 XREADGROUP GROUP g c3 STREAMS x >
2 XCLAIM x g c4 0 11-1
1 XCLAIM x g c4 0 11-1 JUSTID
0 XCLAIM x g c4 0 99-1
1 XCLAIM x g c4 0 11-1 LASTID 50-1
1 XCLAIM x g c5 1000000 11-1  # 7.4
1 XDEL x 12-1
1 XCLAIM x g c4 0 12-1
3 XAUTOCLAIM x g c6 0 0
2 XAUTOCLAIM x g c6 0 0 JUSTID
1 XAUTOCLAIM x g c7 1000000 0  # 7.4
1 XGROUP SETID x g 0
1 XGROUP SETID x g 0 ENTRIESREAD 1
1 XGROUP DELCONSUMER x g c6
0 XGROUP DELCONSUMER x g nope
1 XGROUP DESTROY x g
0 XGROUP DESTROY x g
1 XSETID x 100-1
1 XSETID x 100-1 ENTRIESADDED 50 MAXDELETEDID 12-1

3 PFADD hll a b
0 PFADD hll a b
1 PFADD hll c
1 PFMERGE hll2 hll
1 PFMERGE hll2 none
1 PFCOUNT hll
0 PFCOUNT hll
1 PFADD hll3
0 PFADD hll3

2 GEOADD geo 1 1 a 2 2 b
0 GEOADD geo 1 1 a
2 GEOSEARCHSTORE geod geo FROMLONLAT 1 1 BYRADIUS 1000 km ASC
1 GEOSEARCHSTORE geod none FROMLONLAT 1 1 BYRADIUS 1000 km ASC
0 GEOSEARCHSTORE geod none FROMLONLAT 1 1 BYRADIUS 1000 km ASC

3 RPUSH so 3 1 2
3 SORT so STORE sod
1 SORT none STORE sod
0 SORT none STORE sod

1 SET k 1
1 DEL k none
0 DEL none
1 SET k 1
1 SET k2 1
2 UNLINK k k2
1 SET k 1
1 EXPIRE k 100
0 EXPIRE none 100
1 EXPIRE k 100 XX
0 EXPIRE k 50 GT
1 PERSIST k
0 PERSIST k
1 PEXPIREAT k 1
1 SET k 1
1 RENAME k k9
1 RENAMENX k9 k8
1 SET k9 1
0 RENAMENX k9 k8
0 RENAME k9 k9
1 COPY k8 k7
0 COPY k8 k7
1 COPY k8 k7 REPLACE
1 MOVE k8 1
0 MOVE k8 1
1 SWAPDB 0 1
1 SWAPDB 0 1
1 RESTORE rr 0 $DUMP
1 RESTORE rr 0 $DUMP REPLACE
1 RESTORE rr 1 $DUMP REPLACE ABSTTL
"""


class Changes(firn.Case):
    def changes(self):
        return int(self.server.info("persistence")["rdb_changes_since_last_save"])

    def words(self, text):
        words = ["" if word == '""' else word for word in text.split("#")[0].split()]
        if "$DUMP" not in words:
            return words
        self.c("SET", "dumped", "x" * 30)
        dump = self.c("DUMP", "dumped")
        return [dump if word == "$DUMP" else word for word in words]

    def test_each_write(self):
        for group in GROUPS.strip().split("\n\n"):
            self.c("FLUSHALL")
            for line in group.split("\n"):
                expected, text = line.split(" ", 1)
                words, before = self.words(text), self.changes()
                try:
                    self.c(*words)
                except firn.ReplyError:
                    pass
                self.assertEqual(self.changes() - before, int(expected), line)
