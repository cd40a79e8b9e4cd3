// Backups of the store (DESIGN §11): taken of a running daemon by LMDB's own copy, sealed as the records are, so that only the same root of
// keys opens one; and put back into a folder where no daemon runs. Putting one back takes no word about what was signed since: the
// watermark and the mark of the last orderly end stay where they are, and the next start refuses a store that is older than they.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Counter, Digest, decimal, Timestamp, timestamp } from '../actors/encoding.ts';
import { syncFolder } from './environment.ts';
import { Fault } from './fault.ts';
import { acquireLock } from './lock.ts';
import { meta } from './records.ts';
import { SCHEMA_VERSION } from './schema.ts';
import type { Store } from './store.ts';

/** What lies beside the copy, for its operator: nothing in it is believed when the store is opened. */
export const BackupManifest = z
  .strictObject({
    version: z.literal(1),
    log_id: Digest,
    chain_id: decimal(256),
    schema: Counter,
    height: Counter.describe('Batches that were signed, at least.'),
    log_size: Counter.describe('Leaves, at least.'),
    sealed: Counter.describe('Leaves under a seal, at least.'),
    taken_at: Timestamp,
  })
  .meta({ id: 'Backup' });
export type BackupManifest = z.output<typeof BackupManifest>;

const MANIFEST = 'backup.json';
const DATA = 'data.mdb';
const MANIFEST_BYTES_MAX = 65_536;

export interface Backup {
  readonly folder: string;
  readonly manifest: BackupManifest;
  readonly bytes: number;
}

/** One at a time: who asks while one is taken gets that one. */
export class Backups {
  readonly #store: Store;
  readonly #folder: string;
  readonly #now: () => number;
  #taking: Promise<Backup> | undefined;

  /** @param modules.folder  where backups go, each into one of its own */
  constructor(modules: { store: Store; folder: string; now: () => number }) {
    this.#store = modules.store;
    this.#folder = modules.folder;
    this.#now = modules.now;
  }

  /** @throws {Fault} store_io */
  take(): Promise<Backup> {
    this.#taking ??= this.#take().finally(() => {
      this.#taking = undefined;
    });
    return this.#taking;
  }

  async #take(): Promise<Backup> {
    const taken_at = timestamp(this.#now());
    // Read before the copy, which is newer: what it says is there, is there.
    const { log_id, chain_id } = meta(this.#store, 'genesis');
    const { size: log_size, sealed } = meta(this.#store, 'log');
    const height = meta(this.#store, 'heights').signed;
    const manifest = {
      version: 1 as const,
      log_id,
      chain_id,
      schema: SCHEMA_VERSION,
      height,
      log_size,
      sealed,
      taken_at,
    };
    const folder = join(this.#folder, `${taken_at.replaceAll(/[:.]/g, '-')}-${log_size}`);
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      mkdirSync(folder, { mode: 0o700 });
      await this.#store.backup(folder);
      writeFileSync(join(folder, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600, flush: true });
      syncFolder(folder);
      return { folder, manifest, bytes: statSync(join(folder, DATA)).size };
    } catch (cause) {
      throw failed('make a backup', folder, cause);
    }
  }
}

export type RestoreRefusal = 'backup_unreadable' | 'backup_foreign' | 'backup_outdated';

/** @returns what is written beside a backup; undefined where that is none */
export function readManifest(folder: string): BackupManifest | undefined {
  const path = join(folder, MANIFEST);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || stat.size > MANIFEST_BYTES_MAX || !existsSync(join(folder, DATA))) return undefined;
  try {
    const parsed = BackupManifest.safeParse(JSON.parse(readFileSync(path, 'utf8')));
    return parsed.success ? parsed.data : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/**
 * Puts a backup into a store's folder. What was there is kept beside it; the watermark is not touched, ever.
 *
 * @param kept  the newest head that anybody has kept; a backup that does not hold it is refused
 * @throws {Fault} store_locked while a daemon runs there; store_io
 */
export function restore(
  from: string,
  store_folder: string,
  kept: { log_id: string; size: number } | undefined,
  now_ms: number,
):
  | { readonly ok: true; readonly manifest: BackupManifest; readonly before: string | null }
  | { readonly ok: false; readonly code: RestoreRefusal; readonly detail: string } {
  const manifest = readManifest(from);
  if (manifest === undefined) {
    return { ok: false, code: 'backup_unreadable', detail: `${from} holds no ${DATA} with a ${MANIFEST} beside it` };
  }
  if (kept !== undefined && kept.log_id !== manifest.log_id) {
    return { ok: false, code: 'backup_foreign', detail: `it is of log ${manifest.log_id}, the seal of ${kept.log_id}` };
  }
  if (kept !== undefined && kept.size > manifest.log_size) {
    const detail = `it has ${manifest.log_size} leaves of the log, and the seal covers ${kept.size}`;
    return { ok: false, code: 'backup_outdated', detail };
  }
  const lock = acquireLock(store_folder);
  try {
    const data = join(store_folder, DATA);
    const copy = `${data}.restoring`;
    copyFileSync(join(from, DATA), copy);
    chmodSync(copy, 0o600);
    const before = existsSync(data) ? `${data}.before-${timestamp(now_ms).replaceAll(/[:.]/g, '-')}` : null;
    if (before !== null) renameSync(data, before);
    renameSync(copy, data);
    syncFolder(store_folder);
    return { ok: true, manifest, before };
  } catch (cause) {
    throw failed('put the backup back', store_folder, cause);
  } finally {
    lock.release();
  }
}

function failed(operation: string, path: string, cause: unknown): Fault {
  if (cause instanceof Fault) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Fault({ code: 'store_io', operation, path, reason }, { cause });
}
