// Two keys for one enclave, one for each direction, sealed to an X-Wing key that a quote has shown: HPKE (RFC 9180; X-Wing, HKDF-SHA256, AES-256-GCM), as envelopes
// are. The channels to a witness and to a successor begin with them.
import { createSecretKey, type KeyObject, randomFillSync } from 'node:crypto';
import { concat } from '../actors/encoding.ts';
import { openXWing, type XWingHandle } from '../workers/xwing.ts';
import { offHeap } from './keys/secret.ts';

const KEY_BYTES = 32;
const SECRET_BYTES = 2 * KEY_BYTES;
const EMPTY = new Uint8Array(0);

/** By the side that sends; the first of `sides` has the first half of the secret. */
type Keys<Side extends string> = Readonly<Record<Side, KeyObject>>;
type Sides<Side extends string> = readonly [Side, Side];

/** Most daemons never seal to another: 68 modules that no start should load. Who will seal in a hurry loads them before. */
export const loadHpke = () => Promise.all([import('@hpke/core'), import('@hpke/hybridkem-x-wing')]);

/**
 * @param x_wing  public, raw
 * @param info    what the secret is bound to
 */
export async function sealKeys<Side extends string>(
  x_wing: Uint8Array,
  info: Uint8Array,
  sides: Sides<Side>,
): Promise<{ sealed: Uint8Array; keys: Keys<Side> }> {
  const [{ Aes256Gcm, CipherSuite, HkdfSha256 }, { XWing }] = await loadHpke();
  const secret = randomFillSync(offHeap(SECRET_BYTES));
  try {
    const suite = new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
    const recipientPublicKey = await suite.kem.deserializePublicKey(x_wing.slice().buffer);
    const { enc, ct } = await suite.seal({ recipientPublicKey, info: info.slice().buffer }, secret.buffer);
    return { sealed: concat(new Uint8Array(enc), new Uint8Array(ct)), keys: keysOf(secret, sides) };
  } finally {
    secret.fill(0);
  }
}

/** @returns null for what was sealed to another key, or bound to something else */
export function openKeys<Side extends string>(
  key: XWingHandle,
  sealed: Uint8Array,
  info: Uint8Array,
  sides: Sides<Side>,
): Keys<Side> | null {
  const secret = openXWing(key, sealed, info, EMPTY);
  if (secret === null || secret.length !== SECRET_BYTES) return null;
  try {
    return keysOf(secret, sides);
  } finally {
    secret.fill(0);
  }
}

const keysOf = <Side extends string>(secret: Uint8Array, [first, second]: Sides<Side>) =>
  ({
    [first]: createSecretKey(secret.subarray(0, KEY_BYTES)),
    [second]: createSecretKey(secret.subarray(KEY_BYTES)),
  }) as Keys<Side>;
