// The room of wrapped secrets (DESIGN §5): the keys of assets and names lie in the store under a key of one epoch, and
// nowhere in the clear. Rooms that own secrets create, use and remove them here, inside their own steps; the sweep
// (sweep.ts) moves what an older epoch wrapped to the active one.
//
// Promises: a wrap and the number of its epoch change in one commit, with the index and the counts that the sweep and the
// retirement of an epoch read, so that a backlog costs no scan. A secret in the clear is in memory for one call and wiped.
import assert from 'node:assert';
import { uintBytes, utf8 } from '../actors/encoding.ts';
import type { EpochKeys } from './keys/keyring.ts';
import type { Reader, Transaction } from './store.ts';
import { Changes, counts } from './wrapcounts.ts';

/** What of an epoch's keys wraps are made and opened with. */
export type WrapKeys = Pick<EpochKeys, 'epoch' | 'asset' | 'names'> & {
  readonly public: Pick<EpochKeys['public'], 'names'>;
};

/** A wrap as the store has it. */
export interface Wrap {
  readonly epoch: number;
  readonly wrapped: Uint8Array;
}

/** What the sweep has made of a wrap. */
export interface Move {
  readonly name: string;
  /** As it was read. */
  readonly held: Wrap;
  readonly wrapped: Uint8Array;
}

export interface WrapRow {
  readonly id: string;
  readonly wrapped: Uint8Array;
}

/** How the secrets of one kind are wrapped. Kinds are given to the room when it is made (wrapkinds.ts). */
export interface WrapKind {
  /** The first part of the names in the table: lowercase letters. */
  readonly kind: string;
  /** How many rows `rewrap` takes at once: as many as keep a thread for some 20 ms. */
  readonly rows_max: number;
  wrap(id: string, secret: Uint8Array, keys: WrapKeys): Uint8Array;
  /** @returns the secret, off the V8 heap and the caller's to wipe; null when the wrap doesn't open */
  open(row: WrapRow, keys: WrapKeys): Promise<Uint8Array | null>;
  /** @returns one for each row; null where it doesn't open. @throws {Fault} when it could not be tried */
  rewrap(rows: readonly WrapRow[], from: WrapKeys, to: WrapKeys): Promise<readonly (Uint8Array | null)[]>;
}

/** Which epochs there are, as the room sees them. */
export interface EpochView {
  /** What new wraps are made under. */
  active(reader: Reader): number;
  /** Whether what was encrypted to this epoch is still taken: it is active, or in grace and not compromised. */
  accepts(reader: Reader, epoch: number): boolean;
  /** Undefined once the epoch is retired. */
  keysOf(epoch: number): WrapKeys | undefined;
}

export type Used<T> =
  | { readonly ok: true; readonly result: T }
  | { readonly ok: false; readonly code: 'wrap_not_found' | 'epoch_retired' | 'wrap_unopenable' };

export interface Backlog {
  readonly epoch: number;
  readonly kind: string;
  readonly count: number;
}

/** An enrolled name's key has 129 bytes, an asset's 61. */
const WRAPPED_BYTES_MAX = 1_024;
/** Of `kind/id`, so that the index has room for the epoch. */
const NAME_BYTES_MAX = 500;
const EPOCH_BYTES = 4;
const NOTHING = new Uint8Array(0);

interface Modules extends EpochView {
  readonly kinds: readonly WrapKind[];
  readonly now: () => number;
  /** A secret that an older epoch wraps was used: it should be moved soon. */
  readonly onOld?: (name: string) => void;
}

export class Wraps {
  readonly #modules: Modules;
  readonly #kinds: ReadonlyMap<string, WrapKind>;

