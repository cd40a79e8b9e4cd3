// The bytes of Intel's quotes with an ECDSA P-256 attestation key: SGX version 3 ("Intel SGX ECDSA QuoteLibReference",
// appendix A.4), TDX versions 4 and 5 ("Intel TDX DCAP Quoting Library API", appendix A.3 and A.4). intel.ts reads with it,
// the simulator writes with it, and providers bring a raw quote into the one form that is published: nothing unsigned is
// left in it that could be changed at will. Integers are little-endian. @phala/dcap-qvl reads the same bytes independently.
import { canonicalChain, lowS, requireLowS, writePckChain } from './certificate.ts';
import { concat, equal } from './encoding.ts';

export const TEE_TYPE = { SGX: 0, TDX: 0x81 } as const;
const ECDSA_P256 = 2;
const CERTIFICATION_QE_REPORT = 6;
const CERTIFICATION_PCK_CHAIN = 5;
/** Vendor of Intel's quoting enclaves, header bytes 12-27. */
export const INTEL_QE_VENDOR_ID = '939a7233f79c4ca9940a0db3957f0607';

export const HEADER_BYTES = 48;
/** SGX enclave report, of the enclave in version 3 and of the quoting enclave in all. */
export const ENCLAVE_REPORT_BYTES = 384;
export const TD_REPORT_10_BYTES = 584;
export const TD_REPORT_15_BYTES = 648;
/** What dcap-qvl hashes; a longer one would have an unchecked tail. */
export const AUTH_DATA_BYTES = 32;
/** Three certificates take about 3.7 KB. */
const FIELD_BYTES_MAX = 16_384;

/** Which reports a version carries. Version 5 names the body's type in front of it (A.4: 2 is TDX 1.0, 3 is TDX 1.5). */
const FORMATS = [
  { version: 3, tee: 'SGX', report_bytes: ENCLAVE_REPORT_BYTES, body: null },
  { version: 4, tee: 'TDX', report_bytes: TD_REPORT_10_BYTES, body: null },
  { version: 5, tee: 'TDX', report_bytes: TD_REPORT_10_BYTES, body: 2 },
  { version: 5, tee: 'TDX', report_bytes: TD_REPORT_15_BYTES, body: 3 },
] as const;
type Format = (typeof FORMATS)[number];
export type QuoteVersion = Format['version'];

export interface IntelQuote {
  /** 48 bytes; they name version and TEE. */
  readonly header: Uint8Array;
  /** 384, 584 or 648 bytes. */
  readonly report: Uint8Array;
  /** r ‖ s by the attestation key over all before it. */
  readonly signature: Uint8Array;
  /** x ‖ y. */
  readonly attestation_key: Uint8Array;
  readonly qe_report: Uint8Array;
  readonly qe_signature: Uint8Array;
  readonly auth_data: Uint8Array;
  /** PEM text. */
  readonly pck_chain: Uint8Array;
}

/** A header with QE and PCE SVN zero, as Intel's library leaves them from version 4 on. @param user_data  20 bytes */
export function writeHeader(user_data: Uint8Array, version: QuoteVersion = 4): Uint8Array {
  const header = concat(
    little(version, 2),
    little(ECDSA_P256, 2),
    little(TEE_TYPE[version === 3 ? 'SGX' : 'TDX'], 4),
    little(0, 4),
    Uint8Array.fromHex(INTEL_QE_VENDOR_ID),
    user_data,
  );
  if (header.length !== HEADER_BYTES) throw new RangeError('user data takes 20 bytes');
  return header;
}

/** What the attestation key signs: header, in version 5 type and size of the body, and the report. @throws {SyntaxError} */
export function signedPart({ header, report }: Pick<IntelQuote, 'header' | 'report'>): Uint8Array {
  const version = number(header.subarray(0, 2));
  const format = FORMATS.find((each) => each.version === version && each.report_bytes === report.length);
  if (format === undefined) throw new SyntaxError(`quote version ${version} with a report of ${report.length} bytes`);
  return concat(header, descriptorOf(format), report);
}

