// The tally says at any level what looking at every asset would say, whatever was placed and moved; and a store that has none gets it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { type Asset, assetOf, Registration } from '../actors/asset.ts';
import { stateAt } from '../actors/protection.ts';
import { ASSET_STATES, type AssetState } from '../actors/words.ts';
import { settings } from '../test/house.ts';
import { assetStates, placeAsset, placeKey, unplaceAsset } from './assetplaces.ts';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';
import { openStore, type Store } from './store.ts';

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

function open(folder: string, version = SCHEMA_VERSION): Promise<Store> {
  const schema = { version, migrations: MIGRATIONS };
  return openStore({ ...settings(folder).store, folder, key: new Uint8Array(32), schema });
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-places-'));
  folders.push(folder);
  return folder;
}

function file(n: number, risk_threshold: number, state: Asset['state'] = 'Active'): Asset {
  const access_policy = { requires_pqc: false, requires_tee: false, risk_threshold };
  const made = assetOf(Registration.parse({ asset_id: `file-${n}`, asset_type: 'OffChainFile', access_policy }), 0);
  return { ...made, state };
}

/** One by one. */
function counted(assets: Iterable<Asset>, held: number): Record<AssetState, number> {
  const counts = Object.fromEntries(ASSET_STATES.map((state) => [state, 0])) as Record<AssetState, number>;
  for (const { state, access_policy } of assets) counts[stateAt(state, access_policy.risk_threshold, held, null)] += 1;
  return counts;
}

describe('the tally of assets', () => {
  it('is what counting all of them gives, at any level, also within a step', async () => {
    const act = fc.record({
      n: fc.nat(5),
      risk_threshold: fc.constantFrom(0, 1, 4_999, 5_000, 10_000),
      state: fc.constantFrom<Asset['state']>('Active', 'Migrated'),
      gone: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(act, { maxLength: 30 }),
        fc.constantFrom(0, 4_999, 5_000, 10_000),
        async (acts, held) => {
          const store = await open(newFolder());
          const known = new Map<number, Asset>();
          await store.commit((step) => {
            for (const { n, risk_threshold, state, gone } of acts) {
              const before = known.get(n);
              if (before !== undefined) unplaceAsset(step, before);
              known.delete(n);
              if (!gone) {
                known.set(n, file(n, risk_threshold, state));
                placeAsset(step, known.get(n)!);
              }
              expect(assetStates(step, held, null)).toEqual(counted(known.values(), held));
            }
          });
          expect(assetStates(store, held, null)).toEqual(counted(known.values(), held));
          // Of active ones alone: what is migrated already stays so.
          const active = [...known.values()].filter(({ state }) => state === 'Active').length;
          expect(assetStates(store, held, 'Migrating').Migrating).toBe(active);
          await store.close();
        },
      ),
      { numRuns: 40 },
    );
  });

  it('is made for a store from before there was one', async () => {
    const folder = newFolder();
    const before = await open(folder, 2);
    const assets = Array.from({ length: 25_000 }, (_, n) => file(n, n % 3, n % 5 === 0 ? 'Migrated' : 'Active'));
    for (let from = 0; from < assets.length; from += 5_000) {
      await before.commit((step) => {
        for (const asset of assets.slice(from, from + 5_000)) step.put('asset_places', placeKey(asset), {});
      });
    }
    expect(assetStates(before, 0, null)).toEqual(counted([], 0));
    await before.close();
    const after = await open(folder);
    expect(assetStates(after, 1, null)).toEqual(counted(assets, 1));
    await after.close();
  });
});
