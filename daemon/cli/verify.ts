// `aegisd verify`: judges batch files against a policy, offline, in a process that needs nothing of a daemon's. Each file
// gets a verdict; files of one log are compared with each other besides. Exit codes: 0 every file verified, 1 some were
// refused, 2 a file or the policy can't be read, and then nothing was judged.
import { readFileSync, statSync } from 'node:fs';
import { parse, TomlError } from 'smol-toml';
import { CONFLICTS, findConflicts } from '../../client/history.ts';
import { fieldPath, parseStrict } from '../../client/json.ts';
import { DEFAULT_POLICY, VerificationPolicy } from '../../client/policy.ts';
import { CHECKS, LIMITS } from '../../client/verdict.ts';
import { type Accepted, type Verdict, type VerifyOptions, verifyBatch } from '../../client/verify.ts';
import { EXIT } from './program.ts';

export interface Options {
  readonly allowSimulated?: boolean;
  /** Path of a TOML or JSON file. */
  readonly policy?: string;
  /** RFC 3339. */
  readonly at?: string;
  readonly json?: boolean;
}

/** A batch of 10,000 transactions of usual size takes 20 MB. */
const FILE_BYTES_MAX = 64 * 1_048_576;

/** What happened to one file. `code` may also be one of CONFLICTS or `too_large`. */
type Judged = { readonly file: string; readonly verify_time_ms: number } & (
  | Verdict
  | (Omit<Extract<Verdict, { ok: false }>, 'code'> & { readonly code: string })
);

/** A mistake of the caller: exit 2. */
class UsageError extends Error {
  readonly file: string;
  readonly field: string;
  constructor(file: string, field: string, message: string) {
    super(message);
    this.file = file;
    this.field = field;
  }
}

/** @returns the exit code */
export async function verify(files: readonly string[], options: Options): Promise<number> {
  try {
    const judgement: VerifyOptions = {
      policy: options.policy === undefined ? DEFAULT_POLICY : readPolicy(options.policy),
      allow_simulated: options.allowSimulated ?? false,
      now_ms: options.at === undefined ? Date.now() : readTime(options.at),
    };
    const sizes = files.map(sizeOf);
    const judged = compare(files.map((file, i) => judge(file, sizes[i]!, judgement)));
    const ok = judged.every((verdict) => verdict.ok);
    process.stdout.write(options.json ? document(judged, judgement) : report(judged, judgement));
    return ok ? EXIT.ok : EXIT.refused;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const { file, field, message } = error;
    if (options.json) process.stdout.write(`${JSON.stringify({ ok: false, error: { file, field, message } })}\n`);
    else process.stderr.write(`${file}${field === '' ? '' : ` ${field}`}: ${message}\n`);
    return EXIT.usage;
  }
}

function readPolicy(path: string): VerificationPolicy {
  if (sizeOf(path) > 1_048_576) throw new UsageError(path, '', 'a policy has at most 1 MiB');
  const text = readText(path);
  if (text === null) throw new UsageError(path, '', 'not UTF-8');
  const parsed = VerificationPolicy.safeParse(/^\s*\{/.test(text) ? readJson(path, text) : readToml(path, text));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const extra = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  throw new UsageError(path, fieldPath([...issue.path, ...extra]), issue.message);
}

function readJson(path: string, text: string): unknown {
  const parsed = parseStrict(text);
  if (!parsed.ok) throw new UsageError(path, parsed.field, parsed.message);
  return parsed.value;
}

function readToml(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [first] = error.message.split('\n');
    throw new UsageError(path, `line ${error.line}, column ${error.column}`, first ?? 'not TOML');
  }
}

/** RFC 3339 with any offset and any number of decimals. */
function readTime(text: string): number {
  const shape = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;
  const time_ms = shape.test(text) ? Date.parse(text.toUpperCase()) : Number.NaN;
  if (Number.isFinite(time_ms) && time_ms >= 0) return time_ms;
  throw new UsageError('--at', '', `${text}: expected RFC 3339, as 2026-06-01T12:00:00Z`);
}

function sizeOf(path: string): number {
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw new UsageError(path, '', 'not a file');
    return stat.size;
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof UsageError || code === undefined) return error;
  return new UsageError(path, '', code === 'ENOENT' ? 'there is no such file' : `can't be read (${code})`);
}

/** null when it isn't UTF-8; a byte order mark is left in for the parser to refuse. */
function readText(path: string): string | null {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

function judge(file: string, size: number, options: VerifyOptions): Judged {
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
    return parsed.ok ? verifyBatch(parsed.value, judgement) : refuse('malformed', parsed.field, parsed.message);
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
function document(judged: readonly Judged[], options: VerifyOptions): string {
  const verified = judged.filter(({ ok }) => ok).length;
  const summary = { ok: verified === judged.length, verified, refused: judged.length - verified };
  const judged_at = new Date(options.now_ms).toISOString();
  const files = judged.map(({ file, ok, ...rest }) => ({ file, ok, valid: ok, ...rest }));
  return `${JSON.stringify({ ...summary, judged_at, files }, null, 2)}\n`;
}

function report(judged: readonly Judged[], options: VerifyOptions): string {
  const lines = judged.map((verdict) => (verdict.ok ? acceptance(verdict) : refusal(verdict)));
  const verified = judged.filter(({ ok }) => ok).length;
  if (verified > 0) {
    lines.push('', 'Checked in each verified file:');
    lines.push(...Object.values(CHECKS).map((sentence) => `  ${sentence}`));
    lines.push('', 'Not shown by such a file:', `  ${LIMITS}`);
  }
  const judged_at = new Date(options.now_ms).toISOString();
  lines.push('', `${verified} of ${judged.length} verified, judged at ${judged_at}`);
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

function refusal(verdict: Judged & { readonly ok: false }): string {
  return `${verdict.file}: REFUSED ${verdict.code}\n  ${verdict.field}: ${verdict.message}`;
}
