// The key of the TLS that ends in the enclave, as those who connect see it: `tls` of a keyset is a point, a certificate carries a
// SubjectPublicKeyInfo, and what tools pin is the SHA-256 of that. All three say the same key.
import { sha256 } from '@noble/hashes/sha2.js';
import { bits, oid, sequence } from './der.ts';
import { base64, fromBase64 } from './encoding.ts';
import type { Keyset } from './keyset.ts';

/** RFC 5480 §2: id-ecPublicKey, secp256r1. */
const P256 = sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7'));

/** DER of the SubjectPublicKeyInfo. @param point  65 bytes, uncompressed */
export const spkiOf = (point: Uint8Array): Uint8Array => sequence(P256, bits(point));

/**
 * What to hold a daemon's certificate against, once its keyset is verified: base64 of SHA-256 of the SubjectPublicKeyInfo (RFC 7469 §2.4), as in
 * `curl --insecure --pinnedpubkey sha256//<pin>`.
 *
 * @returns null where the keyset has no such key
 */
export function tlsPin({ tls }: Pick<Keyset, 'tls'>): string | null {
  return tls === null ? null : base64(sha256(spkiOf(fromBase64(tls))));
}
