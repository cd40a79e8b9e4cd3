import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hex } from '../actors/encoding.ts';
import { NO_ASSETS, type Pending } from '../actors/ordering.ts';
import { loadConfig } from '../config/load.ts';
import { type Disk, faulty } from '../test/faulty.ts';
import { Cutter } from './cutter.ts';
import type { Fault } from './fault.ts';
import { Mempool } from './mempool.ts';
import { putMeta } from './records.ts';
import { Runtime } from './runtime.ts';
import { openStore, type Store } from './store.ts';

const { config } = loadConfig({ environment: {} });
const LOG = { chain_id: '31337', log_id: hex(new Uint8Array(64)), created_at_ms: 0 };
const quiet = { warn: () => {}, error: () => {} };
const turn = () => new Promise((resolve) => setImmediate(resolve));

const pending = (n: number): Pending => ({
  envelope_id: hex(new Uint8Array(32).fill(n + 1)),
  admission_sequence: n,
  admitted_cut: 0,
  order_by: 1_000,
  bytes: 100,
  fee_gwei: 0,
  risk_level: 0,
  requires_migration: false,
  assets: NO_ASSETS,
});

let folder: string;
let store: Store;
let disk: Disk;
let mempool: Mempool;
let cutter: Cutter;
const faults: Fault[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-cutter-'));
  const real = await openStore({
    folder,
    key: new Uint8Array(32),
    ...config.store,
    schema: { version: 1, migrations: [] },
  });
  ({ store, disk } = faulty(real));
  faults.length = 0;
  await store.commit((step) => {
    putMeta(step, 'genesis', LOG);
    const parent_digest = hex(new Uint8Array(64));
    putMeta(step, 'heights', { cut: 0, opened: 0, signed: 0, forgotten: 0, parent_digest, timestamp_ms: 0 });
    putMeta(step, 'epoch', { active: 1 });
    step.put('keysets', 1, { keyset: { secp256k1: null }, digest: parent_digest, leaf_index: 0 });
    putMeta(step, 'mempool', { count: 20, next_sequence: 20 });
    for (let n = 0; n < 20; n++) {
      step.put('pending', n, pending(n));
      step.put('envelopes', pending(n).envelope_id, {});
    }
  });
  disk.asked = 0;
  mempool = Mempool.load(store);
  const fatal = (error: unknown) => {
    throw error;
  };
  const runtime = new Runtime({ store, log: quiet, fatal });
  runtime.start([
    { kind: 'open', concurrency: 1, timeout_ms: 1, perform: () => new Promise(() => {}), settle: () => ({}) },
  ]);
  cutter = new Cutter({
    runtime,
    store,
    mempool,
    pool: undefined as never,
    log: LOG,
    keys: () => [],
    holds: () => false,
    options: () => ({ ...config.sequencer, ordering: config.ordering, hybrid_ecdsa: true }),
    now: () => 1,
    onRefused: () => {},
    onFault: (fault) => faults.push(fault),
    fatal,
  });
});
afterEach(async () => {
  await cutter.stop();
  await store.close();
  rmSync(folder, { recursive: true });
});

describe('a cut that meets an I/O error', () => {
  it('is tried again by the interval, not at once, and keeps the queue whole', async () => {
    disk.failures = 500;
    cutter.wake();
    await turn();
    expect(disk.asked).toBe(1);
    expect(faults.map(({ code }) => code)).toEqual(['store_io']);
    expect(mempool.size).toBe(20);
    expect(await cutter.cutNow()).toBeUndefined();
    disk.failures = 0;
    expect(await cutter.cutNow()).toBe(0);
    expect(mempool.size).toBe(0);
    expect(store.count('pending')).toBe(0);
  });
});
