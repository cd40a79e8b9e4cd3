// Recursive Length Prefix, read as strictly as go-ethereum's `rlp.Stream` reads it: every value has one encoding and all
// others are refused, so decoding and encoding again gives the same bytes. The transaction decoder is its only reader.
// A reader walks fields in order and never recurses by itself, so nesting costs nothing. The first failure sticks: later
// reads give empty values and the caller looks once, at the end.

/** Where a read failed and why; shared by a reader and the lists inside it. */
interface State {
  failure: string | null;
}

const NOTHING = new Uint8Array(0);

/** Reads the items of one list, in order. Ask `failure` before believing anything that was read. */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  readonly #state: State;
  #at: number;

  private constructor(bytes: Uint8Array, at: number, end: number, state: State) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
    this.#state = state;
  }

  /** A reader over bytes that must be exactly one list (`rlp.DecodeBytes`: one value, nothing after it). */
  static open(bytes: Uint8Array, name: string): Reader {
    const outer = new Reader(bytes, 0, bytes.length, { failure: null });
    const list = outer.list(name);
    outer.close(name);
    return list;
  }

  /** What was wrong first, or null while all is well. */
  get failure(): string | null {
    return this.#state.failure;
  }

  /** Offset of the next item in the bytes that `open` was given. */
  get at(): number {
    return this.#at;
  }

  /** Whether another item follows; false after a failure, so that loops end. */
  get more(): boolean {
    return this.#at < this.#end && this.#state.failure === null;
  }

  /** A byte string, as a view of the input; of exactly `bytes` bytes where given. */
  string(name: string, bytes?: number): Uint8Array {
    const item = this.#item(name);
    if (item === null) return NOTHING;
    if (item.list) return this.#fail(`${name} is a list, expected a string`);
    const value = this.#bytes.subarray(item.start, item.end);
    if (bytes !== undefined && value.length !== bytes) {
      return this.#fail(`${name} has ${value.length} bytes, expected ${bytes}`);
    }
    return value;
  }

  /** A byte string of exactly `bytes` bytes, or null for the empty string (go-ethereum's `rlp:"nil"` on an array). */
  optional(name: string, bytes: number): Uint8Array | null {
    const value = this.string(name);
    if (value.length === 0) return null;
    return value.length === bytes ? value : this.#fail(`${name} has ${value.length} bytes, expected 0 or ${bytes}`);
  }

  /** An unsigned integer of at most `bits` bits: big-endian, no leading zeros, zero is the empty string. */
  uint(name: string, bits: 8 | 64 | 256): bigint {
    const value = this.string(name);
    if (value.length === 0) return 0n;
    if (value[0] === 0) this.#fail(`${name} has leading zero bytes`);
    else if (value.length > bits / 8) this.#fail(`${name} is wider than ${bits} bits`);
    return this.#state.failure === null ? toUint(value) : 0n;
  }

  /** A list inside this one. Read it to its end and `close` it. */
  list(name: string): Reader {
    const item = this.#item(name);
    if (item !== null && !item.list) this.#fail(`${name} is a string, expected a list`);
    return item?.list
      ? new Reader(this.#bytes, item.start, item.end, this.#state)
      : new Reader(this.#bytes, 0, 0, this.#state);
  }

  /** Says that no more items may follow. */
  close(name: string): void {
    if (this.#at < this.#end) this.#fail(`${name} has more than was expected`);
  }

  /** Takes the next item's prefix (`Stream.readKind`): lengths are minimal and stay inside the list around them. */
  #item(name: string): { list: boolean; start: number; end: number } | null {
    if (this.#state.failure !== null) return null;
    if (this.#at >= this.#end) return this.#refuse(`${name} is missing`);
    const prefix = this.#bytes[this.#at]!;
    if (prefix < 0x80) return this.#take(false, this.#at, 1);

    const list = prefix >= 0xc0;
    const short = prefix - (list ? 0xc0 : 0x80);
    let start = this.#at + 1;
    let length = short;
    if (short > 55) {
      const width = short - 55;
      if (width > this.#end - start) return this.#refuse(`${name} ends inside its length`);
      if (this.#bytes[start] === 0) return this.#refuse(`the length of ${name} has leading zero bytes`);
      length = 0;
      for (let i = 0; i < width; i++) length = length * 256 + this.#bytes[start + i]!; // far beyond the input: still refused below
      if (length < 56) return this.#refuse(`the length of ${name} should be in its prefix`);
      start += width;
    }
    if (length > this.#end - start) return this.#refuse(`${name} is longer than what holds it`);
    if (!list && length === 1 && this.#bytes[start]! < 0x80) {
      return this.#refuse(`${name} is one byte below 0x80 and should stand for itself`);
    }
    return this.#take(list, start, length);
  }

  #take(list: boolean, start: number, length: number) {
    this.#at = start + length;
    return { list, start, end: start + length };
  }

  #fail(failure: string): Uint8Array {
    this.#state.failure ??= failure;
    return NOTHING;
  }

  #refuse(failure: string): null {
    this.#fail(failure);
    return null;
  }
}

/** The prefix of a list whose items take `length` bytes in all. */
export function listPrefix(length: number): Uint8Array {
  if (length <= 55) return Uint8Array.of(0xc0 + length);
  const size = fromUint(BigInt(length));
  return Uint8Array.of(0xf7 + size.length, ...size);
}

/** An unsigned integer of at most 55 bytes. */
export function encodeUint(value: bigint): Uint8Array {
  const bytes = fromUint(value);
  return bytes.length === 1 && bytes[0]! < 0x80 ? bytes : Uint8Array.of(0x80 + bytes.length, ...bytes);
}

function fromUint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; rest > 0n; rest >>= 8n) bytes.unshift(Number(rest & 0xffn));
  return Uint8Array.from(bytes);
}

/** Big-endian bytes as an integer. */
export function toUint(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${bytes.toHex()}`);
}
