// How bytes and wide integers are written in JSON (DESIGN §4), and nothing else: 0x-hex in lower case for digests and
// ids, padded standard base64 for signatures, keys and quotes, decimal strings for integers above 32 bits. One value has
// one spelling: the schemas here refuse every other, so that a file can't be changed without a change of meaning.
import { z } from 'zod';
import { fromBase64 } from './bytes.ts';

export * from './bytes.ts';

/** Exactly `bytes` bytes in lower-case 0x-hex. */
export const hexOf = (bytes: number) =>
  z
    .string()
    .length(2 + 2 * bytes, `expected ${bytes} bytes as 0x and ${2 * bytes} lower-case hex digits`)
    .regex(/^0x[0-9a-f]*$/, `expected ${bytes} bytes as 0x and ${2 * bytes} lower-case hex digits`);

export const Digest = hexOf(64);
export const Bytes32 = hexOf(32);

/** Any even number of lower-case hex digits, at most `bytesMax` bytes. */
export const hexUpTo = (bytesMax: number) =>
  z
    .string()
    .max(2 + 2 * bytesMax, `expected at most ${bytesMax} bytes`)
    .regex(/^0x(?:[0-9a-f]{2})*$/, 'expected 0x and an even number of lower-case hex digits');

/** Canonical base64 of at most `bytesMax` bytes, of exactly `bytes` where given. */
export const base64UpTo = (bytesMax: number, bytes?: number) =>
  z
    .string()
    .max(4 * Math.ceil(bytesMax / 3), `expected at most ${bytesMax} bytes`)
    .refine(
      (text) => {
        try {
          const { length } = fromBase64(text);
          return length <= bytesMax && (bytes === undefined || length === bytes);
        } catch {
          return false;
        }
      },
      `expected padded standard base64${bytes === undefined ? '' : ` of ${bytes} bytes`}`,
    )
    .meta({
      ...{ contentEncoding: 'base64', pattern: BASE64.source },
      ...(bytes === undefined ? {} : { minLength: 4 * Math.ceil(bytes / 3) }),
    });

/** What `fromBase64` takes, for readers of the JSON Schema: padded, and no stray bits in the last character. */
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$/;

export const base64Of = (bytes: number) => base64UpTo(bytes, bytes);

/** An unsigned integer of up to `bits` bits as a decimal string without leading zeros. */
export const decimal = (bits: number) =>
  z
    .string()
    .max(78)
    .regex(/^(?:0|[1-9][0-9]*)$/, 'expected a decimal string without sign or leading zeros')
    .refine(
      (text) => !/^[0-9]{1,78}$/.test(text) || BigInt(text) >> BigInt(bits) === 0n,
      `expected at most ${bits} bits`,
    );

export const uint = (bits: 8 | 16 | 32) =>
  z
    .int()
    .min(0)
    .max(2 ** bits - 1);

/** `height`, `size`, `leaf_index`, `order_index` and `*_ms`: numbers in JSON, uint64 in digests, exact up to 2^53 - 1. */
export const Counter = z.int().min(0);

/** RFC 3339 in UTC with three decimals, the one form that `Date.toISOString` writes. */
export const Timestamp = z
  .string()
  .refine(
    (text) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text) && isCalendar(text),
    'expected RFC 3339 UTC, three decimals',
  )
  .meta({ format: 'date-time', pattern: z.regexes.datetime({ precision: 3 }).source });

export function timestamp(time_ms: number): string {
  return new Date(time_ms).toISOString();
}

function isCalendar(text: string): boolean {
  const time = Date.parse(text);
  return Number.isFinite(time) && timestamp(time) === text;
}
