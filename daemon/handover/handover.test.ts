// A handover between two enclaves in this process, over HTTP: two simulated platforms with roots of their own, two images, and stores,
// threads and clients that are the real ones. What each message does that is lost, doubled or forged is here too; processes that are
// killed are in test/handover.test.ts.
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Measurement } from '../../actors/act.ts';
import { sealDigest } from '../../actors/digest.ts';
import { hex } from '../../actors/encoding.ts';
import type { SealedHandover } from '../../actors/handover.ts';
import type { AuditState } from '../../client/auditor.ts';
import { verifyHandover } from '../../client/handover.ts';
import { verifyHead } from '../../client/head.ts';
import { DEFAULT_POLICY } from '../../client/policy.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import { verifyBatch } from '../../client/verify.ts';
import { cutting } from '../../test/cutting.ts';
import { enveloped, journaled, signed, until } from '../../test/house.ts';
import { itLong } from '../../test/long.ts';
import { Petitioner, post } from '../../test/petitioner.ts';
import { allow, type Enclave, measurementOf, Platforms } from '../../test/succession.ts';
import { outcomeOf } from '../batches.ts';
import { connect } from '../cli/connection.ts';
import { look } from '../cli/look.ts';
import { Owner } from '../demo/owner.ts';
import { inGrace } from '../epoch.ts';
import { envelopeRecord, keysetRecord, meta } from '../records.ts';
import { hashState } from './state.ts';

const GOES_ON = 'http://127.0.0.1:9';
const judgement = () => ({ policy: DEFAULT_POLICY, allow_simulated: true, now_ms: Date.now() });
const FREE = { requires_pqc: false, requires_tee: false, risk_threshold: 10_000 };
const file = (asset_id: string) => ({ asset_id, asset_type: 'OffChainFile', access_policy: FREE }) as const;

let platforms: Platforms;
beforeEach(() => {
  platforms = new Platforms();
});
afterEach(() => platforms[Symbol.asyncDispose]());

/** Envelopes to the keyset of this epoch. @returns their ids */
async function submitted({ sequencer }: Enclave, count: number, epoch = sequencer.epoch.keys.epoch): Promise<string[]> {
  const { keyset } = keysetRecord(sequencer.store, epoch)!;
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    const scheme = i % 2 === 0 ? 'ecies' : 'x-wing';
    const answer = await sequencer.submitEncrypted(await encryptEnvelope({ keyset, raw: await signed(), scheme }));
    if (!answer.ok) throw new Error(answer.code);
    ids.push(answer.envelope_id);
  }
  return ids;
}

const statuses = ({ sequencer: { store } }: Enclave, ids: readonly string[]) =>
  ids.map((id) => outcomeOf(store, envelopeRecord(store, id)!).status);

const whole = ({ sequencer: { store } }: Enclave) => until(() => meta(store, 'log').size === meta(store, 'log').sealed);

async function rotated({ sequencer }: Enclave): Promise<void> {
  await sequencer.rotate({ reason: 'manual', urgency: 'emergency' });
  await journaled(sequencer, 'rotation_executed', ({ to_epoch }) => to_epoch === 2);
}

/** A secret in the clear, as hex, for as long as a comparison takes. */
async function secretOf({ sequencer }: Enclave, kind: string, id: string): Promise<string> {
  const used = await sequencer.wrapping.wraps.use(sequencer.store, kind, id, (secret) => hex(secret.slice()));
  if (!used.ok) throw new Error(used.code);
  return used.result;
}

