// `aegisd verify`: judges batch files against a policy, offline, in a process that needs nothing of a daemon's. Each file
// gets a verdict; files of one log are compared with each other besides, and with a head that was kept (since.ts). Exit
// codes: 0 every file verified, 1 some were refused, 2 a file or the policy can't be read, and then nothing was judged.
import type { BatchFile } from '../../actors/batch.ts';
import { type Handover, HandoverStatus, SealedHandover } from '../../actors/handover.ts';
import type { Head } from '../../actors/seal.ts';
import { type CheckpointVerdict, verifyCheckpoint } from '../../client/checkpoint.ts';
import { verifyHandover } from '../../client/handover.ts';
import { keptAt } from '../../client/head.ts';
import { CONFLICTS, findConflicts } from '../../client/history.ts';
import { parseStrict } from '../../client/json.ts';
import { DEFAULT_POLICY } from '../../client/policy.ts';
import { CHECKS, LIMITS } from '../../client/verdict.ts';
import { type Accepted, type Verdict, type VerifyOptions, verifyBatch } from '../../client/verify.ts';
import { readDocument, readPolicy, readText, readTime, reportUsage, sizeOf, UsageError } from './file.ts';
import { EXIT } from './program.ts';
import { checkSince, type SinceReport } from './since.ts';

export interface Options {
  readonly allowSimulated?: boolean;
  /** Path of a TOML or JSON file. */
  readonly policy?: string;
  /** RFC 3339. */
  readonly at?: string;
  /** Path of a kept head; then a later one comes from the files or from `url`. */
  readonly since?: string;
  readonly url?: string;
  readonly proof?: readonly string[];
  readonly handover?: readonly string[];
  readonly json?: boolean;
}

/** A batch of 10,000 transactions of usual size takes 20 MB. */
const FILE_BYTES_MAX = 64 * 1_048_576;

/** What happened to one file. `code` may also be one of CONFLICTS or `too_large`. */
type Judged = { readonly file: string; readonly verify_time_ms: number } & (
  | Verdict
  | (Omit<Extract<Verdict, { ok: false }>, 'code'> & { readonly code: string })
);

/** @returns the exit code */
export async function verify(files: readonly string[], options: Options): Promise<number> {
  try {
    const trust: VerifyOptions = {
      policy: options.policy === undefined ? DEFAULT_POLICY : readPolicy(options.policy),
      allow_simulated: options.allowSimulated ?? false,
      now_ms: options.at === undefined ? Date.now() : readTime(options.at),
    };
    const handovers = (options.handover ?? []).map((file) => readHandover(file, trust));
    const judgement = { ...trust, handovers };
    checkUse(files, options);
    const sizes = files.map(sizeOf);
    const seals = new Map<string, Head>();
    const [batches, checkpoints] = parted(files, sizes);
    const judged = compare(batches.map((file) => judge(file, sizes[files.indexOf(file)]!, judgement, seals)));
    const exported = checkpoints.map(({ file, value }) => ({ file, ...verifyCheckpoint(value, judgement) }));
    const sealed = judged.flatMap(({ ok, file }) => (ok && seals.has(file) ? [{ file, seal: seals.get(file)! }] : []));
    const since =
      options.since === undefined
        ? undefined
        : await checkSince({ ...options, since: options.since }, judgement, sealed);
    const ok = [...judged, ...exported].every((verdict) => verdict.ok) && since?.ok !== false;
    const write = options.json ? document : report;
    process.stdout.write(write(judged, exported, since, judgement));
    return ok ? EXIT.ok : EXIT.refused;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    reportUsage(error, options.json ?? false);
    return EXIT.usage;
  }
}

/**
 * What a handover says, once it is proved: `newest` of GET /handover, or the whole answer. One that was kept is judged at its own time.
 *
 * @throws {UsageError} of one that does not verify, since whoever gives it means to rely on it
 */
