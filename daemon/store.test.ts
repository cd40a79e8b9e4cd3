import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Environment } from './environment.ts';
import { readJournal } from './journal.ts';
import { openStore, type Store, type StoreOptions } from './store.ts';

const KEY = new Uint8Array(32).fill(7);
const id = (n: number) => `0x${n.toString(16).padStart(64, '0')}`;

let folder: string;
const opened: Store[] = [];

async function open(changes: Partial<StoreOptions> = {}): Promise<Store> {
  const store = await openStore({
    folder,
    key: KEY,
    map_bytes_max: 2 ** 30,
    free_bytes_min: 0,
    commit_steps_max: 1_000,
    retry_ms: 50,
    schema: { version: 1, migrations: [] },
    ...changes,
  });
  opened.push(store);
  return store;
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'store-'));
});

afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
  rmSync(folder, { recursive: true });
});

describe('commit', () => {
  it('writes snapshots, journal and effects together, and finds them after opening again', async () => {
    const store = await open();
    const [cursor, effect] = await store.commit((tx) => {
      tx.put('pending', 5, { fee: '1' });
      tx.put('ciphertexts', id(1), Uint8Array.of(1, 2, 3));
      tx.put('nodes', [3, 4], new Uint8Array(64).fill(9));
      return [tx.journal('tx_submitted', { id: 5 }, 1_000), tx.effect({ kind: 'open', subject: 5 })] as const;
    });
    expect([cursor, effect]).toEqual([1, 1]);
    await store.close();
    const again = await open();
    expect(again.get('pending', 5)).toEqual({ fee: '1' });
    expect(again.get('ciphertexts', id(1))).toEqual(Uint8Array.of(1, 2, 3));
    expect(again.get('nodes', [3, 4])).toEqual(new Uint8Array(64).fill(9));
    expect(again.get('outbox', 1)).toEqual({ kind: 'open', subject: 5 });
    expect(readJournal(again, { after: 0, limit: 10 })).toEqual({
      ok: true,
      newest: 1,
      entries: [{ cursor: 1, type: 'tx_submitted', at_ms: 1_000, data: { id: 5 } }],
    });
    expect(again.verifyJournal()).toBe(1);
    expect(await again.commit((tx) => [tx.settle(1), tx.settle(1), tx.effect({ kind: 'a', subject: 'b' })])).toEqual([
      true,
      false,
      2,
    ]);
  });

  it('keeps the order of steps and serves many with one transaction', async () => {
    const store = await open();
    const { commits } = store.state();
    const results = await Promise.all(
      Array.from({ length: 500 }, (_, n) =>
        store.commit((tx) => {
          tx.put('pending', n, { n });
          return tx.count('pending');
        }),
      ),
    );
    expect(results).toEqual(Array.from({ length: 500 }, (_, n) => n + 1));
    expect(store.state().commits - commits).toBe(1);
  });

  it('lets a throwing step change nothing but its own promise', async () => {
    const store = await open();
    const good = store.commit((tx) => tx.journal('a', {}, 1));
    const bad = store.commit((tx) => {
      tx.put('pending', 1, { bad: true });
      tx.journal('bad', {}, 2);
      tx.effect({ kind: 'bad', subject: 1 });
      throw new Error('no');
    });
    const after = store.commit((tx) => [
      tx.get('pending', 1),
      tx.journal('b', {}, 3),
      tx.effect({ kind: 'c', subject: 1 }),
    ]);
    await expect(bad).rejects.toThrow('no');
    expect(await good).toBe(1);
    expect(await after).toEqual([undefined, 2, 1]);
    expect(store.verifyJournal()).toBe(2);
  });

  it('has files that only the owner may read', async () => {
    await open({ folder: join(folder, 'new.state') });
    folder = join(folder, 'new.state');
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder))
      expect([name, statSync(join(folder, name)).mode & 0o777]).toEqual([name, 0o600]);
  });
});

describe('a write that fails', () => {
  // LMDB can fail at the very last write of a commit, when the commit is on the disk: no disk does that on demand.
  const failAfter = (reached: boolean) => {
    const { write } = Environment.prototype;
    vi.spyOn(Environment.prototype, 'write').mockImplementationOnce(function (this: Environment, writes) {
      if (reached) write.call(this, writes);
      throw new Error('EIO');
    });
  };
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('and reached nothing is forgotten: the same step again is the first', async () => {
    const fatals: Error[] = [];
    const store = await open({ retry_ms: 1, fatal: (error) => fatals.push(error) });
    failAfter(false);
    await expect(store.commit((tx) => tx.effect({ kind: 'a', subject: 1 }))).rejects.toMatchObject({
      code: 'store_io',
    });
    expect(store.state()).toMatchObject({ writable: false, last_error: 'EIO' });
    while (!store.state().writable) await new Promise((resolve) => setImmediate(resolve));
    expect(await store.commit((tx) => tx.effect({ kind: 'a', subject: 1 }))).toBe(1);
    expect(fatals).toEqual([]);
  });

  it('and reached the disk all the same ends the process: memory does not know what the disk does', async () => {
    const { promise, resolve } = Promise.withResolvers<Error>();
    const store = await open({ retry_ms: 1, fatal: resolve });
    failAfter(true);
    await expect(store.commit((tx) => tx.effect({ kind: 'a', subject: 1 }))).rejects.toMatchObject({
      code: 'store_io',
    });
    expect(String(await promise)).toContain('only a new start');
    await expect(store.commit((tx) => tx.settle(1))).rejects.toMatchObject({ code: 'store_io' });
    await store.close();
    const again = await open();
    expect(again.get('outbox', 1)).toEqual({ kind: 'a', subject: 1 });
  });
});

describe('ranges', () => {
  it('see the overlay and the store as one sorted table', async () => {
    const store = await open();
    const model = new Map<number, { v: number }>();
    const change = fc.record({ key: fc.nat(30), put: fc.boolean(), v: fc.nat() });
    const query = fc.record({
      start: fc.option(fc.nat(31)),
      end: fc.option(fc.nat(31)),
      limit: fc.nat(35),
      reverse: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { maxLength: 20 }),
        fc.array(query, { maxLength: 10 }),
        async (changes, queries) => {
          const answers = await store.commit((tx) => {
            for (const { key, put, v } of changes) {
              if (put) tx.put('pending', key, { v });
              else tx.remove('pending', key);
            }
            return [tx.count('pending'), queries.map((q) => [...tx.range('pending', clean(q))])] as const;
          });
          for (const { key, put, v } of changes) {
            if (put) model.set(key, { v });
            else model.delete(key);
          }
          const expected = queries.map((q) => expectation(model, q));
          expect(answers).toEqual([model.size, expected]);
          expect(queries.map((q) => [...store.range('pending', clean(q))])).toEqual(expected);
          expect(store.count('pending')).toBe(model.size);
        },
      ),
      { numRuns: 60 },
    );
  });
});

type Query = { start: number | null; end: number | null; limit: number; reverse: boolean };

function clean({ start, end, limit, reverse }: Query) {
  return { ...(start !== null && { start }), ...(end !== null && { end }), limit, reverse };
}

function expectation(model: Map<number, { v: number }>, { start, end, limit, reverse }: Query) {
  const sorted = [...model].sort(([a], [b]) => (reverse ? b - a : a - b));
  return sorted.filter(([key]) => key >= (start ?? 0) && key < (end ?? 1e9)).slice(0, limit);
}
