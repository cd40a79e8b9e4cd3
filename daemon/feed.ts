// The feed (DESIGN §11): every journal entry over WebSocket, in order, without a gap, at least once, and only what is durable. The
// API's doors hand connections over; the journal is the truth. A client pulls: it has a cursor and gets what lies behind it, so one
// that is far behind is paged through the store at the pace at which it reads, and those that keep up get frames that were made
// once for all, in one write. Nobody is buffered beyond `feed.buffered_bytes_max` and an entry; who does not take that much within
// `feed.idle_ping_ms` is cut, and resumes from the last cursor that it has seen. However many there are, the thread is theirs
// for a few milliseconds at a time only.
import type { IncomingMessage } from 'node:http';
import { parse } from 'node:querystring';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { z } from 'zod';
import { CLOSE_CODES, type CloseReason, ENTRY_TYPES } from '../actors/feed.ts';
import { peerOf } from './api/door.ts';
import { type Frame, frameOf, type Place, Recent } from './frame.ts';
import { type JournalEntry, type JournalPage, readJournal } from './journal.ts';
import { Shares } from './share.ts';
import type { Logger, Store } from './store.ts';

const TYPES_EXPECTED = `expected a comma-separated list of ${ENTRY_TYPES.join(', ')}`;

export const FeedQuery = z.strictObject({
  cursor: z
    .string('expected one cursor')
    .regex(/^(?:0|[1-9]\d{0,15})$/, 'expected the cursor of an entry, or 0')
    .transform(Number)
    .pipe(z.int('expected the cursor of an entry, or 0'))
    .meta({ type: 'integer', minimum: 0 })
    .optional(),
  types: z
    .string('expected one list')
    .refine(
      (text) => text.split(',').every((type) => (ENTRY_TYPES as readonly string[]).includes(type)),
      TYPES_EXPECTED,
    )
    .optional(),
});

export interface FeedOptions {
  readonly buffered_bytes_max: number;
  readonly clients_max: number;
  /** Of one client address. */
  readonly client_max: number;
  /** Entries of one read of the store. */
  readonly page: number;
  readonly idle_ping_ms: number;
}

interface Client extends Place {
  readonly ws: WebSocket;
  readonly socket: Duplex;
  /** The last entry that it was sent, or that its filter passed over. */
  cursor: number;
  /** Has answered, or taken something, since the last ping. */
  alive: boolean;
  /** Of its own, since ours. */
  pings: number;
  /** Runs while its buffer is full. */
  stalled: NodeJS.Timeout | undefined;
  /** A page is due in a later turn. */
  paging: boolean;
}

/** Clients have nothing to say. */
const MESSAGE_BYTES_MAX = 1_024;
/** Pings of a client between two of ours: keeping a connection alive takes a few, a flood takes the thread. */
const PINGS_MAX = 64;
/** For how long one turn serves clients before everything else has its turn. */
const TURN_MS = 4;
/** The thread rests from clients for as long as they took, so that half of it is left; at most this long. */
const REST_MAX_MS = 50;
/** From the close frame to the end of the connection: a client that does not read cannot hold its buffer. */
const CLOSE_MS = 2_000;
/** A page over HTTP ends after this many characters. */
const PAGE_CHARACTERS_MAX = 4 * 1024 * 1024;
const PAGE_STEP = 32;

export class Feed {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #options: () => FeedOptions;
  readonly #clients = new Set<Client>();
  readonly #wss: WebSocketServer;
  readonly #unsubscribe: () => void;
  readonly #pinger: NodeJS.Timeout;
  readonly #shares = new Shares();
  readonly #cuts = new Map<CloseReason, number>();
  /** The newest entries, without a gap up to `#tail`. */
  readonly #recent = new Recent();
  #tail: number;
  /** From the first commit until everyone has been served. */
  #advancing = false;
  /** More was committed meanwhile. */
  #behind = false;
  /** When everyone was served last, and how much of the thread it took. */
  readonly #served = { at: Number.NEGATIVE_INFINITY, took_ms: 0 };
  #closed = false;

