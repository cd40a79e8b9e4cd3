// Makes every ordering decision again from the journal (DESIGN §3 "Order": replayable, same inputs, same order, on any
// machine). An auditor that has read the feed from its beginning calls it; the daemon's simulation test does, too.
import { fitting, type OrderingPolicy, order, type Pending } from './ordering.ts';

/** What a choice was made from, as `txs_ordered` tells it. */
export interface Choice {
  /** Envelopes with a lower admission sequence were considered. */
  readonly below: number;
  /** How many were wanted. */
  readonly count: number;
  /** How much of ciphertext there was room for. */
  readonly bytes_max: number;
  readonly policy: OrderingPolicy;
  /** Of each envelope that was taken, in order. */
  readonly inputs: readonly Inputs[];
}

/** admitted_cut, order_by, bytes, fee_gwei, risk_level, requires_migration, and of its assets: risk, requires_pqc, requires_tee. */
export type Inputs = readonly [number, number, number, number, number, 0 | 1, number, number, number];

/** The `data` of a `txs_ordered` entry. */
export interface OrderedEntry {
  readonly height: number;
  /** 0 for a cut; behind it, the order grew because places were left free. */
  readonly from: number;
  readonly order: readonly { readonly envelope_id: string; readonly admission_sequence: string }[];
  readonly chosen: Choice;
}

export function inputsOf(pending: Pending): Inputs {
  const { admitted_cut, order_by, bytes, fee_gwei, risk_level, requires_migration, assets } = pending;
  const { risk, requires_pqc, requires_tee } = assets;
  return [
    admitted_cut,
    order_by,
    bytes,
    fee_gwei,
    risk_level,
    requires_migration ? 1 : 0,
    risk,
    requires_pqc,
    requires_tee,
  ];
}

/**
 * @param entries  every `txs_ordered`, in the order of the journal. What is still pending at its end is not known and not
 *                 considered: it lost against all that was taken.
 * @returns        the first entry that another choice should have been made for; undefined where all follow
 */
export function replay(entries: readonly OrderedEntry[]): OrderedEntry | undefined {
  const waiting = new Map<number, Pending>();
  for (const entry of entries) for (const pending of pendingOf(entry)) waiting.set(pending.admission_sequence, pending);
  for (const entry of entries) {
    const { below, count, bytes_max, policy } = entry.chosen;
    const considered = [...waiting.values()].filter(({ admission_sequence }) => admission_sequence < below);
    const ordered = order(considered, policy, entry.height, count);
    // Only a cut takes what is due beyond its places.
    const taken = fitting(entry.from === 0 ? ordered : ordered.slice(0, count), bytes_max);
    const same =
      taken.length === entry.order.length &&
      taken.every(({ envelope_id }, i) => envelope_id === entry.order[i]!.envelope_id);
    if (!same) return entry;
    for (const { admission_sequence } of taken) waiting.delete(admission_sequence);
  }
  return undefined;
}

function pendingOf(entry: OrderedEntry): Pending[] {
  return entry.order.map(({ envelope_id, admission_sequence }, i) => {
    const [admitted_cut, order_by, bytes, fee_gwei, risk_level, migration, risk, requires_pqc, requires_tee] =
      entry.chosen.inputs[i]!;
    return {
      envelope_id,
      admission_sequence: Number(admission_sequence),
      ...{ admitted_cut, order_by, bytes, fee_gwei, risk_level },
      requires_migration: migration === 1,
      assets: { risk, requires_pqc, requires_tee },
    };
  });
}
