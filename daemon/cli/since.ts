// `aegisd verify --since SEAL_FILE`: does what a daemon shows now hold everything that it showed when the seal was kept?
// The kept head and the later ones are verified each for itself; then a consistency proof, from the daemon or from a file,
// must lead from the one to the other. Called by verify.ts; says what it found and prints nothing.
import { Consistency, LogHead, type SignedHead } from '../../actors/head.ts';
import type { Head } from '../../actors/seal.ts';
import { keptAt, verifyHead } from '../../client/head.ts';
import { checkGrowth, GROWTH_CODES, inOrder } from '../../client/history.ts';
import { fieldPath } from '../../client/json.ts';
import { type VerifyOptions, verifyBatch } from '../../client/verify.ts';
import { type Connection, connect, RequestError } from './connection.ts';
import { readDocument, UsageError } from './file.ts';

export interface SinceOptions {
  /** A kept head, as GET /log/head or /log/seals/{size} gives it, the state of an auditor, or a sealed batch file. */
  readonly since: string;
  readonly url?: string;
  /** Files with answers of GET /log/consistency. */
  readonly proof?: readonly string[];
}

interface Refused {
  readonly ok: false;
  readonly code: string;
  readonly field?: string;
  readonly message: string;
}
type Outcome = { readonly ok: true } | Refused;

/** A later head, and what came of comparing the kept one with it. `of` is the URL or the batch file that it is from. */
export type Compared = { readonly of: string; readonly size: number; readonly root: string } & Outcome;

export type SinceReport = { readonly file: string } & (
  | (Refused & { readonly grown: readonly [] })
  | {
      readonly ok: boolean;
      readonly log_id: string;
      readonly size: number;
      readonly root: string;
      readonly sealed_at: string;
      readonly grown: readonly Compared[];
    }
);

const SEAL_BYTES_MAX = 64 * 1_048_576;
const PROOF_BYTES_MAX = 1_048_576;

/**
 * @param files  heads of batch files that were accepted
 * @throws {UsageError} when something can't be read or fetched; then nothing is judged
 */
export async function checkSince(
  options: SinceOptions,
  judgement: VerifyOptions,
  files: readonly { readonly file: string; readonly seal: Head }[],
): Promise<SinceReport> {
  const proofs = (options.proof ?? []).map(readProof);
  const kept = readKept(options.since, judgement);
  if (!kept.ok) return { file: options.since, grown: [], ...kept };
  const connection = options.url === undefined ? undefined : connect({ url: options.url });
  const grown: Compared[] = [];
  for (const { file, seal } of files) {
    // A batch that was sealed before the kept head was is no older history, just an older batch.
    const pair = seal.timestamp_ms > kept.seal.timestamp_ms ? ([kept.seal, seal] as const) : inOrder(kept.seal, seal);
    grown.push({ of: file, size: seal.size, root: seal.root, ...(await compare(pair, proofs, connection)) });
  }
  if (connection !== undefined) grown.push(await newest(connection, kept.seal, judgement, proofs));
  if (grown.length === 0) {
    const message = 'none of the files has a verified seal to compare it with';
    return { file: options.since, grown: [], ok: false, code: 'unsealed', message };
  }
  const { log_id, size, root, timestamp_ms } = kept.seal;
  const sealed_at = new Date(timestamp_ms).toISOString();
  return { file: options.since, ok: grown.every(({ ok }) => ok), log_id, size, root, sealed_at, grown };
}

async function newest(
  connection: Connection,
  kept: Head,
  judgement: VerifyOptions,
  proofs: readonly Consistency[],
): Promise<Compared> {
  const of = connection.where;
  const { sealed } = await fetchHead(connection);
  if (sealed === null) return { of, size: 0, root: '', ...refused('history_shrank') };
  const { size, root } = sealed.seal;
  // One that was seen before is no newer evidence, and an idle daemon's may have ended.
  if (size === kept.size && root === kept.root) return { of, size, root, ok: true };
  const verdict = verifyHead(sealed, judgement);
  if (!verdict.ok) return { of, size, root, ...verdict };
  return { of, size, root, ...(await compare([kept, sealed.seal], proofs, connection)) };
}

