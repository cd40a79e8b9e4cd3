/**
 * Keeps a second daemon out of a store's folder. `openStore` takes it before it reads a byte and gives it back at close.
 *
 * LMDB itself lets many processes in, Node has no flock, a file made exclusively stays behind after SIGKILL, a pid may have been given
 * to someone else, and an abstract socket is not seen from another network namespace (a second container over one volume). So the lock
 * is the kernel's fcntl lock, taken by the SQLite that Node brings: atomic, across containers, gone the moment its process is. The lock
 * file stays empty: nothing is ever written through it, so a full disk does not matter.
 */
import { chmodSync, closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Fault } from './fault.ts';

export interface Lock {
  /** Whether the file in the folder is still the one that is locked: who takes it away lets a second daemon in. */
  held(): boolean;
  release(): void;
}

/** SQLITE_BUSY: somebody else holds the lock. */
const BUSY = 5;

/** Makes the folder where there is none. @throws Fault `store_locked`, naming the holder's pid where it can be read; `store_io` when the folder can't be used */
export function acquireLock(folder: string): Lock {
  const path = join(folder, 'store.lock');
  const holder = join(folder, 'store.pid');
  let database: DatabaseSync;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // A file that is there is not opened: closing it would give up the locks that this very process has on it (POSIX).
    if (identity(path) === undefined) closeSync(openSync(path, 'a', 0o600));
    chmodSync(path, 0o600);
    database = new DatabaseSync(path, { timeout: 0 });
  } catch (cause) {
    throw new Fault({ code: 'store_io', operation: 'make its lock', path: folder, reason: String(cause) }, { cause });
  }
  try {
    // A journal in memory: no second file. EXCLUSIVE is kept until the connection (or its process) ends.
    database.exec('PRAGMA journal_mode = MEMORY');
    database.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    if ((cause as { errcode?: number }).errcode !== BUSY) {
      throw new Fault({ code: 'store_io', operation: 'take its lock', path: folder, reason: String(cause) }, { cause });
    }
    throw new Fault({ code: 'store_locked', path: folder, pid: readPid(holder) }, { cause });
  }
  try {
    writeFileSync(holder, `${process.pid}\n`, { mode: 0o600 });
  } catch {
    // The pid is a courtesy to whoever finds the store locked; the lock does not depend on it.
  }
  const mine = identity(path);
  return { held: () => mine !== undefined && identity(path) === mine, release: () => database.close() };
}

function identity(path: string): string | undefined {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found && `${found.dev}/${found.ino}`;
}

function readPid(path: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(path, 'latin1'), 10);
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}
