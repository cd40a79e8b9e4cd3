import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  base64,
  base64Of,
  base64UpTo,
  Counter,
  concat,
  decimal,
  equal,
  fromBase64,
  fromHex,
  hex,
  hexOf,
  hexUpTo,
  Timestamp,
  timestamp,
  uint,
  uintBytes,
} from './encoding.ts';

const bytes = fc.uint8Array({ maxLength: 200 });
const accepts = (schema: { safeParse: (value: unknown) => { success: boolean } }, value: unknown) =>
  schema.safeParse(value).success;

describe('bytes', () => {
  it('are written as Buffer writes them, and read back', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        expect(hex(value)).toBe(`0x${Buffer.from(value).toString('hex')}`);
        expect(base64(value)).toBe(Buffer.from(value).toString('base64'));
        expect(fromHex(hex(value))).toEqual(value);
        expect(fromBase64(base64(value))).toEqual(value);
        expect(accepts(hexOf(value.length), hex(value)) && accepts(base64Of(value.length), base64(value))).toBe(true);
      }),
    );
  });

  it('have one spelling: whatever text is read gives itself again', () => {
    const near = bytes.chain((value) =>
      fc
        .constantFrom(hex(value), base64(value))
        .chain((text) =>
          fc
            .tuple(fc.nat(text.length), fc.constantFrom('', '0', 'A', 'f', 'F', '=', ' ', '\n', '-', '_', '/', 'é'))
            .map(([at, piece]) => [
              text.slice(0, at) + piece + text.slice(at + 1),
              text.slice(0, at) + piece + text.slice(at),
            ]),
        ),
    );
    fc.assert(
      fc.property(near, (texts) => {
        for (const text of texts) {
          expect(readsAs(fromHex, text) ?? text).toBe(text);
          expect(readsAs(fromBase64, text) ?? text).toBe(text);
          expect(accepts(hexUpTo(300), text)).toBe(readsAs(fromHex, text) !== null);
          expect(accepts(base64UpTo(300), text)).toBe(readsAs(fromBase64, text) !== null);
        }
      }),
      { numRuns: 500 },
    );
  });

  it.each(['0x', '0x0', '0xAb', '0XAB', 'ab', '0xg0', ' 0x00', '0x00\n', '0x0x'])('as hex: %j', (text) => {
    const good = text === '0x';
    expect(readsAs(fromHex, text)).toBe(good ? text : null);
    expect(accepts(hexUpTo(8), text)).toBe(good);
  });

  it.each(['', 'AA==', 'AA', 'AB==', 'AAA', 'AAAA=', 'A-__', 'AA =', 'AA==\n', '=', 'AAAAA==='])(
    'as base64: %j',
    (text) => {
      const good = text === '' || text === 'AA==';
      expect(readsAs(fromBase64, text)).toBe(good ? text : null);
      expect(accepts(base64UpTo(8), text)).toBe(good);
    },
  );

  it('are bounded, also by texts of the largest size', () => {
    expect(accepts(hexOf(2), '0x000000')).toBe(false);
    expect(accepts(hexUpTo(2), '0x000000')).toBe(false);
    expect(accepts(base64UpTo(2), 'AAAA')).toBe(false);
    expect(accepts(base64Of(2), 'AA==')).toBe(false);
    const size = 4 * 1_048_576;
    expect(accepts(hexUpTo(size), `0x${'00'.repeat(size)}`)).toBe(true);
    expect(accepts(base64UpTo(size), 'AAAA'.repeat(Math.floor(size / 3)))).toBe(true);
  });

  it('are joined and compared', () => {
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 5 }), bytes, (parts, other) => {
        const joined = concat(...parts);
        expect(joined).toEqual(new Uint8Array(Buffer.concat(parts)));
        expect(equal(joined, other)).toBe(Buffer.from(joined).equals(other));
        expect(equal(joined, joined.slice())).toBe(true);
      }),
    );
  });
});

describe('integers', () => {
  it('are written big-endian in as many bytes as asked', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        const expected = Buffer.alloc(8);
        expected.writeBigUInt64BE(value);
        expect(uintBytes(value, 8)).toEqual(new Uint8Array(expected));
        expect(uintBytes(value, 32)).toEqual(concat(new Uint8Array(24), expected));
      }),
    );
  });

  it.each([
    [256, 1],
    [-1, 8],
    [2n ** 64n, 8],
    [2n ** 256n, 32],
    [0.5, 8],
    [Number.NaN, 8],
    [Number.POSITIVE_INFINITY, 8],
  ])('%s does not fit %i bytes', (value, length) => {
    expect(() => uintBytes(value, length)).toThrow(RangeError);
  });

  it.each<[string, boolean]>([
    ['0', true],
    ['7', true],
    [(2n ** 64n - 1n).toString(), true],
    [(2n ** 64n).toString(), false],
    ['9'.repeat(78), false],
    ['9'.repeat(79), false],
    ['00', false],
    ['07', false],
    ['-1', false],
    ['+1', false],
    ['1.0', false],
    ['1e3', false],
    ['0x1', false],
    [' 1', false],
    ['1\n', false],
    ['', false],
    ['١', false],
  ])('as a decimal of 64 bits: %j is %s', (text, good) => {
    expect(accepts(decimal(64), text)).toBe(good);
  });

  it('wide ones are no numbers, and narrow ones no strings', () => {
    expect(accepts(decimal(256), 7)).toBe(false);
    expect(accepts(decimal(256), (2n ** 256n - 1n).toString())).toBe(true);
    expect(accepts(decimal(256), (2n ** 256n).toString())).toBe(false);
    for (const value of ['7', -1, 1.5, 2 ** 32, Number.NaN, null, 7n]) expect(accepts(uint(32), value)).toBe(false);
    for (const value of [-1, 1.5, 2 ** 53, Number.POSITIVE_INFINITY, '7']) expect(accepts(Counter, value)).toBe(false);
    expect(accepts(uint(32), 2 ** 32 - 1) && accepts(Counter, Number.MAX_SAFE_INTEGER)).toBe(true);
  });
});

describe('times', () => {
  it('are written and read in one form', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Date.UTC(9999, 11, 31) }), (time_ms) => {
        const text = timestamp(time_ms);
        expect(Date.parse(text)).toBe(time_ms);
        expect(accepts(Timestamp, text)).toBe(true);
      }),
    );
  });

  it.each([
    '2026-06-01T12:00:00Z',
    '2026-06-01T12:00:00.25Z',
    '2026-06-01T12:00:00.250+00:00',
    '2026-06-01 12:00:00.250Z',
    '2026-06-01t12:00:00.250z',
    '2026-02-30T12:00:00.250Z',
    '2026-06-01T24:00:00.000Z',
    '2026-06-01T12:00:60.000Z',
    '+012026-06-01T12:00:00.250Z',
    '2026-06-01T12:00:00.250Z\n',
    '',
  ])('%j is another form or no time', (text) => {
    expect(accepts(Timestamp, text)).toBe(false);
  });
});

/** What the text stands for, written again; null where it can't be read. */
function readsAs(read: (text: string) => Uint8Array, text: string): string | null {
  try {
    return (read === fromHex ? hex : base64)(read(text));
  } catch {
    return null;
  }
}
