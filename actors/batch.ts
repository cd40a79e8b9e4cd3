// A batch and its file (DESIGN §3 "The batch file", §4): the schema that the API serves, the demo writes and the verifier
// reads, and the roots of its header. The file is self-contained but for trust anchors. Pure; the machine that drives a
// batch through its stages is sequencing.ts.
import { z } from 'zod';
import { Touched } from './asset.ts';
import { Checkpoint } from './checkpoint.ts';
import {
  Bytes32,
  base64Of,
  Counter,
  concat,
  Digest,
  decimal,
  fromHex,
  hexOf,
  hexUpTo,
  Timestamp,
  uint,
  uintBytes,
} from './encoding.ts';
import { ASSET_REFS_MAX, AssetRefs, CIPHERTEXT_BYTES_MAX, RiskLevel, SCHEMES, TxId } from './envelope.ts';
import { Keyset } from './keyset.ts';
import { Attestation } from './quote.ts';
import { RECOMMENDATIONS } from './recommendation.ts';
import { Head, ML_DSA_SIGNATURE_BYTES, SealSignatures } from './seal.ts';
import { rootOf } from './tree.ts';
import { CATEGORIES, ERAS } from './words.ts';

export const BATCH_VERSION = 1;

/** Hard limit of a batch (DESIGN §3 "Cut"). */
export const BATCH_MAX = 10_000;

/** Hard limit of the tries that fill it, refused ones included. */
export const ORDER_MAX = 20_000;

/** Each transaction declares what it touches. */
export const TOUCHED_MAX = BATCH_MAX * ASSET_REFS_MAX;

/** Bits of `algorithms`. */
export const ALGORITHM_BIT = { 'ML-DSA-87': 1, 'SLH-DSA-SHA2-256s': 2, ECDSA: 4 } as const;

/** Numbered in this order in the header. */
export const ORDERING_MODES = ['risk_aware', 'asset_protection', 'migration_aware', 'hybrid'] as const;
export type OrderingMode = (typeof ORDERING_MODES)[number];

export const Header = z
  .strictObject({
    version: z.literal(BATCH_VERSION),
    chain_id: decimal(256),
    log_id: Digest,
    height: Counter,
    parent_digest: Digest,
    block_number: decimal(64),
    timestamp_ms: Counter,
    epoch: uint(32),
    order_count: z.int().min(1).max(ORDER_MAX),
    order_root: Digest,
    tx_count: z.int().min(0).max(BATCH_MAX),
    tx_root: Digest,
    refused_root: Digest,
    assets_root: Digest,
    risk_score: RiskLevel,
    ordering_mode: z
      .int()
      .min(0)
      .max(ORDERING_MODES.length - 1),
    algorithms: z.int().min(0).max(7),
    checkpoint_digest: Digest,
  })
  .meta({ id: 'BatchHeader' });
export type Header = z.output<typeof Header>;

export const Ordered = z.strictObject({ envelope_id: Bytes32, admission_sequence: decimal(64) });
export type Ordered = z.output<typeof Ordered>;

export const BatchTransaction = z.strictObject({
  envelope_id: Bytes32,
  order_index: uint(32),
  raw: hexUpTo(CIPHERTEXT_BYTES_MAX),
  tx_hash: Bytes32,
  sender: hexOf(20),
  tx_id: TxId.nullable(),
  scheme: z.enum(SCHEMES),
  epoch: uint(32),
  asset_refs: AssetRefs,
  priority_fee: decimal(256),
  risk_level: RiskLevel,
  requires_migration: z.boolean(),
  ciphertext_sha512: Digest,
});
export type BatchTransaction = z.output<typeof BatchTransaction>;

export const BatchRefusal = z.strictObject({ envelope_id: Bytes32, code: uint(16), reason: z.string().max(64) });
export type BatchRefusal = z.output<typeof BatchRefusal>;

export const MlDsaSignature = z.strictObject({
  algorithm: z.literal('ML-DSA-87'),
  signature: base64Of(ML_DSA_SIGNATURE_BYTES),
});
export const EcdsaSignature = z.strictObject({
  algorithm: z.literal('ECDSA-secp256k1-EIP712'),
  signature: hexOf(65).describe('r ‖ s ‖ v, v = 27 or 28, low s'),
});
export const SlhDsaSignature = z.strictObject({
  algorithm: z.literal('SLH-DSA-SHA2-256s'),
  ...SealSignatures.shape,
  seal: Head,
  leaf_index: Counter,
  inclusion_path: z.array(Digest).max(64),
});
export type SlhDsaSignature = z.output<typeof SlhDsaSignature>;

