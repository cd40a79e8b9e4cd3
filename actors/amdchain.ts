// AMD's collateral for an SEV-SNP report: the chain ARK → ASK → VCEK (or ASVK → VLEK) and the ARK's revocation list ("Versioned
// Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification", 57230). amd.ts calls this before it looks at
// the report. Promises: after `checkAmdChain` every byte of the collateral is in its one spelling, every certificate is
// signed (RSA-PSS), in date and in its role under one trusted root, and the list is authentic, in date and clear of them.
import { z } from 'zod';
import { readPem, writePem } from './certificate.ts';
import { Refused, refuse, requireInDate } from './check.ts';
import { expectTag, readElement, readElements, readInteger, TAG } from './der.ts';
import { equal } from './encoding.ts';
import { isPssSigned, type RsaKey } from './rsa.ts';
import { type CertificateFrame, KEY_USAGE, type ListFrame, readCertificateFrame, readListFrame } from './x509.ts';

export const AmdCollateral = z
  .strictObject({
    certificate_chain: z
      .string()
      .max(16_384)
      .describe('VCEK or VLEK, its issuer (ASK or ASVK) and the root (ARK), PEM'),
    crl: z
      .string()
      .max(65_536)
      .regex(/^(?:[0-9a-f]{2})*$/, 'expected lower-case hex')
      .nullable()
      .describe('Revocation list of the ARK, DER in hex; null where the bearer has none.'),
  })
  .meta({ id: 'AmdCollateral' });
export type AmdCollateral = z.output<typeof AmdCollateral>;

/** Contents of algorithm identifiers in hex: RSASSA-PSS with SHA-384, MGF1 and a salt of 48 bytes (RFC 4055 §3.1), with the
 * default trailer left out, as DER wants it and VCEKs have it, and spelled out, as ASK and ARK have it. */
const PSS_PARAMETERS =
  'a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130';
const PSS = [
  `06092a864886f70d01010a3034${PSS_PARAMETERS}`,
  `06092a864886f70d01010a3039${PSS_PARAMETERS}a303020101`,
] as const;
const RSA_KEY = '06092a864886f70d0101010500';
const EC_PUBLIC_KEY_P384 = '06072a8648ce3d020106052b81040022';

export const PRODUCTS = ['Milan', 'Genoa', 'Turin'] as const;
export type Product = (typeof PRODUCTS)[number];

export interface AmdChain {
  readonly product: Product;
  /** DER. */
  readonly root: Uint8Array;
  /** VCEK: the key of one chip. VLEK: one that AMD lends to a cloud, for all its chips. */
  readonly endorsement: 'VCEK' | 'VLEK';
  readonly leaf: CertificateFrame;
  /** 97 bytes, uncompressed P-384. */
  readonly publicKey: Uint8Array;
  /** When the list was issued; null without one. */
  readonly issued_ms: number | null;
  /** The earliest end among certificates and list. */
  readonly not_after_ms: number;
}

export interface AmdChainPolicy {
  /** DER of trusted roots, or their SHA-256. */
  readonly isTrusted: (root: Uint8Array) => boolean;
  readonly now_ms: number;
  readonly crl: 'required' | 'if_present';
}

/** @throws {Refused} naming the certificate */
export function checkAmdChain(collateral: AmdCollateral, policy: AmdChainPolicy): AmdChain {
  const chain = refuse('chain_malformed', 'certificate_chain', () => readAmdChain(collateral.certificate_chain));
  const [leaf, issuer, root] = chain;
  if (!policy.isTrusted(root.der)) {
    throw new Refused('root_untrusted', `no trusted root is at the end of the chain (${root.commonName})`);
  }
  const { product, endorsement } = rolesOf(chain);
  requireIssued(root, root);
  requireIssued(issuer, root);
  requireIssued(leaf, issuer);
  for (const certificate of chain) requireInDate(certificate, policy.now_ms);
  const list = checkList(collateral.crl, chain, policy);
  return {
    product,
    root: root.der,
    endorsement,
    leaf,
    publicKey: refuse('chain_malformed', leaf.commonName, () => pointOf(leaf)),
    issued_ms: list?.this_update_ms ?? null,
    not_after_ms: Math.min(...chain.map((each) => each.not_after_ms), list?.next_update_ms ?? Number.MAX_SAFE_INTEGER),
  };
}

