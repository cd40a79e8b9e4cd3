import { createPublicKey, verify } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { receiptDigest } from '../actors/digest.ts';
import { fromBase64 } from '../actors/encoding.ts';
import type { Envelope } from '../actors/envelope.ts';
import { DEFAULT_POLICY } from '../client/policy.ts';
import { verifyBatch } from '../client/verify.ts';
import { found } from '../test/founded.ts';
import { enveloped, forged, journaled, type Overrides, quiet, settings, signed, until } from '../test/house.ts';
import { outcomeOf } from './batches.ts';
import { envelopeRecord } from './records.ts';
import { createSequencer, type Sequencer, type SequencerOptions } from './sequencer.ts';

const folders: string[] = [];
const newFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-'));
  folders.push(folder);
  return folder;
};
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Of a daemon that was here before. */
async function foundedFolder(): Promise<string> {
  const folder = newFolder();
  await found(settings(folder));
  return folder;
}

function start(
  state_dir: string,
  overrides: Overrides = {},
  options: Partial<SequencerOptions> = {},
): Promise<Sequencer> {
  const fatal = (error: unknown) => {
    throw error;
  };
  return createSequencer({ config: settings(state_dir, overrides), log: quiet, fatal, ...options });
}

const transfer = async (sequencer: Sequencer, from: number, nonce: number, fee_gwei: number): Promise<Envelope> =>
  enveloped(sequencer, await signed({ from, nonce, fee_gwei }), 'x-wing');

/** Cut by hand only: the interval never passes. */
const BY_HAND: Overrides = { sequencer: { batch_interval_ms: 60_000, batch_size: 50 }, seal: { interval_ms: 0 } };

async function admit(sequencer: Sequencer, envelopes: readonly Envelope[]): Promise<string[]> {
  const admissions = await Promise.all(envelopes.map((envelope) => sequencer.submitEncrypted(envelope)));
  return admissions.map((admission) => {
    if (!admission.ok) throw new Error(admission.code);
    return admission.envelope_id;
  });
}

const reached = (sequencer: Sequencer, type: string, height: number) =>
  journaled(sequencer, type, (data) => data.height === height || (data.heights as number[])?.includes(height));

