// The second platform's evidence in a seal (DESIGN §6 "What the second platform vouches for"). attester.ts makes it, the
// verifier judges it by the same policy as the first. It is a quote of a purpose of its own over the same head, so that
// neither platform's evidence passes for the other's, and two quotes of one machine count as one: `independent` is false
// unless the evidence itself shows two. Worker and enclave are the operator's names for it, bound into the quote. A witness
// quotes under purpose 4 and binds its key too, which signs what it acknowledged.
import { type Statement, sealDigest, sha512 } from './digest.ts';
import { concat, fromHex, uintBytes, utf8 } from './encoding.ts';
import type { Evidence, VerifiedEvidence } from './evidence.ts';
import { type Attestation, evidenceFields, outcome, type Redundancy } from './quote.ts';
import type { Head } from './seal.ts';

/** The operator's names for the second platform. */
export type Enclave = Pick<Redundancy, 'worker_id' | 'enclave_id'>;

/** The nonce that binds the names, in `aegis/quote/v1` with purpose 5: uint32 length ‖ UTF-8 of each; none without names. */
export function redundancyNonce({ worker_id, enclave_id }: Enclave): Uint8Array | undefined {
  if (worker_id === null && enclave_id === null) return undefined;
  const names = [worker_id ?? '', enclave_id ?? ''].map(utf8);
  return concat(...names.flatMap((name) => [uintBytes(name.length, 4), name]));
}

/** The nonce of a witness's quote: SHA-512 of its key ‖ its names, as above, where it has any. */
function witnessNonce(witness_key: Uint8Array, enclave: Enclave): Uint8Array {
  return concat(sha512(witness_key), redundancyNonce(enclave) ?? new Uint8Array(0));
}

/** What a witness's quote says of a head. @param witness_key  raw ML-DSA-87 */
export function witnessStatement(
  { head, not_after_ms, ...enclave }: Enclave & { head: Head; not_after_ms: number },
  witness_key: Uint8Array,
): Statement {
  return {
    purpose: 'witness',
    subject: sealDigest(head),
    keyset_digest: fromHex(head.keyset_digest),
    not_after_ms,
    nonce: witnessNonce(witness_key, enclave),
  };
}

export function redundancy(
  evidence: Evidence,
  found: VerifiedEvidence,
  about: { checked_at: string; enclave: Enclave; primary: VerifiedEvidence; witness?: Redundancy['witness'] },
): Redundancy {
  const { witness } = about;
  return {
    role: witness === undefined ? 'quote' : 'witness',
    independent: independent(about.primary, found),
    ...about.enclave,
    ...evidenceFields(evidence, found),
    phala_verification: outcome(found, about.checked_at),
    ...(witness !== undefined && { witness }),
  };
}

/** It as an attestation of its own, which ends when the seal's does. */
export function attestationOf(redundancy: Redundancy, not_after_ms: number): Attestation {
  const { provider, quote_type, quote, event_log, collateral, report_data, measurements, simulated } = redundancy;
  return {
    ...{ provider, quote_type, quote, event_log, collateral, report_data, measurements, simulated },
    not_after_ms,
    aegis_verification: redundancy.phala_verification,
    phala_redundancy: null,
  };
}

/** Whether the evidence shows two machines: two platform ids, or where one is masked, two makers. */
export function independent(a: VerifiedEvidence, b: VerifiedEvidence): boolean {
  if (isId(a.platform_id) && isId(b.platform_id)) return a.platform_id !== b.platform_id;
  // Anyone can make another root for a simulator on one machine.
  return a.root_sha256 !== b.root_sha256 && !a.simulated && !b.simulated;
}

/** A chip that masks its id says zero. */
function isId(platform_id: string): boolean {
  return /[1-9a-f]/.test(platform_id.replace(/^0x/, ''));
}
