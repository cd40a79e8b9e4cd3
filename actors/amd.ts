// Judges an SEV-SNP report (56860, ATTESTATION_REPORT): that its chip signed it, that the certificate stands for this chip and
// these firmware versions, and that nobody may debug the guest, move it, or speak for a lower privilege level. verification.ts
// calls this; amdchain.ts has checked the certificates before. AMD publishes no TCB statuses, so the policy names the
// least versions itself.
import { p384 } from '@noble/curves/nist.js';
import { sha384 } from '@noble/hashes/sha2.js';
import {
  type AmdChain,
  AmdCollateral,
  checkAmdChain,
  type Product,
  readEndorsedTcb,
  readHardwareId,
  type TcbVersion,
} from './amdchain.ts';
import { Refused, refuse, requireCollateral } from './check.ts';
import { equal, hex } from './encoding.ts';
import { type Evidence, type EvidencePolicy, type Genuine, UNRATED } from './evidence.ts';
import { productOf, readSnpReport, type SnpField, signedParts, snpField, snpNumber } from './snp.ts';

const MISSING = 'a report needs the certificates of its chip';

/** Guest policy (56860, table 10): bit 17 is always one. */
const POLICY = { reserved: 1n << 17n, migration: 1n << 18n, debug: 1n << 19n } as const;
/** Byte 0x48 of the report: bit 1 MASK_CHIP_KEY, bits 2 to 4 which key signed. */
const MASK_CHIP_KEY = 0b10n;
const SIGNING_KEYS = ['VCEK', 'VLEK'] as const;

/** @throws {Refused} */
export function judgeSnp(
  evidence: Evidence,
  policy: EvidencePolicy,
  isTrusted: (root: Uint8Array) => boolean,
): Genuine {
  const report = refuse('quote_malformed', 'report', () => readSnpReport(evidence.quote));
  const collateral = requireCollateral(AmdCollateral, evidence.collateral, MISSING);
  const crl = policy.amd_crl ?? 'required';
  const chain = checkAmdChain(collateral, { isTrusted, now_ms: policy.now_ms, crl });
  requirePlatform(report, chain);
  requireSignature(report, chain);
  const tcb = requireTcb(report, chain);
  requireAttributes(report);
  requireLeast(tcb, chain.product, policy);
  const of = (field: SnpField) => hex(snpField(report, field));
  const measurements = {
    measurement: of('measurement'),
    host_data: of('host_data'),
    family_id: of('family_id'),
    image_id: of('image_id'),
    guest_svn: Number(snpNumber(report, 'guest_svn')),
  };
  const claims = { ...measurements, id_key_digest: of('id_key_digest'), author_key_digest: of('author_key_digest') };
  return {
    status: UNRATED,
    rated: false,
    advisory_ids: [],
    report_data: snpField(report, 'report_data'),
    measurements,
    claims,
    registers: null,
    root: chain.root,
    platform_id: hex(snpField(report, 'chip_id')),
    issued_ms: chain.issued_ms,
    not_after_ms: chain.not_after_ms,
  };
}

function requirePlatform(report: Uint8Array, chain: AmdChain): void {
  const flags = snpNumber(report, 'flags');
  const signer = SIGNING_KEYS[Number((flags >> 2n) & 0b111n)] ?? 'no key';
  if (signer !== chain.endorsement) {
    throw new Refused(
      'platform_mismatch',
      `the report is signed by ${signer}, the certificate is a ${chain.endorsement}`,
    );
  }
  const chip_id = snpField(report, 'chip_id');
  // Masked, two machines look alike, and nothing ties the certificate to one of them.
  if ((flags & MASK_CHIP_KEY) !== 0n || chip_id.every((byte) => byte === 0)) {
    throw new Refused('chip_masked', 'the chip id is masked');
  }
  const product = productOf(report);
  if (product !== null && product !== chain.product) {
    throw new Refused('platform_mismatch', `a report of ${product} under certificates of ${chain.product}`);
  }
  if (chain.endorsement === 'VLEK') return;
  const id = refuse('chain_malformed', 'VCEK', () => readHardwareId(chain.leaf));
  const length = chain.product === 'Turin' ? 8 : 64;
  const rest = chip_id.subarray(length);
  if (id === null || !equal(id, chip_id.subarray(0, length)) || rest.some((byte) => byte !== 0)) {
    throw new Refused('platform_mismatch', 'the VCEK is of another chip than the report');
  }
}

