// A simulation: the real intake, cutter, steps and runtime over a store in memory, in a world that fails by a seed. Envelopes
// come in bursts, some can't be opened, some are replays; commits and threads fail; the daemon is killed and comes back with
// other settings. What was promised must hold at the end, whatever happened. A failing seed becomes a test.
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ZERO_DIGEST } from '../actors/digest.ts';
import { base64, hex } from '../actors/encoding.ts';
import { CIPHERTEXT_BYTES_MAX, type Envelope } from '../actors/envelope.ts';
import { BATCH_BYTES_MAX, NO_ASSETS, type Pending } from '../actors/ordering.ts';
import type { Receipt } from '../actors/receipt.ts';
import { type OrderedEntry, replay } from '../actors/replay.ts';
import { loadConfig } from '../config/load.ts';
import { memoryStore } from '../test/memory.ts';
import { seeded } from '../test/seed.ts';
import type { OpenOutcome, OpenTask } from '../workers/open.ts';
import { WorkerError } from '../workers/pool.ts';
import { outcomeOf } from './batches.ts';
import { cut, settleOpened, settleSigned } from './batching.ts';
import { Cutter, type CutterOptions } from './cutter.ts';
import { EPOCH } from './epoch.ts';
import { Intake } from './intake.ts';
import { Mempool } from './mempool.ts';
import { batchRecord, envelopeRecord, meta, putMeta } from './records.ts';
import { type Performer, Runtime } from './runtime.ts';
import type { Store } from './store.ts';

const { config } = loadConfig({ environment: {} });
const LOG = { chain_id: '31337', log_id: hex(new Uint8Array(64)), created_at_ms: 0 };
const ZERO = hex(ZERO_DIGEST);
const receiptKey = generateKeyPairSync('ed25519').privateKey;
const quiet = { warn: () => {}, error: () => {} };

type Settings = CutterOptions & { capacity: number; age_max_cuts: number };

const within = (random: () => number, low: number, high: number) => low + Math.floor(random() * (high - low + 1));

function someSettings(random: () => number): Settings {
  const batch_size = within(random, 1, 8);
  const max_transactions_per_batch = batch_size + within(random, 0, 8);
  const age_max_cuts = within(random, 1, 6);
  return {
    batch_interval_ms: 1,
    batch_size,
    max_transactions_per_batch,
    open_max: max_transactions_per_batch + within(random, 0, 6),
    in_flight_max: within(random, 1, 4),
    ordering: { ...config.ordering, age_max_cuts },
    hybrid_ecdsa: false,
    capacity: within(random, 10, 60),
    age_max_cuts,
  };
}

/** What opening an envelope yields is in its first bytes. */
function opened(envelope: OpenTask['envelopes'][number]): OpenOutcome {
  const [kind, ...name] = envelope.ciphertext;
  const { envelope_id } = envelope;
  if (kind! < 60) return { ok: false, envelope_id, code: 'unopenable' };
  const tx_hash = hex(new Uint8Array(32).fill(kind! < 75 ? 1 : 2).map((byte, i) => (byte === 1 ? 1 : name[i % 15]!)));
  const raw = envelope.ciphertext;
  return { ok: true, envelope_id, raw, tx_hash, sender: hex(raw.slice(1, 21)), nonce: 0n } as unknown as OpenOutcome;
}

function house(store: Store, settings: Settings, random: () => number) {
  const fatals: unknown[] = [];
  const fatal = (error: unknown) => fatals.push(error);
  const runtime = new Runtime({ store, log: quiet, fatal });
  const mempool = Mempool.load(store);
  const pool = {
    run: async (_: string, task: OpenTask) => {
      for (let wait = within(random, 0, 3); wait > 0; wait--) await new Promise((resolve) => setImmediate(resolve));
      if (random() < 0.01) throw new WorkerError('open', 'simulated');
      return task.envelopes.map(opened);
    },
  };
  const cutter = new Cutter({
    ...{ runtime, store, mempool, fatal, log: LOG, pool: pool as never },
    keys: () => [],
    holds: () => false,
    options: () => settings,
    now: () => 1_000 + within(random, -500, 500),
    onRefused: () => {},
    onFault: () => {},
  });
  const intake = new Intake({
    ...{ runtime, store, mempool, log: LOG },
    receiptKey: () => receiptKey,
    options: () => ({ ...settings, retry_after_s: 1 }),
    now: () => 1,
  });
  const signer: Performer<{ ml_dsa: string; ecdsa: null }> = {
    kind: 'sign',
    concurrency: settings.in_flight_max,
    timeout_ms: 1_000,
    first: (reader) => meta(reader, 'heights').signed,
    perform: async (height) => ({ ml_dsa: String(height), ecdsa: null }),
    settle: (step, height, signed) => {
      settleSigned(step, height, signed, 1);
      return { next: height + 1, done: () => cutter.wake() };
    },
  };
  runtime.start([cutter.performer(settings.in_flight_max, 1_000), signer]);
  cutter.wake();
  return { runtime, mempool, cutter, intake, fatals };
}

