// The state of a store as chunks of bytes, and back (DESIGN §8). A chunk holds rows: uint8 length ‖ table ‖ uint16 length ‖ key ‖
// uint32 length ‖ value. The predecessor reads the tables in their order while its store is held, so a chunk is some
// hundred kilobytes in memory and no more; the first chunk holds the reading keys of its epochs, the last what all of it came
// to. Nothing here is encrypted or believed: channel.ts and successor.ts do that.
import { concat, fromBase64, uintBytes, utf8 } from '../../actors/encoding.ts';
import { inGrace } from '../epoch.ts';
import type { JournalHead } from '../journal.ts';
import { exportReading } from '../keys/inherited.ts';
import type { KeySource } from '../keys/source.ts';
import { meta } from '../records.ts';
import { OWN_PREFIX } from '../step.ts';
import type { Row, Store } from '../store.ts';
import { type Table, tableNames } from '../tables.ts';

/** One that holds a single large value is larger. */
const CHUNK_BYTES = 512 * 1024;

/** What a successor makes anew, or has of its own. The outbox is empty. */
const LEFT_OUT: ReadonlySet<Table> = new Set(['outbox', 'inherited', 'wrap_epochs']);
/** Of `meta`: the counts of wraps follow from the wraps, measurements are those of the other platform. */
const LEFT_OUT_META: ReadonlySet<string> = new Set(['wraps', 'measurements', 'handover', 'inheritance']);

/** What travels beside the tables, under names that no table has. */
const KEYS = '#keys';
const END = '#end';

/** What all of the state came to. */
export interface End {
  readonly journal: JournalHead;
  readonly state_hash: string;
  readonly asset_count: number;
}

export interface PlainChunk {
  /** The sender's to wipe: the first one holds keys. */
  readonly bytes: Uint8Array;
  readonly last: boolean;
}

/** @param end  what the last chunk says; asked for once all else was given */
export async function* exportChunks(
  store: Store,
  source: KeySource,
  end: () => Promise<Omit<End, 'journal'>>,
): AsyncGenerator<PlainChunk, undefined> {
  yield { bytes: await keysChunk(store, source), last: false };
  for (const table of tableNames) {
    if (LEFT_OUT.has(table)) continue;
    let after: Uint8Array | undefined;
    for (;;) {
      const rows = store.rows(table, after, CHUNK_BYTES);
      if (rows.length === 0) break;
      after = rows.at(-1)!.key;
      const kept = table === 'meta' ? rows.filter(({ key }) => !isLeftOut(new TextDecoder().decode(key))) : rows;
      if (kept.length > 0)
        yield { bytes: concat(...kept.map((row) => frame(row.table, row.key, row.value))), last: false };
    }
  }
  const { cursor, hash } = store.journalHead();
  const said = { ...(await end()), journal: { cursor, hash: hash.toBase64() } };
  yield { bytes: frame(END, new Uint8Array(0), utf8(JSON.stringify(said))), last: true };
  return undefined;
}

const isLeftOut = (name: string): boolean => name.startsWith(OWN_PREFIX) || LEFT_OUT_META.has(name);

/** Of the active epoch and of those in grace, off the V8 heap. */
async function keysChunk(store: Store, source: KeySource): Promise<Uint8Array> {
  const epochs = [...inGrace(store), meta(store, 'epoch').active];
  const frames: Uint8Array[] = [];
  for (const epoch of epochs) {
    const secrets = await exportReading(store, source, epoch);
    frames.push(frame(KEYS, uintBytes(epoch, 4), secrets));
    secrets.fill(0);
  }
  const bytes = concat(...frames);
  for (const each of frames) each.fill(0);
  return bytes;
}

function frame(name: string, key: Uint8Array, value: Uint8Array): Uint8Array {
  const text = utf8(name);
  return concat(uintBytes(text.length, 1), text, uintBytes(key.length, 2), key, uintBytes(value.length, 4), value);
}

/** What a chunk holds; values are views into it. */
export interface Content {
  readonly rows: Row[];
  /** Reading keys by their epoch. */
  readonly keys: ReadonlyMap<number, Uint8Array>;
  readonly end: End | undefined;
}

/** @throws {Error} on bytes that are no chunk */
export function readChunk(bytes: Uint8Array): Content {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const rows: Row[] = [];
  const keys = new Map<number, Uint8Array>();
  let end: End | undefined;
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (at + length > bytes.length) throw new Error('a chunk breaks off');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const number = (length: 1 | 2 | 4): number => {
    const from = at;
    take(length);
    return length === 1 ? view.getUint8(from) : length === 2 ? view.getUint16(from) : view.getUint32(from);
  };
  while (at < bytes.length) {
    const name = new TextDecoder('utf-8', { fatal: true }).decode(take(number(1)));
    const key = take(number(2));
    const value = take(number(4));
    if (name === KEYS) keys.set(new DataView(key.buffer, key.byteOffset).getUint32(0), value);
    else if (name === END) end = endOf(value);
    else rows.push(rowOf(name, key, value));
  }
  return { rows, keys, end };
}

function rowOf(name: string, key: Uint8Array, value: Uint8Array): Row {
  const table = tableNames.find((each) => each === name);
  const isTaken = table !== undefined && !LEFT_OUT.has(table);
  if (!isTaken || (table === 'meta' && isLeftOut(new TextDecoder().decode(key)))) {
    throw new Error('a chunk has a row that no state has');
  }
  return { table, key, value };
}

function endOf(value: Uint8Array): End {
  const { journal, state_hash, asset_count } = JSON.parse(new TextDecoder().decode(value));
  return { state_hash, asset_count, journal: { cursor: journal.cursor, hash: fromBase64(journal.hash) } };
}
