// A checkpoint of 10,000 assets, taken by a whole sequencer: how long it takes until it is signed, and for how long no asset can be registered
// meanwhile. Floor: hashing the same snapshots and signing once, with nothing read, written or logged.
import { createPrivateKey, randomBytes, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assetOf, Registration, type RegistrationInput } from '../actors/asset.ts';
import { advanced, NO_PROGRESS, snapshotOf, stateHashAt } from '../actors/checkpoint.ts';
import { fromHex } from '../actors/encoding.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { loadConfig } from '../config/load.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';
import { createSequencer, type Sequencer } from '../daemon/sequencer.ts';
import { type Figure, time } from './figure.ts';

const ASSETS = 10_000;
const CHUNK = 1_000;
const TIMEOUT_MS = 60_000;

export async function run(): Promise<Figure[]> {
  const state_dir = mkdtempSync(join(tmpdir(), 'aegis-bench-'));
  const { config } = loadConfig({ environment: { STATE_DIRECTORY: state_dir } });
  const daemon = { ...config.daemon, log_level: 'fatal' as const };
  const migration = { ...config.migration, checkpoint_interval: 1 };
  const sequencer = await createSequencer({ config: { ...config, daemon, migration } });
  try {
    for (let i = 0; i < ASSETS; i += CHUNK) {
      const chunk = Array.from({ length: CHUNK }, (_, n) => sequencer.registerAsset(registration(i + n)));
      if ((await Promise.all(chunk)).some(({ ok }) => !ok)) throw new Error('an asset was not registered');
    }
    const floor = bare();
    const { signed_ms, pause_ms } = await checkpointed(sequencer);
    const name = `checkpoint of ${ASSETS.toLocaleString('en')} assets`;
    return [
      { name, value: signed_ms, unit: 'ms', floor, ratio: signed_ms / floor },
      { name: `${name}, registration rests`, value: pause_ms, unit: 'ms', floor, ratio: pause_ms / floor },
    ];
  } finally {
    await sequencer.close(0);
    rmSync(state_dir, { recursive: true, force: true });
  }
}

const registration = (i: number): RegistrationInput => ({
  ...{ asset_id: `file_${i.toString().padStart(7, '0')}`, asset_type: 'OffChainFile' },
  access_policy: { requires_pqc: true, requires_tee: true, risk_threshold: i % 10_001 },
});

/** Of the same snapshots. */
function bare(): number {
  const key = createPrivateKey({ key: randomBytes(32), format: 'raw-seed', asymmetricKeyType: 'ml-dsa-87' });
  const assets = Array.from({ length: ASSETS }, (_, i) => assetOf(Registration.parse(registration(i)), 0));
  return time(() => {
    const root = stateHashAt(advanced(NO_PROGRESS, assets.map(snapshotOf)));
    sign(null, fromHex(root), key);
  });
}

/** A migration begins with one, and is given up again; then one comes by itself. */
async function checkpointed(sequencer: Sequencer): Promise<{ signed_ms: number; pause_ms: number }> {
  const start = performance.now();
  const started = await sequencer.startMigration();
  if (!started.ok) throw new Error(started.code);
  await sequencer.migrations.left(['preparing'], AbortSignal.timeout(TIMEOUT_MS));
  const signed_ms = performance.now() - start;
  const ended = await sequencer.migrations.rollback({ checkpoint_id: 'checkpoint_0' });
  if (!ended.ok) throw new Error(ended.code);
  await sequencer.migrations.left(['restoring'], AbortSignal.timeout(TIMEOUT_MS));
  return { signed_ms, pause_ms: await paused(sequencer) };
}

/** From the first registration that is refused to the first that is taken again. */
async function paused(sequencer: Sequencer): Promise<number> {
  const [raw] = await signTransactions(1, Number(sequencer.keyset.chain_id));
  await sequencer.submitEncrypted(await encryptEnvelope({ keyset: sequencer.keyset, raw: raw! }));
  await sequencer.createBatch();
  let refused_at: number | undefined;
  const end = performance.now() + TIMEOUT_MS;
  for (let i = ASSETS; performance.now() < end; i++) {
    const { ok } = await sequencer.registerAsset(registration(i));
    if (!ok) refused_at ??= performance.now();
    else if (refused_at !== undefined) return performance.now() - refused_at;
  }
  throw new Error('no checkpoint came by itself');
}

if (import.meta.main) console.table(await run());
