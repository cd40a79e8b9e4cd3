// A delegated router, as names are published to it and resolved at it: PUT and GET of `/routing/v1/ipns/{name}` (Delegated Routing
// V1 HTTP API). By `fetch`, because the client on npm drops concurrent PUTs of one name and hides status codes. What a router
// says is a value here, whatever it is; believing it is left to who asked: a record is bytes until a thread has examined it.
//
// Promises: one deadline for a whole answer, at most 10 KiB of it read, no redirect followed.
import { RECORD_BYTES_MAX } from '../actors/ipns.ts';

const MEDIA_TYPE = 'application/vnd.ipfs.ipns-record';

/** Why a request has to be made again; stable words for states, logs and metrics. */
export type RouterFailure = {
  readonly ok: false;
  readonly kind: 'failed';
  /** `router_unreachable`, `router_timeout`, `router_answer`, or `router_status_` and the status. */
  readonly reason: string;
  /** What the router asks for. */
  readonly retry_after_ms?: number;
  /** A 500: it may hold a record that beats ours, so it is asked before it hears from us again. */
  readonly resolve?: boolean;
};
/** The router will not take this record, however often it is sent. */
export type RouterRefusal = { readonly ok: false; readonly kind: 'refused'; readonly status: number };
export type Put = { readonly ok: true } | RouterFailure | RouterRefusal;
/** `record` is null where the router knows of none. */
export type Got = { readonly ok: true; readonly record: Uint8Array | null } | RouterFailure;

export interface Router {
  put(name: string, record: Uint8Array, signal: AbortSignal): Promise<Put>;
  get(name: string, signal: AbortSignal): Promise<Got>;
}

/** Delegated Routing V1 §IPNS: the record itself is wrong. */
const REFUSALS: ReadonlySet<number> = new Set([400, 406, 415, 422]);

export function httpRouter(url: string, timeout_ms: number, now: () => number): Router {
  const base = `${url.replace(/\/$/, '')}/routing/v1/ipns/`;
  const ask = async <T>(
    name: string,
    init: RequestInit,
    signal: AbortSignal,
    read: (answer: Response) => Promise<T>,
  ) => {
    const deadline = AbortSignal.timeout(timeout_ms);
    try {
      const limits = { signal: AbortSignal.any([signal, deadline]), redirect: 'manual', credentials: 'omit' } as const;
      return await read(await fetch(`${base}${name}`, { ...init, ...limits }));
    } catch {
      return failure(deadline.aborted ? 'router_timeout' : 'router_unreachable');
    }
  };
  return {
    put: (name, record, signal) =>
      ask(
        name,
        { method: 'PUT', headers: { 'content-type': MEDIA_TYPE }, body: record as BodyInit },
        signal,
        async (answer) => {
          await answer.body?.cancel();
          if (answer.ok) return { ok: true };
          if (REFUSALS.has(answer.status)) return { ok: false, kind: 'refused', status: answer.status };
          return failed(answer, now());
        },
      ),
    get: (name, signal) =>
      ask(name, { headers: { accept: MEDIA_TYPE } }, signal, async (answer): Promise<Got> => {
        const [type] = (answer.headers.get('content-type') ?? '').split(';');
        // IPIP-513: 200 with another type, and 404 before it, mean that there is no record.
        if (answer.status === 200 && type!.trim().toLowerCase() === MEDIA_TYPE) return readRecordOf(answer);
        await answer.body?.cancel();
        if (answer.status === 200 || answer.status === 404) return { ok: true, record: null };
        return failed(answer, now());
      }),
  };
}

function failure(reason: string): RouterFailure {
  return { ok: false, kind: 'failed', reason };
}

function failed({ status, headers }: Response, now_ms: number): RouterFailure {
  const retry_after_ms = retryAfter(headers.get('retry-after'), now_ms);
  return {
    ...failure(`router_status_${status}`),
    ...(retry_after_ms !== undefined && { retry_after_ms }),
    ...(status === 500 && { resolve: true }),
  };
}

/** RFC 9110 §10.2.3: seconds, or a date. @returns undefined when it is neither, or lies behind */
export function retryAfter(header: string | null, now_ms: number): number | undefined {
  if (header === null) return undefined;
  const wait_ms = /^\d{1,9}$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - now_ms;
  return wait_ms > 0 ? wait_ms : undefined;
}

async function readRecordOf(answer: Response): Promise<Got> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of answer.body ?? []) {
    length += (chunk as Uint8Array).length;
    if (length > RECORD_BYTES_MAX) return failure('router_answer');
    chunks.push(chunk as Uint8Array);
  }
  return { ok: true, record: new Uint8Array(Buffer.concat(chunks)) };
}
