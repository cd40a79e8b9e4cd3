// Ordering: which pending envelopes go into the next batch and in which order, decided before any of them can be read
// (DESIGN §3 "Order"). Pure, total and deterministic: the same inputs give the same order on any machine. The cutter calls
// it; the four modes are presets of one scoring function.
import { BATCH_MAX, type OrderingMode } from './batch.ts';
import { CIPHERTEXT_BYTES_MAX } from './envelope.ts';

/** What the enclave itself knows of the assets that an envelope declares; never what a client claims. */
export interface AssessedAssets {
  /** The highest assessed risk among them, 0 to 10,000; bounds the client's hint. */
  readonly risk: number;
  readonly requires_pqc: number;
  readonly requires_tee: number;
}

/** No asset declared, or none of those declared is registered. */
export const NO_ASSETS: AssessedAssets = { risk: 0, requires_pqc: 0, requires_tee: 0 };

export interface Pending {
  readonly envelope_id: string;
  /** Unique and rising; breaks every tie. */
  readonly admission_sequence: number;
  /** How many cuts had been made when it was admitted. */
  readonly admitted_cut: number;
  /** The height that its receipt names. */
  readonly order_by: number;
  /** Of its ciphertext. */
  readonly bytes: number;
  /** Whole gwei of the declared priority fee, at most 2^53 - 1. */
  readonly fee_gwei: number;
  readonly risk_level: number;
  readonly requires_migration: boolean;
  readonly assets: AssessedAssets;
}

/** `[ordering]` of sequencer.toml. */
export interface OrderingPolicy {
  readonly mode: OrderingMode;
  readonly risk_weight: number;
  readonly requires_pqc_weight: number;
  readonly requires_tee_weight: number;
  readonly migration_weight: number;
  readonly fee_weight: number;
  readonly fee_score_max: number;
  readonly age_max_cuts: number;
}

interface Weights {
  readonly risk: number;
  readonly pqc: number;
  readonly tee: number;
  readonly migration: number;
  readonly fee: number;
}

const GWEI = 1_000_000_000n;

/** Wei per gas as declared (a decimal string), in whole gwei. */
export function feeGwei(priority_fee: string): number {
  const gwei = BigInt(priority_fee) / GWEI;
  return gwei > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(gwei);
}

/**
 * The mode as weights. Where a mode says "first this, then that", the weight of the first is above all that the second
 * can add up to, so that one linear score is the lexicographic order.
 */
function weights(policy: OrderingPolicy): Weights {
  const step = policy.fee_score_max + 1;
  const none = { risk: 0, pqc: 0, tee: 0, migration: 0, fee: 1 };
  switch (policy.mode) {
    case 'risk_aware':
      return { ...none, risk: step };
    case 'asset_protection':
      return { ...none, pqc: policy.requires_pqc_weight * step, tee: policy.requires_tee_weight * step };
    case 'migration_aware':
      return { ...none, risk: step, migration: step * 10_001 };
    case 'hybrid':
      return {
        risk: policy.risk_weight,
        pqc: policy.requires_pqc_weight,
        tee: policy.requires_tee_weight,
        migration: policy.migration_weight,
        fee: policy.fee_weight,
      };
  }
}

/** Higher goes first. A safe integer for every policy that the configuration admits. */
export function score(pending: Pending, policy: OrderingPolicy): number {
  return weigh(pending, weights(policy), policy.fee_score_max);
}

function weigh(pending: Pending, by: Weights, fee_score_max: number): number {
  const { assets } = pending;
  return (
    by.risk * Math.min(pending.risk_level, assets.risk) +
    by.pqc * assets.requires_pqc +
    by.tee * assets.requires_tee +
    by.migration * (pending.requires_migration ? 1 : 0) +
    by.fee * Math.min(pending.fee_gwei, fee_score_max)
  );
}

/**
 * Orders pending envelopes before any of them is opened, so that the sequencer can't prefer what it has not read. Envelopes
 * that `age_max_cuts` cuts have passed over go first, oldest first, so nothing starves; then by score; ties fall to the
 * admission sequence. Before all of them goes what a receipt promised for this cut: under the settings that it was promised
 * under it has gone long ago, so this matters only after they have changed.
 *
 * @param pending  any order; at most `mempool.capacity`
 * @param cut      how many cuts have been made before this one
 * @param count    how many to take
 * @returns        first to execute first; at most `count`, or as many as were promised for this cut, up to BATCH_MAX
 */
export function order(pending: Iterable<Pending>, policy: OrderingPolicy, cut: number, count: number): Pending[] {
  const by = weights(policy);
  // The best `count` so far, in order. Most candidates of a long queue lose against the last of them at once.
  const best: { entry: Pending; rank: number }[] = [];
  let limit = count;
  let due = 0;
  for (const entry of pending) {
    let rank = weigh(entry, by, policy.fee_score_max);
    if (cut >= entry.order_by) {
      rank = Number.POSITIVE_INFINITY;
      due += 1;
      limit = Math.max(count, Math.min(due, BATCH_MAX));
    } else if (cut - entry.admitted_cut >= policy.age_max_cuts) {
      rank = Number.MAX_VALUE;
    }
    if (best.length === limit && !before(entry, rank, best.at(-1))) continue;
    let low = 0;
    let high = best.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (before(entry, rank, best[middle])) high = middle;
      else low = middle + 1;
    }
    best.splice(low, 0, { entry, rank });
    if (best.length > limit) best.pop();
  }
  return best.map(({ entry }) => entry);
}

function before(entry: Pending, rank: number, other: { entry: Pending; rank: number } | undefined): boolean {
  if (other === undefined) return false;
  return rank !== other.rank ? rank > other.rank : entry.admission_sequence < other.entry.admission_sequence;
}

/** What the ciphertexts of one batch may add up to, so that its record and its file stay below 64 MiB as hex in JSON. */
export const BATCH_BYTES_MAX = 16 * 1024 * 1024;

/** So many of any size fit. */
const FITTING = Math.floor(BATCH_BYTES_MAX / CIPHERTEXT_BYTES_MAX);

/** The longest beginning of an order whose ciphertexts fit into `bytes_max`; one at least. */
export function fitting(ordered: readonly Pending[], bytes_max: number): Pending[] {
  let sum = 0;
  const end = ordered.findIndex(({ bytes }, i) => {
    sum += bytes;
    return i > 0 && sum > bytes_max;
  });
  return ordered.slice(0, end === -1 ? ordered.length : end);
}

/**
 * The height by which an envelope admitted now is ordered, whatever comes after it: it waits `age_max_cuts` cuts at most
 * before it goes first, then behind the older ones, of which each cut takes at least `batch_size`, or what fits.
 *
 * @param next_height  of the next cut
 * @param waiting      how many are pending before it
 */
export function orderByHeight(next_height: number, waiting: number, batch_size: number, age_max_cuts: number): number {
  return next_height + age_max_cuts + Math.floor(waiting / Math.min(batch_size, FITTING));
}
