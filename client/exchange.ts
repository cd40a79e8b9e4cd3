// One question to a daemon over HTTP, and its answer: bounded in time and size, read strictly, checked against a schema. The
// only file of the client library that touches the network. A daemon may be hostile: nothing that it answers is believed
// beyond its shape, and no answer makes this throw.
import { z } from 'zod';
import { fieldPath, parseStrict } from './json.ts';
import { type Refused, refused } from './outcome.ts';

/** An RFC 9457 problem, as far as a client needs it. Codes: docs/api.md. */
export const Problem = z.object({
  code: z.string().max(64),
  status: z.int(),
  title: z.string().max(1_024),
  detail: z.string().max(4_096).optional(),
  field: z.string().max(1_024).optional(),
  retry_after_s: z.int().min(0).optional(),
  current_epoch: z.int().optional(),
  keyset_digest: z.string().max(256).optional(),
});
export type Problem = z.output<typeof Problem>;

export const EXCHANGE_CODES = {
  unreachable: 'no connection, or it broke',
  timeout: 'no answer in time',
  aborted: 'the caller aborted it',
  answer_too_large: 'the answer is larger than any that is right',
  malformed: 'the answer is not JSON of the expected shape',
  problem: 'the daemon refused; `problem` says why',
} as const;
export type ExchangeCode = keyof typeof EXCHANGE_CODES;

export interface ExchangeRefusal extends Refused<ExchangeCode> {
  /** With the code `problem`. */
  readonly problem?: Problem;
}

export interface ExchangeOptions {
  readonly signal?: AbortSignal;
  /** For the whole call; 30,000 where left out. */
  readonly timeout_ms?: number;
}

export const TIMEOUT_MS = 30_000;
/** What a timer can hold. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;
const PROBLEM_BYTES_MAX = 65_536;

export interface Question<T extends z.ZodType> {
  /** Below the daemon's URL, without a leading slash. */
  readonly path: string;
  readonly answer: T;
  readonly bytes_max: number;
  /** Sent as JSON by POST; without it the question is a GET. */
  readonly body?: unknown;
}

/**
 * @param url  of the daemon, with whatever path it has behind a proxy
 * @throws {TypeError | RangeError} when the URL or the timeout is not one
 */
export async function ask<T extends z.ZodType>(
  url: string | URL,
  question: Question<T>,
  options: ExchangeOptions = {},
): Promise<{ readonly ok: true; readonly value: z.output<T> } | ExchangeRefusal> {
  const target = resolve(url, question.path);
  const deadline = AbortSignal.timeout(checkTimeout(options.timeout_ms ?? TIMEOUT_MS));
  const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
  try {
    const response = await fetch(target, request(question.body, signal));
    const text = await read(response, response.ok ? question.bytes_max : PROBLEM_BYTES_MAX);
    if (text === null) return refused('answer_too_large', target, EXCHANGE_CODES.answer_too_large);
    return response.ok ? parse(text, question.answer, target) : problemOf(text, response.status, target);
  } catch (cause) {
    if (options.signal?.aborted) return refused('aborted', target, EXCHANGE_CODES.aborted);
    if (deadline.aborted) return refused('timeout', target, EXCHANGE_CODES.timeout);
    return refused('unreachable', target, `${EXCHANGE_CODES.unreachable}: ${reasonOf(cause)}`);
  }
}

/** @throws {TypeError} */
function resolve(url: string | URL, path: string): string {
  const base = new URL(url);
  if (base.protocol !== 'http:' && base.protocol !== 'https:') throw new TypeError('expected an http or https URL');
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  base.search = '';
  base.hash = '';
  return new URL(path, base).href;
}

/** @throws {RangeError} */
export function checkTimeout(timeout_ms: number): number {
  if (timeout_ms >= 1 && timeout_ms <= TIMEOUT_MAX_MS) return timeout_ms;
  throw new RangeError(`timeout_ms: expected 1 to ${TIMEOUT_MAX_MS}, not ${timeout_ms}`);
}

/** A redirect could lead anywhere, and cookies have no business here. */
function request(body: unknown, signal: AbortSignal): RequestInit {
  const strict = { signal, redirect: 'error', credentials: 'omit', cache: 'no-store' } as const;
  if (body === undefined) return strict;
  return { ...strict, method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

/** @returns null when there is more than `bytes_max`. @throws when it is not UTF-8 */
async function read(response: Response, bytes_max: number): Promise<string | null> {
  if (response.body === null) return '';
  const reader = response.body.getReader();
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let text = '';
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    bytes += value.length;
    if (bytes > bytes_max) {
      await reader.cancel();
      return null;
    }
    text += decoder.decode(value, { stream: true });
  }
}

function parse<T extends z.ZodType>(text: string, schema: T, target: string) {
  const read = parseStrict(text);
  if (!read.ok) return refused('malformed', read.field, `${target}: ${read.message}`);
  const parsed = schema.safeParse(read.value);
  if (parsed.success) return { ok: true as const, value: parsed.data };
  const issue = parsed.error.issues[0]!;
  return refused('malformed', fieldPath(issue.path), `${target}: ${issue.message}`);
}

/** Whatever stands before the daemon answers in its own way, so only the status is sure. */
function problemOf(text: string, status: number, target: string): ExchangeRefusal {
  const read = parseStrict(text);
  const parsed = Problem.safeParse(read.ok ? read.value : undefined);
  const problem = parsed.success ? parsed.data : { code: `http_${status}`, status, title: `HTTP status ${status}` };
  const said = [problem.code, problem.field, problem.detail ?? problem.title].filter((part) => part !== undefined);
  return { ...refused('problem', target, said.join(': ')), problem };
}

/** undici says "fetch failed" and keeps the reason in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  const { cause } = error;
  return cause instanceof Error && cause.message !== '' ? cause.message : error.message;
}
