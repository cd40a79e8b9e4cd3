// What a verifier trusts: its anchors and rules (DESIGN §3 "The batch file"). Whoever verifies writes one, as the file that
// `aegisd verify --policy` reads or as an object for `verifyBatch`; nothing in it may come from the batch that it judges.
import { z } from 'zod';
import { readCertificate, readPem } from '../actors/certificate.ts';
import { Digest, decimal, fromBase64, hexOf } from '../actors/encoding.ts';
import { INTEL_ROOT_DER } from '../actors/evidence.ts';
import { KEY_SOURCES } from '../actors/keyset.ts';

export const SIGNATURE_POLICIES = ['all', 'any-pq'] as const;

/** One certificate as PEM, or its DER as base64. */
const Root = z
  .string()
  .max(16_384)
  .transform((text, context) => {
    const der = readRoot(text);
    if (der !== null) return der;
    context.addIssue({ code: 'custom', message: 'expected one P-256 certificate, as PEM or as base64 of its DER' });
    return z.NEVER;
  });

const Register = hexOf(48);

const Allowed = z
  .strictObject({
    mrtd: Register.exactOptional(),
    rtmr0: Register.exactOptional(),
    rtmr1: Register.exactOptional(),
    rtmr2: Register.exactOptional(),
    rtmr3: Register.exactOptional(),
  })
  .refine(
    (entry) => Object.keys(entry).length > 0,
    'expected at least one register: an empty entry would allow nothing',
  );

export const VerificationPolicy = z
  .strictObject({
    signatures: z
      .enum(SIGNATURE_POLICIES)
      .default('all')
      .describe(
        'all: ML-DSA and SLH-DSA, and ECDSA where its bit is set. any-pq: one of the first two families holds.',
      ),
    roots: z.array(Root).min(1).max(16).optional().describe("Roots of the evidence; Intel's where left out."),
    measurements: z.array(Allowed).min(1).max(256).optional().describe('Enclaves that may have made the batch.'),
    compose_hashes: z.array(hexOf(32)).min(1).max(256).optional().describe('dstack compose files that may run in it.'),
    log_id: Digest.optional().describe('The log that the batch must be in.'),
    chain_id: z.union([decimal(256), z.int().min(0).transform(String)]).optional(),
    key_sources: z.array(z.enum(KEY_SOURCES)).min(1).optional().describe('Where its keys may come from.'),
    keysets: z
      .array(Digest)
      .min(1)
      .max(1_024)
      .optional()
      .describe('Digests of keysets that were verified before; the only ones accepted where given.'),
    tcb_statuses: z.array(z.string().min(1).max(64)).min(1).max(16).default(['UpToDate']),
  })
  .meta({ id: 'VerificationPolicy' });

export type VerificationPolicy = z.output<typeof VerificationPolicy>;
export type VerificationPolicyInput = z.input<typeof VerificationPolicy>;

/** Trusts Intel's root, demands every signature, and names no enclave: enough for simulated batches only. */
export const DEFAULT_POLICY: VerificationPolicy = VerificationPolicy.parse({});

/** DER of the roots to trust for hardware. */
export function trustedRoots(policy: VerificationPolicy): readonly Uint8Array[] {
  return policy.roots ?? [INTEL_ROOT_DER];
}

/**
 * What a policy must name before hardware evidence means anything: anyone can run code of their own in a genuine enclave.
 *
 * @returns keys that are missing
 */
export function missingAnchors(policy: VerificationPolicy): string[] {
  const missing: string[] = [];
  if (policy.measurements === undefined && policy.compose_hashes === undefined) missing.push('measurements');
  if (policy.log_id === undefined) missing.push('log_id');
  if (policy.key_sources === undefined) missing.push('key_sources');
  return missing;
}

function readRoot(text: string): Uint8Array | null {
  try {
    const blocks = text.includes('-----BEGIN') ? readPem(text) : [fromBase64(text)];
    if (blocks.length !== 1) return null;
    return readCertificate(blocks[0]!).der;
  } catch {
    return null;
  }
}
