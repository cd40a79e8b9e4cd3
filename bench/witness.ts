// What a witness costs, and what evidence costs the main thread. A seal of a sequencer beside a witness in another process is timed
// from its draft to its promise, beside the same of one without; both make the primary's quote. And 20 quotes are made and
// verified while a timer of the main thread is watched, beside the same timer at rest.
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { loadConfig } from '../config/load.ts';
import type { Settings } from '../config/schema.ts';
import { Attester } from '../daemon/attester.ts';
import { startWitness } from '../daemon/demo/child.ts';
import { createSequencer, type Sequencer } from '../daemon/sequencer.ts';
import { Platform } from '../daemon/tee/platform.ts';
import { openSimulator } from '../daemon/tee/simulator.ts';
import { Witnessed } from '../daemon/witnessed.ts';
import { enveloped, journaled, quiet } from '../test/house.ts';
import { createPool } from '../workers/pool.ts';
import { type Figure, median } from './figure.ts';

const SEALS = 12;
const QUOTES = 20;
const ADDED_MS_MAX = 100;
const DELAY_MS_MAX = 20;

export async function run(): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-bench-witness-'));
  try {
    return [...(await sealing(folder)), await quoting(folder)];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function sealing(folder: string): Promise<Figure[]> {
  const rootOf = (name: string) => {
    mkdirSync(join(folder, name));
    return openSimulator(join(folder, name, 'simulator', 'pki'), Date.now).root.toBase64();
  };
  const [primary, second] = [rootOf('primary'), rootOf('witness')];
  rootOf('alone');
  const policy = `[attestation]\npolicy = { roots = ["${primary}"] }\n`;
  const witness = await startWitness(join(folder, 'witness'), join(folder, 'witness.log'), policy);
  try {
    const without = await seals(join(folder, 'alone'), {});
    const attestation = { witness: 'required', witness_url: witness.url, policy: { roots: [second] } } as const;
    const beside = await seals(join(folder, 'primary'), attestation);
    const value = beside - without;
    const reach = `< ${ADDED_MS_MAX} ms`;
    return [
      { name: 'evidence of a seal, alone', value: without, unit: 'ms' },
      {
        name: 'evidence of a seal, beside a witness',
        value: beside,
        unit: 'ms',
        floor: without,
        ratio: beside / without,
      },
      { name: 'a witness adds to a seal', value, unit: 'ms', reach, met: value < ADDED_MS_MAX },
    ];
  } finally {
    await witness.stop();
  }
}

/** Median of what a seal's evidence takes: the head's acknowledgement, where there is a witness, and all quotes. */
async function seals(state_dir: string, attestation: NonNullable<Settings['attestation']>): Promise<number> {
  const spent: number[] = [];
  const { head } = Witnessed.prototype;
  const { attest } = Attester.prototype;
  let heads = 0;
  Witnessed.prototype.head = async function timed(...args) {
    const start = performance.now();
    const acknowledged = await head.apply(this, args);
    heads = performance.now() - start;
    return acknowledged;
  };
  Attester.prototype.attest = async function timed(about) {
    const start = performance.now();
    const attested = await attest.call(this, about);
    if (about.purpose === 'seal') spent.push(heads + performance.now() - start);
    return attested;
  };
  const settings = { daemon: { state_dir }, seal: { interval_ms: 0 }, attestation };
  const { config } = loadConfig({ settings, environment: {} });
  const sequencer = await createSequencer({ config, log: quiet });
  try {
    for (let round = 0; round < SEALS; round++) await sealOne(sequencer);
  } finally {
    await sequencer.close(0);
    Object.assign(Witnessed.prototype, { head });
    Object.assign(Attester.prototype, { attest });
  }
  // The first ones load code.
  return median(spent.slice(2));
}

async function sealOne(sequencer: Sequencer): Promise<void> {
  await sequencer.submitEncrypted(await enveloped(sequencer));
  const height = await sequencer.createBatch();
  await journaled(sequencer, 'seal_created', ({ heights }) => (heights as number[]).includes(height!));
}

/** How late the main thread is while quotes are made and verified, at the 99th percentile. */
async function quoting(folder: string): Promise<Figure> {
  const simulator = openSimulator(join(folder, 'quotes'), Date.now);
  const pool = createPool({ open_threads: 1, sign_threads: 1, queue_max: 64, task_timeout_ms: 60_000, seal_nice: 10 });
  const platform = new Platform({
    provider: simulator,
    policy: { roots: [simulator.root], tcb_statuses: ['UpToDate'] },
    production: false,
    pool,
    options: { quote_timeout_ms: 60_000 },
    now: Date.now,
  });
  try {
    await pool.ready();
    await platform.attest(new Uint8Array(randomBytes(64)));
    const floor = await delayed(() => delay(1_000));
    const value = await delayed(async () => {
      for (let made = 0; made < QUOTES; made++) await platform.attest(new Uint8Array(randomBytes(64)));
    });
    const name = `main thread delay, ${QUOTES} quotes made and verified, p99`;
    return { name, value, unit: 'ms', floor, reach: `< ${DELAY_MS_MAX} ms`, met: value < DELAY_MS_MAX };
  } finally {
    await pool.close();
  }
}

async function delayed(act: () => Promise<unknown>): Promise<number> {
  const monitor = monitorEventLoopDelay({ resolution: 1 });
  monitor.enable();
  await act();
  monitor.disable();
  return monitor.percentile(99) / 1e6;
}
