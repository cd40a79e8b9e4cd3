// Judges all the evidence of a seal (DESIGN §6): which platforms it names, whether each of them attests this head in its own
// role, and how long that holds. proof.ts asks it about the seal of a batch, head.ts about a head that travels alone. Each
// platform quotes under a purpose of its own, so evidence that is swapped, or shown twice, attests nothing.
import { quoteDigest, type Statement } from '../actors/digest.ts';
import { timestamp } from '../actors/encoding.ts';
import type { VerifiedEvidence } from '../actors/evidence.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Attestation, Redundancy } from '../actors/quote.ts';
import { attestationOf, independent, redundancyNonce } from '../actors/redundancy.ts';
import { type Head, PROVIDER_BIT } from '../actors/seal.ts';
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
  const lifetime_ms = attestation.not_after_ms - seal.timestamp_ms;
  if (lifetime_ms > 0 && lifetime_ms <= QUOTE_LIFETIME_MAX_MS) return null;
  const range = `${timestamp(seal.timestamp_ms)} and 24 hours later`;
  return fail('not_after_invalid', 'attestation.not_after_ms', `expected a time between the seal's, ${range}`);
}

/** @returns null when every platform that the head names attests it, by evidence that the policy allows */
export function judgePlatforms(subject: SealEvidence): Failure | null {
  const { seal, attestation, found } = subject;
  // Where the primary had failed, the second platform's evidence stands alone.
  const second = (seal.providers & PROVIDER_BIT.primary) === 0;
  const first = judge(subject, attestation, second ? { purpose: 'redundancy' } : { purpose: 'seal' });
  found.simulated = first.found.simulated;
  found.tcb_status = first.found.tcb_status;
  if (first.failure !== null) return first.failure;
  if (attestation.phala_redundancy !== null) {
    return judgeRedundancy(subject, attestation.phala_redundancy, first.found.evidence!);
  }
  if (subject.policy.redundancy === 'optional') return null;
  return fail('redundancy_missing', 'attestation.phala_redundancy', 'the policy asks for a second platform');
}

function judgeRedundancy(subject: SealEvidence, redundancy: Redundancy, first: VerifiedEvidence): Failure | null {
  const { found, attestation } = subject;
  const nonce = redundancyNonce(redundancy);
  const statement = { purpose: 'redundancy', ...(nonce === undefined ? {} : { nonce }) } as const;
  const judged = judge(subject, attestationOf(redundancy, attestation.not_after_ms), statement);
  if (judged.found.simulated !== null) found.simulated = found.simulated === true || judged.found.simulated;
  if (judged.failure !== null) return { ...judged.failure, field: within(judged.failure.field) };
  const shown = independent(first, judged.found.evidence!);
  const field = 'attestation.phala_redundancy.independent';
  if (redundancy.independent === shown) {
    if (shown || subject.policy.redundancy !== 'independent') return null;
    return fail('redundancy_dependent', field, 'the policy asks for two machines');
  }
  const message = shown ? 'the evidence shows two machines' : "the evidence doesn't show two machines";
  return fail('independence_mismatch', field, message);
}

function judge(subject: SealEvidence, attestation: Attestation, about: Pick<Statement, 'purpose' | 'nonce'>) {
  const { keyset, policy, allow_simulated, now_ms, head_digest, keyset_digest } = subject;
  const { not_after_ms } = attestation;
  const report_data = quoteDigest({ ...about, subject: head_digest, keyset_digest, not_after_ms });
  const found: Attested['found'] = { simulated: null, tcb_status: null };
  const second = about.purpose === 'redundancy';
  const attested = { attestation, keyset, report_data, policy, allow_simulated, now_ms, second, found };
  return { failure: judgeAttestation(attested), found };
}

/** A field of an attestation as that of the one inside it. */
function within(field: string): string {
  return field
    .replace(/^attestation\./, 'attestation.phala_redundancy.')
    .replace('.aegis_verification', '.phala_verification');
}
