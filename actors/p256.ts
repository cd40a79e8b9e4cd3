// ECDSA over P-256 for browsers: the default of the package's `#p256` import. Node takes p256.node.ts, which is OpenSSL's.
import { p256 } from '@noble/curves/nist.js';
import { sha256 } from '@noble/hashes/sha2.js';

/**
 * ECDSA P-256 with SHA-256 (FIPS 186-5 §6.4.2).
 *
 * @param signature  r ‖ s, 64 bytes; either s
 * @param publicKey  65 bytes, uncompressed
 * @returns          false for whatever is malformed
 */
export function verifyP256(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  try {
    return p256.verify(signature, sha256(message), publicKey, { prehash: false, lowS: false });
  } catch {
    return false;
  }
}
