/**
 * What is checked before LMDB opens a store: is it ours (key), can we read it (schema), is it whole (pages, census), is it the newest
 * that was ever closed here (closing mark). `openStore` calls it at every boot, clean or not: a bit can rot under either. Each answer
 * is a Fault of its own, and nothing that the file contains can crash the process (pages.ts).
 *
 * The cost grows with the file, so `bytes_max` bounds it: the smallest tables come first, and what didn't fit is named in the report.
 * Records that were not reached are still sealed: a damaged one is a Fault when it is read.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Census, type CensusRecord, isCurrent } from './census.ts';
import { CENSUS_NAME, syncFolder } from './environment.ts';
import { Fault } from './fault.ts';
import { type PageCount, PageFile } from './pages.ts';
import { decodeValue, type HeadRecord, OWN_PREFIX } from './step.ts';
import { type Table, tableNames, tables } from './tables.ts';
import { RECORD_VERSION, type Vault } from './vault.ts';

export type CheckOptions = {
  folder: string;
  vault: Vault;
  schema_version: number;
  bytes_max: number;
  /** See `StoreOptions`. */
  put_back?: boolean;
};

/** `skipped` names tables that did not fit into `bytes_max`. */
export type CheckReport = { records: number; pages: PageCount | undefined; skipped: Table[] };

/** Raw records of the store's own names in `meta`. */
type Own = ReadonlyMap<string, Buffer>;

/**
 * @returns undefined where there is no store yet
 * @throws  Fault `store_wrong_key`, `store_newer`, `store_corrupt`, `store_rolled_back`
 */
export function checkStore(options: CheckOptions): CheckReport | undefined {
  const path = join(options.folder, 'data.mdb');
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0) return undefined;
  const file = new PageFile(path);
  try {
    return checkFile(file, options);
  } finally {
    file.close();
  }
}

function checkFile(file: PageFile, options: CheckOptions): CheckReport | undefined {
  const { folder, vault } = options;
  const counted = Census.from(vault.derive('census'));
  const own = readOwn(file, counted);
  if (own.size === 0) {
    checkEmpty(file, folder);
    return undefined;
  }
  checkKey(own, options);
  const found = checkSchema(own, options);
  const read = (name: string) => readRecord(own, name, vault);
  if (options.put_back !== true) checkClosing(folder, vault, (read('head') as HeadRecord).commits);
  const census = read('census') as CensusRecord;
  // What was counted otherwise, as stores were while Aegis was being built, can't be told from what was altered.
  if (!isCurrent(census)) throw new Fault({ code: 'store_older', path: folder, found, known: options.schema_version });
  const expected = Census.from(vault.derive('census'), census);

  const report: CheckReport = { records: 0, pages: undefined, skipped: [] };
  compare(counted, expected, 'meta', folder);
  let left = options.bytes_max;
  const bySize = [...file.tables.keys()].sort((a, b) => file.bytesOf(a) - file.bytesOf(b));
  for (const name of bySize) {
    if (name === 'meta') continue;
    if (!isTable(name)) {
      if (found === options.schema_version)
        throw corrupt(folder, `it has a table that nobody knows (${JSON.stringify(name)})`);
      continue; // an older schema's, for its migration to deal with
    }
    left -= file.bytesOf(name);
    if (left < 0) report.skipped.push(name);
    else file.walk(name, counted.adder(name));
  }
  for (const name of tableNames) if (!report.skipped.includes(name)) compare(counted, expected, name, folder);
  if (report.skipped.length === 0 && found === options.schema_version) report.pages = file.checkFree();
  report.records = tableNames.reduce((sum, name) => sum + counted.get(name).count, 0);
  return report;
}

/** Reads `meta` and counts it; the census's own record is not counted. */
function readOwn(file: PageFile, counted: Census): Own {
  const own = new Map<string, Buffer>();
  const add = counted.adder('meta');
  file.walk('meta', (record) => {
    const name = record.key().toString();
    if (name.startsWith(OWN_PREFIX)) own.set(name, Buffer.from(record.whole()));
    if (name !== CENSUS_NAME) add(record);
  });
  return own;
}