function requireSignature(report: Uint8Array, chain: AmdChain): void {
  if (isSigned(report, chain.publicKey)) return;
  throw new Refused('quote_signature_invalid', `the report was not signed by the key of its ${chain.endorsement}`);
}

/** ECDSA P-384 with SHA-384. @param publicKey  97 bytes, uncompressed */
function isSigned(report: Uint8Array, publicKey: Uint8Array): boolean {
  try {
    const { body, signature } = signedParts(report);
    return p384.verify(signature, sha384(body), publicKey, { prehash: false, lowS: true });
  } catch {
    return false;
  }
}

/** A TCB_VERSION of 8 bytes (56860, table 3): Turin has other places than those before it. */
function versionsIn(tcb: Uint8Array, product: Product): Required<TcbVersion> {
  const at = (index: number) => tcb[index]!;
  if (product === 'Turin') return { fmc: at(0), bootLoader: at(1), tee: at(2), snp: at(3), microcode: at(7) };
  return { fmc: 0, bootLoader: at(0), tee: at(1), snp: at(6), microcode: at(7) };
}

/** The certificate is for one set of versions, and the report must name the same (57230 §1.6). */
function requireTcb(report: Uint8Array, chain: AmdChain): Required<TcbVersion> {
  const reported = versionsIn(snpField(report, 'reported_tcb'), chain.product);
  const endorsed = refuse('chain_malformed', chain.endorsement, () => readEndorsedTcb(chain.leaf, chain.product));
  const names = Object.keys(reported) as (keyof TcbVersion)[];
  const other = names.find((name) => reported[name] !== endorsed[name]);
  if (other !== undefined) {
    const values = `${other} ${reported[other]}, the ${chain.endorsement} ${endorsed[other]}`;
    throw new Refused('tcb_mismatch', `the report names ${values}`);
  }
  return reported;
}

function requireAttributes(report: Uint8Array): void {
  const policy = snpNumber(report, 'policy');
  if ((policy & POLICY.debug) !== 0n) throw new Refused('debug_enabled', 'the guest policy allows debugging');
  const agent = snpField(report, 'report_id_ma').some((byte) => byte !== 0xff);
  if ((policy & POLICY.migration) !== 0n || agent) {
    throw new Refused('migration_enabled', 'a migration agent can take the guest elsewhere');
  }
  const vmpl = snpNumber(report, 'vmpl');
  if (vmpl !== 0n) throw new Refused('vmpl_refused', `asked for at privilege level ${vmpl}, expected 0`);
  if ((policy & POLICY.reserved) === 0n) throw new Refused('attributes_refused', 'bit 17 of the guest policy is zero');
}

function requireLeast(tcb: Required<TcbVersion>, product: Product, policy: EvidencePolicy): void {
  const least = policy.snp_tcb_min?.[product];
  if (least === undefined) {
    if (policy.tcb_statuses.includes(UNRATED)) return;
    const remedy = `name snp_tcb_min.${product}, or accept the status ${UNRATED}`;
    throw new Refused('tcb_status_refused', `AMD rates no versions: ${remedy}`);
  }
  const names = { bootLoader: 'boot_loader', tee: 'tee', snp: 'snp', microcode: 'microcode', fmc: 'fmc' } as const;
  for (const [name, key] of Object.entries(names) as [keyof TcbVersion, keyof typeof least][]) {
    if (tcb[name]! < (least[key] ?? 0)) {
      throw new Refused('tcb_status_refused', `${key} ${tcb[name]}, expected at least ${least[key]}`);
    }
  }
}
