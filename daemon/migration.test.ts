// Migrations of state in a whole daemon, over HTTP as the deployment guide writes it: what is frozen, what a batch carries, what
// is refused, and that a rollback gives back exactly what was, by a path of its own.
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { privateKeyToAddress } from 'viem/accounts';
import { describe, expect, it } from 'vitest';
import type { RegistrationInput } from '../actors/asset.ts';
import { digestOfCheckpoint, type Snapshot } from '../actors/checkpoint.ts';
import { CheckpointFile } from '../actors/checkpointfile.ts';
import { verifyCheckpoint } from '../client/checkpoint.ts';
import { DEFAULT_POLICY } from '../client/policy.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { verifyBatch } from '../client/verify.ts';
import { enveloped, type House, journaled, openHouse, quiet, signed } from '../test/house.ts';
import { stateHash } from '../test/statehash.ts';
import type { MigrationStatus } from './api/migration.ts';
import type { AssetRecord } from './assets.ts';
import { PART_ASSETS } from './checkpoints.ts';
import { storeKey } from './keys/keyring.ts';
import { simulatorSource } from './keys/simulator.ts';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';
import { createSequencer } from './sequencer.ts';
import { openStore } from './store.ts';

const FREE = { requires_pqc: false, requires_tee: false, risk_threshold: 10_000 };
const GOLD = `0x${'11'.repeat(20)}` as const;
const TRANSFER = { to: GOLD, data: `0xa9059cbb${'0'.repeat(24)}${'44'.repeat(20)}${'0'.repeat(64)}` } as const;
const token = (asset_id: string, contract_address: string = GOLD): RegistrationInput => ({
  ...{ asset_id, contract_address, access_policy: FREE, asset_type: 'OnChainToken', chain_id: 31_337 },
});
const file = (n: number): RegistrationInput => ({
  ...{ asset_id: `file-${n}`, asset_type: 'OffChainFile', access_policy: FREE },
});
const BY_HAND = { sequencer: { batch_interval_ms: 60_000, batch_size: 50 } };

interface Answer {
  readonly status: number;
  readonly body: MigrationStatus & { code?: string };
}

/** As `curl` sends it. */
async function curl(house: House, method: string, path: string, body?: object): Promise<Answer> {
  const { port } = new URL(urls.get(house) ?? '');
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const headers = body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' };
  const socketPath = sockets.get(house)!;
  const target = method === 'GET' ? { host: '127.0.0.1', port: Number(port) } : { socketPath };
  const request = httpRequest({ ...target, method, path, headers, agent: false }, async (response) => {
    let text = '';
    for await (const chunk of response) text += chunk;
    resolve({ status: response.statusCode!, body: JSON.parse(text) });
  });
  request.on('error', reject);
  request.end(body === undefined ? undefined : JSON.stringify(body));
  return promise;
}
const urls = new Map<House, string>();
const sockets = new Map<House, string>();
async function listening(overrides: Parameters<typeof openHouse>[0] = {}): Promise<House> {
  const house = await openHouse({ ...BY_HAND, ...overrides });
  const at = await house.server.listen();
  urls.set(house, at.url);
  sockets.set(house, at.socket);
  return house;
}

async function sequenced({ sequencer, journaled }: House, ...envelopes: Awaited<ReturnType<typeof enveloped>>[]) {
  for (const envelope of envelopes) expect(await sequencer.submitEncrypted(envelope)).toMatchObject({ ok: true });
  const height = (await sequencer.createBatch())!;
  await journaled('batch_created', (entry) => entry.height === height);
  return sequencer.batch(height)!;
}

