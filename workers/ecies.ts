// Opens and seals the format of the eciesjs package with its default settings, which wallets of today can write: an ephemeral
// secp256k1 key (65 bytes, uncompressed) ‖ nonce (16) ‖ tag (16) ‖ AES-256-GCM ciphertext, the key by HKDF-SHA256 over
// ephemeral key ‖ shared point. OpenSSL does it in 0.4 ms where eciesjs takes 17, and through a KeyObject, so that threads
// never hold key bytes. The tests hold it against eciesjs both ways. Should OpenSSL's secp256k1 ever be missing, eciesjs'
// `decrypt(scalar, sealed)` is the fallback; it needs the scalar itself.
import {
  createCipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  ECDH,
  hkdfSync,
  type KeyObject,
  randomFillSync,
} from 'node:crypto';
import libsecp256k1 from 'secp256k1';
import { openGcm, TAG_BYTES } from './aead.ts';

/** What a worker thread gets: structured-cloneable, and no key bytes in it. */
export interface EciesHandle {
  readonly secp256k1: KeyObject;
}

/** SEC 2 §2.4.1: the order and the prime of secp256k1. */
const ORDER = Uint8Array.fromHex('fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141');
const PRIME = Uint8Array.fromHex('fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f');

const POINT_BYTES = 65;
const COORDINATE_BYTES = 32;
const NONCE_BYTES = 16;
const OVERHEAD_BYTES = POINT_BYTES + NONCE_BYTES + TAG_BYTES;
const EMPTY = new Uint8Array(0);

/**
 * @param scalar  32 bytes, from 1 to n - 1; not kept, and wiping it is the caller's job
 * @returns       the public key as the keyset shows it (65 bytes, uncompressed), and the handle that opens
 */
export function eciesKey(scalar: Uint8Array): { publicKey: Uint8Array; handle: EciesHandle } {
  // OpenSSL imports 0 and n without a word.
  if (scalar.length !== COORDINATE_BYTES || scalar.every((byte) => byte === 0) || !below(scalar, ORDER)) {
    throw new RangeError('a secp256k1 scalar has 32 bytes and lies between 1 and n - 1');
  }
  const secp256k1 = createPrivateKey({
    key: scalar,
    format: 'raw-private',
    asymmetricKeyType: 'ec',
    namedCurve: 'secp256k1',
  });
  const publicKey = new Uint8Array(createPublicKey(secp256k1).export({ format: 'raw-public' }));
  return { publicKey, handle: { secp256k1 } };
}

/**
 * @returns the plaintext, in memory of its own; null when it doesn't open, without a reason: telling why would tell an
 *          attacker about the key
 */
export function openEcies(handle: EciesHandle, sealed: Uint8Array): Uint8Array | null {
  // 4 is the uncompressed form (SEC 1 §2.3.3), the only one eciesjs writes; OpenSSL would also read 6 and 7.
  if (sealed.length < OVERHEAD_BYTES || sealed[0] !== 4) return null;
  const ephemeral = sealed.subarray(0, POINT_BYTES);
  const x = sharedX(handle, ephemeral);
  if (x === null) return null;
  const material = keyMaterial(ephemeral, x);
  x.fill(0);
  try {
    // OpenSSL tells the shared point's x alone, so both points with that x are tried and the tag decides. Both always,
    // so that the time taken doesn't tell the parity of y.
    const first = openWith(material, sealed);
    negate(material.subarray(POINT_BYTES + 1 + COORDINATE_BYTES));
    const second = openWith(material, sealed);
    return first ?? second;
  } finally {
    material.fill(0);
  }
}

/**
 * Seals to a public key. Both coordinates of the shared point enter the key, and OpenSSL tells x alone, so it is libsecp256k1
 * that multiplies; in constant time.
 *
 * @param publicKey  65 bytes, uncompressed
 * @returns          97 bytes more than the plaintext
 * @throws           when the key is no point of the curve
 */
