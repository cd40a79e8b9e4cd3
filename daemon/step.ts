/**
 * What a step holds in its hands: a typed reader and a typed transaction over layers of bytes. Everything that one event changes
 * (snapshots, journal entries, effects owed) goes through one `Transaction`, so that it becomes durable together or not at all.
 *
 * The store makes these; nobody else does. They also keep the invariants that no table codec can: a promise to sign never changes, the
 * journal only grows (or is pruned from its old end), and effects are owed and settled through their own functions.
 */
import assert from 'node:assert';
import { appendEntry, type JournalHead } from './journal.ts';
import { type Bounds, Overlay, type Source } from './overlay.ts';
import { type Key, type KeyCodec, type OwedEffect, type Table, tables, type Value } from './tables.ts';

/** A part of a table: `start` included, `end` excluded, in key order unless `reverse`; `limit` bounds what is read. */
export type Range<T extends Table> = { start?: Key<T>; end?: Key<T>; limit: number; reverse?: boolean };

export interface Reader {
  get<T extends Table>(table: T, key: Key<T>): Value<T> | undefined;
  /** Read at once into an array, at most 100,000 entries, so that no cursor stays open over an await. */
  range<T extends Table>(table: T, range: Range<T>): Iterable<readonly [Key<T>, Value<T>]>;
  /** In O(1) on the store, in O(writes of the group) inside a step. */
  count(table: Table): number;
}

export interface Transaction extends Reader {
  /** Values are serialized here: changing the object later changes nothing. */
  put<T extends Table>(table: T, key: Key<T>, value: Value<T>): void;
  /** Removing what is not there changes nothing. */
  remove<T extends Table>(table: T, key: Key<T>): void;
  /** Appends an entry for the feed. @returns its cursor, from 1 without a gap */
  journal(type: string, data: object, at_ms: number): number;
  /** Owes an effect: it stays in the outbox until settled. @returns its id, from 1, never used again */
  effect(effect: OwedEffect): number;
  /** @returns whether it was still owed: an outcome that comes twice (a replay) settles once */
  settle(effectId: number): boolean;
}

/** The numbers that a step draws from; they become true with the commit, never before. */
export type Counters = { readonly head: JournalHead; readonly nextEffect: number };

/** How counters are kept, in meta `store/head`. */
export type HeadRecord = { cursor: number; hash: string; next_effect: number; commits: number };

/** Names in `meta` that belong to the store itself. */
export const OWN_PREFIX = 'store/';
const LIMIT_MAX = 100_000;
/** Far above a body of 4 MiB, far below what would stall a commit for long. */
const VALUE_BYTES_MAX = 64 * 1024 * 1024;

export function createReader(source: Source): Reader {
  return {
    get(table, key) {
      const bytes = source.lookup(table, encodeKey(table, key));
      return bytes === undefined ? undefined : decodeValue(table, bytes);
    },
    range(table, { start, end, limit, reverse = false }) {
      assert(limit >= 0 && limit <= LIMIT_MAX, `a range has a limit of at most ${LIMIT_MAX}`);
      const bounds: Bounds = {
        start: start === undefined ? undefined : encodeKey(table, start),
        end: end === undefined ? undefined : encodeKey(table, end),
        reverse,
      };
      const entries: [Key<typeof table>, Value<typeof table>][] = [];
      if (limit === 0) return entries;
      for (const [key, bytes] of source.scan(table, bounds)) {
        entries.push([decodeKey(table, key), decodeValue(table, bytes)]);
        if (entries.length === limit) break;
      }
      return entries;
    },
    count: (table) => source.count(table),
  };
}

/** One step's view: reads see its own writes and those of the steps before it in the group. */
export class Step implements Transaction {
  readonly overlay: Overlay;
  readonly #reader: Reader;
  #counters: Counters;
  #open = true;

  constructor(below: Source, counters: Counters) {
    this.overlay = new Overlay(below);
    this.#reader = createReader(this.overlay);
    this.#counters = counters;
  }

