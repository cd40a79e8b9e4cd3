// What the store says of handovers (DESIGN §8): which enclaves may succeed by orders, that this enclave has ended, how far a successor
// has come with the state of its predecessor, and the newest handover of the log with its proof. Questions and steps; the rooms
// beside it ask and write.

import { hex } from '../../actors/encoding.ts';
import {
  ALLOWED_MAX,
  type AllowedSuccessor,
  digestOfHandover,
  type Handover,
  type SealedHandover,
} from '../../actors/handover.ts';
import type { Keyset } from '../../actors/keyset.ts';
import type { Clock } from '../clock.ts';
import { checkpointUnderWay } from '../freeze.ts';
import { appendLog, inclusionProof, signedHead } from '../log.ts';
import { type ActHandlers, requireOrder } from '../orders.ts';
import { meta, pendingRotation } from '../records.ts';
import type { Reader, Transaction } from '../store.ts';

/** `handovers`: by the leaf of the entry. */
export interface HandoverRecord {
  readonly handover: Handover;
  /** Of the successor. */
  readonly keyset: Keyset;
  readonly successor_url: string;
}

// ---- who may succeed

/** `meta` record `successors`. */
export const allowedSuccessors = (reader: Reader): readonly AllowedSuccessor[] =>
  (reader.get('meta', 'successors') as readonly AllowedSuccessor[] | undefined) ?? [];

const isSame = (a: AllowedSuccessor['measurement'], b: AllowedSuccessor['measurement']): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

/**
 * The handlers of the two orders. The delay counts from the agreed time, and as much time of running: a clock that was set back before
 * the order, or on at one start after another, shortens nothing.
 *
 * @param delay_ms  `handover.delay_ms`
 */
export function successorActs(
  delay_ms: () => number,
  clock: Pick<Clock, 'held' | 'aging' | 'uptime' | 'mark'>,
): Pick<ActHandlers, 'allow_measurement' | 'revoke_measurement'> {
  return {
    allow_measurement(step, ordered) {
      const { measurement, in_force_after_ms: wanted_ms } = requireOrder(ordered, step, 'allow_measurement');
      if (clock.held) return { ok: false, detail: 'the clock is held: its delay could not be counted' };
      // Whoever signs it alone must leave the others the chance to object.
      const in_force_after_ms = Math.max(wanted_ms, clock.aging() + delay_ms());
      const in_force_after_uptime_ms = clock.uptime() + delay_ms();
      clock.mark(step);
      const others = allowedSuccessors(step).filter((each) => !isSame(each.measurement, measurement));
      if (others.length >= ALLOWED_MAX)
        return { ok: false, detail: `expected at most ${ALLOWED_MAX}: revoke one first` };
      const { leaf_index } = ordered.executed;
      step.put('meta', 'successors', [
        ...others,
        { measurement, in_force_after_ms, in_force_after_uptime_ms, leaf_index },
      ]);
      return { ok: true };
    },
    revoke_measurement(step, ordered) {
      const { measurement } = requireOrder(ordered, step, 'revoke_measurement');
      const allowed = allowedSuccessors(step);
      const others = allowed.filter((each) => !isSame(each.measurement, measurement));
      if (others.length === allowed.length) return { ok: false, detail: 'expected a measurement that is allowed' };
      step.put('meta', 'successors', others);
      return { ok: true };
    },
  };
}

// ---- the end of this enclave

/** Nothing is on its way to a signature, and a seal covers the whole log, so that what travels is one state. */
export function isWhole(reader: Reader): boolean {
  const { size, sealed } = meta(reader, 'log');
  const { cut, signed } = meta(reader, 'heights');
  const [owed] = [...reader.range('outbox', { limit: 1 })];
  const isQuiet = owed === undefined && checkpointUnderWay(reader) === undefined;
  return size === sealed && cut === signed && isQuiet && pendingRotation(reader) === undefined;
}

/** Whether this enclave has ended: it seals the entry that says so, and nothing else, ever. */
export const hasEnded = (reader: Reader): boolean => reader.get('meta', 'handover') !== undefined;

/** Whether the seal over the end is there, so that no key of this enclave is needed any more. */
export const isEndSealed = (reader: Reader): boolean => {
  const { size, sealed } = meta(reader, 'log');
  return hasEnded(reader) && size === sealed;
};

/** The entries at the end of a predecessor's log: the successor's keyset, and the handover directly behind it. */
export function appendHandover(step: Transaction, record: HandoverRecord): void {
  const { handover } = record;
  appendLog(step, 'epoch', handover.to_keyset_digest);
  appendLog(step, 'handover', hex(digestOfHandover(handover)));
  step.put('handovers', handover.leaf_index, record);
}

export const markEnded = (step: Transaction, { leaf_index }: Handover): void =>
  step.put('meta', 'handover', { leaf_index });

/** The newest one of the log that a seal covers. */
export function newestHandover(reader: Reader): SealedHandover | null {
  for (const [leaf_index, value] of reader.range('handovers', { limit: 1, reverse: true })) {
    const { handover, keyset, successor_url } = value as HandoverRecord;
    const size = leaf_index + 1;
    const sealed = signedHead(reader, size);
    if (sealed === undefined) return null;
    return { handover, keyset, successor_url, sealed, inclusion_path: inclusionProof(reader, leaf_index, size) };
  }
  return null;
}

export function endedFor(reader: Reader): HandoverRecord | undefined {
  const ended = reader.get('meta', 'handover') as { leaf_index: number } | undefined;
  return ended === undefined ? undefined : (reader.get('handovers', ended.leaf_index) as HandoverRecord);
}

// ---- how far a successor has come

/** `meta` record `inheritance`, from the first record of a predecessor until this enclave is active. */
export type Inheritance =
  /** Not all is there: nothing was promised to anybody, so it is begun anew. */
  | { readonly state: 'importing' }
  /** All is there and verified, and the predecessor may have been told: it may have ended. */
  | {
      readonly state: 'imported';
      readonly from_keyset_digest: string;
      /** This enclave's own, of the epoch to come. */
      readonly keyset: Keyset;
      readonly keyset_digest: string;
      readonly head_digest: string;
      readonly state_hash: string;
      readonly asset_count: number;
    };

export const inheritance = (reader: Reader): Inheritance | undefined =>
  reader.get('meta', 'inheritance') as Inheritance | undefined;
