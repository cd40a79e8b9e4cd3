// The bytes of a TDX quote, version 4, with an ECDSA P-256 attestation key: layout after "Intel TDX DCAP Quoting Library
// API" (appendix A.3, "Version 4 Quote Format"). evidence.ts reads with it, the simulator writes with it, and providers
// bring a raw quote into the one form that is published: nothing unsigned is left in it that could be changed at will.
// Integers are little-endian. @phala/dcap-qvl reads the same bytes independently.
import { canonicalChain, lowS, requireLowS, writePckChain } from './certificate.ts';
import { concat, equal } from './encoding.ts';

export const TEE_TYPE_TDX = 0x81;
const VERSION = 4;
const ECDSA_P256 = 2;
const CERTIFICATION_QE_REPORT = 6;
const CERTIFICATION_PCK_CHAIN = 5;
/** Vendor of Intel's quoting enclaves, header bytes 12-27. */
export const INTEL_QE_VENDOR_ID = '939a7233f79c4ca9940a0db3957f0607';

export const HEADER_BYTES = 48;
export const REPORT_BYTES = 584;
export const QE_REPORT_BYTES = 384;
/** What dcap-qvl hashes; a longer one would have an unchecked tail. */
export const AUTH_DATA_BYTES = 32;
/** Three certificates take about 3.7 KB. */
const QUOTE_BYTES_MAX = 16_384;

/** Offset and length inside the TD report (A.3.2). */
const REPORT = {
  tee_tcb_svn: [0, 16],
  mr_seam: [16, 48],
  mr_signer_seam: [64, 48],
  seam_attributes: [112, 8],
  td_attributes: [120, 8],
  xfam: [128, 8],
  mrtd: [136, 48],
  mr_config_id: [184, 48],
  mr_owner: [232, 48],
  mr_owner_config: [280, 48],
  rtmr0: [328, 48],
  rtmr1: [376, 48],
  rtmr2: [424, 48],
  rtmr3: [472, 48],
  report_data: [520, 64],
} as const;

export type ReportField = keyof typeof REPORT;

export interface TdxQuote {
  /** 48 and 584 bytes: what the attestation key signs. */
  readonly header: Uint8Array;
  readonly report: Uint8Array;
  /** r ‖ s. */
  readonly signature: Uint8Array;
  /** x ‖ y. */
  readonly attestation_key: Uint8Array;
  readonly qe_report: Uint8Array;
  readonly qe_signature: Uint8Array;
  readonly auth_data: Uint8Array;
  /** PEM text. */
  readonly pck_chain: Uint8Array;
}

export function reportField(report: Uint8Array, field: ReportField): Uint8Array {
  const [offset, length] = REPORT[field];
  return report.slice(offset, offset + length);
}

/** @throws {RangeError} when a value has another length than its field; fields left out are zero */
export function writeReport(fields: Partial<Record<ReportField, Uint8Array>>): Uint8Array {
  const report = new Uint8Array(REPORT_BYTES);
  for (const [field, value] of Object.entries(fields)) {
    const [offset, length] = REPORT[field as ReportField];
    if (value.length !== length) throw new RangeError(`${field} takes ${length} bytes, not ${value.length}`);
    report.set(value, offset);
  }
  return report;
}

/** A header with QE and PCE SVN zero, as Intel's library leaves them in version 4. */
export function writeHeader(user_data: Uint8Array): Uint8Array {
  const header = concat(
    little(VERSION, 2),
    little(ECDSA_P256, 2),
    little(TEE_TYPE_TDX, 4),
    little(0, 4),
    Uint8Array.fromHex(INTEL_QE_VENDOR_ID),
    user_data,
  );
  if (header.length !== HEADER_BYTES) throw new RangeError('user data takes 20 bytes');
  return header;
}

export function writeQuote(quote: TdxQuote): Uint8Array {
  const qe = concat(
    quote.qe_report,
    quote.qe_signature,
    little(quote.auth_data.length, 2),
    quote.auth_data,
    little(CERTIFICATION_PCK_CHAIN, 2),
    little(quote.pck_chain.length, 4),
    quote.pck_chain,
  );
  const signatures = concat(
    quote.signature,
    quote.attestation_key,
    little(CERTIFICATION_QE_REPORT, 2),
    little(qe.length, 4),
    qe,
  );
  return concat(quote.header, quote.report, little(signatures.length, 4), signatures);
}

/**
 * Reads a quote that has nothing but what belongs to it: exact lengths, 32 bytes of authentication data, no trailing
 * bytes, signatures with low s.
 *
 * @throws {SyntaxError} with what is wrong and what would be right
 */
export function readQuote(bytes: Uint8Array): TdxQuote {
  const quote = scan(bytes);
  if (!equal(writeQuote(quote), bytes)) throw new SyntaxError('a length in the quote is not exact, or bytes follow it');
  requireLowS(quote.signature);
  requireLowS(quote.qe_signature);
  return quote;
}

/**
 * A quote as hardware gives it, in its one publishable form: without the padding after it and the loose ends of its PEM
 * text, its ECDSA signatures with low s. It is as valid as before, for every verifier.
 *
 * @throws {SyntaxError}
 */
export function canonicalQuote(raw: Uint8Array): Uint8Array {
  const quote = scan(raw);
  return writeQuote({
    ...quote,
    signature: lowS(quote.signature),
    qe_signature: lowS(quote.qe_signature),
    pck_chain: writePckChain(canonicalChain(new TextDecoder().decode(quote.pck_chain))),
  });
}

function scan(bytes: Uint8Array): TdxQuote {
  let at = 0;
  const take = (length: number) => {
    if (at + length > bytes.length) throw new SyntaxError(`quote ends at byte ${bytes.length}, inside a field`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  const number = (length: number) => take(length).reduceRight((sum, byte) => sum * 256 + byte, 0);
  const expectNumber = (length: number, expected: number, what: string) => {
    const found = number(length);
    if (found !== expected) throw new SyntaxError(`${what} ${found}, expected ${expected}`);
  };
  const blob = (lengthBytes: number) => {
    const length = number(lengthBytes);
    if (length > QUOTE_BYTES_MAX) throw new SyntaxError(`field of ${length} bytes, at most ${QUOTE_BYTES_MAX}`);
    return take(length);
  };

  const header = take(HEADER_BYTES);
  at = 0;
  expectNumber(2, VERSION, 'quote version');
  expectNumber(2, ECDSA_P256, 'attestation key type');
  expectNumber(4, TEE_TYPE_TDX, 'TEE type');
  at = HEADER_BYTES;
  const report = take(REPORT_BYTES);
  number(4);
  const signature = take(64);
  const attestation_key = take(64);
  expectNumber(2, CERTIFICATION_QE_REPORT, 'certification data type');
  number(4);
  const qe_report = take(QE_REPORT_BYTES);
  const qe_signature = take(64);
  const auth_data = blob(2);
  if (auth_data.length !== AUTH_DATA_BYTES) throw new SyntaxError(`authentication data of ${auth_data.length} bytes`);
  expectNumber(2, CERTIFICATION_PCK_CHAIN, 'inner certification data type');
  return { header, report, signature, attestation_key, qe_report, qe_signature, auth_data, pck_chain: blob(4) };
}

export function little(value: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) & 0xff);
}
