// A simulation of rotations: the real intake, cutter, sealer, rotator, steps and runtime over a store in memory, in a world
// that fails by a seed. Envelopes come under every epoch that a client may have kept, wishes come in the middle of everything,
// commits fail, and the daemon is killed and comes back. Whatever happened, each batch is signed and sealed by one epoch.
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ZERO_DIGEST } from '../actors/digest.ts';
import { base64, hex } from '../actors/encoding.ts';
import type { Envelope } from '../actors/envelope.ts';
import { PUBLIC_KEY_BYTES } from '../actors/keyset.ts';
import { LOG_KINDS } from '../actors/tree.ts';
import { loadConfig } from '../config/load.ts';
import { memoryStore } from '../test/memory.ts';
import { seeded } from '../test/seed.ts';
import type { OpenTask } from '../workers/open.ts';
import { settleSigned } from './batching.ts';
import { Cutter } from './cutter.ts';
import { EPOCH, inGrace, standing } from './epoch.ts';
import { Epochs } from './epochs.ts';
import { Fault } from './fault.ts';
import { Intake } from './intake.ts';
import { type EpochKeys, keysetOf } from './keys/keyring.ts';
import { appendLog } from './log.ts';
import { Mempool } from './mempool.ts';
import {
  batchRecord,
  envelopeRecord,
  keysetRecord,
  meta,
  pendingRotation,
  putMeta,
  type RotationRecord,
  type SealRecord,
} from './records.ts';
import { rotations } from './rotation.ts';
import { Rotator, type Wish } from './rotator.ts';
import { type Performer, Runtime } from './runtime.ts';
import { Sealer } from './sealer.ts';
import type { Store } from './store.ts';

const { config } = loadConfig({ environment: {} });
const LOG = { chain_id: '31337', log_id: hex(new Uint8Array(64)), created_at_ms: 0 };
const ZERO = hex(ZERO_DIGEST);
const receipt = generateKeyPairSync('ed25519').privateKey;
const quiet = { warn: () => {}, error: () => {} };
const turn = () => new Promise((resolve) => setImmediate(resolve));
const within = (random: () => number, low: number, high: number) => low + Math.floor(random() * (high - low + 1));

const SETTINGS = {
  ...{ batch_interval_ms: 1, batch_size: 3, max_transactions_per_batch: 6, open_max: 9, in_flight_max: 3 },
  ...{ ordering: config.ordering, hybrid_ecdsa: true, capacity: 200, age_max_cuts: 6, retry_after_s: 1 },
};
const ROTATION = { interval_s: 30, delay_blocks: 4, delay_max_s: 20, grace_s: 30 };

/** Keys that sign nothing, and whose public half says which epoch they are of. */
function keysOf(epoch: number): EpochKeys {
  const bytes = Object.entries(PUBLIC_KEY_BYTES).map(([name, length]) => [
    name,
    base64(new Uint8Array(length).fill(epoch)),
  ]);
  const published = { ...Object.fromEntries(bytes), tls: null };
  return { epoch, receipt, x_wing: epoch, ecies: epoch, public: published } as unknown as EpochKeys;
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
    const { keyset, digest } = keysetOf(keysOf(1), 'simulator', LOG, 0);
    step.put('keysets', 1, { keyset, digest, leaf_index: appendLog(step, 'epoch', digest) });
    step.begin(EPOCH, 1, { epoch: 1 });
    step.send(EPOCH, 1, { type: 'activated' });
  });
}

