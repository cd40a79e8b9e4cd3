/**
 * The durable store: LMDB under typed tables, sealed records, a hash-chained journal and an outbox. The runtime commits steps through
 * it; everything else reads. It promises: what `commit` has resolved is on the disk; what it has rejected was acknowledged to nobody;
 * two processes never hold one store; and a store that is newer, older, foreign or damaged says so at open.
 *
 * Group commit: steps wait for the next turn of the event loop, run in order against overlays, and are written by one LMDB transaction.
 * It is `transactionSync`: it throws in place when the disk is full and LMDB goes on working, where the asynchronous path raises
 * unhandled rejections besides. It blocks the thread for one fdatasync, which every step that came meanwhile then shares.
 */
import assert from 'node:assert';
import type { KeyObject } from 'node:crypto';
import { mkdirSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { checkStore, readClosing, writeClosing } from './check.ts';
import { Environment } from './environment.ts';
import { Fault } from './fault.ts';
import { EMPTY_HEAD, type JournalHead, verifyChain } from './journal.ts';
import { acquireLock, type Lock } from './lock.ts';
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
import type { Json, Table } from './tables.ts';
import { createVault, type Vault } from './vault.ts';

export type { Range, Reader, Transaction } from './step.ts';

/** pino fits. */
export type Logger = { info(detail: object, message: string): void; warn(detail: object, message: string): void };

/** Brings a store from one schema version to a later one; runs in the same commit as every other migration that is due. */
export type Migration = { from: number; to: number; migrate(tx: Transaction): void };

export type StoreOptions = {
  folder: string;
  /** The key of role `store`: 32 bytes. */
  key: KeyObject | Uint8Array;
  /** Address space reserved for the file, and the size at which admission stops. */
  map_bytes_max: number;
  /** Below this much free space admission stops; what is in hand goes on. */
  free_bytes_min: number;
  /** Steps in one LMDB transaction at most. */
  commit_steps_max: number;
  /** Steps that may wait; more are rejected with Fault `store_busy`. */
  queue_max?: number;
  /** How often a store that failed to write tries again. */
  retry_ms: number;
  schema: { version: number; migrations: readonly Migration[] };
  /** How much of the file is checked at open; 2 GiB unless told. */
  check_bytes_max?: number;
  /** It may be older than its closing mark, which the next commit passes: for whoever brings an older store forward. */
  put_back?: boolean;
  logger?: Logger;
  /**
   * Told when a commit that was rejected turns out to be on the disk: whoever mirrors the store in memory no longer agrees with it, so
   * the process must end. The store commits nothing more.
   */
  fatal?: (error: Error) => void;
};

export type StoreState = {
  writable: boolean;
  /**
   * `io`: nothing can be committed. `corrupt`: a damaged record was met; `disk_low`: space runs out. In these two steps are
   * still committed, so that what is in hand can end, but admission should stop.
   */
  reason?: 'io' | 'corrupt' | 'disk_low';
  last_error?: string;
  free_bytes: number;
  /** Ever made. */
  commits: number;
  /** Committed by this process. */
  steps: number;
  waiting: number;
};

export interface Store extends Reader {
  readonly folder: string;
  /**
   * Runs a step against its own view and resolves with its result once that is durable. A step that throws rejects its own promise
   * and changes nothing. Steps are synchronous and run once, in the order of their commits.
   *
   * @throws Fault `store_io` (nothing of the group was acknowledged), `store_busy`, `store_closed`; whatever the step threw
   */
  commit<T>(step: (tx: Transaction) => T): Promise<T>;
  state(): StoreState;
  /** Tells the newest durable journal cursor after each commit that moved it. @returns what ends it */
  onCommitted(listener: (cursor: number) => void): () => void;
  /** The newest durable entry of the journal. */
  journalHead(): JournalHead;
  /** Walks the whole chain. @returns entries checked. @throws Fault `store_corrupt` */
  verifyJournal(): number;
  /** 32 bytes for another file beside the store (the watermark's MAC). */
  derive(purpose: string): Uint8Array;
  /** Records of a table in the clear, in key order, for another enclave: at least one, then as many as fit. */
  rows(table: Table, after: Uint8Array | undefined, bytes_max: number): Row[];
  /**
   * Takes records of another enclave's store as they are, durably. For a store that begins with them, before anything else.
   *
   * @param head  where its journal ends, once all of it is there. @throws Fault `store_corrupt` when the entries don't lead there
   */
  adopt(rows: readonly Row[], head?: JournalHead): void;
  /** From now on nobody else's steps are committed: they are rejected with Fault `store_held`. */
  hold(): Hold;
  /** Copies the store, consistent and sealed as it is, into another folder. */
  backup(folder: string): Promise<void>;
  close(): Promise<void>;
}

/** A record as it travels: encoded key and value. */
export type Row = { readonly table: Table; readonly key: Uint8Array; readonly value: Uint8Array };

/** Who hands the state over to another enclave: what is not in it must not be acknowledged any more. */
export interface Hold {
  /** As the store's own. */
  commit: Store['commit'];
  /** Everybody commits again. */
  release(): void;
}

type Waiting = { run(step: Step): void; resolve(): void; reject(error: unknown): void };

/** Of the journal at open; all of it is for a command. */
const TAIL_CHECKED = 1_000;
/** LMDB: the environment met an error that only opening it again heals. */
const MDB_PANIC = -30_795;
const DISK_CHECK_MS = 1_000;
/** What a store that could not write must find room for, at least and at most, before it takes steps again. */
const ROOM_BYTES_MIN = 262_144;
const ROOM_BYTES_MAX = 2 ** 25;
/** Space that was short is no longer at so much of `free_bytes_min`: one that is just enough would be short again at once. */
const LOW_UNTIL = 1.25;
const QUEUE_MAX = 65_536;
const CHECK_BYTES_MAX = 2 ** 31;

/** @throws Fault `store_locked`, `store_newer`, `store_older`, `store_wrong_key`, `store_corrupt`, `store_rolled_back`, `store_io` */
export async function openStore(options: StoreOptions): Promise<Store> {
  const lock = acquireLock(options.folder);
  let environment: Environment | undefined;
  try {
    const damage: Damage = {};
    const vault = noticing(createVault(options.key), damage);
    const report = checkStore({
      folder: options.folder,
      vault,
      schema_version: options.schema.version,
      bytes_max: options.check_bytes_max ?? CHECK_BYTES_MAX,
      put_back: options.put_back === true,
    });
    if (report?.skipped.length) options.logger?.warn(report, 'store is too large for a whole check at boot');
    environment = openEnvironment(options, vault);
    const store = new LmdbStore(options, lock, vault, environment, damage);
    store.prepare();
    return store;
  } catch (error) {
    await environment?.close();
    lock.release();
    // Of a file that can't be read; whatever else is no Fault is a mistake of ours.
    const { syscall } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    const { folder: path } = options;
    throw new Fault({ code: 'store_io', operation: 'open', path, reason: describe(error) }, { cause: error });
  }
}

function roomFor(overlay: Overlay): number {
  let bytes = 0;
  for (const [, key, value] of overlay.writes()) bytes += key.length + (value?.length ?? 0);
  return Math.min(ROOM_BYTES_MAX, Math.max(ROOM_BYTES_MIN, 2 * bytes));
}

/** The first damaged record that was met since the store was opened. */
type Damage = { found?: string };

/** What the check at open could not see (or what came after it) shows when it is read: from then on nothing is admitted. */
function noticing(vault: Vault, damage: Damage): Vault {
  return {
    ...vault,
    open(table, key, record) {
      try {
        return vault.open(table, key, record);
      } catch (error) {
        damage.found ??= error instanceof Error ? error.message : String(error);
        throw error;
      }
    },
  };
}

function openEnvironment({ folder, map_bytes_max }: StoreOptions, vault: Vault): Environment {
  try {
    return new Environment(folder, map_bytes_max, vault);
  } catch (cause) {
    throw new Fault({ code: 'store_io', operation: 'open', path: folder, reason: describe(cause) }, { cause });
  }
}

class LmdbStore implements Store {
  readonly get: Reader['get'];
  readonly range: Reader['range'];
  readonly count: Reader['count'];
  readonly #options: StoreOptions;
  readonly #lock: Lock;
  readonly #vault: Vault;
  readonly #damage: Damage;
  readonly #listeners = new Set<(cursor: number) => void>();
  #environment: Environment;
  #counters: Counters = { head: EMPTY_HEAD, nextEffect: 1 };
  #queue: Waiting[] = [];
  #scheduled = false;
  #broken: string | undefined;
  /** LMDB has to be opened again before anything else. */
  #panicked = false;
  /** A group was rejected, and whether it reached the disk all the same is not known yet. */
  #doubtful = false;
  #retry: NodeJS.Timeout | undefined;
  #probing: Promise<void> | undefined;
  /** Of what failed last, and as much again. */
  #room_bytes = ROOM_BYTES_MIN;
  /** Space was short, and is until there is clearly more. */
  #low = false;
  #disk = { at: Number.NEGATIVE_INFINITY, free: Number.POSITIVE_INFINITY };
  #commits = 0;
  #steps = 0;
  #closed = false;
  #held = false;

  constructor(options: StoreOptions, lock: Lock, vault: Vault, environment: Environment, damage: Damage) {
    this.#options = options;
    this.#damage = damage;
    this.#lock = lock;
    this.#vault = vault;
    this.#environment = environment;
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
    return this.#held ? Promise.reject(new Fault({ code: 'store_held' })) : this.#enqueue(step);
  }

  hold(): Hold {
    assert(!this.#held, 'a store is held by one');
    this.#held = true;
    return {
      commit: (step) => this.#enqueue(step),
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
    if (head !== undefined) verifyChain(this.#environment, head, Number.POSITIVE_INFINITY);
  }

  #enqueue<T>(step: (tx: Transaction) => T): Promise<T> {
    if (this.#closed) return Promise.reject(new Fault({ code: 'store_closed' }));
    if (this.#broken !== undefined) return Promise.reject(this.#ioFault(this.#broken));
    if (this.#queue.length >= (this.#options.queue_max ?? QUEUE_MAX)) {
      return Promise.reject(new Fault({ code: 'store_busy', waiting: this.#queue.length }));
    }
    return new Promise<T>((resolve, reject) => {
      let result: T;
      const run = (tx: Step) => {
        result = step(tx);
        assert(!(result instanceof Promise), 'a step is synchronous: effects run after the commit');
      };
      this.#queue.push({ run, resolve: () => resolve(result), reject });
      this.#schedule();
    });
  }

  state(): StoreState {
    const { free_bytes_min } = this.#options;
    this.#low = this.#freeBytes() < (this.#low ? free_bytes_min * LOW_UNTIL : free_bytes_min);
    const last_error = this.#broken ?? this.#damage.found;
    const failing = this.#broken !== undefined ? 'io' : this.#damage.found !== undefined ? 'corrupt' : undefined;
    const reason = failing ?? (this.#low ? 'disk_low' : undefined);
    return {
      writable: failing === undefined,
      ...(reason !== undefined && { reason }),
      ...(last_error !== undefined && { last_error }),
      free_bytes: this.#disk.free,
      commits: this.#commits,
      steps: this.#steps,
      waiting: this.#queue.length,
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
    while (this.#queue.length > 0 && this.#broken === undefined) this.#flush();
    this.#closed = true;
    clearTimeout(this.#retry);
    await this.#probing;
    this.#rejectQueue(new Fault({ code: 'store_closed' }));
    await this.#environment.close();
    try {
      writeClosing(this.folder, this.#vault, this.#commits);
    } catch (error) {
      this.#options.logger?.warn({ error: describe(error) }, 'store closed without its mark');
    }
    this.#lock.release();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.#queue.length > 0 && !this.#closed && this.#broken === undefined) this.#flush();
    });
  }

  /** One group: run, write, then tell. */
  #flush(): void {
    const group = this.#queue.splice(0, this.#options.commit_steps_max);
    if (this.#queue.length > 0) this.#schedule();
    const overlay = new Overlay(this.#environment);
    const { done, counters } = this.#run(group, overlay);
    const before = this.#counters.head.cursor;
    try {
      if (!overlay.empty) this.#write(overlay, counters);
    } catch (error) {
      this.#room_bytes = roomFor(overlay);
      this.#fail(error instanceof Fault ? error : this.#ioFault(describe(error), error), done);
      return;
    }
    this.#steps += done.length;
    for (const { resolve } of done) resolve();
    if (this.#counters.head.cursor !== before) this.#tell();
  }

  /** Runs the steps in order; whoever throws is rejected at once and leaves the overlay and the counters as they were. */
  #run(group: readonly Waiting[], overlay: Overlay): { done: Waiting[]; counters: Counters } {
    let counters = this.#counters;
    const done: Waiting[] = [];
    for (const waiting of group) {
      const step = new Step(overlay, counters);
      try {
        waiting.run(step);
        counters = step.finish();
        overlay.merge(step.overlay);
        done.push(waiting);
      } catch (error) {
        step.finish();
        waiting.reject(error);
      }
    }
    return { done, counters };
  }

  #tell(): void {
    for (const listener of this.#listeners) {
      try {
        listener(this.#counters.head.cursor);
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

  #fail(fault: Fault, group: readonly Waiting[]): void {
    this.#broken = String(fault.detail.reason);
    this.#doubtful = true;
    for (const { reject } of group) reject(fault);
    this.#rejectQueue(fault);
    this.#options.logger?.warn({ error: this.#broken }, 'store cannot write');
    this.#armRetry();
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

  #rejectQueue(fault: Fault): void {
    for (const { reject } of this.#queue.splice(0)) reject(fault);
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

  /** Free space for the file: on its disk, and below `map_bytes_max`. Asked at most once a second. */
  #freeBytes(): number {
    const now = performance.now();
    if (now - this.#disk.at < DISK_CHECK_MS) return this.#disk.free;
    try {
      const { bavail, bsize } = statfsSync(this.folder);
      const used = statSync(join(this.folder, 'data.mdb')).size;
      this.#disk = { at: now, free: Math.max(0, Math.min(bavail * bsize, this.#options.map_bytes_max - used)) };
    } catch {
      this.#disk = { at: now, free: 0 };
    }
    return this.#disk.free;
  }
}

function ownKey(name: string): string {
  return encodeKey('meta', `${OWN_PREFIX}${name}`);
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
