// DER (X.690), as far as X.509 certificates, CRLs and Intel's SGX extension need it: certificate.ts reads with it, the
// simulator writes. The reader is strict, because evidence must have one spelling: what OpenSSL or asn1.js would read in
// two ways (long lengths, trailing bytes, indefinite forms) is refused with a SyntaxError.
import { concat, utf8 } from './encoding.ts';

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One element: `raw` with its header, `content` without. Both are views of the input. */
export interface Element {
  readonly tag: number;
  readonly raw: Uint8Array;
  readonly content: Uint8Array;
}

/** @throws {SyntaxError} unless `bytes` are exactly one element, with this tag where one is given */
export function readElement(bytes: Uint8Array, tag?: number): Element {
  const element = first(bytes);
  if (element.raw.length !== bytes.length)
    throw new SyntaxError(`${bytes.length - element.raw.length} bytes after DER`);
  return expectTag(element, tag);
}

/** The elements of a constructed value's content. @throws {SyntaxError} */
export function readElements(content: Uint8Array): Element[] {
  const elements: Element[] = [];
  for (let rest = content; rest.length > 0; rest = rest.subarray(elements.at(-1)!.raw.length))
    elements.push(first(rest));
  return elements;
}

/** @throws {SyntaxError} when the element is missing or has another tag */
export function expectTag(element: Element | undefined, tag?: number): Element {
  if (element === undefined) throw new SyntaxError('DER ends early');
  if (tag !== undefined && element.tag !== tag) {
    throw new SyntaxError(`DER tag 0x${element.tag.toString(16)}, expected 0x${tag.toString(16)}`);
  }
  return element;
}

/** A non-negative integer's content without the sign byte. @throws {SyntaxError} on a negative or padded one */
export function readInteger(element: Element | undefined): Uint8Array {
  const { content } = expectTag(element, TAG.integer);
  const [head, next] = content;
  if (head === undefined || head >= 0x80) throw new SyntaxError('DER integer is empty or negative');
  if (head === 0 && next !== undefined && next < 0x80) throw new SyntaxError('DER integer has a leading zero');
  return head === 0 && content.length > 1 ? content.subarray(1) : content;
}

/** A BIT STRING's whole bytes. @throws {SyntaxError} when bits of the last byte are unused */
export function readBits(element: Element | undefined): Uint8Array {
  const { content } = expectTag(element, TAG.bitString);
  if (content[0] !== 0) throw new SyntaxError('DER bit string with unused bits');
  return content.subarray(1);
}

/** UTCTime up to 2049, GeneralizedTime after (RFC 5280 §4.1.2.5), in ms. @throws {SyntaxError} */
export function readTime(element: Element | undefined): number {
  const { tag, content } = expectTag(element);
  const text = new TextDecoder().decode(content);
  const digits = tag === TAG.utcTime ? 12 : 14;
  if ((tag !== TAG.utcTime && tag !== TAG.generalizedTime) || text.length !== digits + 1 || !/^\d+Z$/.test(text)) {
    throw new SyntaxError('DER time is not UTC with seconds');
  }
  const long = tag === TAG.utcTime ? `${text < '5' ? '20' : '19'}${text}` : text;
  const at = (from: number, to: number) => long.slice(from, to);
  const iso = `${at(0, 4)}-${at(4, 6)}-${at(6, 8)}T${at(8, 10)}:${at(10, 12)}:${at(12, 14)}.000Z`;
  const time_ms = Date.parse(iso);
  if (!Number.isFinite(time_ms)) throw new SyntaxError('DER time is no date');
  return time_ms;
}

function first(bytes: Uint8Array): Element {
  const [tag, short] = bytes;
  if (tag === undefined || short === undefined) throw new SyntaxError('DER ends early');
  if ((tag & 0x1f) === 0x1f) throw new SyntaxError('DER tag of several bytes');
  const { length, header } = short < 0x80 ? { length: short, header: 2 } : longLength(bytes, short & 0x7f);
  if (header + length > bytes.length) throw new SyntaxError('DER ends early');
  return { tag, raw: bytes.subarray(0, header + length), content: bytes.subarray(header, header + length) };
}

/** X.690 §10.1: the shortest form is the only one. Three bytes of length (16 MiB) are more than any evidence has. */
function longLength(bytes: Uint8Array, count: number): { length: number; header: number } {
  const digits = bytes.subarray(2, 2 + count);
  if (count === 0 || count > 3 || digits.length < count) throw new SyntaxError('DER length is indefinite or too large');
  const length = digits.reduce((sum, digit) => sum * 256 + digit, 0);
  if (digits[0] === 0 || length < 0x80) throw new SyntaxError('DER length is not the shortest');
  return { length, header: 2 + count };
}

/** One element. The functions below are the types that we write. */
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