/** @throws {SyntaxError} unless the text is exactly what `writePem` writes for three certificates */
export function readAmdChain(text: string): [CertificateFrame, CertificateFrame, CertificateFrame] {
  const blocks = readPem(text);
  if (blocks.length !== 3) throw new SyntaxError(`${blocks.length} certificates, expected 3`);
  if (writePem(blocks) !== text) throw new SyntaxError('PEM is not in its canonical form');
  return blocks.map(readCertificateFrame) as [CertificateFrame, CertificateFrame, CertificateFrame];
}

/**
 * Collateral of what a host, a file or AMD's service gives, in the one form that is published.
 *
 * @param certificates  DER of leaf, issuer and root, in any order
 * @param crl           DER, or null
 * @throws {SyntaxError} when they are not one of each
 */
export function arrangeAmdChain(certificates: readonly Uint8Array[], crl: Uint8Array | null): AmdCollateral {
  const read = certificates.map(readCertificateFrame);
  const only = (role: string, is: (one: CertificateFrame) => boolean) => {
    const [first, ...more] = read.filter(is);
    if (first === undefined || more.length > 0) throw new SyntaxError(`expected one ${role} among the certificates`);
    return first.der;
  };
  const isRoot = (one: CertificateFrame) => one.ca && equal(one.issuer, one.subject);
  const chain = [
    only('VCEK or VLEK', (one) => !one.ca),
    only('ASK', (one) => one.ca && !isRoot(one)),
    only('ARK', isRoot),
  ];
  return { certificate_chain: writePem(chain), crl: crl?.toHex() ?? null };
}

/** Whether it is signed by its own key. */
export function isSelfSigned(root: CertificateFrame): boolean {
  return isSignedBy(root, root);
}

/** The names say what each is for: AMD signs with one root for each product. */
function rolesOf([leaf, issuer, root]: readonly [CertificateFrame, CertificateFrame, CertificateFrame]) {
  const product = PRODUCTS.find((name) => root.commonName.startsWith(`ARK-${name}`));
  if (product === undefined) throw new Refused('chain_invalid', `${root.commonName} where ARK-Milan, … belongs`);
  const vlek = issuer.commonName.startsWith(`SEV-VLEK-${product}`);
  if (!vlek && !issuer.commonName.startsWith(`SEV-${product}`)) {
    throw new Refused('chain_invalid', `${issuer.commonName} where SEV-${product} or SEV-VLEK-${product} belongs`);
  }
  const endorsement = vlek ? ('VLEK' as const) : ('VCEK' as const);
  if (!leaf.commonName.startsWith(`SEV-${endorsement}`)) {
    throw new Refused('chain_invalid', `${leaf.commonName} where SEV-${endorsement} belongs`);
  }
  const authorities = [root, issuer].every(({ ca, keyUsage }) => ca && (keyUsage & KEY_USAGE.keyCertSign) !== 0);
  if (!authorities || leaf.ca)
    throw new Refused('chain_invalid', 'a certificate authority where none belongs, or none');
  return { product, endorsement };
}

function requireIssued(certificate: CertificateFrame, issuer: CertificateFrame): void {
  if (!equal(certificate.issuer, issuer.subject) || !isSignedBy(certificate, issuer)) {
    throw new Refused('chain_invalid', `${certificate.commonName} was not issued by ${issuer.commonName}`);
  }
}