/** An enclave with something of everything: two epochs, batches of both, pending envelopes of both, assets, a name. */
async function loaded(): Promise<Enclave> {
  const old = await platforms.start('old', { more: { names: { router: GOES_ON } } });
  const { sequencer } = old;
  await submitted(old, 3);
  await sequencer.createBatch();
  for (const id of ['gold', 'iron', 'tin']) await sequencer.registerAsset(file(id));
  await sequencer.store.commit((step) => {
    sequencer.wrapping.wraps.create(step, 'asset', 'iron', new Uint8Array(32).fill(7));
  });
  const owner = new Owner(new Uint8Array(32).fill(5));
  const names = Uint8Array.fromBase64(sequencer.keyset.names!);
  const record = await owner.record('/ipfs/a', 1n, Date.now() + 86_400_000);
  await sequencer.names.enrol([owner.enrolment(record, 1, names)]);
  await whole(old);
  await rotated(old);
  await submitted(old, 1);
  await sequencer.createBatch();
  return old;
}

describe('a handover', () => {
  it('goes on with everything under a root of its own, and the old enclave signs no more', async () => {
    const old = await loaded();
    const before = old.sequencer.store;
    const pending = [...(await submitted(old, 2, 1)), ...(await submitted(old, 3, 2))];
    await whole(old);
    const first = await look(connect({ url: old.url }), null, judgement());
    const { state: kept } = first as { state: AuditState };
    const state = await hashState(before);
    await allow(old, await measurementOf(platforms, 'new'));
    expect(old.sequencer.handover.open(GOES_ON)).toEqual({ ok: true });
    const next = await platforms.start('new', { of: old.url, more: { names: { router: GOES_ON } } });
    const { store } = next.sequencer;

    // The log and its epochs.
    expect(old.sequencer.handover.state).toBe('ended');
    expect([inGrace(store), next.sequencer.epoch.keys.epoch]).toEqual([[1, 2], 3]);
    const later = await look(connect({ url: next.url }), kept, judgement());
    expect(later).toMatchObject({ ok: true, isNew: true });
    expect((later as { state: AuditState }).state.handover).toMatchObject({ epoch: 2 });

    // What was promised.
    expect(await next.sequencer.createBatch()).toBe(2);
    await journaled(next.sequencer, 'seal_created', ({ heights }) => (heights as number[]).includes(2));
    expect(statuses(next, pending)).toEqual(pending.map(() => 'sequenced'));
    const document = next.sequencer.handover.status().newest;
    const proved = verifyHandover(document, judgement());
    if (!proved.ok) throw new Error(proved.message);
    for (const height of [0, 1, 2]) {
      const verdict = verifyBatch(next.sequencer.batch(height), { ...judgement(), handovers: [proved.handover] });
      expect(verdict).toMatchObject({ ok: true, status: 'sealed', epoch: height + 1 });
    }
    // What opens: to an older keyset still, and secrets that only the new epoch wraps.
    await submitted(next, 1, 2);
    expect(await hashState(store)).toEqual(state);
    expect(await secretOf(next, 'asset', 'iron')).toBe(hex(new Uint8Array(32).fill(7)));
    expect(next.sequencer.wrapping.wraps.backlogs(store).map(({ epoch, kind }) => [epoch, kind])).toEqual([
      ...[
        [3, 'asset'],
        [3, 'name'],
      ],
    ]);
    const name = new Owner(new Uint8Array(32).fill(5)).name;
    expect(await secretOf(next, 'name', name)).toBe(hex(new Uint8Array(32).fill(5)));

    // The feed: the same entries up to where the old one ends, and then the new one's.
    const { cursor } = before.journalHead();
    expect([...store.range('journal', { end: cursor + 1, limit: 10_000 })]).toEqual([
      ...before.range('journal', { limit: 10_000 }),
    ]);
    expect(store.get('journal', cursor + 1)).toMatchObject({ type: 'handover_completed' });
    await gone(old, document!);

    // Another life of it needs neither its predecessor nor a word about it.
    await next.close();
    const again = await platforms.start('new', { more: { names: { router: GOES_ON } } });
    await submitted(again, 1, 1);
    expect(await again.sequencer.createBatch()).toBe(3);
  });

  itLong(
    'is a rotation for whoever comes after the successor: epochs of two roots before are inherited once more',
    async () => {
      await platforms[Symbol.asyncDispose]();
      platforms = new Platforms(['old', 'new', 'newest']);
      let enclave = await platforms.start('old');
      const pending: string[] = [];
      for (const [i, image] of ['new', 'newest'].entries()) {
        pending.push(...(await submitted(enclave, 1)));
        await allow(enclave, await measurementOf(platforms, image));
        enclave.sequencer.handover.open(GOES_ON);
        enclave = await platforms.start(image, { of: enclave.url });
        expect(enclave.sequencer.epoch.keys.epoch).toBe(i + 2);
      }
      pending.push(...(await submitted(enclave, 1, 1)), ...(await submitted(enclave, 1, 2)));
      await enclave.sequencer.createBatch();
      await journaled(enclave.sequencer, 'seal_created', ({ heights }) => (heights as number[]).includes(0));
      expect(statuses(enclave, pending)).toEqual(pending.map(() => 'sequenced'));
      const found = await look(connect({ url: enclave.url }), null, judgement());
      expect(found).toMatchObject({ ok: true, state: { handover: { epoch: 2 } } });
    },
  );
});

