// The feed to 1,000 clients (DESIGN §11): a real store, a real Feed behind a real HTTP server in this process, the clients in
// a second one (feedclients.ts), so that this process's thread is what is measured. First at a steady 100 batches a second,
// then as fast as the journal can be filled. Every client checks that each cursor follows the one before it. The floor is the
// bare fan-out of the same bytes through ws to the same clients in the same run.
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type WebSocket, WebSocketServer } from 'ws';
import { loadConfig } from '../config/load.ts';
import { Feed } from '../daemon/feed.ts';
import { openStore, type Store } from '../daemon/store.ts';
import type { Command, Report } from './feedclients.ts';
import { type Figure, percentile } from './figure.ts';

const CLIENTS = 1_000;
const BATCHES_PER_S = 100;
const PACED_S = 8;
const BURSTS = 8;
const BURST = 100;

export async function run(): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-feed-'));
  const store = await openStore({
    folder,
    key: new Uint8Array(32),
    map_bytes_max: 2 ** 32,
    free_bytes_min: 0,
    commit_steps_max: 256,
    retry_ms: 1_000,
    schema: { version: 1, migrations: [] },
  });
  const clients = fork(fileURLToPath(new URL('feedclients.ts', import.meta.url)));
  try {
    const bare = await bareFanOut(clients);
    return [...(await feeding(store, clients, bare)), { name: 'bare ws to 1,000 clients', value: bare, unit: '/s' }];
  } finally {
    clients.kill();
    await store.close();
    await rm(folder, { recursive: true });
  }
}

async function feeding(store: Store, clients: ChildProcess, bare: number): Promise<Figure[]> {
  const { config } = loadConfig({ environment: { STATE_DIRECTORY: store.folder } });
  const log = { info: () => {}, warn: () => {} };
  const feed = new Feed({ store, log, options: () => ({ ...config.feed, clients_max: CLIENTS, client_max: CLIENTS }) });
  const server = createServer({ shouldUpgradeCallback: (request) => feed.upgrades(request) });
  server.on('upgrade', (request, socket, head) => feed.upgrade(request, socket, head));
  const port = await listening(server);
  try {
    globalThis.gc?.();
    const before = process.memoryUsage.rss();
    await tell(clients, { act: 'connect', port, clients: CLIENTS, cursor: store.journalHead().cursor });
    const paced = await pacedRun(store, clients);
    const burst = await burstRun(store, clients);
    const after = process.memoryUsage.rss();
    return [
      ...paced,
      {
        name: 'feed, deliveries to 1,000 clients, most',
        value: burst,
        unit: '/s',
        floor: bare,
        ratio: burst / bare,
        reach: '≥ 128,000/s',
        met: burst >= 128_000,
      },
      { name: 'feed, memory before any client', value: before / 2 ** 20, unit: 'MiB' },
      { name: 'feed, memory with 1,000 clients', value: after / 2 ** 20, unit: 'MiB' },
    ];
  } finally {
    await feed.close();
    server.close();
    await tell(clients, { act: 'leave' });
  }
}

/** 100 batches a second: do all get everything, how late, and what does it leave of the thread? */
async function pacedRun(store: Store, clients: ChildProcess): Promise<Figure[]> {
  const loop = monitorEventLoopDelay({ resolution: 1 });
  const batches = PACED_S * BATCHES_PER_S;
  const reported = tell(clients, { act: 'expect', cursor: store.journalHead().cursor + batches });
  const busy = performance.eventLoopUtilization();
  const start = performance.now();
  loop.enable();
  for (let i = 0; i < batches; i++) {
    await delay(Math.max(0, start + (i * 1_000) / BATCHES_PER_S - performance.now()));
    void commitBatch(store);
  }
  const report = await reported;
  loop.disable();
  const used = performance.eventLoopUtilization(busy).utilization;
  const seconds = (performance.now() - start) / 1_000;
  const value = report.entries / seconds;
  const p99 = loop.percentile(99) / 1e6;
  const whole = report.entries === batches * CLIENTS && report.wrong === 0;
  return [
    {
      name: `feed, deliveries at ${BATCHES_PER_S} batches/s`,
      value,
      unit: '/s',
      reach: `each of ${CLIENTS * batches} once, in order`,
      met: whole,
    },
    { name: 'feed, commit to client, p50', value: percentile(report.delays_ms, 50), unit: 'ms' },
    { name: 'feed, commit to client, p99', value: percentile(report.delays_ms, 99), unit: 'ms' },
    { name: 'feed, main thread delay p99', value: p99, unit: 'ms', reach: '< 20 ms', met: p99 < 20 },
    { name: 'feed, main thread in use', value: used * 100, unit: '%' },
  ];
}

/** As much as the thread can give: the next burst is committed when the last has arrived. */
async function burstRun(store: Store, clients: ChildProcess): Promise<number> {
  let entries = 0;
  const start = performance.now();
  for (let burst = 0; burst < BURSTS; burst++) {
    const reported = tell(clients, { act: 'expect', cursor: store.journalHead().cursor + BURST });
    for (let i = 0; i < BURST; i++) void commitBatch(store);
    const report = await reported;
    if (report.wrong !== 0) throw new Error('a client missed an entry, or got one twice');
    entries += report.entries;
  }
  return (entries / (performance.now() - start)) * 1_000;
}

let height = 0;

/** As `settleSigned` writes it: ten transactions, one of them refused. */
const entry = () => ({
  height: height++,
  batch_id: `0x${randomBytes(64).toHex()}`,
  leaf_index: height,
  epoch: 1,
  tx_count: 9,
  refused: [{ envelope_id: `0x${randomBytes(32).toHex()}`, code: 12, reason: 'claim_mismatch' }],
});

function commitBatch(store: Store): Promise<unknown> {
  return store.commit((tx) => tx.journal('batch_created', entry(), Date.now()));
}

/** The same bytes to as many clients with nothing around: no store, no cursor, one send each. */
async function bareFanOut(clients: ChildProcess): Promise<number> {
  const sockets = new Set<WebSocket>();
  const server = createServer();
  const wss = new WebSocketServer({ server, perMessageDeflate: false });
  wss.on('connection', (ws) => sockets.add(ws));
  const port = await listening(server);
  await tell(clients, { act: 'connect', port, clients: CLIENTS, cursor: 0 });
  const start = performance.now();
  let cursor = 0;
  for (let burst = 0; burst < BURSTS; burst++) {
    const reported = tell(clients, { act: 'expect', cursor: cursor + BURST });
    for (let i = 0; i < BURST; i++) {
      const data = JSON.stringify({ cursor: ++cursor, type: 'batch_created', at_ms: Date.now(), data: entry() });
      const bytes = Buffer.from(data);
      for (const ws of sockets) ws.send(bytes, { binary: false });
      await new Promise((resolve) => setImmediate(resolve));
    }
    await reported;
  }
  const value = ((cursor * CLIENTS) / (performance.now() - start)) * 1_000;
  for (const ws of sockets) ws.terminate();
  wss.close();
  server.close();
  await tell(clients, { act: 'leave' });
  return value;
}

async function tell(clients: ChildProcess, command: Command): Promise<Report> {
  clients.send(command);
  for (;;) {
    const [report] = (await once(clients, 'message')) as [Report];
    if (report.act === command.act) return report;
  }
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1', 2_048);
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}
