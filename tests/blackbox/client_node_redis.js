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
  // cursors go through doubles here
  const names = [...Array(3000).keys()].map(String), values = Object.fromEntries(names.map((name) => [name, name]));
  await client.sAdd('nodeset', names);
  await client.hSet('nodefields', values);
  await client.zAdd('nodezset', names.map((name) => ({ value: name, score: Number(name) })));
  await client.mSet(values);
  const scans = [client.sScanIterator('nodeset'), client.hScanIterator('nodefields'), client.zScanIterator('nodezset'), client.scanIterator({ MATCH: '[0-9]*' })];
  for (const scan of scans) {
    const found = new Set();
    for await (const item of scan) found.add(item.field ?? item.value ?? item);
    assert.strictEqual(found.size, 3000);
  }
  await client.rPush('nodelist', ['a', 'b']);
  assert.deepStrictEqual({ ...(await client.blPop('nodelist', 5)) }, { key: 'nodelist', element: 'a' });
  await client.zAdd('noderanks', [{ score: 1.5, value: 'a' }, { score: 2, value: 'b' }]);
  assert.deepStrictEqual((await client.zRangeWithScores('noderanks', 0, -1)).map(({ value, score }) => [value, score]), [['a', 1.5], ['b', 2]]);
  assert.strictEqual(await client.sAdd('nodeset', ['a', 'b']), 2);
  const id = await client.xAdd('nodestream', '*', { field: 'value' });
  const [entry] = await client.xRange('nodestream', '-', '+');
  assert.deepStrictEqual([entry.id, { ...entry.message }], [id, { field: 'value' }]);
  assert.deepStrictEqual(await client.multi().set('nodem', '1').incr('nodem').exec(), ['OK', 2]);
  const subscriber = client.duplicate();
  await subscriber.connect();
  const heard = new Promise((resolve) => subscriber.subscribe('nodechannel', resolve).then(() => client.publish('nodechannel', 'message')));
  assert.strictEqual(await heard, 'message');
  await subscriber.quit();
  await client.quit();
  console.log('ok');
})().catch((error) => { console.error(error); process.exit(1); });
