// The Solidity contract ABI, as far as policies need it: function signatures, read from the human-readable or the JSON form
// into one canonical spelling, and a decoder of calldata. The decoder reads what a contract would read, wherever offsets
// point, and says beside it whether the bytes are the one canonical encoding of what they mean: viem's and ethers' decoders
// drop dirty bits, gaps and trailing bytes in silence, and in those an operation could hide (abi.test.ts shows it). Pure;
// every read is bounded by the input and by a budget, so that offsets that point at each other cost nothing.
import { keccak_256 } from '@noble/hashes/sha3.js';
import { hex, utf8 } from './encoding.ts';
import { toUint } from './rlp.ts';

export type AbiType =
  | { readonly kind: 'address' | 'bool' | 'bytes' | 'string' }
  | { readonly kind: 'uint' | 'int'; readonly bits: number }
  | { readonly kind: 'fixed'; readonly bytes: number }
  | { readonly kind: 'array'; readonly of: AbiType; readonly length: number | null }
  | { readonly kind: 'tuple'; readonly of: readonly AbiType[] };

/** A word (32 bytes) or the content of `bytes` and `string`, as a view of the input; arrays and tuples of those. */
export type Value = Uint8Array | readonly Value[];

export interface AbiFunction {
  readonly name: string;
  /** `transfer(address,uint256)`. */
  readonly signature: string;
  readonly selector: `0x${string}`;
  readonly inputs: readonly AbiType[];
}

export type Read =
  | {
      readonly ok: true;
      readonly values: readonly Value[];
      /** The bytes are the canonical encoding of the values. */
      readonly exact: boolean;
    }
  /** `unreadable`: no contract could read it. `too_complex`: it is longer than the budget. */
  | { readonly ok: false; readonly reason: 'unreadable' | 'too_complex' };

const WORD = 32;
/** How many values may still be read; shared by all that belongs to one transaction. */
export interface Budget {
  left: number;
}

/** Canonical calldata of 96 KiB has 3,008 words, so only offsets that point again and again at one place come here. */
export const VALUES_MAX = 65_536;
const TYPE_DEPTH_MAX = 8;
const SIGNATURE_CHARACTERS_MAX = 512;
export const FUNCTION_NAME = /^[A-Za-z_$][A-Za-z0-9_$]{0,63}$/;

