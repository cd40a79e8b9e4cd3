/**
 * What a step sees: layers of writes over the durable store. A step writes into an overlay of its own, which merges into its group's
 * overlay when the step returns and is dropped when it throws; the group's overlay becomes one LMDB transaction. Reads, ranges and
 * counts go through all layers, deletions included.
 *
 * Keys here are encoded keys as latin1 text: one character a byte, so comparing text compares bytes.
 */
import type { Table } from './tables.ts';

export type Bounds = {
  readonly start?: string | undefined;
  readonly end?: string | undefined;
  readonly reverse: boolean;
};

/** A layer to read through: LMDB itself, or an overlay. Values are plaintext bytes. */
export type Source = {
  lookup(table: Table, key: string): Uint8Array | undefined;
  has(table: Table, key: string): boolean;
  /** In key order (or against it), `start` included, `end` excluded, lazily. */
  scan(table: Table, bounds: Bounds): Iterable<readonly [key: string, value: Uint8Array]>;
  count(table: Table): number;
};

/** `null` is a deletion. */
type Writes = Map<string, Uint8Array | null>;

export class Overlay implements Source {
  readonly #below: Source;
  readonly #tables = new Map<Table, Writes>();

  constructor(below: Source) {
    this.#below = below;
  }

  get empty(): boolean {
    return this.#tables.size === 0;
  }

  set(table: Table, key: string, value: Uint8Array | null): void {
    let writes = this.#tables.get(table);
    if (writes === undefined) {
      writes = new Map();
      this.#tables.set(table, writes);
    }
    writes.set(key, value);
  }

  /** Every write, table by table. */
  *writes(): Iterable<readonly [table: Table, key: string, value: Uint8Array | null]> {
    for (const [table, writes] of this.#tables) for (const [key, value] of writes) yield [table, key, value];
  }

  /** Takes over what a step above has written. */
  merge(above: Overlay): void {
    for (const [table, key, value] of above.writes()) this.set(table, key, value);
  }

  lookup(table: Table, key: string): Uint8Array | undefined {
    const own = this.#tables.get(table)?.get(key);
    return own === undefined ? this.#below.lookup(table, key) : (own ?? undefined);
  }

  has(table: Table, key: string): boolean {
    const own = this.#tables.get(table)?.get(key);
    return own === undefined ? this.#below.has(table, key) : own !== null;
  }

  count(table: Table): number {
    let count = this.#below.count(table);
    for (const [key, value] of this.#tables.get(table) ?? []) {
      if (this.#below.has(table, key)) count -= value === null ? 1 : 0;
      else count += value === null ? 0 : 1;
    }
    return count;
  }

  /** Merges two sorted sequences; at equal keys the upper layer wins. Sorts its own part, at most the writes of a group. */
  *scan(table: Table, bounds: Bounds): Iterable<readonly [string, Uint8Array]> {
    const own = this.#sorted(table, bounds);
    if (own.length === 0) {
      yield* this.#below.scan(table, bounds);
      return;
    }
    let next = 0;
    for (const entry of this.#below.scan(table, bounds)) {
      while (next < own.length && precedes((own[next] as OwnEntry)[0], entry[0], bounds.reverse)) {
        const [key, value] = own[next++] as OwnEntry;
        if (value !== null) yield [key, value];
      }
      if (next < own.length && (own[next] as OwnEntry)[0] === entry[0]) {
        const [key, value] = own[next++] as OwnEntry;
        if (value !== null) yield [key, value];
      } else {
        yield entry;
      }
    }
    for (; next < own.length; next++) {
      const [key, value] = own[next] as OwnEntry;
      if (value !== null) yield [key, value];
    }
  }

  #sorted(table: Table, { start, end, reverse }: Bounds): OwnEntry[] {
    const inside = [...(this.#tables.get(table) ?? [])].filter(
      ([key]) => (start === undefined || key >= start) && (end === undefined || key < end),
    );
    return inside.sort(([a], [b]) => (precedes(a, b, reverse) ? -1 : 1));
  }
}

type OwnEntry = [key: string, value: Uint8Array | null];

function precedes(a: string, b: string, reverse: boolean): boolean {
  return reverse ? a > b : a < b;
}
