/**
 * The durable store: LMDB under typed tables, sealed records, a hash-chained journal and an outbox. The runtime commits steps through
 * it; everything else reads. It promises: what `commit` has resolved is on the disk; what it has rejected was acknowledged to nobody;
 * two processes never hold one store; and a store that is newer, older, foreign or damaged says so at open.
 *
 * Here is what a store says of itself, and how one is opened and checked; lmdbstore.ts keeps it, groupcommit.ts makes one commit of many steps.
 */
import type { KeyObject } from 'node:crypto';
import { checkStore } from './check.ts';
import { Environment } from './environment.ts';
import { Fault } from './fault.ts';
import type { JournalHead } from './journal.ts';
import { LmdbStore } from './lmdbstore.ts';
import { acquireLock } from './lock.ts';
import type { Reader, Transaction } from './step.ts';
import type { Table } from './tables.ts';
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
   * @param head  where its journal ends, once all of it is there; `verifyAdopted` says whether its entries lead there
   */
  adopt(rows: readonly Row[], head?: JournalHead): void;
  /** Walks all of the journal, while others have their turns. @throws Fault `store_corrupt` */
  verifyAdopted(): Promise<number>;
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

/** The first damaged record that was met since the store was opened. */
export type Damage = { found?: string };

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

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
