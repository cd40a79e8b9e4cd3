// The epochs of keys (DESIGN §5): makes the first one when the store is new, and gives the keys and the published keyset of
// the active one. A keyset is a log entry before anything is signed under it.
import { randomBytes } from 'node:crypto';
import { logId, ZERO_DIGEST } from '../actors/digest.ts';
import { hex, timestamp } from '../actors/encoding.ts';
import { EPOCH_MACHINE_VERSION, epochMachine } from '../actors/epoch.ts';
import { Fault } from './fault.ts';
import { deriveEpoch, type EpochKeys, keysetOf } from './keys/keyring.ts';
import type { KeySource } from './keys/source.ts';
import { appendLog } from './log.ts';
import { type KeysetRecord, keysetRecord, type Meta, meta, putMeta } from './records.ts';
import type { MachineKind, Runtime } from './runtime.ts';
import type { Store } from './store.ts';

export const EPOCH: MachineKind<typeof epochMachine> = {
  name: 'epoch',
  version: EPOCH_MACHINE_VERSION,
  machine: epochMachine,
};

/** Epochs are positive: zero is the store's own key. */
const FIRST_EPOCH = 1;

export interface ActiveEpoch {
  readonly keys: EpochKeys;
  readonly keyset: KeysetRecord;
  readonly log: Meta['genesis'];
}

/**
 * Derives the active epoch and holds it against what was published, so that a changed key source is noticed before it signs.
 *
 * @throws {Fault} key_source_failed when the keys are not those of the published keyset
 */
export async function openEpoch(modules: {
  store: Store;
  runtime: Runtime;
  source: KeySource;
  chain_id: string;
  hybrid_ecdsa: boolean;
  now: () => number;
  /** Tries keys that nobody has seen yet; throws when they are no pairs. */
  prove: (keys: EpochKeys) => Promise<void>;
}): Promise<ActiveEpoch> {
  const { store, source } = modules;
  const genesis = store.get('meta', 'genesis') as Meta['genesis'] | undefined;
  if (genesis === undefined) return makeGenesis(modules);
  if (genesis.chain_id !== modules.chain_id) {
    const reason = `chain.chain_id is ${modules.chain_id}, but the store was made for ${genesis.chain_id}`;
    throw new Fault({ code: 'store_foreign', path: store.folder, reason });
  }
  const { active } = meta(store, 'epoch');
  const record = keysetRecord(store, active);
  if (record === undefined) throw new Fault({ code: 'store_corrupt', reason: `the keyset of epoch ${active} is gone` });
  const keys = await deriveEpoch(source, active, record.keyset.secp256k1 !== null);
  if (keysetOf(keys, source.name, genesis, record.keyset.not_before_ms).digest !== record.digest) {
    const reason = `it gives other keys than those published for epoch ${active}`;
    throw new Fault({ code: 'key_source_failed', source: source.name, reason });
  }
  return { keys, keyset: record, log: genesis };
}

async function makeGenesis(modules: Parameters<typeof openEpoch>[0]): Promise<ActiveEpoch> {
  const { runtime, store, source, chain_id, hybrid_ecdsa, now, prove } = modules;
  const created_at_ms = now();
  const log = { chain_id, log_id: hex(logId(chain_id, new Uint8Array(randomBytes(32)))), created_at_ms };
  const keys = await deriveEpoch(source, FIRST_EPOCH, hybrid_ecdsa);
  await prove(keys);
  const { keyset, digest } = keysetOf(keys, source.name, log, created_at_ms);
  await runtime.commit((step) => {
    putMeta(step, 'genesis', log);
    putMeta(step, 'mempool', { count: 0, next_sequence: 0 });
    const parent_digest = hex(ZERO_DIGEST);
    putMeta(step, 'heights', {
      cut: 0,
      opened: 0,
      signed: 0,
      forgotten: 0,
      parent_digest,
      timestamp_ms: created_at_ms,
    });
    putMeta(step, 'log', { size: 0, sealed: 0, sealing: null });
    putMeta(step, 'epoch', { active: FIRST_EPOCH });
    step.begin(EPOCH, FIRST_EPOCH, { epoch: FIRST_EPOCH });
    const leaf_index = appendLog(step, 'epoch', digest);
    step.put('keysets', FIRST_EPOCH, { keyset, digest, leaf_index });
    step.send(EPOCH, FIRST_EPOCH, { type: 'activated' });
    const entry = { from_epoch: null, to_epoch: FIRST_EPOCH, keyset_digest: digest, leaf_index, reason: 'genesis' };
    step.journal('rotation_executed', { ...entry, created_at: timestamp(created_at_ms) }, created_at_ms);
  });
  return { keys, keyset: keysetRecord(store, FIRST_EPOCH)!, log };
}
