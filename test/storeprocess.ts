/**
 * A process that uses a store for the tests of `daemon/store.damage.test.ts`, which kill it, take its disk away, or damage its file:
 * what must not happen to the test's own process. Speaks lines of JSON on stdout.
 *
 *   node test/storeprocess.ts hold   FOLDER                opens and waits
 *   node test/storeprocess.ts load   FOLDER                commits as fast as it can; a line for each acknowledged step
 *   node test/storeprocess.ts fill   FOLDER                commits until the disk refuses, waits, goes on
 *   node test/storeprocess.ts flip   FOLDER COUNT SEED     flips one bit after another of a closed store, opens, reads, writes
 */
import { copyFileSync, mkdirSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../daemon/fault.ts';
import { openStore, type Store } from '../daemon/store.ts';
import { tableNames } from '../daemon/tables.ts';

/** In 5 ms each, so that the store has tried many times. */
const LOOKS = 100;

const [mode, folder = '', count = '0', seed = '1'] = process.argv.slice(2);

export function open(path: string): Promise<Store> {
  return openStore({
    folder: path,
    key: new Uint8Array(32).fill(7),
    map_bytes_max: 2 ** 30,
    free_bytes_min: 0,
    commit_steps_max: 100,
    retry_ms: 20,
    schema: { version: 1, migrations: [] },
  });
}

function say(line: object): void {
  writeSync(1, `${JSON.stringify(line)}\n`);
}

/** Step n writes one record into each kind of table, owes effect n, and settles effect n − 10 when n is a multiple of 3. */
export function step(store: Store): Promise<number> {
  return store.commit((tx) => {
    const n = (tx.get('meta', 'next') as { n: number } | undefined)?.n ?? 1;
    tx.put('meta', 'next', { n: n + 1 });
    tx.put('pending', n, { n, pad: 'x'.repeat(n % 700) });
    if (n > 20) tx.remove('pending', n - 20);
    tx.journal('tx_submitted', { n }, n);
    tx.effect({ kind: 'open', subject: n });
    if (n % 3 === 0 && n > 10) tx.settle(n - 10);
    return n;
  });
}

async function load(): Promise<void> {
  const store = await open(folder);
  const worker = async () => {
    for (;;) say({ acknowledged: await step(store) });
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}

async function fill(): Promise<void> {
  process.on('SIGXFSZ', () => undefined); // without a handler the limit would kill the process
  const store = await open(folder);
  let acknowledged = 0;
  const add = (n: number) =>
    store.commit((tx) => {
      tx.put('ciphertexts', `0x${n.toString(16).padStart(64, '0')}`, new Uint8Array(20_000).fill(n));
      tx.journal('tx_submitted', { n }, n);
    });
  const error = await (async () => {
    for (;;) {
      try {
        const from = acknowledged;
        await Promise.all(Array.from({ length: 10 }, (_, i) => add(from + i)));
        acknowledged += 10;
      } catch (error) {
        return error;
      }
    }
  })();
  say({
    failed: error instanceof Fault ? error.code : String(error),
    acknowledged,
    state: store.state(),
    count: store.count('ciphertexts'),
  });
  // Small records would still fit: it must not come back for as long as what failed does not.
  const { promise: freed, resolve: free } = Promise.withResolvers<void>();
  process.stdin.once('data', () => free());
  let came_back = 0;
  for (let look = 0; look < LOOKS; look++) {
    await delay(5);
    if (store.state().writable) {
      came_back += 1;
      await add(acknowledged).catch(() => undefined);
    }
  }
  say({ came_back });
  await freed;
  while (!store.state().writable) await delay(5);
  await add(acknowledged);
  say({ again: true, count: store.count('ciphertexts'), journal: store.verifyJournal() });
  await store.close();
}

/** All that the store holds, for comparing. */
function dump(store: Store): string {
  return JSON.stringify(
    tableNames.map((name) => (name === 'meta' ? [] : [name, ...store.range(name, { limit: 100_000 })])),
    (_, value) => (value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value),
  );
}

async function flip(): Promise<void> {
  const original = await open(folder);
  const truth = dump(original);
  await original.close();
  const bytes = statSync(join(folder, 'data.mdb')).size;
  const scratch = join(folder, 'scratch');
  const random = generator(Number(seed));
  const outcomes: Record<string, number> = {};
  for (let i = 0; i < Number(count); i++) {
    rmSync(scratch, { recursive: true, force: true });
    mkdirSync(scratch);
    copyFileSync(join(folder, 'data.mdb'), join(scratch, 'data.mdb'));
    copyFileSync(join(folder, 'store.closed'), join(scratch, 'store.closed'));
    // By turns: anywhere; where LMDB keeps page headers and pointers; in the meta pages.
    const page = Math.floor((random() * bytes) / 4_096) * 4_096;
    const at = [
      Math.floor(random() * bytes),
      page + Math.floor(random() * 64),
      Math.floor(random() * 2) * 4_096 + Math.floor(random() * 200),
    ];
    const offset = at[i % 3] as number;
    const bit = Math.floor(random() * 8);
    say({ flipping: offset, bit }); // if the process dies now, the test can say where
    flipBit(join(scratch, 'data.mdb'), offset, bit);
    const outcome = await survive(scratch, truth);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
  say({ outcomes });
}

/** Opens, reads all, writes, and does it again: a Fault, or everything right. */
async function survive(path: string, truth: string): Promise<string> {
  for (let round = 0; round < 2; round++) {
    let store: Store | undefined;
    try {
      store = await open(path);
      if (dump(store) !== truth) return 'wrong';
      store.verifyJournal();
      const big = new Uint8Array(9_000);
      for (let n = 0; n < 30; n++)
        await store.commit((tx) => tx.put('meta', `filler/${n}`, { big: Buffer.from(big).toString('base64') }));
      if (dump(store) !== truth) return 'wrong after writing';
    } catch (error) {
      if (error instanceof Fault) return error.code;
      return `unexpected: ${error instanceof Error ? error.message : String(error)}`;
    } finally {
      await store?.close();
    }
  }
  return 'right';
}

function flipBit(path: string, offset: number, bit: number): void {
  const file = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  writeSync(file, Buffer.of((byte[0] as number) ^ (1 << bit)), 0, 1, offset);
}

/** mulberry32: a seed gives the same flips again. */
function generator(start: number): () => number {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

if (mode === 'hold') {
  await open(folder);
  say({ open: true });
  setInterval(() => undefined, 1_000);
} else if (mode === 'load') await load();
else if (mode === 'fill') await fill();
else if (mode === 'flip') await flip();