  /** Ends the step: a transaction that was kept and is used later is a mistake that must not pass in silence. */
  finish(): Counters {
    this.#open = false;
    return this.#counters;
  }

  get<T extends Table>(table: T, key: Key<T>): Value<T> | undefined {
    this.#check();
    return this.#reader.get(table, key);
  }

  range<T extends Table>(table: T, range: Range<T>): Iterable<readonly [Key<T>, Value<T>]> {
    this.#check();
    return this.#reader.range(table, range);
  }

  count(table: Table): number {
    this.#check();
    return this.#reader.count(table);
  }

  put<T extends Table>(table: T, key: Key<T>, value: Value<T>): void {
    this.#check();
    assert(table !== 'journal' && table !== 'outbox', `${table} is written by its own function`);
    const name = encodeKey(table, key);
    if (table === 'meta') assert(!String(key).startsWith(OWN_PREFIX), 'names under store/ belong to the store');
    if (table === 'watermarks') {
      const held = this.#reader.get('watermarks', key as Key<'watermarks'>);
      const { digest } = value as Value<'watermarks'>;
      assert(held === undefined || held.digest === digest, `${String(key)} is already promised to another digest`);
    }
    this.overlay.set(table, name, encodeValue(table, value));
  }

  remove<T extends Table>(table: T, key: Key<T>): void {
    this.#check();
    assert(table !== 'outbox', 'an effect is settled, not removed');
    assert(table !== 'watermarks', 'a promise to sign is kept for ever');
    if (table === 'meta') assert(!String(key).startsWith(OWN_PREFIX), 'names under store/ belong to the store');
    if (table === 'journal') {
      const [oldest] = this.#reader.range('journal', { limit: 1 });
      assert(oldest?.[0] === key, 'the journal is pruned from its old end');
    }
    this.overlay.set(table, encodeKey(table, key), null);
  }

  journal(type: string, data: object, at_ms: number): number {
    this.#check();
    const head = appendEntry(this.overlay, this.#counters.head, { type, at_ms, data });
    this.#counters = { ...this.#counters, head };
    return head.cursor;
  }

  effect(effect: OwedEffect): number {
    this.#check();
    const id = this.#counters.nextEffect;
    this.overlay.set('outbox', encodeKey('outbox', id), encodeValue('outbox', effect));
    this.#counters = { ...this.#counters, nextEffect: id + 1 };
    return id;
  }

  settle(effectId: number): boolean {
    this.#check();
    const key = encodeKey('outbox', effectId);
    const owed = this.overlay.has('outbox', key);
    if (owed) this.overlay.set('outbox', key, null);
    return owed;
  }

  #check(): void {
    assert(this.#open, 'a transaction ends with its step');
  }
}

/** Encoded key as latin1 text, as layers keep it. */
export function encodeKey<T extends Table>(table: T, key: Key<T>): string {
  const bytes = (tables[table].key as KeyCodec<Key<T>>).encode(key);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

function decodeKey<T extends Table>(table: T, key: string): Key<T> {
  return (tables[table].key as KeyCodec<Key<T>>).decode(Uint8Array.from(Buffer.from(key, 'latin1')));
}

export function encodeValue<T extends Table>(table: T, value: Value<T>): Uint8Array {
  if (tables[table].value === 'bytes') {
    assert(value instanceof Uint8Array, `${table} holds bytes`);
    assert(value.length <= VALUE_BYTES_MAX, `a value of ${table} has at most ${VALUE_BYTES_MAX} bytes`);
    return value.slice();
  }
  const json = JSON.stringify(value);
  assert(json !== undefined, `${table} holds JSON`);
  assert(json.length <= VALUE_BYTES_MAX, `a value of ${table} has at most ${VALUE_BYTES_MAX} characters`);
  return Buffer.from(json);
}

export function decodeValue<T extends Table>(table: T, bytes: Uint8Array): Value<T> {
  if (tables[table].value === 'bytes') return bytes.slice() as Value<T>;
  return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()) as Value<T>;
}
