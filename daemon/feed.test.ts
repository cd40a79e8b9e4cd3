import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { CLOSE_CODES, type CloseReason, FeedEntry } from '../actors/feed.ts';
import { Feed } from './feed.ts';
import { openStore, type Store } from './store.ts';

const OPTIONS = { buffered_bytes_max: 65_536, clients_max: 5, client_max: 5, page: 16, idle_ping_ms: 60_000 };

let folder: string;
let store: Store;
let server: Server;
let feed: Feed;
let port: number;
let warnings: string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-feed-'));
  store = await openStore({
    folder,
    key: new Uint8Array(32),
    map_bytes_max: 1024 ** 3,
    free_bytes_min: 0,
    commit_steps_max: 256,
    retry_ms: 1000,
    schema: { version: 1, migrations: [] },
  });
  await append(40);
});
afterAll(async () => {
  await store?.close();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => openDoor(OPTIONS));
afterEach(closeDoor);

async function openDoor(options: typeof OPTIONS, read: Store = store): Promise<void> {
  warnings = [];
  const log = { info: () => {}, warn: (_: object, message: string) => void warnings.push(message) };
  const made = new Feed({ store: read, log, options: () => options });
  feed = made;
  server = createServer({ shouldUpgradeCallback: (request) => made.upgrades(request) }, (_request, response) => {
    response.writeHead(400).end();
  });
  server.on('upgrade', (request, socket, head) => made.upgrade(request, socket, head));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as { port: number }).port;
}

async function closeDoor(): Promise<void> {
  await feed.close();
  server.close();
  await once(server, 'close');
}

/** Entries of both kinds in one commit each. */
async function append(count: number, bytes = 0): Promise<void> {
  const steps = Array.from({ length: count }, (_, i) =>
    store.commit((tx) => {
      tx.journal(i % 4 === 0 ? 'batch_created' : 'tx_submitted', { i, text: 'x'.repeat(bytes) }, 1_700_000_000_000);
    }),
  );
  await Promise.all(steps);
}

interface Entry {
  cursor: number;
  type: string;
}

class Client {
  readonly entries: Entry[] = [];
  readonly ws: WebSocket;
  readonly closed: Promise<{ code: number; reason: string }>;
  #wake = () => {};

  constructor(query = '') {
    this.ws = new WebSocket(`ws://127.0.0.1:${port}/feed${query}`);
    this.closed = new Promise((resolve) => {
      this.ws.on('close', (code, reason) => resolve({ code, reason: String(reason) }));
    });
    this.ws.on('error', () => {});
    this.ws.on('message', (data, isBinary) => {
      expect(isBinary).toBe(false);
      this.entries.push(FeedEntry.parse(JSON.parse(String(data))));
      this.#wake();
    });
  }

