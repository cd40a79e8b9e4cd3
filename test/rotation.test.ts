// Whole sequencers that rotate their keys: real LMDB, threads and signatures. Under load a rotation loses, refuses and doubles
// nothing, and each batch verifies under its own epoch; a commit that was the last of its process is gone on from.
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Envelope } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import { DEFAULT_POLICY } from '../client/policy.ts';
import { checkReceipt } from '../client/receipt.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { verifyBatch } from '../client/verify.ts';
import { standing } from '../daemon/epoch.ts';
import { Fault } from '../daemon/fault.ts';
import { keysetRecord, meta, pendingRotation, putMeta, rotationRecord } from '../daemon/records.ts';
import { createSequencer, type Sequencer } from '../daemon/sequencer.ts';
import { makeAdmin } from './admin.ts';
import { found } from './founded.ts';
import { journaled, type Overrides, PATIENCE_MS, quiet, settings, signed, until } from './house.ts';
import { itLong, LONG } from './long.ts';

vi.setConfig({ testTimeout: PATIENCE_MS, hookTimeout: PATIENCE_MS });

const folders: string[] = [];
const newFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-rotation-'));
  folders.push(folder);
  return folder;
};
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

const DAY_MS = 86_400_000;
const QUICK: Overrides = {
  sequencer: { batch_interval_ms: 100, batch_size: 8, max_transactions_per_batch: 12 },
  // A seal costs half a CPU-second: one for what comes within this time is enough.
  seal: { interval_ms: 300 },
  rotation: { delay_blocks: 2, delay_max_s: 1 },
};

/** Envelopes and batches that wait at once while a rotation is under load. */
const WAITING_MAX = 24;

/** A clock that a test can set forward. */
class Clock {
  ahead_ms = 0;
  readonly now = () => Date.now() + this.ahead_ms;
}

async function start(state_dir: string, overrides: Overrides = {}, clock = new Clock()): Promise<Sequencer> {
  const fatal = (error: unknown) => {
    throw error;
  };
  const config = settings(state_dir, { ...QUICK, ...overrides });
  await found(config);
  return createSequencer({ config, log: quiet, fatal, now: clock.now });
}

const enveloped = async (keyset: Keyset): Promise<Envelope> =>
  encryptEnvelope({ keyset, raw: await signed(), scheme: 'x-wing' });

async function admit(sequencer: Sequencer, keyset: Keyset): Promise<string> {
  const envelope = await enveloped(keyset);
  const admission = await sequencer.submitEncrypted(envelope);
  if (!admission.ok) throw new Error(admission.code);
  const { receipt } = admission;
  expect(checkReceipt(receipt, keysetRecord(sequencer.store, receipt.epoch)!.keyset, envelope)).toMatchObject({
    ok: true,
  });
  return admission.envelope_id;
}

const executed = (sequencer: Sequencer, to_epoch: number) =>
  journaled(sequencer, 'rotation_executed', (data) => data.to_epoch === to_epoch);
const retired = (sequencer: Sequencer, epoch: number) =>
  journaled(sequencer, 'epoch_retired', (data) => data.epoch === epoch);

/** Cuts what is pending, and seals all of it. */
async function finish(sequencer: Sequencer): Promise<void> {
  // Nothing is cut while a rotation is on its way.
  await until(async () => {
    if (sequencer.status().sequencer.mempool_size === 0) return true;
    await sequencer.createBatch();
    return false;
  });
  expect(await sequencer.finish(PATIENCE_MS)).toBe(true);
}

/** Every batch verifies as a stranger verifies it, under the epoch that its height belongs to. @returns where envelopes are */
function verified(sequencer: Sequencer): Map<string, number> {
  const { store } = sequencer;
  const places = new Map<string, number>();
  for (let height = 0; height < meta(store, 'heights').signed; height++) {
    const file = JSON.parse(JSON.stringify(sequencer.batch(height)));
    const now_ms = file.slh_dsa_sig.seal.timestamp_ms;
    const options = { policy: DEFAULT_POLICY, allow_simulated: true, now_ms };
    expect(verifyBatch(file, options)).toMatchObject({
      ok: true,
      status: 'sealed',
      epoch: file.slh_dsa_sig.seal.epoch,
    });
    const { first_height = 0 } = rotationRecord(store, file.header.epoch) ?? {};
    expect(height).toBeGreaterThanOrEqual(first_height!);
    for (const { envelope_id } of [...file.transactions, ...file.refused]) {
      expect(places.has(envelope_id)).toBe(false);
      places.set(envelope_id, height);
    }
    expect(file.refused).toEqual([]);
  }
  return places;
}

