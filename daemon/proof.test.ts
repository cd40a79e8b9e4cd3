// A daemon that computes wrongly doesn't start, whichever way it was broken; and one with the other engine is a whole daemon.
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromHex, hex } from '../actors/encoding.ts';
import { DEFAULT_POLICY } from '../client/policy.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { verifyBatch } from '../client/verify.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { openssl } from '../workers/engine.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { primitives } from '../workers/selftest.ts';
import { slhDsaKey } from '../workers/slhdsa.ts';
import { deriveEpoch, type EpochKeys } from './keys/keyring.ts';
import { proveCrypto, proveKeys } from './proof.ts';
import { createSequencer } from './sequencer.ts';

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const folder = mkdtempSync(join(tmpdir(), 'aegis-proof-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('cryptography', () => {
  it('that answers rightly passes, with either engine', async () => {
    await expect(proveCrypto('openssl')).resolves.toBe(undefined);
    await expect(proveCrypto('noble')).resolves.toBe(undefined);
  });

  it('that is broken is a fault which names it', async () => {
    const broken = { ...primitives(openssl), keccak256: () => new Uint8Array(32), openEcies: () => null };
    await expect(proveCrypto('openssl', broken)).rejects.toMatchObject({
      code: 'self_test_failed',
      detail: { engine: 'openssl', primitives: ['Keccak-256', 'ECIES'] },
      message: expect.stringContaining('Keccak-256, ECIES gave wrong answers (signing.engine = "openssl")'),
    });
  });

  // The whole process, with one function of node:crypto replaced before anything of ours is loaded.
  it.each([
    ['ML-DSA-87', 'crypto.verify = () => true;'],
    ['HKDF-SHA-512', 'const { hkdfSync } = crypto; crypto.hkdfSync = (d, k, s, i, n) => hkdfSync(d, k, s, "x", n);'],
  ])('keeps the daemon from starting: %s', async (primitive, patch) => {
    const state_dir = join(folder, primitive);
    const config = join(folder, `${primitive}.toml`);
    const preload = join(folder, `${primitive}.mjs`);
    writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(state_dir)}\n[api]\nlisten = "127.0.0.1:0"\n`);
    const imports = "import crypto from 'node:crypto';\nimport { syncBuiltinESMExports } from 'node:module';\n";
    writeFileSync(preload, `${imports}${patch}\nsyncBuiltinESMExports();\n`);
    const main = join(import.meta.dirname, 'main.ts');
    const run = promisify(execFile)(process.execPath, ['--import', preload, main, 'start', '--config', config]);
    await expect(run).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/The start-up self-test failed/),
    });
    await expect(run).rejects.toMatchObject({ stderr: expect.stringContaining(primitive) });
    // Before any key: not even the root of the simulator was made.
    expect(existsSync(state_dir) ? readdirSync(state_dir, { recursive: true }) : []).toEqual([]);
  });
});

describe('new keys', () => {
  let keys: EpochKeys;
  let other: EpochKeys;
  let pool: Pool;
  beforeAll(async () => {
    const source = (fill: number) => ({
      name: 'simulator' as const,
      material: async () => new Uint8Array(32).fill(fill),
    });
    keys = await deriveEpoch(source(1), 1, true, slhDsaKey);
    other = await deriveEpoch(source(2), 1, true, slhDsaKey);
    pool = createPool({ open_threads: 1, sign_threads: 1, queue_max: 8, task_timeout_ms: 30_000, seal_nice: 0 });
  });
  afterAll(() => pool?.close());

  it('that are pairs pass, with and without ECDSA', async () => {
    await expect(proveKeys(keys, pool)).resolves.toBe(undefined);
    const without = { ...keys, secp256k1: null, public: { ...keys.public, secp256k1: null } };
    await expect(proveKeys(without, pool)).resolves.toBe(undefined);
  });

  it.each([
    ['Ed25519', (): Partial<EpochKeys> => ({ receipt: other.receipt })],
    ['X-Wing', () => ({ x_wing: { ...keys.x_wing, mlkem: other.x_wing.mlkem } })],
    ['X-Wing', () => ({ x_wing: { ...keys.x_wing, publicX25519: other.x_wing.publicX25519 } })],
    ['ECDSA-secp256k1', () => ({ secp256k1: other.secp256k1 })],
    ['ECDSA-secp256k1', () => ({ secp256k1: null })],
  ])('of which the halves of %s are strangers are a fault', async (primitive, change) => {
    await expect(proveKeys({ ...keys, ...change() }, pool)).rejects.toMatchObject({
      code: 'self_test_failed',
      detail: { primitives: [primitive] },
    });
  });

  it('of another kind are a fault of the thread', async () => {
    const ml_dsa_87 = generateKeyPairSync('ml-dsa-44').privateKey;
    await expect(proveKeys({ ...keys, ml_dsa_87 }, pool)).rejects.toMatchObject({ code: 'worker_failed' });
  });
});

describe('the engine', () => {
  const start = (engine: Config['signing']['engine']) => {
    const { config } = loadConfig({ environment: { STATE_DIRECTORY: join(folder, 'engines') } });
    const seal = { interval_ms: 0 };
    const sequencer = { ...config.sequencer, batch_interval_ms: 60_000 };
    const fatal = (error: unknown) => {
      throw error;
    };
    return createSequencer({ config: { ...config, sequencer, seal, signing: { engine } }, log: quiet, fatal });
  };

  it('can be changed between two starts: what either signs and seals, every verifier accepts', async () => {
    for (const [height, engine] of (['openssl', 'noble'] as const).entries()) {
      await using sequencer = await start(engine);
      const { keyset } = sequencer.epoch.keyset;
      const raw = await signTransfer(height);
      const envelope = await encryptEnvelope({ keyset, raw });
      expect(await sequencer.submitEncrypted(envelope)).toMatchObject({ ok: true });
      expect(await sequencer.createBatch()).toBe(height);
      expect(await sequencer.finish(60_000)).toBe(true);
      const options = { policy: DEFAULT_POLICY, allow_simulated: true, now_ms: Date.now() };
      const verdict = verifyBatch(JSON.parse(JSON.stringify(sequencer.batch(height))), options);
      expect(verdict).toMatchObject({ ok: true, height });
    }
  });
});

async function signTransfer(nonce: number): Promise<Uint8Array> {
  const to = '0x000000000000000000000000000000000000dEaD' as const;
  const fees = { gas: 21_000n, maxFeePerGas: 10n ** 12n, maxPriorityFeePerGas: 10n ** 9n };
  const wallet = privateKeyToAccount(hex(new Uint8Array(32).fill(7)));
  return fromHex(await wallet.signTransaction({ type: 'eip1559', chainId: 31_337, nonce, to, ...fees }));
}