/** It signs nothing in this life or the next, says where to go on, and whoever knows of its end refuses what its keys sign. */
async function gone(old: Enclave, document: SealedHandover): Promise<void> {
  const { sequencer } = old;
  await sequencer.handover.ended();
  expect(() => sequencer.epochs.signing(2)).toThrow('signs no more');
  expect(await sequencer.createBatch()).toBeUndefined();
  await expect(sequencer.registerAsset(file('lead'))).rejects.toMatchObject({ code: 'store_held' });
  const sent = await post(old.url, 'transactions', []);
  expect(sent).toMatchObject({ status: 503, body: { code: 'handed_over', successor_url: GOES_ON } });
  expect(sequencer.ready()).toMatchObject({ ready: false, reasons: expect.arrayContaining(['handed_over']) });
  const { size } = meta(sequencer.store, 'log');
  await old.close();

  const again = await platforms.start('old');
  expect(again.sequencer.handover.status()).toMatchObject({ state: 'ended', successor_url: GOES_ON });
  expect(again.sequencer.handover.status().newest).toEqual(document);
  expect(again.sequencer.handover.open(GOES_ON)).toMatchObject({ code: 'handover_ended' });
  expect(await again.sequencer.createBatch()).toBeUndefined();
  await again.close();

  const { handover, sealed } = document;
  const seal = { ...sealed.seal, size: size + 1 };
  const forged = { ...sealed, seal, digest: hex(sealDigest(seal)) };
  const known = { ...judgement(), handovers: [handover] };
  expect(verifyHead(forged, known)).toMatchObject({ ok: false, code: 'keyset_ended', field: 'seal.epoch' });
  expect(verifyHead(sealed, known)).toMatchObject({ ok: true });
  for (const wrong of [
    { ...document, handover: { ...handover, state_hash: handover.head_digest } },
    { ...document, keyset: { ...document.keyset, not_before_ms: 1 } },
    { ...document, sealed: { ...sealed, seal: { ...sealed.seal, root: handover.head_digest } } },
    { ...document, inclusion_path: document.inclusion_path.slice(1) },
  ]) {
    expect(verifyHandover(wrong, judgement())).toMatchObject({ ok: false });
  }
}

itLong(
  'a network that is cut at every message, before it comes and before its answer does, loses nothing',
  async () => {
    const old = await platforms.start('old');
    const pending = await submitted(old, 20);
    await allow(old, await measurementOf(platforms, 'new'));
    old.sequencer.handover.open(GOES_ON);
    // The first of each is lost on its way, the answer to the second on its way back.
    await using network = await cutting(
      () => old.url,
      (_path, moment, nth) => (moment === 'before' ? nth === 1 : nth === 2),
    );
    const next = await platforms.start('new', { of: network.url });
    const messages = ['/handover/hello', '/handover/open', '/handover/chunk', '/handover/accept', '/handover'];
    for (const message of messages) expect(network.seen.filter((path) => path === message).length).toBeGreaterThan(1);
    expect(old.sequencer.handover.state).toBe('ended');
    expect(meta(next.sequencer.store, 'mempool').count).toBe(pending.length);
    expect(await next.sequencer.createBatch()).toBe(0);
  },
);