describe('the main path', () => {
  const folder = newFolder();
  let sequencer: Sequencer;
  beforeAll(async () => {
    sequencer = await start(folder, BY_HAND);
  });
  afterAll(() => sequencer.close());

  it('seals a batch that a stranger verifies', async () => {
    const envelopes = [];
    for (let n = 0; n < 4; n++) envelopes.push(await transfer(sequencer, n, 0, 10 * (n + 1)));
    const ids = await admit(sequencer, envelopes);
    const height = await sequencer.createBatch();
    expect(height).toBe(0);
    await reached(sequencer, 'seal_created', 0);
    const batch = sequencer.batch(0)!;
    expect(batch.order.map(({ envelope_id }) => envelope_id)).toEqual([...ids].reverse());
    const verdict = verifyBatch(JSON.parse(JSON.stringify(batch)), {
      policy: DEFAULT_POLICY,
      allow_simulated: true,
      now_ms: Date.now(),
    });
    expect(verdict).toMatchObject({ ok: true, height: 0 });
  });

  it('seals a registration that no batch follows', async () => {
    const access_policy = { requires_pqc: true, requires_tee: true, risk_threshold: 7000 };
    const answer = await sequencer.assets.register({ asset_id: 'file', asset_type: 'OffChainDatabase', access_policy });
    expect(answer.ok, JSON.stringify(answer)).toBe(true);
    const { leaf_index } = sequencer.assets.record('file')!;
    await journaled(sequencer, 'seal_created', ({ size }) => (size as number) > leaf_index);
  });

  it('gives a receipt that the keyset verifies, and the same one again', async () => {
    const envelope = await transfer(sequencer, 1, 1, 1);
    const [first, again] = [await sequencer.submitEncrypted(envelope), await sequencer.submitEncrypted(envelope)];
    expect(again).toEqual(first);
    if (!first.ok) throw new Error(first.code);
    const { receipt } = sequencer.epoch.keyset.keyset;
    const key = createPublicKey({
      key: Buffer.from(fromBase64(receipt)),
      format: 'raw-public',
      asymmetricKeyType: 'ed25519',
    } as never);
    expect(verify(null, receiptDigest(first.receipt), key, fromBase64(first.receipt.signature))).toBe(true);
    await sequencer.createBatch();
    await reached(sequencer, 'batch_created', 1);
    expect(sequencer.batch(1)!.order.length).toBe(1);
  });

  it('moves a later nonce back, never an earlier one forward', async () => {
    const ids = await admit(sequencer, [
      await transfer(sequencer, 7, 1, 90),
      await transfer(sequencer, 8, 0, 80),
      await transfer(sequencer, 7, 0, 70),
    ]);
    const height = (await sequencer.createBatch())!;
    await reached(sequencer, 'batch_created', height);
    const batch = sequencer.batch(height)!;
    expect(batch.order.map(({ envelope_id }) => envelope_id)).toEqual(ids);
    expect(batch.transactions.map(({ envelope_id }) => envelope_id)).toEqual([ids[1], ids[2], ids[0]]);
  });

  it('records what it refuses, with a reason, and fills the place with what was waiting', async () => {
    const good = await transfer(sequencer, 9, 0, 50);
    const damaged = { ...good, encrypted_data: `AAAA${good.encrypted_data.slice(4)}` };
    const foreign = forged(sequencer, await signed({ chainId: 1, fee_gwei: 60 }), { priority_fee: '60000000000' });
    const lying = { ...(await transfer(sequencer, 9, 5, 40)), priority_fee: '70000000000' };
    const replayed = await transfer(sequencer, 8, 0, 80);
    const envelopes = [good, damaged, foreign, lying, replayed];
    const ids = await admit(sequencer, envelopes);
    const height = (await sequencer.createBatch())!;
    await reached(sequencer, 'batch_created', height);
    const reasons = new Map(sequencer.batch(height)!.refused.map(({ envelope_id, reason }) => [envelope_id, reason]));
    expect(ids.map((id) => reasons.get(id))).toEqual([
      undefined,
      'unopenable',
      'wrong_chain',
      'unopenable',
      'replayed',
    ]);
    expect(outcomeOf(sequencer.store, envelopeRecord(sequencer.store, ids[2]!)!)).toEqual({
      status: 'refused',
      height,
      code: 6,
    });
  });

  it('lets no second daemon onto its store', async () => {
    await expect(start(folder, BY_HAND)).rejects.toMatchObject({ code: 'store_locked' });
  });
});

describe('places', () => {
  it('that refusals left free go to the next in the queue, within the tries of the batch', async () => {
    const limits = { max_transactions_per_batch: 3, open_max: 5, batch_interval_ms: 60_000, batch_size: 50 };
    const sequencer = await start(await foundedFolder(), { ...BY_HAND, sequencer: limits });
    const envelopes: Envelope[] = [];
    for (let n = 0; n < 8; n++) {
      const envelope = await transfer(sequencer, n, 0, 100 - n);
      envelopes.push(
        n % 2 === 0 ? envelope : { ...envelope, encrypted_data: `BBBB${envelope.encrypted_data.slice(4)}` },
      );
    }
    const ids = await admit(sequencer, envelopes);
    await sequencer.createBatch();
    await reached(sequencer, 'batch_created', 0);
    const batch = sequencer.batch(0)!;
    // 0 and 2 open, 1 doesn't; 3 joins for it and doesn't either; 4 joins and opens: three places, five tries.
    expect(batch.order.map(({ envelope_id }) => ids.indexOf(envelope_id))).toEqual([0, 1, 2, 3, 4]);
    expect(batch.transactions.map(({ envelope_id }) => ids.indexOf(envelope_id))).toEqual([0, 2, 4]);
    expect(batch.refused.map(({ envelope_id }) => ids.indexOf(envelope_id))).toEqual([1, 3]);
    await sequencer.close();
  });
});