  constructor(modules: { store: Store; log: Logger; options: () => FeedOptions }) {
    this.#store = modules.store;
    this.#log = modules.log;
    this.#options = modules.options;
    this.#tail = modules.store.journalHead().cursor;
    this.#wss = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: MESSAGE_BYTES_MAX,
      // A client that pings and does not read would fill the buffer with answers.
      autoPong: false,
    });
    this.#unsubscribe = modules.store.onCommitted(() => this.#wake());
    this.#pinger = setInterval(() => this.#ping(), modules.options().idle_ping_ms);
    this.#pinger.unref();
  }

  get clients(): number {
    return this.#clients.size;
  }

  get isFull(): boolean {
    return this.#closed || this.#clients.size >= this.#options().clients_max;
  }

  /** How many connections were ended, by reason. */
  get cuts(): ReadonlyMap<CloseReason, number> {
    return this.#cuts;
  }

  /** Whether a client has as many places as one may. */
  hasShare(client: string | undefined): boolean {
    return client !== undefined && this.#shares.of(client) >= this.#options().client_max;
  }

  /** Whether a request opens a feed; every other, also one with a wrong query, is answered over HTTP. */
  upgrades(request: IncomingMessage): boolean {
    const { upgrade } = request.headers;
    if (request.method !== 'GET' || upgrade?.toLowerCase() !== 'websocket' || this.isFull) return false;
    if (this.hasShare(peerOf(request.socket).client)) return false;
    return queryOf(request) !== undefined;
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const query = queryOf(request);
    const { client } = peerOf(request.socket);
    if (query === undefined || this.isFull || !this.#shares.take(client, this.#options().client_max)) {
      socket.destroy();
      return;
    }
    socket.once('close', () => this.#shares.give(client));
    this.#wss.handleUpgrade(request, socket, head, (ws) => this.#open(ws, socket, query));
  }

  /** A page for HTTP: at most `limit` entries, fewer where they are large. */
  page(after: number, limit: number): JournalPage {
    const entries: JournalEntry[] = [];
    let characters = 0;
    let newest = after;
    while (entries.length < limit && characters < PAGE_CHARACTERS_MAX) {
      const step = Math.min(PAGE_STEP, limit - entries.length);
      const page = readJournal(this.#store, { after: after + entries.length, limit: step });
      if (!page.ok) return page;
      newest = page.newest;
      entries.push(...page.entries);
      for (const entry of page.entries) characters += JSON.stringify(entry.data).length;
      if (page.entries.length < step) break;
    }
    return { ok: true, entries, newest };
  }

  /** Tells every client where to go on; ends within two seconds. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unsubscribe();
    clearInterval(this.#pinger);
    const ended = [...this.#clients].map(({ ws }) => new Promise((resolve) => ws.once('close', resolve)));
    for (const client of this.#clients) this.#cut(client, 'server_closing', CLOSE_MS / 4);
    await Promise.all(ended);
  }

  #open(ws: WebSocket, socket: Duplex, { cursor, types }: z.output<typeof FeedQuery>): void {
    const client: Client = {
      ws,
      socket,
      types: types === undefined ? undefined : new Set(types.split(',')),
      filter: types ?? '',
      cursor: cursor ?? this.#store.journalHead().cursor,
      alive: true,
      pings: 0,
      stalled: undefined,
      paging: false,
    };
    this.#clients.add(client);
    // What the protocol forbids (too long, not UTF-8, …) ws closes with its own code.
    ws.on('error', () => {});
    ws.on('message', () => this.#cut(client, 'read_only'));
    ws.on('pong', () => {
      client.alive = true;
    });
    ws.on('ping', (data) => {
      client.alive = true;
      client.pings += 1;
      if (client.pings > PINGS_MAX) this.#cut(client, 'read_only', 0);
      else if (ws.bufferedAmount === 0) ws.pong(data);
    });
    ws.on('close', () => {
      clearTimeout(client.stalled);
      this.#clients.delete(client);
    });
    socket.on('drain', () => this.#drained(client));
    if (client.cursor > this.#store.journalHead().cursor) this.#cut(client, 'future_cursor');
    else this.#pump(client);
  }

  /** Many commits in one turn, and all that come while clients are served, are one look at the journal. */
  #wake(): void {
    if (this.#closed) return;
    this.#behind = true;
    if (this.#advancing) return;
    this.#advancing = true;
    const rest_ms = Math.min(this.#served.took_ms, REST_MAX_MS) - (performance.now() - this.#served.at);
    if (rest_ms < 1) setImmediate(() => this.#advance());
    else setTimeout(() => this.#advance(), rest_ms);
  }

  /** Encodes what is new, once, and gives it to everyone who has kept up. */
  #advance(): void {
    if (this.#closed) return;
    this.#behind = false;
    this.#served.took_ms = 0;
    const { cursor } = this.#store.journalHead();
    if (this.#clients.size === 0) {
      this.#tail = cursor;
      this.#recent.forget();
    }
    while (this.#tail < cursor) {
      const page = this.#read(this.#tail);
      if (!page.ok || page.entries.length === 0) {
        // Pruned before it was sent, or unreadable: those who are behind hear of it when they read themselves.
        this.#recent.forget();
        this.#tail = cursor;
        break;
      }
      for (const entry of page.entries) this.#recent.remember(frameOf(entry));
      this.#tail = page.entries.at(-1)!.cursor;
    }
    this.#recent.advance();
    this.#serve([...this.#clients], 0);
  }

  /** Everyone in turn; others of the thread's work come in between. */
  #serve(clients: readonly Client[], from: number): void {
    const start = performance.now();
    let now = start;
    let i = from;
    for (; i < clients.length && now < start + TURN_MS; i++) {
      this.#pump(clients[i]!);
      now = performance.now();
    }
    this.#served.took_ms += now - start;
    if (i < clients.length) {
      setImmediate(() => this.#serve(clients, i));
      return;
    }
    this.#served.at = now;
    this.#advancing = false;
    if (this.#behind) this.#wake();
  }

  /** Sends until the client has everything, or its buffer is full, or a page is done and others get their turn. */
  #pump(client: Client): void {
    const { ws, socket } = client;
    if (ws.readyState !== ws.OPEN || client.stalled !== undefined || client.paging) return;
    while (client.cursor < this.#tail) {
      const chunk = socket.writableLength === 0 ? this.#recent.chunk(client) : undefined;
      if (chunk !== undefined) {
        if (chunk.bytes.length > 0) socket.write(chunk.bytes);
        client.cursor = chunk.cursor;
        continue;
      }
      const kept = this.#recent.after(client.cursor);
      const frames = kept ?? this.#framesFor(client);
      if (frames === undefined || !this.#send(client, frames)) return;
      if (kept === undefined) {
        this.#later(client);
        return;
      }
    }
  }

  /** @returns whether all of it found room */
  #send(client: Client, frames: readonly Frame[]): boolean {
    const { socket, types } = client;
    const { buffered_bytes_max } = this.#options();
    socket.cork();
    try {
      for (const { cursor, type, bytes } of frames) {
        if (socket.writableLength >= buffered_bytes_max) {
          this.#stall(client);
          return false;
        }
        if (types?.has(type) !== false) socket.write(bytes);
        client.cursor = cursor;
      }
      return true;
    } finally {
      socket.uncork();
    }
  }

  #later(client: Client): void {
    client.paging = true;
    setImmediate(() => {
      client.paging = false;
      this.#pump(client);
    });
  }

  #stall(client: Client): void {
    client.stalled = setTimeout(() => this.#cut(client, 'consumer_too_slow'), this.#options().idle_ping_ms);
  }

  /** Everything that waited has gone to the kernel. */
  #drained(client: Client): void {
    client.alive = true;
    clearTimeout(client.stalled);
    client.stalled = undefined;
    this.#pump(client);
  }

  #framesFor(client: Client): Frame[] | undefined {
    const page = this.#read(client.cursor);
    if (page.ok) return page.entries.map(frameOf);
    this.#cut(client, page.code);
    return undefined;
  }

  /** A journal that can't be read ends connections, not the daemon: admission and signing may not need that part of it. */
  #read(after: number): JournalPage | { readonly ok: false; readonly code: 'store_unavailable' } {
    try {
      return readJournal(this.#store, { after, limit: this.#options().page });
    } catch (error) {
      this.#log.warn({ err: error, after }, 'the feed cannot read the journal');
      return { ok: false, code: 'store_unavailable' };
    }
  }

  #ping(): void {
    for (const client of this.#clients) {
      client.pings = 0;
      // A full buffer has a limit of its own, and a ping would wait behind it.
      if (client.stalled !== undefined) continue;
      if (!client.alive) client.ws.terminate();
      else if (client.ws.readyState === client.ws.OPEN) {
        client.alive = false;
        client.ws.ping();
      }
    }
  }

  #cut({ ws, stalled }: Client, reason: CloseReason, grace_ms = CLOSE_MS): void {
    clearTimeout(stalled);
    if (ws.readyState !== ws.OPEN) return;
    this.#cuts.set(reason, (this.#cuts.get(reason) ?? 0) + 1);
    ws.close(CLOSE_CODES[reason], reason);
    const end = setTimeout(() => ws.terminate(), grace_ms);
    ws.once('close', () => clearTimeout(end));
  }
}

/** Undefined for another path, or for a query that /feed refuses. */
function queryOf(request: IncomingMessage): z.output<typeof FeedQuery> | undefined {
  const [path, query = ''] = (request.url ?? '').split('?', 2);
  if (path !== '/feed') return undefined;
  const parsed = FeedQuery.safeParse({ ...parse(query) });
  return parsed.success ? parsed.data : undefined;
}
