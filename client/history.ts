// What several accepted batches of one log say together: each may be genuine and two of them still prove that the log's
// keys signed two histories. `aegisd verify` asks it about all files of a call; whoever keeps verdicts can ask it again.
// And whether one head of a log continues another, which is what a kept head is good for.
import { fromHex } from '../actors/encoding.ts';
import type { Head } from '../actors/seal.ts';
import { verifyConsistency } from '../actors/tree.ts';
import type { Accepted } from './verdict.ts';

export const CONFLICTS = {
  height_conflict: 'another batch has this height',
  head_conflict: 'another head of the log has this size',
  leaf_conflict: 'the places in the log do not follow the heights',
  parent_mismatch: 'its parent_digest is not the batch before it',
} as const;
export type ConflictCode = keyof typeof CONFLICTS;

/** Two batches of one log that can't both be in one honest history; indices into what was given. */
export interface Conflict {
  readonly code: ConflictCode;
  /** The field of `first` and `second` that differs. */
  readonly field: string;
  readonly first: number;
  readonly second: number;
}

type Batch = Pick<Accepted, 'log_id' | 'batch_id' | 'height' | 'parent_digest' | 'size' | 'root' | 'leaf_index'>;

/** The first conflict of every batch with those before it. The same batch given twice is none. */
export function findConflicts(batches: readonly Batch[]): Conflict[] {
  const conflicts: Conflict[] = [];
  const byHeight = new Map<string, number>();
  const bySize = new Map<string, number>();
  batches.forEach((batch, second) => {
    const at = `${batch.log_id} ${batch.height}`;
    const head = `${batch.log_id} ${batch.size}`;
    const twin = byHeight.get(at);
    const peer = bySize.get(head);
    if (twin !== undefined && batches[twin]!.batch_id !== batch.batch_id) {
      conflicts.push({ code: 'height_conflict', field: 'height', first: twin, second });
    } else if (peer !== undefined && batch.size !== null && batches[peer]!.root !== batch.root) {
      conflicts.push({ code: 'head_conflict', field: 'slh_dsa_sig.seal.root', first: peer, second });
    }
    if (twin === undefined) byHeight.set(at, second);
    if (peer === undefined) bySize.set(head, second);
  });
  return [...conflicts, ...findBreaks(batches)];
}

/** Between neighbours in height: digests chain where the heights are adjacent, and places in the log rise. */
function findBreaks(batches: readonly Batch[]): Conflict[] {
  const breaks: Conflict[] = [];
  const sorted = batches
    .map((batch, index) => ({ ...batch, index }))
    .sort((a, b) => (a.log_id < b.log_id ? -1 : a.log_id > b.log_id ? 1 : a.height - b.height));
  for (let i = 1; i < sorted.length; i++) {
    const [before, after] = [sorted[i - 1]!, sorted[i]!];
    if (before.log_id !== after.log_id || before.height === after.height) continue;
    const pair = { first: before.index, second: after.index };
    if (after.height === before.height + 1 && after.parent_digest !== before.batch_id) {
      breaks.push({ code: 'parent_mismatch', field: 'header.parent_digest', ...pair });
    } else if (before.leaf_index !== null && after.leaf_index !== null && after.leaf_index <= before.leaf_index) {
      breaks.push({ code: 'leaf_conflict', field: 'slh_dsa_sig.leaf_index', ...pair });
    }
  }
  return breaks;
}

export const GROWTH_CODES = {
  wrong_log: 'the heads are of two logs',
  history_forked: 'one size and two roots: the keys of the log signed two histories',
  history_shrank: 'the later head has fewer entries: the log was put back to an earlier state',
  consistency_invalid: 'the proof does not show that the later head continues the earlier one',
} as const;
export type GrowthCode = keyof typeof GROWTH_CODES;

export type Growth = { readonly ok: true } | { readonly ok: false; readonly code: GrowthCode };

type Place = Pick<Head, 'log_id' | 'size' | 'root' | 'timestamp_ms'>;

/** Which of two heads must be a beginning of the other: the smaller one, or where sizes are equal, the first. */
export function inOrder<T extends Place>(one: T, other: T): readonly [earlier: T, later: T] {
  return other.size < one.size ? [other, one] : [one, other];
}

/**
 * Does `later` hold every entry of `earlier`, in its place? Both must have been verified: this compares what they say.
 *
 * @param path  RFC 9162 §2.1.4 from the size of `earlier` to that of `later`; not read where the sizes are equal
 */
export function checkGrowth(earlier: Place, later: Place, path: readonly string[]): Growth {
  if (earlier.log_id !== later.log_id) return { ok: false, code: 'wrong_log' };
  if (later.size < earlier.size) return { ok: false, code: 'history_shrank' };
  if (later.size === earlier.size) {
    return later.root === earlier.root ? { ok: true } : { ok: false, code: 'history_forked' };
  }
  const [from, to] = [fromHex(earlier.root), fromHex(later.root)];
  const grown = verifyConsistency(earlier.size, from, later.size, to, path.map(fromHex));
  return grown ? { ok: true } : { ok: false, code: 'consistency_invalid' };
}
