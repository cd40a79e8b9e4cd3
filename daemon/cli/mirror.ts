// `aegisd mirror`: keeps what a daemon has published in a file beside its backups: entries of the log, batches and sealed heads. Each
// run goes on where the one before ended, so a timer may call it every minute; `aegisd resolve-restore` brings a restored
// store forward over it. What the file holds is verified there, by whoever needs it, and not here. A batch is kept without its
// seal, which is one of the heads, and without evidence: five times as many fit.
import { closeSync, fsyncSync, openSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { BatchFile } from '../../actors/batch.ts';
import { keysetDigest } from '../../actors/digest.ts';
import { hex } from '../../actors/encoding.ts';
import { type ListedSeal, LogEntries, type LogEntry, LogHead, PAGE_MAX, Seals, SignedHead } from '../../actors/head.ts';
import { Keyset } from '../../actors/keyset.ts';
import {
  FILE_BYTES_MAX,
  type Kept,
  lastKept,
  PublicationError,
  type PublishedLine,
  publishedLines,
} from '../publishedfile.ts';
import { ask, type Common } from './asking.ts';
import { type Connection, RequestError } from './connection.ts';
import { UsageError } from './file.ts';

/** How far a file has come, and where its last whole line ends. */
interface Progress {
  log_id: string | undefined;
  entries: number;
  batches: number;
  epochs: number;
  sealed: number;
  end_bytes: number;
}

interface Options extends Common {
  readonly out: string;
  /** Where a new file begins: a backup has what lies before. */
  readonly from?: number;
}

export function mirror(options: Options): Promise<number> {
  const { out } = options;
  return ask(
    options,
    async (daemon) => {
      const kept = await readKept(out);
      const head = await daemon.get('/log/head', LogHead);
      const { log_id } = head;
      if (kept.log_id !== undefined && kept.log_id !== log_id) {
        throw new UsageError(out, 'log_id', `is of ${kept.log_id}, and the daemon's log is ${log_id}`);
      }
      if (kept.log_id === undefined) await beginAt(options.from ?? 0, daemon, kept, head.size);
      const before = { ...kept };
      const writing = new Writing(out, kept.end_bytes);
      try {
        if (kept.log_id === undefined) {
          writing.write({ log_id });
          writing.write({ kept: positionOf(kept, log_id) });
        }
        await keepEntries(daemon, kept, head.size, writing.write);
        await keepHeads(daemon, kept, writing.write);
        if (writing.wrote) writing.end(positionOf(kept, log_id));
      } finally {
        writing.close();
      }
      const { entries, batches, sealed } = kept;
      const news = `${entries - before.entries} new entries, ${batches - before.batches} new batches`;
      const line = `${out}: ${news}; log of ${entries} entries, ${sealed} of them sealed`;
      return { answer: { out, log_id, entries, batches, sealed }, lines: [line] };
    },
    { keepAlive: true },
  );
}

const positionOf = ({ entries, batches, epochs, sealed }: Progress, log_id: string): Kept => {
  return { log_id, entries, batches, epochs, sealed };
};

/** Bounded, since a file that is too large is read by nobody. */
class Writing {
  readonly #path: string;
  readonly #file: number;
  readonly #begin: number;
  #bytes: number;

  constructor(path: string, bytes: number) {
    this.#path = path;
    this.#file = openSync(path, 'a', 0o600);
    this.#begin = bytes;
    this.#bytes = bytes;
  }

  get wrote(): boolean {
    return this.#bytes > this.#begin;
  }

  /** @throws {UsageError} above what can be taken again; what was written until then is whole */
  readonly write = (line: PublishedLine): void => {
    const text = Buffer.from(`${JSON.stringify(line)}\n`);
    if (this.#bytes + text.length > FILE_BYTES_MAX)
      throw new UsageError(this.#path, '', 'is full: take a backup, and begin another file with --from');
    writeFileSync(this.#file, text);
    this.#bytes += text.length;
  };

  /** Says how far it has come, once all before that is on the disk. */
  end(kept: Kept): void {
    fsyncSync(this.#file);
    this.write({ kept });
  }

  close(): void {
    fsyncSync(this.#file);
    closeSync(this.#file);
  }
}

/** What a run that was ended in the middle of a line has left is cut off. @throws {UsageError} */
async function readKept(path: string): Promise<Progress> {
  const kept: Progress = { log_id: undefined, entries: 0, batches: 0, epochs: 0, sealed: 0, end_bytes: 0 };
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return kept;
  const last = lastKept(path);
  if (last !== undefined) return { ...last, end_bytes: found.size };
  try {
    for await (const { line, place } of publishedLines(path)) {
      if ('kept' in line) Object.assign(kept, line.kept);
      else if ('log_id' in line) kept.log_id = line.log_id;
      else if ('entry' in line) {
        kept.entries = line.entry.leaf_index + 1;
        count(kept, line.entry);
      } else if ('sealed' in line) kept.sealed = line.sealed.seal.size;
      kept.end_bytes = place.end_bytes;
    }
  } catch (error) {
    if (!(error instanceof PublicationError)) throw error;
    throw new UsageError(path, '', error.message);
  }
  if (kept.end_bytes < found.size) truncateSync(path, kept.end_bytes);
  return kept;
}

function count(kept: Progress, { kind }: LogEntry): void {
  if (kind === 'batch') kept.batches += 1;
  if (kind === 'epoch') kept.epochs += 1;
}

type Write = (line: PublishedLine) => void;

/** Of what is not kept it has to be known how many batches and epochs it has. */
async function beginAt(from: number, daemon: Connection, kept: Progress, size: number): Promise<void> {
  if (from > size) throw new UsageError('--from', '', `expected at most ${size}, the entries of the log`);
  while (kept.entries < from) {
    for (const entry of await entriesFrom(daemon, kept.entries, from)) {
      count(kept, entry);
      kept.entries += 1;
    }
  }
  kept.sealed = from;
}

/** A page of those from `start` on, below `end`; at least one. */
async function entriesFrom(daemon: Connection, start: number, end: number): Promise<readonly LogEntry[]> {
  const limit = Math.min(PAGE_MAX.entries, end - start);
  const { entries } = await answered(daemon, `/log/entries?from=${start}&limit=${limit}`, LogEntries);
  const wanting = entries.findIndex(({ leaf_index }, index) => leaf_index !== start + index);
  if (entries.length === 0 || wanting >= 0) throw wrong(daemon, `the log has no entry ${start + Math.max(0, wanting)}`);
  return entries;
}

/** A batch stands before its entry: whoever has the entry has the batch. */
async function keepEntries(daemon: Connection, kept: Progress, size: number, write: Write): Promise<void> {
  while (kept.entries < size) {
    for (const entry of await entriesFrom(daemon, kept.entries, size)) {
      if (entry.kind === 'batch') {
        const batch = await answered(daemon, `/batches/${kept.batches}`, BatchFile);
        if (batch.batch_id !== entry.digest) throw wrong(daemon, `batch ${kept.batches} is not that of the log`);
        write({ batch: { ...batch, slh_dsa_sig: null, attestation: null } });
      }
      if (entry.kind === 'epoch') {
        const { keyset } = await answered(daemon, `/epochs/${kept.epochs + 1}/keyset`, z.object({ keyset: Keyset }));
        // After a handover the successor's number may be another; without it the file is as good up to there.
        if (hex(keysetDigest(keyset)) === entry.digest) write({ keyset });
      }
      write({ entry });
      count(kept, entry);
      kept.entries += 1;
    }
  }
}

/** Those over the entries that are kept. */
async function keepHeads(daemon: Connection, kept: Progress, write: Write): Promise<void> {
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
