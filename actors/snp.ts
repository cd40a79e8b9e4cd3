// The report of an AMD SEV-SNP guest, 1,184 bytes ("SEV Secure Nested Paging Firmware ABI Specification", 56860, table
// ATTESTATION_REPORT; versions 2 to 5). amd.ts judges what it reads; the tsm provider brings a raw report into the one form
// that is published. Promises: nothing outside the signed part can be changed at will. Integers are little-endian.
import type { Product } from './amdchain.ts';
import { concat, equal, uintBytes } from './encoding.ts';
import { fieldIn, fillIn } from './layout.ts';
import { toUint } from './rlp.ts';

export const SNP_REPORT_BYTES = 1_184;
/** The signature covers what is before it. */
const SIGNED_BYTES = 672;
/** r and s have 72 bytes of room each; P-384 fills 48, the rest is zero. */
const COMPONENT_BYTES = 72;
const ECDSA_P384_SHA384 = 1;

/** Offset and length. */
const FIELDS = {
  version: [0x000, 4],
  guest_svn: [0x004, 4],
  policy: [0x008, 8],
  family_id: [0x010, 16],
  image_id: [0x020, 16],
  vmpl: [0x030, 4],
  signature_algorithm: [0x034, 4],
  current_tcb: [0x038, 8],
  platform_info: [0x040, 8],
  flags: [0x048, 4],
  report_data: [0x050, 64],
  measurement: [0x090, 48],
  host_data: [0x0c0, 32],
  id_key_digest: [0x0e0, 48],
  author_key_digest: [0x110, 48],
  report_id: [0x140, 32],
  /** All ones where there is no migration agent. */
  report_id_ma: [0x160, 32],
  reported_tcb: [0x180, 8],
  /** Family and model of the processor, from version 3 on. */
  cpuid_family: [0x188, 1],
  cpuid_model: [0x189, 1],
  chip_id: [0x1a0, 64],
  committed_tcb: [0x1e0, 8],
  launch_tcb: [0x1f0, 8],
} as const;

export type SnpField = keyof typeof FIELDS;

export function snpField(report: Uint8Array, field: SnpField): Uint8Array {
  return fieldIn(FIELDS, report, field);
}

/** Of a field of up to 8 bytes. */
export function snpNumber(report: Uint8Array, field: SnpField): bigint {
  return toUint(snpField(report, field).reverse());
}

/**
 * The signed part of a report, for tests and simulators.
 *
 * @throws {RangeError} when a value has another length than its field; fields left out are zero
 */
export function writeSnpBody(fields: Partial<Record<SnpField, Uint8Array>>): Uint8Array {
  return fillIn(FIELDS, new Uint8Array(SIGNED_BYTES), fields);
}

/** @param signature  r ‖ s, 96 bytes, big-endian */
export function writeSnpReport(body: Uint8Array, signature: Uint8Array): Uint8Array {
  const report = new Uint8Array(SNP_REPORT_BYTES);
  report.set(body);
  report.set(signature.slice(0, 48).reverse(), SIGNED_BYTES);
  report.set(signature.slice(48).reverse(), SIGNED_BYTES + COMPONENT_BYTES);
  return report;
}

/** @throws {SyntaxError} unless `bytes` are a report of version 2 to 5 in its one form: low s, nothing after the signature */
export function readSnpReport(bytes: Uint8Array): Uint8Array {
  if (!equal(canonicalSnpReport(bytes), bytes)) {
    throw new SyntaxError('the signature is not in its canonical form, or bytes follow it');
  }
  return bytes;
}

/**
 * A report as hardware gives it, in its one publishable form: s in the lower half, zeros after it. It is as valid as before.
 *
 * @throws {SyntaxError}
 */
export function canonicalSnpReport(raw: Uint8Array): Uint8Array {
  if (raw.length !== SNP_REPORT_BYTES) throw new SyntaxError(`${raw.length} bytes, expected ${SNP_REPORT_BYTES}`);
  const version = snpNumber(raw, 'version');
  if (version < 2n || version > 5n) throw new SyntaxError(`report version ${version}, expected 2 to 5`);
  const algorithm = snpNumber(raw, 'signature_algorithm');
  if (algorithm !== BigInt(ECDSA_P384_SHA384)) throw new SyntaxError(`signature algorithm ${algorithm}, expected 1`);
  const [r, s] = [component(raw, 0), component(raw, 1)];
  const low = s > ORDER / 2n ? ORDER - s : s;
  return writeSnpReport(raw.slice(0, SIGNED_BYTES), concat(uintBytes(r, 48), uintBytes(low, 48)));
}

/** What `writeSnpReport` put together. @throws {SyntaxError} when r or s is not of P-384 */
export function signedParts(report: Uint8Array): { body: Uint8Array; signature: Uint8Array } {
  const signature = concat(uintBytes(component(report, 0), 48), uintBytes(component(report, 1), 48));
  return { body: report.subarray(0, SIGNED_BYTES), signature };
}

/** CPUID family and model, which reports have from version 3 on. @returns null where the report doesn't say */
export function productOf(report: Uint8Array): Product | 'an unknown processor' | null {
  if (snpNumber(report, 'version') < 3n) return null;
  const [family, model] = [snpNumber(report, 'cpuid_family'), snpNumber(report, 'cpuid_model')];
  if (family === 0x1an) return 'Turin';
  if (family !== 0x19n) return 'an unknown processor';
  return model < 0x10n ? 'Milan' : 'Genoa';
}

/** Of P-384 (SEC 2 §2.5.1). */
const ORDER = 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n;

function component(report: Uint8Array, index: 0 | 1): bigint {
  const offset = SIGNED_BYTES + index * COMPONENT_BYTES;
  const value = toUint(report.slice(offset, offset + COMPONENT_BYTES).reverse());
  if (value === 0n || value >= ORDER) throw new SyntaxError('not an ECDSA signature of P-384');
  return value;
}
