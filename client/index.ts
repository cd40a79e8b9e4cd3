/**
 * The client library, `aegisd/client`: for wallets, indexers and whoever verifies, in Node and in browsers. Its order of use:
 *
 * - `fetchKeyset` gets the enclave's public keys and verifies the quote that binds them.
 * - `encryptEnvelope` encrypts a signed transaction to them.
 * - `submit` sends it and checks the receipt; `checkReceipt` checks one that was kept.
 * - `submitTransaction` does both over a rotation of keys; `fetchSuccessor` verifies the keyset that came after a kept one.
 * - `confirmTransaction` waits for its batch and verifies that. Its parts are `followTransaction`, `fetchBatch`, `verifyBatch`.
 * - `verifyInclusion` and `verifyConsistency` hold the log together over time, `verifyHead` judges a head that travels alone,
 *   and an `Auditor` follows every entry.
 *
 * Expected failures are values `{ ok: false, code, field, message }`; `orThrow` makes exceptions of them. What throws by
 * itself is wrong use. What is not exported here may change at any time.
 */

export type { Admitted, TransactionStatus } from '../actors/admission.ts';
export { BatchFile, type BatchRefusal, type BatchTransaction, type Header } from '../actors/batch.ts';
export {
  batchDigest,
  type Destination,
  envelopeAad,
  envelopeId,
  envelopeInfo,
  keysetDigest,
  logId,
  quoteDigest,
  receiptDigest,
  sealDigest,
  sha512,
} from '../actors/digest.ts';
export { base64, fromBase64, fromHex, hex } from '../actors/encoding.ts';
export { Envelope, type EnvelopeInput, type Scheme } from '../actors/envelope.ts';
export { endedBefore, type Handover, HandoverStatus, SealedHandover, type SignedPlace } from '../actors/handover.ts';
export { SignedHead } from '../actors/head.ts';
export { Keyset } from '../actors/keyset.ts';
export { Attestation, type AttestedKeyset, type FreshAttestation } from '../actors/quote.ts';
export { Receipt } from '../actors/receipt.ts';
export { REFUSALS, refusalOf } from '../actors/refusal.ts';
export { Head } from '../actors/seal.ts';
export { tlsPin } from '../actors/tlskey.ts';
export { ALARMS, type Alarm, type AlarmCode, Auditor, AuditState } from './auditor.ts';
export { fetchBatch, type VerifiedBatch } from './batch.ts';
export { type CheckpointVerdict, verifyCheckpoint } from './checkpoint.ts';
export { EXCHANGE_CODES, type ExchangeCode, type ExchangeOptions, type ExchangeRefusal, Problem } from './exchange.ts';
export { type HandoverVerdict, verifyHandover } from './handover.ts';
export { type AcceptedHead, type HeadCode, type HeadVerdict, keptAt, type RefusedHead, verifyHead } from './head.ts';
export {
  CONFLICTS,
  type Conflict,
  type ConflictCode,
  checkGrowth,
  findConflicts,
  GROWTH_CODES,
  type Growth,
  type GrowthCode,
  inOrder,
} from './history.ts';
export { type Parsed, parseStrict } from './json.ts';
export {
  fetchConsistency,
  fetchInclusion,
  type LogPosition,
  PROOF_CODES,
  type ProofCode,
  verifyConsistency,
  verifyInclusion,
} from './log.ts';
export { orThrow, type Refused, RefusedError } from './outcome.ts';
export { DEFAULT_POLICY, VerificationPolicy, type VerificationPolicyInput } from './policy.ts';
export { checkReceipt, envelopeIdOf, RECEIPT_CODES, type ReceiptCode } from './receipt.ts';
export {
  fetchSuccessor,
  SUCCESSION_CODES,
  type SubmissionFollowed,
  type SuccessionCode,
  submitTransaction,
} from './rotation.ts';
export { encryptEnvelope, type SealRequest } from './seal.ts';
export {
  type Confirmation,
  type ConfirmationCode,
  confirmTransaction,
  type Followed,
  followTransaction,
  type Submission,
  submit,
  type TransactionRefusal,
} from './transaction.ts';
export { fetchKeyset, KEYSET_CODES, type KeysetCode, type Trust, type VerifiedKeyset, verifyKeyset } from './trust.ts';
export { CHECKS, type CheckName, FAILURE_CODES, type FailureCode } from './verdict.ts';
export { type Accepted, type Refusal, type Verdict, type VerifyOptions, verifyBatch } from './verify.ts';
