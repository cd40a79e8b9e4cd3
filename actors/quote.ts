// The `attestation` of a batch file, a keyset or the API (DESIGN §3): evidence with the outcome of verifying it. The sealer
// writes it with `attest`, verifiers take it apart with `readAttestation` and judge the evidence anew: nothing that
// `attest` adds is believed, `disagreement` compares it with what the evidence yields.
import { z } from 'zod';
import { Collateral } from './collateral.ts';
import { base64, base64UpTo, Counter, Digest, fromBase64, hex, hexOf, Timestamp } from './encoding.ts';
import type { Evidence, RefusedEvidence, VerifiedEvidence } from './evidence.ts';
import { Keyset } from './keyset.ts';

export const PROVIDERS = ['simulator', 'tsm', 'sgx', 'dstack'] as const;
export type ProviderName = (typeof PROVIDERS)[number];

export const QUOTE_TYPES = ['TDX', 'SEV-SNP', 'SGX'] as const;

const Register = hexOf(48);

export const Measurements = z.strictObject({
  mrtd: Register,
  rtmr0: Register,
  rtmr1: Register,
  rtmr2: Register,
  rtmr3: Register,
});

export const Attestation = z
  .strictObject({
    provider: z.enum(PROVIDERS),
    quote_type: z.enum(QUOTE_TYPES),
    quote: base64UpTo(16_384),
    event_log: z.string().max(1_048_576).nullable(),
    collateral: Collateral.nullable(),
    not_after_ms: Counter,
    report_data: Digest,
    measurements: Measurements,
    simulated: z.boolean(),
    aegis_verification: z.strictObject({
      verified: z.boolean(),
      status: z.string().max(64).describe('TCB status, or the code of the check that failed'),
      advisory_ids: z.array(z.string().max(64)).max(256),
      checked_at: Timestamp,
    }),
    phala_redundancy: z.null(),
  })
  .meta({ id: 'Attestation' });
export type Attestation = z.output<typeof Attestation>;

/** What `GET /epochs/{epoch}/keyset` answers. */
export const AttestedKeyset = z
  .strictObject({
    keyset: Keyset,
    keyset_digest: Digest,
    leaf_index: Counter,
    attestation: Attestation.nullable().describe('Purpose 2 over the keyset; null once its epoch is not active.'),
  })
  .meta({ id: 'AttestedKeyset' });
export type AttestedKeyset = z.output<typeof AttestedKeyset>;

/** What `GET /attestation` answers. */
export const FreshAttestation = z
  .strictObject({
    keyset: Keyset,
    keyset_digest: Digest,
    attestation: Attestation,
    nonce: z.string().nullable().describe('As bound into the report data, 0x-hex.'),
  })
  .meta({ id: 'FreshAttestation' });
export type FreshAttestation = z.output<typeof FreshAttestation>;

/**
 * @param verification  what `verifyEvidence` found; evidence that fails is never attached to a seal
 * @param not_after_ms  as it entered the report data
 * @param checked_at    when it was verified, RFC 3339 UTC with three decimals
 */
export function attest(
  evidence: Evidence,
  verification: VerifiedEvidence,
  not_after_ms: number,
  checked_at: string,
): Attestation {
  return {
    provider: providerOf(evidence, verification.simulated),
    quote_type: evidence.quote_type,
    quote: base64(evidence.quote),
    event_log: evidence.event_log,
    collateral: evidence.collateral,
    not_after_ms,
    report_data: hex(verification.report_data),
    measurements: { ...verification.measurements },
    simulated: verification.simulated,
    aegis_verification: {
      verified: verification.ok,
      status: verification.status,
      advisory_ids: [...verification.advisory_ids],
      checked_at,
    },
    phala_redundancy: null,
  };
}

/** The evidence alone. @throws {SyntaxError} when `quote` is not canonical base64 */
export function readAttestation(attestation: Attestation): Evidence {
  return {
    quote_type: attestation.quote_type,
    quote: fromBase64(attestation.quote),
    event_log: attestation.event_log,
    collateral: attestation.collateral,
  };
}

/** Fields that repeat what the evidence itself says. `advisory_ids` and `checked_at` are informational (DESIGN §3). */
export const RECOMPUTED = ['provider', 'report_data', 'measurements', 'simulated', 'aegis_verification'] as const;

/**
 * The first field of an attestation that says something else than its evidence; undefined when all agree. `not_after_ms`
 * is bound through the report data, which the caller computes.
 */
export function disagreement(
  attestation: Attestation,
  found: VerifiedEvidence | RefusedEvidence,
): (typeof RECOMPUTED)[number] | undefined {
  const { verified, status } = attestation.aegis_verification;
  if (!found.ok) return 'aegis_verification';
  const { measurements } = attestation;
  const names = Object.keys(found.measurements) as (keyof typeof measurements)[];
  if (attestation.provider !== providerOf(attestation, found.simulated)) return 'provider';
  if (attestation.report_data !== hex(found.report_data)) return 'report_data';
  if (names.some((name) => measurements[name] !== found.measurements[name])) return 'measurements';
  if (attestation.simulated !== found.simulated) return 'simulated';
  return verified && status === found.status ? undefined : 'aegis_verification';
}

/** Evidence itself tells which provider it can come from, so the name in a file can't be another. */
function providerOf(evidence: Pick<Evidence, 'quote_type' | 'event_log'>, simulated: boolean): ProviderName {
  if (simulated) return 'simulator';
  if (evidence.quote_type === 'SGX') return 'sgx';
  return evidence.event_log === null ? 'tsm' : 'dstack';
}
