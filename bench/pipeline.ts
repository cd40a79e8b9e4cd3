// The main path as a whole. Admission and latencies: a real daemon process, one client process beside it on the same cores,
// HTTP with keep-alive; latencies are those of the daemon's own journal, at half of the rate that it can hold. The main
// thread's delay: a sequencer in this process at that rate, so that the event loop can be watched while seals are made.
// Floors: one fdatasync, and the bare cryptography of a batch.
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import type { Envelope } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { loadConfig } from '../config/load.ts';
import { type Connection, connect } from '../daemon/cli/connection.ts';
import { steadyCollector } from '../daemon/collector.ts';
import { startDaemon } from '../daemon/demo/child.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';
import { createSequencer, type Sequencer } from '../daemon/sequencer.ts';
import type { Status } from '../daemon/status.ts';
import { type Figure, median, percentile, time } from './figure.ts';

const ADMITTED = 3_000;
const BODY = 64;
const CLIENTS = 8;
const PACED_S = 25;
const WATCHED_S = 10;
/** Envelopes a second: eight batches of 50. */
const PACED_PER_S = 400;
const SEALED_S = 10;
const SEALED_PER_S = 20;
/** Batches in which threads and main thread still compile; a daemon has them once. */
const WARM_UP = 10;

export interface Entry {
  readonly cursor: number;
  readonly type: string;
  readonly at_ms: number;
  readonly data: unknown;
}

export async function run(): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'aegis-bench-'));
  try {
    return [
      ...(await admission(folder)),
      ...(await latency(folder)),
      ...(await mainThread(folder)),
      ...(await sealing(folder)),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function admission(folder: string): Promise<Figure[]> {
  const state_dir = await mkdtemp(join(folder, 'd'));
  const daemon = await startDaemon(state_dir, join(folder, 'daemon.log'), 'rate_limit_per_s = 0\n');
  try {
    const connection = connect({ url: daemon.url, keepAlive: true });
    const { keyset } = await connection.get<{ keyset: Keyset }>('/epochs/1/keyset');
    const bodies = chunks(await encrypted(keyset, ADMITTED), BODY);
    const start = performance.now();
    await Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        for (let body = bodies.pop(); body !== undefined; body = bodies.pop()) {
          const answers = await connection.post<{ status: number }[]>('/transactions', body);
          if (answers.some(({ status }) => status !== 202)) throw new Error('an envelope was not admitted');
        }
      }),
    );
    const seconds = (performance.now() - start) / 1000;
    const value = ADMITTED / seconds;
    const syncs = fdatasync(folder);
    return [
      {
        name: `durable admissions, bodies of ${BODY}`,
        value,
        unit: '/s',
        reach: '≥ 1,500/s (3,000/s next)',
        met: value >= 1500,
      },
      { name: 'one write and fdatasync of 4 KiB', value: syncs, unit: 'ms' },
    ];
  } finally {
    await daemon.kill();
  }
}

async function latency(folder: string): Promise<Figure[]> {
  // From here on this process holds all envelopes at once, and four threads that collect would be in the daemon's way.
  steadyCollector();
  const state_dir = await mkdtemp(join(folder, 'd'));
  const daemon = await startDaemon(state_dir, join(folder, 'daemon.log'), 'rate_limit_per_s = 0\n');
  const connection = connect({ url: daemon.url, keepAlive: true });
  try {
    const { keyset } = await connection.get<{ keyset: Keyset }>('/epochs/1/keyset');
    const envelopes = await encrypted(keyset, PACED_S * PACED_PER_S);
    await pace(envelopes, async (burst) => {
      const answers = await connection.post<{ status: number }[]>('/transactions', burst);
      return answers.every(({ status }) => status === 202);
    });
    const { signed, sealed } = journalLatencies(await sealedJournal(connection));
    const slh = bareSlhDsa();
    const limit = loadConfig().config.seal.interval_ms + 2 * slh;
    const signedP99 = percentile(signed, 99);
    const sealedP99 = percentile(sealed, 99);
    return [
      { name: 'signed after the order is committed, p50', value: median(signed), unit: 'ms' },
      {
        name: 'signed after the order is committed, p99',
        value: signedP99,
        unit: 'ms',
        reach: '< 50 ms',
        met: signedP99 < 50,
      },
      { name: 'sealed after signed, p50', value: median(sealed), unit: 'ms', floor: slh, ratio: median(sealed) / slh },
      {
        name: 'sealed after signed, p99',
        value: sealedP99,
        unit: 'ms',
        floor: slh,
        ratio: sealedP99 / slh,
        reach: `< ${Math.round(limit)} ms (interval + 2 × SLH-DSA)`,
        met: sealedP99 < limit,
      },
    ];
  } finally {
    connection.close();
    await daemon.kill();
  }
}