describe('a migration, by the lines of the guide', () => {
  it('freezes, marks batches, lets pass whom it lists, and is completed by its checkpoint', async () => {
    await using house = await listening();
    const { sequencer } = house;
    const { keyset } = sequencer;
    for (const each of [token('gold'), file(1)]) await sequencer.registerAsset(each);
    expect((await curl(house, 'GET', '/migration/status')).body).toMatchObject({ running: false, state: 'Active' });

    const raw = await signed({ ...TRANSFER, from: 6 });
    const first = await sequenced(house, await encryptEnvelope({ keyset, raw: await signed() }));
    expect(first.migration_checkpoint).toBeNull();
    const sender = privateKeyToAddress(`0x${'07'.repeat(32)}`);
    const started = await curl(house, 'POST', '/migration/start', { senders: [sender] });
    expect(started).toMatchObject({
      status: 200,
      body: { running: true, state: 'Migrating', checkpoint_id: 'checkpoint_1' },
    });
    expect(started.body.checkpoint).toMatchObject({
      asset_count: 2,
      block_number: 1,
      state_hash: stateHash(sequencer.store),
    });
    expect(await curl(house, 'POST', '/migration/start')).toMatchObject({
      status: 409,
      body: { code: 'migration_running' },
    });

    for (const refused of [
      await sequencer.registerAsset(file(2)),
      await sequencer.assets.changePolicy('gold', { risk_threshold: 7 }),
      await sequencer.assets.remove('gold', true),
    ]) {
      expect(refused).toMatchObject({ ok: false, code: 'migration_running' });
    }
    expect(sequencer.getAssetProtection('gold')).toMatchObject({ migration_state: 'Migrating' });
    const states = (state: 'Active' | 'Migrating') =>
      sequencer.assets.list({ state, limit: 10 }).assets.map(({ asset }) => asset.asset_id);
    expect([states('Active'), states('Migrating')]).toEqual([[], ['gold', 'file-1']]);

    const refs = { keyset, asset_refs: ['gold'] };
    const [listed, other, claimed] = [
      await encryptEnvelope({ ...refs, raw, requires_migration: true }),
      await encryptEnvelope({ ...refs, raw: await signed({ ...TRANSFER, from: 8 }) }),
      await encryptEnvelope({ keyset, raw: await signed({ from: 9 }), requires_migration: true }),
    ];
    const { height } = await sequenced(house, other, claimed, listed);
    await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(height));
    const batch = sequencer.batch(height)!;
    expect(batch.transactions.map(({ envelope_id, sender }) => [envelope_id === undefined, sender])).toEqual([
      [false, sender.toLowerCase()],
    ]);
    expect(batch.refused.map(({ reason }) => reason).sort()).toEqual(['asset_migrating', 'migration_not_listed']);
    expect(batch.asset_protections).toMatchObject([{ asset_id: 'gold', migration_state: 'Migrating' }]);
    expect(batch.migration_checkpoint).toMatchObject({ checkpoint_id: 'checkpoint_1' });
    expect(batch.header.checkpoint_digest).toBe(`0x${digestOfCheckpoint(batch.migration_checkpoint!).toHex()}`);
    const judge = (file: unknown) =>
      verifyBatch(file, { allow_simulated: true, now_ms: Date.now(), policy: DEFAULT_POLICY });
    expect(judge(batch)).toMatchObject({ ok: true });
    const { migration_checkpoint: kept } = batch;
    for (const [change, code] of [
      [null, 'checkpoint_mismatch'],
      [{ ...kept!, asset_count: 3 }, 'checkpoint_mismatch'],
      [{ ...kept!, pqc_signature: null }, 'checkpoint_invalid'],
      [{ ...kept!, pqc_signature: batch.ml_dsa_sig.signature }, 'checkpoint_invalid'],
    ] as const) {
      expect(judge({ ...batch, migration_checkpoint: change })).toMatchObject({ ok: false, code });
    }

    const foreign = { ...kept!, log_id: `0x${'00'.repeat(64)}` };
    expect(await sequencer.completeMigration(foreign)).toMatchObject({ code: 'checkpoint_foreign' });
    expect(await sequencer.completeMigration({ ...kept!, state_hash: `0x${'00'.repeat(64)}` })).toMatchObject({
      code: 'checkpoint_altered',
    });
    expect(await sequencer.completeMigration({ checkpoint_id: 'checkpoint_9' })).toMatchObject({
      code: 'checkpoint_not_found',
    });
    const completed = await curl(house, 'POST', '/migration/complete', { checkpoint_id: 'checkpoint_1' });
    expect(completed).toMatchObject({ status: 200, body: { state: 'Migrated' } });
    await house.journaled('migration_completed');
    expect((await curl(house, 'GET', '/migration/status')).body).toMatchObject({ running: false, stage: 'migrated' });
    expect(sequencer.getAssetProtection('gold')).toMatchObject({ migration_state: 'Migrated' });
    expect(await sequencer.registerAsset(file(2))).toMatchObject({ ok: true });
    expect(sequencer.getAssetProtection('file-2')).toMatchObject({ migration_state: 'Active' });
    expect((await sequenced(house, await enveloped(sequencer))).migration_checkpoint).toBeNull();
  });

  it('is rolled back to the exact state, part by part, with keys and log as they are', async () => {
    await using house = await listening();
    const { sequencer } = house;
    const { store } = sequencer;
    const count = 2 * PART_ASSETS + 3;
    await Promise.all(Array.from({ length: count }, (_, n) => sequencer.registerAsset(file(n))));
    const before = stateHash(store);
    const started = await curl(house, 'POST', '/migration/start');
    const checkpoint_id = started.body.checkpoint_id!;
    expect(started.body).toMatchObject({ state: 'Migrating', checkpoint: { state_hash: before, parts: 3 } });
    const size = store.count('log');
    expect(await curl(house, 'POST', '/migration/rollback', { checkpoint_id })).toMatchObject({ status: 200 });
    await house.journaled('migration_rolled_back', ({ state_hash }) => state_hash === before);
    expect(stateHash(store)).toBe(before);
    expect(store.count('log')).toBe(size + 1);
    expect((await curl(house, 'GET', '/migration/status')).body).toMatchObject({
      running: false,
      stage: 'rolled_back',
    });
    // Nothing has changed, so the next one has the same parts and another digest.
    const again = await curl(house, 'POST', '/migration/start');
    expect(again.body.checkpoint).toMatchObject({ state_hash: before, parts: 3, checkpoint_id: 'checkpoint_0_1' });
    expect(store.count('checkpoint_parts')).toBe(3);
    expect(await curl(house, 'POST', '/migration/complete', { checkpoint_id })).toMatchObject({
      body: { code: 'checkpoint_not_running' },
    });
  });

  it('gives out a checkpoint as a file, whose snapshots are what its hash is over', async () => {
    await using house = await listening();
    for (const each of [token('gold'), file(1)]) await house.sequencer.registerAsset(each);
    const { body } = await curl(house, 'POST', '/migration/start');
    await house.journaled('seal_created', ({ size }) => (size as number) > body.checkpoint!.leaf_index);
    const path = `/migration/checkpoints/${body.checkpoint_id}`;
    const { parts, ...head } = (await curl(house, 'GET', path)).body as unknown as { parts: number };
    const part = (await curl(house, 'GET', `${path}/snapshots?part=0`)).body as unknown as {
      asset_snapshots: Snapshot[];
    };
    expect(parts).toBe(1);
    const whole = CheckpointFile.parse({ ...head, ...part });
    expect(whole.asset_snapshots.map(({ asset_id }) => asset_id)).toEqual(['file-1', 'gold']);
    expect(await curl(house, 'GET', `${path}/snapshots?part=1`)).toMatchObject({ status: 404 });

    const judge = (file: unknown) => verifyCheckpoint(file, { allow_simulated: true, now_ms: Date.now() });
    expect(judge(whole)).toMatchObject({ ok: true, checkpoint_id: body.checkpoint_id, asset_count: 2 });
    const [first, second] = whole.asset_snapshots as [Snapshot, Snapshot];
    const altered: [object, string][] = [
      [{ asset_snapshots: [second, first] }, 'assets_order_invalid'],
      [{ asset_snapshots: [first] }, 'checkpoint_invalid'],
      [{ asset_snapshots: [first, { ...second, state: 'Migrated' }] }, 'checkpoint_mismatch'],
      [{ block_number: 9 }, 'ml_dsa_invalid'],
      [{ epoch: 2 }, 'keyset_mismatch'],
      [{ slh_dsa_sig: null, attestation: null }, 'unsealed'],
      [{ slh_dsa_sig: { ...whole.slh_dsa_sig!, leaf_index: 0 } }, 'inclusion_invalid'],
      [{ slh_dsa_sig: { ...whole.slh_dsa_sig!, ml_dsa_signature: whole.pqc_signature } }, 'seal_ml_dsa_invalid'],
      [{ extra: 1 }, 'malformed'],
    ];
    for (const [change, code] of altered) expect(judge({ ...whole, ...change })).toMatchObject({ ok: false, code });
    expect(verifyCheckpoint(whole, { now_ms: Date.now() })).toMatchObject({ ok: false, code: 'simulated_evidence' });
  });
});

