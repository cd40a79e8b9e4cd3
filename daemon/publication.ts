// What a daemon has published beyond a store, out of the file of a mirror (publishedfile.ts). Nobody has to trust such a file: the entries
// must give the roots that were sealed, and batches and heads carry their signatures. A store that was restored is brought forward
// over it (resolution.ts). Batches and heads stay in the file until they are needed, held to what was read first.
import type { BatchFile } from '../actors/batch.ts';
import { keysetDigest, sealDigest } from '../actors/digest.ts';
import { fromBase64, hex, utf8 } from '../actors/encoding.ts';
import type { LogEntry, SignedHead } from '../actors/head.ts';
import type { Keyset } from '../actors/keyset.ts';
import { VerificationPolicy } from '../client/policy.ts';
import { verifyBatch } from '../client/verify.ts';
import type { Engine } from '../workers/engine.ts';
import { type Documents, Lines, PublicationError, type PublishedLine, publishedLines } from './publishedfile.ts';
import type { KeysetRecord } from './records.ts';

/** In one step: what a store can be behind. */
export const ENTRIES_MAX = 100_000;

/** What lies beyond a store, in order. */
export interface Publication {
  readonly entries: readonly LogEntry[];
  /** By height. */
  readonly batches: Documents<BatchFile>;
  /** By size, smallest first. */
  readonly heads: Documents<SignedHead>;
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

/** @throws {PublicationError} when it is damaged, of another log, or of another history than the store's */
export async function readPublication(path: string, store: Position): Promise<Publication> {
  const entries: LogEntry[] = [];
  const batches = new Lines(path, (line) => (line as Extract<PublishedLine, { batch: unknown }>).batch);
  const heads = new Lines(path, (line) => (line as Extract<PublishedLine, { sealed: unknown }>).sealed);
  const keysets = new Map<string, Keyset>();
  for await (const { line, place } of publishedLines(path)) {
    if ('log_id' in line && line.log_id !== store.log_id) {
      throw new PublicationError(`${path} is of log ${line.log_id}, the store of ${store.log_id}`);
    } else if ('batch' in line && line.batch.height >= store.next_height) {
      batches.set(line.batch.height, place);
    } else if ('sealed' in line && line.sealed.seal.size > store.sealed) {
      heads.set(line.sealed.seal.size, place);
    } else if ('keyset' in line) {
      keysets.set(hex(keysetDigest(line.keyset)), line.keyset);
    } else if ('entry' in line) {
      takeEntry(path, entries, line.entry, store);
    }
  }
  return { entries, batches, keysets, heads };
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
  for (const head of heads.values()) {
    const { size, epoch } = head.seal;
    if (!isSigned(head, signers.get(epoch), engine))
      return `the head of size ${size} is not signed under a keyset of epoch ${epoch}`;
  }
  return undefined;
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