/** @throws {SyntaxError} when it is no signature; the text says what is wrong with it */
export function parseFunction(text: string): AbiFunction {
  if (text.length > SIGNATURE_CHARACTERS_MAX) fail(`expected at most ${SIGNATURE_CHARACTERS_MAX} characters`);
  const [, name = '', rest = ''] = /^\s*(?:function\s+)?([^\s(]+)\s*(\(.*)$/s.exec(text) ?? [];
  if (!FUNCTION_NAME.test(name)) fail('expected a function, such as "transfer(address to, uint256 amount)"');
  const parser = new Parser(rest);
  const inputs = parser.parameters(0);
  if (!TAIL.test(parser.rest)) fail(`unexpected ${JSON.stringify(parser.rest.trim().slice(0, 32))}`);
  return abiFunction(name, inputs);
}

const TAIL =
  /^(?:\s+|external|public|internal|private|view|pure|payable|nonpayable|virtual|override)*(?:returns\s*\([^;]*\))?\s*;?\s*$/;

/** An entry of a JSON ABI; undefined for what is no function (events, errors, the constructor). */
export function functionOfJson(entry: JsonFunction): AbiFunction | undefined {
  if (entry.type !== undefined && entry.type !== 'function') return undefined;
  const name = entry.name ?? '';
  if (!FUNCTION_NAME.test(name)) fail('expected the name of a function');
  return abiFunction(
    name,
    (entry.inputs ?? []).map((input) => typeOfJson(input, 0)),
  );
}

export interface JsonParameter {
  readonly type: string;
  readonly components?: readonly JsonParameter[] | undefined;
}
export interface JsonFunction {
  readonly type?: string | undefined;
  readonly name?: string | undefined;
  readonly inputs?: readonly JsonParameter[] | undefined;
}

function abiFunction(name: string, inputs: readonly AbiType[]): AbiFunction {
  const signature = `${name}(${inputs.map(spell).join(',')})`;
  if (signature.length > SIGNATURE_CHARACTERS_MAX) fail(`expected at most ${SIGNATURE_CHARACTERS_MAX} characters`);
  return { name, signature, selector: selectorOf(signature), inputs };
}

export function selectorOf(signature: string): `0x${string}` {
  return hex(keccak_256(utf8(signature)).subarray(0, 4));
}

function spell(type: AbiType): string {
  switch (type.kind) {
    case 'uint':
    case 'int':
      return `${type.kind}${type.bits}`;
    case 'fixed':
      return `bytes${type.bytes}`;
    case 'array':
      return `${spell(type.of)}[${type.length ?? ''}]`;
    case 'tuple':
      return `(${type.of.map(spell).join(',')})`;
    default:
      return type.kind;
  }
}

/** Types with names and locations, as the human-readable form has them. */
class Parser {
  rest: string;

  constructor(text: string) {
    this.rest = text;
  }

  /** `(type name, …)` */
  parameters(depth: number): AbiType[] {
    if (depth > TYPE_DEPTH_MAX) fail(`expected tuples at most ${TYPE_DEPTH_MAX} deep`);
    this.#take(/^\s*\(\s*/, '(');
    const types: AbiType[] = [];
    if (this.#skip(/^\)/)) return types;
    for (;;) {
      types.push(this.#type(depth));
      this.#skip(/^\s+(?:memory|calldata|storage|payable)\b/);
      this.#skip(/^\s+[A-Za-z_$][A-Za-z0-9_$]*/);
      if (this.#skip(/^\s*\)/)) return types;
      this.#take(/^\s*,\s*/, ', or )');
    }
  }

  #type(depth: number): AbiType {
    this.#skip(/^tuple(?=\s*\()/);
    const base: AbiType = this.rest.trimStart().startsWith('(')
      ? { kind: 'tuple', of: this.parameters(depth + 1) }
      : elementary(this.#take(/^\s*[a-z]+[0-9]*/, 'a type').trim());
    const suffix = this.#take(/^(?:\[[0-9]*\])*/, '');
    return arrays(base, suffix);
  }

  #take(pattern: RegExp, wanted: string): string {
    const [found] = pattern.exec(this.rest) ?? [];
    if (found === undefined) fail(`expected ${wanted} at ${JSON.stringify(this.rest.slice(0, 32))}`);
    this.rest = this.rest.slice(found.length);
    return found;
  }

  #skip(pattern: RegExp): boolean {
    const [found] = pattern.exec(this.rest) ?? [];
    if (found !== undefined) this.rest = this.rest.slice(found.length);
    return found !== undefined;
  }
}

function typeOfJson({ type, components = [] }: JsonParameter, depth: number): AbiType {
  if (depth > TYPE_DEPTH_MAX) fail(`expected tuples at most ${TYPE_DEPTH_MAX} deep`);
  const [, base = '', suffix = ''] = /^([a-z0-9]+)((?:\[[0-9]*\])*)$/.exec(type) ?? [];
  const inner: AbiType =
    base === 'tuple'
      ? { kind: 'tuple', of: components.map((component) => typeOfJson(component, depth + 1)) }
      : elementary(base);
  return arrays(inner, suffix);
}

/** `[]` and `[3]` behind a type, from left to right. Types that take no bytes are none: there could be endlessly many. */
function arrays(base: AbiType, suffix: string): AbiType {
  const lengths = [...suffix.matchAll(/\[([0-9]*)\]/g)];
  if (lengths.length > TYPE_DEPTH_MAX) fail(`expected arrays at most ${TYPE_DEPTH_MAX} deep`);
  if (base.kind === 'tuple' && base.of.length === 0) fail('expected no empty tuple');
  return lengths.reduce<AbiType>((of, [, digits = '']) => {
    const length = digits === '' ? null : Number(digits);
    if (length !== null && (length === 0 || length > 1_024 || String(length) !== digits)) {
      fail('expected an array of 1 to 1,024 elements');
    }
    return { kind: 'array', of, length };
  }, base);
}

function elementary(name: string): AbiType {
  if (name === 'address' || name === 'bool' || name === 'bytes' || name === 'string') return { kind: name };
  const [, kind, digits] = /^(uint|int|bytes)([0-9]*)$/.exec(name) ?? [];
  if (kind === 'bytes') {
    const bytes = Number(digits);
    if (bytes >= 1 && bytes <= 32 && String(bytes) === digits) return { kind: 'fixed', bytes };
  } else if (kind === 'uint' || kind === 'int') {
    const bits = digits === '' ? 256 : Number(digits);
    if (bits >= 8 && bits <= 256 && bits % 8 === 0 && (digits === '' || String(bits) === digits)) return { kind, bits };
  }
  return fail(`${JSON.stringify(name)} is no ABI type`);
}

function fail(message: string): never {
  throw new SyntaxError(message);
}

/**
 * Reads arguments as a contract does: offsets count from the tuple that they stand in and may point anywhere inside.
 *
 * @param data  behind the selector
 */
export function decodeArguments(
  types: readonly AbiType[],
  data: Uint8Array,
  budget: Budget = { left: VALUES_MAX },
): Read {
  const decoder = new Decoder(data, budget);
  const values = decoder.tuple(types, 0);
  if (decoder.failure !== null || values === null) return { ok: false, reason: decoder.failure ?? 'unreadable' };
  return { ok: true, values, exact: decoder.exact && decoder.end === data.length };
}

/**
 * Canonical is: words clean, tails in the order of their heads without gap or overlap, padding zero, nothing behind. So
 * while it walks, the decoder knows where the next tail has to begin.
 */
class Decoder {
  exact = true;
  failure: 'unreadable' | 'too_complex' | null = null;
  /** Of what was read last. */
  end = 0;
  readonly #data: Uint8Array;
  readonly #budget: Budget;

  constructor(data: Uint8Array, budget: Budget) {
    this.#data = data;
    this.#budget = budget;
  }

  tuple(types: readonly AbiType[], base: number): Value[] | null {
    const values: Value[] = [];
    let head = base;
    let tail = base + types.reduce((sum, type) => sum + headBytes(type), 0);
    for (const type of types) {
      const value = isDynamic(type) ? this.#behind(type, base, head, tail) : this.#inPlace(type, head);
      if (value === null) return null;
      if (isDynamic(type)) tail = this.end;
      head += headBytes(type);
      values.push(value);
    }
    this.end = tail;
    return values;
  }

  /** @param tail  where it stands in a canonical encoding */
  #behind(type: AbiType, base: number, head: number, tail: number): Value | null {
    const offset = this.#length(head);
    if (offset === null) return null;
    const at = base + offset;
    if (at !== tail) this.exact = false;
    if (type.kind === 'bytes' || type.kind === 'string') return this.#string(at);
    if (type.kind === 'tuple') return this.tuple(type.of, at);
    if (type.kind !== 'array') return this.#fail();
    if (type.length !== null) return this.#elements(type.of, type.length, at);
    const length = this.#length(at);
    return length === null ? null : this.#elements(type.of, length, at + WORD);
  }

  #elements(of: AbiType, length: number, at: number): Value | null {
    // Each takes its head at least, so what is not there is not counted to.
    if (length * headBytes(of) > this.#data.length - at) return this.#fail();
    if (length > this.#budget.left) return this.#fail('too_complex');
    return this.tuple(
      Array.from({ length }, () => of),
      at,
    );
  }

  #string(at: number): Value | null {
    const length = this.#length(at);
    if (length === null) return null;
    const start = at + WORD;
    if (length > this.#data.length - start) return this.#fail();
    const padded = start + Math.ceil(length / WORD) * WORD;
    const padding = this.#data.subarray(start + length, padded);
    if (padded > this.#data.length || padding.some((byte) => byte !== 0)) this.exact = false;
    this.end = padded;
    return this.#spend() ? this.#data.subarray(start, start + length) : null;
  }

  #inPlace(type: AbiType, at: number): Value | null {
    if (type.kind === 'tuple') return this.tuple(type.of, at);
    if (type.kind === 'array') {
      return this.tuple(
        Array.from({ length: type.length ?? 0 }, () => type.of),
        at,
      );
    }
    const word = this.#word(at);
    if (word === null) return null;
    if (!isClean(type, word)) this.exact = false;
    return word;
  }

  /** An offset or a length: what is beyond the input is refused here, long before numbers lose precision. */
  #length(at: number): number | null {
    const word = this.#word(at);
    if (word === null) return null;
    if (word.subarray(0, WORD - 4).some((byte) => byte !== 0)) return this.#fail();
    return new DataView(word.buffer, word.byteOffset).getUint32(WORD - 4);
  }

  #word(at: number): Uint8Array | null {
    if (at + WORD > this.#data.length) return this.#fail();
    return this.#spend() ? this.#data.subarray(at, at + WORD) : null;
  }

  #spend(): boolean {
    this.#budget.left -= 1;
    if (this.#budget.left < 0) this.#fail('too_complex');
    return this.#budget.left >= 0;
  }

  #fail(failure: 'unreadable' | 'too_complex' = 'unreadable'): null {
    this.failure ??= failure;
    return null;
  }
}

function isDynamic(type: AbiType): boolean {
  if (type.kind === 'array') return type.length === null || isDynamic(type.of);
  if (type.kind === 'tuple') return type.of.some(isDynamic);
  return type.kind === 'bytes' || type.kind === 'string';
}

function headBytes(type: AbiType): number {
  if (isDynamic(type)) return WORD;
  if (type.kind === 'array') return (type.length ?? 0) * headBytes(type.of);
  if (type.kind === 'tuple') return type.of.reduce((sum, each) => sum + headBytes(each), 0);
  return WORD;
}

/** No bit is set that the type doesn't have; negative integers are sign-extended. */
function isClean(type: AbiType, word: Uint8Array): boolean {
  switch (type.kind) {
    case 'address':
      return isZero(word.subarray(0, 12));
    case 'bool':
      return isZero(word.subarray(0, 31)) && word[31]! <= 1;
    case 'uint':
      return isZero(word.subarray(0, WORD - type.bits / 8));
    case 'int': {
      const start = WORD - type.bits / 8;
      const sign = word[start]! >= 0x80 ? 0xff : 0;
      return word.subarray(0, start).every((byte) => byte === sign);
    }
    case 'fixed':
      return isZero(word.subarray(type.bytes));
    default:
      return true;
  }
}

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** What a contract takes for an address: the low 20 bytes of a word. */
export function addressOf(value: Value | undefined): `0x${string}` {
  return hex(bytesOf(value).subarray(12));
}

export function uintOf(value: Value | undefined): bigint {
  return toUint(bytesOf(value));
}

export function bytesOf(value: Value | undefined): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError('a word or bytes were read as something else');
  return value;
}

export function listOf(value: Value | undefined): readonly Value[] {
  if (value === undefined || value instanceof Uint8Array) throw new TypeError('a list was read as something else');
  return value;
}
