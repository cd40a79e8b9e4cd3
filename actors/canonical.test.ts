/** One text for one value: known answers of RFC 8785, and properties. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../config/load.ts';
import { canonicalJson } from './canonical.ts';

describe('canonicalJson', () => {
  it('gives the example of RFC 8785 §3.2.2', () => {
    const value = {
      numbers: [333_333_333.333_333_3, 1e30, 4.5, 2e-3, 0.000_000_000_000_000_000_000_000_001],
      string: '\u20ac$\u000f\u000aA\'\u0042\u0022\u005c\\"/',
      literals: [null, true, false],
    };
    expect(canonicalJson(value)).toBe(
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    );
  });

  it('sorts by UTF-16 code units, as RFC 8785 §3.2.3 shows', () => {
    const keys = ['\u20ac', '\r', '\ufb33', '1', '\ud83d\ude00', '\u0080', '\u00f6'];
    const sorted = ['\r', '1', '\u0080', '\u00f6', '\u20ac', '\ud83d\ude00', '\ufb33'];
    const value = Object.fromEntries(keys.map((key) => [key, 0]));
    expect(canonicalJson(value)).toBe(`{${sorted.map((key) => `${JSON.stringify(key)}:0`).join(',')}}`);
  });

  it('writes bigints as decimal strings and minus zero as 0', () => {
    expect(canonicalJson({ b: 2n ** 64n, a: -0 })).toBe('{"a":0,"b":"18446744073709551616"}');
  });

  const cycle: unknown[] = [];
  cycle.push(cycle);
  it.each([
    [undefined, NaN, Infinity, '\ud800', { '\udc00': 1 }, { a: undefined }, [undefined], new Array(1)],
    [new Date(0), new Map(), Symbol('s'), () => 0, new Uint8Array(1), cycle],
  ])('refuses what has no canonical form', (...values) => {
    for (const value of values) expect(() => canonicalJson(value)).toThrow(TypeError);
  });

  it('does not depend on the order of members, and reads back as the same value', () => {
    const reversed = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null) return value;
      if (Array.isArray(value)) return value.map(reversed);
      return Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([key, item]) => [key, reversed(item)]),
      );
    };
    const text = fc.string({ unit: 'grapheme' });
    const values = fc.jsonValue({ maxDepth: 4, noUnicodeString: true, stringUnit: 'grapheme' } as never);
    fc.assert(
      fc.property(fc.dictionary(text, values), (value) => {
        expect(canonicalJson(reversed(value))).toBe(canonicalJson(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('is the same for the same settings in another layout', () => {
    const { config } = loadConfig({ environment: {} });
    const turned = Object.fromEntries(Object.entries(config).reverse());
    expect(canonicalJson(turned)).toBe(canonicalJson(config));
    expect(canonicalJson(config)).toContain('"chain":{"chain_id":"31337"}');
  });
});
