// Signatures in the pool beside node:crypto alone on one thread: a batch's (ML-DSA-87 and ECDSA) and a seal's (SLH-DSA).
import { createSecretKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { loadConfig } from '../config/load.ts';
import type { SignTask } from '../workers/job.ts';
import { createPool } from '../workers/pool.ts';
import { type Figure, median, time } from './figure.ts';

const CHUNK = 20;
const ROUNDS = 15;

export async function run(): Promise<Figure[]> {
  const { config } = loadConfig({ environment: {} });
  const pool = createPool(config.workers);
  try {
    await pool.ready();
    const ml_dsa_87 = generateKeyPairSync('ml-dsa-87').privateKey;
    const slh_dsa_sha2_256s = generateKeyPairSync('slh-dsa-sha2-256s').privateKey;
    const digest = new Uint8Array(randomBytes(64));
    const task = (secp256k1: KeyObject | null): SignTask => ({
      digest,
      height: 1,
      chain_id: '31337',
      ml_dsa_87,
      secp256k1,
    });
    const pooled: number[] = [];
    const hybrid: number[] = [];
    const bare: number[] = [];
    const ecdsaKey = createSecretKey(Uint8Array.of(1, ...randomBytes(31)));
    for (let round = 0; round < ROUNDS; round++) {
      pooled.push(
        await elapsed(() =>
          pool.run(
            'sign',
            Array.from({ length: CHUNK }, () => task(null)),
          ),
        ),
      );
      hybrid.push(
        await elapsed(() =>
          pool.run(
            'sign',
            Array.from({ length: CHUNK }, () => task(ecdsaKey)),
          ),
        ),
      );
      bare.push(
        time(() =>
          Array.from({ length: CHUNK }, () =>
            sign(null, digest, { key: ml_dsa_87, context: Buffer.from('aegis/batch/v1') }),
          ),
        ),
      );
    }
    const [value, both, floor] = [pooled, hybrid, bare].map((times) => median(times) / CHUNK) as [
      number,
      number,
      number,
    ];
    const seals: number[] = [];
    const bareSeals: number[] = [];
    for (let round = 0; round < 3; round++) {
      seals.push(await elapsed(() => pool.run('seal', { digest, ml_dsa_87, slh_dsa_sha2_256s })));
      bareSeals.push(time(() => sign(null, digest, slh_dsa_sha2_256s)));
    }
    const seal = median(seals);
    const bareSeal = median(bareSeals);
    return [
      {
        name: 'ML-DSA-87 signature in the pool',
        value,
        unit: 'ms',
        floor,
        ratio: value / floor,
        reach: '< 1.5 × bare',
        met: value < 1.5 * floor,
      },
      { name: 'ML-DSA-87 and ECDSA in the pool', value: both, unit: 'ms', floor, ratio: both / floor },
      { name: 'seal: SLH-DSA, checked, and ML-DSA', value: seal, unit: 'ms', floor: bareSeal, ratio: seal / bareSeal },
    ];
  } finally {
    await pool.close();
  }
}

async function elapsed(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await act();
  return performance.now() - start;
}
