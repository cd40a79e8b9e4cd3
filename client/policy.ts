// What a verifier trusts: its anchors and rules (DESIGN §3 "The batch file"). Whoever verifies writes one, as the file that
// `aegisd verify --policy` reads or as an object for `verifyBatch`; nothing in it may come from the batch that it judges.
import { z } from 'zod';
import { PRODUCTS } from '../actors/amdchain.ts';
import { readPem } from '../actors/certificate.ts';
import { Digest, decimal, fromBase64, hexOf, hexUpTo, uint } from '../actors/encoding.ts';
import { type EvidencePolicy, HARDWARE_ROOTS, QUOTE_TYPES } from '../actors/evidence.ts';
import { KEY_SOURCES } from '../actors/keyset.ts';
import { readCertificateFrame } from '../actors/x509.ts';

export const SIGNATURE_POLICIES = ['all', 'any-pq'] as const;
export const REDUNDANCY_POLICIES = ['optional', 'required', 'independent'] as const;

/** One certificate as PEM, or its DER as base64. */
const Root = z
  .string()
  .max(16_384)
  .transform((text, context) => {
    const der = readRoot(text);
    if (der !== null) return der;
    context.addIssue({ code: 'custom', message: 'expected one certificate, as PEM or as base64 of its DER' });
    return z.NEVER;
  });

const Register = hexOf(48).exactOptional();
const Bytes32 = hexOf(32).exactOptional();
const Bytes16 = hexOf(16).exactOptional();

/** What can be named of an enclave, by the type of its quote (actors/evidence.ts, claims). docs/policy.md lists them. */
export const NAMES = {
  TDX: {
    mrtd: Register,
    rtmr0: Register,
    rtmr1: Register,
    rtmr2: Register,
    rtmr3: Register,
    mr_seam: Register,
    mr_config_id: Register,
    mr_owner: Register,
    mr_owner_config: Register,
  },
  SGX: {
    mrenclave: Bytes32,
    mrsigner: Bytes32,
    isv_prod_id: uint(16).exactOptional(),
    isv_svn_min: uint(16).exactOptional(),
    isv_ext_prod_id: Bytes16,
    config_id: hexOf(64).exactOptional(),
  },
  'SEV-SNP': {
    measurement: Register,
    host_data: Bytes32,
    family_id: Bytes16,
    image_id: Bytes16,
    id_key_digest: Register,
    author_key_digest: Register,
    guest_svn_min: uint(32).exactOptional(),
  },
} as const;

/** What else an entry must name, so that it doesn't allow everybody's code. */
const Allowed = z.strictObject({ ...NAMES.TDX, ...NAMES.SGX, ...NAMES['SEV-SNP'] }).superRefine((entry, context) => {
  const message = flawOf(Object.keys(entry));
  if (message !== null) context.addIssue({ code: 'custom', message });
});

function flawOf(names: readonly string[]): string | null {
  if (names.length === 0) return 'expected at least one name: an empty entry would allow nothing';
  const types = QUOTE_TYPES.filter((type) => names.some((name) => name in NAMES[type]));
  if (types.length > 1) return `expected names of one type of quote, found ${types.join(' and ')}`;
  const has = (...any: readonly string[]) => any.some((name) => names.includes(name));
  if (types[0] === 'SGX' && !has('mrenclave')) {
    const signed = ['mrsigner', 'isv_prod_id', 'isv_svn_min'].every((name) => names.includes(name));
    return signed ? null : 'expected mrenclave, or mrsigner with isv_prod_id and isv_svn_min';
  }
  if (types[0] === 'SEV-SNP' && !has('measurement', 'id_key_digest', 'author_key_digest')) {
    return 'expected measurement, or the digest of the key that signs images: a host can set the rest';
  }
  return null;
}

const SnpTcb = z.strictObject({
  boot_loader: uint(8).exactOptional(),
  tee: uint(8).exactOptional(),
  snp: uint(8).exactOptional(),
  microcode: uint(8).exactOptional(),
  fmc: uint(8).exactOptional().describe('From Turin on.'),
});

const PRESENCE = ['required', 'if_present'] as const;

const Events = z.array(
  z.strictObject({
    event: z
      .string()
      .min(1)
      .max(1_024)
      .refine((name) => !name.includes(':'), 'expected a name without a colon'),
    payload: hexUpTo(65_536).exactOptional(),
  }),
);

