// The simulator's stand-in for Intel's public key infrastructure: root, PCK platform CA, TCB signing and PCK certificates
// and CRLs, after Intel's "SGX PCK Certificate and CRL Profile". Called by simulator.ts once per state folder. Every
// subject says that it isn't Intel's; no verifier trusts this root unless its policy names it. Keys are node:crypto's.
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { sha256 } from '@noble/hashes/sha2.js';
import { canonicalSigned, lowS } from '../../actors/certificate.ts';
import {
  bits,
  boolean,
  element,
  enumerated,
  explicit,
  integer,
  octets,
  oid,
  sequence,
  set,
  text,
  time,
} from '../../actors/der.ts';
import { concat, utf8 } from '../../actors/encoding.ts';

export const ORGANIZATION = 'Aegis Simulator, not Intel';

/** Certificates and lists of every simulator are valid from here, so that no clock step precedes them … */
export const VALID_FROM_MS = Date.UTC(2020, 0, 1);
/** … to the end of Intel's own root, which is also the end of UTCTime. */
export const VALID_TO_MS = Date.UTC(2049, 11, 31, 23, 59, 59);

/** The platform that the PCK certificate claims: an FMSPC that spells AEGIS, SVNs that `tcb_info` calls up to date. */
export const PLATFORM = {
  fmspc: utf8('AEGIS\0'),
  pce_id: new Uint8Array(2),
  pce_svn: 11,
  cpu_svn: Uint8Array.of(2, 2, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0),
} as const;

const ROLES = ['root', 'platform_ca', 'tcb_signing', 'pck'] as const;
export const KEYS = [...ROLES, 'attestation'] as const;

export interface Pki {
  readonly keys: Readonly<Record<(typeof KEYS)[number], KeyObject>>;
  /** DER. */
  readonly certificates: Readonly<Record<(typeof ROLES)[number], Uint8Array>>;
}

const NAMES = {
  root: 'SGX Root CA',
  platform_ca: 'SGX PCK Platform CA',
  tcb_signing: 'SGX TCB Signing',
  pck: 'SGX PCK Certificate',
} as const;

const SGX = '1.2.840.113741.1.13.1';
/** Bits of the first byte of KeyUsage: certificates and CRLs, or digital signature and non-repudiation, as Intel's. */
const KEY_USAGE_CA = 0x06;
const KEY_USAGE_LEAF = 0xc0;
const ECDSA_WITH_SHA256 = sequence(oid('1.2.840.10045.4.3.2'));

/** A new infrastructure with keys of its own; its platform (PPID) is as unique as its root. */
export function makePki(): Pki {
  const make = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const keys = { root: make(), platform_ca: make(), tcb_signing: make(), pck: make(), attestation: make() };
  const pckKey = publicPoint(keys.pck);
  return {
    keys,
    certificates: {
      root: certificate(keys, 'root', 'root', { pathLength: 1 }),
      platform_ca: certificate(keys, 'platform_ca', 'root', { pathLength: 0 }),
      tcb_signing: certificate(keys, 'tcb_signing', 'root', {}),
      pck: certificate(keys, 'pck', 'platform_ca', { sgx: sgxExtension(pckKey) }),
    },
  };
}

/** DER of a list of what `issuer` has revoked, by serial. */
export function revocationList(
  { keys }: Pki,
  issuer: 'root' | 'platform_ca',
  next_update_ms: number,
  revoked: readonly Uint8Array[] = [],
): Uint8Array {
  const entries = revoked.map((serial) => sequence(integer(serial), time(VALID_FROM_MS)));
  return signed(
    keys[issuer],
    integer(1),
    ECDSA_WITH_SHA256,
    nameOf(issuer),
    time(VALID_FROM_MS),
    time(next_update_ms),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    explicit(
      0,
      sequence(
        extension('2.5.29.20', false, integer(1)),
        extension('2.5.29.35', false, sequence(element(0x80, keyId(keys[issuer])))),
      ),
    ),
  );
}

