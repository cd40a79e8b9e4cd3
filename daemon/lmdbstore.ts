// A store that is open: what it has written it counts, what it could not write it tries again, and what others read is what is durable. Made by
// openStore (store.ts says what it promises). LMDB is written by `transactionSync`: it throws in place when the disk is full and LMDB goes on
// working, where the asynchronous path raises unhandled rejections besides. After a failure memory is not trusted: a probe takes the
// counters from the disk again, and a commit that was rejected and is there all the same ends the process.
import assert from 'node:assert';
import { mkdirSync } from 'node:fs';
import { readClosing, writeClosing } from './check.ts';
import { DiskRoom, ROOM_BYTES_MIN, roomFor } from './diskroom.ts';
import type { Environment } from './environment.ts';
import { Fault } from './fault.ts';
import { GroupCommit } from './groupcommit.ts';
import { EMPTY_HEAD, type JournalHead, verifyChain, verifyChainInTurns } from './journal.ts';
import type { Lock } from './lock.ts';
import { Overlay } from './overlay.ts';
import {
  type Counters,
  createReader,
  decodeValue,
  encodeKey,
  encodeValue,
  type HeadRecord,
  OWN_PREFIX,
  type Reader,
  Step,
  type Transaction,
} from './step.ts';
import type { Damage, Hold, Row, Store, StoreOptions, StoreState } from './store.ts';
import type { Json, Table } from './tables.ts';
import type { Vault } from './vault.ts';

/** Of the journal at open; all of it is for a command. */
const TAIL_CHECKED = 1_000;
/** LMDB: the environment met an error that only opening it again heals. */
const MDB_PANIC = -30_795;
const QUEUE_MAX = 65_536;

export class LmdbStore implements Store {
  readonly get: Reader['get'];
  readonly range: Reader['range'];
  readonly count: Reader['count'];
  readonly #options: StoreOptions;
  readonly #lock: Lock;
  readonly #vault: Vault;
  readonly #damage: Damage;
  readonly #listeners = new Set<(cursor: number) => void>();
  readonly #room: DiskRoom;
  readonly #group: GroupCommit;
  #environment: Environment;
  #counters: Counters = { head: EMPTY_HEAD, nextEffect: 1 };
  #broken: string | undefined;
  /** LMDB has to be opened again before anything else. */
  #panicked = false;
  /** A group was rejected, and whether it reached the disk all the same is not known yet. */
  #doubtful = false;
  #retry: NodeJS.Timeout | undefined;
  #probing: Promise<void> | undefined;
  /** Of what failed last, and as much again. */
  #room_bytes = ROOM_BYTES_MIN;
  #commits = 0;
  #closed = false;
  #held = false;

