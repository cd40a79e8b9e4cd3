// A migration of 100,000 assets in a whole daemon, under load: every part of its checkpoint is there, admission goes on meanwhile, and a rollback
// gives back exactly the state that another computation of the hash finds on the disk.
import { expect, it } from 'vitest';
import { assetOf, Registration } from '../actors/asset.ts';
import { enveloped, openHouse } from '../test/house.ts';
import { stateHash } from '../test/statehash.ts';
import { placeAsset } from './assetplaces.ts';
import { PART_ASSETS } from './checkpoints.ts';

const ASSETS = 100_000;
const CHUNK = 2_000;
const access_policy = { requires_pqc: false, requires_tee: false, risk_threshold: 10_000 };

it('takes a checkpoint of 100,000 assets while it sequences, and rolls back', async () => {
  await using house = await openHouse();
  const { sequencer } = house;
  const { store } = sequencer;
  for (let from = 0; from < ASSETS; from += CHUNK) {
    await store.commit((step) => {
      for (let n = from; n < from + CHUNK; n++) {
        const asset_id = `file-${String(n).padStart(6, '0')}`;
        const asset = assetOf(Registration.parse({ asset_id, asset_type: 'OffChainFile', access_policy }), 0);
        step.put('assets', asset_id, { asset, leaf_index: 0 });
        placeAsset(step, asset);
      }
    });
  }
  const before = stateHash(store);
  expect(await sequencer.startMigration()).toMatchObject({ ok: true });
  // The checkpoint goes on part by part: batches come and are sealed in between.
  const admission = await sequencer.submitEncrypted(await enveloped(sequencer));
  expect(admission).toMatchObject({ ok: true });
  await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(0));
  await house.journaled('migration_started', ({ state_hash, asset_count }) => {
    expect(asset_count).toBe(ASSETS);
    return state_hash === before;
  });
  expect(store.count('checkpoint_parts')).toBe(Math.ceil(ASSETS / PART_ASSETS));
  expect(await sequencer.migrations.rollback({ checkpoint_id: 'checkpoint_0' })).toMatchObject({ ok: true });
  await house.journaled('migration_rolled_back', ({ state_hash }) => state_hash === before);
  expect(stateHash(store)).toBe(before);
});
