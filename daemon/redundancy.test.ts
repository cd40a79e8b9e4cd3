// Two platforms behind a whole sequencer: the simulator, and a guest agent on its socket with another root. Batches are judged
// as a stranger does, while both attest, while one is dead, and after it has come back.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Act } from '../actors/act.ts';
import type { BatchFile } from '../actors/batch.ts';
import { attestationOf } from '../actors/redundancy.ts';
import { VerificationPolicy } from '../client/policy.ts';
import { verifyBatch } from '../client/verify.ts';
import { loadConfig } from '../config/load.ts';
import type { Settings } from '../config/schema.ts';
import { makeAdmin } from '../test/admin.ts';
import { found } from '../test/founded.ts';
import { enveloped, journaled, quiet, settings } from '../test/house.ts';
import { itLong } from '../test/long.ts';
import { createServer } from './api/server.ts';
import { type Agent, startAgent } from './demo/agent.ts';
import { makeAppKeys } from './demo/appkeys.ts';
import { createSequencer, type Sequencer } from './sequencer.ts';
import { openSimulator } from './tee/simulator.ts';

const admin = makeAdmin(1);
const ADMIN = { admin: { keys: [admin.public_key] } };

let folder: string;
let agent: Agent;
let roots: string[];
let open: Sequencer[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-redundancy-'));
  open = [];
  await found(settings(join(folder, 'state'), ADMIN));
  const second = openSimulator(join(folder, 'second'), Date.now);
  const first = openSimulator(join(folder, 'state', 'simulator', 'pki'), Date.now);
  roots = [first, second].map(({ root }) => root.toBase64());
  agent = await startAgent({ socket: join(folder, 'agent'), keys: makeAppKeys(), quote: second.quoteOf });
  const { collateral } = await second.quote(new Uint8Array(64));
  mkdirSync(join(folder, 'collateral'));
  writeFileSync(join(folder, 'collateral', 'tdx-414547495300-platform.json'), JSON.stringify(collateral));
});
afterEach(async () => {
  for (const sequencer of open) await sequencer.close(0);
  await agent[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function start(attestation: Settings['attestation'] = {}): Promise<Sequencer> {
  const { config } = loadConfig({
    settings: {
      ...ADMIN,
      daemon: { state_dir: join(folder, 'state') },
      seal: { interval_ms: 0 },
      attestation: {
        redundancy: 'dstack',
        dstack_socket: agent.socket,
        collateral_dir: join(folder, 'collateral'),
        pccs_url: '',
        quote_timeout_ms: 5_000,
        policy: { roots: [roots[1]!] },
        ...attestation,
      },
    },
    environment: {},
  });
  const fatal = (error: unknown) => {
    throw error;
  };
  const sequencer = await createSequencer({ config, log: quiet, fatal });
  open.push(sequencer);
  return sequencer;
}

/** A transaction's batch, once it is signed. */
async function batch(sequencer: Sequencer): Promise<number> {
  const submitted = await sequencer.submitEncrypted(await enveloped(sequencer));
  if (!submitted.ok) throw new Error(submitted.code);
  const height = (await sequencer.createBatch())!;
  await journaled(sequencer, 'batch_created', (data) => data.height === height);
  return height;
}

async function sealed(sequencer: Sequencer, height: number): Promise<BatchFile> {
  await journaled(sequencer, 'seal_created', ({ heights }) => (heights as number[]).includes(height));
  return sequencer.batch(height)!;
}

const judge = (file: BatchFile, more: object = {}) =>
  verifyBatch(file, {
    policy: VerificationPolicy.parse({ roots, ...more }),
    allow_simulated: true,
    now_ms: Date.now(),
  });
const providersOf = (file: BatchFile) => file.slh_dsa_sig?.seal.providers;
const stateOf = (sequencer: Sequencer) => sequencer.status().attestation.platforms.map(({ state }) => state);

describe('two platforms', () => {
  it('attest every batch, which verifies with both roots, and not with one or with the two swapped', async () => {
    const sequencer = await start();
    const file = await sealed(sequencer, await batch(sequencer));
    expect(providersOf(file)).toBe(3);
    expect(file.attestation?.phala_redundancy).toMatchObject({ role: 'quote', independent: true, worker_id: null });
    expect(file.attestation?.phala_redundancy?.event_log).toContain('compose-hash');
    expect(judge(file)).toMatchObject({ ok: true, simulated: true });
    for (const root of roots)
      expect(judge(file, { roots: [root] })).toMatchObject({ ok: false, code: 'root_untrusted' });

    const { phala_redundancy: second, aegis_verification, not_after_ms, ...first } = file.attestation!;
    const { role, independent, worker_id, enclave_id } = second!;
    const swapped: BatchFile = {
      ...file,
      attestation: {
        ...attestationOf(second!, not_after_ms),
        phala_redundancy: {
          role,
          independent,
          worker_id,
          enclave_id,
          ...first,
          phala_verification: aegis_verification,
        },
      },
    };
    expect(judge(swapped)).toMatchObject({ ok: false, code: 'report_data_mismatch' });
    const alone = { ...file, attestation: { ...file.attestation!, phala_redundancy: null } };
    expect(judge(alone)).toMatchObject({ ok: false, code: 'providers_mismatch' });
    expect(sequencer.status().attestation).toMatchObject({ require: 'all', degraded: false });
    expect(sequencer.ready()).toMatchObject({ ready: true });
  });

  it('under any: a dead one is left out and named, and takes part again when it is back', async () => {
    const sequencer = await start({ require: 'any' });
    await sealed(sequencer, await batch(sequencer));
    await agent.die();
    const degraded = await sealed(sequencer, await batch(sequencer));
    expect(providersOf(degraded)).toBe(1);
    expect(judge(degraded)).toMatchObject({ ok: true });
    await journaled(
      sequencer,
      'attestation_changed',
      ({ role, state }) => role === 'redundancy' && state === 'failing',
    );
    expect(sequencer.status().attestation).toMatchObject({ degraded: true });
    expect(sequencer.ready()).toMatchObject({ ready: true, failing: [{ role: 'redundancy', provider: 'dstack' }] });
    const server = await createServer({ sequencer, log: quiet, version: '0.0.0-test' });
    const authorization = `Bearer ${readFileSync(join(folder, 'state', 'admin.token'), 'utf8').trim()}`;
    const { body } = await server.app.inject({ url: '/metrics', headers: { authorization } });
    expect(body).toContain('aegis_attestation_degraded 1\n');
    expect(body).toContain('aegis_attestation_platform{role="primary",provider="simulator"} 1\n');
    expect(body).toContain('aegis_attestation_platform{role="redundancy",provider="dstack"} 0\n');
    await server.close();

    await agent.rise();
    await journaled(
      sequencer,
      'attestation_changed',
      ({ role, state }) => role === 'redundancy' && state === 'working',
    );
    const whole = await sealed(sequencer, await batch(sequencer));
    expect(providersOf(whole)).toBe(3);
    expect(judge(whole)).toMatchObject({ ok: true });
    expect(stateOf(sequencer)).toEqual(['working', 'working']);
  }, 40_000);

  it('under all: a dead one holds the seals, not the batches, also over a restart, until it is given up', async () => {
    const before = await start();
    await sealed(before, await batch(before));
    await agent.die();
    const height = await batch(before);
    await journaled(before, 'attestation_changed', ({ state }) => state === 'failing');
    expect(before.batch(height)?.slh_dsa_sig).toBeNull();
    await before.close(0);

    const after = await start();
    const later = await batch(after);
    expect(after.batch(height)?.slh_dsa_sig).toBeNull();
    expect(await after.setRedundancy(false)).toBe(true);
    for (const number of [height, later]) {
      const file = await sealed(after, number);
      expect([providersOf(file), judge(file).ok]).toEqual([1, true]);
    }
    expect(stateOf(after)).toHaveLength(1);
  }, 40_000);

  itLong('are switched and named at run time, which outlives a restart', async () => {
    const before = await start();
    expect(await before.setRedundancy(true, 'worker-7', 'enclave-2')).toBe(true);
    const named = await sealed(before, await batch(before));
    expect(named.attestation?.phala_redundancy).toMatchObject({ worker_id: 'worker-7', enclave_id: 'enclave-2' });
    expect(judge(named)).toMatchObject({ ok: true });
    const renamed = structuredClone(named);
    renamed.attestation!.phala_redundancy!.worker_id = 'worker-8';
    const field = 'attestation.phala_redundancy.report_data';
    expect(judge(renamed)).toMatchObject({ ok: false, code: 'report_data_mismatch', field });
    await expect(before.setRedundancy(true, '')).rejects.toThrow('worker_id: expected 1 to 128 bytes');
    await before.setRedundancy(false);
    await before.close();

    const after = await start();
    expect(providersOf(await sealed(after, await batch(after)))).toBe(1);
    await after.close();
    const without = await start({ redundancy: 'off' });
    expect(await without.setRedundancy(true)).toBe(false);
  });

  itLong("are turned off and on again by an admin's order, in the log", async () => {
    const sequencer = await start();
    const order = (act: Act) =>
      sequencer.orders.execute(admin.order(sequencer.epoch.log.log_id, act, { not_after_ms: Date.now() + 60_000 }));
    const off = { type: 'set_redundancy', enabled: false, worker: null, enclave: null } as const;
    expect(await order(off)).toMatchObject({ ok: true });
    expect(providersOf(await sealed(sequencer, await batch(sequencer)))).toBe(1);
    expect(await order({ ...off, enabled: true, worker: 'worker-1' })).toMatchObject({ ok: true });
    const file = await sealed(sequencer, await batch(sequencer));
    expect(file.attestation?.phala_redundancy).toMatchObject({ worker_id: 'worker-1', enclave_id: null });
    expect(judge(file)).toMatchObject({ ok: true });
  });
});

describe('a platform that is dead from the start', () => {
  it('holds up no start, and /ready says why', async () => {
    await agent.die();
    // The store's as well.
    rmSync(join(folder, 'state', 'store'), { recursive: true });
    const sequencer = await start({ primary: 'dstack', redundancy: 'off' });
    await journaled(sequencer, 'attestation_changed', ({ state }) => state === 'failing');
    expect(sequencer.ready()).toMatchObject({
      ready: false,
      reasons: expect.arrayContaining(['not_attested']),
      failing: [
        { role: 'primary', provider: 'dstack', reason: expect.stringContaining('nobody listens on its socket') },
      ],
    });
    const height = await batch(sequencer);
    await agent.rise();
    const file = await sealed(sequencer, height);
    expect(judge(file)).toMatchObject({ ok: true });
    expect(sequencer.attestation?.event_log).toContain('compose-hash');
  }, 40_000);
});
