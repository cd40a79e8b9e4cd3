// X.509 certificates and CRLs of Intel's SGX/TDX hierarchy (RFC 5280 profile: P-256, SHA-256), read strictly and checked
// without node:crypto, so that a browser can do it too. verification.ts calls this for what @phala/dcap-qvl leaves out: CRL
// signatures and dates, names and CA flags along the chain, one spelling of PEM and DER. Promises: nothing of the input
// lies outside what a signature covers, and of ECDSA's two equal signatures (r, s) and (r, n - s) only the lower s is read.
import { verifyP256 } from '#p256';
import { refuse } from './check.ts';
import {
  bits,
  type Element,
  expectTag,
  integer,
  readElement,
  readElements,
  readInteger,
  sequence,
  TAG,
} from './der.ts';
import { concat, equal, uintBytes, utf8 } from './encoding.ts';
import { toUint } from './rlp.ts';
import {
  type CertificateFrame,
  KEY_USAGE,
  type ListFrame,
  readCertificateFrame,
  readListFrame,
  readSigned,
} from './x509.ts';

/** Contents of algorithm identifiers, in hex: OIDs alone, as RFC 5758 §3.2 has them, and with the curve (RFC 5480 §2.1.1). */
const ECDSA_WITH_SHA256 = '06082a8648ce3d040302';
const EC_PUBLIC_KEY_P256 = '06072a8648ce3d020106082a8648ce3d030107';

/** `signature` is SEQUENCE { r, s }. */
export interface Certificate extends CertificateFrame {
  /** 65 bytes, uncompressed. */
  readonly publicKey: Uint8Array;
}

export type RevocationList = ListFrame;

/** RFC 7468 in its strict form: 64 characters a line, `\n`, nothing outside the blocks, a final `\n`. */
export function writePem(certificates: readonly Uint8Array[]): string {
  return certificates
    .map((der) => {
      const lines = der.toBase64().match(/.{1,64}/g) ?? [];
      return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
    })
    .join('');
}

/** The blocks of a PEM text in any layout, for sources to be made canonical. @throws {SyntaxError} on bad base64 */
export function readPem(text: string): Uint8Array[] {
  const blocks = text.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g);
  return [...blocks].map(([, body]) => Uint8Array.fromBase64(body!));
}

/**
 * A chain that ends in its root, which whoever trusts it knows by its bytes.
 *
 * @throws {SyntaxError} unless the text is exactly what `writePem` writes for `count` certificates, with low s up to the root
 */
export function readChain(text: string, count: number): Certificate[] {
  const blocks = readPem(text);
  if (blocks.length !== count) throw new SyntaxError(`${blocks.length} certificates, expected ${count}`);
  if (writePem(blocks) !== text) throw new SyntaxError('PEM is not in its canonical form');
  const chain = blocks.map(readCertificate);
  for (const { signature } of chain.slice(0, -1)) requireLowS(rawSignature(signature));
  return chain;
}

/** A chain as others write it: canonical PEM, low s. The root stays as it is. @throws {SyntaxError} */
export function canonicalChain(text: string): Uint8Array[] {
  const blocks = readPem(text);
  return blocks.map((der, i) => (i === blocks.length - 1 ? der : canonicalSigned(der)));
}

/** A certificate or CRL with its signature's s in the lower half: as valid as before, for every verifier. */
export function canonicalSigned(der: Uint8Array): Uint8Array {
  const { tbs, algorithm, signature } = readSigned(der);
  const raw = lowS(rawSignature(signature));
  return sequence(tbs.raw, algorithm.raw, bits(sequence(integer(raw.slice(0, 32)), integer(raw.slice(32)))));
}

/** Order of P-256 (SEC 2 §2.4.2), halved: an s above it has a twin below. */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** r ‖ s with the lower of the two values of s. @throws {SyntaxError} when s is not below the order */
export function lowS(raw: Uint8Array): Uint8Array {
  const s = toUint(raw.subarray(32));
  if (raw.length !== 64 || s >= ORDER) throw new SyntaxError('not an ECDSA signature of P-256');
  return s > ORDER / 2n ? concat(raw.subarray(0, 32), uintBytes(ORDER - s, 32)) : raw;
}

/** @throws {SyntaxError} unless `raw` is r ‖ s with the lower s: the higher one would verify as well */
export function requireLowS(raw: Uint8Array): void {
  if (lowS(raw) !== raw) throw new SyntaxError('ECDSA signature with s in the upper half');
}

