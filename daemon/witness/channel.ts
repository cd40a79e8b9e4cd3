// The channel between a sequencer and its witness: what both ends compute. The witness greets with an X-Wing key that is for this
// channel alone, in a quote over the sequencer's nonce; the sequencer seals a secret to that key (HPKE, RFC 9180) and quotes
// the sealed bytes over the witness's nonce. So whoever knows the secret is one of two attested enclaves, and nobody learns it
// later: the key is forgotten. Messages are AES-256-GCM under one key for each direction, their sequence is the nonce. Not TLS: its
// certificates say nothing of enclaves, and its key exchange would have to be shown to be post-quantum; this is the envelopes' own.
import { createCipheriv, type KeyObject } from 'node:crypto';
import { channelDigest } from '../../actors/digest.ts';
import { concat, fromBase64, fromHex, uintBytes, utf8 } from '../../actors/encoding.ts';
import type { ChannelParts } from '../../actors/witness.ts';
import { openGcm, TAG_BYTES } from '../../workers/aead.ts';
import type { XWingHandle } from '../../workers/xwing.ts';
import { openKeys, sealKeys } from '../hpke.ts';

/** Of each direction, under the name of its sender. */
export interface ChannelKeys {
  readonly primary: KeyObject;
  readonly witness: KeyObject;
}
export type Side = keyof ChannelKeys;

/** What the end of this side quotes. @param sealed  the secret; not there yet when the witness greets */
export function channelSubject(
  side: Side,
  { log_id, greeting }: ChannelParts,
  primary_nonce: string,
  sealed?: Uint8Array,
): Uint8Array {
  return channelDigest({
    side,
    log_id,
    witness_key: fromBase64(greeting.witness_key),
    x_wing: fromBase64(greeting.x_wing),
    nonces: { primary: fromHex(primary_nonce), witness: fromHex(greeting.nonce) },
    ...(sealed !== undefined && { sealed }),
  });
}

/** The sequencer's end. `info` is the subject of the witness's quote, so a secret opens in no other channel. */
export function sealSecret(x_wing: Uint8Array, info: Uint8Array): Promise<{ sealed: Uint8Array; keys: ChannelKeys }> {
  return sealKeys(x_wing, info, SIDES);
}

/** The witness's end. @returns null for what was sealed to another key, or for another channel */
export function openSecret(key: XWingHandle, sealed: Uint8Array, info: Uint8Array): ChannelKeys | null {
  return openKeys(key, sealed, info, SIDES);
}

const SIDES = ['primary', 'witness'] as const;

/** A message from this side. A sequence is used once in each direction: the sender counts, the witness answers each once. */
export function box(keys: ChannelKeys, side: Side, session: string, sequence: number, value: unknown): string {
  const cipher = createCipheriv('aes-256-gcm', keys[side], uintBytes(sequence, 12), { authTagLength: TAG_BYTES });
  cipher.setAAD(dataOf(side, session));
  const text = cipher.update(utf8(JSON.stringify(value)));
  return concat(text, cipher.final(), cipher.getAuthTag()).toBase64();
}

/** @returns undefined for what is not a message from this side in this place */
export function unbox(keys: ChannelKeys, side: Side, session: string, sequence: number, boxed: string): unknown {
  const bytes = fromBase64(boxed);
  if (bytes.length < TAG_BYTES) return undefined;
  const [text, tag] = [bytes.subarray(0, -TAG_BYTES), bytes.subarray(-TAG_BYTES)];
  const opened = openGcm(keys[side], uintBytes(sequence, 12), text, tag, dataOf(side, session));
  return opened === null ? undefined : JSON.parse(new TextDecoder().decode(opened));
}

const dataOf = (side: Side, session: string): Uint8Array => utf8(`aegis/channel/v1 ${side} ${session}`);
