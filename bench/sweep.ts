// What it takes to move wrapped secrets to another epoch, with the settings that the daemon has: rows a second beside bare AES-GCM
// (open and seal) in the same run, and what the main thread feels meanwhile. A row costs three records in the store besides, and the
// sweep rests between chunks on purpose. `npm run bench` prints the figures.
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { base64 } from '../actors/encoding.ts';
import { loadConfig } from '../config/load.ts';
import { openStore, type Store } from '../daemon/store.ts';
import { Sweep } from '../daemon/sweep.ts';
import { nameKind, sealedKind } from '../daemon/wrapkinds.ts';
import { type WrapKeys, Wraps } from '../daemon/wraps.ts';
import { eciesKey } from '../workers/ecies.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import type { Figure } from './figure.ts';

const ASSETS = 20_000;
const NAMES = 500;
const BARE = 20_000;
const DELAY_REACH_MS = 20;

export async function run(): Promise<Figure[]> {
  const { config } = loadConfig({ environment: {} });
  const pool = createPool(config.workers);
  await pool.ready();
  try {
    const floor = bareRate();
    return [...(await swept('asset', ASSETS, pool, floor)), ...(await swept('name', NAMES, pool))];
  } finally {
    await pool.close();
  }
}

/** Rows a second of open and seal alone. */
function bareRate(): number {
  const key = createSecretKey(randomBytes(32));
  const [nonce, aad, secret] = [randomBytes(12), randomBytes(32), randomBytes(32)];
  const seal = () => {
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(aad);
    const ciphertext = cipher.update(secret);
    cipher.final();
    return { ciphertext, tag: cipher.getAuthTag() };
  };
  const start = performance.now();
  for (let n = 0; n < BARE; n++) {
    const { ciphertext, tag } = seal();
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 });
    decipher.setAAD(aad);
    decipher.setAuthTag(tag);
    decipher.update(ciphertext);
    decipher.final();
  }
  return (BARE / (performance.now() - start)) * 1_000;
}

function keysFor(epoch: number): WrapKeys {
  const names = eciesKey(Uint8Array.of(1, ...randomBytes(31)));
  const asset = createSecretKey(randomBytes(32));
  return { epoch, asset, names: names.handle, public: { names: base64(names.publicKey) } };
}

async function swept(kind: 'asset' | 'name', count: number, pool: Pool, floor?: number): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-sweep-'));
  const { config } = loadConfig({ environment: {} });
  const store = await openStore({
    folder,
    key: new Uint8Array(32),
    ...config.store,
    schema: { version: 1, migrations: [] },
  });
  const keys = new Map([1, 2].map((epoch) => [epoch, keysFor(epoch)]));
  let epoch = 1;
  const view = { active: () => epoch, accepts: () => true, keysOf: (wanted: number) => keys.get(wanted) };
  const wraps = new Wraps({ ...view, kinds: [sealedKind('asset', pool), nameKind(pool)], now: Date.now });
  try {
    await fill(store, wraps, kind, count);
    epoch = 2;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const options = () => config.rotation;
    const log = { warn: (_detail: object, message: string) => reject(new Error(message)) };
    const sweep = new Sweep({ ...view, store, wraps, options, log, onEmptied: resolve, fatal: reject });
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const start = performance.now();
    sweep.wake();
    await promise;
    const value = (count / (performance.now() - start)) * 1_000;
    delay.disable();
    await sweep.stop();
    const p99 = delay.percentile(99) / 1e6;
    return [
      { name: `sweep, ${kind}s moved`, value, unit: '/s', ...(floor !== undefined && { floor, ratio: value / floor }) },
      {
        name: `sweep, ${kind}s, main thread delay p99`,
        value: p99,
        unit: 'ms',
        reach: `< ${DELAY_REACH_MS} ms`,
        met: p99 < DELAY_REACH_MS,
      },
    ];
  } finally {
    await store.close();
    rmSync(folder, { recursive: true });
  }
}

async function fill(store: Store, wraps: Wraps, kind: string, count: number): Promise<void> {
  for (let from = 0; from < count; from += 500) {
    await store.commit((step) => {
      for (let n = from; n < Math.min(count, from + 500); n++) wraps.create(step, kind, `${n}`, randomBytes(32));
    });
  }
}

if (import.meta.main) console.table(await run());
