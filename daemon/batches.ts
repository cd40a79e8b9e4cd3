// Batch files, written from the records on demand (DESIGN §3 "The batch file"): what several batches share (envelopes, the
// seal, the keyset) is kept once and joined here. The file of a sealed batch never changes.
import type { BatchFile, BatchTransaction } from '../actors/batch.ts';
import { timestamp } from '../actors/encoding.ts';
import { BATCH } from './batching.ts';
import { checkpointRecord } from './freeze.ts';
import { inclusionProof } from './log.ts';
import {
  type BatchRecord,
  batchRecord,
  type EnvelopeRecord,
  envelopeRecord,
  keysetRecord,
  meta,
  sealOver,
} from './records.ts';
import { machineId } from './runtime.ts';
import type { Reader } from './store.ts';

/** What became of an envelope. */
export type Outcome =
  | { readonly status: 'pending' }
  | { readonly status: 'ordered'; readonly height: number }
  | {
      readonly status: 'sequenced';
      readonly height: number;
      readonly index: number;
      readonly tx_hash: string;
      readonly sender: string;
    }
  | { readonly status: 'refused'; readonly height: number; readonly code: number };

/** `signed` or `sealed`; undefined below that and above the newest height. */
export function batchFile(reader: Reader, height: number): BatchFile | undefined {
  if (!(Number.isSafeInteger(height) && height >= 0 && height < meta(reader, 'heights').signed)) return undefined;
  const record = batchRecord(reader, height);
  const { header, digest, ml_dsa } = record;
  if (header === null || digest === null || ml_dsa === null) throw new Error(`batch ${height} joined the log unsigned`);
  return {
    version: header.version,
    batch_id: digest,
    height,
    block_number: Number(header.block_number),
    timestamp: timestamp(header.timestamp_ms),
    header,
    order: [...record.order],
    transactions: record.execution.map((order_index) => transaction(reader, record, order_index)),
    refused: [...record.refused],
    ml_dsa_sig: { algorithm: 'ML-DSA-87', signature: ml_dsa },
    ecdsa_sig: record.ecdsa,
    ...sealParts(reader, record.leaf_index),
    risk_assessment: record.risk,
    asset_protections: [...(record.assets ?? [])],
    migration_checkpoint: checkpointOf(reader, record),
    keyset: keysetRecord(reader, record.epoch)!.keyset,
  };
}

/** The newest first. */
export function recentBatches(reader: Reader, count: number): BatchFile[] {
  const { signed } = meta(reader, 'heights');
  const heights = Array.from({ length: Math.min(count, signed) }, (_, i) => signed - 1 - i);
  return heights.map((height) => batchFile(reader, height)!);
}

/** Written nowhere of its own: an envelope's place in an order is kept, and the batch tells the rest. */
export function outcomeOf(reader: Reader, { receipt: { envelope_id } }: EnvelopeRecord): Outcome {
  const place = reader.get('ordered', envelope_id);
  if (place === undefined) return { status: 'pending' };
  const { height } = place;
  const { header, order, opened, execution, refused } = batchRecord(reader, height);
  if (header === null) return { status: 'ordered', height };
  const code = refused.find((refusal) => refusal.envelope_id === envelope_id)?.code;
  if (code !== undefined) return { status: 'refused', height, code };
  const index = execution.findIndex((order_index) => order[order_index]!.envelope_id === envelope_id);
  const transaction = opened[execution[index]!];
  if (!transaction?.ok) throw new Error('what a batch took in was opened or refused');
  return { status: 'sequenced', height, index, tx_hash: transaction.tx_hash, sender: transaction.sender };
}

export function isSealed(reader: Reader, height: number): boolean {
  return reader.get('machines', machineId(BATCH, height))?.value === 'sealed';
}

function transaction(reader: Reader, record: BatchRecord, order_index: number): BatchTransaction {
  const { envelope_id } = record.order[order_index]!;
  const opened = record.opened[order_index]!;
  const envelope = envelopeRecord(reader, envelope_id);
  if (!opened.ok || envelope === undefined) throw new Error('what was executed was opened');
  return {
    envelope_id,
    order_index,
    raw: opened.raw,
    tx_hash: opened.tx_hash,
    sender: opened.sender,
    tx_id: envelope.tx_id,
    scheme: envelope.scheme,
    epoch: envelope.epoch,
    asset_refs: [...envelope.asset_refs],
    priority_fee: envelope.priority_fee,
    risk_level: envelope.risk_level,
    requires_migration: envelope.requires_migration,
    ciphertext_sha512: envelope.ciphertext_sha512,
  };
}

/** Signed by the epoch whose keyset the file has, or else without its signature: the header binds it anyway. */
function checkpointOf(reader: Reader, record: BatchRecord): BatchFile['migration_checkpoint'] {
  const { checkpoint, epoch, published_checkpoint } = record;
  if (published_checkpoint !== undefined) return published_checkpoint;
  if (checkpoint === null || checkpoint === undefined) return null;
  const { head, pqc_signature } = checkpointRecord(reader, checkpoint)!;
  if (head === null) throw new Error('what a batch belongs to was signed');
  return { ...head, pqc_signature: head.epoch === epoch ? pqc_signature : null };
}

/** Of an entry of the log, a batch or another. */
export function sealParts(reader: Reader, leaf_index: number | null): Pick<BatchFile, 'slh_dsa_sig' | 'attestation'> {
  const seal = sealOver(reader, leaf_index);
  if (seal === undefined || leaf_index === null) return { slh_dsa_sig: null, attestation: null };
  return {
    slh_dsa_sig: {
      algorithm: 'SLH-DSA-SHA2-256s',
      signature: seal.slh_dsa,
      ml_dsa_signature: seal.ml_dsa,
      seal: seal.head,
      leaf_index,
      inclusion_path: inclusionProof(reader, leaf_index, seal.head.size),
    },
    attestation: seal.attestation,
  };
}
