import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseStrict } from './json.ts';

describe('strict JSON', () => {
  it('reads what JSON.stringify writes, in any layout', () => {
    const value = fc.jsonValue({ maxDepth: 3 }).filter(onlyIntegers);
    fc.assert(
      fc.property(value, fc.constantFrom(0, 1, 4), (given, space) => {
        const text = JSON.stringify(given, null, space);
        expect(parseStrict(text)).toEqual({ ok: true, value: JSON.parse(text) });
      }),
    );
  });

  it.each([
    ['a key that is there twice', '{"a":1,"b":2,"a":1}', 'a'],
    ['a key twice in other spellings', '{"a":1,"\\u0061":1}', 'a'],
    ['a key twice in a list', '{"list":[{},{"x":{"k":1,"k":2}}]}', 'list[1].x.k'],
    ['__proto__ twice', '{"__proto__":1,"__proto__":2}', '__proto__'],
    ['the key after a string that looks like one', '{"a":"\\\\\\"}","a":2}', 'a'],
    ['a signed zero', '{"a":[0,-0]}', 'a[1]'],
    ['a decimal point', '{"a":1.0}', 'a'],
    ['an exponent', '{"a":1e0}', 'a'],
    ['a fraction that rounds to one', '[0.99999999999999999999]', '[0]'],
    ['an odd key', '{"a b":{"c":1.5}}', '["a b"].c'],
    ['nothing', '', '$'],
    ['more than one value', '{} {}', '$'],
    ['a byte order mark', '\ufeff{}', '$'],
    ['a comment', '{/* */}', '$'],
    ['an open end', '{"a":[1,2', '$'],
  ])('refuses %s and says where', (_, text, field) => {
    expect(parseStrict(text)).toMatchObject({ ok: false, field });
  });

  it('takes equal keys of different objects, escapes and nesting', () => {
    const text = ' { "a" : { "a" : [ { "a" : "\\u0022\\\\" } , -7 , true , null ] } , "b" : "a" } ';
    expect(parseStrict(text)).toEqual({ ok: true, value: JSON.parse(text) });
    const deep = `${'[{"a":'.repeat(50_000)}0${'}]'.repeat(50_000)}`;
    expect(parseStrict(deep).ok).toBe(true);
    expect(parseStrict(`${'[{"a":'.repeat(50_000)}-0${'}]'.repeat(50_000)}`)).toMatchObject({ ok: false });
  });
});

function onlyIntegers(value: unknown): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value);
  return typeof value !== 'object' || value === null || Object.values(value).every(onlyIntegers);
}
