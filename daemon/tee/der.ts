// Writes DER (X.690), as far as the simulator's certificates, CRLs and SGX extension need it. Called by pki.ts alone;
// actors/der.ts, OpenSSL and asn1.js read the result.
import { TAG } from '../../actors/der.ts';
import { concat, utf8 } from '../../actors/encoding.ts';

export function element(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const body = concat(...content);
  return concat(Uint8Array.of(tag), lengthOf(body.length), body);
}

export const sequence = (...content: readonly Uint8Array[]): Uint8Array => element(TAG.sequence, ...content);
export const set = (...content: readonly Uint8Array[]): Uint8Array => element(TAG.set, ...content);
export const octets = (content: Uint8Array): Uint8Array => element(TAG.octetString, content);
export const bits = (content: Uint8Array): Uint8Array => element(TAG.bitString, Uint8Array.of(0), content);
export const text = (content: string): Uint8Array => element(TAG.utf8String, utf8(content));
export const explicit = (number: number, content: Uint8Array): Uint8Array => element(0xa0 + number, content);
export const boolean = (value: boolean): Uint8Array => element(TAG.boolean, Uint8Array.of(value ? 0xff : 0));
export const enumerated = (value: number): Uint8Array => element(TAG.enumerated, Uint8Array.of(value));

/** Non-negative, big-endian; leading zeros are dropped or added as DER wants. */
export function integer(value: Uint8Array | number): Uint8Array {
  const bytes = typeof value === 'number' ? Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value) : value;
  const start = bytes.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Uint8Array.of(0) : bytes.subarray(start);
  return element(TAG.integer, digits[0]! >= 0x80 ? concat(Uint8Array.of(0), digits) : digits);
}

/** Dotted decimal. */
export function oid(name: string): Uint8Array {
  const [first, second, ...arcs] = name.split('.').map(Number);
  const digits = [first! * 40 + second!, ...arcs].flatMap((arc) => {
    const septets = [arc & 0x7f];
    for (let rest = arc >>> 7; rest > 0; rest >>>= 7) septets.unshift((rest & 0x7f) | 0x80);
    return septets;
  });
  return element(TAG.oid, Uint8Array.from(digits));
}

/** UTCTime: years 1950 to 2049 (RFC 5280 §4.1.2.5.1). */
export function time(time_ms: number): Uint8Array {
  const digits = new Date(time_ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  return element(TAG.utcTime, utf8(digits.slice(2)));
}

function lengthOf(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  return length < 0x100 ? Uint8Array.of(0x81, length) : Uint8Array.of(0x82, length >> 8, length);
}
