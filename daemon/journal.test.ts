import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Fault } from './fault.ts';
import { appendEntry, EMPTY_HEAD, readJournal, verifyChain, verifyChainInTurns } from './journal.ts';
import { Overlay, type Source } from './overlay.ts';
import { openStore, type Store } from './store.ts';

const nothing: Source = { lookup: () => undefined, has: () => false, scan: () => [], count: () => 0 };

let folder: string;
let store: Store;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'journal-'));
  store = await openStore({
    folder,
    key: new Uint8Array(32),
    map_bytes_max: 2 ** 26,
    free_bytes_min: 0,
    commit_steps_max: 100,
    retry_ms: 50,
    schema: { version: 1, migrations: [] },
  });
});

afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

it('pages forward from any kept cursor and tells what is too old or not yet there', async () => {
  const told: number[] = [];
  const stop = store.onCommitted((cursor) => told.push(cursor));
  expect(readJournal(store, { after: 0, limit: 5 })).toEqual({ ok: true, entries: [], newest: 0 });
  await Promise.all(Array.from({ length: 7 }, (_, n) => store.commit((tx) => tx.journal('status', { n }, n))));
  await store.commit((tx) => tx.put('meta', 'quiet', {}));
  await store.commit((tx) => tx.journal('status', { n: 7 }, 7));
  stop();
  await store.commit((tx) => tx.journal('status', { n: 8 }, 8));
  expect(told).toEqual([7, 8]); // only when the journal has grown, and only until it is stopped
  const page = readJournal(store, { after: 3, limit: 2 });
  expect(page).toMatchObject({ ok: true, newest: 9, entries: [{ cursor: 4 }, { cursor: 5 }] });
  expect(readJournal(store, { after: 9, limit: 2 })).toEqual({ ok: true, entries: [], newest: 9 });
  expect(readJournal(store, { after: 10, limit: 2 })).toEqual({ ok: false, code: 'future_cursor', newest: 9 });
  await expect(store.commit((tx) => tx.remove('journal', 2))).rejects.toThrow('old end');
  await store.commit((tx) => [1, 2, 3].forEach((cursor) => void tx.remove('journal', cursor)));
  expect(readJournal(store, { after: 2, limit: 2 })).toEqual({ ok: false, code: 'outdated_cursor', oldest: 4 });
  expect(readJournal(store, { after: 3, limit: 1 })).toMatchObject({ ok: true, entries: [{ cursor: 4 }] });
  expect(store.verifyJournal()).toBe(6);
  await store.commit((tx) => [4, 5, 6, 7, 8, 9].forEach((cursor) => void tx.remove('journal', cursor)));
  expect(readJournal(store, { after: 8, limit: 2 })).toEqual({ ok: false, code: 'outdated_cursor', oldest: 10 });
  expect(await store.commit((tx) => tx.journal('status', {}, 9))).toBe(10);
});

it('has a chain that shows any change, loss, swap and invention, at once and in turns', async () => {
  const build = () => {
    const overlay = new Overlay(nothing);
    let head = EMPTY_HEAD;
    for (let n = 1; n <= 6; n++) head = appendEntry(overlay, head, { type: 'a', at_ms: n, data: { n } });
    return { overlay, head, keys: [...overlay.writes()].map(([, key]) => key) };
  };
  const damages: ((overlay: Overlay, keys: string[]) => void)[] = [
    (o, [, , key]) => o.set('journal', key as string, null),
    (o, [first]) =>
      o.set(
        'journal',
        first as string,
        Buffer.from(JSON.stringify({ type: 'a', at_ms: 1, data: { n: 2 }, prev: Buffer.alloc(64).toString('base64') })),
      ),
    (o, keys) => {
      const [a, b] = [o.lookup('journal', keys[2] as string), o.lookup('journal', keys[3] as string)];
      o.set('journal', keys[2] as string, b as Uint8Array);
      o.set('journal', keys[3] as string, a as Uint8Array);
    },
    (o, keys) => o.set('journal', keys[5] as string, null),
    (o, keys) =>
      o.set('journal', `${(keys[5] as string).slice(0, 7)}\x07`, o.lookup('journal', keys[5] as string) as Uint8Array),
  ];
  const whole = build();
  expect(verifyChain(whole.overlay, whole.head, 1_000)).toBe(6);
  expect(verifyChain(whole.overlay, whole.head, 2)).toBe(2);
  const parts = [1, 2, 5, 6, 7];
  for (const part of parts) expect(await verifyChainInTurns(whole.overlay, whole.head, part)).toBe(6);
  for (const damage of damages) {
    const { overlay, head, keys } = build();
    damage(overlay, keys);
    expect(() => verifyChain(overlay, head, 1_000)).toThrow(Fault);
    for (const part of parts) await expect(verifyChainInTurns(overlay, head, part)).rejects.toThrow(Fault);
  }
});
