// A secret for one enclave, sealed to an X-Wing key that a quote has shown: HPKE (RFC 9180; X-Wing, HKDF-SHA256, AES-256-GCM), as envelopes
// are. The channels to a witness and to a successor begin with one; the other end opens it with workers/xwing.ts.
import { randomFillSync } from 'node:crypto';
import { Aes256Gcm, CipherSuite, HkdfSha256 } from '@hpke/core';
import { XWing } from '@hpke/hybridkem-x-wing';
import { concat } from '../actors/encoding.ts';
import { offHeap } from './keys/secret.ts';

/**
 * @param x_wing  public, raw
 * @param info    what the secret is bound to
 * @param use     makes of the secret what stays; the secret itself is wiped
 */
export async function sealSecret<T>(
  x_wing: Uint8Array,
  info: Uint8Array,
  bytes: number,
  use: (secret: Uint8Array) => T,
): Promise<{ sealed: Uint8Array; keys: T }> {
  const secret = randomFillSync(offHeap(bytes));
  try {
    const suite = new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
    const recipientPublicKey = await suite.kem.deserializePublicKey(x_wing.slice().buffer);
    const { enc, ct } = await suite.seal({ recipientPublicKey, info: info.slice().buffer }, secret.buffer);
    return { sealed: concat(new Uint8Array(enc), new Uint8Array(ct)), keys: use(secret) };
  } finally {
    secret.fill(0);
  }
}
