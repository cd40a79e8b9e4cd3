// Bringing an older store forward, over a real one: what was on its way when the backup was taken comes out as it was published, and
// nothing is taken that is not one history with the store, its watermark and the heads. What an operator does is in
// test/restore.test.ts.
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BatchFile } from '../actors/batch.ts';
import { keysetDigest } from '../actors/digest.ts';
import { base64, hex, timestamp } from '../actors/encoding.ts';
import type { LogEntry, SignedHead } from '../actors/head.ts';
import type { ReportedIndicatorInput } from '../actors/indicator.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Pending } from '../actors/ordering.ts';
import { LOG_KINDS } from '../actors/tree.ts';
import { verifyBatch } from '../client/verify.ts';
import type { Config } from '../config/schema.ts';
import { enveloped, openHouse, quiet, signed } from '../test/house.ts';
import { itLong } from '../test/long.ts';
import { storeKey } from './keys/keyring.ts';
import { simulatorSource } from './keys/simulator.ts';
import { signedHead } from './log.ts';
import { type BatchRecord, type EnvelopeRecord, type KeysetRecord, meta, putMeta } from './records.ts';
import { type Brought, bringForward, type Forward, tryForward } from './resolution.ts';
import { Runtime, type Step } from './runtime.ts';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';
import { createSequencer, type Sequencer } from './sequencer.ts';
import { openStore, type Reader, type Store } from './store.ts';
import { readPosition } from './watermark.ts';

/** Takes so long to open that a backup can be taken meanwhile. */
const LARGE = 40;
const TRIES = 10;

let folder: string;
let config: Config;
let batches: BatchFile[];
let entries: LogEntry[];
let heads: SignedHead[];
let keysets: Keyset[];
let last: BatchFile;

const fatal = (error: unknown) => {
  throw error;
};
const runtimeOf = (store: Store) => new Runtime({ store, log: quiet, fatal });

/** The state folder with the older store in it, and the newer watermark beside. */
async function opened(state_dir = config.daemon.state_dir, put_back = true): Promise<Store> {
  const key = await storeKey(await simulatorSource(state_dir));
  const schema = { version: SCHEMA_VERSION, migrations: MIGRATIONS };
  return openStore({ folder: join(state_dir, 'store'), key, ...config.store, schema, put_back });
}

function publish(sequencer: Sequencer): void {
  const { store } = sequencer;
  const all = { limit: 100_000 };
  entries = [...store.range('log', all)].map(([leaf_index, { kind, digest }]) => ({
    ...{ leaf_index, digest, kind: LOG_KINDS[kind]! },
  }));
  heads = [...store.range('seals', all)].map(([size]) => signedHead(store, size)!);
  batches = Array.from({ length: meta(store, 'heights').signed }, (_, height) => sequencer.batch(height)!);
  keysets = [...store.range('keysets', all)].map(([, record]) => (record as KeysetRecord).keyset);
  last = batches.at(-1)!;
}

