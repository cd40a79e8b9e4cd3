// The drills' largest numbers, and memory over time. `AEGIS_FLAT_MINUTES` shortens the hour.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../daemon/cli/connection.ts';
import { Load } from '../daemon/demo/load.ts';
import { idleClients } from './crowd.ts';
import { Drilled } from './drilled.ts';

/** What an hour may add once it runs: what is kept for ever lies on the disk. */
const GROWTH_MIB_PER_HOUR = 64;
/** Half of what two small cores sequence without falling behind. */
const LOAD = { body_envelopes: 25, pause_ms: 200 };
const SAMPLES = 60;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-drills-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What the process has for itself; pages of the store's file are the kernel's, which takes them back when it needs them. */
const ownMebibytes = (pid: number): number => status(pid, 'RssAnon');
const mappedMebibytes = (pid: number): number => status(pid, 'RssFile');

function status(pid: number, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(found![1]) / 1024;
}

it.runIf(process.platform === 'linux')('ten thousand that follow the feed hear each entry', async () => {
  const toml = `[api]
listen = "127.0.0.1:0"
connections_max = 12000
[feed]
clients_max = 10000
`;
  await using daemon = await Drilled.start({ state_dir: join(folder, 'crowd'), toml });
  const before = ownMebibytes(daemon.pid);
  await idleClients(daemon, 10_000);
  const each_kib = ((daemon.peakMebibytes - before) * 1024) / 10_000;
  process.stdout.write(`10,000 idle feed clients: ${each_kib.toFixed(1)} KiB each\n`);
  expect(each_kib).toBeLessThan(64);
  expect(await daemon.lost()).toEqual([]);
  expect(await daemon.stop()).toBe(0);
});

it.runIf(process.platform === 'linux')('memory is flat at half load', async () => {
  const minutes = Number(process.env.AEGIS_FLAT_MINUTES ?? 60);
  const toml = '[api]\nlisten = "127.0.0.1:0"\nrate_limit_per_s = 0\n';
  await using daemon = await Drilled.start({ state_dir: join(folder, 'flat'), toml });
  const { keyset } = await connect({ url: daemon.url }).get<{ keyset: never }>('/epochs/1/keyset');
  const load = new Load({ url: daemon.url, keyset, ...LOAD });
  const samples: [minute: number, mebibytes: number][] = [];
  // The first quarter fills caches and pools.
  const warm_up = SAMPLES / 4;
  for (let i = 0; i < SAMPLES; i++) {
    await delay((minutes * 60_000) / SAMPLES);
    if (i >= warm_up) samples.push([((i + 1) * minutes) / SAMPLES, ownMebibytes(daemon.pid)]);
  }
  await load.stop();
  const perHour = 60 * slope(samples);
  const [from, to] = [samples[0]![1], samples.at(-1)![1]];
  process.stdout.write(
    `memory over ${minutes} min, ${load.receipts.size} envelopes: ${from.toFixed(0)} to ${to.toFixed(0)} MiB, slope ${perHour.toFixed(1)} MiB/h; ${mappedMebibytes(daemon.pid).toFixed(0)} MiB of files are mapped\n`,
  );
  expect(load.refused).toEqual([]);
  expect(load.receipts.size).toBeGreaterThan(minutes * 60 * 10);
  // A short run is noise of the collector, and prints alone.
  if (minutes >= 30) expect(perHour).toBeLessThan(GROWTH_MIB_PER_HOUR);
});

/** Least squares. */
function slope(samples: readonly (readonly [number, number])[]): number {
  const mean = (at: 0 | 1) => samples.reduce((sum, sample) => sum + sample[at], 0) / samples.length;
  const [x, y] = [mean(0), mean(1)];
  const over = samples.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0);
  return over / samples.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
}
