// The shapes of the records that several rooms of the daemon share, and typed access to the singletons of the table `meta`.
// What only one room writes is typed there.

import type { Touched } from '../actors/asset.ts';
import type { BatchFile, BatchRefusal, Header, Ordered, RiskAssessment } from '../actors/batch.ts';
import type { Scheme } from '../actors/envelope.ts';
import type { RotationReason } from '../actors/epoch.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Attestation } from '../actors/quote.ts';
import type { Receipt } from '../actors/receipt.ts';
import type { Stance, Urgency } from '../actors/recommendation.ts';
import type { Refusal } from '../actors/refusal.ts';
import { unthreatened } from '../actors/risk.ts';
import type { Head } from '../actors/seal.ts';
import type { AssetsMeta } from './assets.ts';
import type { CheckpointsMeta, MigrationRecord } from './freeze.ts';
import type { RedundancyWish } from './redundancy.ts';
import type { Reader, Transaction } from './store.ts';

/** `meta`: one record a name. Counters are the next number to give. */
export interface Meta {
  /** Drawn once, when the store is made. */
  genesis: { chain_id: string; log_id: string; created_at_ms: number };
  /** Who may give orders, drawn up with genesis and never changed: public keys in base64. Not there where nobody may. */
  admins: { keys: readonly string[]; digest: string; leaf_index: number };
  mempool: { count: number; next_sequence: number };
  /** How far the heights have come, and the digest and time that the next header continues from. */
  heights: {
    cut: number;
    opened: number;
    signed: number;
    /** Below it, batches have lost their ciphertexts. */
    forgotten: number;
    parent_digest: string;
    timestamp_ms: number;
  };
  /** Leaves in the log, and how many of them the newest seal covers. `sealing` is the size that a seal is owed for. */
  log: { size: number; sealed: number; sealing: number | null };
  /** Which epoch signs, and which are in grace, rising; a store of the first version names none. */
  epoch: { active: number; grace?: readonly number[] };
  /** Rotations that were executed, by their reason. */
  rotated: Readonly<Record<string, number>>;
  /** Of the platform, as the first verified quote of the newest start has them. */
  measurements: Attestation['measurements'];
  /** The second platform, as it was last ordered (redundancy.ts). */
  redundancy: RedundancyWish;
  /** What was assessed last, and what it has led to (risk/room.ts). */
  risk: RiskRecord;
  /** How far each feed of indicators was taken, by its name. */
  risk_feeds: Record<string, TakenFeed>;
  /** The risk level that protection goes by, and how many assets there are (assets.ts). */
  assets: AssetsMeta;
  /** What has ever come out of batches; refusals by their code. */
  totals: { sequenced: number; refused: Record<string, number> };
  /** Size of the log when an asset was last changed, less one; what came before it says another state. */
  assets_changed: { leaf_index: number };
  /** Checkpoints and the newest migration (freeze.ts). */
  checkpoints: CheckpointsMeta;
  migration: MigrationRecord;
  /** How many wraps each epoch has, by their kind, and how many have ever moved to another epoch. */
  wraps: { counts: Record<string, Record<string, number>>; moved: number };
  /** Parts of the log that were taken from what was published, since the store did not have them (resolution.ts). */
  taken: { gaps: readonly { from: number; to: number }[] };
}

export function meta<Name extends keyof Meta>(reader: Reader, name: Name): Meta[Name] {
  const record = reader.get('meta', name);
  if (record === undefined) throw new Error(`the store has no ${name} record`);
  return record as Meta[Name];
}

export function putMeta<Name extends keyof Meta>(tx: Transaction, name: Name, value: Meta[Name]): void {
  tx.put('meta', name, value);
}

export const takenGaps = (reader: Reader): Meta['taken']['gaps'] =>
  (reader.get('meta', 'taken') as Meta['taken'] | undefined)?.gaps ?? [];

export const adminsRecord = (reader: Reader): Meta['admins'] | undefined =>
  reader.get('meta', 'admins') as Meta['admins'] | undefined;

/** What the risk score was and did. */
export interface RiskRecord {
  /** As the next batch carries it. */
  readonly assessment: RiskAssessment;
  readonly stance: Stance;
  /** An admin's order in the place of the computed score. */
  readonly override: { readonly score: number; readonly until_ms: number } | null;
  /** What an emergency has taken away; only an admin's order gives it back (DESIGN §9). */
  readonly allowed: { readonly ecdsa: boolean; readonly schemes: readonly Scheme[] };
  /** How many rotations the score has ever asked for, and the newest of them. */
  readonly act_count: number;
  readonly acts: readonly RiskAct[];
  /** The clock of decay: never goes back. */
  readonly at_ms: number;
}

/** A rotation that the score asked for. */
export interface RiskAct {
  /** From 1. */
  readonly number: number;
  readonly urgency: Urgency;
  readonly at_ms: number;
  /** The epoch that it wants to begin. */
  readonly to_epoch: number;
  /** It was only written down. */
  readonly dry_run: boolean;
  /** What it has become; null until then, and where it is overtaken by another. */
  readonly rotated: { readonly epoch: number; readonly at_height: number } | null;
}

export const riskRecord = (reader: Reader): RiskRecord | undefined =>
  reader.get('meta', 'risk') as RiskRecord | undefined;