async function mainThread(folder: string): Promise<Figure[]> {
  await using sequencer = await inProcess(folder);
  const envelopes = await encrypted(sequencer.epoch.keyset.keyset, WATCHED_S * PACED_PER_S);
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  await pace(envelopes, async (burst) => {
    const admissions = await Promise.all(burst.map((envelope) => sequencer.submitEncrypted(envelope)));
    return admissions.every(({ ok }) => ok);
  });
  loop.disable();
  const value = loop.percentile(99) / 1e6;
  const name = 'main thread delay while sealing, p99';
  return [{ name, value, unit: 'ms', floor: 1, reach: '< 20 ms', met: value < 20 }];
}

/** What SLH-DSA costs a batch when batches come at 20 a second: one seal covers all that came since the last. */
async function sealing(folder: string): Promise<Figure[]> {
  await using sequencer = await inProcess(folder);
  const envelopes = await encrypted(sequencer.epoch.keyset.keyset, SEALED_S * SEALED_PER_S);
  const start = performance.now();
  for (const [i, envelope] of envelopes.entries()) {
    await delay(Math.max(0, start + (i * 1000) / SEALED_PER_S - performance.now()));
    await sequencer.submitEncrypted(envelope);
    await sequencer.createBatch();
  }
  await sequencer.finish();
  const entries = [...sequencer.store.range('journal', { limit: 100_000 })].map(([, { type }]) => type);
  const count = (wanted: string) => entries.filter((type) => type === wanted).length;
  const slh = bareSlhDsa();
  const value = (count('seal_created') * slh) / count('batch_created');
  const name = `SLH-DSA per batch at ${SEALED_PER_S} batches/s`;
  return [{ name, value, unit: 'ms', floor: slh, ratio: value / slh, reach: '< 40 ms of one core', met: value < 40 }];
}

/** A sequencer with embedded defaults on a store of its own. */
async function inProcess(folder: string): Promise<Sequencer> {
  const state_dir = await mkdtemp(join(folder, 's'));
  return createSequencer({ settings: { daemon: { state_dir, log_level: 'fatal' } } });
}

/** Bursts of 50, as many a second as the rate asks for. */
async function pace(
  envelopes: readonly Envelope[],
  submit: (burst: readonly Envelope[]) => Promise<boolean>,
): Promise<void> {
  const start = performance.now();
  for (const [i, burst] of chunks(envelopes, 50).entries()) {
    await delay(Math.max(0, start + (i * 50_000) / PACED_PER_S - performance.now()));
    if (!(await submit(burst))) throw new Error('an envelope was not admitted');
  }
}

/** The daemon's journal, once everything is in a batch and a seal covers all of the log. */
export async function sealedJournal(connection: Connection): Promise<Entry[]> {
  for (;;) {
    const { log, sequencer } = await connection.get<Status>('/sequencer/status');
    if (sequencer.mempool_size + sequencer.ordered_queue === 0 && log.size === log.sealed) break;
    await delay(100);
  }
  const entries: Entry[] = [];
  for (;;) {
    const after = entries.at(-1)?.cursor ?? 0;
    const page = await connection.get<{ entries: Entry[] }>(`/feed/entries?after=${after}&limit=1000`);
    if (page.entries.length === 0) return entries;
    entries.push(...page.entries);
  }
}

/** From the journal's own times: of the order's commit, of the signatures, of the seal. */
function journalLatencies(entries: readonly Entry[]): { signed: number[]; sealed: number[] } {
  const ordered = new Map<number, number>();
  const signedAt = new Map<number, number>();
  const signed: number[] = [];
  const sealed: number[] = [];
  for (const { type, at_ms, data } of entries) {
    const { height, heights } = data as { height?: number; heights?: number[] };
    if (type === 'txs_ordered' && !ordered.has(height!)) ordered.set(height!, at_ms);
    if (type === 'batch_created') {
      signedAt.set(height!, at_ms);
      if (height! >= WARM_UP) signed.push(at_ms - ordered.get(height!)!);
    }
    if (type === 'seal_created') for (const one of heights!) sealed.push(at_ms - signedAt.get(one)!);
  }
  return { signed, sealed };
}

async function encrypted(keyset: Keyset, count: number): Promise<Envelope[]> {
  const raws = await signTransactions(count, Number(keyset.chain_id));
  const envelopes: Envelope[] = [];
  for (const raw of raws) envelopes.push(await encryptEnvelope({ keyset, raw }));
  return envelopes;
}

export function bareSlhDsa(): number {
  const { privateKey } = generateKeyPairSync('slh-dsa-sha2-256s');
  const digest = randomBytes(64);
  return median([1, 2, 3].map(() => time(() => sign(null, digest, privateKey))));
}

function fdatasync(folder: string): number {
  const file = openSync(join(folder, 'sync'), 'w');
  const block = Buffer.alloc(4096, 1);
  const one = () => {
    writeSync(file, block);
    fdatasyncSync(file);
  };
  const value = median(Array.from({ length: 50 }, () => time(one)));
  closeSync(file);
  return value;
}

function chunks<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size));
}
