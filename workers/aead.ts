// AES-256-GCM as both envelope schemes and wraps use it, through OpenSSL. The openers call it with keys that they made for
// one message; a wrong tag is a value, and what was decrypted before the tag was checked is wiped.
import { createDecipheriv, type KeyObject } from 'node:crypto';

export const TAG_BYTES = 16;

/**
 * NIST SP 800-38D §7.2.
 *
 * @param key    32 bytes
 * @param nonce  12 bytes, or 16 as eciesjs has it (hashed to a counter block, §7.1)
 * @param tag    16 bytes
 * @returns      the plaintext, in memory of its own; null when the tag is wrong
 */
export function openGcm(
  key: KeyObject | Uint8Array,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  tag: Uint8Array,
  aad: Uint8Array,
): Uint8Array | null {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(aad);
  decipher.setAuthTag(tag);
  const plaintext = decipher.update(ciphertext);
  try {
    decipher.final();
  } catch {
    plaintext.fill(0);
    return null;
  }
  return new Uint8Array(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength);
}