function readHandover(file: string, trust: VerifyOptions): Handover {
  const value = readDocument(file, FILE_BYTES_MAX);
  const answer = HandoverStatus.safeParse(value);
  const document = answer.success ? answer.data.newest : value;
  const read = SealedHandover.safeParse(document);
  const now_ms = read.success ? keptAt(read.data.sealed) : trust.now_ms;
  const verdict = verifyHandover(document, { ...trust, now_ms });
  if (verdict.ok) return verdict.handover;
  throw new UsageError(file, verdict.field, `${verdict.message}; expected an answer of GET /handover after a handover`);
}

/** @throws {UsageError} */
function checkUse(files: readonly string[], { since, url, proof }: Options): void {
  if (since === undefined) {
    if (files.length === 0) throw new UsageError('verify', '', 'expected batch files, or --since with --url');
    if (url !== undefined || proof !== undefined) throw new UsageError('--url, --proof', '', 'go with --since');
  } else if (files.length === 0 && url === undefined) {
    throw new UsageError('--since', '', 'expected a later head: batch files, or --url');
  }
}

type Exported = { readonly file: string } & CheckpointVerdict;

/** Checkpoints are told from batches by their snapshots; what can be read as neither is judged as a batch, and refused. */
function parted(files: readonly string[], sizes: readonly number[]): [string[], { file: string; value: unknown }[]] {
  const checkpoints = files.flatMap((file, i) => {
    if (sizes[i]! > FILE_BYTES_MAX) return [];
    const text = readText(file);
    if (text === null || !text.includes('"asset_snapshots"')) return [];
    const parsed = parseStrict(text);
    const isOne = parsed.ok && typeof parsed.value === 'object' && parsed.value !== null;
    return isOne && Object.hasOwn(parsed.value as object, 'asset_snapshots') ? [{ file, value: parsed.value }] : [];
  });
  const named = new Set(checkpoints.map(({ file }) => file));
  return [files.filter((file) => !named.has(file)), checkpoints];
}

/** @param seals  gets the head that covers the batch, where it was accepted */
function judge(file: string, size: number, options: VerifyOptions, seals: Map<string, Head>): Judged {
  const started = performance.now();
  const verdict =
    size > FILE_BYTES_MAX ? refuse('too_large', '$', `${size} bytes, at most 64 MiB`) : read(file, options);
  return { file, verify_time_ms: Math.round((performance.now() - started) * 10) / 10, ...verdict };

  function refuse(code: string, field: string, message: string) {
    const mode = options.policy?.signatures ?? 'all';
    const found = { ml_dsa_valid: null, slh_dsa_valid: null, ecdsa_valid: null };
    return { ok: false as const, code, field, message, mode, ...found, checks: [] };
  }

  function read(path: string, judgement: VerifyOptions) {
    const text = readText(path);
    if (text === null) return refuse('malformed', '$', 'not UTF-8');
    const parsed = parseStrict(text);
    if (!parsed.ok) return refuse('malformed', parsed.field, parsed.message);
    const verdict = verifyBatch(parsed.value, judgement);
    const seal = verdict.ok ? (parsed.value as BatchFile).slh_dsa_sig?.seal : undefined;
    if (seal !== undefined) seals.set(path, seal);
    return verdict;
  }
}

/** Files that verify each for themselves and contradict each other are refused, both. */
function compare(judged: readonly Judged[]): Judged[] {
  const accepted = judged.filter((verdict): verdict is Judged & Accepted => verdict.ok);
  const refused = new Map<Judged, Judged>();
  for (const { code, field, first, second } of findConflicts(accepted)) {
    const pair = [accepted[first]!, accepted[second]!] as const;
    for (const [verdict, other] of [pair, [pair[1], pair[0]]] as const) {
      if (refused.has(verdict)) continue;
      const { file, verify_time_ms, mode, ml_dsa_valid, slh_dsa_valid, ecdsa_valid, checks } = verdict;
      const found = { mode, ml_dsa_valid, slh_dsa_valid, ecdsa_valid, checks };
      const message = `${CONFLICTS[code]}: see ${other.file}; each verifies alone, so the keys of the log signed both`;
      refused.set(verdict, { file, verify_time_ms, ok: false, code, field, message, ...found });
    }
  }
  return judged.map((verdict) => refused.get(verdict) ?? verdict);
}

