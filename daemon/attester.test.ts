// Which platforms attest what: by `attestation.require`, while both work, one fails, both do, and one comes back; and that
// neither's evidence passes for the other's. Two simulators with roots of their own stand for two platforms.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { keysetDigest, quoteDigest } from '../actors/digest.ts';
import { hex } from '../actors/encoding.ts';
import { attestationOf } from '../actors/redundancy.ts';
import type { Head } from '../actors/seal.ts';
import { judgePlatforms } from '../client/platforms.ts';
import { VerificationPolicy } from '../client/policy.ts';
import type { Require } from '../config/schema.ts';
import { makeEnclave } from '../test/forge.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { Attester } from './attester.ts';
import { Fault } from './fault.ts';
import type { RedundancyWish } from './redundancy.ts';
import { Platform } from './tee/platform.ts';
import { openSimulator, type Simulator } from './tee/simulator.ts';

let folder: string;
let pool: Pool;
const simulators: Simulator[] = [];
const dead = [false, false];
let wish: RedundancyWish;
const { keyset } = await makeEnclave();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-attester-'));
  for (const name of ['one', 'two']) simulators.push(openSimulator(join(folder, name), Date.now));
  pool = createPool({ open_threads: 1, sign_threads: 1, queue_max: 64, task_timeout_ms: 30_000, seal_nice: 0 });
});
afterAll(async () => {
  await pool.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  dead.fill(false);
  wish = { enabled: true, worker_id: 'worker-1', enclave_id: null };
});

function platform(index: 0 | 1, as = simulators[index]!): Platform {
  const provider: Simulator = {
    ...as,
    async quote(report_data) {
      if (!dead[index]) return as.quote(report_data);
      throw new Fault({ code: 'quote_failed', provider: 'simulator', reason: 'dead' });
    },
  };
  const policy = { roots: [as.root], tcb_statuses: ['UpToDate'] };
  return new Platform({
    provider,
    policy,
    production: false,
    pool,
    now: Date.now,
    options: { quote_timeout_ms: 10_000 },
  });
}

function attester(require: Require, two = platform(1)): Attester {
  const options = { quote_lifetime_s: 60, require };
  return new Attester({ primary: platform(0), redundancy: two, wish: () => wish, options, now: Date.now });
}

const keyset_digest = keysetDigest(keyset);
const digest = new Uint8Array(64).fill(5);
const not_after_ms = Date.now() + 60_000;
const seal = (providers: number) => ({ purpose: 'seal', subject: digest, keyset, not_after_ms, providers }) as const;
const BOTH = 3;

/** A seal as a stranger judges its evidence. */
function judge(attestation: Awaited<ReturnType<Attester['attest']>>, providers: number, given = {}) {
  const roots = simulators.map(({ root }) => root.toBase64());
  return judgePlatforms({
    seal: { providers } as Head,
    field: 'seal',
    attestation,
    keyset,
    head_digest: digest,
    keyset_digest,
    policy: VerificationPolicy.parse({ roots, ...given }),
    allow_simulated: true,
    now_ms: Date.now(),
    found: { simulated: null, tcb_status: null },
  });
}

describe('two platforms', () => {
  it('both quote the head, and a stranger finds both right', async () => {
    const both = attester('all');
    expect(both.providers()).toBe(BOTH);
    const attestation = await both.attest(seal(BOTH));
    expect(attestation.phala_redundancy).toMatchObject({
      role: 'quote',
      independent: true,
      worker_id: 'worker-1',
      enclave_id: null,
      simulated: true,
      phala_verification: { verified: true, status: 'UpToDate' },
    });
    expect(judge(attestation, BOTH)).toBeNull();
    expect(judge(attestation, BOTH, { redundancy: 'independent' })).toBeNull();
    expect(both.newest).toBe(attestation);
    expect(both.state).toMatchObject({ require: 'all', degraded: false });
    expect(both.state.platforms.map(({ role, state }) => [role, state])).toEqual([
      ['primary', 'working'],
      ['redundancy', 'working'],
    ]);
  });

  it('that are one machine say so', async () => {
    const one = attester('all', platform(1, simulators[0]));
    const attestation = await one.attest(seal(BOTH));
    expect(attestation.phala_redundancy?.independent).toBe(false);
    expect(judge(attestation, BOTH)).toBeNull();
    expect(judge(attestation, BOTH, { redundancy: 'required' })).toBeNull();
    expect(judge(attestation, BOTH, { redundancy: 'independent' })).toMatchObject({ code: 'redundancy_dependent' });
    const claimed = { ...attestation, phala_redundancy: { ...attestation.phala_redundancy!, independent: true } };
    expect(judge(claimed, BOTH)).toMatchObject({
      code: 'independence_mismatch',
      field: 'attestation.phala_redundancy.independent',
    });
  });

  it("cannot stand in for each other: swapped, shown twice or under other names, they aren't taken", async () => {
    const attestation = await attester('all').attest(seal(BOTH));
    const second = attestation.phala_redundancy!;
    const { phala_redundancy: _, aegis_verification, not_after_ms: __, ...first } = attestation;
    const { role, independent, worker_id, enclave_id } = second;
    const names = { role, independent, worker_id, enclave_id };
    const as = (evidence: typeof first) => ({ ...names, ...evidence, phala_verification: aegis_verification });
    const alone = attestationOf(second, not_after_ms);
    const fields = (code: string, field: string) => ({ code, field });
    const inside = 'attestation.phala_redundancy.report_data';
    expect(judge({ ...alone, phala_redundancy: as(first) }, BOTH)).toMatchObject(
      fields('report_data_mismatch', 'attestation.report_data'),
    );
    expect(judge({ ...attestation, phala_redundancy: as(first) }, BOTH)).toMatchObject(
      fields('report_data_mismatch', inside),
    );
    for (const other of [{ worker_id: 'worker-2' }, { worker_id: null }, { worker_id: null, enclave_id: 'worker-1' }]) {
      const renamed = { ...attestation, phala_redundancy: { ...second, ...other } };
      expect(judge(renamed, BOTH)).toMatchObject(fields('report_data_mismatch', inside));
    }
    const foreign = judge(attestation, BOTH, { roots: [simulators[0]!.root.toBase64()] });
    expect(foreign).toMatchObject(fields('root_untrusted', 'attestation.phala_redundancy.quote'));
  });

  it('quote once for one head, also when its signature is tried again', async () => {
    const both = attester('all');
    const [one, two] = [await both.attest(seal(BOTH)), await both.attest(seal(BOTH))];
    expect(two.quote).toBe(one.quote);
    expect(two.phala_redundancy?.quote).toBe(one.phala_redundancy?.quote);
  });
});

