/**
 * The store against the world: killed, locked, out of disk, with the wrong key, the wrong version, or a bit flipped. Real processes and
 * real files; the other process is `test/storeprocess.ts`.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Database, open as openLmdb } from 'lmdb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LONG } from '../test/long.ts';
import { open, step } from '../test/storeprocess.ts';
import { readJournal } from './journal.ts';
import { openStore, type Store, type StoreOptions, type Transaction } from './store.ts';

const PROCESS = join(import.meta.dirname, '../test/storeprocess.ts');

let folder: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'damage-'));
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(folder, { recursive: true });
});

type Line = { [name: string]: unknown };

/** Starts the other process; `line` gives its lines one by one, undefined at the end. */
function start(args: string[], command = process.execPath) {
  const child = spawn(command, args, { stdio: 'pipe' });
  children.push(child);
  let errors = '';
  child.stderr?.on('data', (text) => {
    errors += text;
  });
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  const line = async (): Promise<Line | undefined> => {
    const { done, value } = await lines.next();
    return done ? undefined : (JSON.parse(value) as Line);
  };
  return { child, line, errors: () => errors };
}

function openWith(changes: Partial<StoreOptions>): Promise<Store> {
  return openStore({
    folder,
    key: new Uint8Array(32).fill(7),
    map_bytes_max: 2 ** 30,
    free_bytes_min: 0,
    commit_steps_max: 100,
    retry_ms: 20,
    schema: { version: 1, migrations: [] },
    ...changes,
  });
}

describe('SIGKILL', () => {
  const kills = LONG ? 20 : 6;
  it(`loses nothing that was acknowledged, ${kills} times over`, async () => {
    let acknowledged = 0;
    for (let kill = 0; kill < kills; kill++) {
      const { child, line } = start([PROCESS, 'load', folder]);
      const quota = acknowledged + 1 + Math.floor(Math.random() * 400);
      for (;;) {
        const said = await line();
        if (said === undefined) break;
        acknowledged = Math.max(acknowledged, said.acknowledged as number);
        if (acknowledged >= quota && !child.killed) child.kill('SIGKILL');
      }
      const store = await open(folder); // the lock of a killed process is gone with it
      const last = (store.get('meta', 'next') as { n: number }).n - 1;
      expect(last).toBeGreaterThanOrEqual(acknowledged);
      expect(store.journalHead().cursor).toBe(last);
      expect(store.verifyJournal()).toBe(last);
      const page = readJournal(store, { after: 0, limit: 10_000 });
      expect(page.ok && page.entries.map(({ data }) => (data as { n: number }).n)).toEqual(
        Array.from({ length: last }, (_, n) => n + 1),
      );
      const owed = Array.from({ length: last }, (_, n) => n + 1).filter((id) => (id + 10) % 3 !== 0 || id + 10 > last);
      expect([...store.range('outbox', { limit: 100_000 })]).toEqual(
        owed.map((id) => [id, { kind: 'open', subject: id }]),
      );
      expect([...store.range('pending', { limit: 100 })].map(([n]) => n)).toEqual(
        Array.from({ length: Math.min(20, last) }, (_, n) => last - Math.min(20, last) + 1 + n),
      );
      await store.close();
      acknowledged = last;
    }
  });
});

describe('damage that is met while the store is open', () => {
  it('stops admission and says what it is, also where the check at open did not look', async () => {
    const id = `0x${'ab'.repeat(32)}`;
    const other = `0x${'cd'.repeat(32)}`;
    const store = await openWith({});
    await store.commit((tx) => tx.put('ciphertexts', other, new Uint8Array(100)));
    const path = join(folder, 'data.mdb');
    const before = readFileSync(path);
    await store.commit((tx) => tx.put('ciphertexts', id, new Uint8Array(90_000)));
    await store.close();
    // The large record lies on pages of its own: where whole pages are new, the middle is inside it.
    const after = readFileSync(path);
    const fresh = Array.from({ length: after.length / 4096 }, (_, n) => n).filter(
      (n) => !after.subarray(n * 4096, (n + 1) * 4096).equals(before.subarray(n * 4096, (n + 1) * 4096)),
    );
    const at = fresh[fresh.length >> 1]! * 4096 + 2_000;
    after[at]! ^= 1;
    writeFileSync(path, after);

    const damaged = await openWith({ check_bytes_max: 1 });
    expect(damaged.state()).toMatchObject({ writable: true });
    expect(() => damaged.get('ciphertexts', id)).toThrow(expect.objectContaining({ code: 'store_corrupt' }));
    expect(damaged.state()).toMatchObject({
      writable: false,
      reason: 'corrupt',
      last_error: expect.stringContaining('ciphertexts'),
    });
    // What is in hand goes on.
    expect(damaged.get('ciphertexts', other)).toEqual(new Uint8Array(100));
    await damaged.commit((tx) => tx.put('meta', 'x', {}));
    await damaged.close();
  });
});

