// SPDX-License-Identifier: BSD-3-Clause
const { createClient } = require('redis');
const assert = require('assert');
(async () => {
  const client = createClient({ socket: { port: Number(process.argv[2]), host: '127.0.0.1' } });
  client.on('error', (error) => { console.error(error); process.exit(1); });
  await client.connect();
  assert.strictEqual(await client.set('node', 'value', { PX: 100000, NX: true }), 'OK');
  assert.strictEqual(await client.get('node'), 'value');
  assert.strictEqual(await client.hSet('nodehash', { a: '1', b: '2' }), 2);
  assert.deepStrictEqual({ ...(await client.hGetAll('nodehash')) }, { a: '1', b: '2' });
  assert.strictEqual(await client.hIncrBy('nodehash', 'a', 41), 42);
  const keys = [];
  for await (const key of client.scanIterator({ MATCH: 'node*' })) keys.push(key);
  assert.deepStrictEqual(keys.flat().sort(), ['node', 'nodehash']);
  assert.deepStrictEqual(await client.mGet(['node', 'nothing']), ['value', null]);
  await client.quit();
  console.log('ok');
})().catch((error) => { console.error(error); process.exit(1); });
