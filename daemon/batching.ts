// The stages of a batch from its order to its place in the log, as the steps that the runtime commits: `order` (cut),
// `open`, `sign`. Each is a decision over records; what must be performed outside (threads, watermark) is in the two
// performers at the end. DESIGN §3, §4.
import assert from 'node:assert';
import { assetsRoot } from '../actors/asset.ts';
import {
  ALGORITHM_BIT,
  BATCH_VERSION,
  type BatchRefusal,
  byNonce,
  type Header,
  ORDERING_MODES,
  orderRoot,
  refusedRoot,
  txRoot,
} from '../actors/batch.ts';
import { batchDigest, ZERO_DIGEST } from '../actors/digest.ts';
import { hex } from '../actors/encoding.ts';
import { BATCH_BYTES_MAX, fitting, type OrderingPolicy, order, type Pending } from '../actors/ordering.ts';
import { refusalCode } from '../actors/refusal.ts';
import { type Choice, inputsOf } from '../actors/replay.ts';
import { BATCH_MACHINE_VERSION, batchMachine } from '../actors/sequencing.ts';
import { checkpointInForce, checkpointRecord } from './freeze.ts';
import { appendLog } from './log.ts';
import { joined, type Opened, police } from './policing.ts';
import {
  type BatchRecord,
  batchRecord,
  keysetRecord,
  type Meta,
  meta,
  type OpenedRecord,
  putMeta,
  riskNow,
  totals,
} from './records.ts';
import type { MachineKind, Step } from './runtime.ts';

export const BATCH: MachineKind<typeof batchMachine> = {
  name: 'batch',
  version: BATCH_MACHINE_VERSION,
  machine: batchMachine,
};

/** What a cut goes by; live settings, read anew each time. */
export interface CutPolicy {
  readonly ordering: OrderingPolicy;
  readonly max_transactions_per_batch: number;
  readonly open_max: number;
  /** The newest verified evidence has not ended; policies may ask for that. */
  readonly attested?: boolean;
  /** Whether batches may be signed with ECDSA too; the epoch must have the key. */
  readonly hybrid_ecdsa: boolean;
}

/** The mempool, as ordering sees it. */
export interface Queue {
  /** Every pending envelope with a lower admission sequence is there, and no other. */
  readonly below: number;
  entries(): Iterable<Pending>;
}

const ZERO = hex(ZERO_DIGEST);

/**
 * Fixes the next batch's order over what may be known before anything is opened.
 *
 * @param now_ms   the header's time, unless the batch before is later
 * @returns        what was taken; empty when nothing was pending, and then nothing is written
 */
export function cut(step: Step, queue: Queue, policy: CutPolicy, now_ms: number): Pending[] {
  const heights = meta(step, 'heights');
  const height = heights.cut;
  const count = policy.max_transactions_per_batch;
  const taken = fitting(order(queue.entries(), policy.ordering, height, count), BATCH_BYTES_MAX);
  if (taken.length === 0) return taken;
  const timestamp_ms = Math.max(now_ms, heights.timestamp_ms);
  const epoch = meta(step, 'epoch').active;
  const ecdsa = policy.hybrid_ecdsa && keysetRecord(step, epoch)!.keyset.secp256k1 !== null;
  const record: BatchRecord = {
    height,
    epoch,
    timestamp_ms,
    ordering_mode: ORDERING_MODES.indexOf(policy.ordering.mode),
    algorithms: ALGORITHM_BIT['ML-DSA-87'] | ALGORITHM_BIT['SLH-DSA-SHA2-256s'] | (ecdsa ? ALGORITHM_BIT.ECDSA : 0),
    risk: riskNow(step, timestamp_ms),
    places: taken.length,
    order: [],
    opened: [],
    header: null,
    digest: null,
    execution: [],
    refused: [],
    ml_dsa: null,
    ecdsa: null,
    leaf_index: null,
    checkpoint: checkpointInForce(step)?.number ?? null,
  };
  putMeta(step, 'heights', { ...heights, cut: height + 1, timestamp_ms });
  const { below } = queue;
  commitOrder(step, record, taken, { below, count, bytes_max: BATCH_BYTES_MAX, policy: policy.ordering });
  step.begin(BATCH, height, { height });
  return taken;
}

