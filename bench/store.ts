// What durability costs: steps of an admission's size (four records) one by one and by many at once, beside the disk's own fdatasync in
// the same run; the seal of a record beside bare AES-GCM; and the check at open of 100,000 records. `npm run bench` prints the figures;
// run alone with `node bench/store.ts`.
import { createCipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { openStore, type Store } from '../daemon/store.ts';
import { createVault } from '../daemon/vault.ts';
import type { Figure } from './figure.ts';

const ROUND_MS = 1_500;
const RECORDS = 100_000;
const SEALS = 50_000;

export async function run(): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-store-'));
  try {
    const syncs = bareSyncs(join(folder, 'bare'));
    const store = await open(folder);
    const figures = [
      ...(await admit(store, 1, syncs)),
      ...(await admit(store, 64, syncs)),
      ...sealing(),
      ...(await checking(store, folder)),
    ];
    return figures;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function open(folder: string): Promise<Store> {
  return openStore({
    folder,
    key: new Uint8Array(32),
    map_bytes_max: 2 ** 34,
    free_bytes_min: 0,
    commit_steps_max: 256,
    retry_ms: 1_000,
    schema: { version: 1, migrations: [] },
  });
}

let sequence = 0;

/** What an admission writes: metadata, status, ciphertext, journal entry. */
function step(store: Store): Promise<void> {
  return store.commit((tx) => {
    const n = sequence++;
    const id = `0x${n.toString(16).padStart(64, '0')}`;
    tx.put('pending', n, { n, pad: 'x'.repeat(400) });
    tx.put('envelopes', id, { status: 'pending', admission_sequence: n });
    tx.put('ciphertexts', id, new Uint8Array(1_300));
    tx.journal('tx_submitted', { envelope_id: id }, n);
  });
}

async function admit(store: Store, concurrent: number, floor: number): Promise<Figure[]> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let steps = 0;
  const start = performance.now();
  delay.enable();
  const worker = async () => {
    while (performance.now() - start < ROUND_MS) {
      await step(store);
      steps += 1;
    }
  };
  await Promise.all(Array.from({ length: concurrent }, worker));
  delay.disable();
  const value = (steps / (performance.now() - start)) * 1_000;
  const name = `store, ${concurrent} at once`;
  return [
    { name: `${name}, durable steps`, value, unit: '/s', floor, ratio: value / floor },
    { name: `${name}, main thread delay p99`, value: delay.percentile(99) / 1e6, unit: 'ms', reach: '< 20 ms' },
  ];
}

/** fdatasyncs a second of a growing file: a commit needs two writes to be on the disk, so one by one can reach half of it. */
function bareSyncs(path: string): number {
  const file = openSync(path, 'w');
  const bytes = Buffer.alloc(32 * 1_024);
  const start = performance.now();
  let count = 0;
  for (; performance.now() - start < ROUND_MS / 3; count++) {
    writeSync(file, bytes);
    fdatasyncSync(file);
  }
  closeSync(file);
  return (count / (performance.now() - start)) * 1_000;
}

function sealing(): Figure[] {
  const vault = createVault(randomBytes(32));
  const key = createSecretKey(randomBytes(32));
  const [name, plaintext, aad, nonce] = [
    new Uint8Array(32),
    new Uint8Array(1_024),
    new Uint8Array(42),
    new Uint8Array(12),
  ];
  const bare = () => {
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(aad);
    cipher.update(plaintext);
    cipher.final();
    cipher.getAuthTag();
  };
  const record = vault.seal('machines', name, plaintext);
  const floor = each(bare);
  const seal = each(() => vault.seal('machines', name, plaintext));
  const opened = each(() => vault.open('machines', name, record));
  return [
    { name: 'store, seal a record of 1 KB', value: seal, unit: 'µs', floor, ratio: seal / floor },
    { name: 'store, open a record of 1 KB', value: opened, unit: 'µs', floor, ratio: opened / floor },
  ];
}

async function checking(store: Store, folder: string): Promise<Figure[]> {
  for (let n = 0; n < RECORDS; ) {
    const steps = Array.from({ length: 50 }, () =>
      store.commit((tx) => {
        const context = { pad: 'x'.repeat(300) };
        for (let i = 0; i < 100; i++, n++) tx.put('machines', `asset/${n}`, { version: 1, value: 'Active', context });
      }),
    );
    await Promise.all(steps);
  }
  await store.close();
  const start = performance.now();
  const again = await open(folder);
  const value = performance.now() - start;
  const records = again.count('machines') + 3 * again.count('pending');
  await again.close();
  return [
    {
      name: `store, check at open per 100,000 records`,
      value: (value / records) * 100_000,
      unit: 'ms',
      reach: '< 500 ms',
    },
  ];
}

/** Microseconds of one call. */
function each(work: () => unknown): number {
  for (let n = 0; n < SEALS / 5; n++) work();
  const start = performance.now();
  for (let n = 0; n < SEALS; n++) work();
  return ((performance.now() - start) * 1_000) / SEALS;
}

if (import.meta.main) console.table(await run());