/** r ‖ s over SHA-256, as quotes and collateral carry signatures, in canonical form. */
export function signRaw(key: KeyObject, data: Uint8Array): Uint8Array {
  return lowS(new Uint8Array(sign('sha256', data, { key, dsaEncoding: 'ieee-p1363' })));
}

/** x ‖ y, 64 bytes. */
export function publicPoint(key: KeyObject): Uint8Array {
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return new Uint8Array(spki.subarray(spki.length - 64));
}

function certificate(
  keys: Pki['keys'],
  subject: (typeof ROLES)[number],
  issuer: 'root' | 'platform_ca',
  { pathLength, sgx }: { pathLength?: number; sgx?: Uint8Array },
): Uint8Array {
  const ca = pathLength !== undefined;
  return signed(
    keys[issuer],
    explicit(0, integer(2)),
    integer(concat(Uint8Array.of(0x40), randomBytes(19))),
    ECDSA_WITH_SHA256,
    nameOf(issuer),
    sequence(time(VALID_FROM_MS), time(VALID_TO_MS)),
    nameOf(subject),
    new Uint8Array(createPublicKey(keys[subject]).export({ format: 'der', type: 'spki' })),
    explicit(
      3,
      sequence(
        extension('2.5.29.35', false, sequence(element(0x80, keyId(keys[issuer])))),
        extension('2.5.29.14', false, octets(keyId(keys[subject]))),
        extension('2.5.29.15', true, keyUsage(ca ? KEY_USAGE_CA : KEY_USAGE_LEAF)),
        extension('2.5.29.19', true, ca ? sequence(boolean(true), integer(pathLength)) : sequence()),
        ...(sgx === undefined ? [] : [extension(SGX, false, sgx)]),
      ),
    ),
  );
}

/** SEQUENCE { tbs, algorithm, signature }: certificates and lists alike. */
function signed(key: KeyObject, ...fields: readonly Uint8Array[]): Uint8Array {
  const tbs = sequence(...fields);
  return canonicalSigned(sequence(tbs, ECDSA_WITH_SHA256, bits(new Uint8Array(sign('sha256', tbs, key)))));
}

function nameOf(role: (typeof ROLES)[number]): Uint8Array {
  const attribute = (type: string, value: string) => set(sequence(oid(type), text(value)));
  return sequence(attribute('2.5.4.3', `${NAMES[role]} (${ORGANIZATION})`), attribute('2.5.4.10', ORGANIZATION));
}

function extension(name: string, critical: boolean, value: Uint8Array): Uint8Array {
  return sequence(oid(name), ...(critical ? [boolean(true)] : []), octets(value));
}

/** A BIT STRING without trailing zero bits (X.690 §11.2.2). */
function keyUsage(flags: number): Uint8Array {
  const unused = 31 - Math.clz32(flags & -flags);
  return element(0x03, Uint8Array.of(unused, flags));
}

function keyId(key: KeyObject): Uint8Array {
  return sha256(publicPoint(key)).slice(0, 20);
}

/** §1.3.5 of Intel's profile: what the platform is and which versions it runs. */
function sgxExtension(pckKey: Uint8Array): Uint8Array {
  const at = (arc: string, value: Uint8Array) => sequence(oid(`${SGX}.${arc}`), value);
  const svns = [...PLATFORM.cpu_svn].map((svn, i) => at(`2.${i + 1}`, integer(svn)));
  const platform = sha256(pckKey);
  return sequence(
    at('1', octets(platform.slice(0, 16))),
    at('2', sequence(...svns, at('2.17', integer(PLATFORM.pce_svn)), at('2.18', octets(PLATFORM.cpu_svn)))),
    at('3', octets(PLATFORM.pce_id)),
    at('4', octets(PLATFORM.fmspc)),
    at('5', enumerated(1)),
    at('6', octets(platform.slice(16))),
    at('7', sequence(at('7.1', boolean(true)), at('7.2', boolean(false)), at('7.3', boolean(true)))),
  );
}