  /** Until it has seen this cursor, or the connection has ended. */
  async reach(cursor: number): Promise<void> {
    let ended = false;
    void this.closed.then(() => {
      ended = true;
      this.#wake();
    });
    while (!ended && (this.entries.at(-1)?.cursor ?? 0) < cursor) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  get cursors(): number[] {
    return this.entries.map(({ cursor }) => cursor);
  }
}

const newest = () => store.journalHead().cursor;
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const ending = (reason: CloseReason) => ({ code: CLOSE_CODES[reason], reason });

describe('a client', () => {
  it('gets everything behind its cursor, and then what comes', async () => {
    const client = new Client('?cursor=0');
    await client.reach(newest());
    await append(30);
    await client.reach(newest());
    expect(client.cursors).toEqual(range(1, newest()));
    const [first] = client.entries;
    expect(first).toMatchObject({ cursor: 1, type: 'batch_created', at_ms: 1_700_000_000_000, data: { i: 0 } });
  });

  it('without a cursor begins now', async () => {
    const client = new Client();
    await once(client.ws, 'open');
    const from = newest();
    await append(3);
    await client.reach(newest());
    expect(client.cursors).toEqual(range(from + 1, from + 3));
  });

  it('gets only the types that it asks for', async () => {
    const client = new Client('?cursor=0&types=batch_created,seal_created');
    await client.reach(37);
    expect(new Set(client.entries.map(({ type }) => type))).toEqual(new Set(['batch_created']));
    expect(client.cursors.slice(0, 10)).toEqual([1, 5, 9, 13, 17, 21, 25, 29, 33, 37]);
  });

  it('gets entries of every size, alone and in bursts, whatever others ask for', async () => {
    const from = newest();
    const filters = ['', '', '&types=batch_created', '&types=tx_submitted', '&types=seal_created'];
    const clients = filters.map((filter, i) => new Client(`?cursor=${from + (i === 1 ? -1 : 0)}${filter}`));
    await Promise.all(clients.map(({ ws }) => once(ws, 'open')));
    // Around the borders of RFC 6455's three lengths, and of what is put together in one piece.
    for (const bytes of [0, 40, 60, 80, 30_000, 65_400, 65_500, 70_000, 200]) await append(7, bytes);
    const [all, before, batches, submitted, none] = clients as [Client, Client, Client, Client, Client];
    await Promise.all([all.reach(newest()), before.reach(newest()), submitted.reach(newest())]);
    expect(all.cursors).toEqual(range(from + 1, newest()));
    expect(before.cursors).toEqual(range(from, newest()));
    const of = (type: string) => all.entries.filter((entry) => entry.type === type);
    expect(submitted.entries).toEqual(of('tx_submitted'));
    await batches.reach(of('batch_created').at(-1)!.cursor);
    expect(batches.entries).toEqual(of('batch_created'));
    expect(none.entries).toEqual([]);
  });

  it('that says something is shown out', async () => {
    const client = new Client();
    await once(client.ws, 'open');
    client.ws.send('hello');
    expect(await client.closed).toEqual(ending('read_only'));
  });

  it('that pings without end is shown out, and one that keeps alive is not', async () => {
    const [flood, calm] = [new Client(), new Client()];
    await Promise.all([once(flood.ws, 'open'), once(calm.ws, 'open')]);
    for (let n = 0; n < 10; n++) calm.ws.ping();
    for (let n = 0; n < 100; n++) flood.ws.ping();
    expect(await flood.closed).toEqual(ending('read_only'));
    expect(calm.ws.readyState).toBe(calm.ws.OPEN);
    calm.ws.terminate();
  });

  it('from the future or a pruned past is told so', async () => {
    expect(await new Client(`?cursor=${newest() + 1}`).closed).toEqual(ending('future_cursor'));
    await store.commit((tx) => tx.remove('journal', 1));
    expect(await new Client('?cursor=0').closed).toEqual(ending('outdated_cursor'));
    const client = new Client('?cursor=1');
    await client.reach(newest());
    expect(client.cursors).toEqual(range(2, newest()));
    expect(feed.cuts).toEqual(
      new Map([
        ['future_cursor', 1],
        ['outdated_cursor', 1],
      ]),
    );
  });

  it.each(['?cursor=x', '?cursor=-1', '?cursor=1&cursor=2', '?types=nope', '?types=', '?other=1'])(
    'is refused with %s',
    async (query) => {
      const client = new Client(query);
      const [, response] = await once(client.ws, 'unexpected-response');
      expect(response.statusCode).toBe(400);
      client.ws.terminate();
    },
  );

  it('is refused when there are as many as may be', async () => {
    const clients = range(1, OPTIONS.clients_max).map(() => new Client());
    await Promise.all(clients.map(({ ws }) => once(ws, 'open')));
    expect(feed.isFull).toBe(true);
    const [, response] = await once(new Client().ws, 'unexpected-response');
    expect(response.statusCode).toBe(400);
    clients[0]!.ws.close();
    await clients[0]!.closed;
    const next = new Client();
    await once(next.ws, 'open');
    expect(feed.clients).toBe(OPTIONS.clients_max);
  });

  it('is told when the feed closes', async () => {
    const client = new Client();
    await once(client.ws, 'open');
    await feed.close();
    expect(await client.closed).toEqual(ending('server_closing'));
    await once(new Client().ws, 'unexpected-response');
  });
});

describe('a reconnecting client', () => {
  it('misses nothing and gets nothing twice, wherever it is cut', async () => {
    const plan = fc.array(fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 60 })), {
      minLength: 1,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(plan, async (lives) => {
        const from = newest();
        const seen: number[] = [];
        const live = async (count: number, appended?: Promise<void>) => {
          const start = seen.at(-1) ?? from;
          const client = new Client(`?cursor=${start}`);
          await appended;
          // Some of what is there, so that the rest is lost in the socket, as in a crash.
          const target = Math.min(start + count, newest());
          if (target > start) await client.reach(target);
          client.ws.terminate();
          await client.closed;
          seen.push(...client.cursors);
        };
        for (const [added, count] of lives) await live(count, append(added));
        await live(Number.POSITIVE_INFINITY);
        expect(seen).toEqual(range(from + 1, newest()));
      }),
      { numRuns: 20 },
    );
  });
});

