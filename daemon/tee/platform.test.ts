// One platform: who waits for whom, what a platform that hangs, lies or fails does to the others who ask, and what is kept.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Evidence } from '../../actors/evidence.ts';
import { createPool, type Pool } from '../../workers/pool.ts';
import { Platform, type PlatformState } from './platform.ts';
import type { QuoteProvider } from './provider.ts';
import { openSimulator, type Simulator } from './simulator.ts';

let folder: string;
let simulator: Simulator;
let pool: Pool;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-platform-'));
  simulator = openSimulator(join(folder, 'pki'), Date.now);
  pool = createPool({ open_threads: 1, sign_threads: 1, queue_max: 64, task_timeout_ms: 30_000, seal_nice: 0 });
});
afterAll(async () => {
  await pool.close();
  rmSync(folder, { recursive: true });
});

const data = (n: number) => new Uint8Array(64).fill(n);
let now_ms = Date.UTC(2026, 0, 1);
const changes: [PlatformState['state'], PlatformState['state']][] = [];

const platform = (quote: QuoteProvider['quote'], quote_timeout_ms = 10_000, production = false) =>
  new Platform({
    provider: { ...simulator, quote },
    policy: { roots: [simulator.root], tcb_statuses: ['UpToDate'] },
    production,
    pool,
    options: { quote_timeout_ms },
    now: () => now_ms,
    onChange: ({ state }, before) => changes.push([before, state]),
  });

describe('a platform', () => {
  it('lets a seal go before the nonces that wait', async () => {
    const asked: number[] = [];
    const slow = platform((report_data) => {
      asked.push(report_data[0]!);
      return simulator.quote(report_data);
    });
    const nonces = [1, 2, 3].map((n) => slow.attest(data(n)));
    await slow.attest(data(9), { urgent: true });
    await Promise.all(nonces);
    // The first nonce was on its way already.
    expect(asked).toEqual([1, 9, 2, 3]);
  });

  it('refuses the nonce above its bound, but no seal, and does not fail by that', async () => {
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const held = platform((report_data) => gate.then(() => simulator.quote(report_data)));
    const first = Array.from({ length: 65 }, (_, n) => held.attest(data(n)));
    await expect(held.attest(data(70))).rejects.toMatchObject({ code: 'quote_busy' });
    const seal = held.attest(data(71), { urgent: true });
    open();
    expect((await seal).found.simulated).toBe(true);
    await Promise.all(first);
    expect(held.state.state).toBe('working');
  });

  it('gives up on what hangs, says so, and goes on', async () => {
    let calls = 0;
    changes.length = 0;
    const stuck = platform((report_data) => {
      calls += 1;
      return calls === 1 ? new Promise<Evidence>(() => {}) : simulator.quote(report_data);
    }, 50);
    expect(stuck.state).toEqual({ state: 'unknown', since_ms: 0, reason: null });
    await expect(stuck.attest(data(1))).rejects.toMatchObject({ code: 'quote_failed' });
    expect(stuck.state).toMatchObject({ state: 'failing', since_ms: now_ms });
    expect(stuck.state.reason).toContain('no quote in 50 ms');
    now_ms += 1_000;
    expect((await stuck.attest(data(1))).found.ok).toBe(true);
    expect(stuck.state).toEqual({ state: 'working', since_ms: now_ms, reason: null });
    await stuck.attest(data(2));
    expect(changes).toEqual([
      ['unknown', 'failing'],
      ['failing', 'working'],
    ]);
  });

  it('hands out nothing that does not verify', async () => {
    const liar = platform(() => simulator.quote(data(7)));
    await expect(liar.attest(data(1))).rejects.toThrow('report_data');
    expect(liar.state.state).toBe('failing');
  });

  it('of a simulator attests nothing in production', async () => {
    const real = platform((report_data) => simulator.quote(report_data), 10_000, true);
    await expect(real.attest(data(1))).rejects.toThrow('"production" refuses');
    expect(real.state.state).toBe('failing');
  });

  it('keeps a bounded number of quotes, for a while, and none that failed', async () => {
    const asked: number[] = [];
    const counted = platform((report_data) => {
      asked.push(report_data[0]!);
      return simulator.quote(report_data);
    });
    for (let n = 0; n < 33; n++) await counted.attest(data(n));
    await counted.attest(data(32));
    expect(asked).toHaveLength(33);
    await counted.attest(data(0));
    expect(asked).toHaveLength(34);
    now_ms += 600_000;
    await counted.attest(data(32));
    expect(asked).toHaveLength(35);
  });
});
