// The decoder against viem, which is lenient: what viem encodes we read as it was meant and call exact; whatever else we call
// exact, viem encodes to the same bytes. That is the strictness that policies rest on, and viem's own decoder doesn't have it.
import fc from 'fast-check';
import { decodeFunctionData, encodeAbiParameters, hexToBytes, parseAbi, toFunctionSelector } from 'viem';
import { describe, expect, it } from 'vitest';
import { type AbiType, addressOf, decodeArguments, functionOfJson, parseFunction, type Value } from './abi.ts';
import { hex } from './encoding.ts';

describe('signatures', () => {
  it.each([
    ['transfer(address,uint256)', 'transfer(address,uint256)'],
    ['function transfer(address to, uint amount) external returns (bool)', 'transfer(address,uint256)'],
    ['function f((uint8 a, bytes[] b)[2] calldata x, address payable to) payable;', 'f((uint8,bytes[])[2],address)'],
    ['f(tuple(int a) x)', 'f((int256))'],
    ['deposit()', 'deposit()'],
  ])('%s', (text, signature) => {
    const parsed = parseFunction(text);
    expect(parsed.signature).toBe(signature);
    expect(parsed.selector).toBe(toFunctionSelector(signature));
  });

  it.each([
    '',
    'transfer',
    'transfer(address',
    'transfer(address,)',
    'transfer(addr)',
    'f(uint7)',
    'f(uint256[0])',
    'f(uint256[9999])',
    'f(())',
    'f(()[])',
    'f(bytes33)',
    'f(uint08)',
    'f(uint256) emits X',
    '1f()',
    `f(${'('.repeat(20)}uint256${')'.repeat(20)})`,
    `f(uint256${'[]'.repeat(9)})`,
    `f(${Array.from({ length: 200 }, () => 'uint256').join()})`,
  ])('refuses %j', (text) => {
    expect(() => parseFunction(text)).toThrow(SyntaxError);
  });

  it('come from JSON, too', () => {
    const inputs = [{ type: 'tuple[]', components: [{ type: 'address' }, { type: 'bytes' }] }, { type: 'uint256' }];
    expect(functionOfJson({ type: 'function', name: 'f', inputs })!.signature).toBe('f((address,bytes)[],uint256)');
    expect(functionOfJson({ type: 'event', name: 'Transfer', inputs: [] })).toBeUndefined();
    expect(() => functionOfJson({ type: 'function', inputs })).toThrow('name');
  });
});

/** A type, its spelling for viem and a value of it. */
interface Sample {
  readonly type: string;
  readonly value: unknown;
  readonly components?: readonly { type: string; name: string }[];
}

const words: fc.Arbitrary<Sample> = fc.oneof(
  fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => ({ type: 'address', value: hex(bytes) })),
  fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }).map((value) => ({ type: 'uint256', value })),
  fc.nat(255).map((value) => ({ type: 'uint8', value })),
  fc.integer({ min: -32_768, max: 32_767 }).map((value) => ({ type: 'int16', value })),
  fc.boolean().map((value) => ({ type: 'bool', value })),
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ({ type: 'bytes4', value: hex(bytes) })),
);
const strings: fc.Arbitrary<Sample> = fc.oneof(
  fc.uint8Array({ maxLength: 70 }).map((bytes) => ({ type: 'bytes', value: hex(bytes) })),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => ({ type: 'string', value: bytes.toHex() })),
);
const listed = (of: fc.Arbitrary<Sample>): fc.Arbitrary<Sample> =>
  fc.tuple(of, fc.nat(3), fc.boolean()).map(([{ type, value }, length, fixed]) => ({
    type: `${type}[${fixed ? length + 1 : ''}]`,
    value: Array.from({ length: fixed ? length + 1 : length }, () => value),
  }));
const samples = fc.array(fc.oneof(words, strings, listed(words), listed(strings), listed(listed(strings))), {
  maxLength: 5,
});

const encoded = (all: readonly Sample[]): Uint8Array =>
  hexToBytes(
    encodeAbiParameters(
      all.map(({ type }) => ({ type })),
      all.map(({ value }) => value),
    ),
  );
const typesOf = (all: readonly Sample[]): readonly AbiType[] =>
  parseFunction(`f(${all.map(({ type }) => type).join()})`).inputs;

describe('arguments', () => {
  it('that viem encodes are exact', () => {
    fc.assert(
      fc.property(samples, (all) => {
        expect(decodeArguments(typesOf(all), encoded(all))).toMatchObject({ ok: true, exact: true });
      }),
    );
  });

  it('are exact in one encoding only: any change of a byte, or one more, gives another value or is not exact', () => {
    const change = fc.record({ at: fc.nat(), to: fc.nat(255), more: fc.uint8Array({ maxLength: 40 }) });
    fc.assert(
      fc.property(samples, change, (all, { at, to, more }) => {
        const clean = encoded(all);
        const changed = new Uint8Array([...clean, ...more]);
        if (clean.length > 0) changed[at % clean.length] = to;
        const types = typesOf(all);
        const before = decodeArguments(types, clean);
        const after = decodeArguments(types, changed);
        if (hex(changed) === hex(clean) || !after.ok || !after.exact) return;
        expect(before.ok && flat(after.values)).not.toEqual(before.ok && flat(before.values));
      }),
      { numRuns: 2_000 },
    );
  });

  it('never make the decoder throw, or read for long', () => {
    const types = parseFunction('f((address,bytes[])[],bytes[][][],string,uint8[3])').inputs;
    fc.assert(
      fc.property(fc.array(fc.constantFrom(0, 0, 0, 32, 64, 96, 1, 255), { maxLength: 600 }), (bytes) => {
        const words = Uint8Array.from(bytes.flatMap((byte) => [...new Uint8Array(31), byte]));
        const read = decodeArguments(types, words);
        if (!read.ok) expect(['unreadable', 'too_complex']).toContain(read.reason);
      }),
    );
  });

  it('that point at each other again and again end at the budget', () => {
    const types = parseFunction('f(bytes[][][])').inputs;
    // Every array has 40 elements and begins where its parent does: 40^3 leaves from 2 KiB.
    const word = (value: number) => [
      ...new Uint8Array(28),
      ...new Uint8Array(new Uint32Array([value]).buffer).reverse(),
    ];
    const data = Uint8Array.from([...word(32), ...Array.from({ length: 60 }, () => word(40)).flat()]);
    const budget = { left: 1_000 };
    expect(decodeArguments(types, data, budget)).toMatchObject({ ok: false });
    expect(budget.left).toBeGreaterThanOrEqual(-4);
  });

  it('are read leniently as contracts read them, where viem says nothing', () => {
    const [to] = ['0x00000000000000000000000000000000000000aa'] as const;
    const abi = parseAbi(['function transfer(address to, uint256 amount)']);
    const dirty = encoded([
      { type: 'uint256', value: BigInt(to) | (0xffn << 248n) },
      { type: 'uint256', value: 7n },
    ]);
    const data = `0xa9059cbb${dirty.toHex()}c0ffee` as const;
    // viem takes dirty bits and trailing bytes in silence: the reason why the decoder is ours.
    expect(decodeFunctionData({ abi, data }).args[1]).toBe(7n);
    const read = decodeArguments(parseFunction('transfer(address,uint256)').inputs, hexToBytes(data).subarray(4));
    expect(read).toMatchObject({ ok: true, exact: false });
    expect(read.ok && addressOf(read.values[0])).toBe(to);
  });
});

const flat = (values: readonly Value[]): unknown =>
  values.map((value) => (value instanceof Uint8Array ? hex(value) : flat(value)));
