// `aegisd mirror`: keeps what a daemon has published in a file beside its backups: entries of the log, batches and sealed heads. Each
// run goes on where the one before ended, so a timer may call it every minute; `aegisd resolve-restore` brings a restored
// store forward over it. What the file holds is verified there, by whoever needs it, and not here.
import { closeSync, fsyncSync, openSync, statSync, truncateSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { BatchFile } from '../../actors/batch.ts';
import { keysetDigest } from '../../actors/digest.ts';
import { hex } from '../../actors/encoding.ts';
import { type ListedSeal, LogEntries, LogHead, PAGE_MAX, Seals, SignedHead } from '../../actors/head.ts';
import { Keyset } from '../../actors/keyset.ts';
import { PublicationError, type PublishedLine, publishedLines } from '../publication.ts';
import { ask, type Common } from './asking.ts';
import { type Connection, RequestError } from './connection.ts';
import { UsageError } from './file.ts';

/** How far a file has come. */
interface Kept {
  log_id: string | undefined;
  entries: number;
  batches: number;
  epochs: number;
  sealed: number;
  end_bytes: number;
}

export function mirror(options: Common & { readonly out: string }): Promise<number> {
  const { out } = options;
  return ask(
    options,
    async (daemon) => {
      const kept = await readKept(out);
      const head = await daemon.get('/log/head', LogHead);
      if (kept.log_id !== undefined && kept.log_id !== head.log_id) {
        throw new UsageError(out, 'log_id', `is of ${kept.log_id}, and the daemon's log is ${head.log_id}`);
      }
      const before = { ...kept };
      const file = openSync(out, 'a', 0o600);
      try {
        const write = (line: PublishedLine) => void writeSync(file, `${JSON.stringify(line)}\n`);
        if (kept.log_id === undefined) write({ log_id: head.log_id });
        await keepEntries(daemon, kept, head.size, write);
        await keepHeads(daemon, kept, write);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      const { entries, batches, sealed } = kept;
      const news = `${entries - before.entries} new entries, ${batches - before.batches} new batches`;
      const line = `${out}: ${news}; log of ${entries} entries, ${sealed} of them sealed`;
      return { answer: { out, log_id: head.log_id, entries, batches, sealed }, lines: [line] };
    },
    { keepAlive: true },
  );
}

/** What a run that was ended in the middle of a line has left is cut off. @throws {UsageError} */
async function readKept(path: string): Promise<Kept> {
  const kept: Kept = { log_id: undefined, entries: 0, batches: 0, epochs: 0, sealed: 0, end_bytes: 0 };
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return kept;
  try {
    for await (const { line, end_bytes } of publishedLines(path)) {
      if ('log_id' in line) kept.log_id = line.log_id;
      else if ('entry' in line) {
        kept.entries = line.entry.leaf_index + 1;
        if (line.entry.kind === 'batch') kept.batches += 1;
        if (line.entry.kind === 'epoch') kept.epochs += 1;
      } else if ('sealed' in line) kept.sealed = line.sealed.seal.size;
      kept.end_bytes = end_bytes;
    }
  } catch (error) {
    if (!(error instanceof PublicationError)) throw error;
    throw new UsageError(path, '', error.message);
  }
  if (kept.end_bytes < found.size) truncateSync(path, kept.end_bytes);
  return kept;
}

type Write = (line: PublishedLine) => void;

/** A batch stands before its entry: whoever has the entry has the batch. */
async function keepEntries(daemon: Connection, kept: Kept, size: number, write: Write): Promise<void> {
  while (kept.entries < size) {
    const limit = Math.min(PAGE_MAX.entries, size - kept.entries);
    const page = await answered(daemon, `/log/entries?from=${kept.entries}&limit=${limit}`, LogEntries);
    if (page.entries.length === 0) throw wrong(daemon, `the log has no entry ${kept.entries}`);
    for (const entry of page.entries) {
      if (entry.leaf_index !== kept.entries) throw wrong(daemon, `the log has no entry ${kept.entries}`);
      if (entry.kind === 'batch') {
        const batch = await answered(daemon, `/batches/${kept.batches}`, BatchFile);
        if (batch.batch_id !== entry.digest) throw wrong(daemon, `batch ${kept.batches} is not that of the log`);
        write({ batch });
        kept.batches += 1;
      }
      if (entry.kind === 'epoch') {
        kept.epochs += 1;
        const { keyset } = await answered(daemon, `/epochs/${kept.epochs}/keyset`, z.object({ keyset: Keyset }));
        // After a handover the successor's number may be another; without it the file is as good up to there.
        if (hex(keysetDigest(keyset)) === entry.digest) write({ keyset });
      }
      write({ entry });
      kept.entries += 1;
    }
  }
}

/** Those over the entries that are kept. */
async function keepHeads(daemon: Connection, kept: Kept, write: Write): Promise<void> {
  for (;;) {
    const { seals } = await answered(daemon, `/log/seals?after=${kept.sealed}`, Seals);
    const next = seals.filter(({ seal: { size } }: ListedSeal) => size > kept.sealed && size <= kept.entries);
    for (const { seal } of next) {
      write({ sealed: await answered(daemon, `/log/seals/${seal.size}`, SignedHead) });
      kept.sealed = seal.size;
    }
    if (next.length < seals.length || seals.length < PAGE_MAX.seals) return;
  }
}

const answered = <Schema extends z.ZodType>(daemon: Connection, path: string, schema: Schema) =>
  daemon.get(path, schema) as Promise<z.output<Schema>>;

const wrong = (daemon: Connection, what: string) => new RequestError('unexpected_answer', `${daemon.where}: ${what}`);