function checkList(
  crl: string | null,
  [leaf, issuer, root]: readonly [CertificateFrame, CertificateFrame, CertificateFrame],
  policy: AmdChainPolicy,
): ListFrame | null {
  if (crl === null && policy.crl === 'if_present') return null;
  if (crl === null || crl === '') throw new Refused('crl_missing', 'crl: the revocation list of the ARK is missing');
  const list = refuse('crl_malformed', 'crl', () => readListFrame(Uint8Array.fromHex(crl)));
  const signer = (root.keyUsage & KEY_USAGE.crlSign) !== 0 && isSignedBy(list, root);
  if (!signer || !equal(list.issuer, root.subject)) {
    throw new Refused('crl_invalid', `crl was not signed by ${root.commonName}`);
  }
  if (policy.now_ms < list.this_update_ms || policy.now_ms > list.next_update_ms) {
    throw new Refused('crl_expired', `crl is not valid at ${new Date(policy.now_ms).toISOString()}`);
  }
  // All VCEKs have the serial 0: only what the root issued can be named by its list.
  for (const { serial, commonName } of [root, issuer]) {
    if (list.revoked.has(serial))
      throw new Refused('certificate_revoked', `${commonName} (serial ${serial}) is revoked`);
  }
  if (/[^0]/.test(leaf.serial) && list.revoked.has(leaf.serial)) {
    throw new Refused('certificate_revoked', `${leaf.commonName} (serial ${leaf.serial}) is revoked`);
  }
  return list;
}

function isSignedBy(
  signed: { tbs: Uint8Array; algorithm: Uint8Array; signature: Uint8Array },
  issuer: CertificateFrame,
): boolean {
  if (!(PSS as readonly string[]).includes(signed.algorithm.toHex())) return false;
  const key = rsaKeyOf(issuer);
  return key !== null && isPssSigned(signed.tbs, signed.signature, key);
}

function rsaKeyOf({ key: { algorithm, bits } }: CertificateFrame): RsaKey | null {
  if (algorithm.toHex() !== RSA_KEY) return null;
  try {
    const [modulus, exponent, ...rest] = readElements(readElement(bits, TAG.sequence).content);
    if (rest.length > 0) return null;
    return { modulus: readInteger(modulus), exponent: readInteger(exponent) };
  } catch {
    return null;
  }
}

function pointOf({ key: { algorithm, bits } }: CertificateFrame): Uint8Array {
  if (algorithm.toHex() !== EC_PUBLIC_KEY_P384) throw new SyntaxError('public key is not P-384');
  if (bits.length !== 97 || bits[0] !== 4) throw new SyntaxError('public key is not an uncompressed point');
  return bits;
}

/** AMD's arc 1.3.6.1.4.1.3704.1 (57230 §3, tables 9 to 11), as the hex of the DER content of an OID. */
const AMD = '2b060104019c7801';
const ARCS = { bootLoader: '0301', tee: '0302', snp: '0303', microcode: '0308', fmc: '0309' } as const;
const HARDWARE_ID = `${AMD}04`;

/** Security versions that an endorsement certificate stands for; `fmc` from Turin on. */
export type TcbVersion = Readonly<Partial<Record<keyof typeof ARCS, number>>>;

/** @throws {SyntaxError} when an extension is missing or another */
export function readEndorsedTcb(leaf: CertificateFrame, product: Product): Required<TcbVersion> {
  const svn = (name: keyof typeof ARCS) => {
    const value = leaf.extensions.get(AMD + ARCS[name]);
    if (value === undefined) throw new SyntaxError(`${leaf.commonName} has no extension ${name}`);
    const digits = readInteger(expectTag(readElement(value), TAG.integer));
    if (digits.length !== 1) throw new SyntaxError(`${name} of ${digits.length} bytes`);
    return digits[0]!;
  };
  return {
    bootLoader: svn('bootLoader'),
    tee: svn('tee'),
    snp: svn('snp'),
    microcode: svn('microcode'),
    fmc: product === 'Turin' ? svn('fmc') : 0,
  };
}

/** The chip that a VCEK belongs to: 64 bytes, or 8 on Turin; bare, or as a DER OCTET STRING. null where there is none. */
export function readHardwareId(leaf: CertificateFrame): Uint8Array | null {
  const value = leaf.extensions.get(HARDWARE_ID);
  if (value === undefined) return null;
  return value.length === 64 || value.length === 8 ? value : readElement(value, TAG.octetString).content;
}