export function sealEcies(publicKey: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const material = new Uint8Array(new ArrayBuffer(2 * POINT_BYTES));
  const scalar = new Uint8Array(new ArrayBuffer(COORDINATE_BYTES));
  const sealed = new Uint8Array(OVERHEAD_BYTES + plaintext.length);
  try {
    do randomFillSync(scalar);
    while (!libsecp256k1.privateKeyVerify(scalar));
    libsecp256k1.publicKeyCreate(scalar, false, material.subarray(0, POINT_BYTES));
    const point = material.subarray(POINT_BYTES);
    point[0] = 4;
    const xbuf = point.subarray(1, 1 + COORDINATE_BYTES);
    const ybuf = point.subarray(1 + COORDINATE_BYTES);
    // libsecp256k1 writes both coordinates into the material; the function that hashes them has nothing left to do.
    libsecp256k1.ecdh(publicKey, scalar, { hashfn: () => EMPTY, xbuf, ybuf }, EMPTY);
    sealed.set(material.subarray(0, POINT_BYTES));
    sealWith(material, plaintext, sealed);
    return sealed;
  } finally {
    material.fill(0);
    scalar.fill(0);
  }
}

/** Nonce, tag and ciphertext, behind the ephemeral key. */
function sealWith(material: Uint8Array, plaintext: Uint8Array, sealed: Uint8Array): void {
  const key = new Uint8Array(hkdfSync('sha256', material, EMPTY, EMPTY, 32));
  const nonce = randomFillSync(sealed.subarray(POINT_BYTES, POINT_BYTES + NONCE_BYTES));
  try {
    const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
    sealed.set(cipher.update(plaintext), OVERHEAD_BYTES);
    cipher.final();
    sealed.set(cipher.getAuthTag(), POINT_BYTES + NONCE_BYTES);
  } finally {
    key.fill(0);
  }
}

/** Byte by byte, because a BigInt would leave copies of a secret. */
function below(value: Uint8Array, limit: Uint8Array): boolean {
  let borrow = 0;
  for (let i = COORDINATE_BYTES - 1; i >= 0; i--) borrow = value[i]! - limit[i]! - borrow < 0 ? 1 : 0;
  return borrow === 1;
}

/** SEC 1 §3.3.1. OpenSSL refuses what isn't a point of the curve. */
function sharedX(handle: EciesHandle, ephemeral: Uint8Array): Buffer | null {
  try {
    const publicKey = createPublicKey({
      key: ephemeral,
      format: 'raw-public',
      asymmetricKeyType: 'ec',
      namedCurve: 'secp256k1',
    });
    return diffieHellman({ privateKey: handle.secp256k1, publicKey });
  } catch {
    return null;
  }
}

/**
 * HKDF's input: the ephemeral key ‖ one of the two shared points with this x, uncompressed. In ArrayBuffers of their own,
 * since a small typed array that native code has seen leaves copies on V8's heap which can't be wiped.
 */
function keyMaterial(ephemeral: Uint8Array, x: Uint8Array): Uint8Array {
  const compressed = new Uint8Array(new ArrayBuffer(1 + COORDINATE_BYTES));
  compressed[0] = 2;
  compressed.set(x, 1);
  const point = ECDH.convertKey(compressed, 'secp256k1', undefined, undefined, 'uncompressed') as Buffer;
  const material = new Uint8Array(new ArrayBuffer(2 * POINT_BYTES));
  material.set(ephemeral);
  material.set(point, POINT_BYTES);
  point.fill(0);
  compressed.fill(0);
  return material;
}

/** y becomes p - y, in place. */
function negate(y: Uint8Array): void {
  let borrow = 0;
  for (let i = COORDINATE_BYTES - 1; i >= 0; i--) {
    const difference = PRIME[i]! - y[i]! - borrow;
    y[i] = difference & 0xff;
    borrow = difference < 0 ? 1 : 0;
  }
}

function openWith(material: Uint8Array, sealed: Uint8Array): Uint8Array | null {
  const key = new Uint8Array(hkdfSync('sha256', material, EMPTY, EMPTY, 32));
  const nonce = sealed.subarray(POINT_BYTES, POINT_BYTES + NONCE_BYTES);
  const tag = sealed.subarray(POINT_BYTES + NONCE_BYTES, OVERHEAD_BYTES);
  try {
    return openGcm(key, nonce, sealed.subarray(OVERHEAD_BYTES), tag, EMPTY);
  } finally {
    key.fill(0);
  }
}
