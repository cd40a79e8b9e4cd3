// What the risk score does to a whole sequencer: rotations, algorithms, schemes, pace, and that a restart in between does it once.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ALGORITHM_BIT, type BatchFile } from '../actors/batch.ts';
import type { ReportedIndicatorInput } from '../actors/indicator.ts';
import { verifyBatch } from '../client/verify.ts';
import { makeAdmin } from '../test/admin.ts';
import { found } from '../test/founded.ts';
import { enveloped, journaled, type Overrides, quiet, settings } from '../test/house.ts';
import { itLong } from '../test/long.ts';
import { SELF_CHECK_FAILED } from '../workers/job.ts';
import { Fault } from './fault.ts';
import { meta, pendingRotation, rotationRecord } from './records.ts';
import { createSequencer, type Sequencer } from './sequencer.ts';

const admin = makeAdmin(1);
let folder: string;
let opened: Sequencer[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-risk-'));
  opened = [];
});
afterEach(async () => {
  for (const sequencer of opened) await sequencer.close(0);
  rmSync(folder, { recursive: true, force: true });
});

async function open(risk: Overrides['risk'] = {}): Promise<Sequencer> {
  const config = settings(folder, {
    risk: { rise_s: 0, catalogue: false, ...risk },
    sequencer: { batch_interval_ms: 10 },
    seal: { interval_ms: 0 },
    rotation: { delay_blocks: 3 },
    admin: { keys: [admin.public_key] },
  });
  const fatal = (error: unknown) => {
    throw error;
  };
  await found(config);
  const sequencer = await createSequencer({ config, log: quiet, fatal });
  opened.push(sequencer);
  return sequencer;
}

const severe = (sub_category: string): ReportedIndicatorInput => ({
  ...{ category: 'digital_signatures', sub_category, severity: 0.95, confidence: 0.95, source: 'a laboratory' },
  ...{ timestamp: new Date().toISOString(), description: 'An attack.', era_relevance: 'nisq' },
});
const emergency = () => ['ecdsa', 'rsa', 'bls'].map(severe);

/** One transaction in a batch of its own, sealed. */
async function sequence(sequencer: Sequencer): Promise<BatchFile> {
  const { cut } = meta(sequencer.store, 'heights');
  const admission = await sequencer.submitEncrypted(await enveloped(sequencer, undefined, 'x-wing'));
  expect(admission).toMatchObject({ ok: true });
  await journaled(sequencer, 'seal_created', ({ heights }) => (heights as number[]).includes(cut));
  return sequencer.batch(cut)!;
}

const verdict = (file: BatchFile) => verifyBatch(file, { allow_simulated: true, now_ms: Date.now() });
const rotations = ({ store }: Sequencer) => {
  const executed = [2, 3, 4].flatMap((epoch) => rotationRecord(store, epoch) ?? []);
  return executed.map(({ to_epoch, reason, first_height }) => [to_epoch, reason, first_height]);
};

itLong('a score of 6,000 announces an epoch, which begins at exactly the height that was announced', async () => {
  const sequencer = await open();
  await sequence(sequencer);
  await sequencer.updateThreat(severe('ecdsa'));
  expect(sequencer.status().qrm).toMatchObject({ recommendation: 'schedule_rotation' });
  await journaled(sequencer, 'rotation_scheduled', ({ reason }) => reason === 'risk');
  expect(pendingRotation(sequencer.store)).toMatchObject({ to_epoch: 2, at_height: 4 });
  const files: BatchFile[] = [];
  for (let i = 0; i < 4; i++) files.push(await sequence(sequencer));
  expect(files.map(({ header }) => [header.height, header.epoch])).toEqual([
    [1, 1],
    [2, 1],
    [3, 1],
    [4, 2],
  ]);
  expect(files.map(({ ecdsa_sig }) => ecdsa_sig !== null)).toEqual([true, true, true, true]);
  for (const file of files) expect(verdict(file)).toMatchObject({ ok: true });
  expect(rotations(sequencer)).toEqual([[2, 'risk', 4]]);
  expect(sequencer.risk.view().rotations).toMatchObject([{ number: 1, urgency: 'scheduled', epoch: 2, at_height: 4 }]);
});