/** LMDB was made and the process ended before the store's first commit: nothing is there, and that is fine. */
function checkEmpty(file: PageFile, folder: string): void {
  for (const [name, tree] of file.tables) {
    if (tree.entries > 0) throw corrupt(folder, `its description is gone, and ${name} is not empty`);
  }
}

/** A wrong key opens nothing; a damaged canary under the right key leaves other names readable. */
function checkKey(own: Own, { folder, vault }: CheckOptions): void {
  const opens = (name: string) => {
    try {
      return readRecord(own, name, vault) !== undefined;
    } catch {
      return false;
    }
  };
  if (opens('canary')) return;
  if (['schema', 'head', 'census'].some(opens)) throw corrupt(folder, 'its canary does not open');
  const formats = new Set([...own.values()].map((record) => record[0]));
  const [format] = formats;
  if (formats.size === 1 && format !== undefined && format > RECORD_VERSION) {
    throw new Fault({ code: 'store_newer', path: folder, found: `record format ${format}`, known: RECORD_VERSION });
  }
  throw new Fault({ code: 'store_wrong_key', path: folder });
}

function checkSchema(own: Own, { folder, vault, schema_version: known }: CheckOptions): number {
  const found = (readRecord(own, 'schema', vault) as { version: number }).version;
  if (found > known) throw new Fault({ code: 'store_newer', path: folder, found, known });
  return found;
}

function compare(counted: Census, expected: Census, table: Table, folder: string): void {
  const [here, there] = [counted.get(table), expected.get(table)];
  if (here.count !== there.count)
    throw corrupt(folder, `it has ${here.count} records where ${there.count} were written`, table);
  if (Buffer.compare(here.sum, there.sum) !== 0)
    throw corrupt(folder, 'its records are not those that were written', table);
}

function readRecord(own: Own, name: string, vault: Vault): unknown {
  const record = own.get(`${OWN_PREFIX}${name}`);
  if (record === undefined)
    throw new Fault({ code: 'store_corrupt', reason: 'a record is gone', table: 'meta', key: name });
  return decodeValue('meta', vault.open('meta', Buffer.from(`${OWN_PREFIX}${name}`), record));
}

function isTable(name: string): name is Table {
  return Object.hasOwn(tables, name);
}

function corrupt(path: string, reason: string, table?: Table): Fault {
  return new Fault({ code: 'store_corrupt', path, reason, ...(table !== undefined && { table }) });
}

// The closing mark: how many commits the store had when it was last closed, in a file beside it. A bit flipped in the newest meta page
// can make LMDB fall back to the commit before, whole and plausible; then the store has fewer commits than the mark says.

const MARK_BYTES = 8;

/** Left by `close`, kept for ever: a store only gets more commits. */
export function writeClosing(folder: string, vault: Vault, commits: number): void {
  const bytes = Buffer.alloc(MARK_BYTES);
  bytes.writeBigUInt64BE(BigInt(commits));
  const path = join(folder, 'store.closed');
  const file = openSync(`${path}.new`, 'w', 0o600);
  try {
    writeSync(file, Buffer.concat([bytes, closingMac(vault, bytes)]));
    fdatasyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  syncFolder(folder);
}

/** A missing or damaged mark proves nothing, so only a true one that is ahead refuses the store. */
function checkClosing(folder: string, vault: Vault, commits: number): void {
  const number = readClosing(folder, vault);
  if (number !== undefined && commits < number)
    throw new Fault({ code: 'store_rolled_back', path: folder, kind: 'commit', number, reason: `has ${commits}` });
}

/** @returns how many commits the store had when it was last closed; undefined where no true mark says so */
export function readClosing(folder: string, vault: Vault): number | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(join(folder, 'store.closed'));
  } catch {
    return undefined;
  }
  const [mark, mac] = [bytes.subarray(0, MARK_BYTES), bytes.subarray(MARK_BYTES)];
  const expected = closingMac(vault, mark);
  if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) return undefined;
  return Number(mark.readBigUInt64BE());
}

function closingMac(vault: Vault, bytes: Uint8Array): Buffer {
  return createHmac('sha256', vault.derive('closing')).update(bytes).digest();
}