async function cutLarge(sequencer: Sequencer): Promise<number> {
  const envelopes = await Promise.all(Array.from({ length: LARGE }, () => enveloped(sequencer)));
  for (const envelope of envelopes) expect(await sequencer.submitEncrypted(envelope)).toMatchObject({ ok: true });
  return (await sequencer.createBatch())!;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-forward-'));
  await using house = await openHouse({ sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
  const { sequencer } = house;
  const older = join(folder, 'older');
  // With one batch cut and not signed, and one envelope that waits.
  for (let tries = 1; ; tries++) {
    const height = await cutLarge(sequencer);
    await sequencer.submitEncrypted(await enveloped(sequencer));
    rmSync(older, { recursive: true, force: true });
    const backup = sequencer.store.backup(older);
    await house.journaled('batch_created', (entry) => entry.height === height);
    await backup;
    const store = await openStore({
      ...{ folder: older, ...sequencer.config.store, schema: { version: SCHEMA_VERSION, migrations: MIGRATIONS } },
      key: await storeKey(await simulatorSource(house.state_dir)),
    });
    const { cut, signed: done } = meta(store, 'heights');
    await store.close();
    if (cut > done) break;
    expect(tries).toBeLessThan(TRIES);
  }
  const height = await cutLarge(sequencer);
  await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(height));
  publish(sequencer);
  await sequencer.close();
  const state_dir = join(folder, 'state');
  mkdirSync(state_dir);
  cpSync(house.state_dir, state_dir, { recursive: true, filter: (path) => !path.endsWith('.sock') });
  config = { ...sequencer.config, daemon: { ...sequencer.config.daemon, state_dir } };
  cpSync(join(older, 'data.mdb'), join(state_dir, 'store', 'data.mdb'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Changes {
  readonly entries?: (all: LogEntry[]) => LogEntry[];
  readonly batches?: (all: BatchFile[]) => BatchFile[];
  readonly heads?: (all: SignedHead[]) => SignedHead[];
  readonly marks?: Partial<Forward['marks']>;
}

async function forwardOf(store: Store, changes: Changes = {}): Promise<Forward> {
  const { size, sealed } = meta(store, 'log');
  const beyond = entries.filter(({ leaf_index }) => leaf_index >= size);
  const { batches: alter = (all) => all } = changes;
  const shown = (changes.heads ?? ((all) => all))(heads.filter(({ seal }) => seal.size > sealed));
  return {
    publication: {
      entries: (changes.entries ?? ((all) => all))(beyond),
      batches: new Map(alter(batches).map((file) => [file.height, file])),
      heads: new Map(shown.map((head) => [head.seal.size, head])),
      keysets: new Map(keysets.map((keyset) => [hex(keysetDigest(keyset)), keyset])),
    },
    marks: { ...(await readPosition(store))!, ...changes.marks },
    receipt: (promise) => ({
      ...{ log_id: meta(store, 'genesis').log_id, ...promise },
      ...{ algorithm: 'Ed25519', signature: base64(new Uint8Array(64)) },
    }),
  };
}

const other = `0x${'11'.repeat(64)}`;

describe('is not brought forward over', () => {
  const without = (height: number) => (all: BatchFile[]) => all.filter((file) => file.height !== height);
  const asKind = (kind: LogEntry['kind']) => (all: LogEntry[]) => [...all.slice(0, -1), { ...all.at(-1)!, kind }];
  it.each<[string, Changes, RegExp]>([
    ['nothing', { entries: () => [] }, /^nothing was published beyond what the store has$/],
    ['a batch that is missing', { batches: (all) => without(all.length - 1)(all) }, /^the publication lacks batch \d+/],
    [
      'a batch under another height',
      { batches: (all) => [...all.slice(0, -1), { ...all.at(-2)!, height: all.length - 1 }] },
      /^batch \d+ of the publication is not the one in the log$/,
    ],
    ['too few entries', { entries: (all) => all.slice(0, -1) }, /^the head of size \d+ covers entries that/],
    [
      'too few entries, without the heads that say so',
      { entries: (all) => all.slice(0, -1), heads: () => [] },
      /^the watermark permitted batch \d+, which the publication does not reach$/,
    ],
    [
      'entries that are not those of the head',
      { entries: asKind('policy') },
      /^the entries of the publication do not give the root of the head/,
    ],
    ['an epoch', { entries: asKind('epoch') }, /^entry \d+ begins an epoch whose keyset the publication lacks$/],
    ['a handover', { entries: asKind('handover') }, /^entry \d+ hands the log over/],
    [
      'another batch than was permitted',
      { marks: { batch: { number: 0, digest: other } } },
      /^the watermark permitted another batch 0 than the publication has$/,
    ],
    [
      'a larger head than was permitted',
      { marks: { head: { number: 1_000, digest: other } } },
      /^the watermark permitted head 1000, which the publication does not reach$/,
    ],
    [
      'another head than was permitted',
      { heads: (all) => all.slice(-1), marks: { head: { number: 1, digest: other } } },
      /^the watermark permitted another head 1 than/,
    ],
  ])('%s', async (_, changes, detail) => {
    const store = await opened();
    try {
      const { commits } = store.state();
      const brought = await tryForward(runtimeOf(store), await forwardOf(store, changes));
      expect(brought).toEqual({ ok: false, detail: expect.stringMatching(detail) });
      expect(store.state().commits).toBe(commits);
    } finally {
      await store.close();
    }
  });

  it('what the store was about to sign otherwise', async () => {
    const store = await opened();
    try {
      const { signed: height } = meta(store, 'heights');
      const forward = await forwardOf(store);
      const own = store.get('batches', height) as BatchRecord;
      const brought = await undone(store, (step) => {
        step.put('batches', height, { ...own, digest: other });
        return bringForward(step, forward);
      });
      expect(brought).toMatchObject({ ok: false, detail: expect.stringMatching(/two histories of one log$/) });
    } finally {
      await store.close();
    }
  });
});

it('forgets what the copy itself has ordered and never opened', async () => {
  const store = await opened();
  try {
    const { signed: height } = meta(store, 'heights');
    const forward = await forwardOf(store);
    const own = store.get('batches', height) as BatchRecord;
    const envelope_id = `0x${'22'.repeat(32)}`;
    const left: unknown[] = [];
    const brought = await undone(store, (step) => {
      const order = [{ envelope_id, admission_sequence: '9' }, ...own.order];
      step.put('batches', height, { ...own, digest: null, order });
      step.put('ordered', envelope_id, { height });
      step.put('envelopes', envelope_id, {});
      step.put('ciphertexts', envelope_id, new Uint8Array(1));
      const outcome = bringForward(step, forward);
      for (const table of ['ordered', 'envelopes', 'ciphertexts'] as const) left.push(step.get(table, envelope_id));
      left.push(step.get('ordered', own.order[0]!.envelope_id));
      return outcome;
    });
    expect(brought).toMatchObject({ ok: true });
    expect(left).toEqual([undefined, undefined, undefined, { height }]);
  } finally {
    await store.close();
  }
});

it('keeps what was published at a lower height than the copy itself had ordered it for', async () => {
  const store = await opened();
  try {
    const { signed: height } = meta(store, 'heights');
    const forward = await forwardOf(store);
    const own = store.get('batches', height) as BatchRecord;
    const moved = batches[height]!.order[0]!;
    const left: unknown[] = [];
    const brought = await undone(store, (step) => {
      step.put('batches', height + 1, { ...own, height: height + 1, digest: null, order: [moved] });
      step.put('ordered', moved.envelope_id, { height: height + 1 });
      putMeta(step, 'heights', { ...meta(step, 'heights'), cut: height + 2 });
      const outcome = bringForward(step, forward);
      for (const table of ['ordered', 'envelopes', 'ciphertexts'] as const)
        left.push(step.get(table, moved.envelope_id));
      return outcome;
    });
    expect(brought).toMatchObject({ ok: true });
    expect(left).toEqual([{ height }, expect.anything(), expect.anything()]);
  } finally {
    await store.close();
  }
});

it('lets nothing wait that was published, under whatever sequence the copy admitted it anew', async () => {
  const store = await opened();
  try {
    const forward = await forwardOf(store);
    const sequence = 900;
    const known = store.get('envelopes', batches[0]!.order[0]!.envelope_id) as EnvelopeRecord;
    const { envelope_id } = last.order.find((each) => store.get('envelopes', each.envelope_id) === undefined)!;
    const [[, waiting]] = [...store.range('pending', { limit: 1 })] as [[number, Pending]];
    let left: unknown;
    const brought = await undone(store, (step) => {
      const receipt = { ...known.receipt, envelope_id, admission_sequence: String(sequence) };
      step.put('envelopes', envelope_id, { ...known, receipt });
      step.put('pending', sequence, { ...waiting, envelope_id, admission_sequence: sequence });
      const mempool = meta(step, 'mempool');
      putMeta(step, 'mempool', { ...mempool, count: mempool.count + 1 });
      const outcome = bringForward(step, forward);
      left = { waiting: step.get('pending', sequence), count: meta(step, 'mempool').count };
      return outcome;
    });
    expect(brought).toMatchObject({ ok: true });
    expect(left).toEqual({ waiting: undefined, count: 0 });
  } finally {
    await store.close();
  }
});

it('goes by what was published where there is no watermark', async () => {
  const store = await opened();
  try {
    const brought = await tryForward(runtimeOf(store), {
      ...(await forwardOf(store)),
      marks: { batch: undefined, head: undefined },
    });
    expect(brought).toMatchObject({
      ...{ ok: true, act: { next_height: batches.length, heads_above: heads.at(-1)!.seal.size } },
    });
  } finally {
    await store.close();
  }
});

async function undone(store: Store, act: (step: Step) => Brought): Promise<Brought> {
  let brought: Brought | undefined;
  const failed = await runtimeOf(store)
    .commit((step) => {
      brought = act(step);
      throw new Error('undone');
    })
    .catch(({ message }: Error) => message);
  expect(failed).toBe('undone');
  return brought!;
}

it.each([
  ['every head that was shown', 0],
  // Promised when the disk was lost, and kept by nobody: no other head of its size is ever sealed.
  ['all heads but the newest', 1],
])('takes what was on its way as it came out, and orders nothing twice: with %s', async (_, unseen) => {
  const { daemon } = config;
  const place = join(folder, `with-${unseen}`);
  cpSync(daemon.state_dir, place, { recursive: true });
  const placed = { ...config, daemon: { ...daemon, state_dir: place } };
  await expect(opened(place, false)).rejects.toMatchObject({ code: 'store_rolled_back' });
  const store = await opened(place);
  expect(store.count('pending')).toBe(1);
  const forward = await forwardOf(store, { heads: (all) => all.slice(0, all.length - unseen) });
  const brought = await runtimeOf(store).commit((step) => bringForward(step, forward));
  const newest = heads.at(-1)!.seal.size;
  expect(brought).toMatchObject({
    ok: true,
    act: { to_size: entries.length, next_height: batches.length, heads_above: newest },
  });
  expect(store.count('pending')).toBe(0);
  expect(meta(store, 'mempool').count).toBe(0);
  // Killed now: the commit itself has passed the mark of the last orderly end.
  cpSync(place, `${place}-killed`, { recursive: true, filter: (path) => !path.endsWith('store.lock') });
  await (await opened(`${place}-killed`, false)).close();
  await store.close();

  await using sequencer = await createSequencer({ config: placed, log: quiet, fatal });
  const raw = Uint8Array.fromHex(last.transactions[0]!.raw.slice(2));
  for (const each of [raw, await signed()]) await sequencer.submitEncrypted(await enveloped(sequencer, each));
  const height = await sequencer.createBatch();
  expect(height).toBe(batches.length);
  await sequencer.finish();
  const next = sequencer.batch(height!)!;
  expect(next.header.parent_digest).toBe(last.batch_id);
  expect(next.refused.map(({ reason }) => reason)).toEqual(['replayed']);
  expect(next.transactions).toHaveLength(1);
  expect(Number(next.order[0]!.admission_sequence)).toBeGreaterThan(2 ** 24);
  const judge = (file: BatchFile) => verifyBatch(file, { allow_simulated: true, now_ms: Date.now() });
  expect(judge(next)).toMatchObject({ ok: true, status: 'sealed' });
  // As they were; what only the unseen head covered has a later one.
  const seen = heads.at(-1 - unseen)!.seal.size;
  for (const file of batches) {
    const now = sequencer.batch(file.height)!;
    if (file.slh_dsa_sig!.seal.size <= seen) expect(now).toEqual(file);
    else expect(judge(now)).toMatchObject({ ok: true, batch_id: file.batch_id, size: expect.toSatisfy(above(newest)) });
  }
  expect(sizes(sequencer.store).filter((size) => size > seen && size <= newest)).toEqual([]);
});

const above = (least: number) => (size: number) => size > least;
const sizes = (reader: Reader) => [...reader.range('seals', { limit: 1_000 })].map(([size]) => size);

itLong(
  'takes a rotation with the keys of its own root; older keys admit no more, and what an emergency took stays away',
  async () => {
    await using house = await openHouse({ sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
    const { sequencer, state_dir } = house;
    const one = async () => {
      await sequencer.submitEncrypted(await quantumSafe(sequencer));
      const height = (await sequencer.createBatch())!;
      await house.journaled('seal_created', (entry) => (entry.heights as number[]).includes(height));
    };
    await one();
    const older = join(folder, 'before-rotation');
    await sequencer.store.backup(older);
    await one();
    const late = await quantumSafe(sequencer);
    await sequencer.updateThreat(['ecdsa', 'rsa', 'bls'].map(severe));
    await house.journaled('rotation_executed', ({ to_epoch }) => to_epoch === 2);
    await one();
    publish(sequencer);
    await sequencer.close();
    cpSync(join(older, 'data.mdb'), join(state_dir, 'store', 'data.mdb'));

    const store = await opened(state_dir);
    const without = await forwardOf(store, { heads: () => [] });
    expect(await tryForward(runtimeOf(store), without)).toMatchObject({
      ...{ ok: false, detail: expect.stringMatching(/^the publication lacks the head that seals batch 1$/) },
    });
    const forward = await forwardOf(store);
    expect(await runtimeOf(store).commit((step) => bringForward(step, forward))).toMatchObject({
      ...{ ok: true, act: { next_height: 3 } },
    });
    await store.close();
    await using again = await createSequencer({ config: sequencer.config, log: quiet, fatal });
    expect(again.epoch.keyset.keyset).toEqual(keysets[1]);
    expect(batches.map(({ height }) => again.batch(height))).toEqual(batches);
    expect(await again.submitEncrypted(late)).toMatchObject({ ok: false, code: 'epoch_not_accepted' });
    expect(again.risk.allowed).toEqual({ ecdsa: false, schemes: ['x-wing'] });
    expect(await again.submitEncrypted(await enveloped(again))).toMatchObject({ code: 'scheme_not_accepted' });
    expect(await again.submitEncrypted(await quantumSafe(again))).toMatchObject({ ok: true });
    expect(await again.createBatch()).toBe(3);
    await again.finish();
    expect(verifyBatch(again.batch(3), { allow_simulated: true, now_ms: Date.now() })).toMatchObject({
      ...{ ok: true, status: 'sealed', epoch: 2 },
    });
  },
);

const quantumSafe = (made: Sequencer) => enveloped(made, undefined, 'x-wing');

function severe(sub_category: string): ReportedIndicatorInput {
  return {
    ...{ category: 'digital_signatures', sub_category, severity: 0.95, confidence: 0.95, source: 'a test' },
    ...{ timestamp: timestamp(Date.now()), description: 'A threat of the test.', era_relevance: 'fault_tolerant' },
    references: [],
  };
}