describe('when one fails', () => {
  const failing = async (require: Require, index: 0 | 1) => {
    const one = attester(require);
    dead[index] = true;
    await expect(one.attest(seal(BOTH))).rejects.toMatchObject({ code: 'quote_failed' });
    return one;
  };

  it.each([
    ['all', 0, 3, false],
    ['all', 1, 3, false],
    ['any', 0, 2, true],
    ['any', 1, 1, true],
    ['primary', 0, 3, false],
    ['primary', 1, 1, true],
  ] as const)('under %s, platform %i, the next head names %i', async (require, index, providers, degraded) => {
    const one = await failing(require, index);
    expect(one.providers()).toBe(providers);
    expect(one.state.degraded).toBe(degraded);
    expect(one.state.platforms[index]).toMatchObject({ state: 'failing', reason: expect.stringContaining('dead') });
  });

  it('the second alone stands in the place of the first, as what it is', async () => {
    const one = await failing('any', 0);
    const attestation = await one.attest(seal(2));
    expect(attestation.phala_redundancy).toBeNull();
    expect(judge(attestation, 2)).toBeNull();
    expect(judge(attestation, 2, { redundancy: 'required' })).toMatchObject({
      code: 'redundancy_missing',
      field: 'attestation.phala_redundancy',
    });
    expect(judge(attestation, 1)).toMatchObject({ code: 'report_data_mismatch' });
  });

  it.each([
    ['any', true],
    ['primary', false],
    ['all', false],
  ] as const)('under %s, the keyset is attested all the same: %s', async (require, attested) => {
    const one = attester(require);
    dead[0] = true;
    const asked = one.attest({ purpose: 'keyset', subject: keyset_digest, keyset, not_after_ms });
    if (!attested) return expect(asked).rejects.toMatchObject({ code: 'quote_failed' });
    const statement = { purpose: 'keyset', subject: keyset_digest, keyset_digest, not_after_ms } as const;
    expect((await asked).report_data).toBe(hex(quoteDigest(statement)));
    expect(one.isByPrimary(await asked)).toBe(false);
    dead.fill(false);
    expect(one.isByPrimary(await one.attest(seal(BOTH)))).toBe(true);
  });

  it('both are asked again, and come back by themselves', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    try {
      const one = attester('any');
      dead.fill(true);
      one.start();
      const states = () => one.state.platforms.map(({ state }) => state).join();
      await vi.waitFor(() => expect(states()).toBe('failing,failing'));
      // Nothing is left to fall back to.
      expect(one.providers()).toBe(BOTH);
      dead.fill(false);
      vi.advanceTimersByTime(10_000);
      await vi.waitFor(() => expect(states()).toBe('working,working'));
      expect(one.state.degraded).toBe(false);
      one.stop();
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('the second platform', () => {
  it('is left out when it is not wanted, and counts again when it is', async () => {
    const one = attester('all');
    wish = { enabled: false, worker_id: null, enclave_id: null };
    expect([one.redundant, one.providers()]).toEqual([false, 1]);
    dead[1] = true;
    const attestation = await one.attest(seal(one.providers()));
    expect(attestation.phala_redundancy).toBeNull();
    expect(judge(attestation, 1)).toBeNull();
    wish = { enabled: true, worker_id: null, enclave_id: null };
    expect([one.redundant, one.providers()]).toEqual([true, BOTH]);
  });
});