export const RiskAssessment = z.strictObject({
  score: RiskLevel,
  recommendation: z.enum(RECOMMENDATIONS),
  category_breakdown: z
    .array(z.strictObject({ category: z.enum(CATEGORIES), score: RiskLevel, indicator_count: Counter }))
    .max(CATEGORIES.length),
  current_era: z.enum(ERAS),
  timestamp: Timestamp,
});
export type RiskAssessment = z.output<typeof RiskAssessment>;

/** What a batch is before a seal covers it. */
const Signed = z.strictObject({
  version: z.literal(BATCH_VERSION),
  batch_id: Digest,
  height: Counter,
  block_number: Counter,
  timestamp: Timestamp,
  header: Header,
  order: z.array(Ordered).min(1).max(ORDER_MAX),
  transactions: z.array(BatchTransaction).max(BATCH_MAX),
  refused: z.array(BatchRefusal).max(ORDER_MAX),
  ml_dsa_sig: MlDsaSignature,
  ecdsa_sig: EcdsaSignature.nullable(),
  slh_dsa_sig: SlhDsaSignature.nullable(),
  attestation: Attestation.nullable(),
  risk_assessment: RiskAssessment,
  asset_protections: z.array(Touched).max(TOUCHED_MAX),
  migration_checkpoint: Checkpoint.extend({
    pqc_signature: Checkpoint.shape.pqc_signature
      .nullable()
      .describe('null where another epoch signed it than the batch, whose keyset this file has.'),
  })
    .nullable()
    .describe('Of the migration that ran when the batch was cut.'),
  keyset: Keyset,
});

/** Both come with the first seal that covers the batch, or neither is there. */
export const BatchFile = Signed.refine(
  (batch) => (batch.slh_dsa_sig === null) === (batch.attestation === null),
  'slh_dsa_sig and attestation come together',
).meta({ id: 'Batch' });
export type BatchFile = z.output<typeof BatchFile>;

/** Entries uint64 admission sequence ‖ envelope id, as committed. */
export function orderRoot(order: readonly Ordered[]): Uint8Array {
  return rootOf(
    order.map((entry) => concat(uintBytes(BigInt(entry.admission_sequence), 8), fromHex(entry.envelope_id))),
  );
}

/** Entries envelope id ‖ uint32 order index ‖ raw transaction, in the order of execution. */
export function txRoot(
  transactions: readonly Pick<BatchTransaction, 'envelope_id' | 'order_index' | 'raw'>[],
): Uint8Array {
  return rootOf(
    transactions.map((tx) => concat(fromHex(tx.envelope_id), uintBytes(tx.order_index, 4), fromHex(tx.raw))),
  );
}

/** Entries envelope id ‖ uint16 code, in committed order. */
export function refusedRoot(refused: readonly Pick<BatchRefusal, 'envelope_id' | 'code'>[]): Uint8Array {
  return rootOf(refused.map((entry) => concat(fromHex(entry.envelope_id), uintBytes(entry.code, 2))));
}

/**
 * The order of execution: as committed, but that a sender's later nonces move back behind its earlier ones. Nothing
 * overtakes anything that it was behind (DESIGN §3 "Order").
 *
 * @param opened  in committed order
 */
export function byNonce<T extends { sender: string; nonce: bigint }>(opened: readonly T[]): T[] {
  const bySender = new Map<string, { tx: T; index: number }[]>();
  opened.forEach((tx, index) => {
    const own = bySender.get(tx.sender);
    if (own === undefined) bySender.set(tx.sender, [{ tx, index }]);
    else own.push({ tx, index });
  });
  const placed: { tx: T; place: number; rank: number }[] = [];
  for (const own of bySender.values()) {
    own.sort((a, b) => (a.tx.nonce < b.tx.nonce ? -1 : a.tx.nonce > b.tx.nonce ? 1 : a.index - b.index));
    let place = 0;
    own.forEach(({ tx, index }, rank) => {
      place = Math.max(place, index);
      placed.push({ tx, place, rank });
    });
  }
  // Only transactions of one sender share a place.
  return placed.sort((a, b) => a.place - b.place || a.rank - b.rank).map(({ tx }) => tx);
}