describe('a rotation', () => {
  it('under load loses, refuses and doubles nothing; the old keyset works on', async () => {
    await using sequencer = await start(newFolder());
    const first = sequencer.keyset;
    const ids: string[] = [];
    let loaded = false;
    // One envelope after the other until the new epoch is there, but no faster than they are sequenced.
    const load = (async () => {
      while (!loaded) {
        ids.push(await admit(sequencer, first));
        await until(() => {
          const { mempool_size, ordered_queue } = sequencer.status().sequencer;
          return loaded || mempool_size + ordered_queue < WAITING_MAX;
        });
      }
    })();
    const outcome = await sequencer.rotate({ reason: 'manual' });
    expect(outcome).toMatchObject({ ok: true, rotation: { from_epoch: 1, to_epoch: 2, first_height: null } });
    expect(await sequencer.attestPending()).toMatchObject({ simulated: true });
    expect(await sequencer.rotate({ reason: 'manual' })).toMatchObject({ ok: false, code: 'rotation_pending' });
    await executed(sequencer, 2);
    ids.push(await admit(sequencer, sequencer.keyset));
    loaded = true;
    await load;
    expect(sequencer.keyset.epoch).toBe(2);
    await finish(sequencer);
    const places = verified(sequencer);
    expect([...places.keys()].sort()).toEqual([...ids].sort());
    const { first_height, at_height } = rotationRecord(sequencer.store, 2)!;
    expect(first_height).toBeLessThanOrEqual(at_height);
    const epochs = Array.from(
      { length: places.get(ids.at(-1)!)! + 1 },
      (_, height) => sequencer.batch(height)!.header.epoch,
    );
    expect(epochs).toEqual([...epochs].sort());
    expect(new Set(epochs)).toEqual(new Set([1, 2]));
  });

  itLong('happens without traffic as well, at its deadline, and drops ECDSA with the setting', async () => {
    const folder = newFolder();
    await found(settings(folder));
    await using sequencer = await start(folder, { quantum: { hybrid_ecdsa: false } });
    expect(sequencer.keyset.secp256k1).not.toBeNull();
    await sequencer.rotate({ reason: 'manual', delay_blocks: 1_000 });
    await executed(sequencer, 2);
    expect(sequencer.keyset.secp256k1).toBeNull();
    await admit(sequencer, sequencer.keyset);
    await finish(sequencer);
    verified(sequencer);
    expect(sequencer.batch(0)!.ecdsa_sig).toBeNull();
  });

  itLong('comes when the platform has other measurements than at the start before, and once', async () => {
    const folder = newFolder();
    const before = await start(folder);
    await until(() => before.store.get('meta', 'measurements') !== undefined);
    const found = meta(before.store, 'measurements');
    await before.store.commit((tx) => putMeta(tx, 'measurements', { ...found, mrtd: `0x${'00'.repeat(48)}` } as never));
    await before.close();
    const after = await start(folder);
    await executed(after, 2);
    expect(rotationRecord(after.store, 2)).toMatchObject({ reason: 'cvm_update' });
    expect(meta(after.store, 'measurements')).toEqual(found);
    await after.close();
    await using again = await start(folder);
    await until(() => again.ready().ready);
    await again.rotate({ reason: 'manual', delay_blocks: 0 });
    await executed(again, 3);
    expect(rotationRecord(again.store, 3)).toMatchObject({ reason: 'manual' });
  });

  itLong('comes by the calendar', async () => {
    const clock = new Clock();
    await using sequencer = await start(newFolder(), {}, clock);
    clock.ahead_ms = 91 * DAY_MS;
    await admit(sequencer, sequencer.keyset);
    await journaled(sequencer, 'rotation_scheduled', ({ reason }) => reason === 'scheduled');
    await executed(sequencer, 2);
  });
});

