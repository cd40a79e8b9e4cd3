// Judges an attestation: evidence, and what its bearer says of it, against what it should attest (DESIGN §5, §6). proof.ts
// asks it about the seal of a batch, trust.ts about a keyset. Nothing that the attestation says of itself is believed: the
// evidence is verified anew under roots that the reader trusts, and every other field must agree with what it yields.
import { checkOf, type EvidenceCode } from '../actors/check.ts';
import { isHardwareRoot, type QuoteType, type VerifiedEvidence } from '../actors/evidence.ts';
import { KEY_SOURCES, type Keyset } from '../actors/keyset.ts';
import { type Attestation, disagreement, otherMeasurement, readAttestation } from '../actors/quote.ts';
import { claimedRoot, verifyEvidence } from '../actors/verification.ts';
import { evidencePolicy, missingAnchors, type VerificationPolicy } from './policy.ts';
import { type Failure, fail } from './verdict.ts';

/** A quote lives a day at most (DESIGN §5), counted from the time of what it vouches for. */
export const QUOTE_LIFETIME_MAX_MS = 86_400_000;

/** How far the enclave's clock may run ahead of the verifier's. */
export const CLOCK_SKEW_MS = 300_000;

export interface Attested {
  readonly attestation: Attestation;
  readonly keyset: Keyset;
  /** What the quote must be over, 64 bytes. */
  readonly report_data: Uint8Array;
  readonly policy: VerificationPolicy;
  readonly allow_simulated: boolean;
  readonly now_ms: number;
  /** It comes from the second platform, which the keys don't. */
  readonly second?: boolean;
  /** Filled in as far as the judgement comes. */
  readonly found: { simulated: boolean | null; tcb_status: string | null; evidence?: VerifiedEvidence };
}

/** @returns null when the evidence holds, attests `report_data` and comes from where the policy allows */
export function judgeAttestation(subject: Attested): Failure | null {
  const { attestation, keyset, policy, now_ms, report_data, found } = subject;
  const bare = readAttestation(attestation);
  const root = claimedRoot(bare);
  if (!root.ok) return fail(root.code, fieldOf(root.code), root.message);
  const simulated = !isHardwareRoot(root.der);
  found.simulated = simulated || keyset.key_source === 0;
  const failure = checkOrigin(subject, simulated);
  if (failure !== null) return failure;
  const asked = evidencePolicy(policy);
  // Where no root is named, simulated evidence may bring its own: the verdict then says what that is worth.
  const roots = policy.roots === undefined && simulated ? [root.der] : asked.roots;
  const evidence = verifyEvidence(bare, { ...asked, roots, now_ms, report_data });
  if (!evidence.ok) return fail(evidence.code, fieldOf(evidence.code), evidence.message);
  found.tcb_status = evidence.status;
  found.evidence = evidence;
  return compare(attestation, evidence);
}

/** Where keys can come from under a quote of each type: a root in a credential, or what the platform itself hands out. */
const PLATFORM_SOURCES: Record<QuoteType, readonly string[]> = {
  TDX: ['credential', 'dstack'],
  SGX: ['credential', 'sgx'],
  'SEV-SNP': ['credential'],
};

/**
 * Is evidence from there acceptable at all? Keys of a platform come with that platform's quote, keys out of a file with
 * none that claims hardware, and hardware means little to a policy that doesn't say which enclave is meant.
 */
function checkOrigin(subject: Attested, simulated: boolean): Failure | null {
  const { attestation, keyset, policy, allow_simulated, second = false, found } = subject;
  if (found.simulated && !allow_simulated) {
    return simulatedRefusal(simulated ? 'attestation.quote' : 'keyset.key_source');
  }
  if (simulated) return null;
  const source = KEY_SOURCES[keyset.key_source]!;
  if (!second && !PLATFORM_SOURCES[attestation.quote_type].includes(source)) {
    return fail('key_source_mismatch', 'keyset.key_source', `${source} keys with a ${attestation.quote_type} quote`);
  }
  const missing = missingAnchors(policy);
  if (missing.length === 0) return null;
  return fail('policy_incomplete', 'policy', `anyone can run an enclave: the policy must name ${missing.join(', ')}`);
}

export function simulatedRefusal(field: string): Failure {
  const sentence = 'no hardware vouches for it; allow_simulated (--allow-simulated) would accept that';
  return fail('simulated_evidence', field, sentence);
}

const FIELD_CODES = {
  provider: 'provider_mismatch',
  report_data: 'report_data_mismatch',
  measurements: 'measurements_mismatch',
  simulated: 'simulated_mismatch',
  aegis_verification: 'verification_mismatch',
} as const;

/** Nothing that is said about the evidence is believed. */
function compare(attestation: Attestation, evidence: VerifiedEvidence): Failure | null {
  const field = disagreement(attestation, evidence);
  if (field === undefined) return null;
  const path =
    field === 'aegis_verification' && attestation.aegis_verification.verified ? 'aegis_verification.status' : field;
  const detail = field === 'measurements' ? `measurements.${otherMeasurement(attestation, evidence)}` : path;
  return fail(FIELD_CODES[field], `attestation.${detail}`, 'says something else than the evidence');
}

/** Where to look: the evidence module speaks of one quote, a reader of a whole file. */
function fieldOf(code: EvidenceCode): string {
  if (code === 'unsupported_quote_type' || code === 'quote_type_refused') return 'attestation.quote_type';
  if (code === 'report_data_mismatch') return 'attestation.report_data';
  if (code === 'now_invalid') return 'now_ms';
  const check = checkOf(code);
  if (check === 'event_log' || check === 'application') return 'attestation.event_log';
  const ofCollateral = /^(?:tcb_info|qe_identity)_signature/.test(code) || code.startsWith('crl');
  return ofCollateral || check === 'collateral' || check === 'freshness'
    ? 'attestation.collateral'
    : 'attestation.quote';
}
