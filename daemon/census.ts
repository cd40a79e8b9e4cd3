/**
 * The census: for each table, how many records it holds and a keyed sum over which ones. LMDB has no checksums, and a seal shows only
 * that a record was once true: it does not show a record that is gone, or an old one put back. The store writes the census with every
 * commit; the check at boot counts again.
 *
 * sum = XOR over records of CBC-MAC(length of key ‖ table ‖ tag ‖ key) under AES-256. A set hash by XOR is sound while its terms are
 * secret: the key comes from the store key, and the sums are themselves sealed. CBC-MAC is a pseudo-random function where no message is
 * the beginning of another (Petrank and Rackoff, 2000), which the length in the first block sees to. A record's tag stands for its
 * content. Records are taken in side by side, a block of each at a time, because one call into the cipher for thousands of blocks costs
 * a tenth of a call for each record: a boot counts millions.
 */
import { type Cipheriv, createCipheriv, hash } from 'node:crypto';
import { type Table, tableNames } from './tables.ts';
import { TAG_BYTES, tagOf } from './vault.ts';

/** A record that lies somewhere else: what the census takes of it is copied straight to where it is summed. */
export type Counted = {
  readonly keyBytes: number;
  copyKey(into: Uint8Array, at: number): void;
  copyTail(into: Uint8Array, at: number, count: number): void;
};
export type Tally = { readonly count: number; readonly sum: Uint8Array };
/** As stored under meta `store/census`: table → [count, base64 sum]. */
export type CensusRecord = { [table: string]: readonly [count: number, sum: string] };

/** Whether a record's sums are of this kind; those of the first version had 32 bytes. */
export const isCurrent = (record: CensusRecord): boolean =>
  Object.values(record).every(([, sum]) => Buffer.from(sum, 'base64').length === BLOCK_BYTES);

const BLOCK_BYTES = 16;
/** Of the first block: 4 bytes of length, and these of the hash of the table's name. */
const NAME_BYTES = 12;
/** Of messages that wait to be summed. */
const WAITING_BYTES = 64 * 1024;

export class Census {
  readonly #cipher: Cipheriv;
  readonly #counts: Map<string, Count>;

  private constructor(cipher: Cipheriv, counts: Map<string, Count>) {
    this.#cipher = cipher;
    this.#counts = counts;
  }

  /** @param key 32 secret bytes; @param record what the store holds, nothing for a new store */
  static from(key: Uint8Array, record: CensusRecord = {}): Census {
    const cipher = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
    const counts = tableNames.map((name) => {
      const [count, sum] = record[name] ?? [0, ''];
      const words = new Uint32Array(BLOCK_BYTES / 4);
      Buffer.from(words.buffer).set(Buffer.from(sum, 'base64'));
      return [name, new Count(cipher, nameOf(name), count, words)] as const;
    });
    return new Census(cipher, new Map(counts));
  }

  clone(): Census {
    return new Census(this.#cipher, new Map([...this.#counts].map(([name, count]) => [name, count.clone()])));
  }

  add(table: Table, key: Uint8Array, record: Uint8Array): void {
    this.#change(table, key, tagOf(record), 1);
  }

  remove(table: Table, key: Uint8Array, record: Uint8Array): void {
    this.#change(table, key, tagOf(record), -1);
  }

  /** Adds as `add` does, for the millions of a table. */
  adder(table: Table): (record: Counted) => void {
    const count = this.#counts.get(table)!;
    return (record) => {
      const at = count.change(record.keyBytes, 1);
      record.copyTail(count.waiting, at, TAG_BYTES);
      record.copyKey(count.waiting, at + TAG_BYTES);
    };
  }

  get(table: Table): Tally {
    return this.#counts.get(table)!.tally();
  }

  record(): CensusRecord {
    const entries = [...this.#counts].map(([name, counted]) => {
      const { count, sum } = counted.tally();
      return [name, [count, Buffer.from(sum).toString('base64')]];
    });
    return Object.fromEntries(entries);
  }

  #change(table: Table, key: Uint8Array, tag: Uint8Array, by: 1 | -1): void {
    const count = this.#counts.get(table)!;
    const at = count.change(key.length, by);
    count.waiting.set(tag, at);
    count.waiting.set(key, at + TAG_BYTES);
  }
}

const nameOf = (table: Table): Uint32Array =>
  new Uint32Array(Uint8Array.from(hash('sha256', table, 'buffer')).buffer, 0, NAME_BYTES / 4);

