/**
 * The census: for each table, how many records it holds and a keyed sum over which ones. LMDB has no checksums, and a seal shows only
 * that a record was once true: it does not show a record that is gone, or an old one put back. The store writes the census with every
 * commit; the check at boot counts again.
 *
 * sum = XOR over records of SHA-256(census key ‖ table ‖ 0x00 ‖ key ‖ tag). A set hash by XOR is sound while outputs are secret: the
 * key comes from the store key, and the sums are themselves sealed. A record's tag stands for its content.
 */
import { hash } from 'node:crypto';
import { type Table, tableNames } from './tables.ts';
import { tagOf } from './vault.ts';

export type Tally = { count: number; sum: Uint8Array };
/** As stored under meta `store/census`: table → [count, base64 sum]. */
export type CensusRecord = { [table: string]: readonly [count: number, sum: string] };

const SUM_BYTES = 32;

export class Census {
  readonly #key: Buffer;
  readonly #tallies: Map<string, Tally>;

  private constructor(key: Uint8Array, tallies: Map<string, Tally>) {
    this.#key = Buffer.from(key);
    this.#tallies = tallies;
  }

  /** @param key 32 secret bytes; @param record what the store holds, nothing for a new store */
  static from(key: Uint8Array, record: CensusRecord = {}): Census {
    const tallies = new Map<string, Tally>();
    for (const name of tableNames) {
      const [count, sum] = record[name] ?? [0, ''];
      tallies.set(name, {
        count,
        sum: sum === '' ? new Uint8Array(SUM_BYTES) : Uint8Array.from(Buffer.from(sum, 'base64')),
      });
    }
    return new Census(key, tallies);
  }

  clone(): Census {
    const tallies = [...this.#tallies].map(([name, { count, sum }]) => [name, { count, sum: sum.slice() }] as const);
    return new Census(this.#key, new Map(tallies));
  }

  add(table: Table, key: Uint8Array, record: Uint8Array): void {
    this.#change(table, key, record, 1);
  }

  remove(table: Table, key: Uint8Array, record: Uint8Array): void {
    this.#change(table, key, record, -1);
  }

  get(table: Table): Tally {
    return this.#tallies.get(table) as Tally;
  }

  record(): CensusRecord {
    const entries = [...this.#tallies].map(([name, { count, sum }]) => [
      name,
      [count, Buffer.from(sum).toString('base64')],
    ]);
    return Object.fromEntries(entries);
  }

  #change(table: Table, key: Uint8Array, record: Uint8Array, by: 1 | -1): void {
    const tally = this.#tallies.get(table) as Tally;
    const term = hash('sha256', Buffer.concat([this.#key, Buffer.from(`${table}\0`), key, tagOf(record)]), 'buffer');
    for (let i = 0; i < SUM_BYTES; i++) tally.sum[i] = (tally.sum[i] as number) ^ (term[i] as number);
    tally.count += by;
  }
}
