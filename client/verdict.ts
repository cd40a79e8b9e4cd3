// What the verifier of batch files says: its verdict, the code of each failed check, and the names of the checks with the
// sentence that a human reads. verify.ts makes verdicts, content.ts and proof.ts the failures in them, `aegisd verify`
// prints them. Codes are stable: scripts may depend on them.
import type { BatchFile } from '../actors/batch.ts';
import type { EvidenceCode } from '../actors/check.ts';
import type { Handover } from '../actors/handover.ts';
import type { VerificationPolicy } from './policy.ts';

/** In the order in which they are made: what costs little comes first, and nothing is judged before its parts are. */
export const CHECKS = {
  schema: 'the file has exactly the fields of the format, each in its one spelling',
  header: 'batch_id and the outer fields are those of the header',
  policy: 'chain, log and key source are those that the policy names',
  order: 'the committed order is the one that the header commits to, no envelope twice',
  refused: 'refused envelopes stand in committed order with a code of the table',
  transactions: 'every envelope is executed or refused, once; ids, hashes, fees and chain are recomputed',
  execution: "execution follows the committed order, but that a sender's later nonces wait for its earlier ones",
  keyset: "the keyset is of the batch's chain, log and epoch",
  seal: "the seal is of the batch's log, epoch and keyset, and the batch is in it",
  ml_dsa: 'ML-DSA-87 (FIPS 204) signs the batch and the head of the log',
  senders: 'every sender is recovered from the signature of its transaction',
  slh_dsa: 'SLH-DSA-SHA2-256s (FIPS 205) signs the head of the log',
  ecdsa: 'ECDSA (secp256k1, EIP-712) signs the batch where its bit is set',
  attestation: 'the quote attests seal, keyset and lifetime; its evidence was verified anew',
} as const;
export type CheckName = keyof typeof CHECKS;

/** What a verdict about a sealed batch concludes, and all that it concludes. */
export const SEALED_STATEMENT = 'this batch is in one attested head of this log';
/** Under `any-pq`, of a batch that no seal covers yet. */
export const SIGNED_STATEMENT = 'this batch was signed under a keyset that the policy pins; no seal covers it yet';
/** Said with every acceptance. */
export const LIMITS =
  'that no other batch has this height, that none is missing, and the true time need a kept seal and a witness';
export const SIMULATED_NOTE = 'simulated: this proves nothing about hardware';

export const FAILURE_CODES = [
  'malformed',
  'batch_id_mismatch',
  'height_mismatch',
  'block_number_mismatch',
  'timestamp_mismatch',
  'parent_digest_invalid',
  'algorithms_missing',
  'risk_score_mismatch',
  'checkpoint_mismatch',
  'checkpoint_invalid',
  'assets_root_mismatch',
  'assets_order_invalid',
  'asset_not_declared',
  'wrong_chain',
  'wrong_log',
  'key_source_refused',
  'order_count_mismatch',
  'order_duplicate',
  'order_root_mismatch',
  'refusal_unknown',
  'refusal_reason_mismatch',
  'refused_order_invalid',
  'refused_root_mismatch',
  'tx_count_mismatch',
  'envelope_unknown',
  'envelope_duplicate',
  'envelope_missing',
  'order_index_mismatch',
  'envelope_epoch_invalid',
  'envelope_id_mismatch',
  'transaction_invalid',
  'transaction_chain_mismatch',
  'tx_hash_mismatch',
  'transaction_duplicate',
  'priority_fee_mismatch',
  'tx_root_mismatch',
  'execution_order_invalid',
  'keyset_mismatch',
  'keyset_refused',
  'keyset_ended',
  'unsealed',
  'seal_log_mismatch',
  'seal_epoch_mismatch',
  'seal_keyset_mismatch',
  'seal_in_future',
  'inclusion_invalid',
  'ml_dsa_invalid',
  'seal_ml_dsa_invalid',
  'sender_mismatch',
  'slh_dsa_invalid',
  'ecdsa_missing',
  'ecdsa_unexpected',
  'ecdsa_invalid',
  'providers_mismatch',
  'not_after_invalid',
  'key_source_mismatch',
  'simulated_evidence',
  'policy_incomplete',
  'provider_mismatch',
  'measurements_mismatch',
  'simulated_mismatch',
  'verification_mismatch',
  'independence_mismatch',
  'redundancy_missing',
  'redundancy_dependent',
  'freshness_unproven',
  'freshness_refused',
  'acknowledgement_invalid',
] as const;
export type FailureCode = (typeof FAILURE_CODES)[number] | EvidenceCode;

export interface Failure {
  readonly code: FailureCode;
  /** Path of the value that fails, as `transactions[3].sender`. */
  readonly field: string;
  readonly message: string;
}

export function fail(code: FailureCode, field: string, message: string): Failure {
  return { code, field, message };
}

export interface VerifyOptions {
  /** Default: Intel's root, all signatures, no enclave named. */
  readonly policy?: VerificationPolicy;
  /** Accept evidence that no hardware made. */
  readonly allow_simulated?: boolean;
  /** The time to judge certificates and collateral at. */
  readonly now_ms: number;
  /** Handovers of the log that were verified: keys that have ended by one sign nothing beyond it. */
  readonly handovers?: readonly Handover[];
}

/** null: not there, or not judged because an earlier check failed. */
export interface SignatureFindings {
  ml_dsa_valid: boolean | null;
  slh_dsa_valid: boolean | null;
  ecdsa_valid: boolean | null;
}

/** A batch file whose schema holds, with what the checks have computed so far. */
export interface Subject {
  readonly file: BatchFile;
  readonly policy: VerificationPolicy;
  readonly allow_simulated: boolean;
  readonly now_ms: number;
  readonly handovers: readonly Handover[];
  /** The batch digest, 64 bytes, recomputed. */
  readonly digest: Uint8Array;
  /** Recomputed. */
  readonly keyset_digest: Uint8Array;
  /** Zero bytes while there is no seal. */
  readonly head_digest: Uint8Array;
  readonly found: SignatureFindings & { simulated: boolean | null; tcb_status: string | null };
}

export type Check = (subject: Subject) => Failure | null;

export interface Accepted extends SignatureFindings {
  readonly ok: true;
  readonly mode: VerificationPolicy['signatures'];
  readonly status: 'sealed' | 'signed';
  readonly statement: string;
  readonly batch_id: string;
  readonly chain_id: string;
  readonly log_id: string;
  readonly height: number;
  readonly parent_digest: string;
  readonly epoch: number;
  readonly keyset_digest: string;
  readonly tx_count: number;
  readonly refused_count: number;
  /** Of the head that covers the batch; null while unsealed, as are its root and the place of the batch below it. */
  readonly size: number | null;
  readonly root: string | null;
  readonly leaf_index: number | null;
  /** The enclave's clock when it sealed. */
  readonly sealed_at: string | null;
  /** Of the platform, by the evidence; null while unsealed. */
  readonly tcb_status: string | null;
  /** Evidence or keys come from no hardware. */
  readonly simulated: boolean;
  readonly checks: readonly CheckName[];
  /** What a reader of the statement must know besides. */
  readonly notes: readonly string[];
}

export interface Refusal extends SignatureFindings, Failure {
  readonly ok: false;
  readonly mode: VerificationPolicy['signatures'];
  readonly checks: readonly CheckName[];
}

export type Verdict = Accepted | Refusal;
