// What the sequencer shows its witness of the log: the page behind what it has followed, with the headers of the batches in it, and the
// newest seal that it has not verified. Read from the store as it is; witnessed.ts asks with it.

import { LOG_KINDS } from '../../actors/tree.ts';
import { ENTRIES_MAX, type HeadClaim, type Position } from '../../actors/witness.ts';
import { logRoot, signedHead } from '../log.ts';
import { batchRecord, meta } from '../records.ts';
import type { Reader } from '../store.ts';

/** @param size  of the head that the witness is to reach; a claim goes a page towards it at most */
export function claimOf(store: Reader, size: number, { size: from, sealed: known }: Position): HeadClaim {
  const end = Math.min(size, from + ENTRIES_MAX);
  const page = end > from ? [...store.range('log', { start: from, end, limit: ENTRIES_MAX })] : [];
  const entries = page.map(([, { kind, digest }]) => ({ kind: LOG_KINDS[kind]!, digest }));
  const headers = entries.flatMap(({ kind, digest }) => {
    if (kind !== 'batch') return [];
    const { header } = batchRecord(store, store.get('batch_ids', digest)!.height);
    return [header!];
  });
  const { sealed } = meta(store, 'log');
  const seal = sealed > known && sealed <= end ? (signedHead(store, sealed) ?? null) : null;
  return { type: 'head', from, entries, headers, root: logRoot(store, end), sealed: seal };
}
