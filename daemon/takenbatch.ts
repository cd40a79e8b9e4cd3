// A batch that a store takes from what was published (resolution.ts), as if it had made it itself: record, machine, hashes and places of
// its transactions, so that the file is served again and none of them is sequenced twice. Of an envelope that only the lost
// part of the store knew there is a new receipt, which says no more than that it was ordered.
import type { BatchFile, Ordered } from '../actors/batch.ts';
import { begin, type Snapshot, step as transition } from '../actors/effect.ts';
import { fromHex } from '../actors/encoding.ts';
import type { Pending } from '../actors/ordering.ts';
import type { Receipt } from '../actors/receipt.ts';
import { refusalOf } from '../actors/refusal.ts';
import { type BatchEvent, batchMachine } from '../actors/sequencing.ts';
import { decodeTransaction } from '../actors/transaction.ts';
import { LOG_KINDS } from '../actors/tree.ts';
import { BATCH, counted } from './batching.ts';
import { checkpointOf } from './checkpoints.ts';
import {
  type BatchRecord,
  type EnvelopeRecord,
  envelopeRecord,
  meta,
  type OpenedRecord,
  putMeta,
  totals,
} from './records.ts';
import { machineId, type Step } from './runtime.ts';

/** Signed by the epoch of the batch. */
export type NewReceipt = (promise: Omit<Receipt, 'algorithm' | 'signature' | 'log_id'>) => Receipt;

/** @param file  verified, and of the height that is signed next */
export function takeBatch(step: Step, file: BatchFile, leaf_index: number, receipt: NewReceipt): void {
  const { height, header, batch_id: digest } = file;
  step.put('batches', height, recordOf(step, file, leaf_index));
  step.put('batch_ids', digest, { height });
  step.put('watermarks', `batch/${height}`, { digest });
  putMachine(step, height);
  takeEnvelopes(step, file, receipt);
  file.transactions.forEach(({ tx_hash, envelope_id }, index) => {
    step.put('hashes', tx_hash, { height, index, envelope_id });
  });
  putMeta(step, 'totals', counted(totals(step), file.transactions.length, file.refused));
  const heights = meta(step, 'heights');
  const ahead = heights.opened > height + 1;
  putMeta(step, 'heights', {
    ...heights,
    cut: Math.max(heights.cut, height + 1),
    opened: Math.max(heights.opened, height + 1),
    signed: height + 1,
    parent_digest: ahead ? heights.parent_digest : digest,
    timestamp_ms: Math.max(heights.timestamp_ms, header.timestamp_ms),
  });
}

function recordOf(step: Step, file: BatchFile, leaf_index: number): BatchRecord {
  const { height, header, order, transactions, refused, migration_checkpoint } = file;
  const executed = new Map(transactions.map((transaction) => [transaction.order_index, transaction]));
  const reasons = new Map(refused.map(({ envelope_id, code }) => [envelope_id, refusalOf(code)!]));
  const opened = order.map(({ envelope_id }, order_index): OpenedRecord => {
    const transaction = executed.get(order_index);
    if (transaction === undefined) return { ok: false, reason: reasons.get(envelope_id)! };
    const { raw, tx_hash, sender } = transaction;
    return { ok: true, raw, tx_hash, sender, nonce: nonceOf(raw) };
  });
  const known = migration_checkpoint === null ? null : checkpointOf(step, migration_checkpoint.checkpoint_id);
  return {
    height,
    epoch: header.epoch,
    timestamp_ms: header.timestamp_ms,
    ordering_mode: header.ordering_mode,
    algorithms: header.algorithms,
    risk: file.risk_assessment,
    places: header.order_count,
    order,
    opened,
    header,
    digest: file.batch_id,
    execution: transactions.map(({ order_index }) => order_index),
    refused,
    assets: file.asset_protections,
    ml_dsa: file.ml_dsa_sig.signature,
    ecdsa: file.ecdsa_sig,
    leaf_index,
    checkpoint: known?.number ?? null,
    ...(known === undefined && { published_checkpoint: migration_checkpoint }),
  };
}

