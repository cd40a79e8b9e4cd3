// Bytes and what they are written as in JSON (DESIGN §4): 0x-hex in lower case for digests and ids, padded standard base64
// for signatures, keys and quotes. One value has one spelling. Apart from the schemas of encoding.ts, because the threads
// that open and sign need no schema and start in half the time without.

/** Lower-case hex with 0x. */
export function hex(bytes: Uint8Array): `0x${string}` {
  return `0x${bytes.toHex()}`;
}

/** @throws {SyntaxError} on anything but 0x and an even number of lower-case hex digits */
export function fromHex(text: string): Uint8Array {
  if (!text.startsWith('0x') || /[A-F]/.test(text)) throw new SyntaxError('not lower-case hex with 0x');
  return Uint8Array.fromHex(text.slice(2));
}

/** Padded standard base64 (RFC 4648 §4). */
export function base64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/** @throws {SyntaxError} unless `text` is the one canonical spelling: padded, no white space, no stray bits (RFC 4648 §3.5) */
export function fromBase64(text: string): Uint8Array {
  const bytes = Uint8Array.fromBase64(text, { lastChunkHandling: 'strict' });
  // The decoder skips white space, which would give one value many spellings.
  if (text.length !== 4 * Math.ceil(bytes.length / 3)) throw new SyntaxError('not canonical base64');
  return bytes;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * Big-endian, as RFC 9162 trees and the ABI write integers.
 *
 * @throws {RangeError} when the value is negative or needs more bytes
 */
export function uintBytes(value: bigint | number, bytes: number): Uint8Array {
  let rest = BigInt(value);
  if (rest < 0n || rest >> BigInt(8 * bytes) !== 0n) throw new RangeError(`${value} is not a uint${8 * bytes}`);
  const out = new Uint8Array(bytes);
  for (let i = bytes - 1; rest !== 0n; i--, rest >>= 8n) out[i] = Number(rest & 0xffn);
  return out;
}

/** For public values only: returns at the first difference. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
