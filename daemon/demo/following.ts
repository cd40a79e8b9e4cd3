// Follows a daemon's feed until a number of envelopes are sealed, as an indexer would: by cursor, from before the first was
// sent. Notes when each was heard to be signed and sealed. `heard` waits for one entry.
import WebSocket from 'ws';
import { RequestError } from '../cli/connection.ts';

export interface Followed {
  /** Envelope id → when its batch was heard to be signed, in ms of `performance.now()`. */
  readonly signed: ReadonlyMap<string, number>;
  readonly sealed: ReadonlyMap<string, number>;
  readonly heights: readonly number[];
}

interface Entry {
  readonly cursor: number;
  readonly type: string;
  readonly data: { readonly height?: number; readonly heights?: number[]; readonly order?: { envelope_id: string }[] };
}

/** @returns resolves when the feed is open; `done` when `count` envelopes are in sealed batches */
export async function follow(url: string, count: number, timeout_ms: number): Promise<{ done: Promise<Followed> }> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/feed?cursor=0`);
  const { promise: opened, resolve: open, reject: fail } = Promise.withResolvers<void>();
  const { promise: done, resolve, reject } = Promise.withResolvers<Followed>();
  const ordered = new Map<number, string[]>();
  const signed = new Map<string, number>();
  const sealed = new Map<string, number>();
  const heights: number[] = [];
  const end = (error?: RequestError) => {
    clearTimeout(timer);
    socket.terminate();
    if (error === undefined) resolve({ signed, sealed, heights });
    else reject(error);
  };
  const timer = setTimeout(
    () => end(new RequestError('timeout', `only ${sealed.size} of ${count} envelopes were sealed in ${timeout_ms} ms`)),
    timeout_ms,
  );
  socket.once('open', open);
  socket.on('error', (cause) => {
    const error = new RequestError('feed_failed', `the feed failed: ${cause.message}`, { cause });
    fail(error);
    end(error);
  });
  socket.on('message', (message) => {
    const now = performance.now();
    const { type, data } = JSON.parse(String(message)) as Entry;
    const mark = (height: number, map: Map<string, number>) => {
      for (const id of ordered.get(height) ?? []) map.set(id, now);
    };
    if (type === 'txs_ordered') {
      const known = ordered.get(data.height!) ?? [];
      ordered.set(data.height!, [...known, ...data.order!.map(({ envelope_id }) => envelope_id)]);
    } else if (type === 'batch_created') {
      heights.push(data.height!);
      mark(data.height!, signed);
    } else if (type === 'seal_created') {
      for (const height of data.heights!) mark(height, sealed);
      if (sealed.size >= count) end();
    }
  });
  done.catch(() => {});
  await opened;
  return { done };
}

export interface Heard {
  readonly cursor: number;
  readonly type: string;
  readonly at_ms: number;
  readonly data: Readonly<Record<string, unknown>>;
}

/** The first entry behind a cursor that fits. @throws {RequestError} `timeout`, `feed_failed` */
export function heard(url: string, after: number, fits: (entry: Heard) => boolean, timeout_ms: number): Promise<Heard> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/feed?cursor=${after}`);
  const { promise, resolve, reject } = Promise.withResolvers<Heard>();
  const timer = setTimeout(
    () => reject(new RequestError('timeout', `the feed has not said in ${timeout_ms} ms what was waited for`)),
    timeout_ms,
  );
  socket.on('error', (cause) =>
    reject(new RequestError('feed_failed', `the feed failed: ${cause.message}`, { cause })),
  );
  socket.on('close', () => reject(new RequestError('feed_failed', 'the feed ended')));
  socket.on('message', (message) => {
    const entry = JSON.parse(String(message)) as Heard;
    if (fits(entry)) resolve(entry);
  });
  return promise.finally(() => {
    clearTimeout(timer);
    socket.terminate();
  });
}
