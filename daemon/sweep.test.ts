import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encrypt } from 'eciesjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fromBase64 } from '../actors/encoding.ts';
import { faulty } from '../test/faulty.ts';
import { expectedOf, openFolder, secretFor, testPool, Vaulted } from '../test/vaulted.ts';
import type { Pool } from '../workers/pool.ts';
import { Fault } from './fault.ts';
import type { Store } from './store.ts';
import { sealedKind } from './wrapkinds.ts';
import type { WrapKind } from './wraps.ts';

let pool: Pool;
let folder: string;
let house: Vaulted;
beforeAll(() => {
  pool = testPool();
});
afterAll(() => pool.close());
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-sweep-'));
  house = new Vaulted(await openFolder(folder), pool);
  await house.rotate(1);
});
afterEach(async () => {
  await house.sweep?.stop();
  await house.store.close();
  rmSync(folder, { recursive: true });
});

const adoptName = (epoch: number, id: string) => {
  const wrapped = new Uint8Array(encrypt(fromBase64(house.keys.get(epoch)!.public.names!), secretFor(`name/${id}`)));
  return house.store.commit((step) => house.wraps.adopt(step, 'name', id, { epoch, wrapped }));
};
const journal = () => [...house.store.range('journal', { limit: 100 })].map(([, { type, data }]) => ({ type, data }));

/** A kind that waits before it hands out what it has wrapped anew. */
function gated(): { kind: WrapKind; reached: Promise<void>; open: () => void } {
  const inner = sealedKind('slow', pool);
  const reached = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const kind: WrapKind = {
    ...inner,
    async rewrap(rows, from, to) {
      const answers = await inner.rewrap(rows, from, to);
      reached.resolve();
      await gate.promise;
      return answers;
    },
  };
  return { kind, reached: reached.promise, open: gate.resolve };
}

it('moves every wrap to the active epoch, of all kinds, and says so once an epoch is empty', async () => {
  const expected = expectedOf({ asset: 2_000, test: 3_000, name: 20 });
  await house.fill('asset', 2_000);
  await house.fill('test', 3_000);
  for (let n = 0; n < 20; n++) await adoptName(1, `${n}`);
  await house.rotate(2);
  expect(house.wraps.backlog(house.store, 1)).toBe(5_020);
  const { emptied } = house.swept(500);
  expect(await emptied).toBe(1);
  house.check(expected);
  expect(house.wraps.backlogs(house.store)).toEqual([
    { epoch: 2, kind: 'asset', count: 2_000 },
    { epoch: 2, kind: 'name', count: 20 },
    { epoch: 2, kind: 'test', count: 3_000 },
  ]);
  expect(house.wraps.moved(house.store)).toBe(5_020);
  expect(journal()).toEqual([{ type: 'epoch_rewrapped', data: { epoch: 1, to_epoch: 2 } }]);
});

it('takes the lowest epoch first, and what was used before the rest', async () => {
  const slow = gated();
  house = new Vaulted(house.store, pool, [slow.kind]);
  await house.fill('slow', 1);
  await house.rotate(2);
  for (const id of ['a', 'b', 'c', 'd']) {
    await house.store.commit((step) => house.wraps.create(step, 'test', id, secretFor(id)));
  }
  await house.rotate(3);
  const moved: string[] = [];
  const { move } = house.wraps;
  house.wraps.move = (step, rows, epoch) => {
    moved.push(...rows.map(({ name }) => name));
    return move.call(house.wraps, step, rows, epoch);
  };
  const { emptied } = house.swept(2);
  await slow.reached;
  // While the only row of epoch 1 is on its way, one of epoch 2 is used.
  await house.wraps.use(house.store, 'test', 'd', () => {});
  slow.open();
  expect(await emptied).toBe(1);
  while (house.wraps.backlog(house.store, 2) > 0) await new Promise((resolve) => setImmediate(resolve));
  expect(moved).toEqual(['slow/0', 'test/d', 'test/a', 'test/b', 'test/c']);
});

it('overwrites nothing that was removed or replaced meanwhile, and moves nothing to an epoch that was superseded', async () => {
  const slow = gated();
  house = new Vaulted(house.store, pool, [slow.kind]);
  await house.fill('slow', 4);
  await house.rotate(2);
  const { emptied } = house.swept(10);
  await slow.reached;
  const { store, wraps } = house;
  await store.commit((step) => {
    wraps.remove(step, 'slow', '0');
    const replaced = slow.kind.wrap('1', secretFor('slow/1', 1), house.keys.get(1)!);
    wraps.adopt(step, 'slow', '1', { epoch: 1, wrapped: replaced });
    wraps.remove(step, 'slow', '2');
    wraps.create(step, 'slow', '2', secretFor('slow/2', 1));
  });
  await house.rotate(3);
  slow.open();
  await emptied;
  while (wraps.backlog(store, 1) + wraps.backlog(store, 2) > 0) await new Promise((resolve) => setImmediate(resolve));
  house.check(
    new Map([
      ['slow/1', secretFor('slow/1', 1)],
      ['slow/2', secretFor('slow/2', 1)],
      ['slow/3', secretFor('slow/3')],
    ]),
  );
  expect(wraps.backlogs(store)).toEqual([{ epoch: 3, kind: 'slow', count: 3 }]);
});