/** Messages that wait to be summed: the same bytes three times, since the MAC takes words, keys are bytes and lengths big-endian. */
type Waiting = {
  readonly words: Uint32Array;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Of each message that has blocks left, in words: where the next begins, and where the last ends. */
  readonly next: Uint32Array;
  readonly end: Uint32Array;
  /** Room for a block of each. */
  readonly states: Uint32Array;
};

/** Of one table. */
class Count {
  readonly #cipher: Cipheriv;
  readonly #name: Uint32Array;
  readonly #sum: Uint32Array;
  #count: number;
  #waiting: Waiting | undefined;
  #used = 0;
  #messages = 0;

  constructor(cipher: Cipheriv, name: Uint32Array, count: number, sum: Uint32Array) {
    this.#cipher = cipher;
    this.#name = name;
    this.#count = count;
    this.#sum = sum;
  }

  /** Empty buffers are handed on: of the two, only one goes on counting. */
  clone(): Count {
    this.#fold();
    const clone = new Count(this.#cipher, this.#name, this.#count, this.#sum.slice());
    clone.#waiting = this.#waiting;
    return clone;
  }

  tally(): Tally {
    this.#fold();
    return { count: this.#count, sum: new Uint8Array(this.#sum.buffer.slice(0)) };
  }

  get waiting(): Uint8Array {
    return this.#waiting!.bytes;
  }

  /**
   * Begins the message of a record; added or removed, its term is XORed in.
   *
   * @returns where in `waiting` its tag belongs, with the key behind it: the caller writes both before it asks for anything else
   */
  change(keyBytes: number, by: 1 | -1): number {
    const padded = Math.ceil(keyBytes / BLOCK_BYTES) * BLOCK_BYTES;
    const bytes = 2 * BLOCK_BYTES + padded;
    if (this.#used + bytes > WAITING_BYTES) this.#fold();
    this.#waiting ??= makeWaiting();
    const at = this.#used;
    const { words, view, next, end } = this.#waiting;
    view.setUint32(at, keyBytes);
    // In loops, since `set` and `fill` take longer for so little. The last block is filled up with zeros.
    for (let i = 0; i < 3; i++) words[at / 4 + 1 + i] = this.#name[i]!;
    for (let word = (at + BLOCK_BYTES) / 4; word < (at + bytes) / 4; word++) words[word] = 0;
    next[this.#messages] = at / 4;
    end[this.#messages] = (at + bytes) / 4;
    this.#messages += 1;
    this.#used += bytes;
    this.#count += by;
    return at + BLOCK_BYTES;
  }

  #fold(): void {
    if (this.#waiting !== undefined && this.#messages > 0)
      addMacs(this.#sum, this.#cipher, this.#waiting, this.#messages);
    this.#messages = 0;
    this.#used = 0;
  }
}

function makeWaiting(): Waiting {
  const buffer = new ArrayBuffer(WAITING_BYTES);
  const messages_max = WAITING_BYTES / (2 * BLOCK_BYTES);
  return {
    words: new Uint32Array(buffer),
    bytes: new Uint8Array(buffer),
    view: new DataView(buffer),
    next: new Uint32Array(messages_max),
    end: new Uint32Array(messages_max),
    states: new Uint32Array((messages_max * BLOCK_BYTES) / 4),
  };
}

/** XORs into `sum` the CBC-MAC of each message: a block of each at a time, until none is left. */
function addMacs(sum: Uint32Array, cipher: Cipheriv, { words, next, end, states }: Waiting, messages: number): void {
  for (let m = 0; m < messages; m++) {
    for (let i = 0; i < 4; i++) states[4 * m + i] = words[next[m]! + i]!;
  }
  for (let active = messages; active > 0; ) {
    const out = cipher.update(new Uint8Array(states.buffer, 0, active * BLOCK_BYTES));
    const enciphered = new Uint32Array(out.buffer.slice(out.byteOffset, out.byteOffset + out.length));
    let left = 0;
    for (let m = 0; m < active; m++) {
      const at = next[m]! + 4;
      if (at === end[m]!) {
        for (let i = 0; i < 4; i++) sum[i]! ^= enciphered[4 * m + i]!;
        continue;
      }
      // Those that go on close up.
      for (let i = 0; i < 4; i++) states[4 * left + i] = enciphered[4 * m + i]! ^ words[at + i]!;
      next[left] = at;
      end[left] = end[m]!;
      left += 1;
    }
    active = left;
  }
}
