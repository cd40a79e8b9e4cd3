import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encrypt } from 'eciesjs';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fromBase64 } from '../actors/encoding.ts';
import { expectedOf, openFolder, secretFor, testPool, Vaulted } from '../test/vaulted.ts';
import type { Pool } from '../workers/pool.ts';

let pool: Pool;
let folder: string;
let house: Vaulted;
beforeAll(() => {
  pool = testPool();
});
afterAll(() => pool.close());
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-wraps-'));
  house = new Vaulted(await openFolder(folder), pool);
  await house.rotate(1);
});
afterEach(async () => {
  await house.sweep?.stop();
  await house.store.close();
  rmSync(folder, { recursive: true });
});

/** A copy of what the callback saw: the original is wiped. */
const opened = (kind: string, id: string) => house.wraps.use(house.store, kind, id, (secret) => secret.slice());
const sealedName = (epoch: number, secret: Uint8Array) =>
  new Uint8Array(encrypt(fromBase64(house.keys.get(epoch)!.public.names!), secret));

describe('a secret', () => {
  it('is created under the active epoch, used, and removed', async () => {
    const { store, wraps } = house;
    await store.commit((step) => wraps.create(step, 'asset', 'vault', secretFor('vault')));
    expect(await opened('asset', 'vault')).toEqual({ ok: true, result: secretFor('vault') });
    expect(wraps.read(store, 'asset', 'vault')).toMatchObject({ epoch: 1 });
    expect(wraps.backlogs(store)).toEqual([{ epoch: 1, kind: 'asset', count: 1 }]);
    expect(await store.commit((step) => [1, 2].map(() => wraps.remove(step, 'asset', 'vault')))).toEqual([true, false]);
    expect(await opened('asset', 'vault')).toEqual({ ok: false, code: 'wrap_not_found' });
    expect(wraps.backlogs(store)).toEqual([]);
  });

  it('is wiped after use, also when the use throws', async () => {
    const { store, wraps } = house;
    await store.commit((step) => wraps.create(step, 'asset', 'vault', secretFor('vault')));
    const name = { epoch: 1, wrapped: sealedName(1, secretFor('k51')) };
    await store.commit((step) => wraps.adopt(step, 'name', 'k51', name));
    for (const [kind, id] of [
      ['asset', 'vault'],
      ['name', 'k51'],
    ] as const) {
      let kept: Uint8Array | undefined;
      const act = (secret: Uint8Array) => {
        kept = secret;
        expect(secret).toEqual(secretFor(id));
        throw new Error('no');
      };
      await expect(wraps.use(store, kind, id, act)).rejects.toThrow('no');
      expect(kept).toEqual(new Uint8Array(32));
    }
  });

  it('is created once, under an id that a key of the store can hold', async () => {
    const { store, wraps } = house;
    const create = (id: string) => store.commit((step) => wraps.create(step, 'asset', id, secretFor(id)));
    await create('vault');
    await expect(create('vault')).rejects.toThrow('once');
    for (const id of ['', 'x'.repeat(500), '\ud800']) await expect(create(id)).rejects.toThrow('well-formed');
    await create('é'.repeat(247));
    await expect(store.commit((step) => wraps.create(step, 'tape', 'a', secretFor('a')))).rejects.toThrow('tape');
  });
});

describe('a name', () => {
  it('comes wrapped, opens on a thread, and replaces what was there', async () => {
    const { store, wraps } = house;
    await house.rotate(2);
    const adopt = (epoch: number, secret: Uint8Array) => {
      const wrap = { epoch, wrapped: sealedName(epoch, secret) };
      return store.commit((step) => wraps.adopt(step, 'name', 'k51', wrap));
    };
    expect(await adopt(1, secretFor('k51'))).toEqual({ ok: true });
    expect(await opened('name', 'k51')).toEqual({ ok: true, result: secretFor('k51') });
    expect(house.touched).toEqual(['name/k51']);
    expect(await adopt(2, secretFor('k51', 1))).toEqual({ ok: true });
    house.check(new Map([['name/k51', secretFor('k51', 1)]]));
  });

  it('under an epoch that is not there is refused, and one that does not open says so', async () => {
    const { store, wraps } = house;
    const adopt = (epoch: number, wrapped: Uint8Array) =>
      store.commit((step) => wraps.adopt(step, 'name', 'k51', { epoch, wrapped }));
    expect(await adopt(2, sealedName(2, secretFor('k51')))).toEqual({ ok: false, code: 'epoch_not_accepted' });
    expect(await adopt(1, new Uint8Array(129))).toEqual({ ok: true });
    expect(await opened('name', 'k51')).toEqual({ ok: false, code: 'wrap_unopenable' });
    expect(await adopt(1, sealedName(1, new Uint8Array(300)))).toEqual({ ok: true });
    expect(await opened('name', 'k51')).toEqual({ ok: false, code: 'wrap_unopenable' });
    house.keys.delete(1);
    expect(await opened('name', 'k51')).toEqual({ ok: false, code: 'epoch_retired' });
  });
});

it('counts and index are what a recount gives, whatever was done in whatever order', async () => {
  const { store, wraps } = house;
  const act = fc.record({
    what: fc.constantFrom('create', 'adopt', 'remove', 'rotate'),
    id: fc.nat(8).map(String),
    epoch: fc.integer({ min: 1, max: 3 }),
    abort: fc.boolean(),
  });
  const expected = new Map<string, Uint8Array>();
  let version = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 15 }), async (acts) => {
      for (const { what, id, epoch, abort } of acts) {
        const secret = secretFor(id, version++);
        if (what === 'rotate') await house.rotate(epoch);
        const step = store.commit((tx) => {
          const there = expected.has(`test/${id}`);
          let change: Uint8Array | null | undefined;
          if (what === 'create' && !there) {
            wraps.create(tx, 'test', id, secret);
            change = secret;
          }
          if (what === 'adopt') {
            const keys = house.keys.get(epoch)!;
            const wrapped = wraps.kindOf('test').wrap(id, secret, keys);
            if (wraps.adopt(tx, 'test', id, { epoch, wrapped }).ok) change = secret;
          }
          if (what === 'remove' && wraps.remove(tx, 'test', id)) change = null;
          if (abort) throw new Error('abort');
          return change;
        });
        const change = await step.catch(() => undefined);
        if (change === null) expected.delete(`test/${id}`);
        else if (change !== undefined) expected.set(`test/${id}`, change);
      }
      house.check(expected);
    }),
    { numRuns: 25 },
  );
});

it('gives names of an epoch in their order, from behind a name', async () => {
  const { store, wraps } = house;
  await house.fill('test', 12);
  const all = wraps.of(store, 1, '', 100);
  expect(all).toEqual([...expectedOf({ test: 12 }).keys()].sort());
  expect(wraps.of(store, 1, all[4]!, 3)).toEqual(all.slice(5, 8));
  expect(wraps.of(store, 2, '', 100)).toEqual([]);
});
