// Other aegisd processes, as the demo and the tests start them: the same program, run as an operator would run it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { RequestError } from '../cli/connection.ts';

/** `main.ts` in a checkout, `main.js` in dist/. */
const MAIN = fileURLToPath(new URL(`../main${extname(import.meta.url)}`, import.meta.url));
const START_TIMEOUT_MS = 30_000;
const SUCCESSION_TIMEOUT_MS = 600_000;
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;
const MESSAGE_CHARACTERS_MAX = 1_000;

export interface Child {
  readonly url: string;
  readonly socket: string;
  readonly log_id: string;
  readonly pid: number;
  /** SIGTERM, and waits for the end. @returns the exit code */
  stop(): Promise<number | null>;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
}

/**
 * Starts a daemon on a free port and waits until it listens.
 *
 * @param settings  lines of TOML that follow `[api] listen`, for tests
 * @throws {RequestError} when it ends before it listens, with the last thing that it said
 */
export function startDaemon(state_dir: string, logFile: string, settings = ''): Promise<Child> {
  return startRole<Child>('start', state_dir, logFile, settings);
}

/** A witness on a free port, or on one of `settings`; as `startDaemon`. */
export function startWitness(
  state_dir: string,
  logFile: string,
  settings = '',
  listen = '127.0.0.1:0',
): Promise<ChildWitness> {
  return startRole<ChildWitness>('witness', state_dir, logFile, settings, listen);
}

/** A daemon that takes a log over: it listens once the one before has ended, however long that takes. */
export interface ChildSuccessor {
  readonly listening: Promise<Child>;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
}

/** Of the enclave at `url`; as `startDaemon`. */
export function startSuccessor(
  state_dir: string,
  logFile: string,
  settings: string,
  url: string,
  listen?: string,
): ChildSuccessor {
  let kill: () => Promise<void> = async () => {};
  const begun = Promise.withResolvers<void>();
  const listening = startRole<Child>('start', state_dir, logFile, settings, listen, {
    args: ['--successor-of', url],
    timeout_ms: SUCCESSION_TIMEOUT_MS,
    onSpawned: (end) => {
      kill = end;
      begun.resolve();
    },
  });
  listening.catch(() => begun.resolve());
  return { listening, kill: () => begun.promise.then(() => kill()) };
}

export type ChildWitness = Omit<Child, 'socket' | 'log_id'> & { readonly witness_key: string };

async function startRole<Role extends ChildWitness | Child>(
  role: 'start' | 'witness',
  state_dir: string,
  logFile: string,
  settings: string,
  listen = '127.0.0.1:0',
  more: { args?: readonly string[]; timeout_ms?: number; onSpawned?: (kill: () => Promise<void>) => void } = {},
): Promise<Role> {
  const config = join(state_dir, 'sequencer.toml');
  const text = `[daemon]\nstate_dir = ${JSON.stringify(state_dir)}\n[api]\nlisten = ${JSON.stringify(listen)}\n${settings}`;
  await writeFile(config, text);
  const log = openSync(logFile, 'a', 0o600);
  const child = spawn(process.execPath, [MAIN, role, '--json', '--config', config, ...(more.args ?? [])], {
    stdio: ['ignore', 'pipe', log],
  });
  closeSync(log);
  const exited = once(child, 'exit');
  const end = async (signal: 'SIGTERM' | 'SIGKILL') => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exited;
    return child.exitCode;
  };
  more.onSpawned?.(async () => void (await end('SIGKILL')));
  const timer = setTimeout(() => child.kill('SIGKILL'), more.timeout_ms ?? START_TIMEOUT_MS);
  const line = await Promise.race([
    once(createInterface({ input: child.stdout! }), 'line').then(([text]) => text as string),
    exited.then(() => undefined),
  ]);
  clearTimeout(timer);
  if (line === undefined) throw new RequestError('not_started', `the daemon did not start: ${await lastLine(logFile)}`);
  const about = JSON.parse(line) as Omit<Role, 'stop' | 'kill'>;
  return { ...about, stop: () => end('SIGTERM'), kill: async () => void (await end('SIGKILL')) } as Role;
}

/** Why it ended: a start that fails ends with one sentence. */
async function lastLine(logFile: string): Promise<string> {
  const text = await readFile(logFile, 'utf8');
  return text.trim().split('\n').at(-1)!.slice(-MESSAGE_CHARACTERS_MAX);
}

/** One command in a fresh process, to its end. */
export async function run(
  args: readonly string[],
  input?: string,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: 'pipe' });
  const collect = async (stream: AsyncIterable<Buffer>) => {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of stream) {
      length += chunk.length;
      if (length > OUTPUT_BYTES_MAX) throw new RequestError('answer_too_large', `${args[0]} says too much`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  };
  child.stdin.end(input);
  const [stdout, stderr] = await Promise.all([collect(child.stdout), collect(child.stderr), once(child, 'close')]);
  return { code: child.exitCode, stdout, stderr };
}
