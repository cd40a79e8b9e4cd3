// Judges all the evidence of a seal (DESIGN §6): which platforms it names, whether each of them attests this head in its own
// role, and how long that holds. proof.ts asks it about the seal of a batch, head.ts about a head that travels alone. Each
// platform quotes under a purpose of its own, so evidence that is swapped, or shown twice, attests nothing.
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { quoteDigest, type Statement, witnessDigest } from '../actors/digest.ts';
import { fromBase64, timestamp, utf8 } from '../actors/encoding.ts';
import type { VerifiedEvidence } from '../actors/evidence.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Attestation, Redundancy } from '../actors/quote.ts';
import { attestationOf, independent, redundancyNonce, witnessStatement } from '../actors/redundancy.ts';
import { FRESHNESS, type Head, PROVIDER_BIT } from '../actors/seal.ts';
import { type Attested, judgeAttestation, QUOTE_LIFETIME_MAX_MS } from './attestation.ts';
import type { VerificationPolicy } from './policy.ts';
import { type Failure, fail } from './verdict.ts';

export interface SealEvidence {
  readonly seal: Head;
  /** Where the seal stands in the file, for failures. */
  readonly field: string;
  readonly attestation: Attestation;
  readonly keyset: Keyset;
  /** 64 bytes each, recomputed. */
  readonly head_digest: Uint8Array;
  readonly keyset_digest: Uint8Array;
  readonly policy: VerificationPolicy;
  readonly allow_simulated: boolean;
  readonly now_ms: number;
  /** Of the first evidence; `simulated` when any is. */
  readonly found: { simulated: boolean | null; tcb_status: string | null };
}

/** What costs nothing: the evidence that the head names is there, and lives no longer than it may. */
export function checkPlatforms({ seal, field, attestation }: Pick<SealEvidence, 'seal' | 'field' | 'attestation'>) {
  const both = seal.providers === (PROVIDER_BIT.primary | PROVIDER_BIT.redundancy);
  if (both !== (attestation.phala_redundancy !== null)) {
    const message = both
      ? 'names two platforms: phala_redundancy is missing'
      : 'names one platform: expected phala_redundancy null';
    return fail('providers_mismatch', `${field}.providers`, message);
  }
  // What makes a head new is a witness; nothing in a file shows that it is anchored.
  const earned = attestation.phala_redundancy?.role === 'witness' ? FRESHNESS.witness : FRESHNESS.local;
  if (seal.freshness > earned) {
    return fail('freshness_unproven', `${field}.freshness`, `the evidence shows a freshness of ${earned}`);
  }
  const lifetime_ms = attestation.not_after_ms - seal.timestamp_ms;
  if (lifetime_ms > 0 && lifetime_ms <= QUOTE_LIFETIME_MAX_MS) return null;
  const range = `${timestamp(seal.timestamp_ms)} and 24 hours later`;
  return fail('not_after_invalid', 'attestation.not_after_ms', `expected a time between the seal's, ${range}`);
}

/** @returns null when every platform that the head names attests it, by evidence that the policy allows */
export function judgePlatforms(subject: SealEvidence): Failure | null {
  const { seal, field, policy, attestation, found } = subject;
  if (seal.freshness < policy.freshness_min) {
    return fail('freshness_refused', `${field}.freshness`, `the policy asks for ${policy.freshness_min} at least`);
  }
  // Where the primary had failed, the second platform's evidence stands alone.
  const second = (seal.providers & PROVIDER_BIT.primary) === 0;
  const first = judge(subject, attestation, second ? { purpose: 'redundancy' } : { purpose: 'seal' });
  found.simulated = first.found.simulated;
  found.tcb_status = first.found.tcb_status;
  if (first.failure !== null) return first.failure;
  if (attestation.phala_redundancy !== null) {
    return judgeRedundancy(subject, attestation.phala_redundancy, first.found.evidence!);
  }
  if (policy.redundancy === 'optional') return null;
  return fail('redundancy_missing', 'attestation.phala_redundancy', 'the policy asks for a second platform');
}

function judgeRedundancy(subject: SealEvidence, redundancy: Redundancy, first: VerifiedEvidence): Failure | null {
  const { found, attestation } = subject;
  const judged = judge(subject, attestationOf(redundancy, attestation.not_after_ms), statementOf(subject, redundancy));
  if (judged.found.simulated !== null) found.simulated = found.simulated === true || judged.found.simulated;
  if (judged.failure !== null) return { ...judged.failure, field: within(judged.failure.field) };
  if (!isAcknowledged(subject.seal, redundancy.witness)) {
    const field = 'attestation.phala_redundancy.witness.acknowledgement';
    return fail('acknowledgement_invalid', field, "does not verify over size and root under the witness's key");
  }
  const shown = independent(first, judged.found.evidence!);
  const field = 'attestation.phala_redundancy.independent';
  if (redundancy.independent === shown) {
    if (shown || subject.policy.redundancy !== 'independent') return null;
    return fail('redundancy_dependent', field, 'the policy asks for two machines');
  }
  const message = shown ? 'the evidence shows two machines' : "the evidence doesn't show two machines";
  return fail('independence_mismatch', field, message);
}

/** What the second platform's quote must say: a witness's binds its key too. */
function statementOf({ seal, attestation }: SealEvidence, { witness, worker_id, enclave_id }: Redundancy) {
  const names = { worker_id, enclave_id };
  if (witness !== undefined) {
    const about = { head: seal, not_after_ms: attestation.not_after_ms, ...names };
    return witnessStatement(about, fromBase64(witness.key));
  }
  const nonce = redundancyNonce(names);
  return { purpose: 'redundancy', ...(nonce === undefined ? {} : { nonce }) } as const;
}

const CONTEXT = { context: utf8('aegis/witness/v1') };

/** The key that the quote binds has signed this size and root; there is nothing to sign where the role is another. */
function isAcknowledged({ log_id, size: number, root }: Head, witness: Redundancy['witness']): boolean {
  if (witness === undefined) return true;
  const witness_key = fromBase64(witness.key);
  const digest = witnessDigest({ kind: 'head', log_id, number, count: 0, root, witness_key });
  try {
    return ml_dsa87.verify(fromBase64(witness.acknowledgement), digest, witness_key, CONTEXT);
  } catch {
    // Libraries throw on what is no key at all.
    return false;
  }
}

function judge(subject: SealEvidence, attestation: Attestation, about: Pick<Statement, 'purpose' | 'nonce'>) {
  const { keyset, policy, allow_simulated, now_ms, head_digest, keyset_digest } = subject;
  const { not_after_ms } = attestation;
  const report_data = quoteDigest({ ...about, subject: head_digest, keyset_digest, not_after_ms });
  const found: Attested['found'] = { simulated: null, tcb_status: null };
  const second = about.purpose !== 'seal';
  const attested = { attestation, keyset, report_data, policy, allow_simulated, now_ms, second, found };
  return { failure: judgeAttestation(attested), found };
}

/** A field of an attestation as that of the one inside it. */
function within(field: string): string {
  return field
    .replace(/^attestation\./, 'attestation.phala_redundancy.')
    .replace('.aegis_verification', '.phala_verification');
}
