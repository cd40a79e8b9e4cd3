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
import { tagOf } from './vault.ts';

export type Tally = { readonly count: number; readonly sum: Uint8Array };
/** As stored under meta `store/census`: table → [count, base64 sum]. */
export type CensusRecord = { [table: string]: readonly [count: number, sum: string] };

/** Whether a record's sums are of this kind; those of the first version had 32 bytes. */
export const isCurrent = (record: CensusRecord): boolean =>
  Object.values(record).every(([, sum]) => Buffer.from(sum, 'base64').length === BLOCK_BYTES);

const BLOCK_BYTES = 16;
/** Of the first block: 4 bytes of length, and these of the hash of the table's name. */
const NAME_BYTES = 12;
const LENGTH_BYTES = 4;
/** Messages that wait to be summed. */
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
    this.#counts.get(table)!.change(key, tagOf(record), 1);
  }

  remove(table: Table, key: Uint8Array, record: Uint8Array): void {
    this.#counts.get(table)!.change(key, tagOf(record), -1);
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
}

const nameOf = (table: Table): Uint8Array => hash('sha256', table, 'buffer').subarray(0, NAME_BYTES);

/** Of one table. */
class Count {
  readonly #cipher: Cipheriv;
  readonly #name: Uint8Array;
  readonly #sum: Uint32Array;
  #count: number;
  #waiting: Buffer | undefined;
  #used = 0;

  constructor(cipher: Cipheriv, name: Uint8Array, count: number, sum: Uint32Array) {
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

  /** Added or removed, its term is XORed in. */
  change(key: Uint8Array, tag: Uint8Array, by: 1 | -1): void {
    const padded = Math.ceil(key.length / BLOCK_BYTES) * BLOCK_BYTES;
    const bytes = 2 * BLOCK_BYTES + padded;
    if (this.#used + bytes > WAITING_BYTES) this.#fold();
    this.#waiting ??= Buffer.alloc(WAITING_BYTES);
    const at = this.#used;
    this.#waiting.writeUInt32BE(key.length, at);
    this.#waiting.set(this.#name, at + LENGTH_BYTES);
    this.#waiting.set(tag, at + BLOCK_BYTES);
    this.#waiting.fill(0, at + bytes - BLOCK_BYTES, at + bytes);
    this.#waiting.set(key, at + 2 * BLOCK_BYTES);
    this.#used += bytes;
    this.#count += by;
  }

  #fold(): void {
    if (this.#waiting === undefined || this.#used === 0) return;
    const words = new Uint32Array(this.#waiting.buffer, this.#waiting.byteOffset, this.#used / 4);
    const ends: number[] = [];
    for (let at = 0; at < this.#used; at = ends.at(-1)!) {
      const padded = Math.ceil(this.#waiting.readUInt32BE(at) / BLOCK_BYTES) * BLOCK_BYTES;
      ends.push(at + 2 * BLOCK_BYTES + padded);
    }
    const states = macs(this.#cipher, words, ends);
    for (let i = 0; i < states.length; i++) this.#sum[i % 4]! ^= states[i]!;
    this.#used = 0;
  }
}

/**
 * CBC-MAC of messages that lie one behind the other.
 *
 * @param ends  in bytes, of each message; whole blocks
 * @returns     four words a message
 */
function macs(cipher: Cipheriv, words: Uint32Array, ends: readonly number[]): Uint32Array {
  const states = new Uint32Array(ends.length * 4);
  const bytes = new Uint8Array(states.buffer);
  // Word and end of the block that comes next, of each message that has one.
  let active = ends.map((end, i) => ({ state: i * 4, at: i === 0 ? 0 : ends[i - 1]! / 4, end: end / 4 }));
  while (active.length > 0) {
    for (const { state, at } of active) for (let i = 0; i < 4; i++) states[state + i]! ^= words[at + i]!;
    const out = cipher.update(bytes);
    const enciphered = new Uint32Array(out.buffer.slice(out.byteOffset, out.byteOffset + out.length));
    for (const { state } of active) for (let i = 0; i < 4; i++) states[state + i] = enciphered[state + i]!;
    for (const each of active) each.at += 4;
    active = active.filter(({ at, end }) => at < end);
  }
  return states;
}