async function genesis(store: Store): Promise<void> {
  const runtime = new Runtime({ store, log: quiet, fatal: () => {} });
  await runtime.commit((step) => {
    putMeta(step, 'genesis', LOG);
    putMeta(step, 'mempool', { count: 0, next_sequence: 0 });
    const heights = { cut: 0, opened: 0, signed: 0, forgotten: 0, parent_digest: ZERO, timestamp_ms: 0 };
    putMeta(step, 'heights', heights);
    putMeta(step, 'log', { size: 0, sealed: 0, sealing: null });
    putMeta(step, 'epoch', { active: 1 });
    step.put('keysets', 1, { keyset: { secp256k1: null }, digest: ZERO, leaf_index: 0 });
    step.begin(EPOCH, 1, { epoch: 1 });
    step.send(EPOCH, 1, { type: 'activated' });
  });
}

function envelope(random: () => number) {
  const bytes = Uint8Array.from({ length: 24 }, () => within(random, 0, 255));
  return {
    scheme: 'x-wing' as const,
    epoch: 1,
    encrypted_data: base64(bytes),
    asset_refs: [],
    priority_fee: String(BigInt(within(random, 0, 2_000)) * 10n ** 9n),
    risk_level: 0,
    requires_migration: false,
  };
}

async function simulate(seed: number, settingsOf: (random: () => number, life: number) => Settings) {
  const random = seeded(seed);
  let failing = 0;
  const memory = memoryStore(() => random() < failing);
  await genesis(memory.live().store);
  const receipts = new Map<string, Receipt>();
  const sent: Envelope[] = [];
  for (let life = 0; life < 4; life++) {
    const { store, kill } = memory.live();
    const { runtime, cutter, intake, mempool, fatals } = house(store, settingsOf(random, life), random);
    failing = 0.02;
    for (let burst = within(random, 5, 20); burst > 0; burst--) {
      const load = Array.from({ length: within(random, 1, 12) }, () =>
        random() < 0.1 && sent.length > 0 ? sent[within(random, 0, sent.length - 1)]! : envelope(random),
      );
      sent.push(...load);
      const admissions = await Promise.all(load.map((one) => intake.admit(one)));
      cutter.wake();
      for (const admission of admissions) {
        if (!admission.ok) continue;
        const first = receipts.get(admission.envelope_id);
        if (first !== undefined) expect(admission.receipt).toEqual(first);
        receipts.set(admission.envelope_id, admission.receipt);
      }
      for (let wait = within(random, 0, 6); wait > 0; wait--) await new Promise((resolve) => setImmediate(resolve));
    }
    failing = 0;
    if (life === 3) {
      while (mempool.size > 0 || store.count('outbox') > 0) await new Promise((resolve) => setTimeout(resolve, 1));
      expect(store.count('pending')).toBe(0);
      expect(meta(store, 'mempool').count).toBe(0);
    }
    expect(fatals).toEqual([]);
    // As SIGKILL: nothing is finished, and what was in memory is gone.
    kill();
    runtime.stop();
    void cutter.stop();
  }
  judge(memory.live().store, receipts);
}