describe('a transfer', () => {
  let old: Enclave;
  let own: Platforms;
  beforeAll(async () => {
    own = new Platforms();
    // As production does, it pins itself: who may succeed it is not in its policy.
    const { mrtd } = (await measurementOf(own, 'old')) as Extract<Measurement, { quote_type: 'TDX' }>;
    const policy = { roots: Object.values(own.roots), measurements: [{ mrtd }] };
    const more = { handover: { idle_timeout_ms: 3_000 }, attestation: { simulator_image: 'old', policy } };
    old = await own.start('old', { more });
    await allow(old, await measurementOf(own, 'new'));
    old.sequencer.handover.open(GOES_ON);
  });
  afterAll(() => own[Symbol.asyncDispose]());
  async function begun(): Promise<Petitioner> {
    const successor = new Petitioner(own, old.url);
    await successor.hello();
    expect(await successor.open()).toMatchObject({ status: 200 });
    return successor;
  }
  const admits = async ({ sequencer }: Enclave) => (await sequencer.submitEncrypted(await enveloped(sequencer))).ok;

  it('goes to nobody but an enclave that shows fresh evidence of what an order names', async () => {
    const other = new Petitioner(own, old.url);
    await other.hello();
    expect(await other.open({ image: 'other' })).toMatchObject({ body: { code: 'successor_not_allowed' } });
    const stale = new Petitioner(own, old.url);
    await stale.hello();
    expect(await stale.open({ nonce: `0x${'22'.repeat(32)}` })).toMatchObject({ status: 409 });
    expect(old.sequencer.handover.state).toBe('open');
    expect(await stale.open()).toMatchObject({ status: 200 });
    expect(await stale.open()).toMatchObject({ body: { code: 'handover_session_unknown' } });
  });

  it('that ends in silence, or is cancelled, gives everything back', async () => {
    await begun();
    expect(old.sequencer.handover.state).toBe('transferring');
    expect(await admits(old)).toBe(false);
    await expect(old.sequencer.registerAsset(file('gold'))).rejects.toMatchObject({ code: 'store_held' });
    await until(() => old.sequencer.handover.state === 'open');
    expect(await admits(old)).toBe(true);
    expect((await old.sequencer.registerAsset(file('gold'))).ok).toBe(true);
    const successor = await begun();
    expect(await old.sequencer.handover.cancel()).toEqual({ ok: true });
    expect(old.sequencer.handover.state).toBe('none');
    expect(await admits(old)).toBe(true);
    expect(await successor.ask(0)).toMatchObject({ body: { code: 'handover_session_unknown' } });
    expect(await successor.accept()).toMatchObject({ body: { code: 'handover_session_unknown' } });
    expect(await old.sequencer.createBatch()).toBe(0);
    old.sequencer.handover.open(GOES_ON);
  });

  itLong('is that of the successor which came last', async () => {
    const [one, two] = [await begun(), await begun()];
    expect(await one.ask(0)).toMatchObject({ body: { code: 'handover_session_unknown' } });
    await two.take();
    expect(await one.accept()).toMatchObject({ status: 409 });
  });

  it('gives each chunk in its turn, the newest one again, and ends by what was taken alone', async () => {
    const successor = await begun();
    expect(await successor.ask(1)).toMatchObject({ status: 409 });
    const [first, again] = [await successor.ask(0), await successor.ask(0)];
    expect(again).toEqual(first);
    expect(successor.read(0, first.body)).not.toBeNull();
    const bytes = Uint8Array.fromBase64(first.body.box);
    bytes[bytes.length >> 1]! ^= 1;
    expect(successor.read(0, { ...first.body, box: bytes.toBase64() })).toBeNull();
    expect(successor.read(0, { ...first.body, last: true })).toBeNull();
    expect(successor.read(1, first.body)).toBeNull();
    const chunks = await successor.take();
    expect(await successor.ask(0)).toMatchObject({ status: 409 });
    expect(await successor.ask(chunks)).toMatchObject({ status: 409 });
    for (const wrong of [{ transcript: hex(new Uint8Array(64)) }, { asset_count: 9 }]) {
      expect(await successor.accept(wrong)).toMatchObject({ body: { code: 'handover_not_accepted' } });
      expect(old.sequencer.handover.state).toBe('transferring');
    }
    expect(await successor.accept()).toEqual({ status: 200, body: { ok: true } });
    expect(await successor.accept()).toEqual({ status: 200, body: { ok: true } });
    await old.sequencer.handover.ended();
    expect(verifyHandover(old.sequencer.handover.status().newest, judgement())).toMatchObject({ ok: true });
  });
});

