// The channel of a handover, as both ends compute it: the predecessor draws a secret and seals it to the `handover` key of the
// successor's keyset (HPKE, X-Wing), bound to log, both keysets, the newest seal and both nonces, and signs what it sealed; so the
// secret is known to two enclaves, each of which a quote over the other's nonce has shown. Chunks and the acceptance are
// AES-256-GCM under a key for each direction; the nonce is the chunk's index, and whether it is the last is authenticated, so that
// nothing can be left out, repeated, reordered or cut off.
import { createCipheriv, type KeyObject } from 'node:crypto';
import { concat, uintBytes, utf8 } from '../../actors/encoding.ts';
import { openGcm, TAG_BYTES } from '../../workers/aead.ts';
import type { XWingHandle } from '../../workers/xwing.ts';
import { openKeys, sealKeys } from '../hpke.ts';

/** Of each direction, by its sender. */
export interface TransferKeys {
  readonly predecessor: KeyObject;
  readonly successor: KeyObject;
}

/** @param x_wing  the successor's public handover key, raw */
export function sealSecret(x_wing: Uint8Array, info: Uint8Array): Promise<{ sealed: Uint8Array; keys: TransferKeys }> {
  return sealKeys(x_wing, info, SIDES);
}

/** @returns null for what was sealed to another key, or for another transfer */
export function openSecret(key: XWingHandle, sealed: Uint8Array, info: Uint8Array): TransferKeys | null {
  return openKeys(key, sealed, info, SIDES);
}

const SIDES = ['predecessor', 'successor'] as const;

/** Where a message stands. An index is used once under a key: what is asked for again is sent again as it was. */
export interface Place {
  readonly side: keyof TransferKeys;
  readonly session: string;
  readonly index: number;
  readonly last: boolean;
}

const aadOf = ({ side, session, last }: Place): Uint8Array =>
  utf8(`aegis/succession/v1 ${side} ${session} ${last ? 'last' : 'more'}`);

export function box(keys: TransferKeys, place: Place, plain: Uint8Array): Uint8Array {
  const options = { authTagLength: TAG_BYTES };
  const cipher = createCipheriv('aes-256-gcm', keys[place.side], uintBytes(place.index, 12), options);
  cipher.setAAD(aadOf(place));
  return concat(cipher.update(plain), cipher.final(), cipher.getAuthTag());
}

/** @returns null for what is not the message of this place */
export function unbox(keys: TransferKeys, place: Place, boxed: Uint8Array): Uint8Array | null {
  if (boxed.length < TAG_BYTES) return null;
  const [text, tag] = [boxed.subarray(0, -TAG_BYTES), boxed.subarray(-TAG_BYTES)];
  return openGcm(keys[place.side], uintBytes(place.index, 12), text, tag, aadOf(place));
}
