// How commands speak to a running daemon: HTTP over its unix socket, found through the configuration, or over TCP where a
// URL is given. Every request has a deadline and a bound; what goes wrong becomes one error with a code, whose message says
// what to do. Nothing that a server answers is believed to be an aegisd's before it was looked at.
import type { IncomingMessage } from 'node:http';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import { loadConfig } from '../../config/load.ts';
import { Agent, request as httpRequest } from '../http.ts';
import { printable } from './entry.ts';
import { isDaemonUrl } from './url.ts';

/** Codes of a RequestError beside those of problems: what happened, and what to do. */
export const REQUEST_ERRORS = {
  not_running: [
    'No daemon answers there.',
    'start one (`aegisd start`, `systemctl start aegisd`), or name another with --url or --config',
  ],
  forbidden_socket: ['The socket is not for this user.', 'run this as the user of the daemon, or use --url'],
  unreachable: ['No connection, or it broke.', 'check the address, and whether the daemon still runs'],
  timeout: ['No answer, or no seal, in time.', 'ask again; if it goes on, look at the daemon’s log'],
  bad_url: ['The URL is none of a daemon.', 'expected http://host:port'],
  unexpected_answer: ['What answers is no aegisd, or one of another version.', 'check the address and the version'],
  answer_too_large: ['The answer is larger than any that is right.', 'check that this is an aegisd'],
  not_started: ['The daemon ended before it listened.', 'mend what it said'],
} as const satisfies Record<string, readonly [meaning: string, remedy: string]>;

export class RequestError extends Error {
  readonly code: string;

  /**
   * @param code     of REQUEST_ERRORS, or of a problem
   * @param message  what happened, without a full stop; what to do about it is added to those of REQUEST_ERRORS
   */
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    const remedy = Object.hasOwn(REQUEST_ERRORS, code)
      ? `; ${REQUEST_ERRORS[code as keyof typeof REQUEST_ERRORS][1]}`
      : '';
    super(`${printable(message)}${remedy}`, options);
    this.name = 'RequestError';
    this.code = code;
  }
}

export interface Connection {
  readonly where: string;
  /** @throws {RequestError} */
  get<T>(path: string, shape?: z.ZodType<T>): Promise<T>;
  /** @throws {RequestError} */
  post<T>(path: string, body: unknown, shape?: z.ZodType<T>): Promise<T>;
  /** Any method. @throws {RequestError} */
  ask<T>(method: 'PATCH' | 'DELETE', path: string, body?: unknown, shape?: z.ZodType<T>): Promise<T>;
  /**
   * Posts bytes and gives the answer as they come, without a deadline; an answer that breaks off is an error of its stream.
   *
   * @throws {RequestError} when the daemon refuses before it begins
   */
  stream(path: string, source: Readable): Promise<IncomingMessage>;
  /** Ends what is on its way. */
  close(): void;
}

const TIMEOUT_MS = 30_000;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const PROBLEM_BYTES_MAX = 64 * 1024;

/** What a problem document says, as far as it is printed; a proxy in between answers something else. */
const Said = z.object({
  code: z.string().max(64),
  title: z.string().max(1_024),
  field: z.string().max(1_024).optional(),
  detail: z.string().max(4_096).optional(),
  remedy: z.string().max(1_024).optional(),
});

/**
 * @param options.keepAlive   many requests will follow
 * @param options.timeout_ms  for each of them
 * @param options.token       of a role, for what is not public over TCP
 * @throws {RequestError} bad_url. @throws {ConfigError}
 */
