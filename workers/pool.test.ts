import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readPem, writePem } from '../actors/certificate.ts';
import { HARDWARE_ROOTS } from '../actors/evidence.ts';
import { canonicalSnpReport } from '../actors/snp.ts';
import { createPool, WorkerError } from './pool.ts';

const OPTIONS = { open_threads: 1, sign_threads: 1, queue_max: 2, task_timeout_ms: 30_000, seal_nice: 10 };

describe('a pool', () => {
  // Ending a thread while it loads libsecp256k1 would abort this process, so reaching the end is the assertion.
  it('can be closed at any moment of its start', async () => {
    for (const turns of [0, 1, 10, 100, 1_000]) {
      const pool = createPool(OPTIONS);
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      await pool.close();
      await expect(pool.run('sign', [])).rejects.toBeInstanceOf(WorkerError);
    }
  });

  it('says what went wrong on a thread, and goes on', async () => {
    const pool = createPool(OPTIONS);
    const { privateKey } = generateKeyPairSync('ed25519');
    const task = { digest: new Uint8Array(64), height: 0, chain_id: '1', ml_dsa_87: privateKey, secp256k1: null };
    await expect(pool.run('sign', [task])).rejects.toMatchObject({ name: 'WorkerError', job: 'sign' });
    expect(await pool.run('sign', [])).toEqual([]);
    await pool.close();
  });

  it('verifies evidence on a thread, and gives refusals as values', async () => {
    const file = (name: string) => readFileSync(new URL(`../test/fixtures/tee/snp/${name}`, import.meta.url));
    const chain = ['vcek.pem', 'ask-milan.pem', 'ark-milan.pem'].map((name) => readPem(file(name).toString())[0]!);
    const quote = canonicalSnpReport(new Uint8Array(file('report.bin')));
    const collateral = { certificate_chain: writePem(chain), crl: null };
    const evidence = { quote_type: 'SEV-SNP', quote, event_log: null, collateral } as const;
    const now_ms = Date.parse('2026-07-01T00:00:00Z');
    const policy = { roots: HARDWARE_ROOTS, now_ms, tcb_statuses: ['Unrated'], amd_crl: 'if_present' } as const;
    const pool = createPool(OPTIONS);
    expect(await pool.run('evidence', { evidence, policy })).toMatchObject({ ok: true, simulated: false });
    const strict = { ...policy, amd_crl: 'required' } as const;
    expect(await pool.run('evidence', { evidence, policy: strict })).toMatchObject({ ok: false, code: 'crl_missing' });
    await pool.close();
  });

  it('refuses what is above the bound of its queue', async () => {
    const pool = createPool(OPTIONS);
    const runs = Array.from({ length: 12 }, () => pool.run('sign', []));
    const settled = await Promise.allSettled(runs);
    expect(settled.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(0);
    expect(settled.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(0);
    await pool.close();
  });
});