it('is rolled back after a restart, and another reading of the disk has what was there before', async () => {
  await using house = await openHouse(BY_HAND);
  const { sequencer, state_dir } = house;
  const { config } = sequencer;
  const mixed = (n: number) => (n % 2 === 0 ? file(n) : token(`gold-${n}`, `0x${n.toString(16).padStart(40, '0')}`));
  await Promise.all(Array.from({ length: PART_ASSETS + 2 }, (_, n) => sequencer.registerAsset(mixed(n))));
  const before = stateHash(sequencer.store);
  const checkpoint_id = 'checkpoint_0';
  expect(await sequencer.startMigration()).toMatchObject({ ok: true });
  await house.journaled('migration_started', ({ state_hash }) => state_hash === before);
  await sequencer.close();

  const again = await createSequencer({ config, log: quiet });
  try {
    expect(await again.registerAsset(file(9_999))).toMatchObject({ ok: false, code: 'migration_running' });
    expect(await again.migrations.rollback({ checkpoint_id })).toMatchObject({ ok: true });
    await journaled(again, 'migration_rolled_back', ({ state_hash }) => state_hash === before);
  } finally {
    await again.close();
  }
  const key = await storeKey(await simulatorSource(state_dir));
  const schema = { version: SCHEMA_VERSION, migrations: MIGRATIONS };
  const store = await openStore({ folder: join(state_dir, 'store'), key, ...config.store, schema });
  try {
    expect(stateHash(store)).toBe(before);
    const states = [...store.range('assets', { limit: 1_000 })].map(([, value]) => (value as AssetRecord).asset.state);
    expect(states).toEqual(Array(PART_ASSETS + 2).fill('Active'));
  } finally {
    await store.close();
  }
});

it('takes a checkpoint by itself every so many batches, and keeps the snapshots of the newest', async () => {
  await using house = await listening({ migration: { checkpoint_interval: 1, checkpoints_max: 1 } });
  const { sequencer } = house;
  for (let n = 0; n < 3; n++) {
    await sequencer.registerAsset(file(n));
    await sequenced(house, await enveloped(sequencer));
    await house.journaled('checkpoint_created', ({ block_number }) => block_number === n + 1);
  }
  const { body } = await curl(house, 'GET', '/migration/status');
  expect(body.checkpoints.map(({ checkpoint_id, asset_count, parts }) => [checkpoint_id, asset_count, parts])).toEqual([
    ['checkpoint_3', 3, 1],
    ['checkpoint_2', 2, 0],
    ['checkpoint_1', 1, 0],
  ]);
});