describe('opening', () => {
  it('refuses a folder that another process holds, names it, and takes it when that is gone', async () => {
    const { child, line } = start([PROCESS, 'hold', folder]);
    await line();
    await expect(open(folder)).rejects.toMatchObject({ code: 'store_locked', detail: { pid: child.pid } });
    child.kill('SIGKILL');
    await once(child, 'exit');
    const store = await open(folder);
    await expect(open(folder)).rejects.toMatchObject({ code: 'store_locked', detail: { pid: process.pid } });
    await store.close();
  });

  it('stays locked when this process tries twice', async () => {
    const store = await open(folder);
    await expect(open(folder)).rejects.toMatchObject({ code: 'store_locked' });
    const other = start([PROCESS, 'hold', folder]);
    expect(await other.line()).toBeUndefined();
    expect(other.errors()).toContain('store_locked');
    await store.close();
  });

  it.each(['removed', 'replaced'])('writes nothing more when its lock file is %s', async (how) => {
    const store = await open(folder);
    await step(store);
    const before = store.state().commits;
    rmSync(join(folder, 'store.lock'));
    if (how === 'replaced') writeFileSync(join(folder, 'store.lock'), '');
    await expect(step(store)).rejects.toMatchObject({ code: 'store_io' });
    expect(store.state()).toMatchObject({ writable: false, commits: before });
    await store.close();
    const again = await open(folder);
    await step(again);
    await again.close();
  });

  it('tells a wrong key, a newer and an older schema apart, and changes nothing then', async () => {
    const store = await open(folder);
    await step(store);
    await store.close();
    await expect(openWith({ key: new Uint8Array(32).fill(8) })).rejects.toMatchObject({ code: 'store_wrong_key' });
    await (
      await openWith({ schema: { version: 3, migrations: [{ from: 1, to: 3, migrate: () => undefined }] } })
    ).close();
    await expect(openWith({})).rejects.toMatchObject({ code: 'store_newer', detail: { found: 3, known: 1 } });
    await expect(openWith({ schema: { version: 4, migrations: [] } })).rejects.toMatchObject({
      code: 'store_older',
      detail: { found: 3 },
    });
    const again = await openWith({ schema: { version: 3, migrations: [] } });
    expect(again.get('pending', 1)).toMatchObject({ n: 1 });
    await again.close();
  });

  it('runs migrations in order and in one commit: one that throws leaves the store as it was', async () => {
    await (await open(folder)).close();
    const second = {
      from: 1,
      to: 2,
      migrate: (tx: Transaction) => tx.put('meta', 'a', { at: 2 }),
    };
    const third = {
      from: 2,
      to: 3,
      migrate: () => {
        throw new Error('half way');
      },
    };
    await expect(openWith({ schema: { version: 3, migrations: [third, second] } })).rejects.toThrow('half way');
    const store = await open(folder);
    expect(store.get('meta', 'a')).toBeUndefined();
    await store.close();
    const migrated = await openWith({ schema: { version: 2, migrations: [second] } });
    expect(migrated.get('meta', 'a')).toEqual({ at: 2 });
    await migrated.close();
  });
});

describe('the check at open', () => {
  it('is bounded, and says what it left out', async () => {
    const store = await open(folder);
    await step(store);
    await store.close();
    const warnings: object[] = [];
    const logger = { info: () => undefined, warn: (detail: object) => void warnings.push(detail) };
    await (await openWith({ logger, check_bytes_max: 4_096 })).close();
    expect(warnings).toMatchObject([{ skipped: expect.arrayContaining(['pending']) }]);
    const after = await openWith({ logger });
    await after.close();
    expect(warnings).toHaveLength(1);
    expect(() => after.get('pending', 1)).toThrow('closed');
    await expect(after.commit(() => 1)).rejects.toMatchObject({ code: 'store_closed' });
  });

  it('does not mind LMDB lock files, foreign files, or a file that LMDB made and nobody used', async () => {
    writeFileSync(join(folder, 'lock.mdb'), Buffer.alloc(8_192, 0xff));
    writeFileSync(join(folder, 'data.mdb'), '');
    writeFileSync(join(folder, 'README'), 'hello');
    const store = await open(folder);
    await step(store);
    await store.close();
    truncateSync(join(folder, 'data.mdb'), 3 * 4_096);
    await expect(open(folder)).rejects.toMatchObject({ code: 'store_corrupt' });
    writeFileSync(join(folder, 'data.mdb'), 'this is no database');
    await expect(open(folder)).rejects.toMatchObject({ code: 'store_corrupt' });
  });

  it('finds records that are gone and old ones that were put back, though each opens', async () => {
    const store = await open(folder);
    await store.commit((tx) => tx.put('meta', 'a', { v: 1 }));
    await store.commit((tx) => tx.put('pending', 1, { v: 1 }));
    await store.close();
    const name = Buffer.from('a');
    const edit = async (change: (meta: Database<Buffer, Buffer>) => void) => {
      const env = openLmdb({
        path: folder,
        noSubdir: false,
        encoding: 'binary',
        keyEncoding: 'binary',
        overlappingSync: false,
      });
      change(env.openDB<Buffer, Buffer>({ name: 'meta', encoding: 'binary', keyEncoding: 'binary' }));
      await env.close();
    };
    let old: Buffer | undefined;
    await edit((meta) => {
      old = meta.getBinary(name);
    });
    const again = await open(folder);
    await again.commit((tx) => tx.put('meta', 'a', { v: 2 }));
    await again.close();
    await edit((meta) => meta.putSync(name, old as Buffer));
    await expect(open(folder)).rejects.toMatchObject({ code: 'store_corrupt', detail: { table: 'meta' } });
    await edit((meta) => meta.removeSync(name));
    await expect(open(folder)).rejects.toMatchObject({ code: 'store_corrupt', detail: { table: 'meta' } });
  });
});