describe('a slow client', () => {
  /** A handshake by hand, so that nothing reads on its own. */
  async function unread(query: string): Promise<Socket> {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.write(
      `GET /feed${query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\n\r\n`,
    );
    socket.on('error', () => {});
    await once(socket, 'connect');
    socket.pause();
    return socket;
  }

  const committed = () => new Promise((resolve) => setImmediate(resolve));

  it('is cut when it takes nothing, with little buffered; others are not', async () => {
    await closeDoor();
    await openDoor({ ...OPTIONS, idle_ping_ms: 1_000 });
    const from = newest();
    const good = new Client(`?cursor=${from}`);
    await once(good.ws, 'open');
    const socket = await unread(`?cursor=${from}`);
    while (feed.clients < 2) await committed();
    // More than the kernel keeps for both ends.
    for (let i = 0; i < 30; i++) {
      await append(8, 60_000);
      await good.reach(newest());
    }
    while (feed.clients > 1) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(feed.cuts.get('consumer_too_slow')).toBe(1);
    expect(good.cursors).toEqual(range(from + 1, newest()));
    expect(good.ws.readyState).toBe(WebSocket.OPEN);
    socket.destroy();
  });

  it('that catches up from far behind is not cut, however much lies before it', async () => {
    await closeDoor();
    await openDoor({ ...OPTIONS, idle_ping_ms: 1_000 });
    const client = new Client('?cursor=1');
    await client.reach(newest());
    expect(client.cursors).toEqual(range(2, newest()));
    expect(feed.cuts.size).toBe(0);
  });

  it('that is dead is found by pings', async () => {
    await closeDoor();
    await openDoor({ ...OPTIONS, idle_ping_ms: 50 });
    const alive = new Client();
    await once(alive.ws, 'open');
    const socket = await unread('');
    while (feed.clients < 2) await committed();
    await once(alive.ws, 'ping');
    await once(alive.ws, 'ping');
    await once(alive.ws, 'ping');
    expect(feed.clients).toBe(1);
    expect(alive.ws.readyState).toBe(WebSocket.OPEN);
    socket.destroy();
  });
});

describe('a journal that cannot be read', () => {
  it('ends the connection and not the daemon', async () => {
    await closeDoor();
    const broken = {
      onCommitted: () => () => {},
      journalHead: () => store.journalHead(),
      range: () => {
        throw new Error('a record does not open');
      },
    } as unknown as Store;
    await openDoor(OPTIONS, broken);
    expect(await new Client('?cursor=1').closed).toEqual(ending('store_unavailable'));
    expect(warnings).toEqual(['the feed cannot read the journal']);
  });
});
