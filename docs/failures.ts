// What `aegisd verify` and the client library refuse, for docs/errors.md: each code with its meaning and with what a reader
// does about it. The meanings stand here and not beside the checks, because wallets load those; the types hold the table
// complete, so a new code without a row does not compile.
import type { HeadCode } from '../client/head.ts';
import type { ReceiptCode } from '../client/receipt.ts';
import type { ConfirmationCode } from '../client/transaction.ts';
import type { KeysetCode } from '../client/trust.ts';
import type { FailureCode } from '../client/verdict.ts';

/** What to do; one sentence serves many codes. */
const ALTERED =
  'Rely on nothing in it. Fetch it again, from another source too; if that is refused as well, keep it and ask the operator.';
const POLICY =
  'If this is the chain, log, enclave or key that you mean, name it in the policy; else rely on nothing in it.';
const PLATFORM = 'Rely on it only if your policy can accept this state of the platform; the operator has to update it.';
const LATER = 'Fetch it again later.';
const NEWER = 'Take the newest version of the verifier; if that refuses it too, as for an altered file.';
const ACTIVE = 'Take the keyset of the active epoch (/epochs).';
const WALLET = 'Do what the table of refusals says of the reason.';
const OLD = 'Fetch a newer one; what was kept is judged at the time when it was new (`--at`).';
const CLOCK = 'Compare your clock and `--at` with the true time; if they are right, as for an altered file.';
const KEEP = 'Keep it and show it: it proves that the enclave broke its word, or that its keys are in other hands.';

export const ADVICE = { ALTERED, POLICY, PLATFORM, LATER, NEWER, ACTIVE, WALLET, OLD, CLOCK, KEEP } as const;
type Row = readonly [meaning: string, advice: keyof typeof ADVICE];