describe('a disk that refuses', () => {
  // The limit of file size of a process stands in for a full disk: it needs no privilege and can be lifted from outside.
  const possible = spawnSync('prlimit', ['--version']).status === 0;

  it.skipIf(!possible && process.env.CI !== 'true')(
    'acknowledges nothing, says so, and goes on when there is room',
    async () => {
      await (await open(folder)).close();
      const { child, line, errors } = start(
        ['-c', `ulimit -S -f 4096; exec "$0" "$@"`, process.execPath, PROCESS, 'fill', folder],
        '/bin/sh',
      );
      const failed = await line();
      expect(failed, errors()).toMatchObject({ failed: 'store_io', state: { writable: false, reason: 'io' } });
      expect(failed?.count).toBe(failed?.acknowledged);
      expect(statSync(join(folder, 'data.mdb')).size).toBeLessThanOrEqual(4_096 * 1_024);
      expect(await line(), errors()).toEqual({ came_back: 0 });
      spawnSync('prlimit', ['--pid', String(child.pid), '--fsize=unlimited']);
      child.stdin?.end('freed');
      const total = (failed?.acknowledged as number) + 1;
      expect(await line(), errors()).toEqual({ again: true, count: total, journal: total });
      const store = await open(folder).catch(async () => {
        await once(child, 'exit');
        return open(folder);
      });
      expect(store.count('ciphertexts')).toBe(total);
      await store.close();
    },
  );

  it('says so before it is full', async () => {
    const store = await openWith({ free_bytes_min: Number.MAX_SAFE_INTEGER });
    expect(store.state()).toMatchObject({ writable: true, reason: 'disk_low' });
    await step(store); // what is in hand goes on
    await store.close();
  });
});

describe('a flipped bit', () => {
  const flips = LONG ? 210 : 70;
  it(`ends in a Fault or harms nothing, ${flips} times over`, async () => {
    const store = await open(folder);
    for (let round = 0; round < 12; round++) {
      await Promise.all(Array.from({ length: 40 }, () => step(store)));
      await store.commit((tx) => {
        for (let n = 0; n < 30; n++)
          tx.put('machines', `asset/${(round * 7919 + n * 104729) % 400}`, {
            version: 1,
            value: 'Active',
            context: 'c'.repeat(n * 20),
          });
        tx.put('ciphertexts', `0x${String(round % 5).padStart(64, '0')}`, new Uint8Array(5_000 + round));
        if (round > 3) tx.remove('ciphertexts', `0x${String((round - 2) % 5).padStart(64, '0')}`);
      });
    }
    await store.close();
    const { line, child, errors } = start([
      PROCESS,
      'flip',
      folder,
      String(flips),
      String(Math.floor(Math.random() * 2 ** 31)),
    ]);
    let last: Line | undefined;
    let outcomes: Record<string, number> | undefined;
    for (let said = await line(); said !== undefined; said = await line()) {
      if (said.outcomes === undefined) last = said;
      else outcomes = said.outcomes as Record<string, number>;
    }
    expect(outcomes, `the process ended (${child.signalCode}) at ${JSON.stringify(last)}: ${errors()}`).toBeDefined();
    const { right = 0, store_corrupt = 0, store_rolled_back = 0, ...others } = outcomes ?? {};
    expect(others).toEqual({});
    expect(right + store_corrupt + store_rolled_back).toBe(flips);
    expect(store_corrupt).toBeGreaterThan(flips / 10);
  });
});

it('says that space is short until there is clearly more', async () => {
  const live = { free_bytes_min: 0 };
  const store = await openStore({
    ...{ folder, key: new Uint8Array(32).fill(7), map_bytes_max: 2 ** 30, commit_steps_max: 100, retry_ms: 20 },
    schema: { version: 1, migrations: [] },
    get free_bytes_min() {
      return live.free_bytes_min;
    },
  });
  const { free_bytes, reason } = store.state();
  expect(reason).toBeUndefined();
  const said = [1.1, 0.9, 0.85, 0.75, 0.9].map((share) => {
    live.free_bytes_min = free_bytes * share;
    return store.state().reason;
  });
  expect(said).toEqual(['disk_low', 'disk_low', 'disk_low', undefined, undefined]);
  await store.close();
});
