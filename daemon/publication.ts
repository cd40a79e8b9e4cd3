// What a daemon has published, as `aegisd mirror` keeps it beside backups: entries of the log, batches and sealed heads, one JSON document a
// line, so that a run goes on where the one before ended. Nobody has to trust such a file: the entries must give the roots that
// were sealed, and batches and heads carry their signatures. A store that was restored is brought forward over it
// (resolution.ts). A last line that is torn is as good as none.
import { createReadStream, statSync } from 'node:fs';
import { z } from 'zod';
import { BatchFile } from '../actors/batch.ts';
import { keysetDigest, sealDigest } from '../actors/digest.ts';
import { Digest, fromBase64, hex, utf8 } from '../actors/encoding.ts';
import { LogEntry, SignedHead } from '../actors/head.ts';
import { Keyset } from '../actors/keyset.ts';
import { VerificationPolicy } from '../client/policy.ts';
import { verifyBatch } from '../client/verify.ts';
import type { Engine } from '../workers/engine.ts';
import type { KeysetRecord } from './records.ts';

export const PublishedLine = z.union([
  z.strictObject({ log_id: Digest }),
  z.strictObject({ batch: BatchFile }),
  z.strictObject({ entry: LogEntry }),
  z.strictObject({ keyset: Keyset }),
  z.strictObject({ sealed: SignedHead }),
]);
export type PublishedLine = z.output<typeof PublishedLine>;

export const FILE_BYTES_MAX = 16 * 2 ** 30;
/** Above a batch of 10,000 large transactions as it is served. */
const LINE_CHARACTERS_MAX = 2 ** 28;
/** In one step: what a store can be behind. */
export const ENTRIES_MAX = 100_000;

export class PublicationError extends Error {}

/** What lies beyond a store, in order. */
export interface Publication {
  readonly entries: readonly LogEntry[];
  readonly batches: ReadonlyMap<number, BatchFile>;
  readonly heads: readonly SignedHead[];
  /** By their digests, which are entries of the kind epoch. */
  readonly keysets: ReadonlyMap<string, Keyset>;
}

/** Where a store stands. */
export interface Position {
  readonly log_id: string;
  readonly size: number;
  readonly sealed: number;
  readonly next_height: number;
  /** Of an entry that the store has. */
  digestAt(leaf_index: number): string;
}

/**
 * Whole lines, and where each ends in the file.
 *
 * @throws {PublicationError} naming the line that is none of a publication
 */
export async function* publishedLines(path: string): AsyncGenerator<{ line: PublishedLine; end_bytes: number }> {
  if (statSync(path).size > FILE_BYTES_MAX) throw new PublicationError(`${path} is too large`);
  let rest = '';
  let end_bytes = 0;
  let number = 0;
  for await (const chunk of createReadStream(path, { encoding: 'utf8' }) as AsyncIterable<string>) {
    const parts = `${rest}${chunk}`.split('\n');
    rest = parts.pop()!;
    if (rest.length > LINE_CHARACTERS_MAX) throw new PublicationError(`${path}:${number + 1}: too long a line`);
    for (const text of parts) {
      number += 1;
      end_bytes += Buffer.byteLength(text) + 1;
      yield { line: parse(text, `${path}:${number}`), end_bytes };
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

/** @throws {PublicationError} when it is damaged, of another log, or of another history than the store's */
export async function readPublication(path: string, store: Position): Promise<Publication> {
  const entries: LogEntry[] = [];
  const batches = new Map<number, BatchFile>();
  const heads = new Map<number, SignedHead>();
  const keysets = new Map<string, Keyset>();
  for await (const { line } of publishedLines(path)) {
    if ('log_id' in line && line.log_id !== store.log_id) {
      throw new PublicationError(`${path} is of log ${line.log_id}, the store of ${store.log_id}`);
    } else if ('batch' in line && line.batch.height >= store.next_height) {
      batches.set(line.batch.height, line.batch);
    } else if ('sealed' in line && line.sealed.seal.size > store.sealed) {
      heads.set(line.sealed.seal.size, line.sealed);
    } else if ('keyset' in line) {
      keysets.set(hex(keysetDigest(line.keyset)), line.keyset);
    } else if ('entry' in line) {
      takeEntry(path, entries, line.entry, store);
    }
  }
  return { entries, batches, keysets, heads: [...heads.values()].sort((a, b) => a.seal.size - b.seal.size) };
}

function takeEntry(path: string, entries: LogEntry[], entry: LogEntry, { size, digestAt }: Position): void {
  const { leaf_index, digest } = entry;
  if (leaf_index < size) {
    if (digestAt(leaf_index) === digest) return;
    throw new PublicationError(`${path}: entry ${leaf_index} is another than the store's: two histories of one log`);
  }
  const expected = size + entries.length;
  if (leaf_index !== expected) {
    throw new PublicationError(`${path}: entry ${leaf_index} comes where entry ${expected} is expected`);
  }
  if (entries.length === ENTRIES_MAX)
    throw new PublicationError(`${path}: more than ${ENTRIES_MAX} entries beyond the store`);
  entries.push(entry);
}

const SEAL_CONTEXT = utf8('aegis/seal/v1');

/** Keysets that sign what was published, by their epochs: the store's active one, and those that are known to be of the same root. */
export type Signers = ReadonlyMap<number, Pick<KeysetRecord, 'keyset' | 'digest'>>;

/**
 * Judges every batch and head by itself, under the keyset of its epoch.
 *
 * @returns what is wrong; undefined where all of it is signed
 */
export function unsigned({ batches, heads }: Publication, signers: Signers, engine: Engine): string | undefined {
  for (const file of batches.values()) {
    const signer = signers.get(file.header.epoch);
    if (signer === undefined) return `batch ${file.height} is of epoch ${file.header.epoch}, whose keyset is not known`;
    const policy = VerificationPolicy.parse({
      ...{ signatures: 'any-pq', keysets: [signer.digest], log_id: signer.keyset.log_id },
    });
    // Its seal is one of the heads; whose keys these are needs no evidence, since they are the store's own.
    const judgement = { policy, allow_simulated: true, now_ms: Date.now() };
    const verdict = verifyBatch({ ...file, slh_dsa_sig: null, attestation: null }, judgement);
    if (!verdict.ok) return `batch ${file.height}: ${verdict.code}: ${verdict.field}: ${verdict.message}`;
  }
  const wrong = heads.find((head) => !isSigned(head, signers.get(head.seal.epoch), engine));
  return wrong && `the head of size ${wrong.seal.size} is not signed under a keyset of epoch ${wrong.seal.epoch}`;
}

function isSigned(
  { seal, digest, ml_dsa_sig, slh_dsa_sig }: SignedHead,
  signer: ReturnType<Signers['get']>,
  engine: Engine,
): boolean {
  const signed = sealDigest(seal);
  if (signer === undefined || seal.keyset_digest !== signer.digest || hex(signed) !== digest) return false;
  const verifies = (scheme: 'ml_dsa_87' | 'slh_dsa_sha2_256s', signature: string) =>
    engine[scheme].verify(fromBase64(signer.keyset[scheme]), signed, SEAL_CONTEXT, fromBase64(signature));
  return verifies('ml_dsa_87', ml_dsa_sig.signature) && verifies('slh_dsa_sha2_256s', slh_dsa_sig.signature);
}