export function writeQuote(quote: IntelQuote): Uint8Array {
  const qe = concat(
    quote.qe_report,
    quote.qe_signature,
    little(quote.auth_data.length, 2),
    quote.auth_data,
    little(CERTIFICATION_PCK_CHAIN, 2),
    little(quote.pck_chain.length, 4),
    quote.pck_chain,
  );
  // Version 3 has the quoting enclave's report where later ones have certification data with it inside.
  const wrapped = versionOf(quote) === 3 ? qe : concat(little(CERTIFICATION_QE_REPORT, 2), little(qe.length, 4), qe);
  const signatures = concat(quote.signature, quote.attestation_key, wrapped);
  return concat(signedPart(quote), little(signatures.length, 4), signatures);
}

/**
 * Reads a quote that has nothing but what belongs to it: exact lengths, 32 bytes of authentication data, no trailing
 * bytes, signatures with low s.
 *
 * @throws {SyntaxError} with what is wrong and what would be right
 */
export function readQuote(bytes: Uint8Array): IntelQuote {
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

/** 3 is SGX, 4 and 5 are TDX. */
export function versionOf({ header }: Pick<IntelQuote, 'header'>): number {
  return number(header.subarray(0, 2));
}

function descriptorOf({ body, report_bytes }: Format): Uint8Array {
  return body === null ? new Uint8Array(0) : concat(little(body, 2), little(report_bytes, 4));
}

function scan(bytes: Uint8Array): IntelQuote {
  let at = 0;
  const take = (length: number) => {
    if (at + length > bytes.length) throw new SyntaxError(`quote ends at byte ${bytes.length}, inside a field`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  const expect = (length: number, expected: number, what: string) => {
    const found = number(take(length));
    if (found !== expected) throw new SyntaxError(`${what} ${found}, expected ${expected}`);
  };
  const blob = (lengthBytes: number) => {
    const length = number(take(lengthBytes));
    if (length > FIELD_BYTES_MAX) throw new SyntaxError(`field of ${length} bytes, at most ${FIELD_BYTES_MAX}`);
    return take(length);
  };

  const header = take(HEADER_BYTES);
  const version = versionOf({ header });
  const body = version === 5 ? number(take(2)) : null;
  const format = FORMATS.find((each) => each.version === version && each.body === body);
  if (format === undefined) throw new SyntaxError(`quote version ${version}, body type ${body}: expected 3, 4 or 5`);
  const [key, tee] = [number(header.subarray(2, 4)), number(header.subarray(4, 8))];
  if (key !== ECDSA_P256) throw new SyntaxError(`attestation key type ${key}, expected ${ECDSA_P256}`);
  if (tee !== TEE_TYPE[format.tee]) throw new SyntaxError(`TEE type ${tee}, expected ${TEE_TYPE[format.tee]}`);
  if (body !== null) expect(4, format.report_bytes, 'size of the body');
  const report = take(format.report_bytes);
  take(4);
  const signature = take(64);
  const attestation_key = take(64);
  if (version !== 3) {
    expect(2, CERTIFICATION_QE_REPORT, 'certification data type');
    take(4);
  }
  const qe_report = take(ENCLAVE_REPORT_BYTES);
  const qe_signature = take(64);
  const auth_data = blob(2);
  if (auth_data.length !== AUTH_DATA_BYTES) throw new SyntaxError(`authentication data of ${auth_data.length} bytes`);
  expect(2, CERTIFICATION_PCK_CHAIN, 'type of the certificates');
  return { header, report, signature, attestation_key, qe_report, qe_signature, auth_data, pck_chain: blob(4) };
}

function number(bytes: Uint8Array): number {
  return bytes.reduceRight((sum, byte) => sum * 256 + byte, 0);
}

export function little(value: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) & 0xff);
}