it('passes over what does not open, keeps count of it, and moves the rest', async () => {
  await house.fill('test', 30);
  await adoptName(1, 'good');
  const broken = { epoch: 1, wrapped: new Uint8Array(129) };
  await house.store.commit((step) => {
    for (let n = 0; n < 10; n++) house.wraps.adopt(step, 'name', `bad${n}`, broken);
    house.wraps.adopt(step, 'test', '5', broken);
  });
  await house.rotate(2);
  const { sweep } = house.swept(3);
  while (sweep.state().running) await new Promise((resolve) => setImmediate(resolve));
  expect(sweep.state()).toEqual({ running: false, stuck: 11 });
  expect(house.wraps.backlog(house.store, 1)).toBe(11);
  expect(house.wraps.backlog(house.store, 2)).toBe(30);
  expect(house.warned).toEqual([{ rows: 11 }]);
  expect(journal()).toEqual([]);
});

it('leaves alone what was retired by force', async () => {
  await house.fill('test', 5);
  await house.rotate(2);
  await house.fill('asset', 5);
  await house.rotate(3);
  house.keys.delete(1);
  const { emptied } = house.swept(10);
  expect(await emptied).toBe(2);
  await house.sweep!.stop();
  expect(house.wraps.backlogs(house.store)).toEqual([
    { epoch: 1, kind: 'test', count: 5 },
    { epoch: 3, kind: 'asset', count: 5 },
  ]);
});

describe('a world that fails', () => {
  it('is tried again until it works: the disk, and a thread', async () => {
    let failures = 2;
    const kind: WrapKind = {
      ...sealedKind('flaky', pool),
      async rewrap(rows, from, to) {
        if (failures-- > 0) throw new Fault({ code: 'worker_failed', job: 'rewrap' });
        return sealedKind('flaky', pool).rewrap(rows, from, to);
      },
    };
    house = new Vaulted(house.store, pool, [kind]);
    await house.fill('flaky', 50);
    await house.rotate(2);
    const { store, disk } = faulty(house.store);
    disk.failures = 2;
    const { emptied } = house.swept(20, store);
    expect(await emptied).toBe(1);
    expect(house.warned.map(({ err }: { err?: { code: string } }) => err?.code)).toEqual([
      'worker_failed',
      'worker_failed',
      'store_io',
      'store_io',
    ]);
    house.check(expectedOf({ flaky: 50 }));
  });

  it('stops at once, also while it waits for the next try', async () => {
    await house.fill('test', 50);
    await house.rotate(2);
    const { store, disk } = faulty(house.store);
    disk.failures = Number.POSITIVE_INFINITY;
    const { sweep } = house.swept(20, store);
    while (house.warned.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await sweep.stop();
    expect(sweep.state().running).toBe(false);
    house.check(expectedOf({ test: 50 }));
  });
});

describe('a crash at every commit', () => {
  const ROWS = { asset: 12, test: 9, name: 3 };
  const CHUNK = 5;
  const COMMITS = Math.ceil(24 / CHUNK);

  /** A store whose process ends at its nth commit, before that is durable or after. */
  function mortal(store: Store, commits: number, durable: boolean): { store: Store; died: Promise<string> } {
    const { promise: died, resolve } = Promise.withResolvers<string>();
    let left = commits;
    const commit: Store['commit'] = async (act) => {
      left -= 1;
      if (left > 0) return store.commit(act);
      if (durable && left === 0) await store.commit(act);
      resolve('died');
      return new Promise(() => {});
    };
    const get = (target: Store, name: string | symbol) => {
      const member: unknown = name === 'commit' ? commit : Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    };
    return { store: new Proxy(store, { get }), died };
  }

  const cases = Array.from({ length: COMMITS }, (_, i) =>
    [true, false].map((durable) => ({ at: i + 1, durable })),
  ).flat();

  it.each(cases)('loses and doubles nothing: commit $at, durable $durable', async ({ at, durable }) => {
    const expected = expectedOf(ROWS);
    await house.fill('asset', ROWS.asset);
    await house.fill('test', ROWS.test);
    for (let n = 0; n < ROWS.name; n++) await adoptName(1, `${n}`);
    await house.rotate(2);
    const { store, died } = mortal(house.store, at, durable);
    house.swept(CHUNK, store);
    expect(await died).toBe('died');
    await house.store.close();

    house = new Vaulted(await openFolder(folder), pool);
    house.check(expected);
    const moved = Math.min(24, CHUNK * (durable ? at : at - 1));
    expect(house.wraps.backlog(house.store, 1)).toBe(24 - moved);
    expect(house.wraps.moved(house.store)).toBe(moved);
    if (moved < 24) expect(await house.swept(CHUNK).emptied).toBe(1);
    house.check(expected);
    expect(house.wraps.backlogs(house.store).map(({ epoch }) => epoch)).toEqual([2, 2, 2]);
    expect(journal()).toEqual([{ type: 'epoch_rewrapped', data: { epoch: 1, to_epoch: 2 } }]);
  });
});
