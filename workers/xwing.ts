// Opens what HPKE base mode sealed to an X-Wing key (RFC 9180; KEM 0x647a, HKDF-SHA256, AES-256-GCM), composed from
// OpenSSL's ML-KEM-768 and X25519 through node:crypto: 0.2 ms where the npm packages take 4. The key material comes in
// once, as a seed, and lives on as KeyObjects, which threads can be given without their bytes. The envelope worker opens
// with it; the tests hold it against @hpke/core and @hpke/hybridkem-x-wing both ways.
import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  decapsulate,
  diffieHellman,
  type KeyObject,
} from 'node:crypto';
import { concat, utf8 } from '../actors/bytes.ts';
import { openGcm, TAG_BYTES } from './aead.ts';

/** What a worker thread gets: structured-cloneable, and no key bytes in it. */
export interface XWingHandle {
  readonly mlkem: KeyObject;
  readonly x25519: KeyObject;
  /** 32 bytes: the combiner hashes the recipient's X25519 key. */
  readonly publicX25519: Uint8Array;
}

const SEED_BYTES = 32;
/** FIPS 203 §8, table 3, and RFC 7748 §5; X-Wing draft §5.4: enc = ML-KEM ciphertext ‖ X25519 ephemeral key. */
const MLKEM_CIPHERTEXT_BYTES = 1088;
const X25519_BYTES = 32;
export const ENC_BYTES = MLKEM_CIPHERTEXT_BYTES + X25519_BYTES;

/** X-Wing draft §5.3: the label of the combiner, a small drawing of wings. */
const XWING_LABEL = Uint8Array.of(0x5c, 0x2e, 0x2f, 0x2f, 0x5e, 0x5c);

/**
 * X-Wing draft §5.2: SHAKE-256 of the seed gives d ‖ z of ML-KEM-768 (64 bytes) and the X25519 scalar (32 bytes).
 *
 * @param seed  32 bytes; not kept, and wiping it is the caller's job
 * @returns     the public key as the keyset shows it (1,216 bytes: ML-KEM-768 ‖ X25519), and the handle that opens
 */
export function xwingKey(seed: Uint8Array): { publicKey: Uint8Array; handle: XWingHandle } {
  if (seed.length !== SEED_BYTES) throw new RangeError(`an X-Wing seed has ${SEED_BYTES} bytes, not ${seed.length}`);
  const expanded = createHash('shake256', { outputLength: 96 }).update(seed).digest();
  try {
    const mlkem = mlkemKey(expanded.subarray(0, 64));
    const x25519 = createPrivateKey({ key: expanded.subarray(64), format: 'raw-private', asymmetricKeyType: 'x25519' });
    const publicX25519 = new Uint8Array(createPublicKey(x25519).export({ format: 'raw-public' }));
    const publicKey = concat(createPublicKey(mlkem).export({ format: 'raw-public' }), publicX25519);
    return { publicKey, handle: { mlkem, x25519, publicX25519 } };
  } finally {
    expanded.fill(0);
  }
}

/** FIPS 203 §7.1 from d ‖ z, 64 bytes. @throws on any other length */
export function mlkemKey(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: seed, format: 'raw-seed', asymmetricKeyType: 'ml-kem-768' });
}

/**
 * RFC 9180 §6.1, single shot in base mode.
 *
 * @param sealed  enc (1,120 bytes) ‖ ciphertext ‖ tag
 * @returns       the plaintext, in memory of its own; null when it doesn't open, without a reason: telling why would
 *                tell an attacker about the key
 */
export function openXWing(
  handle: XWingHandle,
  sealed: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
): Uint8Array | null {
  if (sealed.length < ENC_BYTES + TAG_BYTES) return null;
  const shared = decapsulateXWing(handle, sealed.subarray(0, ENC_BYTES));
  if (shared === null) return null;
  const { key, nonce } = keySchedule(shared, info);
  try {
    return openGcm(key, nonce, sealed.subarray(ENC_BYTES, -TAG_BYTES), sealed.subarray(-TAG_BYTES), aad);
  } finally {
    shared.fill(0);
    key.fill(0);
  }
}

/**
 * X-Wing draft §5.5: SHA3-256(ML-KEM secret ‖ X25519 secret ‖ X25519 ciphertext ‖ X25519 public key ‖ label).
 * A wrong ML-KEM ciphertext gives a wrong secret (FIPS 203 §6.3, implicit rejection) and the AEAD fails later. An
 * ephemeral key of small order would give an all-zero X25519 secret: OpenSSL refuses to derive it (RFC 9180 §7.1.4).
 *
 * @param enc  1,120 bytes
 * @returns    32 bytes, the caller's to wipe; null for what no encapsulation gives
 */
export function decapsulateXWing(handle: XWingHandle, enc: Uint8Array): Buffer | null {
  const ephemeral = enc.subarray(MLKEM_CIPHERTEXT_BYTES);
  const secrets: Buffer[] = [];
  try {
    const publicKey = createPublicKey({ key: ephemeral, format: 'raw-public', asymmetricKeyType: 'x25519' });
    secrets.push(decapsulate(handle.mlkem, enc.subarray(0, MLKEM_CIPHERTEXT_BYTES)));
    secrets.push(diffieHellman({ privateKey: handle.x25519, publicKey }));
    const combiner = createHash('sha3-256');
    for (const secret of secrets) combiner.update(secret);
    return combiner.update(ephemeral).update(handle.publicX25519).update(XWING_LABEL).digest();
  } catch {
    return null;
  } finally {
    for (const secret of secrets) secret.fill(0);
  }
}

const EMPTY = new Uint8Array(0);
const VERSION = utf8('HPKE-v1');
/** RFC 9180 §5.1: "HPKE" ‖ KEM 0x647a ‖ KDF 0x0001 ‖ AEAD 0x0002. */
const SUITE = concat(utf8('HPKE'), Uint8Array.of(0x64, 0x7a, 0x00, 0x01, 0x00, 0x02));
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const MODE_BASE = Uint8Array.of(0x00);
const PSK_ID_HASH = labeledExtract('psk_id_hash', EMPTY, EMPTY);

/** RFC 9180 §5.1, KeySchedule in base mode; only the first message of a context is ever sealed, so the nonce is the base. */
function keySchedule(shared: Uint8Array, info: Uint8Array): { key: Buffer; nonce: Buffer } {
  const context = concat(MODE_BASE, PSK_ID_HASH, labeledExtract('info_hash', EMPTY, info));
  const secret = labeledExtract('secret', shared, EMPTY);
  const key = labeledExpand(secret, 'key', context, KEY_BYTES);
  const nonce = labeledExpand(secret, 'base_nonce', context, NONCE_BYTES);
  secret.fill(0);
  return { key, nonce };
}

/** RFC 9180 §4. An empty salt and one of zeros are the same HMAC key (RFC 5869 §2.2). */
function labeledExtract(label: string, salt: Uint8Array, ikm: Uint8Array): Buffer {
  return createHmac('sha256', salt).update(VERSION).update(SUITE).update(label).update(ikm).digest();
}

/** RFC 9180 §4, for outputs of at most one block. */
function labeledExpand(prk: Uint8Array, label: string, info: Uint8Array, bytes: number): Buffer {
  const hmac = createHmac('sha256', prk).update(Uint8Array.of(0, bytes)).update(VERSION).update(SUITE);
  return hmac.update(label).update(info).update(Uint8Array.of(1)).digest().subarray(0, bytes);
}
