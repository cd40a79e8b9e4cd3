// `aegisd audit`: follows a daemon's log from elsewhere, and keeps the newest head that it has verified in a file. What a
// daemon can't be held to by its own word, it is held to here: that its history only grows. Exit codes: 0 when it was told
// to end or a single look found nothing wrong, 1 alarm, 2 it could not look. An alarm is one JSON line on standard output,
// and what proves it lies beside the state file.
import { closeSync, existsSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { timestamp } from '../../actors/encoding.ts';
import { Auditor, AuditState } from '../../client/auditor.ts';
import { fieldPath } from '../../client/json.ts';
import { DEFAULT_POLICY } from '../../client/policy.ts';
import type { VerifyOptions } from '../../client/verify.ts';
import { type Connection, connect, RequestError } from './connection.ts';
import { readDocument, readPolicy, readTime, reportUsage, UsageError } from './file.ts';
import { type Look, look } from './look.ts';
import { EXIT } from './program.ts';

interface Options {
  readonly config?: string;
  readonly url?: string;
  readonly state: string;
  /** Seconds between two looks. */
  readonly interval: number;
  readonly once?: boolean;
  readonly policy?: string;
  readonly allowSimulated?: boolean;
  readonly at?: string;
  readonly json?: boolean;
}

const STATE_BYTES_MAX = 64 * 1_048_576;

export async function audit(options: Options): Promise<number> {
  const stop = new AbortController();
  const end = () => stop.abort();
  process.once('SIGINT', end).once('SIGTERM', end);
  const daemon = connect({ ...options, keepAlive: true });
  stop.signal.addEventListener('abort', () => daemon.close());
  try {
    return await follow(daemon, options, stop.signal);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    reportUsage(error, options.json ?? false);
    return EXIT.usage;
  } finally {
    daemon.close();
    process.off('SIGINT', end).off('SIGTERM', end);
  }
}

async function follow(daemon: Connection, options: Options, signal: AbortSignal): Promise<number> {
  const policy = options.policy === undefined ? DEFAULT_POLICY : readPolicy(options.policy);
  const at_ms = options.at === undefined ? undefined : readTime(options.at);
  let state = readState(options.state);
  while (!signal.aborted) {
    const judgement: VerifyOptions = {
      policy,
      allow_simulated: options.allowSimulated ?? false,
      now_ms: at_ms ?? Date.now(),
    };
    const found = await tryToLook(daemon, state, judgement);
    if (signal.aborted) break;
    if (found instanceof RequestError) {
      say(options, { ok: false, code: found.code, message: `${daemon.where}: ${found.message}` }, found.message);
      if (options.once === true) return EXIT.usage;
    } else if (!found.ok) {
      raise(daemon, options, state, found, judgement.now_ms);
      return EXIT.refused;
    } else {
      if (found.isNew) write(options.state, JSON.stringify(found.state));
      if (found.isNew || options.once === true) tell(options, state, found.state);
      state = found.state;
      if (options.once === true) return EXIT.ok;
    }
    await delay(options.interval * 1000, undefined, { signal }).catch(() => {});
  }
  return EXIT.ok;
}

async function tryToLook(
  daemon: Connection,
  state: AuditState | null,
  judgement: VerifyOptions,
): Promise<Look | RequestError> {
  try {
    return await look(daemon, state, judgement);
  } catch (error) {
    if (error instanceof RequestError) return error;
    throw error;
  }
}

/** null when there is none yet: then the whole log is taken. @throws {UsageError} when it is there and damaged */
function readState(path: string): AuditState | null {
  if (!existsSync(path)) return null;
  const parsed = AuditState.safeParse(readDocument(path, STATE_BYTES_MAX));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new UsageError(path, fieldPath(issue.path), `${issue.message}; expected what aegisd audit wrote`);
  }
  try {
    new Auditor(parsed.data);
  } catch (error) {
    throw new UsageError(path, 'frontier', (error as Error).message);
  }
  return parsed.data;
}

/** Whole or not at all, also when the machine stops in the middle. @throws {UsageError} */
function write(path: string, text: string): void {
  try {
    writeDurably(`${path}.tmp`, `${text}\n`);
    renameSync(`${path}.tmp`, path);
    const folder = openSync(dirname(path), 'r');
    fsyncSync(folder);
    closeSync(folder);
  } catch (error) {
    throw new UsageError(path, '', `can't be written (${(error as NodeJS.ErrnoException).code})`);
  }
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, 'w', 0o644);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function raise(
  daemon: Connection,
  options: Options,
  state: AuditState | null,
  { alarm, shown }: Extract<Look, { ok: false }>,
  now_ms: number,
): void {
  const evidence = `${options.state}.alarm`;
  const about = { alarm: alarm.code, message: alarm.message, url: daemon.where, at: timestamp(now_ms) };
  write(evidence, JSON.stringify({ ...about, kept: state?.head ?? null, shown }));
  process.stdout.write(`${JSON.stringify({ ok: false, ...about, evidence })}\n`);
  if (options.json !== true) process.stderr.write(`ALARM ${alarm.code}: ${alarm.message}\n  evidence: ${evidence}\n`);
}

function tell(options: Options, before: AuditState | null, state: AuditState | null): void {
  if (state === null) {
    say(options, { ok: true, size: 0 }, 'nothing is sealed yet');
    return;
  }
  const { size, root, timestamp_ms, epoch } = state.head.seal;
  const { simulated } = state.head.attestation;
  const sealed_at = timestamp(timestamp_ms);
  const entries = size - (before?.head.seal.size ?? 0);
  const document = { ok: true, size, root, sealed_at, epoch, entries, batches: state.next_height, simulated };
  const news = entries === 0 ? 'nothing new' : entries === 1 ? '1 new entry' : `${entries} new entries`;
  const note = simulated ? ', SIMULATED' : '';
  say(
    options,
    document,
    `${sealed_at}  size ${size}, ${news}, ${state.next_height} batches, epoch ${epoch}${note}: one history`,
  );
}

function say(
  options: Options,
  document: { readonly ok: boolean; readonly [name: string]: unknown },
  text: string,
): void {
  if (options.json === true) process.stdout.write(`${JSON.stringify(document)}\n`);
  else (document.ok ? process.stdout : process.stderr).write(`${text}\n`);
}
