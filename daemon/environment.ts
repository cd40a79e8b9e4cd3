/**
 * LMDB under the store: one file, a database for each table, keys in order, records sealed. The store is its only user. It gives out
 * and takes plaintext bytes, keeps the census true, and promises that `write` is on the disk when it returns, whole or not at all.
 */
import assert from 'node:assert';
import { chmodSync, closeSync, fsyncSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, open as openLmdb, type RootDatabase } from 'lmdb';
import { Census, type CensusRecord } from './census.ts';
import { Fault } from './fault.ts';
import type { Bounds, Source } from './overlay.ts';
import { decodeValue, encodeValue } from './step.ts';
import { type Table, tableNames } from './tables.ts';
import type { Vault } from './vault.ts';

/** Room for tables to come. */
const DATABASES_MAX = 64;
/** Sealed like any record, but it cannot count itself. */
export const CENSUS_NAME = 'store/census';

type Tables = Map<Table, Database<Buffer, Buffer>>;

export class Environment implements Source {
  readonly #folder: string;
  readonly #vault: Vault;
  readonly #env: RootDatabase<Buffer, Buffer>;
  readonly #tables: Tables = new Map();
  #census: Census;
  #closed = false;

  /** @param mapBytes address space to reserve; LMDB grows beyond it by itself, so the store watches the size */
  constructor(folder: string, mapBytes: number, vault: Vault) {
    this.#folder = folder;
    this.#vault = vault;
    this.#census = Census.from(vault.derive('census'));
    // LMDB's own lock holds nothing that outlives its processes, and ours says that there are none: a damaged one must not stay.
    rmSync(join(folder, 'lock.mdb'), { force: true });
    for (const name of ['data.mdb', 'lock.mdb']) {
      const path = join(folder, name);
      closeSync(openSync(path, 'a', 0o600)); // LMDB takes an empty file for a new one
      chmodSync(path, 0o600);
    }
    const encoding = { encoding: 'binary', keyEncoding: 'binary' } as const;
    this.#env = openLmdb<Buffer, Buffer>({
      ...encoding,
      path: folder,
      noSubdir: false, // or a dot in the folder's name would make it a file
      mapSize: mapBytes,
      maxDbs: DATABASES_MAX,
      overlappingSync: false, // a commit that returns is on the disk
    });
    for (const name of tableNames) this.#tables.set(name, this.#env.openDB<Buffer, Buffer>({ ...encoding, name }));
    syncFolder(folder);
  }

  lookup(table: Table, key: string): Uint8Array | undefined {
    const name = Buffer.from(key, 'latin1');
    const record = this.#table(table).getBinary(name);
    return record === undefined ? undefined : this.#vault.open(table, name, record);
  }

  has(table: Table, key: string): boolean {
    return this.#table(table).doesExist(Buffer.from(key, 'latin1'));
  }

  *scan(table: Table, { start, end, reverse }: Bounds): Iterable<readonly [string, Uint8Array]> {
    const low = start === undefined ? undefined : Buffer.from(start, 'latin1');
    const high = end === undefined ? undefined : Buffer.from(end, 'latin1');
    // LMDB walks from `start` to `end`: backwards it begins at the high end, which is not part of the range, and includes the low one.
    const bounds = reverse
      ? { reverse, ...(high && { start: high, exclusiveStart: true }), ...(low && { end: low, inclusiveEnd: true }) }
      : { ...(low && { start: low }), ...(high && { end: high }) };
    for (const { key, value } of this.#table(table).getRange(bounds)) {
      const name = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
      yield [name.toString('latin1'), this.#vault.open(table, name, value)];
    }
  }

  count(table: Table): number {
    return (this.#table(table).getStats() as { entryCount: number }).entryCount;
  }

  /** One transaction, durable on return. After a throw nothing is promised:
   * when the very last write failed, the transaction may still be there; so `reload` before the next. */
  write(writes: Iterable<readonly [table: Table, key: string, value: Uint8Array | null]>): void {
    const census = this.#census.clone();
    this.#env.transactionSync(() => {
      for (const [table, key, value] of writes) this.#writeRecord(table, key, value, census);
      // Last, since it counts all the others.
      const name = Buffer.from(CENSUS_NAME);
      this.#table('meta').putSync(name, this.#seal('meta', name, encodeValue('meta', census.record())));
    }); // with braces: a callback that returns put's promise would return before the commit
    this.#census = census;
  }

  /** Takes the census from the disk; after a failed commit memory is not trusted. @returns whether there is one */
  reload(): boolean {
    const bytes = this.lookup('meta', CENSUS_NAME);
    if (bytes === undefined) return false;
    this.#census = Census.from(this.#vault.derive('census'), decodeValue('meta', bytes) as CensusRecord);
    return true;
  }

  /** A consistent copy while commits go on. @param folder has no store yet: a backup never overwrites */
  async backup(folder: string): Promise<void> {
    await this.#env.backup(folder, false);
    const path = join(folder, 'data.mdb');
    chmodSync(path, 0o600);
    const descriptor = openSync(path, 'r+');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    syncFolder(folder);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#env.close();
  }

  /** Opens the same folder again: what LMDB asks for after MDB_PANIC. */
  async reopened(mapBytes: number): Promise<Environment> {
    await this.close();
    return new Environment(this.#folder, mapBytes, this.#vault);
  }

  #writeRecord(table: Table, key: string, value: Uint8Array | null, census: Census): void {
    const database = this.#table(table);
    const name = Buffer.from(key, 'latin1');
    const old = database.getBinary(name);
    if (old !== undefined) census.remove(table, name, old);
    if (value !== null) {
      const record = this.#seal(table, name, value);
      database.putSync(name, record);
      census.add(table, name, record);
    } else if (old !== undefined) {
      database.removeSync(name);
    }
  }

  #seal(table: Table, name: Buffer, value: Uint8Array): Buffer {
    const record = this.#vault.seal(table, name, value);
    return Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  }

  #table(table: Table): Database<Buffer, Buffer> {
    if (this.#closed) throw new Fault({ code: 'store_closed' }); // LMDB's handles are gone: using one could crash
    const database = this.#tables.get(table);
    assert(database !== undefined, `the table ${table} is open`);
    return database;
  }
}

/** A new file is only there after a power cut when its folder was synced. */
export function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