export function connect(options: {
  config?: string;
  url?: string;
  keepAlive?: boolean;
  timeout_ms?: number;
  token?: string;
}): Connection {
  const agent = new Agent({ keepAlive: options.keepAlive === true });
  const target = options.url === undefined ? socketOf(options.config) : tcp(options.url);
  const timeout_ms = options.timeout_ms ?? TIMEOUT_MS;
  const authorization = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` };
  const ask = async <T>(method: string, path: string, body?: unknown, shape?: z.ZodType<T>): Promise<T> => {
    const { status, text } = await exchange(
      { ...target.options, agent },
      authorization,
      method,
      path,
      body,
      timeout_ms,
    );
    const what = `${method} ${path}: ${status}`;
    const answer = parse(text, what);
    if (status < 200 || status >= 300) throw problemError(answer, what);
    if (shape === undefined) return answer as T;
    const parsed = shape.safeParse(answer);
    if (parsed.success) return parsed.data;
    throw new RequestError('unexpected_answer', `${what}, and not as an aegisd answers`);
  };
  return {
    where: target.where,
    get: (path, shape) => ask('GET', path, undefined, shape),
    post: (path, body, shape) => ask('POST', path, body, shape),
    ask,
    stream: (path, source) => streamed({ ...target.options, agent }, authorization, path, source),
    close: () => agent.destroy(),
  };
}

function socketOf(file: string | undefined) {
  const { config } = loadConfig(file === undefined ? {} : { file });
  const socketPath = resolve(config.daemon.state_dir, config.api.socket);
  return { where: socketPath, options: { socketPath } };
}

function tcp(url: string) {
  if (!isDaemonUrl(url)) throw new RequestError('bad_url', url);
  const { hostname, port } = new URL(url);
  return { where: url, options: { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) } };
}

function parse(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RequestError('unexpected_answer', `${what}, and no JSON`, { cause });
  }
}

function problemError(answer: unknown, what: string): RequestError {
  const parsed = Said.safeParse(answer);
  if (!parsed.success) return new RequestError('unexpected_answer', `${what}, and not as an aegisd refuses`);
  const { code, title, field, detail, remedy = '' } = parsed.data;
  const particulars = [field, detail].filter((part) => part !== undefined).join(': ');
  const said = [`${code}: ${title}`, particulars === '' ? '' : `(${particulars})`, remedy].filter(
    (part) => part !== '',
  );
  return new RequestError(code, `${what} ${said.join(' ')}`);
}

function exchange(
  target: object,
  authorization: { authorization?: string },
  method: string,
  path: string,
  body: unknown,
  timeout_ms: number,
): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const payload = body === undefined ? undefined : JSON.stringify(body);
  const headers =
    payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
  const request = httpRequest(
    { ...target, method, path, headers: { ...headers, ...authorization }, signal: AbortSignal.timeout(timeout_ms) },
    (answer) => {
      const chunks: Buffer[] = [];
      let length = 0;
      answer.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > ANSWER_BYTES_MAX)
          answer.destroy(new RequestError('answer_too_large', `${path}: the answer is too large`));
        chunks.push(chunk);
      });
      answer.on('error', (cause) => reject(failure(cause, timeout_ms)));
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }));
    },
  );
  request.on('error', (cause) => reject(failure(cause, timeout_ms)));
  request.end(payload);
  return promise;
}

async function streamed(
  target: object,
  authorization: { authorization?: string },
  path: string,
  source: Readable,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const headers = { 'content-type': 'application/octet-stream', ...authorization };
  const request = httpRequest({ ...target, method: 'POST', path, headers }, resolve);
  request.on('error', (cause) => reject(failure(cause, TIMEOUT_MS)));
  source.once('error', (cause) => request.destroy(cause));
  source.pipe(request);
  const answer = await promise;
  if (answer.statusCode === 200) return answer;
  source.unpipe(request);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > PROBLEM_BYTES_MAX) throw new RequestError('answer_too_large', `${path}: the answer is too large`);
    chunks.push(chunk);
  }
  request.destroy();
  const what = `POST ${path}: ${answer.statusCode}`;
  throw problemError(parse(Buffer.concat(chunks).toString('utf8'), what), what);
}

function failure(cause: NodeJS.ErrnoException, timeout_ms: number): RequestError {
  if (cause instanceof RequestError) return cause;
  const { code = '', message } = cause;
  if (code === 'ABORT_ERR') return new RequestError('timeout', `no answer in ${timeout_ms / 1000} s`, { cause });
  if (code === 'ENOENT' || code === 'ECONNREFUSED') {
    return new RequestError('not_running', 'no daemon answers there', { cause });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new RequestError('forbidden_socket', 'this user may not open it', { cause });
  }
  if (code.startsWith('HPE_'))
    return new RequestError('unexpected_answer', 'what answers does not speak HTTP', { cause });
  return new RequestError('unreachable', message, { cause });
}