function nonceOf(raw: string): string {
  const decoded = decodeTransaction(fromHex(raw));
  if (!decoded.ok) throw new Error('what was verified decodes');
  return String(decoded.transaction.nonce);
}

/** Whatever the store itself had begun of it is over. */
function putMachine(step: Step, height: number): void {
  let { snapshot } = begin(batchMachine, BATCH.version, { height });
  for (const type of ['opened', 'signed'] as const) snapshot = after(snapshot, { type });
  step.put('machines', machineId(BATCH, height), snapshot);
}

/** The effects that it would owe are done. */
function after(snapshot: Snapshot, event: BatchEvent): Snapshot {
  const stepped = transition(batchMachine, snapshot, event);
  if (!stepped.ok) throw new Error(`a batch that was published accepts ${event.type}`);
  return stepped.snapshot;
}

/** Those of which something is known; one that was refused and is not known may come again, and be refused again. */
function takeEnvelopes(step: Step, { height, header, order, transactions }: BatchFile, receipt: NewReceipt): void {
  const executed = new Map(transactions.map((transaction) => [transaction.envelope_id, transaction]));
  for (const { envelope_id, admission_sequence } of order) {
    const transaction = executed.get(envelope_id);
    if (envelopeRecord(step, envelope_id) === undefined && transaction !== undefined) {
      const { tx_id, scheme, epoch, asset_refs, priority_fee, risk_level, requires_migration, ciphertext_sha512 } =
        transaction;
      const { timestamp_ms } = header;
      const order_by_height = String(height);
      const promise = { envelope_id, admission_sequence, timestamp_ms, epoch: header.epoch, order_by_height };
      const record: EnvelopeRecord = {
        ...{ tx_id, scheme, epoch, asset_refs, priority_fee, risk_level, requires_migration, ciphertext_sha512 },
        receipt: receipt(promise),
      };
      step.put('envelopes', envelope_id, record);
    }
    if (envelopeRecord(step, envelope_id) !== undefined) step.put('ordered', envelope_id, { height });
    unqueue(step, envelope_id, Number(admission_sequence));
  }
}

/**
 * What stood in an order that this copy committed after it was put back, and that no witness let it open, was never in the log: it is as
 * if it had not been admitted, and may come again. What was published at a lower height is there already, and stays.
 */
export function dropOrder(step: Step, own: BatchRecord, published: readonly Ordered[]): void {
  const there = new Set(published.map(({ envelope_id }) => envelope_id));
  for (const { envelope_id } of own.order) {
    if (there.has(envelope_id) || step.get('ordered', envelope_id)?.height !== own.height) continue;
    for (const table of ['ordered', 'envelopes', 'ciphertexts'] as const) step.remove(table, envelope_id);
  }
}

/** It may have waited when the backup was taken, or been admitted by the copy anew, under another sequence than was published. */
function unqueue(step: Step, envelope_id: string, admission_sequence: number): void {
  const mempool = meta(step, 'mempool');
  const next_sequence = Math.max(mempool.next_sequence, admission_sequence + 1);
  const own = envelopeRecord(step, envelope_id)?.receipt.admission_sequence;
  const place = own === undefined ? admission_sequence : Number(own);
  const waits = (step.get('pending', place) as Pending | undefined)?.envelope_id === envelope_id;
  if (waits) step.remove('pending', place);
  putMeta(step, 'mempool', { ...mempool, count: mempool.count - (waits ? 1 : 0), next_sequence });
}

/** A published seal covers the entries from `sealed` to `size`. */
export function sealBatches(step: Step, sealed: number, size: number): void {
  for (const [, entry] of step.range('log', { start: sealed, end: size, limit: size - sealed })) {
    if (LOG_KINDS[entry.kind] !== 'batch') continue;
    step.send(BATCH, step.get('batch_ids', entry.digest)!.height, { type: 'sealed' });
  }
}
