// The file that `aegisd mirror` keeps beside backups: entries of the log, batches and sealed heads, one JSON document a line, and at the end of
// each run how far it has come, so that the next goes on there without reading the rest. A last line that is torn is as good as none.
// Nobody has to trust such a file (publication.ts): it may even change while it is read, so what was judged is held by its hash.
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { z } from 'zod';
import { BatchFile } from '../actors/batch.ts';
import { Counter, Digest } from '../actors/encoding.ts';
import { LogEntry, SignedHead } from '../actors/head.ts';
import { Keyset } from '../actors/keyset.ts';

/** How far a file has come at this line: what of the log lies before it, kept here or left to a backup. */
export const Kept = z.strictObject({
  log_id: Digest,
  entries: Counter,
  batches: Counter,
  epochs: Counter,
  sealed: Counter,
});
export type Kept = z.output<typeof Kept>;

export const PublishedLine = z.union([
  z.strictObject({ log_id: Digest }),
  z.strictObject({ batch: BatchFile }),
  z.strictObject({ entry: LogEntry }),
  z.strictObject({ keyset: Keyset }),
  z.strictObject({ sealed: SignedHead }),
  z.strictObject({ kept: Kept }),
]);
export type PublishedLine = z.output<typeof PublishedLine>;

export const FILE_BYTES_MAX = 16 * 2 ** 30;
/** Above a batch of 10,000 large transactions as it is served. */
const LINE_CHARACTERS_MAX = 2 ** 28;
/** Above a line of the kind `kept`. */
const TAIL_BYTES = 1_024;

export class PublicationError extends Error {}

/** Where a line lies, and what it said. */
export interface Place {
  readonly start_bytes: number;
  readonly end_bytes: number;
  readonly sha256: string;
}

/** Of one kind, by a number, which ascends. @throws {PublicationError} when the file is no longer what was read of it first */
export interface Documents<T> {
  keys(): Iterable<number>;
  get(number: number): T | undefined;
  values(): Iterable<T>;
}

/**
 * Whole lines, and where each lies in the file.
 *
 * @throws {PublicationError} naming the line that is none of a publication
 */
export async function* publishedLines(path: string): AsyncGenerator<{ line: PublishedLine; place: Place }> {
  if (statSync(path).size > FILE_BYTES_MAX) throw new PublicationError(`${path} is too large`);
  let rest = '';
  let start_bytes = 0;
  let number = 0;
  for await (const chunk of createReadStream(path, { encoding: 'utf8' }) as AsyncIterable<string>) {
    const parts = `${rest}${chunk}`.split('\n');
    rest = parts.pop()!;
    if (rest.length > LINE_CHARACTERS_MAX) throw new PublicationError(`${path}:${number + 1}: too long a line`);
    for (const text of parts) {
      number += 1;
      const end_bytes = start_bytes + Buffer.byteLength(text) + 1;
      yield { line: parse(text, `${path}:${number}`), place: { start_bytes, end_bytes, sha256: sha256(text) } };
      start_bytes = end_bytes;
    }
  }
}

function parse(text: string, where: string): PublishedLine {
  try {
    const parsed = PublishedLine.safeParse(JSON.parse(text));
    if (parsed.success) return parsed.data;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new PublicationError(`${where}: not a line of aegisd mirror`);
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('base64');

/** What the last line says, where it is whole and of that kind: then nothing else has to be read. */
export function lastKept(path: string): Kept | undefined {
  const { size } = statSync(path);
  const lines = readText(path, Math.max(0, size - TAIL_BYTES), size).split('\n');
  // The first may have lost its beginning, and after the last line end there is nothing.
  if (lines.length < 3 || lines.pop() !== '') return undefined;
  try {
    const parsed = z.strictObject({ kept: Kept }).safeParse(JSON.parse(lines.at(-1)!));
    return parsed.success ? parsed.data.kept : undefined;
  } catch {
    return undefined;
  }
}

function readText(path: string, start_bytes: number, end_bytes: number): string {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(Math.min(end_bytes, fstatSync(file).size) - start_bytes);
    const count = readSync(file, bytes, 0, bytes.length, start_bytes);
    return bytes.toString('utf8', 0, count);
  } finally {
    closeSync(file);
  }
}

/** Documents that stay in their file until they are asked for, since a day of them is more than a heap holds. */
export class Lines<T> implements Documents<T> {
  readonly #path: string;
  readonly #of: (line: PublishedLine) => T;
  readonly #places = new Map<number, Place>();

  constructor(path: string, of: (line: PublishedLine) => T) {
    this.#path = path;
    this.#of = of;
  }

  set(number: number, place: Place): void {
    this.#places.set(number, place);
  }

  keys(): number[] {
    return [...this.#places.keys()].sort((a, b) => a - b);
  }

  get(number: number): T | undefined {
    const place = this.#places.get(number);
    if (place === undefined) return undefined;
    const length = place.end_bytes - 1;
    const text = statSync(this.#path).size < length ? '' : readText(this.#path, place.start_bytes, length);
    if (sha256(text) !== place.sha256) throw new PublicationError(`${this.#path}: changed while it was read`);
    return this.#of(parse(text, this.#path));
  }

  *values(): Generator<T> {
    for (const number of this.keys()) yield this.get(number)!;
  }
}
