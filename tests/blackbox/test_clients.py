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

    def test_node_clients(self):
        if not shutil.which("npm"):
            self.fail("npm is not installed (scripts/install.sh test)")
        if not os.path.exists(os.path.join(HERE, "node_modules", "ioredis")):
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=HERE, check=True, timeout=300)
        for script in ("client_ioredis.js", "client_node_redis.js"):
            result = subprocess.run(["node", script, str(self.server.port)], cwd=HERE, capture_output=True, text=True, timeout=120)
            self.assertEqual((result.returncode, result.stdout), (0, "ok\n"), result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