describe('limits', () => {
  let sequencer: Sequencer;
  beforeAll(async () => {
    sequencer = await start(await foundedFolder(), { ...BY_HAND, mempool: { capacity: 3 } });
  });
  afterAll(() => sequencer.close());

  it('refuse the envelope after the last place, and lose none', async () => {
    const envelopes = [];
    for (let n = 0; n < 4; n++) envelopes.push(await transfer(sequencer, n, 0, 1));
    const admissions = await Promise.all(envelopes.map((envelope) => sequencer.submitEncrypted(envelope)));
    expect(admissions.map((admission) => (admission.ok ? 'ok' : admission.code))).toEqual([
      'ok',
      'ok',
      'ok',
      'mempool_full',
    ]);
    await sequencer.createBatch();
    expect(await sequencer.submitEncrypted(envelopes[3]!)).toMatchObject({ ok: true });
  });

  it('refuse an epoch that is not there, naming the one that is', async () => {
    const envelope = { ...(await transfer(sequencer, 0, 0, 1)), epoch: 9 };
    expect(await sequencer.submitEncrypted(envelope)).toEqual({
      ok: false,
      code: 'epoch_not_accepted',
      current_epoch: 1,
      keyset_digest: sequencer.epoch.keyset.digest,
    });
    sequencer.drain();
    expect(await sequencer.submitEncrypted(envelope)).toMatchObject({ ok: false, code: 'draining' });
  });
});

describe('a restart', () => {
  it('goes on with the same log, keys, queue and heights', async () => {
    const folder = await foundedFolder();
    const before = await start(folder, BY_HAND);
    await admit(before, [await transfer(before, 0, 0, 1)]);
    await before.createBatch();
    await reached(before, 'batch_created', 0);
    const waiting = await admit(before, [await transfer(before, 1, 0, 1)]);
    const { log_id } = before.epoch.log;
    await before.close();

    const after = await start(folder, BY_HAND);
    expect(after.epoch.log.log_id).toBe(log_id);
    expect(after.status().sequencer.mempool_size).toBe(1);
    // Nothing is sealed meanwhile: it asks its platform by itself.
    await until(() => after.ready().ready);
    expect(after.attestation?.report_data).toBe((await after.attestKeyset()).report_data);
    expect(await after.createBatch()).toBe(1);
    await reached(after, 'seal_created', 1);
    const [first, second] = [after.batch(0)!, after.batch(1)!];
    expect(second.order.map(({ envelope_id }) => envelope_id)).toEqual(waiting);
    expect(second.header.parent_digest).toBe(first.batch_id);
    await after.close();
  });

  it('refuses another chain and another root', async () => {
    const folder = await foundedFolder();
    await expect(start(folder, { chain: { chain_id: 1n } })).rejects.toMatchObject({ code: 'store_foreign' });
    writeFileSync(join(folder, 'simulator', 'root.key'), new Uint8Array(32).fill(1));
    await expect(start(folder)).rejects.toMatchObject({ code: 'store_wrong_key' });
    writeFileSync(join(folder, 'simulator', 'root.key'), 'short');
    await expect(start(folder)).rejects.toMatchObject({ code: 'key_source_failed' });
  });

  it('refuses to sign without its watermark, unless the operator vouches for the store', async () => {
    const folder = await foundedFolder();
    rmSync(join(folder, 'store', 'watermark'));
    const refused = { code: 'watermark_missing', message: expect.stringContaining('--accept-missing-watermark') };
    await expect(start(folder, BY_HAND)).rejects.toMatchObject(refused);
    await (await start(folder, BY_HAND, { accept_missing_watermark: true })).close();
    await (await start(folder, BY_HAND)).close();
  });
});