/** One life of a daemon. */
function house(store: Store, random: () => number, now: () => number, backlog: (epoch: number) => number) {
  const fatals: unknown[] = [];
  const fatal = (error: unknown) => fatals.push(error);
  const runtime = new Runtime({ store, log: quiet, fatal });
  const mempool = Mempool.load(store);
  const { active } = meta(store, 'epoch');
  const signing = pendingRotation(store) === undefined ? [active] : [active, active + 1];
  const epochs = new Epochs(store, signing.map(keysOf), inGrace(store).map(keysOf));
  const linger = async () => {
    for (let wait = within(random, 0, 4); wait > 0; wait--) await turn();
  };
  const pool = {
    run: async (job: string, task: OpenTask) => {
      await linger();
      if (job === 'seal') return { slh_dsa: new Uint8Array(1), ml_dsa: new Uint8Array(1) };
      const keys = task.keys.map(({ epoch }) => epoch);
      return task.envelopes.map(({ envelope_id, epoch }) => {
        if (!keys.includes(epoch)) throw new Error(`no key for an envelope of epoch ${epoch}`);
        return { ok: false, envelope_id, code: 'unopenable' };
      });
    },
  } as never;
  const common = { runtime, store, log: LOG, now, fatal, onFault: () => {} };
  const rotator: Rotator = new Rotator({
    ...common,
    ...{ epochs, source: 'simulator', options: () => ROTATION },
    derive: async (epoch) => {
      await linger();
      return keysOf(epoch);
    },
    backlog: (_, epoch) => backlog(epoch),
    onAnnounced: () => sealer.wake(),
    onUnsealed: () => sealer.hurry(),
    onExecuted: () => {
      cutter.wake();
      sealer.wake();
    },
  });
  const cutter = new Cutter({
    ...{ ...common, mempool, pool, options: () => SETTINGS, onRefused: () => {} },
    keys: (wanted) => epochs.opening(wanted),
    holds: (reader) => rotator.holdsCuts(reader),
  });
  const sealer = new Sealer({
    ...{ ...common, pool, epochs, config_digest: ZERO, retention_batches: 0, interval_ms: () => 0 },
    attester: { notAfter: (from_ms: number) => from_ms, attest: async () => ({}), providers: () => 1 } as never,
    watermark: { permit: async () => {} } as never,
    holds: (reader) => rotator.holdsSeals(reader),
  });
  const intake = new Intake({
    ...{ ...common, mempool, options: () => SETTINGS },
    receiptKey: (epoch) => epochs.signing(epoch).receipt,
  });
  const signer: Performer<{ ml_dsa: string; ecdsa: null }> = {
    ...{ kind: 'sign', concurrency: SETTINGS.in_flight_max, timeout_ms: 1_000 },
    first: (reader) => meta(reader, 'heights').signed,
    async perform(height) {
      epochs.signing(batchRecord(store, height).epoch);
      await linger();
      return { ml_dsa: String(height), ecdsa: null };
    },
    settle(step, height, signed) {
      settleSigned(step, height, signed, now());
      const done = () => {
        for (const room of [cutter, sealer, rotator]) room.wake();
      };
      return { next: height + 1, done };
    },
  };
  runtime.start([
    cutter.performer(SETTINGS.in_flight_max, 1_000),
    signer,
    sealer.performer(1_000, () => rotator.wake()),
  ]);
  const wake = () => {
    for (const room of [cutter, sealer, rotator]) room.wake();
  };
  wake();
  const end = () => {
    runtime.stop();
    sealer.stop();
    void cutter.stop();
    void rotator.stop();
  };
  return { runtime, mempool, epochs, rotator, intake, fatals, wake, end };
}

function envelope(random: () => number, epoch: number): Envelope {
  const encrypted_data = base64(Uint8Array.from({ length: 24 }, () => within(random, 0, 255)));
  const claims = { asset_refs: [], priority_fee: '1000000000', risk_level: 0, requires_migration: false };
  return { scheme: 'x-wing', epoch, encrypted_data, ...claims };
}

const WISHES: readonly Wish[] = [
  { reason: 'manual' },
  { reason: 'manual', delay_blocks: 0 },
  { reason: 'risk', urgency: 'scheduled' },
  { reason: 'risk', urgency: 'emergency' },
  { reason: 'compromise' },
];

