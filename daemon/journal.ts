/**
 * The journal: what happened, in order, for ever (or until pruned from its old end). Steps append to it through their transaction; the
 * feed pages through it with `readJournal`; the store checks its tail at boot and `verifyJournal` all of it.
 *
 * Hash chain: hash(n) = SHA-512(hash(n-1) ‖ uint64 n ‖ record bytes as stored), hash(0) = 64 zero bytes. Each record carries hash(n-1),
 * the newest hash is sealed in meta `store/head`, so no entry can be dropped, changed or moved unseen.
 */
import assert from 'node:assert';
import { hash } from 'node:crypto';
import { Fault } from './fault.ts';
import type { Overlay, Source } from './overlay.ts';
import { type JournalRecord, tables } from './tables.ts';

/** Where the chain stands. */
export type JournalHead = { readonly cursor: number; readonly hash: Uint8Array };

export type JournalEntry = { cursor: number; type: string; at_ms: number; data: unknown };

export type JournalPage =
  | { ok: true; entries: JournalEntry[]; newest: number }
  | { ok: false; code: 'outdated_cursor'; oldest: number }
  | { ok: false; code: 'future_cursor'; newest: number };

export const EMPTY_HEAD: JournalHead = { cursor: 0, hash: new Uint8Array(64) };

/** The most that one page of the feed holds. */
const PAGE_MAX = 10_000;

/** What paging needs of a store. */
type JournalReader = {
  journalHead(): JournalHead;
  range(table: 'journal', options: { start?: number; limit: number }): Iterable<readonly [number, JournalRecord]>;
};

/** Appends one entry and answers the new head. The data is serialized here, so later changes of the object don't matter. */
export function appendEntry(overlay: Overlay, head: JournalHead, entry: Omit<JournalEntry, 'cursor'>): JournalHead {
  const cursor = head.cursor + 1;
  const record: JournalRecord = {
    type: entry.type,
    at_ms: entry.at_ms,
    data: entry.data,
    prev: Buffer.from(head.hash).toString('base64'),
  };
  const bytes = Buffer.from(JSON.stringify(record));
  overlay.set('journal', keyOf(cursor), bytes);
  return { cursor, hash: chainHash(head.hash, cursor, bytes) };
}

/**
 * A page of the journal behind a cursor, oldest first.
 *
 * @param after the cursor that the reader has seen last, 0 for none
 * @param limit at most 10,000 entries
 */
export function readJournal(store: JournalReader, { after, limit }: { after: number; limit: number }): JournalPage {
  const newest = store.journalHead().cursor;
  assert(limit >= 1, 'a page has room for an entry');
  if (after > newest) return { ok: false, code: 'future_cursor', newest };
  const entries: JournalEntry[] = [];
  for (const [cursor, { type, at_ms, data }] of store.range('journal', {
    start: after + 1,
    limit: Math.min(limit, PAGE_MAX),
  })) {
    entries.push({ cursor, type, at_ms, data });
  }
  const oldest = entries[0]?.cursor ?? newest + 1; // all may have been pruned
  if (oldest !== after + 1) return { ok: false, code: 'outdated_cursor', oldest };
  return { ok: true, entries, newest };
}

/**
 * Walks the chain backwards from the head.
 *
 * @param limit how many of the newest entries to check; Infinity for all that are kept
 * @returns     how many were checked
 * @throws      Fault `store_corrupt` at the first entry that is missing or does not fit
 */
export function verifyChain(source: Source, head: JournalHead, limit: number): number {
  return verifyLinks(source, head, limit).checked;
}

/** All that is kept, in parts, with a turn of the event loop between them. @throws {Fault} as `verifyChain` */
export async function verifyChainInTurns(source: Source, head: JournalHead, part: number): Promise<number> {
  let checked = 0;
  let end: string | undefined;
  for (let expected = head; ; ) {
    const links = verifyLinks(source, expected, part, end);
    checked += links.checked;
    if (links.checked < part) return checked;
    expected = links.expected;
    end = keyOf(expected.cursor + 1);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/**
 * @param end  the key that the walk begins below; where left out, nothing may be above the head
 * @returns    also what the next entry further down must be
 */
function verifyLinks(
  source: Source,
  head: JournalHead,
  limit: number,
  end?: string,
): { checked: number; expected: JournalHead } {
  let expected = head;
  let checked = 0;
  for (const [key, bytes] of source.scan('journal', { reverse: true, ...(end !== undefined && { end }) })) {
    const cursor = tables.journal.key.decode(Buffer.from(key, 'latin1'));
    if (cursor !== expected.cursor) throw broken(expected.cursor);
    if (checked === limit) return { checked, expected };
    const prev = Buffer.from((JSON.parse(Buffer.from(bytes).toString()) as JournalRecord).prev, 'base64');
    if (Buffer.compare(chainHash(prev, cursor, bytes), expected.hash) !== 0) throw broken(cursor);
    expected = { cursor: cursor - 1, hash: prev };
    checked += 1;
  }
  // Nothing is kept below: either the beginning, or the pruned end.
  if (expected.cursor === 0 && Buffer.compare(expected.hash, EMPTY_HEAD.hash) !== 0) throw broken(0);
  return { checked, expected };
}

function chainHash(prev: Uint8Array, cursor: number, bytes: Uint8Array): Uint8Array {
  return hash('sha512', Buffer.concat([prev, tables.journal.key.encode(cursor), bytes]), 'buffer');
}

function keyOf(cursor: number): string {
  return Buffer.from(tables.journal.key.encode(cursor)).toString('latin1');
}

function broken(cursor: number): Fault {
  return new Fault({ code: 'store_corrupt', reason: 'the journal chain is broken', table: 'journal', key: cursor });
}
