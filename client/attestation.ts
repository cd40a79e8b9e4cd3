// Judges an attestation: evidence, and what its bearer says of it, against what it should attest (DESIGN §5, §6). proof.ts
// asks it about the seal of a batch, trust.ts about a keyset. Nothing that the attestation says of itself is believed: the
// evidence is verified anew under roots that the reader trusts, and every other field must agree with what it yields.
import { isIssuedBy, readChain } from '../actors/certificate.ts';
import type { EvidenceCode } from '../actors/collateral.ts';
import { equal, fromBase64 } from '../actors/encoding.ts';
import { INTEL_ROOT_DER, type VerifiedEvidence, verifyEvidence } from '../actors/evidence.ts';
import { KEY_SOURCES, type Keyset } from '../actors/keyset.ts';
import { type Attestation, disagreement, readAttestation } from '../actors/quote.ts';
import { readQuote } from '../actors/tdx.ts';
import { missingAnchors, trustedRoots, type VerificationPolicy } from './policy.ts';
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
  /** Filled in as far as the judgement comes. */
  readonly found: { simulated: boolean | null; tcb_status: string | null };
}

/** @returns null when the evidence holds, attests `report_data` and comes from where the policy allows */
export function judgeAttestation(subject: Attested): Failure | null {
  const { attestation, keyset, policy, now_ms, report_data, found } = subject;
  const root = rootOf(attestation);
  if ('code' in root) return root;
  const simulated = !equal(root.der, INTEL_ROOT_DER);
  found.simulated = simulated || keyset.key_source === 0;
  const failure = checkOrigin(subject, simulated);
  if (failure !== null) return failure;
  const evidence = verifyEvidence(readAttestation(attestation), {
    // Where no root is named, simulated evidence may bring its own: the verdict then says what that is worth.
    roots: policy.roots === undefined && simulated ? [root.der] : trustedRoots(policy),
    now_ms,
    tcb_statuses: policy.tcb_statuses,
    report_data,
    ...(policy.measurements === undefined ? {} : { measurements: policy.measurements }),
    ...(policy.compose_hashes === undefined ? {} : { compose_hashes: policy.compose_hashes }),
  });
  if (!evidence.ok) return fail(evidence.code, fieldOf(evidence.code), evidence.message);
  found.tcb_status = evidence.status;
  return compare(attestation, evidence);
}

/** The root that the evidence itself claims; self-signed, so that not a bit of it is free where nobody names a root. */
function rootOf(attestation: Attestation): { der: Uint8Array } | Failure {
  try {
    const { pck_chain } = readQuote(fromBase64(attestation.quote));
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(pck_chain);
    const root = readChain(text.slice(0, -1), 3)[2]!;
    if (isIssuedBy(root, root)) return root;
    return fail('chain_invalid', 'attestation.quote', 'the root certificate is not signed by itself');
  } catch (cause) {
    return fail('quote_malformed', 'attestation.quote', cause instanceof Error ? cause.message : 'unreadable');
  }
}

/**
 * Is evidence from there acceptable at all? Keys of a platform come with that platform's quote, keys out of a file with
 * none that claims hardware, and hardware means little to a policy that doesn't say which enclave is meant.
 */
function checkOrigin({ attestation, keyset, policy, allow_simulated, found }: Attested, simulated: boolean) {
  if (found.simulated && !allow_simulated) {
    return simulatedRefusal(simulated ? 'attestation.quote' : 'keyset.key_source');
  }
  if (simulated) return null;
  const source = KEY_SOURCES[keyset.key_source]!;
  if (source !== 'credential' && source !== (attestation.quote_type === 'SGX' ? 'sgx' : 'dstack')) {
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
  const register = (Object.keys(evidence.measurements) as (keyof VerifiedEvidence['measurements'])[]).find(
    (name) => attestation.measurements[name] !== evidence.measurements[name],
  );
  const detail = field === 'measurements' ? `measurements.${register}` : path;
  return fail(FIELD_CODES[field], `attestation.${detail}`, 'says something else than the evidence');
}

/** Where to look: the evidence module speaks of one quote, a reader of a whole file. */
function fieldOf(code: EvidenceCode): string {
  if (code === 'unsupported_quote_type') return 'attestation.quote_type';
  if (code === 'report_data_mismatch') return 'attestation.report_data';
  if (code.startsWith('event_log') || code.startsWith('compose')) return 'attestation.event_log';
  if (/^(?:collateral|crl|tcb_info|qe_identity_signature)/.test(code)) return 'attestation.collateral';
  return code === 'now_invalid' ? 'now_ms' : 'attestation.quote';
}