async function simulate(seed: number): Promise<Store> {
  const random = seeded(seed);
  let failing = 0;
  let clock_ms = 0;
  let backlog = 3;
  const memory = memoryStore(() => random() < failing);
  await genesis(memory.live().store);
  const receipts = new Map<string, { order_by_height: string; epoch: number }>();
  for (let life = 0; life < 6; life++) {
    const { store, kill } = memory.live();
    const { mempool, rotator, intake, fatals, wake, end } = house(
      store,
      random,
      () => clock_ms,
      () => backlog,
    );
    failing = 0.02;
    for (let burst = within(random, 5, 25); burst > 0; burst--) {
      clock_ms += within(random, 0, 4_000);
      if (random() < 0.15) void rotator.rotate(WISHES[within(random, 0, WISHES.length - 1)]!).catch(() => {});
      const { active } = meta(store, 'epoch');
      const load = Array.from({ length: within(random, 1, 8) }, () => envelope(random, within(random, 1, active + 1)));
      for (const [i, admission] of (await Promise.all(load.map((one) => intake.admit(one)))).entries()) {
        if (admission.ok) receipts.set(admission.envelope_id, admission.receipt);
        else if (admission.code === 'epoch_not_accepted') expect(load[i]!.epoch).not.toBe(admission.current_epoch);
      }
      backlog = within(random, 0, 2);
      wake();
      for (let wait = within(random, 0, 12); wait > 0; wait--) await turn();
    }
    failing = 0;
    if (life === 5) {
      backlog = 0;
      const isSealed = () => meta(store, 'log').sealed === meta(store, 'log').size;
      while (mempool.size > 0 || store.count('outbox') > 0 || !isSealed()) {
        expect(fatals).toEqual([]);
        clock_ms += 1_000;
        wake();
        await turn();
      }
    }
    expect(fatals).toEqual([]);
    kill();
    end();
  }
  const { store } = memory.live();
  judge(store, receipts);
  return store;
}

function judge(store: Store, receipts: ReadonlyMap<string, { order_by_height: string; epoch: number }>): void {
  const places = new Map<string, number>();
  const { cut, signed } = meta(store, 'heights');
  expect(signed).toBe(cut);
  for (let height = 0; height < cut; height++) {
    for (const { envelope_id } of batchRecord(store, height).order) {
      expect(places.has(envelope_id)).toBe(false);
      places.set(envelope_id, height);
    }
  }
  expect(places.size).toBe(store.count('envelopes'));
  for (const [id, { order_by_height, epoch }] of receipts) {
    const height = places.get(id)!;
    expect(height).toBeLessThanOrEqual(Number(order_by_height));
    // Grace signs nothing new, and no epoch signs before its time.
    expect(epoch).toBeGreaterThanOrEqual(envelopeRecord(store, id)!.epoch);
    expect(epoch).toBeLessThanOrEqual(batchRecord(store, height).epoch);
  }
  judgeEpochs(store);
}

/** Every batch is sealed by its own epoch, and every keyset by the epoch before it. */
function judgeEpochs(store: Store): void {
  const epochs = [...store.range('rotations', { limit: 1_000 })].map(([, record]) => record as RotationRecord);
  const executed = epochs.filter(({ first_height }) => first_height !== null);
  const epochAt = (height: number) => executed.findLast(({ first_height }) => first_height! <= height)?.to_epoch ?? 1;
  let from = 0;
  let sealedBy = 1;
  const vouched = new Map<string, number>();
  for (const [, seal] of store.range('seals', { limit: 100_000 })) {
    const { head } = seal as SealRecord;
    expect(head.epoch).toBeGreaterThanOrEqual(sealedBy);
    expect(head.keyset_digest).toBe(keysetRecord(store, head.epoch)!.digest);
    sealedBy = head.epoch;
    for (const [, { kind, digest }] of store.range('log', { start: from, end: head.size, limit: 1_000 })) {
      if (LOG_KINDS[kind] === 'epoch') vouched.set(digest, head.epoch);
      if (LOG_KINDS[kind] !== 'batch') continue;
      const { height } = store.get('batch_ids', digest)!;
      expect([height, head.epoch, epochAt(height)]).toEqual([height, batchRecord(store, height).epoch, head.epoch]);
    }
    from = head.size;
  }
  for (const { from_epoch, to_epoch, first_height, at_height } of executed) {
    // Under any load: nothing is cut once it is due.
    expect(first_height).toBeLessThanOrEqual(at_height);
    expect(vouched.get(keysetRecord(store, to_epoch)!.digest)).toBe(from_epoch);
  }
  expect(Object.values(rotations(store)).reduce((sum, count) => sum + count, 0)).toBe(executed.length);
  expect(meta(store, 'epoch').active).toBe(executed.length + 1);
  for (let epoch = 1; epoch <= executed.length; epoch++) {
    expect(['grace', 'retired']).toContain(standing(store, epoch)!.state);
    expect(inGrace(store).includes(epoch)).toBe(standing(store, epoch)!.state === 'grace');
  }
}