  constructor(modules: Modules) {
    for (const { kind } of modules.kinds) assert(/^[a-z]{1,32}$/.test(kind), 'a kind is 1 to 32 lowercase letters');
    this.#modules = modules;
    this.#kinds = new Map(modules.kinds.map((kind) => [kind.kind, kind]));
    assert(this.#kinds.size === modules.kinds.length, 'a kind is registered once');
  }

  /** Wraps a new secret under the active epoch. @param secret  copied; wiping it is the caller's job, after the commit */
  create(step: Transaction, kind: string, id: string, secret: Uint8Array): void {
    const name = nameOf(kind, id);
    assert(step.get('wraps', name) === undefined, 'a secret is created once');
    const epoch = this.#modules.active(step);
    const keys = this.#modules.keysOf(epoch);
    assert(keys !== undefined, 'the active epoch has its keys');
    const changes = new Changes();
    this.#put(step, changes, name, undefined, { epoch, wrapped: this.kindOf(kind).wrap(id, secret, keys) });
    changes.write(step);
  }

  /**
   * Takes a secret that came wrapped, as an enrolled name's key does, in place of what is there. Whether it opens shows when
   * it is used. The sweep looks for an older epoch's within a minute.
   */
  adopt(
    step: Transaction,
    kind: string,
    id: string,
    wrap: Wrap,
  ): { readonly ok: true } | { readonly ok: false; readonly code: 'epoch_not_accepted' } {
    this.kindOf(kind);
    assert(wrap.wrapped.length <= WRAPPED_BYTES_MAX, `a wrap has at most ${WRAPPED_BYTES_MAX} bytes`);
    if (!this.#modules.accepts(step, wrap.epoch)) return { ok: false, code: 'epoch_not_accepted' };
    const name = nameOf(kind, id);
    const changes = new Changes();
    this.#put(step, changes, name, this.byName(step, name), wrap);
    changes.write(step);
    return { ok: true };
  }

  /** For what opens its wraps on a thread of its own. */
  read(reader: Reader, kind: string, id: string): Wrap | undefined {
    return this.byName(reader, nameOf(kind, id));
  }

  /** @returns whether it was there */
  remove(step: Transaction, kind: string, id: string): boolean {
    const name = nameOf(kind, id);
    const held = this.byName(step, name);
    if (held === undefined) return false;
    step.remove('wraps', name);
    step.remove('wrap_epochs', [held.epoch, name]);
    const changes = new Changes();
    changes.add(held.epoch, kind, -1);
    changes.write(step);
    return true;
  }

  /**
   * Opens a secret for one call, and wipes it when that is done, whatever comes of it. The bytes must not be kept. A secret
   * of an older epoch is moved to the active one soon after.
   *
   * @throws {Fault} worker_failed; and whatever `act` throws
   */
  async use<T>(
    reader: Reader,
    kind: string,
    id: string,
    act: (secret: Uint8Array) => T | Promise<T>,
  ): Promise<Used<T>> {
    const name = nameOf(kind, id);
    const held = this.byName(reader, name);
    if (held === undefined) return { ok: false, code: 'wrap_not_found' };
    const keys = this.#modules.keysOf(held.epoch);
    if (keys === undefined) return { ok: false, code: 'epoch_retired' };
    const secret = await this.kindOf(kind).open({ id, wrapped: held.wrapped }, keys);
    if (secret === null) return { ok: false, code: 'wrap_unopenable' };
    try {
      return { ok: true, result: await act(secret) };
    } finally {
      secret.fill(0);
      if (held.epoch !== this.#modules.active(reader)) this.#modules.onOld?.(name);
    }
  }

  /** How many wraps an epoch has; retirement waits until it has none. */
  backlog(reader: Reader, epoch: number): number {
    const kinds = counts(reader).counts[epoch] ?? {};
    return Object.values(kinds).reduce((sum, count) => sum + count, 0);
  }

  /** Every epoch that has wraps, the active one too, oldest first. */
  backlogs(reader: Reader): Backlog[] {
    // An object's integer keys come in ascending order.
    return Object.entries(counts(reader).counts).flatMap(([epoch, kinds]) =>
      Object.entries(kinds).map(([kind, count]) => ({ epoch: Number(epoch), kind, count })),
    );
  }

  /** How many wraps have ever moved to another epoch. */
  moved(reader: Reader): number {
    return counts(reader).moved;
  }

  /** What the sweep moves next: up to `limit` names of an epoch in their order. */
  of(reader: Reader, epoch: number, after: string, limit: number): string[] {
    // The first name behind another is that name and a zero byte.
    const start = after === '' ? after : `${after}\0`;
    const range = { start: [epoch, start] as const, end: [epoch + 1, ''] as const, limit };
    return [...reader.range('wrap_epochs', range)].map(([[, name]]) => name);
  }

  byName(reader: Reader, name: string): Wrap | undefined {
    const record = reader.get('wraps', name);
    return record === undefined ? undefined : decode(record);
  }

  kindOf(kind: string): WrapKind {
    const found = this.#kinds.get(kind);
    assert(found !== undefined, `nobody wraps secrets of the kind ${kind}`);
    return found;
  }

  /**
   * Puts wraps under another epoch's key in place of those that they were made from. What was replaced or removed meanwhile
   * stays as it is, and nothing moves to an epoch that is no longer the active one.
   *
   * @param rows  of one epoch, each with its wrap as it was read and the new one
   * @returns     how many moved
   */
  move(step: Transaction, rows: readonly Move[], epoch: number): number {
    if (epoch !== this.#modules.active(step)) return 0;
    const changes = new Changes();
    let moved = 0;
    for (const { name, held, wrapped } of rows) {
      const now = this.byName(step, name);
      if (now === undefined || now.epoch !== held.epoch || !same(now.wrapped, held.wrapped)) continue;
      this.#put(step, changes, name, now, { epoch, wrapped });
      moved += 1;
    }
    changes.write(step, moved);
    const from = rows[0]?.held.epoch;
    if (moved > 0 && from !== undefined && this.backlog(step, from) === 0) {
      step.journal('epoch_rewrapped', { epoch: from, to_epoch: epoch }, this.#modules.now());
    }
    return moved;
  }

  #put(step: Transaction, changes: Changes, name: string, before: Wrap | undefined, after: Wrap): void {
    step.put('wraps', name, encode(after));
    if (before?.epoch === after.epoch) return;
    const kind = kindIn(name);
    if (before !== undefined) {
      step.remove('wrap_epochs', [before.epoch, name]);
      changes.add(before.epoch, kind, -1);
    }
    step.put('wrap_epochs', [after.epoch, name], NOTHING);
    changes.add(after.epoch, kind, 1);
  }
}

/** `kind/id`; kinds hold no slash. */
export function nameOf(kind: string, id: string): string {
  const name = `${kind}/${id}`;
  assert(
    id.isWellFormed() && id !== '' && utf8(name).length <= NAME_BYTES_MAX,
    'an id of a secret is short, well-formed text',
  );
  return name;
}

export const kindIn = (name: string): string => name.slice(0, name.indexOf('/'));
export const idIn = (name: string): string => name.slice(name.indexOf('/') + 1);

function encode({ epoch, wrapped }: Wrap): Uint8Array {
  const record = new Uint8Array(EPOCH_BYTES + wrapped.length);
  record.set(uintBytes(epoch, EPOCH_BYTES));
  record.set(wrapped, EPOCH_BYTES);
  return record;
}

function decode(record: Uint8Array): Wrap {
  const epoch = new DataView(record.buffer, record.byteOffset).getUint32(0);
  return { epoch, wrapped: record.subarray(EPOCH_BYTES) };
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