/** Batch files, heads, and the evidence in both. `too_large` is said by the command alone. */
export const FAILURES: Readonly<Record<FailureCode | HeadCode | 'too_large', Row>> = {
  too_large: ['The file has more than 64 MiB; no batch has.', 'ALTERED'],
  malformed: ['A field is missing, unknown, of a wrong type, or not in its one spelling.', 'ALTERED'],
  head_digest_mismatch: ['The digest beside a head is not the head’s.', 'ALTERED'],
  batch_id_mismatch: ['`batch_id` is not the digest of the header.', 'ALTERED'],
  height_mismatch: ['The outer height is not that of the header.', 'ALTERED'],
  block_number_mismatch: ['The outer block number is not that of the header.', 'ALTERED'],
  timestamp_mismatch: ['The outer time is not that of the header.', 'ALTERED'],
  parent_digest_invalid: ['The parent is zero above height 0, or not zero at it.', 'ALTERED'],
  algorithms_missing: ['The header does not ask for both post-quantum signatures.', 'ALTERED'],
  risk_score_mismatch: ['The risk score is not that of the header.', 'ALTERED'],
  checkpoint_mismatch: ['The header commits to a checkpoint that is not there.', 'ALTERED'],
  checkpoint_invalid: [
    'The checkpoint of a migration is not one that this batch could carry, or not signed.',
    'ALTERED',
  ],
  assets_root_mismatch: ['The touched assets are not those that the header commits to.', 'ALTERED'],
  assets_order_invalid: ['Touched assets are not sorted by id, or one is there twice.', 'ALTERED'],
  asset_not_declared: ['An asset was touched that no transaction declares.', 'ALTERED'],
  wrong_chain: ['It is of another chain than the policy names.', 'POLICY'],
  wrong_log: ['It is of another log than the policy names.', 'POLICY'],
  key_source_refused: ['Its keys come from a source that the policy does not name.', 'POLICY'],
  order_count_mismatch: ['The committed order has another length than the header says.', 'ALTERED'],
  order_duplicate: ['An envelope or an admission sequence is ordered twice.', 'ALTERED'],
  order_root_mismatch: ['The order is not the one that the header commits to.', 'ALTERED'],
  refusal_unknown: ['An envelope is refused with a code that this version does not know.', 'NEWER'],
  refusal_reason_mismatch: ['The reason of a refusal is not the name of its code.', 'ALTERED'],
  refused_order_invalid: ['Refused envelopes do not stand in committed order.', 'ALTERED'],
  refused_root_mismatch: ['The refused envelopes are not those that the header commits to.', 'ALTERED'],
  tx_count_mismatch: ['There are more or fewer transactions than the header says.', 'ALTERED'],
  envelope_unknown: ['An envelope was executed or refused that was not ordered.', 'ALTERED'],
  envelope_duplicate: ['An envelope was settled twice.', 'ALTERED'],
  envelope_missing: ['An ordered envelope was neither executed nor refused.', 'ALTERED'],
  order_index_mismatch: ['The place that a transaction names is not its envelope’s.', 'ALTERED'],
  envelope_epoch_invalid: ['An envelope is of a later epoch than its batch.', 'ALTERED'],
  envelope_id_mismatch: ['An envelope’s id is not that of its claims and ciphertext.', 'ALTERED'],
  transaction_invalid: ['A raw transaction is not canonical, of no known type, or signed by nobody.', 'ALTERED'],
  transaction_chain_mismatch: ['A transaction was signed for another chain.', 'ALTERED'],
  tx_hash_mismatch: ['A hash is not that of its transaction.', 'ALTERED'],
  transaction_duplicate: ['A transaction is in the batch twice.', 'ALTERED'],
  priority_fee_mismatch: ['The declared fee is not what the transaction pays.', 'ALTERED'],
  tx_root_mismatch: ['The transactions are not those that the header commits to.', 'ALTERED'],
  execution_order_invalid: ['Execution does not follow the committed order and the nonces.', 'ALTERED'],
  keyset_mismatch: ['The keyset is of another chain, log or epoch.', 'ALTERED'],
  keyset_refused: ['The keyset is not one that the policy pins.', 'POLICY'],
  keyset_ended: ['The keys had ended by a handover of the log before they signed this.', 'KEEP'],
  unsealed: ['No seal covers it yet.', 'LATER'],
  seal_log_mismatch: ['The seal is of another log.', 'ALTERED'],
  seal_epoch_mismatch: ['The seal is of another epoch.', 'ALTERED'],
  seal_keyset_mismatch: ['The seal names another keyset.', 'ALTERED'],
  seal_in_future: ['It was sealed after the time that it is judged at.', 'CLOCK'],
  inclusion_invalid: ['The path does not lead from the batch to the sealed head.', 'ALTERED'],
  ml_dsa_invalid: ['The ML-DSA-87 signature of the batch does not verify.', 'ALTERED'],
  seal_ml_dsa_invalid: ['The ML-DSA-87 signature of the head does not verify.', 'ALTERED'],
  sender_mismatch: ['A sender is not the one that signed.', 'ALTERED'],
  slh_dsa_invalid: ['The SLH-DSA-SHA2-256s signature of the head does not verify.', 'ALTERED'],
  ecdsa_missing: ['The header asks for an ECDSA signature that is not there.', 'ALTERED'],
  ecdsa_unexpected: ['There is an ECDSA signature that the header does not ask for.', 'ALTERED'],
  ecdsa_invalid: ['The ECDSA signature does not verify.', 'ALTERED'],
  providers_mismatch: ['The seal names other attestations than those that are there.', 'ALTERED'],
  not_after_invalid: ['The quote was to live for longer than any may, or for no time.', 'ALTERED'],
  key_source_mismatch: ['The simulator vouches for keys of hardware, or the other way round.', 'ALTERED'],
  simulated_evidence: [
    'No hardware vouches for it; `--allow-simulated` accepts that, for trying things out.',
    'POLICY',
  ],
  policy_incomplete: ['The policy names no enclave and no log; anyone can run an enclave of their own.', 'POLICY'],
  provider_mismatch: ['The provider that is named is not the one of the evidence.', 'ALTERED'],
  measurements_mismatch: ['The measurements that are named are not those of the quote.', 'ALTERED'],
  simulated_mismatch: ['`simulated` is not what the evidence shows.', 'ALTERED'],
  verification_mismatch: ['What is said of the verification is not what it comes to anew.', 'ALTERED'],
  redundancy_missing: ['The policy asks for a second platform, and only one attests it.', 'POLICY'],
  freshness_unproven: ['The seal claims to be fresher than its evidence shows.', 'ALTERED'],
  freshness_refused: ['The policy asks for a witness, and none has acknowledged it.', 'POLICY'],
  acknowledgement_invalid: ['The witness has not signed this size and root.', 'ALTERED'],
  redundancy_dependent: ['The policy asks for two machines, and the evidence does not show two.', 'POLICY'],
  independence_mismatch: [
    'Two platforms are named that the evidence does not show to be two, or the other way round.',
    'ALTERED',
  ],
  quote_type_refused: ['The policy names other types of quotes (`quote_types`).', 'POLICY'],
  unsupported_quote_type: ['Evidence of this kind cannot be verified by this version.', 'NEWER'],
  now_invalid: ['The time to judge at is no whole number of milliseconds.', 'CLOCK'],
  quote_malformed: ['The quote is not of its format.', 'ALTERED'],
  collateral_missing: ['Intel’s collateral is not there.', 'ALTERED'],
  collateral_malformed: ['A part of the collateral is not of its format.', 'ALTERED'],
  root_untrusted: ['A chain does not end in a root that is trusted.', 'POLICY'],
  chain_malformed: ['A certificate chain is not of its format.', 'ALTERED'],
  chain_invalid: ['A certificate was not issued by the one above it, or may not do what it does.', 'ALTERED'],
  certificate_expired: ['A certificate is not valid at this time.', 'OLD'],
  certificate_revoked: ['A certificate was revoked.', 'PLATFORM'],
  crl_missing: ['A revocation list is not there.', 'ALTERED'],
  crl_malformed: ['A revocation list is not of its format.', 'ALTERED'],
  crl_invalid: ['A revocation list was not signed by whom it should be.', 'ALTERED'],
  crl_expired: ['A revocation list is not valid at this time.', 'OLD'],
  collateral_expired: ['The collateral is not valid at this time.', 'OLD'],
  tcb_info_signature_invalid: ['The TCB information was not signed by Intel.', 'ALTERED'],
  qe_identity_signature_invalid: ['The identity of the quoting enclave was not signed by Intel.', 'ALTERED'],
  platform_mismatch: ['The collateral is of another platform than the quote.', 'ALTERED'],
  qe_report_signature_invalid: ['The report of the quoting enclave does not verify.', 'ALTERED'],
  qe_binding_invalid: ['The quoting enclave does not vouch for the attestation key.', 'ALTERED'],
  qe_identity_mismatch: ['The quoting enclave is not Intel’s.', 'ALTERED'],
  quote_signature_invalid: ['The signature of the quote does not verify.', 'ALTERED'],
  chip_masked: ['The report hides its chip, so no certificate can be tied to it.', 'PLATFORM'],
  tcb_level_missing: ['Intel lists no TCB level for this platform.', 'PLATFORM'],
  tcb_mismatch: ['The report names other firmware versions than the certificate of its key.', 'ALTERED'],
  tdx_module_refused: ['The TDX module is not one that Intel lists.', 'PLATFORM'],
  tcb_revoked: ['The TCB level of the platform or of its TDX module was revoked.', 'PLATFORM'],
  debug_enabled: ['The enclave can be debugged: it keeps no secret.', 'ALTERED'],
  migration_enabled: ['A migration agent can take the guest to another machine.', 'ALTERED'],
  vmpl_refused: ['The report was asked for by less privileged code than the guest’s own.', 'ALTERED'],
  attributes_refused: ['The enclave has attributes that it may not have.', 'ALTERED'],
  quote_refused: ['The quote does not verify, for another reason than those above.', 'ALTERED'],
  tcb_status_refused: ['The TCB status is not one that the policy accepts (`tcb_statuses`).', 'PLATFORM'],
  advisory_refused: [
    'A security advisory concerns the platform that the policy doesn’t accept (`advisories`).',
    'PLATFORM',
  ],
  collateral_stale: ['The collateral is older than the policy allows (`collateral_age_max_s`).', 'LATER'],
  event_log_missing: ['The policy asks for an event log and there is none.', 'POLICY'],
  event_log_malformed: ['The event log is not of its format.', 'ALTERED'],
  event_log_mismatch: ['The event log does not lead to the registers of the quote.', 'ALTERED'],
  report_data_mismatch: ['The quote was made over something else.', 'ALTERED'],
  measurements_refused: ['The enclave is not one that the policy names.', 'POLICY'],
  event_refused: ['An event that the policy names is not in the log once, or has another payload.', 'POLICY'],
  app_id_refused: ['The app is not one that the policy names.', 'POLICY'],
  kms_root_refused: ['The keys are held by a KMS that the policy doesn’t name, or by none.', 'POLICY'],
  compose_hash_refused: ['The compose file of the enclave is not one that the policy names.', 'POLICY'],
};