describe('rotations in a world that fails', () => {
  it.each(Array.from({ length: 30 }, (_, n) => n))('lose, double and mix nothing, seed %d', async (seed) => {
    await simulate(seed);
  });

  it('come for every reason, and retire what they should', async () => {
    const counts: Record<string, number> = {};
    const reasons = ['scheduled', 'manual', 'risk', 'compromise'];
    let retired = 0;
    // Ten worlds have seen them all but once in some hundred runs, since what comes between two turns isn't the seed's.
    const lacks = () => retired <= 10 || reasons.some((reason) => !counts[reason]);
    for (let seed = 100; seed < 110 || (seed < 200 && lacks()); seed++) {
      const store = await simulate(seed);
      for (const [reason, count] of Object.entries(rotations(store))) counts[reason] = (counts[reason] ?? 0) + count;
      for (const [, { type }] of store.range('journal', { limit: 100_000 })) if (type === 'epoch_retired') retired += 1;
    }
    for (const reason of reasons) expect([reason, counts[reason] ?? 0]).not.toEqual([reason, 0]);
    expect(retired).toBeGreaterThan(10);
  });
});

describe('keys that cannot be had', () => {
  /** A rotator alone, whose key source fails for as long as it is told to. */
  async function alone() {
    const { store } = memoryStore(() => false).live();
    await genesis(store);
    const fatals: unknown[] = [];
    const fatal = (error: unknown) => fatals.push(error);
    const runtime = new Runtime({ store, log: quiet, fatal });
    const source = { failing: true, asked: 0, answers: Promise.withResolvers<void>() };
    const rotator = new Rotator({
      ...{ runtime, store, source: 'simulator', options: () => ROTATION, now: () => 1, fatal },
      epochs: new Epochs(store, [keysOf(1)], []),
      derive: async (epoch) => {
        source.asked += 1;
        await source.answers.promise;
        if (source.failing) throw new Fault({ code: 'key_source_failed', source: 'simulator', reason: 'of a test' });
        await turn();
        return keysOf(epoch);
      },
      backlog: () => 0,
      onUnsealed: async () => {},
      ...{ onAnnounced: () => {}, onExecuted: () => {}, onFault: () => {} },
    });
    return { store, rotator, source, fatals };
  }

  it('are asked for once for all who waited for them', async () => {
    const { store, rotator, source } = await alone();
    const wishes = Array.from({ length: 50 }, () => rotator.rotate({ reason: 'manual' }));
    source.answers.resolve();
    const outcomes = await Promise.allSettled(wishes);
    const failed = {
      status: 'rejected',
      reason: expect.objectContaining({ detail: expect.objectContaining({ code: 'key_source_failed' }) }),
    };
    expect(outcomes).toEqual(wishes.map(() => failed));
    expect([source.asked, pendingRotation(store)]).toEqual([1, undefined]);
    source.failing = false;
    expect(await rotator.rotate({ reason: 'manual' })).toMatchObject({ ok: true });
    await rotator.stop();
  });

  it('let one wish in when they come back, although another platform wants a rotation too', async () => {
    const { store, rotator, source, fatals } = await alone();
    const measurements = (mrtd: string) => ({ measurements: { mrtd } }) as never;
    await store.commit((step) => putMeta(step, 'measurements', { mrtd: 'before' } as never));
    const again = rotator.rotate({ reason: 'manual' }).catch(() => {
      source.failing = false;
      return rotator.rotate({ reason: 'compromise' });
    });
    rotator.measured(measurements('now'));
    await turn();
    source.answers.resolve();
    expect(await again).toMatchObject({ ok: true, rotation: { to_epoch: 2 } });
    while ((store.get('meta', 'measurements') as { mrtd: string }).mrtd !== 'now') await turn();
    expect([fatals, pendingRotation(store)?.to_epoch]).toEqual([[], 2]);
    await rotator.stop();
  });
});
