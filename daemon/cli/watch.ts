// `aegisd watch`: the feed in a terminal, one line an entry, until it is told to end. It keeps its cursor and connects again
// when the connection ends, so that no entry is missed or shown twice; between tries it waits longer each time, up to a
// bound. Exit codes: 0 when it was told to end (Ctrl-C, or whoever reads its output has gone), 1 when going on is useless.
import { connect as connectSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import WebSocket from 'ws';
import { CLOSE_CODES, type CloseReason, ENTRY_TYPES, FeedEntry } from '../../actors/feed.ts';
import type { Status } from '../status.ts';
import { connect, RequestError } from './connection.ts';
import { describeEntry, printable } from './entry.ts';
import { EXIT } from './program.ts';

interface Options {
  readonly config?: string;
  readonly url?: string;
  /** Show what lies behind it; left out, what comes from now on. */
  readonly cursor?: number;
  /** Comma-separated. */
  readonly types?: string;
  readonly json?: boolean;
}

/** How a connection ended: `again` after a while, or never, with the sentence to say. */
type Ending = { readonly again: boolean; readonly why: string };

interface Watcher {
  readonly options: Options;
  readonly where: string;
  readonly signal: AbortSignal;
  cursor: number;
  /** Entries came since the last connection ended. */
  isLive: boolean;
}

const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 10_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const ENTRY_BYTES_MAX = 64 * 1_048_576;
/** A connection on which nothing, not even an answer to a ping, came for this long is dead. */
const SILENCE_MS = 20_000;
const ANSWER_BYTES_MAX = 65_536;

/** Ends in which the same cursor would only end again. */
const FINAL: Partial<Record<CloseReason, (cursor: number) => string>> = {
  future_cursor: (cursor) => `no entry has cursor ${cursor} yet: it is of another daemon, or of a store that was lost`,
  outdated_cursor: (cursor) => `entries behind cursor ${cursor} have been pruned; GET /feed/entries names the oldest`,
  read_only: () => 'the daemon took us for somebody who speaks',
};

export async function watch(options: Options): Promise<number> {
  const known: readonly string[] = ENTRY_TYPES;
  if (options.types?.split(',').every((type) => known.includes(type)) === false) {
    process.stderr.write(
      `--types ${printable(options.types)}: expected a comma-separated list of ${known.join(', ')}\n`,
    );
    return EXIT.usage;
  }
  const stop = new AbortController();
  const end = () => stop.abort();
  process.once('SIGINT', end).once('SIGTERM', end);
  // Whoever reads has gone, as `head` does.
  process.stdout.on('error', end);
  const connection = connect(options);
  try {
    const cursor = options.cursor ?? (await connection.get<Status>('/sequencer/status')).journal_cursor;
    return await follow({ options, where: connection.where, signal: stop.signal, cursor, isLive: true });
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    process.stderr.write(`${connection.where}: ${error.message}\n`);
    return EXIT.refused;
  } finally {
    process.off('SIGINT', end).off('SIGTERM', end);
    process.stdout.off('error', end);
  }
}

async function follow(watcher: Watcher): Promise<number> {
  const { where, signal } = watcher;
  for (let tries = 0; !signal.aborted; tries++) {
    const { again, why } = await listen(watcher);
    if (signal.aborted) break;
    if (watcher.isLive) tries = 0;
    if (!again) {
      process.stderr.write(`${where}: ${why}\n`);
      return EXIT.refused;
    }
    if (tries === 0) process.stderr.write(`${where}: ${why}; connecting again behind cursor ${watcher.cursor}\n`);
    watcher.isLive = false;
    const wait_ms = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(tries, 16));
    // Spread, so that a thousand watchers do not come back at once.
    await delay(wait_ms * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
  }
  return EXIT.ok;
}

/** One connection, to its end. */
function listen(watcher: Watcher): Promise<Ending> {
  const { promise, resolve } = Promise.withResolvers<Ending>();
  const ws = open(watcher);
  const stop = () => ws.terminate();
  watcher.signal.addEventListener('abort', stop);
  const heart = keepAlive(ws);
  let ending: Ending | undefined;
  ws.on('message', (text) => {
    const wrong = show(watcher, ws, String(text));
    if (wrong === undefined) return;
    ending = { again: false, why: wrong };
    ws.terminate();
  });
  ws.on('unexpected-response', (_request, response) => {
    let body = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      if (body.length < ANSWER_BYTES_MAX) body += chunk;
    });
    response.on('close', () => {
      ending = refusedHandshake(response.statusCode ?? 0, body);
      ws.terminate();
    });
  });
  ws.on('error', (error: NodeJS.ErrnoException) => {
    ending ??= { again: true, why: error.message };
  });
  ws.on('close', (code) => {
    clearInterval(heart);
    watcher.signal.removeEventListener('abort', stop);
    resolve(ending ?? endingOf(code, watcher.cursor));
  });
  return promise;
}

function open({ options: { url, types }, where, cursor }: Watcher): WebSocket {
  const query = `cursor=${cursor}${types === undefined ? '' : `&types=${types}`}`;
  const settings = { perMessageDeflate: false, maxPayload: ENTRY_BYTES_MAX, handshakeTimeout: HANDSHAKE_TIMEOUT_MS };
  if (url !== undefined) return new WebSocket(`${new URL('feed', url).href.replace('http', 'ws')}?${query}`, settings);
  const socket = { createConnection: () => connectSocket(where) } as object;
  return new WebSocket(`ws://aegisd/feed?${query}`, { ...settings, ...socket });
}

/** @returns what is wrong with it, where it is no entry */
function show(watcher: Watcher, ws: WebSocket, text: string): string | undefined {
  const entry = read(text);
  if (entry === undefined) return 'what comes is no journal entry; is this an aegisd?';
  // At least once: what came twice is shown once.
  if (entry.cursor <= watcher.cursor) return undefined;
  watcher.cursor = entry.cursor;
  watcher.isLive = true;
  const line = watcher.options.json === true ? JSON.stringify(entry) : describeEntry(entry);
  if (!process.stdout.write(`${line}\n`)) {
    ws.pause();
    process.stdout.once('drain', () => ws.resume());
  }
  return undefined;
}

function read(text: string) {
  try {
    return FeedEntry.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** A full feed, or a proxy whose daemon is away, may be better later; anything else stays wrong. */
function refusedHandshake(status: number, body: string): Ending {
  const code = /"code":"([a-z_]{1,64})"/.exec(body)?.[1];
  return {
    again: status >= 500 || status === 429,
    why: `refused with ${status}${code === undefined ? '' : ` ${code}`}`,
  };
}

function endingOf(code: number, cursor: number): Ending {
  const reason = (Object.keys(CLOSE_CODES) as CloseReason[]).find((name) => CLOSE_CODES[name] === code);
  const final = reason === undefined ? undefined : FINAL[reason]?.(cursor);
  if (final !== undefined) return { again: false, why: final };
  return { again: true, why: printable(`the connection ended (${reason ?? code})`) };
}

function keepAlive(ws: WebSocket): NodeJS.Timeout {
  let isAlive = true;
  const note = () => {
    isAlive = true;
  };
  ws.on('message', note).on('ping', note).on('pong', note);
  return setInterval(() => {
    if (ws.readyState !== ws.OPEN || ws.isPaused) return;
    if (!isAlive) ws.terminate();
    isAlive = false;
    ws.ping();
  }, SILENCE_MS);
}
