import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
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

  it('refuses what is above the bound of its queue', async () => {
    const pool = createPool(OPTIONS);
    const runs = Array.from({ length: 12 }, () => pool.run('sign', []));
    const settled = await Promise.allSettled(runs);
    expect(settled.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(0);
    expect(settled.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(0);
    await pool.close();
  });
});
