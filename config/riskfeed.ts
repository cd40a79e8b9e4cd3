/**
 * A feed of indicators as `risk.feeds` names it, in one text: what it is called here, where it is, and the public key that
 * must have signed it. Plain HTTP is for this machine alone: what a feed says is signed, but who asks for it isn't hidden.
 */

export interface FeedSource {
  readonly name: string;
  readonly url: string;
  readonly algorithm: FeedAlgorithm;
  /** Raw. */
  readonly public_key: Uint8Array<ArrayBuffer>;
}

export const FEEDS_MAX = 8;

/** FIPS 204 §4, table 2; RFC 8032 §5.1.5. */
const KEY_BYTES = { 'ml-dsa-87': 2592, ed25519: 32 } as const;
export type FeedAlgorithm = keyof typeof KEY_BYTES;

const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;
const URL_CHARACTERS_MAX = 2048;

/** As `URL` writes hosts: addresses in full, in lower case. */
const LOCAL = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** @returns undefined when it is none */
export function feedSource(text: unknown): FeedSource | undefined {
  if (typeof text !== 'string') return undefined;
  const [name = '', url = '', key = '', ...rest] = text.split(' ');
  const [algorithm = '', encoded = ''] = key.split(':');
  if (rest.length > 0 || !NAME.test(name) || !isUrl(url) || !isAlgorithm(algorithm)) return undefined;
  try {
    const public_key = Uint8Array.fromBase64(encoded, { lastChunkHandling: 'strict' });
    return public_key.length === KEY_BYTES[algorithm] ? { name, url, algorithm, public_key } : undefined;
  } catch {
    return undefined;
  }
}

const isAlgorithm = (text: string): text is FeedAlgorithm => Object.hasOwn(KEY_BYTES, text);

function isUrl(text: string): boolean {
  const url = text.length <= URL_CHARACTERS_MAX ? URL.parse(text) : null;
  if (url === null || url.username !== '' || url.password !== '' || url.hash !== '') return false;
  return url.protocol === 'https:' || (url.protocol === 'http:' && LOCAL.test(url.hostname));
}
