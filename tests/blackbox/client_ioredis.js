// SPDX-License-Identifier: BSD-3-Clause
const Redis = require('ioredis');
const assert = require('assert');
(async () => {
  const client = new Redis({ port: Number(process.argv[2]), host: '127.0.0.1' });
  assert.strictEqual(await client.set('io', 'value', 'EX', 100), 'OK');
  assert.strictEqual(await client.get('io'), 'value');
  const big = Buffer.alloc(300000, 'firn');
  await client.set('iobig', big);
  assert.ok(big.equals(await client.getBuffer('iobig')));
  await client.hset('iohash', Object.fromEntries([...Array(500).keys()].map((i) => [`f${i}`, `v${i}`])));
  assert.strictEqual(Object.keys(await client.hgetall('iohash')).length, 500);
  const replies = await Promise.all([...Array(2000).keys()].map((i) => client.incr('iocount')));
  assert.strictEqual(replies[1999], 2000);
  const pipe = client.pipeline();
  for (let i = 0; i < 100; i++) pipe.setbit('iobits', i, i % 2);
  assert.ok((await pipe.exec()).every(([error]) => error === null));
  assert.strictEqual(await client.bitcount('iobits'), 50);
  await assert.rejects(client.incr('iohash'), /WRONGTYPE/);
  await client.quit();
  console.log('ok');
})().catch((error) => { console.error(error); process.exit(1); });