/**
 * Appends to a batch's order and takes the envelopes out of the queue. The journal gets what the choice was made from, so
 * that anyone can make it again (actors/replay.ts); it hears of an envelope's claims only now, when they can't be used
 * against it any more.
 */
function commitOrder(step: Step, record: BatchRecord, taken: readonly Pending[], by: Omit<Choice, 'inputs'>): void {
  const added = taken.map(({ envelope_id, admission_sequence }) => ({
    envelope_id,
    admission_sequence: String(admission_sequence),
  }));
  for (const { envelope_id, admission_sequence } of taken) {
    step.remove('pending', admission_sequence);
    step.put('ordered', envelope_id, { height: record.height });
  }
  const mempool = meta(step, 'mempool');
  putMeta(step, 'mempool', { ...mempool, count: mempool.count - taken.length });
  step.put('batches', record.height, { ...record, order: [...record.order, ...added] });
  const chosen: Choice = { ...by, inputs: taken.map(inputsOf) };
  const entry = { height: record.height, from: record.order.length, order: added, chosen };
  step.journal('txs_ordered', entry, record.timestamp_ms);
}

/**
 * Takes what opening yielded. Where refusals left places free and there is more to try, the order grows and the new part
 * is opened next; otherwise the header is made and its digest may be signed, by the watermark, once.
 *
 * @param outcomes  for `order.slice(opened.length)`
 * @returns         what was taken from the queue, whether the batch is complete, and what became of the envelopes
 */
export function settleOpened(
  step: Step,
  height: number,
  outcomes: readonly Opened[],
  queue: Queue,
  policy: CutPolicy,
  log: Meta['genesis'],
): { taken: Pending[]; complete: boolean; judged: { envelope_id: string; refused: boolean }[] } {
  const before = batchRecord(step, height);
  const policed = police(step, outcomes, {
    envelope_ids: before.order.slice(before.opened.length).map(({ envelope_id }) => envelope_id),
    chain_id: log.chain_id,
    risk_score: before.risk.score,
    attested: policy.attested ?? false,
  });
  const fresh = refuseReplays(
    step,
    before.opened,
    policed.map(({ outcome }) => outcome),
  );
  const assets = joined(before.assets ?? [], ...policed.map(({ touched }, i) => (fresh[i]!.ok ? touched : [])));
  const record = { ...before, opened: [...before.opened, ...fresh], assets };
  assert(record.opened.length === record.order.length, 'every ordered envelope was opened or refused');
  const judged = record.order.slice(before.opened.length).map(({ envelope_id }, i) => ({
    envelope_id,
    refused: !record.opened[before.opened.length + i]!.ok,
  }));

  const free = record.places - record.opened.filter((outcome) => outcome.ok).length;
  const tries = Math.min(free, policy.open_max - record.order.length);
  const refill = tries > 0 ? order(queue.entries(), policy.ordering, height, tries).slice(0, tries) : [];
  const bytes_max = BATCH_BYTES_MAX - bytesOf(record.opened);
  const taken = fitting(refill, bytes_max);
  if (taken.length > 0) {
    commitOrder(step, record, taken, { below: queue.below, count: tries, bytes_max, policy: policy.ordering });
    step.send(BATCH, height, { type: 'ordered' });
    return { taken, complete: false, judged };
  }
  complete(step, record, log);
  return { taken, complete: true, judged };
}

/** Of the transactions among them. */
function bytesOf(opened: readonly OpenedRecord[]): number {
  return opened.reduce((sum, outcome) => sum + (outcome.ok ? outcome.raw.length / 2 : 0), 0);
}