describe('an enclave that was restored from before its end', () => {
  it('is refused by its watermark, by its successor, and by whoever knows of the handover', async () => {
    const old = await platforms.start('old');
    await submitted(old, 1);
    await old.sequencer.createBatch();
    await whole(old);
    await old.close();
    const [state, copy] = [join(platforms.folder, 'old'), join(platforms.folder, 'copy')];
    cpSync(state, copy, { recursive: true });
    const back = await platforms.start('old');
    await allow(back, await measurementOf(platforms, 'new'));
    back.sequencer.handover.open(GOES_ON);
    const next = await platforms.start('new', { of: back.url });
    await back.close();

    const asked = { handover: { successor_url: next.url } };
    await expect(platforms.start('copy', { more: asked })).rejects.toMatchObject({ code: 'handed_over' });
    cpSync(join(copy, 'store', 'data.mdb'), join(state, 'store', 'data.mdb'));
    await expect(platforms.start('old')).rejects.toMatchObject({ code: 'store_rolled_back' });
  });
});

describe('a successor', () => {
  it('that has not seen the end of its predecessor is active for nobody, and goes on where it was', async () => {
    const old = await platforms.start('old');
    await submitted(old, 2);
    await allow(old, await measurementOf(platforms, 'new'));
    old.sequencer.handover.open(GOES_ON);
    // It never hears that its predecessor has ended.
    const giveUp = new AbortController();
    await using network = await cutting(
      () => old.url,
      (path, moment) => {
        if (path === '/handover/accept' && moment === 'after') setImmediate(() => giveUp.abort());
        return path === '/handover';
      },
    );
    const starting = platforms.start('new', { of: network.url, signal: giveUp.signal });
    await expect(starting).rejects.toMatchObject({ code: 'succession_failed' });
    expect(old.sequencer.handover.state).toBe('ended');
    await expect(platforms.start('new')).rejects.toMatchObject({ code: 'succession_unfinished' });
    const next = await platforms.start('new', { of: old.url });
    expect(meta(next.sequencer.store, 'mempool').count).toBe(2);
  });

  itLong('of another chain, or with other admins, takes nothing', async () => {
    const old = await platforms.start('old');
    await allow(old, await measurementOf(platforms, 'new'));
    old.sequencer.handover.open(GOES_ON);
    const started = (more: object) => platforms.start('new', { of: old.url, more });
    await expect(started({ chain: { chain_id: 5 } })).rejects.toMatchObject({ code: 'succession_failed' });
    await expect(started({ admin: { keys: [] } })).rejects.toMatchObject({ code: 'admins_changed' });
    expect(old.sequencer.handover.state).not.toBe('ended');
    const next = await started({});
    expect(next.sequencer.epoch.keys.epoch).toBe(2);
  });
});