/** Of keysets, receipts and transactions, beside those above. */
export const CLIENT_FAILURES: Record<
  Exclude<KeysetCode | ReceiptCode | ConfirmationCode, keyof typeof FAILURES> | 'id_mismatch' | 'transaction_refused',
  Row
> = {
  attestation_missing: ['No quote vouches for the keyset: its epoch is not the active one.', 'ACTIVE'],
  keyset_digest_mismatch: ['The digest beside a keyset is not its own.', 'ALTERED'],
  nonce_mismatch: ['The quote was not made over the nonce that was asked for: it may be an old one.', 'ALTERED'],
  keyset_expired: ['The quote over the keyset has ended; encrypt nothing to it.', 'OLD'],
  keyset_not_yet_valid: ['The keyset is not valid yet.', 'CLOCK'],
  receipt_log_mismatch: ['The receipt is of another log than the keyset.', 'ALTERED'],
  receipt_epoch_mismatch: ['The receipt is of another epoch than the keyset; check it with that epoch’s.', 'ALTERED'],
  receipt_envelope_mismatch: ['The receipt is for another envelope.', 'ALTERED'],
  receipt_signature_invalid: ['The receipt was not signed by the keyset’s receipt key.', 'ALTERED'],
  id_mismatch: ['The daemon answered about another envelope.', 'ALTERED'],
  promise_broken: ['The envelope was ordered at a greater height than its receipt promised.', 'KEEP'],
  transaction_refused: ['The batch lists the envelope as refused; `refusal` has code and reason.', 'WALLET'],
};