/** What a policy says of hardware evidence, whatever the evidence is of: also `[attestation.policy]` of sequencer.toml. */
export const EVIDENCE_RULES = {
  quote_types: z.array(z.enum(QUOTE_TYPES)).min(1).max(3).optional().describe('Types of quotes to accept.'),
  roots: z.array(Root).min(1).max(16).optional().describe("Roots of the evidence; Intel's and AMD's where left out."),
  tcb_statuses: z
    .array(z.string().min(1).max(64))
    .min(1)
    .max(16)
    .default(['UpToDate'])
    .describe('TCB statuses to accept; `Unrated` is that of SEV-SNP without snp_tcb_min.'),
  advisories: z
    .array(z.string().min(1).max(64))
    .max(256)
    .optional()
    .describe('Security advisories to accept, as INTEL-SA-00615; any where left out, none where empty.'),
  collateral_age_max_s: z
    .int()
    .min(1)
    .max(315_360_000)
    .optional()
    .describe(
      "How old the oldest part of the collateral may be, whatever it says of its own end; Intel's yearly root list apart.",
    ),
  amd_crl: z
    .enum(PRESENCE)
    .default('required')
    .describe("Whether an SEV-SNP report must come with AMD's revocation list."),
  snp_tcb_min: z
    .partialRecord(z.enum(PRODUCTS), SnpTcb)
    .optional()
    .describe('The least firmware versions of SEV-SNP, by product.'),
  measurements: z.array(Allowed).min(1).max(256).optional().describe('Enclaves that may have made it.'),
  event_log: z.enum(PRESENCE).default('if_present').describe('Whether there must be an event log.'),
  events: Events.min(1)
    .max(64)
    .optional()
    .describe('Events that must be in the log once, before system-ready, with this payload where one is given.'),
  app_ids: z.array(hexOf(20)).min(1).max(256).optional().describe('dstack apps that may run in it.'),
  compose_hashes: z.array(hexOf(32)).min(1).max(256).optional().describe('dstack compose files that may run in it.'),
  kms_roots: z
    .array(hexUpTo(256))
    .min(1)
    .max(16)
    .optional()
    .describe('Keys of the KMS that may hold its keys, as the event key-provider has them (`id`).'),
} as const;

export const VerificationPolicy = z
  .strictObject({
    signatures: z
      .enum(SIGNATURE_POLICIES)
      .default('all')
      .describe(
        'all: ML-DSA and SLH-DSA, and ECDSA where its bit is set. any-pq: one of the first two families holds.',
      ),
    ...EVIDENCE_RULES,
    redundancy: z
      .enum(REDUNDANCY_POLICIES)
      .default('optional')
      .describe('Whether a second platform must attest it: required, or independent where it must be another machine.'),
    freshness_min: z
      .int()
      .min(0)
      .max(2)
      .default(0)
      .describe(
        '1 where a witness must have acknowledged order and head, so that no copy of the store can have made it.',
      ),
    log_id: Digest.optional().describe('The log that the batch must be in.'),
    chain_id: z
      .union([decimal(256), z.int().min(0).transform(String)])
      .optional()
      .describe('The chain that the batch must be of.'),
    key_sources: z.array(z.enum(KEY_SOURCES)).min(1).optional().describe('Where its keys may come from.'),
    keysets: z
      .array(Digest)
      .min(1)
      .max(1_024)
      .optional()
      .describe('Digests of keysets that were verified before; the only ones accepted where given.'),
  })
  .meta({ id: 'VerificationPolicy' });

export type VerificationPolicy = z.output<typeof VerificationPolicy>;
export type VerificationPolicyInput = z.input<typeof VerificationPolicy>;

/** Trusts makers of hardware, demands every signature, and names no enclave: enough for simulated batches only. */
export const DEFAULT_POLICY: VerificationPolicy = VerificationPolicy.parse({});

const EvidenceRules = z.object(EVIDENCE_RULES);
export type EvidenceRules = z.output<typeof EvidenceRules>;

/** What the policy says of the evidence alone; the time and what is attested come from the one who asks. */
export function evidencePolicy(rules: EvidenceRules): Omit<EvidencePolicy, 'now_ms' | 'report_data'> {
  const { collateral_age_max_s, roots, tcb_statuses, amd_crl, event_log } = rules;
  const { quote_types, advisories, snp_tcb_min, measurements, events, app_ids, compose_hashes, kms_roots } = rules;
  return {
    roots: roots ?? HARDWARE_ROOTS,
    tcb_statuses,
    amd_crl,
    event_log,
    ...(collateral_age_max_s !== undefined && { collateral_age_max_ms: collateral_age_max_s * 1000 }),
    ...(quote_types && { quote_types }),
    ...(advisories && { advisories }),
    ...(snp_tcb_min && { snp_tcb_min }),
    ...(measurements && { measurements }),
    ...(events && { events }),
    ...(app_ids && { app_ids }),
    ...(compose_hashes && { compose_hashes }),
    ...(kms_roots && { kms_roots }),
  };
}

/**
 * What a policy must name before hardware evidence means anything: anyone can run code of their own in a genuine enclave.
 *
 * @returns keys that are missing
 */
export function missingAnchors(policy: VerificationPolicy): string[] {
  const missing: string[] = [];
  // A compose hash is what the guest's own system says it runs: it means something of a system that is named.
  if (policy.measurements === undefined) missing.push('measurements');
  if (policy.log_id === undefined) missing.push('log_id');
  if (policy.key_sources === undefined) missing.push('key_sources');
  return missing;
}

function readRoot(text: string): Uint8Array | null {
  try {
    const blocks = text.includes('-----BEGIN') ? readPem(text) : [fromBase64(text)];
    if (blocks.length !== 1) return null;
    return readCertificateFrame(blocks[0]!).der;
  } catch {
    return null;
  }
}