/** One JSON document; every file also has the fields of the upstream's `verify`: valid, mode, …_valid, verify_time_ms. */
function document(
  judged: readonly Judged[],
  exported: readonly Exported[],
  since: SinceReport | undefined,
  options: VerifyOptions,
): string {
  const all = [...judged, ...exported];
  const verified = all.filter(({ ok }) => ok).length;
  const ok = verified === all.length && since?.ok !== false;
  const summary = { ok, verified, refused: all.length - verified };
  const judged_at = new Date(options.now_ms).toISOString();
  const files = judged.map(({ file, ok, ...rest }) => ({ file, ok, valid: ok, ...rest }));
  const checkpoints = exported.map((verdict) => ({ ...verdict, valid: verdict.ok }));
  const more = { ...(since && { since }), ...(exported.length > 0 && { checkpoints }) };
  return `${JSON.stringify({ ...summary, judged_at, ...more, files }, null, 2)}\n`;
}

function report(
  judged: readonly Judged[],
  exported: readonly Exported[],
  since: SinceReport | undefined,
  options: VerifyOptions,
): string {
  const lines = judged.map((verdict) => (verdict.ok ? acceptance(verdict) : refusal(verdict)));
  lines.push(...exported.map((verdict) => (verdict.ok ? checkpointLines(verdict) : refusal(verdict))));
  const verified = judged.filter(({ ok }) => ok).length;
  if (verified > 0) {
    lines.push('', 'Checked in each verified file:');
    lines.push(...Object.values(CHECKS).map((sentence) => `  ${sentence}`));
    lines.push('', 'Not shown by such a file:', `  ${LIMITS}`);
  }
  if (since !== undefined) lines.push(...(lines.length > 0 ? [''] : []), ...history(since));
  const judged_at = new Date(options.now_ms).toISOString();
  const all = [...judged, ...exported];
  const count = all.length === 0 ? '' : `${all.filter(({ ok }) => ok).length} of ${all.length} verified, `;
  lines.push('', `${count}judged at ${judged_at}`);
  return `${lines.join('\n')}\n`;
}

function acceptance(verdict: Judged & Accepted): string {
  const { file, height, log_id, chain_id, epoch, tx_count, refused_count, statement } = verdict;
  const short = `${log_id.slice(0, 10)}…${log_id.slice(-8)}`;
  const seal =
    verdict.size === null ? '' : ` (size ${verdict.size}, sealed ${verdict.sealed_at}, TCB ${verdict.tcb_status})`;
  return [
    `${file}: verified`,
    `  batch ${height} of log ${short}, chain ${chain_id}, epoch ${epoch}: ${tx_count} transactions, ${refused_count} refused`,
    `  ${statement}${seal}`,
    ...verdict.notes.filter((note) => note !== LIMITS).map((note) => `  ${note}`),
  ].join('\n');
}

function history(since: SinceReport): string[] {
  if (!('size' in since)) return [`${since.file}: REFUSED ${since.code}`, `  ${since.field}: ${since.message}`];
  const head = `${since.file}: head of size ${since.size}, sealed ${since.sealed_at}: verified`;
  return [
    head,
    ...since.grown.map((one) =>
      one.ok
        ? `  ${one.of}: size ${one.size}, the same history`
        : `  ${one.of}: size ${one.size}: REFUSED ${one.code}\n    ${one.message}`,
    ),
  ];
}

function checkpointLines(verdict: Exported & { readonly ok: true }): string {
  const { file, checkpoint_id, log_id, asset_count, block_number, epoch, size, sealed_at, state_hash, notes } = verdict;
  return [
    `${file}: verified`,
    `  ${checkpoint_id} of log ${log_id.slice(0, 10)}…${log_id.slice(-8)}, epoch ${epoch}: ${asset_count} assets before block ${block_number}`,
    `  state ${state_hash}`,
    `  this checkpoint is in one attested head of this log (size ${size}, sealed ${sealed_at})`,
    ...notes.map((note) => `  ${note}`),
  ].join('\n');
}

function refusal(verdict: { file: string; code: string; field: string; message: string }): string {
  return `${verdict.file}: REFUSED ${verdict.code}\n  ${verdict.field}: ${verdict.message}`;
}
