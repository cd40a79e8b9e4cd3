// RSASSA-PSS verification (RFC 8017 §8.1.2) with SHA-384, as AMD signs the certificates of SEV-SNP. Written here because the
// core is synchronous and runs in browsers: WebCrypto answers later, node:crypto isn't there, and the noble libraries have no
// RSA. Only the public operation, on public values, so nothing here needs constant time; tests hold it against OpenSSL.
import { sha384 } from '@noble/hashes/sha2.js';
import { concat, equal, uintBytes } from './encoding.ts';
import { toUint } from './rlp.ts';

export interface RsaKey {
  readonly modulus: Uint8Array;
  readonly exponent: Uint8Array;
}

const HASH_BYTES = 48;
/** AMD's: as long as the hash. */
const SALT_BYTES = 48;
/** What a verifier can be made to compute is bounded: AMD's keys have 4,096 bits and the usual exponent. */
const MODULUS_BITS = 4_096;
const EXPONENT = 65_537n;

/** @returns false for any malformed key or signature */
export function isPssSigned(message: Uint8Array, signature: Uint8Array, key: RsaKey): boolean {
  const n = toUint(key.modulus);
  // §8.1.2 step 1, and RSAVP1's range (§5.2.2): s + n would be a second spelling of s.
  if (n >> BigInt(MODULUS_BITS - 1) !== 1n || toUint(key.exponent) !== EXPONENT) return false;
  if (signature.length !== MODULUS_BITS / 8) return false;
  const s = toUint(signature);
  return s < n && isEncoded(sha384(message), uintBytes(power(s, n), MODULUS_BITS / 8));
}

/** s^65537 mod n: sixteen squarings and a product. */
function power(s: bigint, n: bigint): bigint {
  let square = s;
  for (let i = 0; i < 16; i++) square = (square * square) % n;
  return (square * s) % n;
}

/** EMSA-PSS-VERIFY (§9.1.2), emBits = 4,095, from step 4 on: the lengths are constants here. */
function isEncoded(hash: Uint8Array, em: Uint8Array): boolean {
  const masked = em.subarray(0, em.length - HASH_BYTES - 1);
  const h = em.subarray(masked.length, em.length - 1);
  if (em.at(-1) !== 0xbc || masked[0]! >= 0x80) return false;
  const mask = mgf1(h, masked.length);
  const db = masked.map((byte, i) => byte ^ mask[i]!);
  db[0]! &= 0x7f;
  const zeros = db.length - SALT_BYTES - 1;
  if (db.subarray(0, zeros).some((byte) => byte !== 0) || db[zeros] !== 1) return false;
  return equal(h, sha384(concat(new Uint8Array(8), hash, db.subarray(zeros + 1))));
}

/** MGF1 (§B.2.1) with SHA-384. */
function mgf1(seed: Uint8Array, length: number): Uint8Array {
  const blocks = Array.from({ length: Math.ceil(length / HASH_BYTES) }, (_, i) =>
    sha384(concat(seed, uintBytes(i, 4))),
  );
  return concat(...blocks).subarray(0, length);
}