/** A hash that was sequenced before, or stands earlier in this batch, is a replay. */
function refuseReplays(
  step: Step,
  earlier: readonly OpenedRecord[],
  outcomes: readonly OpenedRecord[],
): OpenedRecord[] {
  const seen = new Set(earlier.flatMap((outcome) => (outcome.ok ? [outcome.tx_hash] : [])));
  return outcomes.map((outcome) => {
    if (!outcome.ok) return outcome;
    if (seen.has(outcome.tx_hash) || step.get('hashes', outcome.tx_hash) !== undefined) {
      return { ok: false, reason: 'replayed' };
    }
    seen.add(outcome.tx_hash);
    return outcome;
  });
}

function complete(step: Step, record: BatchRecord, log: Meta['genesis']): void {
  const { height } = record;
  const heights = meta(step, 'heights');
  assert(heights.opened === height, 'headers are made in height order');
  const refused: BatchRefusal[] = [];
  const opened = record.order.flatMap(({ envelope_id }, order_index) => {
    const outcome = record.opened[order_index]!;
    if (outcome.ok) return [{ ...outcome, envelope_id, order_index, nonce: BigInt(outcome.nonce) }];
    refused.push({ envelope_id, code: refusalCode(outcome.reason), reason: outcome.reason });
    return [];
  });
  const transactions = byNonce(opened);
  const header: Header = {
    version: BATCH_VERSION,
    chain_id: log.chain_id,
    log_id: log.log_id,
    height,
    parent_digest: heights.parent_digest,
    block_number: String(height),
    timestamp_ms: record.timestamp_ms,
    epoch: record.epoch,
    order_count: record.order.length,
    order_root: hex(orderRoot(record.order)),
    tx_count: transactions.length,
    tx_root: hex(txRoot(transactions)),
    refused_root: hex(refusedRoot(refused)),
    assets_root: hex(assetsRoot(record.assets ?? [])),
    risk_score: record.risk.score,
    ordering_mode: record.ordering_mode,
    algorithms: record.algorithms,
    checkpoint_digest: record.checkpoint == null ? ZERO : checkpointRecord(step, record.checkpoint)!.digest!,
  };
  const digest = hex(batchDigest(header));

  transactions.forEach(({ envelope_id, tx_hash }, index) => {
    step.put('hashes', tx_hash, { height, index, envelope_id });
  });
  const execution = transactions.map(({ order_index }) => order_index);
  step.put('batches', height, { ...record, header, digest, execution, refused });
  step.put('batch_ids', digest, { height });
  putMeta(step, 'totals', counted(totals(step), transactions.length, refused));
  step.put('watermarks', `batch/${height}`, { digest });
  putMeta(step, 'heights', { ...heights, opened: height + 1, parent_digest: digest });
  step.send(BATCH, height, { type: 'opened' });
}

/** Of one more batch. */
export function counted(before: Meta['totals'], sequenced: number, refused: readonly BatchRefusal[]): Meta['totals'] {
  const counts = { ...before.refused };
  for (const { code } of refused) counts[code] = (counts[code] ?? 0) + 1;
  return { sequenced: before.sequenced + sequenced, refused: counts };
}

/** The batch is `signed`: its digest joins the log. */
export function settleSigned(
  step: Step,
  height: number,
  signed: { ml_dsa: string; ecdsa: string | null },
  now_ms: number,
): void {
  const record = batchRecord(step, height);
  const heights = meta(step, 'heights');
  assert(heights.signed === height && record.digest !== null, 'batches join the log in height order');
  const leaf_index = appendLog(step, 'batch', record.digest);
  const ecdsa =
    signed.ecdsa === null ? null : ({ algorithm: 'ECDSA-secp256k1-EIP712', signature: signed.ecdsa } as const);
  step.put('batches', height, { ...record, ml_dsa: signed.ml_dsa, ecdsa, leaf_index });
  putMeta(step, 'heights', { ...heights, signed: height + 1 });
  step.send(BATCH, height, { type: 'signed' });
  const { execution, refused, digest, epoch } = record;
  const entry = { height, batch_id: digest, leaf_index, epoch, tx_count: execution.length, refused };
  step.journal('batch_created', entry, now_ms);
}
