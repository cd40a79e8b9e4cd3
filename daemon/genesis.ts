// The first commit of a store: the log gets its id, the counters their beginnings and the first epoch its keys. A keyset is a
// log entry before anything is signed under it, so the log begins with one. Called by the epochs when the store is new.
import { randomBytes } from 'node:crypto';
import { logId, ZERO_DIGEST } from '../actors/digest.ts';
import { hex, timestamp } from '../actors/encoding.ts';
import { EPOCH } from './epoch.ts';
import { type EpochKeys, keysetOf } from './keys/keyring.ts';
import type { KeySource } from './keys/source.ts';
import { appendLog } from './log.ts';
import { putMeta } from './records.ts';
import type { Runtime, Step } from './runtime.ts';

/** Epochs are positive: zero is the store's own key. */
const FIRST_EPOCH = 1;

export interface Founding {
  readonly runtime: Runtime;
  readonly source: KeySource;
  readonly chain_id: string;
  readonly now: () => number;
  /** Keys that nobody has seen yet; throws when they are no pairs. */
  readonly derive: (epoch: number) => Promise<EpochKeys>;
  /** Writes what else genesis fixes, behind the first keyset. */
  readonly found?: (step: Step, log_id: string) => void;
}

/** @returns the first epoch's keys; everything else is in the store. @throws {Fault} when there is no key, or it proves wrong */
export async function foundLog(modules: Founding): Promise<EpochKeys> {
  const { runtime, source, chain_id, now, derive, found } = modules;
  const created_at_ms = now();
  const log = { chain_id, log_id: hex(logId(chain_id, new Uint8Array(randomBytes(32)))), created_at_ms };
  const keys = await derive(FIRST_EPOCH);
  const { keyset, digest } = keysetOf(keys, source.name, log, created_at_ms);
  await runtime.commit((step) => {
    putMeta(step, 'genesis', log);
    putMeta(step, 'mempool', { count: 0, next_sequence: 0 });
    putMeta(step, 'heights', {
      cut: 0,
      opened: 0,
      signed: 0,
      forgotten: 0,
      parent_digest: hex(ZERO_DIGEST),
      timestamp_ms: created_at_ms,
    });
    putMeta(step, 'log', { size: 0, sealed: 0, sealing: null });
    putMeta(step, 'epoch', { active: FIRST_EPOCH, grace: [] });
    step.begin(EPOCH, FIRST_EPOCH, { epoch: FIRST_EPOCH });
    const leaf_index = appendLog(step, 'epoch', digest);
    step.put('keysets', FIRST_EPOCH, { keyset, digest, leaf_index });
    step.send(EPOCH, FIRST_EPOCH, { type: 'activated' });
    found?.(step, log.log_id);
    const entry = { from_epoch: null, to_epoch: FIRST_EPOCH, keyset_digest: digest, leaf_index, reason: 'genesis' };
    step.journal('rotation_executed', { ...entry, created_at: timestamp(created_at_ms) }, created_at_ms);
  });
  return keys;
}
