// The `attestation` of a batch file, a keyset or the API (DESIGN §3): evidence with the outcome of verifying it. The sealer
// writes it with `attest`, verifiers take it apart with `readAttestation` and judge the evidence anew: nothing that
// `attest` adds is believed, `disagreement` compares it with what the evidence yields.
import { z } from 'zod';
import { AmdCollateral } from './amdchain.ts';
import { Collateral } from './collateral.ts';
import { base64, base64Of, base64UpTo, Counter, Digest, fromBase64, hex, hexOf, Timestamp, uint } from './encoding.ts';
import { type Evidence, QUOTE_TYPES, type RefusedEvidence, type VerifiedEvidence } from './evidence.ts';
import { Keyset, PUBLIC_KEY_BYTES } from './keyset.ts';
import { ML_DSA_SIGNATURE_BYTES } from './seal.ts';

export const PROVIDERS = ['simulator', 'tsm', 'sgx', 'dstack'] as const;
export type ProviderName = (typeof PROVIDERS)[number];

const Register = hexOf(48);

/** By the type of the quote; which of them it is must follow from it, so `disagreement` compares names too. */
export const Measurements = z.union([
  z.strictObject({ mrtd: Register, rtmr0: Register, rtmr1: Register, rtmr2: Register, rtmr3: Register }),
  z.strictObject({ mrenclave: hexOf(32), mrsigner: hexOf(32), isv_prod_id: uint(16), isv_svn: uint(16) }),
  z.strictObject({
    measurement: Register,
    host_data: hexOf(32),
    family_id: hexOf(16),
    image_id: hexOf(16),
    guest_svn: uint(32),
  }),
]);

/** What tells one enclave from another: MRTD, MRENCLAVE or the launch measurement. */
export function identityOf(measurements: z.output<typeof Measurements>): string {
  if ('mrtd' in measurements) return measurements.mrtd;
  return 'mrenclave' in measurements ? measurements.mrenclave : measurements.measurement;
}

const Outcome = z.strictObject({
  verified: z.boolean(),
  status: z.string().max(64).describe('TCB status, or the code of the check that failed'),
  advisory_ids: z.array(z.string().max(64)).max(256),
  checked_at: Timestamp,
});

const EvidenceFields = z.strictObject({
  provider: z.enum(PROVIDERS),
  quote_type: z.enum(QUOTE_TYPES),
  quote: base64UpTo(16_384),
  event_log: z.string().max(1_048_576).nullable(),
  collateral: z.union([Collateral, AmdCollateral]).nullable(),
  report_data: Digest,
  measurements: Measurements,
  simulated: z.boolean(),
});

const EnclaveName = z.string().min(1).max(128).nullable();

export const Redundancy = z
  .strictObject({
    role: z
      .enum(['quote', 'witness'])
      .describe(
        'A quote vouches for no more than the head; a witness has followed the log up to it, and takes no other.',
      ),
    independent: z.boolean().describe('Whether the evidence shows another machine than that of the first quote.'),
    worker_id: EnclaveName.describe("The operator's name for it."),
    enclave_id: EnclaveName,
    ...EvidenceFields.shape,
    phala_verification: Outcome,
    witness: z
      .strictObject({
        key: base64Of(PUBLIC_KEY_BYTES.ml_dsa_87).describe('ML-DSA-87; the quote binds it.'),
        acknowledgement: base64Of(ML_DSA_SIGNATURE_BYTES).describe(
          'Over the aegis/witness/v1 digest of size and root.',
        ),
      })
      .exactOptional()
      .describe('There where the role is `witness`.'),
  })
  .refine(({ role, witness }) => (role === 'witness') === (witness !== undefined), 'a witness, and no other, has a key')
  .meta({ id: 'Redundancy' });
export type Redundancy = z.output<typeof Redundancy>;

export const Attestation = z
  .strictObject({
    ...EvidenceFields.shape,
    not_after_ms: Counter,
    aegis_verification: Outcome,
    phala_redundancy: Redundancy.nullable().describe("The second platform's, where `providers` of the seal is 3."),
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
    ...evidenceFields(evidence, verification),
    not_after_ms,
    aegis_verification: outcome(verification, checked_at),
    phala_redundancy: null,
  };
}

/** Evidence as it is published, in an attestation or beside it. */
export function evidenceFields(evidence: Evidence, verification: VerifiedEvidence): z.output<typeof EvidenceFields> {
  return {
    provider: providerOf(evidence, verification.simulated),
    quote_type: evidence.quote_type,
    quote: base64(evidence.quote),
    event_log: evidence.event_log,
    collateral: evidence.collateral,
    report_data: hex(verification.report_data),
    measurements: { ...verification.measurements },
    simulated: verification.simulated,
  };
}

/** What came of verifying it. */
export function outcome(verification: VerifiedEvidence, checked_at: string): z.output<typeof Outcome> {
  const { ok, status, advisory_ids } = verification;
  return { verified: ok, status, advisory_ids: [...advisory_ids], checked_at };
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
  if (attestation.provider !== providerOf(attestation, found.simulated)) return 'provider';
  if (attestation.report_data !== hex(found.report_data)) return 'report_data';
  if (otherMeasurement(attestation, found) !== undefined) return 'measurements';
  if (attestation.simulated !== found.simulated) return 'simulated';
  return verified && status === found.status ? undefined : 'aegis_verification';
}

/** The name of the first measurement that isn't what the evidence yields. */
export function otherMeasurement(attestation: Attestation, found: VerifiedEvidence): string | undefined {
  const said: Readonly<Record<string, string | number>> = { ...attestation.measurements };
  const measured: Readonly<Record<string, string | number>> = { ...found.measurements };
  return Object.keys({ ...measured, ...said }).find((name) => said[name] !== measured[name]);
}

/** Evidence itself tells which provider it can come from, so the name in a file can't be another. */
function providerOf(evidence: Pick<Evidence, 'quote_type' | 'event_log'>, simulated: boolean): ProviderName {
  if (simulated) return 'simulator';
  if (evidence.quote_type === 'SGX') return 'sgx';
  return evidence.event_log === null ? 'tsm' : 'dstack';
}
