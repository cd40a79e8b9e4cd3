// A checkpoint (DESIGN §8): what every asset was at one moment, under one digest that ML-DSA-87 signs and a seal covers as an entry
// of the log. The schemas are those of the API, of batches that belong to a migration and of exported files. `state_hash` is
// a Merkle root over snapshots, so it can be computed part by part, and says nothing of keys or wraps: a rotation
// in between changes no state.
import { z } from 'zod';
import { type Asset, byId, policyDigestOf, RegisteredId, touchedDigest } from './asset.ts';
import { checkpointDigest } from './digest.ts';
import { base64Of, Counter, concat, Digest, decimal, fromHex, hex, Timestamp, uint, uintBytes } from './encoding.ts';
import { ML_DSA_SIGNATURE_BYTES } from './seal.ts';
import { EMPTY_ROOT, leafHash, nodeHash } from './tree.ts';
import { ASSET_STATES, ASSET_TYPES } from './words.ts';

/** Context of the signature. */
export const CHECKPOINT_CONTEXT = 'aegis/checkpoint/v1';

/** The upstream's name; a second one of a block gets a number behind it. */
export const CheckpointId = z
  .string()
  .max(64)
  .regex(/^checkpoint_(?:0|[1-9]\d{0,15})(?:_[1-9]\d{0,15})?$/, 'expected checkpoint_ and a block number');

/** @param nth  how many of this block came before it */
export const checkpointId = (block_number: number, nth: number): string =>
  nth === 0 ? `checkpoint_${block_number}` : `checkpoint_${block_number}_${nth}`;

/** What an asset is kept as: whether it is protected follows from the risk, which is no part of a checkpoint. */
export const KEPT_STATES = ASSET_STATES.filter((state) => state !== 'Protected');

export const Snapshot = z
  .strictObject({
    asset_id: RegisteredId,
    state: z.enum(KEPT_STATES),
    metadata: z.strictObject({
      asset_type: z.enum(ASSET_TYPES),
      // The digest has zero for none, so zero would be a second spelling of it.
      chain_id: decimal(256)
        .refine((text) => text !== '0', 'expected null, or a chain other than 0')
        .nullable(),
      policy_digest: Digest,
    }),
  })
  .meta({ id: 'AssetSnapshot' });
export type Snapshot = z.output<typeof Snapshot>;

/** Without its snapshots, which can be a hundred thousand: what a batch carries and what is signed. */
export const Checkpoint = z
  .strictObject({
    checkpoint_id: CheckpointId,
    log_id: Digest,
    block_number: Counter.describe('How many batches had been cut.'),
    state_hash: Digest.describe('Root over the snapshots, sorted by id.'),
    asset_count: Counter,
    timestamp: Timestamp,
    epoch: uint(32).describe('Whose ML-DSA-87 key has signed it.'),
    pqc_signature: base64Of(ML_DSA_SIGNATURE_BYTES),
  })
  .meta({ id: 'Checkpoint' });
export type Checkpoint = z.output<typeof Checkpoint>;

export type UnsignedCheckpoint = Omit<Checkpoint, 'pqc_signature'>;

/** @returns 64 bytes: what is signed, and the entry of kind 1 in the log */
export function digestOfCheckpoint(checkpoint: UnsignedCheckpoint): Uint8Array {
  const { timestamp, ...fields } = checkpoint;
  return checkpointDigest({ ...fields, timestamp_ms: Date.parse(timestamp) });
}

export function snapshotOf(asset: Asset): Snapshot {
  const { asset_id, asset_type, chain_id, state } = asset;
  const chain = chain_id === '0' ? null : chain_id;
  return { asset_id, state, metadata: { asset_type, chain_id: chain, policy_digest: hex(policyDigestOf(asset)) } };
}

/** An entry of the tree: the `aegis/asset/v1` digest ‖ uint256 chain_id. */
export function snapshotEntry({ asset_id, state, metadata }: Snapshot): Uint8Array {
  const { asset_type, chain_id, policy_digest } = metadata;
  const digest = touchedDigest({ asset_id, asset_type, migration_state: state, policy_digest });
  return concat(digest, uintBytes(BigInt(chain_id ?? 0), 32));
}

/** How far a root has been computed: the complete subtrees so far, the largest first, as hex (RFC 9162 §2.1.2). */
export interface Progress {
  readonly count: number;
  readonly subtrees: readonly string[];
}

export const NO_PROGRESS: Progress = { count: 0, subtrees: [] };

/** Adds what comes next. In any parts, the root is the same. */
export function advanced(before: Progress, snapshots: readonly Snapshot[]): Progress {
  const subtrees = before.subtrees.map(fromHex);
  let { count } = before;
  for (const snapshot of snapshots) {
    let hash = leafHash(snapshotEntry(snapshot));
    for (let at = count; at % 2 === 1; at = (at - 1) / 2) hash = nodeHash(subtrees.pop()!, hash);
    subtrees.push(hash);
    count += 1;
  }
  return { count, subtrees: subtrees.map(hex) };
}

export function stateHashAt({ subtrees }: Progress): string {
  const hashes = subtrees.map(fromHex);
  const last = hashes.pop();
  return hex(last === undefined ? EMPTY_ROOT : hashes.reduceRight((right, left) => nodeHash(left, right), last));
}

/** What is wrong with the order of snapshots, as an index; undefined where each is there once and they are sorted by id. */
export function misplaced(snapshots: readonly Snapshot[]): number | undefined {
  const found = snapshots.findIndex((snapshot, i) => i > 0 && byId(snapshots[i - 1]!, snapshot) >= 0);
  return found === -1 ? undefined : found;
}