/** @throws {SyntaxError} unless `der` is strictly one v3 certificate with a P-256 key and ecdsa-with-SHA256 */
export function readCertificate(der: Uint8Array): Certificate {
  const frame = readCertificateFrame(der);
  requireEcdsa(frame.algorithm);
  const { algorithm, bits: point } = frame.key;
  if (algorithm.toHex() !== EC_PUBLIC_KEY_P256) throw new SyntaxError('public key is not P-256');
  if (point.length !== 65 || point[0] !== 4) throw new SyntaxError('public key is not an uncompressed point');
  return { ...frame, publicKey: point };
}

/** @throws {SyntaxError} unless `der` is strictly one v2 CRL, signed by ecdsa-with-SHA256 with low s, with a next update */
export function readRevocationList(der: Uint8Array): RevocationList {
  const frame = readListFrame(der);
  requireEcdsa(frame.algorithm);
  requireLowS(rawSignature(frame.signature));
  return frame;
}

function requireEcdsa(algorithm: Uint8Array): void {
  if (algorithm.toHex() !== ECDSA_WITH_SHA256) throw new SyntaxError('signature algorithm is not ecdsa-with-SHA256');
}

/** ECDSA P-256 with SHA-256 over `signed.tbs`. False on any malformed signature or key. */
export function isSignedBy(signed: { tbs: Uint8Array; signature: Uint8Array }, publicKey: Uint8Array): boolean {
  try {
    return verifyP256(rawSignature(signed.signature), signed.tbs, publicKey);
  } catch {
    return false;
  }
}

/** May this certificate issue the next one, and which lists? RFC 5280 §6.1.4 (k), (n). */
export function mayIssue(issuer: Certificate): boolean {
  return issuer.ca && (issuer.keyUsage & KEY_USAGE.keyCertSign) !== 0 && (issuer.keyUsage & KEY_USAGE.crlSign) !== 0;
}

/** Issuer's name and signature. */
export function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  return equal(certificate.issuer, issuer.subject) && isSignedBy(certificate, issuer.publicKey);
}

/** r ‖ s of a SEQUENCE { r, s }, both in shortest form: libraries differ in what else they take. */
function rawSignature(der: Uint8Array): Uint8Array {
  const numbers = readElements(readElement(der, TAG.sequence).content);
  if (numbers.length !== 2) throw new SyntaxError('ECDSA signature is not two integers');
  const [r, s] = numbers.map(readInteger);
  if (r!.length > 32 || s!.length > 32) throw new SyntaxError('ECDSA signature is too long');
  return concat(new Uint8Array(32 - r!.length), r!, new Uint8Array(32 - s!.length), s!);
}

/** Intel's extension 1.2.840.113741.1.13.1 of a PCK certificate ("SGX PCK Certificate and CRL Profile" §1.3.5). */
const SGX = '2a864886f84d010d01';

/**
 * The identity of the platform that a PCK certificate stands for.
 *
 * @returns 16, 2 and 6 bytes
 * @throws {SyntaxError} when the extension is missing or another
 */
export function readPlatform(pck: Certificate): { ppid: Uint8Array; pce_id: Uint8Array; fmspc: Uint8Array } {
  const extension = pck.extensions.get(SGX);
  if (extension === undefined) throw new SyntaxError('PCK certificate has no SGX extension');
  const values = new Map<string, Element>();
  for (const entry of readElements(readElement(extension, TAG.sequence).content)) {
    const [oid, value] = readElements(expectTag(entry, TAG.sequence).content);
    values.set(expectTag(oid, TAG.oid).content.toHex(), expectTag(value));
  }
  const octets = (arc: string, length: number) => {
    const { content } = expectTag(values.get(SGX + arc), TAG.octetString);
    if (content.length !== length) throw new SyntaxError(`SGX extension value of ${content.length} bytes`);
    return content;
  };
  return { ppid: octets('01', 16), pce_id: octets('03', 2), fmspc: octets('04', 6) };
}

/** PEM of a PCK chain as quotes carry it: Intel's library ends the text with a NUL. */
export function writePckChain(certificates: readonly Uint8Array[]): Uint8Array {
  return utf8(`${writePem(certificates)}\0`);
}

/**
 * Leaf, CA and root as a quote carries them, in the one PEM text that Intel's library writes, closing NUL included.
 *
 * @throws {Refused} chain_malformed
 */
export function readPckChain(pck_chain: Uint8Array): Certificate[] {
  return refuse('chain_malformed', 'PCK chain of the quote', () => {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(pck_chain);
    if (!text.endsWith('\0')) throw new SyntaxError('the PEM text does not end with a NUL');
    return readChain(text.slice(0, -1), 3);
  });
}