  constructor(options: StoreOptions, lock: Lock, vault: Vault, environment: Environment, damage: Damage) {
    this.#options = options;
    this.#damage = damage;
    this.#lock = lock;
    this.#vault = vault;
    this.#environment = environment;
    this.#room = new DiskRoom(options);
    this.#group = new GroupCommit({
      environment: () => this.#environment,
      counters: () => this.#counters,
      refusal: () => this.#refusal(),
      write: (overlay, counters) => this.#write(overlay, counters),
      onFailed: (error, overlay) => this.#fail(error, overlay),
      onJournaled: (cursor) => this.#tell(cursor),
      commit_steps_max: options.commit_steps_max,
      queue_max: options.queue_max ?? QUEUE_MAX,
    });
    this.get = (table, key) => createReader(this.#environment).get(table, key);
    this.range = (table, range) => createReader(this.#environment).range(table, range);
    this.count = (table) => this.#environment.count(table);
  }

  /** Brings a checked store into memory, or founds a new one; then migrates. */
  prepare(): void {
    if (this.count('meta') === 0) {
      this.#writeOwn({ schema: { version: this.#options.schema.version }, canary: { made_for: 'aegis' } });
    }
    this.#reload();
    if (this.#options.put_back === true) {
      this.#commits = Math.max(this.#commits, readClosing(this.folder, this.#vault) ?? 0);
    }
    verifyChain(this.#environment, this.#counters.head, TAIL_CHECKED);
    this.#migrate();
  }

  #migrate(): void {
    const { version: known, migrations } = this.#options.schema;
    const { version: found } = this.#readOwn('schema') as { version: number };
    if (found === known) return;
    const step = new Step(this.#environment, this.#counters);
    for (let at = found; at !== known; ) {
      const next = migrations.find(({ from, to }) => from === at && to > at && to <= known);
      if (next === undefined) throw new Fault({ code: 'store_older', found: at, known, path: this.folder });
      next.migrate(step);
      at = next.to;
    }
    const counters = step.finish();
    step.overlay.set('meta', ownKey('schema'), encodeValue('meta', { version: known }));
    this.#write(step.overlay, counters);
    this.#options.logger?.info({ from: found, to: known }, 'store migrated');
  }

  /** Takes counters and census from the disk: memory is not trusted after a failure. */
  #reload(): void {
    const head = this.#readOwn('head') as HeadRecord | undefined;
    if (head === undefined || !this.#environment.reload()) {
      throw new Fault({ code: 'store_corrupt', path: this.folder, reason: 'its counters are gone' });
    }
    const hash = Uint8Array.from(Buffer.from(head.hash, 'base64'));
    this.#counters = { head: { cursor: head.cursor, hash }, nextEffect: head.next_effect };
    this.#commits = head.commits;
  }

  get folder(): string {
    return this.#options.folder;
  }

  commit<T>(step: (tx: Transaction) => T): Promise<T> {
    return this.#held ? Promise.reject(new Fault({ code: 'store_held' })) : this.#group.enqueue(step);
  }

  hold(): Hold {
    assert(!this.#held, 'a store is held by one');
    this.#held = true;
    return {
      commit: (step) => this.#group.enqueue(step),
      release: () => {
        this.#held = false;
      },
    };
  }

  rows(table: Table, after: Uint8Array | undefined, bytes_max: number): Row[] {
    const rows: Row[] = [];
    const start = after === undefined ? undefined : Buffer.from(after).toString('latin1');
    let bytes = 0;
    for (const [key, value] of this.#environment.scan(table, { start, reverse: false })) {
      if (key === start) continue;
      bytes += key.length + value.length;
      if (bytes > bytes_max && rows.length > 0) break;
      rows.push({ table, key: Uint8Array.from(Buffer.from(key, 'latin1')), value: value.slice() });
    }
    return rows;
  }

  adopt(rows: readonly Row[], head?: JournalHead): void {
    const overlay = new Overlay(this.#environment);
    for (const { table, key, value } of rows) {
      const name = Buffer.from(key).toString('latin1');
      assert(table !== 'meta' || !name.startsWith(OWN_PREFIX), 'names under store/ belong to the store');
      overlay.set(table, name, value);
    }
    this.#write(overlay, head === undefined ? this.#counters : { ...this.#counters, head });
  }

  verifyAdopted(): Promise<number> {
    return verifyChainInTurns(this.#environment, this.#counters.head, TAIL_CHECKED);
  }

  state(): StoreState {
    const { low, free_bytes } = this.#room.state();
    const last_error = this.#broken ?? this.#damage.found;
    const failing = this.#broken !== undefined ? 'io' : this.#damage.found !== undefined ? 'corrupt' : undefined;
    const reason = failing ?? (low ? 'disk_low' : undefined);
    return {
      writable: failing === undefined,
      ...(reason !== undefined && { reason }),
      ...(last_error !== undefined && { last_error }),
      free_bytes,
      commits: this.#commits,
      steps: this.#group.steps,
      waiting: this.#group.waiting,
    };
  }

  onCommitted(listener: (cursor: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  journalHead(): JournalHead {
    return this.#counters.head;
  }

  verifyJournal(): number {
    return verifyChain(this.#environment, this.#counters.head, Number.POSITIVE_INFINITY);
  }

  derive(purpose: string): Uint8Array {
    return this.#vault.derive(purpose);
  }

  async backup(folder: string): Promise<void> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    await this.#environment.backup(folder);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    while (this.#group.waiting > 0 && this.#broken === undefined) this.#group.flush();
    this.#closed = true;
    clearTimeout(this.#retry);
    await this.#probing;
    this.#group.reject(new Fault({ code: 'store_closed' }));
    await this.#environment.close();
    try {
      writeClosing(this.folder, this.#vault, this.#commits);
    } catch (error) {
      this.#options.logger?.warn({ error: describe(error) }, 'store closed without its mark');
    }
    this.#lock.release();
  }

  #refusal(): Fault | undefined {
    if (this.#closed) return new Fault({ code: 'store_closed' });
    return this.#broken === undefined ? undefined : this.#ioFault(this.#broken);
  }

  #fail(error: unknown, overlay: Overlay): Fault {
    const fault = error instanceof Fault ? error : this.#ioFault(describe(error), error);
    this.#room_bytes = roomFor(overlay);
    this.#broken = String(fault.detail.reason);
    this.#doubtful = true;
    this.#options.logger?.warn({ error: this.#broken }, 'store cannot write');
    this.#armRetry();
    return fault;
  }

  #tell(cursor: number): void {
    for (const listener of this.#listeners) {
      try {
        listener(cursor);
      } catch (error) {
        this.#options.logger?.warn({ error: String(error) }, 'a listener of the store threw');
      }
    }
  }

  /** Writes everything or throws; counters move only when it is durable. */
  #write(overlay: Overlay, counters: Counters): void {
    if (!this.#lock.held())
      throw this.#ioFault('store.lock was removed or replaced, another daemon may write; start again');
    const { cursor, hash } = counters.head;
    const commits = this.#commits + 1;
    const head: HeadRecord = {
      cursor,
      hash: Buffer.from(hash).toString('base64'),
      next_effect: counters.nextEffect,
      commits,
    };
    overlay.set('meta', ownKey('head'), encodeValue('meta', head));
    try {
      this.#environment.write(overlay.writes());
    } catch (error) {
      if ((error as { code?: number }).code === MDB_PANIC) this.#panicked = true;
      throw this.#ioFault(describe(error), error);
    }
    this.#commits = commits;
    this.#counters = counters;
  }

  #armRetry(): void {
    this.#retry = setTimeout(() => {
      this.#probing = this.#probe().catch((error: unknown) => {
        this.#broken = describe(error);
        if (!this.#closed) this.#armRetry();
      });
    }, this.#options.retry_ms);
    this.#retry.unref();
  }

  /** Writes a record of its own; the store is back when that is durable. */
  async #probe(): Promise<void> {
    if (this.#panicked) {
      this.#environment = await this.#environment.reopened(this.#options.map_bytes_max);
      this.#panicked = false;
      if (this.#closed) return;
    }
    const before = this.#commits;
    this.#reload();
    if (this.#doubtful && this.#commits !== before) {
      this.#options.fatal?.(new Error('a commit that was rejected is on the disk: only a new start agrees with it'));
      return;
    }
    this.#doubtful = false;
    // A small record fits where a commit does not, and the store would come and go: so there must be room for what failed.
    this.#writeOwn({ probe: { commits: this.#commits, room: 'x'.repeat(this.#room_bytes) } });
    this.#writeOwn({ probe: { commits: this.#commits } });
    this.#broken = undefined;
    this.#options.logger?.info({}, 'store writes again');
  }

  #ioFault(reason: string, cause?: unknown): Fault {
    return new Fault({ code: 'store_io', path: this.folder, reason }, { cause });
  }

  #readOwn(name: string): Json | undefined {
    const bytes = this.#environment.lookup('meta', ownKey(name));
    return bytes === undefined ? undefined : decodeValue('meta', bytes);
  }

  #writeOwn(entries: Readonly<Record<string, Json>>): void {
    const overlay = new Overlay(this.#environment);
    for (const [name, value] of Object.entries(entries)) overlay.set('meta', ownKey(name), encodeValue('meta', value));
    this.#write(overlay, this.#counters);
  }
}

function ownKey(name: string): string {
  return encodeKey('meta', `${OWN_PREFIX}${name}`);
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