function judge(store: Store, receipts: ReadonlyMap<string, Receipt>): void {
  const { cut, opened, signed } = meta(store, 'heights');
  expect([opened, signed]).toEqual([cut, cut]);
  const places = new Map<string, number>();
  let parent: string = ZERO;
  for (let height = 0; height < cut; height++) {
    const record = batchRecord(store, height);
    expect(record.header).toMatchObject({ height, parent_digest: parent, order_count: record.order.length });
    parent = record.digest!;
    for (const { envelope_id } of record.order) {
      expect(places.get(envelope_id)).toBeUndefined();
      places.set(envelope_id, height);
    }
    for (const index of record.execution) {
      const envelope = envelopeRecord(store, record.order[index]!.envelope_id)!;
      expect(outcomeOf(store, envelope)).toMatchObject({ status: 'sequenced', height });
    }
    expect(record.execution.length + record.refused.length).toBe(record.order.length);
  }
  for (const [id, receipt] of receipts) {
    expect(places.get(id)).toBeLessThanOrEqual(Number(receipt.order_by_height));
  }
  expect(places.size).toBe(store.count('envelopes'));
  const orders = ordersOf(store);
  expect(orders.length).toBeGreaterThanOrEqual(cut);
  expect(replay(orders)).toBeUndefined();
  const other = orders.find(({ order }) => order.length > 1);
  if (other !== undefined)
    expect(replay(orders.map((entry) => (entry === other ? swapped(entry) : entry)))).toBeDefined();
}

const ordersOf = (store: Store): OrderedEntry[] =>
  [...store.range('journal', { limit: 100_000 })].flatMap(([, { type, data }]) =>
    type === 'txs_ordered' ? [data as OrderedEntry] : [],
  );

/** As if the second had been preferred to the first. */
function swapped(entry: OrderedEntry): OrderedEntry {
  const exchange = <T>([first, second, ...rest]: readonly T[]): T[] => [second!, first!, ...rest];
  return { ...entry, order: exchange(entry.order), chosen: { ...entry.chosen, inputs: exchange(entry.chosen.inputs) } };
}

describe('a batch', () => {
  it('holds no more bytes than its record may, however many places it has', async () => {
    const { store } = memoryStore(() => false).live();
    await genesis(store);
    const pending = Array.from({ length: 400 }, (_, n): Pending => {
      const envelope_id = hex(new Uint8Array(32).fill(n >> 8).fill(n & 255, 1));
      const place = { admission_sequence: n, admitted_cut: 0, order_by: 1_000 };
      const rest = { fee_gwei: 0, risk_level: 0, requires_migration: false, assets: NO_ASSETS };
      return { envelope_id, bytes: CIPHERTEXT_BYTES_MAX, ...place, ...rest };
    });
    const queue = { below: pending.length, entries: () => pending };
    const policy = { ...someSettings(seeded(1)), max_transactions_per_batch: 10_000, open_max: 20_000 };
    const runtime = new Runtime({ store, log: quiet, fatal: () => {} });
    const idle = { concurrency: 1, timeout_ms: 1, perform: () => new Promise<never>(() => {}), settle: () => ({}) };
    runtime.start((['open', 'sign'] as const).map((kind) => ({ kind, ...idle })));
    const taken = await runtime.commit((step) => {
      for (const { envelope_id } of pending) {
        step.put('envelopes', envelope_id, { asset_refs: [] });
      }
      return cut(step, queue, policy, 0);
    });
    expect(taken.length).toBe(Math.floor(BATCH_BYTES_MAX / CIPHERTEXT_BYTES_MAX));
    const raw = `0x${'00'.repeat(CIPHERTEXT_BYTES_MAX)}`;
    const outcomes = taken.map((_, n) => {
      const tx_hash = hex(new Uint8Array(32).fill(n));
      return { ok: true as const, raw, tx_hash, sender: raw.slice(0, 42), nonce: '0' };
    });
    await runtime.commit((step) => settleOpened(step, 0, outcomes, queue, policy, LOG));
    expect(batchRecord(store, 0).execution.length).toBe(taken.length);
    runtime.stop();
  });
});

describe('a world that fails', () => {
  it.each(Array.from({ length: 12 }, (_, n) => n))('breaks no promise, seed %d', async (seed) => {
    const settings = someSettings(seeded(seed + 1_000));
    await simulate(seed, () => settings);
  });

  it.each(Array.from({ length: 12 }, (_, n) => n))('breaks none under settings that change, seed %d', async (seed) => {
    await simulate(seed, (random) => someSettings(random));
  });
});