/** The content of a feed that was taken last. */
export interface TakenFeed {
  readonly sequence: number;
  /** Of the signed bytes. */
  readonly digest: string;
  readonly taken_ms: number;
}

export const riskFeeds = (reader: Reader): Meta['risk_feeds'] =>
  (reader.get('meta', 'risk_feeds') as Meta['risk_feeds'] | undefined) ?? {};

/** The assessment that a batch is ordered under: the newest that is durable. */
export const riskNow = (reader: Reader, time_ms: number): RiskAssessment =>
  riskRecord(reader)?.assessment ?? unthreatened(time_ms);

export const totals = (reader: Reader): Meta['totals'] =>
  (reader.get('meta', 'totals') as Meta['totals'] | undefined) ?? { sequenced: 0, refused: {} };

/** `envelopes`: an admitted envelope, less its ciphertext. What became of it: `outcomeOf` in batches.ts. */
export interface EnvelopeRecord {
  readonly tx_id: string | null;
  readonly scheme: Scheme;
  readonly epoch: number;
  readonly asset_refs: readonly string[];
  readonly priority_fee: string;
  readonly risk_level: number;
  readonly requires_migration: boolean;
  readonly ciphertext_sha512: string;
  readonly receipt: Receipt;
}

export const envelopeRecord = (reader: Reader, envelope_id: string): EnvelopeRecord | undefined =>
  reader.get('envelopes', envelope_id) as EnvelopeRecord | undefined;

/** An ordered envelope after opening, in committed order. */
export type OpenedRecord =
  | {
      readonly ok: true;
      readonly raw: string;
      readonly tx_hash: string;
      readonly sender: string;
      readonly nonce: string;
    }
  | { readonly ok: false; readonly reason: Refusal };

/** `batches`: grows with its stages; transactions are joined with their envelopes when the file is written. */
export interface BatchRecord {
  readonly height: number;
  readonly epoch: number;
  readonly timestamp_ms: number;
  readonly ordering_mode: number;
  readonly algorithms: number;
  readonly risk: RiskAssessment;
  /** How many places the batch has; refused envelopes take none. */
  readonly places: number;
  readonly order: readonly Ordered[];
  /** As long as `order` once all are opened. */
  readonly opened: readonly OpenedRecord[];
  /** From `signing` on. `execution` holds indices into `order`. */
  readonly header: Header | null;
  readonly digest: string | null;
  readonly execution: readonly number[];
  readonly refused: readonly BatchRefusal[];
  /** What its transactions touched, sorted by id; not there in a record of the first version. */
  readonly assets?: readonly Touched[];
  /** From `sealing` on. */
  readonly ml_dsa: string | null;
  readonly ecdsa: BatchFile['ecdsa_sig'];
  readonly leaf_index: number | null;
  /** Number of the running migration's checkpoint when it was cut; not there in a record from before migrations. */
  readonly checkpoint?: number | null;
  /** As it was published, where the store was brought forward over a migration that it knows nothing of (resolution.ts). */
  readonly published_checkpoint?: BatchFile['migration_checkpoint'];
}

export function batchRecord(reader: Reader, height: number): BatchRecord {
  const record = reader.get('batches', height);
  if (record === undefined) throw new Error(`the store has no batch ${height}`);
  return record as BatchRecord;
}

/** `seals`: a head that is being or has been sealed. */
export interface SealRecord {
  readonly head: Head;
  readonly digest: string;
  readonly not_after_ms: number;
  /** Where two platforms quote, they do before the head is promised. */
  readonly quoted: Attestation | null;
  readonly signed: {
    readonly slh_dsa: string;
    readonly ml_dsa: string;
    readonly attestation: Attestation;
  } | null;
}

export const sealRecord = (reader: Reader, size: number): SealRecord | undefined =>
  reader.get('seals', size) as SealRecord | undefined;

/** The first finished seal that covers a leaf: sizes rise, and each seal covers what came since the one before. */
export function sealOver(reader: Reader, leaf_index: number | null) {
  if (leaf_index === null) return undefined;
  for (const [, seal] of reader.range('seals', { start: leaf_index + 1, limit: 1 })) {
    const { head, signed } = seal as SealRecord;
    return signed === null ? undefined : { head, ...signed };
  }
  return undefined;
}

/** `keysets`. */
export interface KeysetRecord {
  readonly keyset: Keyset;
  readonly digest: string;
  readonly leaf_index: number;
}

export const keysetRecord = (reader: Reader, epoch: number): KeysetRecord | undefined =>
  reader.get('keysets', epoch) as KeysetRecord | undefined;

/** `rotations`: from one epoch to the next. It is pending until it has a `first_height`. */
export interface RotationRecord {
  readonly from_epoch: number;
  readonly to_epoch: number;
  readonly reason: RotationReason;
  readonly announced_at_ms: number;
  /** It is due when this many batches have been cut, or at this time, whichever comes first. */
  readonly at_height: number;
  readonly deadline_ms: number;
  /** Of the new epoch. */
  readonly first_height: number | null;
  readonly executed_at_ms: number | null;
}

export const rotationRecord = (reader: Reader, to_epoch: number): RotationRecord | undefined =>
  reader.get('rotations', to_epoch) as RotationRecord | undefined;

/** The one that is announced and not executed yet. */
export const pendingRotation = (reader: Reader): RotationRecord | undefined =>
  rotationRecord(reader, meta(reader, 'epoch').active + 1);
