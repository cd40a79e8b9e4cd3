// A process that wraps secrets, uses them, moves them to another epoch, lets the first epoch's keys go, and waits: for
// test/keymemory.test.ts, which searches its memory. It derives everything from a root that the test knows.
//
//   node test/wrapprocess.ts FOLDER ROOT_FILE COUNT
import { hkdfSync } from 'node:crypto';
import { open } from 'node:fs/promises';
import { deriveReading } from '../daemon/keys/keyring.ts';
import { offHeap, readSecret } from '../daemon/keys/secret.ts';
import { putMeta } from '../daemon/records.ts';
import { openStore } from '../daemon/store.ts';
import { Sweep } from '../daemon/sweep.ts';
import { nameKind, sealedKind } from '../daemon/wrapkinds.ts';
import { type WrapKeys, Wraps } from '../daemon/wraps.ts';
import { collect } from '../workers/collect.ts';
import { createPool } from '../workers/pool.ts';

const [folder = '', root_file = '', count = ''] = process.argv.slice(2);

async function root(): Promise<Uint8Array> {
  await using file = await open(root_file);
  return (await readSecret(file, 32))!;
}
const source = { name: 'credential' as const, material: root };

/** The secret of a number, as the test computes it, too. */
async function planted(n: number): Promise<Uint8Array> {
  const material = await root();
  const secret = offHeap(32);
  const derived = new Uint8Array(hkdfSync('sha512', material, new Uint8Array(0), `planted/${n}`, 32));
  secret.set(derived);
  derived.fill(0);
  material.fill(0);
  return secret;
}

const pool = createPool({ open_threads: 2, sign_threads: 1, queue_max: 64, task_timeout_ms: 20_000, seal_nice: 0 });
const keys = new Map<number, WrapKeys>();
for (const epoch of [1, 2]) keys.set(epoch, await deriveReading(source, epoch));
const store = await openStore({
  folder,
  key: new Uint8Array(32),
  map_bytes_max: 2 ** 28,
  free_bytes_min: 0,
  commit_steps_max: 100,
  retry_ms: 100,
  schema: { version: 1, migrations: [] },
});
let active = 1;
const view = { active: () => active, accepts: () => true, keysOf: (epoch: number) => keys.get(epoch) };
const wraps = new Wraps({ ...view, kinds: [sealedKind('asset', pool), nameKind(pool)], now: () => 0 });
const kinds = ['asset', 'name'] as const;

await store.commit((step) => putMeta(step, 'epoch', { active: 1 }));
for (let n = 0; n < Number(count); n++) {
  const secret = await planted(n);
  for (const kind of kinds) await store.commit((step) => wraps.create(step, kind, `${n}`, secret));
  secret.fill(0);
}

async function useAll(): Promise<number> {
  let used = 0;
  for (let n = 0; n < Number(count); n++) {
    for (const kind of kinds) {
      const { ok } = await wraps.use(store, kind, `${n}`, (secret) => void secret.length);
      if (ok) used += 1;
    }
  }
  return used;
}

let used = await useAll();
active = 2;
const { promise, resolve, reject } = Promise.withResolvers<number>();
const options = () => ({ sweep_rows: 10, sweep_pause_ms: 0 });
const log = { warn: (_detail: object, message: string) => reject(new Error(message)) };
const sweep = new Sweep({ ...view, store, wraps, options, log, onEmptied: resolve, fatal: reject });
sweep.wake();
await promise;
await sweep.stop();
used += await useAll();

keys.delete(1);
await pool.collect();
collect();
process.stdout.write(`${used}\n`);
setInterval(() => {}, 60_000);
