// How commands speak to a running daemon: HTTP over its unix socket, found through the configuration, or over TCP where a
// URL is given. Every request has a deadline and a bound; a problem document becomes an error with its code.
import { Agent, request as httpRequest } from 'node:http';
import { resolve } from 'node:path';
import { loadConfig } from '../../config/load.ts';

export class RequestError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'RequestError';
    this.code = code;
  }
}

export interface Connection {
  readonly where: string;
  /** @throws {RequestError} */
  get<T>(path: string): Promise<T>;
  /** @throws {RequestError} */
  post<T>(path: string, body: unknown): Promise<T>;
}

const TIMEOUT_MS = 30_000;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** @param options.keepAlive  many requests will follow */
export function connect(options: { config?: string; url?: string; keepAlive?: boolean }): Connection {
  const agent = new Agent({ keepAlive: options.keepAlive === true });
  const target = options.url === undefined ? socketOf(options.config) : tcp(options.url);
  const ask = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const { status, text } = await exchange({ ...target.options, agent }, method, path, body);
    const answer = parse(text);
    if (status >= 200 && status < 300) return answer as T;
    const problem = answer as { code?: string; title?: string; detail?: string; field?: string };
    const said = [problem.title, problem.field, problem.detail].filter((part) => part !== undefined).join(': ');
    throw new RequestError(problem.code ?? 'unexpected_answer', `${method} ${path}: ${status} ${said}`);
  };
  return { where: target.where, get: (path) => ask('GET', path), post: (path, body) => ask('POST', path, body) };
}

function socketOf(file: string | undefined) {
  const { config } = loadConfig(file === undefined ? {} : { file });
  const socketPath = resolve(config.daemon.state_dir, config.api.socket);
  return { where: socketPath, options: { socketPath } };
}

function tcp(url: string) {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== 'http:') throw new RequestError('bad_url', `${url}: expected http://host:port`);
  return { where: url, options: { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) } };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RequestError('unexpected_answer', 'the answer is not JSON; is this an aegisd?', { cause });
  }
}

function exchange(
  target: object,
  method: string,
  path: string,
  body: unknown,
): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const payload = body === undefined ? undefined : JSON.stringify(body);
  const headers =
    payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
  const request = httpRequest(
    { ...target, method, path, headers, signal: AbortSignal.timeout(TIMEOUT_MS) },
    (answer) => {
      const chunks: Buffer[] = [];
      let length = 0;
      answer.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > ANSWER_BYTES_MAX)
          answer.destroy(new RequestError('answer_too_large', `${path}: the answer is too large`));
        chunks.push(chunk);
      });
      answer.on('error', reject);
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }));
    },
  );
  request.on('error', (cause: NodeJS.ErrnoException) => {
    const nobody = cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED';
    const said = nobody ? 'no daemon answers there; start one with `npx aegisd start`' : cause.message;
    reject(new RequestError(nobody ? 'not_running' : 'unreachable', said, { cause }));
  });
  request.end(payload);
  return promise;
}