describe('an emergency', () => {
  it('rotates at the next height, drops ECDSA, refuses ecies, and seals batch by batch', async () => {
    const sequencer = await open();
    const calm = await sequence(sequencer);
    expect(calm.ecdsa_sig).not.toBeNull();
    await sequencer.updateThreat(emergency());
    await journaled(sequencer, 'rotation_executed', ({ reason }) => reason === 'risk');
    const refused = await sequencer.submitEncrypted(await enveloped(sequencer, undefined, 'ecies'));
    expect(refused).toEqual({ ok: false, code: 'scheme_not_accepted', schemes: ['x-wing'] });
    const file = await sequence(sequencer);
    expect(file.header).toMatchObject({ height: 1, epoch: 2, risk_score: sequencer.risk.view().score });
    expect(file.header.algorithms & ALGORITHM_BIT.ECDSA).toBe(0);
    expect([file.ecdsa_sig, file.keyset.secp256k1]).toEqual([null, null]);
    expect(file.risk_assessment.recommendation).toBe('emergency_rotation');
    for (const each of [calm, file]) expect(verdict(each)).toMatchObject({ ok: true });
    expect(sequencer.status().apqc).toMatchObject({ kems: ['X-Wing'] });

    const many = await Promise.all(
      Array.from({ length: 3 }, async () => sequencer.submitEncrypted(await enveloped(sequencer, undefined, 'x-wing'))),
    );
    expect(many.every(({ ok }) => ok)).toBe(true);
    const last = await sequence(sequencer);
    const { store } = sequencer;
    const entries = [...store.range('journal', { limit: 1000 })].map(([, entry]) => entry);
    const order = entries.flatMap(({ type, data }) => {
      if (type === 'txs_ordered') return [`cut ${(data as { height: number }).height}`];
      return type === 'seal_created' ? (data as { heights: number[] }).heights.map((height) => `sealed ${height}`) : [];
    });
    const expected = Array.from({ length: last.header.height }, (_, i) => [`cut ${i + 1}`, `sealed ${i + 1}`]).flat();
    expect(order.slice(order.indexOf('cut 1'))).toEqual(expected);
    expect(rotations(sequencer)).toEqual([[2, 'risk', 1]]);
  });

  itLong('brings a scheduled rotation forward instead of adding another', async () => {
    const sequencer = await open();
    await sequence(sequencer);
    await sequencer.updateThreat(severe('ecdsa'));
    await journaled(sequencer, 'rotation_scheduled', () => true);
    await sequencer.updateThreat(emergency());
    await journaled(sequencer, 'rotation_executed', ({ reason }) => reason === 'risk');
    const file = await sequence(sequencer);
    expect(file.header).toMatchObject({ height: 1, epoch: 2 });
    // Its keys were made before the emergency, but ECDSA is not used.
    expect([file.ecdsa_sig, verdict(file).ok]).toEqual([null, true]);
    expect(rotations(sequencer)).toEqual([[2, 'risk', 1]]);
  });

  itLong('that was decided before a crash rotates exactly once after it', async () => {
    const first = await open();
    await sequence(first);
    await first.updateThreat(emergency());
    await first.close(0);
    for (let starts = 0; starts < 2; starts++) {
      const again = await open();
      if (rotations(again)[0]?.[2] == null)
        await journaled(again, 'rotation_executed', ({ reason }) => reason === 'risk');
      const file = await sequence(again);
      expect(file.header.epoch).toBe(2);
      expect([file.ecdsa_sig, verdict(file).ok]).toEqual([null, true]);
      expect(rotations(again)).toEqual([[2, 'risk', 1]]);
      expect(again.risk.view().rotations).toMatchObject([{ number: 1, epoch: 2 }]);
      await again.close(0);
    }
  });

  itLong('does nothing in a dry run but say so', async () => {
    const sequencer = await open({ dry_run: true });
    await sequencer.updateThreat(emergency());
    const ecies = await sequencer.submitEncrypted(await enveloped(sequencer, undefined, 'ecies'));
    expect(ecies.ok).toBe(true);
    const file = await sequence(sequencer);
    expect(file.risk_assessment.recommendation).toBe('emergency_rotation');
    expect([file.header.epoch, file.ecdsa_sig !== null, verdict(file).ok]).toEqual([1, true, true]);
    expect(sequencer.risk.view().rotations).toMatchObject([{ urgency: 'emergency', dry_run: true, epoch: null }]);
  });

  itLong('is taken back by signed orders alone: the score overridden, then schemes and ECDSA allowed', async () => {
    const sequencer = await open({ fall_s: 0 });
    await sequencer.updateThreat(emergency());
    await journaled(sequencer, 'rotation_executed', ({ reason }) => reason === 'risk');
    const { log_id } = sequencer.epoch.log;
    const until_ms = Date.now() + 3_600_000;
    const order = (act: Parameters<typeof admin.order>[1]) => sequencer.orders.execute(admin.order(log_id, act));
    expect(await order({ type: 'risk_override', score: 0, until_ms })).toMatchObject({ ok: true });
    await journaled(sequencer, 'qrm_update', ({ overridden }) => overridden === true);
    expect(sequencer.risk.view()).toMatchObject({ score: 0, recommendation: 'continue', override: { score: 0 } });
    const still = await sequencer.submitEncrypted(await enveloped(sequencer, undefined, 'ecies'));
    expect(still).toMatchObject({ ok: false, code: 'scheme_not_accepted' });
    const schemes = ['x-wing', 'ecies'] as ('x-wing' | 'ecies')[];
    expect(await order({ type: 'downgrade', algorithms: 7, schemes })).toMatchObject({ ok: true });
    await sequencer.risk.room.assess();
    expect(sequencer.risk.allowed).toEqual({ ecdsa: true, schemes });
    const again = await sequencer.submitEncrypted(await enveloped(sequencer, undefined, 'ecies'));
    expect(again.ok).toBe(true);
    // The running epoch was made without the key.
    expect((await sequence(sequencer)).ecdsa_sig).toBeNull();
    await sequencer.rotate({ reason: 'manual', delay_blocks: 0 });
    await journaled(sequencer, 'rotation_executed', ({ reason }) => reason === 'manual');
    const file = await sequence(sequencer);
    expect([file.ecdsa_sig !== null, verdict(file).ok]).toEqual([true, true]);
  });
});

describe('a signature that fails its own check', () => {
  it('scores, and other faults do not', async () => {
    const sequencer = await open({ dry_run: true });
    const failed = (reason: string) => new Fault({ code: 'worker_failed', job: 'seal', reason });
    sequencer.risk.noticed(failed('the thread ended'));
    sequencer.risk.noticed(new Fault({ code: 'quote_busy', waiting: 64 }));
    await sequencer.risk.room.assess();
    expect(sequencer.risk.room.threats).toEqual([]);
    sequencer.risk.noticed(failed(`a signature of slh-dsa-sha2-256s ${SELF_CHECK_FAILED}`));
    await journaled(sequencer, 'qrm_update', ({ cause }) => cause === 'daemon');
    expect(sequencer.status().qrm).toMatchObject({ recommendation: 'schedule_rotation' });
  });
});
