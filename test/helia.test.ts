// Once, all the way: a name that the daemon's rooms have published on a real router is resolved by a real Helia node that knows this
// router and nothing else.
import { withHTTP } from '@helia/http';
import { createHeliaLight } from 'helia';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { resolved, routingKeyOf } from '../daemon/demo/owner.ts';
import type { Pool } from '../workers/pool.ts';
import { HOUR_MS, Named, ownerOf } from './named.ts';
import { testPool } from './vaulted.ts';

let pool: Pool;
let house: Named;
beforeAll(async () => {
  pool = testPool();
  house = await Named.open(pool);
});
afterAll(async () => {
  await house[Symbol.asyncDispose]();
  await pool.close();
});

it('a Helia node resolves what was extended, and what the owner brought since', async () => {
  const owner = ownerOf(1);
  await house.enrol(owner, '/ipfs/first', 3n);
  const helia = withHTTP(createHeliaLight(), { delegatedRouters: [house.router.url], recursiveGateways: [] } as never);
  const node = helia as unknown as {
    start(): Promise<unknown>;
    stop(): Promise<unknown>;
    routing: { get(key: Uint8Array, options: object): Promise<Uint8Array> };
  };
  await node.start();
  const resolve = async () => {
    const found = await node.routing.get(routingKeyOf(owner.name), { signal: AbortSignal.timeout(20_000) });
    return resolved(owner.name, Uint8Array.from(found));
  };
  try {
    expect(await resolve()).toEqual({ value: '/ipfs/first', sequence: 3n, eol_ms: house.now_ms + 48 * HOUR_MS });
    const newer = await owner.record('/ipfs/second', 4n, house.now_ms + HOUR_MS);
    await house.names.update(owner.name, { record: newer.toBase64() });
    await house.names.run();
    expect(await resolve()).toEqual({ value: '/ipfs/second', sequence: 4n, eol_ms: house.now_ms + 48 * HOUR_MS });
  } finally {
    await node.stop();
  }
});