async function compare(
  [earlier, later]: readonly [Head, Head],
  proofs: readonly Consistency[],
  connection: Connection | undefined,
): Promise<Outcome> {
  const needed = later.log_id === earlier.log_id && later.size > earlier.size;
  const path = needed ? await findProof(earlier.size, later.size, proofs, connection) : [];
  const growth = checkGrowth(earlier, later, path);
  return growth.ok ? growth : refused(growth.code);
}

function refused(code: keyof typeof GROWTH_CODES): Refused {
  return { ok: false, code, message: GROWTH_CODES[code] };
}

async function findProof(
  from: number,
  to: number,
  proofs: readonly Consistency[],
  connection: Connection | undefined,
): Promise<readonly string[]> {
  const given = proofs.find((proof) => proof.from === from && proof.to === to);
  if (given !== undefined) return given.consistency_path;
  if (connection !== undefined) {
    return (await fetchProof(connection, from, to)).consistency_path;
  }
  const where = `GET /log/consistency?from=${from}&to=${to}`;
  throw new UsageError('--since', '', `needs --url, or --proof FILE with the answer of ${where}`);
}

async function fetchHead(connection: Connection): Promise<LogHead> {
  return shaped(connection, '/log/head', LogHead, await ask(connection, '/log/head'));
}

async function fetchProof(connection: Connection, from: number, to: number): Promise<Consistency> {
  const path = `/log/consistency?from=${from}&to=${to}`;
  return shaped(connection, path, Consistency, await ask(connection, path));
}

function shaped<T>(
  connection: Connection,
  path: string,
  schema: { safeParse(value: unknown): { success: true; data: T } | { success: false } },
  answer: unknown,
): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new UsageError(connection.where, '', `GET ${path}: not the answer of an aegisd`);
}

async function ask(connection: Connection, path: string): Promise<unknown> {
  try {
    return await connection.get(path);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    throw new UsageError(connection.where, '', error.message);
  }
}

function readProof(path: string): Consistency {
  const parsed = Consistency.safeParse(readDocument(path, PROOF_BYTES_MAX));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new UsageError(path, fieldPath(issue.path), `${issue.message}; expected an answer of GET /log/consistency`);
}

/** Whoever kept it vouches for when it was new, so it is judged at its own time. */
function readKept(path: string, judgement: VerifyOptions): { ok: true; seal: Head } | Refused {
  const value = readDocument(path, SEAL_BYTES_MAX) as { [name: string]: unknown } | null;
  if (typeof value !== 'object' || value === null) throw new UsageError(path, '$', KEPT_EXPECTED);
  if ('batch_id' in value) return judgeBatch(value as unknown as KeptBatch, judgement);
  const head = (value.sealed ?? value.head ?? value) as SignedHead;
  if (value.sealed === null) throw new UsageError(path, 'sealed', 'nothing was sealed yet when it was kept');
  if (typeof head?.seal?.timestamp_ms !== 'number') throw new UsageError(path, '$', KEPT_EXPECTED);
  const verdict = verifyHead(head, { ...judgement, now_ms: keptAt(head) });
  return verdict.ok ? { ok: true, seal: verdict.seal } : verdict;
}

const KEPT_EXPECTED = 'expected a head, as GET /log/head gives it, or a sealed batch file';

interface KeptBatch {
  readonly slh_dsa_sig?: { readonly seal?: Head } | null;
}

function judgeBatch(file: KeptBatch, judgement: VerifyOptions): { ok: true; seal: Head } | Refused {
  const seal = file.slh_dsa_sig?.seal;
  const now_ms = typeof seal?.timestamp_ms === 'number' ? seal.timestamp_ms : judgement.now_ms;
  const verdict = verifyBatch(file, { ...judgement, now_ms });
  if (!verdict.ok) return verdict;
  if (seal !== undefined) return { ok: true, seal };
  return { ok: false, code: 'unsealed', field: 'slh_dsa_sig', message: 'no seal covers the batch yet' };
}
