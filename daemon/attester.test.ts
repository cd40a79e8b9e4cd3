import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hex } from '../actors/encoding.ts';
import type { Evidence } from '../actors/evidence.ts';
import { makeEnclave } from '../test/forge.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { Attester } from './attester.ts';
import type { QuoteProvider } from './tee/provider.ts';
import { openSimulator, type Simulator } from './tee/simulator.ts';

let folder: string;
let simulator: Simulator;
let pool: Pool;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-attester-'));
  simulator = openSimulator(join(folder, 'pki'), Date.now);
  pool = createPool({ open_threads: 1, sign_threads: 1, queue_max: 64, task_timeout_ms: 30_000, seal_nice: 0 });
});
afterAll(async () => {
  await pool.close();
  rmSync(folder, { recursive: true });
});

const { keyset } = await makeEnclave();
const about = (purpose: 'seal' | 'keyset', n: number) => ({
  purpose,
  subject: new Uint8Array(64).fill(n),
  keyset,
  not_after_ms: Date.now() + 60_000,
});

const attester = (quote: QuoteProvider['quote'], quote_timeout_ms = 10_000) =>
  new Attester({
    provider: { ...simulator, quote },
    root: simulator.root,
    pool,
    options: { quote_lifetime_s: 60, quote_timeout_ms },
    now: Date.now,
  });

describe('attesting', () => {
  it('lets a seal go before the nonces that wait', async () => {
    const asked: string[] = [];
    const slow = attester((report_data) => {
      asked.push(hex(report_data));
      return simulator.quote(report_data);
    });
    const nonces = [1, 2, 3].map((n) => slow.attest(about('keyset', n)));
    const seal = await slow.attest(about('seal', 9));
    await Promise.all(nonces);
    // The first nonce was on its way already.
    expect(asked.indexOf(seal.report_data)).toBe(1);
    expect(asked.length).toBe(4);
  });

  it('refuses the nonce above its bound, but no seal', async () => {
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const held = attester((report_data) => gate.then(() => simulator.quote(report_data)));
    const first = Array.from({ length: 65 }, (_, n) => held.attest(about('keyset', n)));
    await expect(held.attest(about('keyset', 70))).rejects.toMatchObject({ code: 'quote_busy' });
    const seal = held.attest(about('seal', 71));
    open();
    expect((await seal).simulated).toBe(true);
    await Promise.all(first);
  });

  it('gives up on a platform that hangs, and goes on', async () => {
    let calls = 0;
    const stuck = attester((report_data) => {
      calls += 1;
      return calls === 1 ? new Promise<Evidence>(() => {}) : simulator.quote(report_data);
    }, 50);
    await expect(stuck.attest(about('keyset', 1))).rejects.toMatchObject({ code: 'quote_failed' });
    expect((await stuck.attest(about('keyset', 2))).aegis_verification.verified).toBe(true);
  });

  it('attaches nothing that does not verify', async () => {
    const liar = attester(() => simulator.quote(new Uint8Array(64).fill(7)));
    await expect(liar.attest(about('seal', 1))).rejects.toThrow('report_data');
    expect(liar.newest).toBeUndefined();
  });
});
