// The frame of X.509 certificates and revocation lists (RFC 5280), whatever algorithm signs them: certificate.ts reads
// Intel's with it (ECDSA P-256), amdchain.ts AMD's (RSA-PSS). Promises: the DER is strict, nothing lies outside what the
// signature covers, the two algorithm identifiers are the same bytes, and a critical extension that we don't judge is refused.
import { type Element, expectTag, readBits, readElement, readElements, readInteger, readTime, TAG } from './der.ts';
import { equal } from './encoding.ts';

/** Object identifiers as the hex of their DER content. */
const OID = { commonName: '550403', basicConstraints: '551d13', keyUsage: '551d0f' } as const;

/** Bits of the first byte of KeyUsage (RFC 5280 §4.2.1.3). */
export const KEY_USAGE = { keyCertSign: 0x04, crlSign: 0x02 } as const;

/** The outer SEQUENCE { tbs, algorithm, BIT STRING } that certificates and lists share. */
export interface Signed {
  readonly tbs: Element;
  readonly algorithm: Element;
  /** What the BIT STRING holds. */
  readonly signature: Uint8Array;
}

export interface CertificateFrame {
  readonly der: Uint8Array;
  readonly tbs: Uint8Array;
  /** Hex without 0x. */
  readonly serial: string;
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly commonName: string;
  readonly not_before_ms: number;
  readonly not_after_ms: number;
  readonly ca: boolean;
  readonly keyUsage: number;
  /** Extension values by the hex of their OID. */
  readonly extensions: ReadonlyMap<string, Uint8Array>;
  /** Content of the algorithm identifier. */
  readonly algorithm: Uint8Array;
  /** Content of the algorithm identifier of the subject's key, and the key. */
  readonly key: { readonly algorithm: Uint8Array; readonly bits: Uint8Array };
  readonly signature: Uint8Array;
}

export interface ListFrame {
  readonly tbs: Uint8Array;
  readonly issuer: Uint8Array;
  readonly this_update_ms: number;
  readonly next_update_ms: number;
  /** Serials, hex without 0x. */
  readonly revoked: ReadonlySet<string>;
  /** Content of the algorithm identifier. */
  readonly algorithm: Uint8Array;
  readonly signature: Uint8Array;
}

/** @throws {SyntaxError} */
export function readSigned(der: Uint8Array): Signed {
  const [tbs, algorithm, signature, ...rest] = readElements(readElement(der, TAG.sequence).content);
  if (rest.length > 0) throw new SyntaxError('signed structure has more than three fields');
  return {
    tbs: expectTag(tbs, TAG.sequence),
    algorithm: expectTag(algorithm, TAG.sequence),
    signature: readBits(signature),
  };
}

/** @throws {SyntaxError} unless `der` is strictly one v3 certificate */
export function readCertificateFrame(der: Uint8Array): CertificateFrame {
  const { tbs, algorithm, signature } = readSigned(der);
  const fields = readElements(tbs.content);
  const version = fields[0];
  if (version?.tag !== 0xa0 || version.content.toHex() !== '020102') throw new SyntaxError('certificate is not v3');
  requireSame(fields[2], algorithm);
  const validity = readElements(expectTag(fields[4], TAG.sequence).content);
  const subject = expectTag(fields[5], TAG.sequence);
  if (fields.length !== 8) throw new SyntaxError(`certificate has ${fields.length} fields, expected 8`);
  const [keyAlgorithm, key] = readElements(expectTag(fields[6], TAG.sequence).content);
  const extensions = readExtensions(readElement(expectTag(fields[7], 0xa3).content, TAG.sequence));
  return {
    der,
    tbs: tbs.raw,
    serial: readInteger(fields[1]).toHex(),
    issuer: expectTag(fields[3], TAG.sequence).raw,
    subject: subject.raw,
    commonName: readCommonName(subject),
    not_before_ms: readTime(validity[0]),
    not_after_ms: readTime(validity[1]),
    ca: readBasicConstraints(extensions.get(OID.basicConstraints)),
    keyUsage: readKeyUsage(extensions.get(OID.keyUsage)),
    extensions,
    algorithm: algorithm.content,
    key: { algorithm: expectTag(keyAlgorithm, TAG.sequence).content, bits: readBits(key) },
    signature,
  };
}

/** @throws {SyntaxError} unless `der` is strictly one v2 CRL with a next update */
export function readListFrame(der: Uint8Array): ListFrame {
  const { tbs, algorithm, signature } = readSigned(der);
  const [version, inner, issuer, thisUpdate, nextUpdate, ...rest] = readElements(tbs.content);
  if (version?.raw.toHex() !== '020101') throw new SyntaxError('CRL is not v2');
  requireSame(inner, algorithm);
  const list = rest[0]?.tag === TAG.sequence ? rest.shift() : undefined;
  expectTag(rest.shift(), 0xa0);
  if (rest.length > 0) throw new SyntaxError('CRL has unknown fields');
  const entries = list === undefined ? [] : readElements(list.content);
  return {
    tbs: tbs.raw,
    issuer: expectTag(issuer, TAG.sequence).raw,
    this_update_ms: readTime(thisUpdate),
    next_update_ms: readTime(nextUpdate),
    revoked: new Set(
      entries.map((entry) => readInteger(readElements(expectTag(entry, TAG.sequence).content)[0]).toHex()),
    ),
    algorithm: algorithm.content,
    signature,
  };
}

/** RFC 5280 §4.1.1.2: the unsigned algorithm identifier must repeat the signed one. */
function requireSame(inner: Element | undefined, outer: Element): void {
  if (!equal(expectTag(inner, TAG.sequence).raw, outer.raw)) {
    throw new SyntaxError('signature algorithm is not the same in both places');
  }
}

function readCommonName(name: Element): string {
  for (const set of readElements(name.content)) {
    const [oid, value] = readElements(readElement(expectTag(set, TAG.set).content, TAG.sequence).content);
    if (expectTag(oid, TAG.oid).content.toHex() === OID.commonName) {
      return new TextDecoder().decode(expectTag(value).content);
    }
  }
  throw new SyntaxError('subject has no common name');
}

/** Critical extensions other than the two that we judge make a certificate unusable (RFC 5280 §4.2). */
function readExtensions(list: Element): Map<string, Uint8Array> {
  const extensions = new Map<string, Uint8Array>();
  for (const entry of readElements(list.content)) {
    const fields = readElements(expectTag(entry, TAG.sequence).content);
    const oid = expectTag(fields[0], TAG.oid).content.toHex();
    const critical = fields[1]?.tag === TAG.boolean;
    if (extensions.has(oid)) throw new SyntaxError(`extension ${oid} is there twice`);
    if (critical && oid !== OID.basicConstraints && oid !== OID.keyUsage) {
      throw new SyntaxError(`critical extension ${oid} is unknown`);
    }
    extensions.set(oid, expectTag(fields[critical ? 2 : 1], TAG.octetString).content);
  }
  return extensions;
}

function readBasicConstraints(value: Uint8Array | undefined): boolean {
  if (value === undefined) return false;
  const [ca] = readElements(readElement(value, TAG.sequence).content);
  return ca?.tag === TAG.boolean && ca.content[0] === 0xff;
}

function readKeyUsage(value: Uint8Array | undefined): number {
  return value === undefined ? 0 : (readElement(value, TAG.bitString).content[1] ?? 0);
}