describe('an epoch in grace', () => {
  it('opens until grace is over, and retires when nothing waits for it', async () => {
    const clock = new Clock();
    const folder = newFolder();
    await using sequencer = await start(folder, {}, clock);
    const first = sequencer.keyset;
    await sequencer.rotate({ reason: 'manual', delay_blocks: 0 });
    await executed(sequencer, 2);
    const id = await admit(sequencer, first);
    expect(() => sequencer.epochs.signing(1)).toThrow('epoch 1 signs no more');
    const late = await enveloped(first);
    clock.ahead_ms = 29 * DAY_MS;
    const { keyset, digest } = keysetRecord(sequencer.store, 2)!;
    const refusal = { ok: false, code: 'epoch_not_accepted', current_epoch: 2, keyset_digest: digest };
    expect(await sequencer.submitEncrypted(late)).toEqual(refusal);
    await admit(sequencer, keyset);
    await retired(sequencer, 1);
    expect(standing(sequencer.store, 1)!.state).toBe('retired');
    expect(sequencer.epochs.keysOf(1)).toBeUndefined();
    expect(await sequencer.submitEncrypted(late)).toEqual(refusal);
    await finish(sequencer);
    expect(verified(sequencer).has(id)).toBe(true);
    await sequencer.close();
    await using again = await start(folder, {}, clock);
    expect(again.epochs.keysOf(1)).toBeUndefined();
    expect(again.epoch.keys.epoch).toBe(2);
  });

  itLong('is retired by an order before its time, but not before what was acknowledged is opened', async () => {
    const admin = makeAdmin(1);
    await using sequencer = await start(newFolder(), {
      sequencer: { batch_interval_ms: 60_000, batch_size: 50 },
      admin: { keys: [admin.public_key] },
    });
    const { log_id } = sequencer.epoch.log;
    const retire = () => sequencer.orders.execute(admin.order(log_id, { type: 'retire_epoch', epoch: 1 }));
    const refused = (found: string) => ({ ok: false, code: 'act_refused', detail: expect.stringContaining(found) });
    const first = sequencer.keyset;
    expect(await retire()).toEqual(refused('it is active'));
    await sequencer.rotate({ reason: 'manual', delay_blocks: 0 });
    await executed(sequencer, 2);
    const id = await admit(sequencer, first);
    expect(await retire()).toMatchObject({ ok: true });
    expect(await retire()).toEqual(refused('is being retired already'));
    expect(await sequencer.submitEncrypted(await enveloped(first))).toMatchObject({ code: 'epoch_not_accepted' });
    expect(standing(sequencer.store, 1)).toMatchObject({ state: 'grace', forced: true });
    await sequencer.createBatch();
    await journaled(sequencer, 'epoch_retired', ({ epoch, forced }) => epoch === 1 && forced === true);
    expect(await retire()).toEqual(refused('it is retired'));
    await finish(sequencer);
    expect([...verified(sequencer).keys()]).toEqual([id]);
  });

  itLong('admits no more after a compromise, and opens what was acknowledged', async () => {
    await using sequencer = await start(newFolder(), { sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
    const first = sequencer.keyset;
    const ids = [await admit(sequencer, first), await admit(sequencer, first)];
    await sequencer.rotate({ reason: 'manual', delay_blocks: 1_000 });
    const outcome = await sequencer.rotate({ reason: 'compromise' });
    expect(outcome).toMatchObject({ ok: true, rotation: { reason: 'compromise', at_height: 0 } });
    await executed(sequencer, 2);
    expect(await sequencer.submitEncrypted(await enveloped(first))).toMatchObject({ code: 'epoch_not_accepted' });
    expect(sequencer.epochs.keysOf(1)).toBeDefined();
    await sequencer.createBatch();
    await retired(sequencer, 1);
    await finish(sequencer);
    expect([...verified(sequencer).keys()].sort()).toEqual([...ids].sort());
    expect(sequencer.batch(0)!.header.epoch).toBe(2);
  });
});

describe('a crash', () => {
  /** A daemon that has sealed two transactions, and ended. Each case goes on with a copy of it. */
  const base = { folder: '', ids: [] as string[] };
  beforeAll(async () => {
    base.folder = newFolder();
    const sequencer = await start(base.folder);
    for (let n = 0; n < 2; n++) base.ids.push(await admit(sequencer, sequencer.keyset));
    await finish(sequencer);
    await sequencer.close();
  });

  /** From the commit of this number on the disk takes nothing, as after a power cut. */
  async function cutShort(sequencer: Sequencer, commits: number): Promise<void> {
    const { store } = sequencer;
    // So that the commits which are counted are the rotation's own.
    const quiet = () => {
      const { log, sequencer: queue } = sequencer.status();
      const waiting = queue.mempool_size + queue.ordered_queue + log.size - log.sealed;
      return waiting === 0 && store.get('meta', 'measurements') !== undefined;
    };
    await until(quiet);
    const commit = store.commit.bind(store);
    let made = 0;
    const failed = Promise.withResolvers<void>();
    store.commit = (step) => {
      made += 1;
      if (made <= commits) return commit(step);
      failed.resolve();
      return Promise.reject(new Fault({ code: 'store_io', reason: 'the disk of a test' }));
    };
    const { active } = meta(store, 'epoch');
    void sequencer.rotate({ reason: 'manual', delay_blocks: 0 }).catch(() => {});
    await Promise.race([failed.promise, executed(sequencer, active + 1)]);
    await sequencer.close(0);
  }

  const cuts = [
    [0, 'wished'],
    [1, 'announced'],
    [2, 'announced'],
    [3, 'announced'],
    [4, 'executed'],
  ] as const;
  it.each(LONG ? cuts : cuts.slice(2, 3))(
    'after %d commits of a rotation is gone on from at the next start',
    async (commits, expected) => {
      const folder = newFolder();
      cpSync(base.folder, folder, { recursive: true });
      const ids = [...base.ids];
      await cutShort(await start(folder), commits);
      await using after = await start(folder);
      const pending = pendingRotation(after.store) !== undefined;
      const found = meta(after.store, 'epoch').active === 2 ? 'executed' : pending ? 'announced' : 'wished';
      // The start itself may have executed what was announced by now.
      expect(found === 'executed' ? [expected, 'executed'] : [expected]).toContain(found);
      if (found === 'wished') await after.rotate({ reason: 'manual', delay_blocks: 0 });
      await executed(after, 2);
      expect(after.keyset.epoch).toBe(2);
      ids.push(await admit(after, after.keyset));
      await finish(after);
      expect([...verified(after).keys()].sort()).toEqual(ids.sort());
    },
  );
});
