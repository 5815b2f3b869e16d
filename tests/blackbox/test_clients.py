# SPDX-License-Identifier: BSD-3-Clause
"""Real clients, unmodified: redis-py, redis-cli, redis-benchmark, ioredis and node-redis."""
import os
import shutil
import subprocess
import unittest

import redis

import firn

HERE = os.path.dirname(os.path.realpath(__file__))


class Clients(firn.Case):
    SECONDS_MAX = 300  # npm

    def test_redis_py(self):
        client = redis.Redis(port=self.server.port)
        self.assertTrue(client.set("py", "value", ex=100))
        self.assertEqual(client.get("py"), b"value")
        with client.pipeline(transaction=False) as pipe:
            for i in range(1000):
                pipe.hset("pyhash", "f%d" % i, i)
            self.assertEqual(sum(pipe.execute()), 1000)
        self.assertEqual(len(client.hgetall("pyhash")), 1000)
        self.assertEqual(sum(1 for _ in client.hscan_iter("pyhash")), 1000)
        self.assertIn(b"py", set(client.scan_iter("py*")))
        self.assertEqual(client.info("server")["redis_mode"], "standalone")
        self.assertEqual(client.config_get("maxclients"), {"maxclients": "10000"})
        client.close()

    def test_redis_cli(self):
        def cli(*arguments, text=None):
            return subprocess.run(["redis-cli", "-p", str(self.server.port), *arguments], capture_output=True, text=True, input=text, timeout=60)
        self.assertEqual(cli("SET", "cli", "1").stdout, "OK\n")
        self.assertEqual(cli("-3", "HGETALL", "none").stdout.strip(), "")
        self.assertEqual(cli(text="INCR cli\nGET cli\n").stdout, "2\n2\n")
        self.assertIn("1000", cli("--pipe", text="".join("SET pipe:%d x\r\n" % i for i in range(1000))).stdout)
        self.assertIn("keys in the keyspace", cli("--bigkeys").stdout)
        self.assertEqual(len(cli("--scan", "--pattern", "pipe:*").stdout.split()), 1000)
        self.assertIn("redis_version", cli("INFO").stdout)

    def test_redis_benchmark(self):
        result = subprocess.run(["redis-benchmark", "-p", str(self.server.port), "-n", "2000", "-q", "-t", "ping,set,get,incr,hset,mset", "-P", "8"],
                                capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr)
        for name in ("PING_INLINE", "SET", "GET", "INCR", "HSET", "MSET (10 keys)"):
            self.assertIn(name + ":", result.stdout.replace("\r", "\n"))
        self.assertNotIn("Error", result.stdout + result.stderr)

    def test_redis_py_on_every_type(self):
        client = redis.Redis(port=self.server.port, decode_responses=True)
        self.assertEqual((client.rpush("pl", *range(5)), client.blpop("pl", timeout=5), client.lrange("pl", 0, -1)), (5, ("pl", "0"), ["1", "2", "3", "4"]))
        self.assertEqual((client.sadd("ps", "a", "b"), client.smembers("ps")), (2, {"a", "b"}))
        self.assertEqual((client.zadd("pz", {"a": 1.5, "b": 2}), client.zrange("pz", 0, -1, withscores=True)), (2, [("a", 1.5), ("b", 2.0)]))
        self.assertEqual(client.geoadd("pg", (13.361389, 38.115556, "Palermo")), 1)
        self.assertEqual(client.geosearch("pg", longitude=13, latitude=38, radius=100, unit="km"), ["Palermo"])
        self.assertEqual((client.pfadd("pp", "a", "b"), client.pfcount("pp")), (1, 2))
        ident = client.xadd("px", {"field": "value"})
        client.xgroup_create("px", "group", id="0")
        self.assertEqual(client.xreadgroup("group", "consumer", {"px": ">"}, block=1000), [["px", [(ident, {"field": "value"})]]])
        self.assertEqual((client.xack("px", "group", ident), client.xinfo_groups("px")[0]["pending"]), (1, 0))
        with client.pipeline() as pipe:  # MULTI behind WATCH
            pipe.watch("pl")
            client.rpush("pl", "changed")
            pipe.multi()
            pipe.get("nothing")
            self.assertRaises(redis.WatchError, pipe.execute)
        subscriber = client.pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe("channel")
        subscriber.psubscribe("chan*")
        firn.wait_until(lambda: client.pubsub_numpat() == 1 and client.pubsub_numsub("channel") == [("channel", 1)], "it does not subscribe")
        self.assertEqual(client.publish("channel", "message"), 2)
        heard = []
        firn.wait_until(lambda: heard.append(subscriber.get_message(timeout=1)) or sum(m is not None for m in heard) == 2, lambda: heard)
        self.assertEqual({m["type"]: m["data"] for m in heard if m}, {"message": "message", "pmessage": "message"})
        subscriber.close()
        client.close()

    @unittest.skipUnless(shutil.which("npm"), "npm is not installed (scripts/install.sh test)")
    def test_node_clients(self):
        """As npm has them by package-lock.json, in a folder beside the server."""
        folder = os.path.join(os.path.dirname(os.path.abspath(firn.SERVER)), "node_clients")
        os.makedirs(folder, exist_ok=True)
        names = ("package.json", "package-lock.json", "client_ioredis.js", "client_node_redis.js")
        for name in names:
            shutil.copy(os.path.join(HERE, name), folder)
        if not os.path.exists(os.path.join(folder, "node_modules", "ioredis")):
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True, timeout=self.SECONDS_MAX)
        for script in names[2:]:
            result = subprocess.run(["node", script, str(self.server.port)], cwd=folder, capture_output=True, text=True, timeout=60)
            self.assertEqual((result.returncode, result.stdout), (0, "ok\n"), result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
