import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { base64, concat, utf8 } from '../../actors/encoding.ts';
import { FEED_TAG } from '../../actors/riskfeed.ts';
import { settings } from '../../test/house.ts';
import { Runtime } from '../runtime.ts';
import { openStore, type Store } from '../store.ts';
import { RiskFeeds } from './feeds.ts';
import { type RiskOptions, RiskRoom } from './room.ts';

const NOW_MS = Date.parse('2026-06-01T00:00:00.000Z');

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

let folder: string;
let store: Store;
let room: RiskRoom;
let runtime: Runtime;
let options: RiskOptions;
let server: Server;
let answer: Answer;
let asked: IncomingMessage[];
let feeds: RiskFeeds;
let now_ms: number;

const ed25519 = generateKeyPairSync('ed25519');
const mlDsa = generateKeyPairSync('ml-dsa-87' as never) as unknown as { publicKey: KeyObject; privateKey: KeyObject };
const raw = (key: KeyObject) => base64(Uint8Array.from(key.export({ format: 'raw-public' } as never) as never));

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-feeds-'));
  now_ms = NOW_MS;
  store = await openStore({
    folder: join(folder, 'store'),
    key: new Uint8Array(32).fill(7),
    map_bytes_max: 2 ** 26,
    free_bytes_min: 0,
    commit_steps_max: 100,
    retry_ms: 10,
    schema: { version: 1, migrations: [] },
  });
  await store.commit((tx) => tx.put('meta', 'epoch', { active: 1 }));
  asked = [];
  server = createServer((request, response) => {
    asked.push(request);
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  options = { ...settings(folder).risk, catalogue: false, feed_timeout_ms: 300, feed_bytes_max: 16_384, rise_s: 3600 };
  options = { ...options, feeds: [`lab ${url()} ed25519:${raw(ed25519.publicKey)}`] };
  const fatal = (error: unknown) => {
    throw error;
  };
  runtime = new Runtime({ store, log: { warn: () => {}, error: () => {} }, fatal });
  const shared = { runtime, store, options: () => options, now: () => now_ms, onFault: fatal, fatal };
  room = new RiskRoom({ ...shared, onChange: () => {} });
  await room.start();
  feeds = open();
});
afterEach(async () => {
  await feeds.stop();
  await room.stop();
  server.closeAllConnections();
  server.close();
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/feed.json`;

function open(): RiskFeeds {
  const fatal = (error: unknown) => {
    throw error;
  };
  const shared = { room, runtime, store, options: () => options, now: () => now_ms };
  return new RiskFeeds({ ...shared, onFault: fatal, fatal, warn: () => {} });
}

const indicator = (id: string, over: object = {}) => ({
  id,
  category: 'digital_signatures',
  sub_category: id,
  severity: 0.5,
  confidence: 0.9,
  source: 'whoever',
  timestamp: '2026-05-31T12:00:00Z',
  description: 'An attack.',
  era_relevance: 'nisq',
  ...over,
});

function content(sequence: number, indicators: readonly object[], over: object = {}) {
  return { version: 1, sequence, issued_ms: NOW_MS - 1, not_after_ms: NOW_MS + 86_400_000, indicators, ...over };
}

function signed(said: object, { key = ed25519.privateKey, tag = FEED_TAG }: { key?: KeyObject; tag?: string } = {}) {
  const payload = utf8(JSON.stringify(said));
  const signature =
    key.asymmetricKeyType === 'ed25519'
      ? sign(null, concat(utf8(`${tag}\0`), payload), key)
      : sign(null, payload, { key, context: utf8(tag) } as never);
  return JSON.stringify({ payload: base64(payload), signature: base64(Uint8Array.from(signature)) });
}

const serve =
  (text: string, headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    response.writeHead(200, headers).end(text);

const ids = () => room.threats.map(({ id }) => id);
const quarantine = () => feeds.states()[0]!.quarantine;

describe('a feed', () => {
  it('speaks under its own origin, and withdraws what it no longer lists', async () => {
    answer = serve(signed(content(1, [indicator('a'), indicator('b')])));
    await feeds.poll();
    expect(ids()).toEqual(['feed:lab/a', 'feed:lab/b']);
    expect(room.threats[0]).toMatchObject({
      origin: 'feed:lab',
      timestamp: '2026-05-31T12:00:00.000Z',
      references: [],
    });
    answer = serve(signed(content(2, [indicator('b', { severity: 0.9 })])));
    await feeds.poll();
    expect(room.threats).toMatchObject([{ id: 'feed:lab/b', severity: 0.9 }]);
    expect(feeds.states()).toMatchObject([{ name: 'lab', sequence: 2, taken_ms: NOW_MS, quarantine: null }]);
  });

  it('may be signed with ML-DSA-87', async () => {
    options = { ...options, feeds: [`pq ${url()} ml-dsa-87:${raw(mlDsa.publicKey)}`] };
    feeds = open();
    answer = serve(signed(content(1, [indicator('a')]), { key: mlDsa.privateKey }));
    await feeds.poll();
    expect(ids()).toEqual(['feed:pq/a']);
    answer = serve(signed(content(2, []), { key: mlDsa.privateKey, tag: 'aegis/order/v1' }));
    await feeds.poll();
    expect(quarantine()).toMatchObject({ code: 'bad_signature' });
    expect(ids()).toEqual(['feed:pq/a']);
  });

  it('hears its own ETag again, and 304 changes nothing', async () => {
    answer = serve(signed(content(1, [indicator('a')])), { etag: '"one"' });
    await feeds.poll();
    answer = (_, response) => response.writeHead(304).end();
    await feeds.poll();
    expect(asked.map(({ headers }) => headers['if-none-match'])).toEqual([undefined, '"one"']);
    expect(quarantine()).toBeNull();
    now_ms = NOW_MS + 86_400_000;
    await feeds.poll();
    expect(quarantine()).toMatchObject({ code: 'expired' });
    expect(ids()).toEqual(['feed:lab/a']);
  });

  const other = generateKeyPairSync('ed25519').privateKey;
  it.each<[string, string, () => Answer]>([
    ['a status that is not 200', 'unreachable', () => (_, response) => response.writeHead(500).end()],
    ['304 that nobody asked for', 'unreachable', () => (_, response) => response.writeHead(304).end()],
    ['a redirect', 'unreachable', () => (_, r) => r.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
    ['no answer in time', 'unreachable', () => () => {}],
    ['an answer without end', 'unreachable', () => (_, response) => response.writeHead(200).write('{"payload":"')],
    ['an answer that is too large', 'too_large', () => serve('x'.repeat(16_385))],
    ['no JSON', 'malformed', () => serve('hello')],
    ['no document', 'malformed', () => serve('{"indicators": []}')],
    ['a key beside it', 'malformed', () => serve(signed(content(3, [])).replace('{', '{"extra":1,'))],
    ['the key of somebody else', 'bad_signature', () => serve(signed(content(3, []), { key: other }))],
    ['another use of the key', 'bad_signature', () => serve(signed(content(3, []), { tag: 'aegis/receipt/v1' }))],
    ['an altered content', 'bad_signature', () => serve(altered(content(3, [indicator('c')]), content(3, [])))],
    ['an older content', 'rolled_back', () => serve(signed(content(1, [])))],
    ['another content of the same sequence', 'rolled_back', () => serve(signed(content(2, [indicator('c')])))],
    ['one that has ended', 'expired', () => serve(signed(content(3, [], { not_after_ms: NOW_MS })))],
    ['a wrong indicator', 'malformed', () => serve(signed(content(3, [indicator('c', { severity: 1.5 })])))],
    ['one id twice', 'malformed', () => serve(signed(content(3, [indicator('c'), indicator('c')])))],
    ['an unknown field', 'malformed', () => serve(signed(content(3, [indicator('c', { score: 1 })])))],
  ])('is quarantined for %s, and what it said before stays', async (_, code, make) => {
    answer = serve(signed(content(2, [indicator('a')])));
    await feeds.poll();
    answer = make();
    await feeds.poll();
    expect(quarantine()).toMatchObject({ code, tries: 1 });
    expect(ids()).toEqual(['feed:lab/a']);
    answer = serve(signed(content(3, [indicator('b')])));
    await feeds.poll();
    expect(quarantine()).toBeNull();
    expect(ids()).toEqual(['feed:lab/b']);
  });

  it('that stays bad is asked ever more rarely', async () => {
    answer = serve('hello');
    const polled: number[] = [];
    for (let i = 0; i < 16; i++) {
      const before = asked.length;
      await feeds.poll();
      if (asked.length > before) polled.push(i);
    }
    expect(polled).toEqual([0, 1, 3, 7, 15]);
  });

  it('cannot go back after a restart, and is forgotten when it is no longer configured', async () => {
    answer = serve(signed(content(5, [indicator('a')])));
    await feeds.poll();
    feeds = open();
    answer = serve(signed(content(4, [])));
    await feeds.poll();
    expect(quarantine()).toMatchObject({ code: 'rolled_back' });
    options = { ...options, feeds: [] };
    feeds = open();
    await feeds.start();
    expect(ids()).toEqual([]);
  });

  it('is polled by its schedule', async () => {
    options = { ...options, feed_schedule: '* * * * * *' };
    feeds = open();
    const { promise, resolve } = Promise.withResolvers<void>();
    answer = (request, response) => {
      serve(signed(content(asked.length, [])))(request, response);
      if (asked.length === 3) resolve();
    };
    await feeds.start();
    await promise;
    await feeds.stop();
    expect(asked.length).toBeGreaterThanOrEqual(3);
  });
});

/** One content under the signature of another. */
function altered(said: object, other: object): string {
  const { payload } = JSON.parse(signed(said)) as { payload: string };
  return JSON.stringify({ ...(JSON.parse(signed(other)) as object), payload });
}
