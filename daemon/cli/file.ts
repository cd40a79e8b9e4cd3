// What commands read from the disk before they judge anything: policies, times, documents. A mistake in one is the caller's
// and ends with exit code 2, naming file and place; sizes are bounded and JSON is read strictly, because two readers of one
// file must see one document.
import { readFileSync, statSync } from 'node:fs';
import { parse, TomlError } from 'smol-toml';
import { fieldPath, parseStrict } from '../../client/json.ts';
import { VerificationPolicy } from '../../client/policy.ts';

/** A mistake of the caller: exit 2. */
export class UsageError extends Error {
  readonly file: string;
  readonly field: string;
  constructor(file: string, field: string, message: string) {
    super(message);
    this.file = file;
    this.field = field;
  }
}

/** One line, or one JSON document. */
export function reportUsage({ file, field, message }: UsageError, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify({ ok: false, error: { file, field, message } })}\n`);
  else process.stderr.write(`${file}${field === '' ? '' : ` ${field}`}: ${message}\n`);
}

/** @throws {UsageError} */
export function readPolicy(path: string): VerificationPolicy {
  const text = readBounded(path, 1_048_576);
  const parsed = VerificationPolicy.safeParse(/^\s*\{/.test(text) ? jsonOf(path, text) : tomlOf(path, text));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const extra = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  throw new UsageError(path, fieldPath([...issue.path, ...extra]), issue.message);
}

/** JSON with one spelling. @throws {UsageError} */
export function readDocument(path: string, bytes_max: number): unknown {
  return jsonOf(path, readBounded(path, bytes_max));
}

/** RFC 3339 with any offset and any number of decimals, in ms. @throws {UsageError} */
export function readTime(text: string): number {
  const shape = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;
  const time_ms = shape.test(text) ? Date.parse(text.toUpperCase()) : Number.NaN;
  if (Number.isFinite(time_ms) && time_ms >= 0) return time_ms;
  throw new UsageError('--at', '', `${text}: expected RFC 3339, as 2026-06-01T12:00:00Z`);
}

/** @throws {UsageError} */
export function sizeOf(path: string): number {
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw new UsageError(path, '', 'not a file');
    return stat.size;
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** null when it isn't UTF-8; a byte order mark is left in for the parser to refuse. @throws {UsageError} */
export function readText(path: string): string | null {
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

function readBounded(path: string, bytes_max: number): string {
  if (sizeOf(path) > bytes_max) throw new UsageError(path, '', `too large: at most ${bytes_max / 1_048_576} MiB`);
  const text = readText(path);
  if (text === null) throw new UsageError(path, '', 'not UTF-8');
  return text;
}

function jsonOf(path: string, text: string): unknown {
  const parsed = parseStrict(text);
  if (!parsed.ok) throw new UsageError(path, parsed.field, parsed.message);
  return parsed.value;
}

function tomlOf(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [first] = error.message.split('\n');
    throw new UsageError(path, `line ${error.line}, column ${error.column}`, first ?? 'not TOML');
  }
}

function unreadable(path: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof UsageError || code === undefined) return error;
  return new UsageError(path, '', code === 'ENOENT' ? 'there is no such file' : `can't be read (${code})`);
}
