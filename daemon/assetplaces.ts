// Where assets stand in the store: the index by type, state and threshold that pages are read from, and a tally of how many are kept
// in each state at each threshold. So a scrape that asks how many are protected adds up a row for each threshold in use, and never
// a million assets. Whoever writes an asset's state or policy moves it here, in the same step.
import assert from 'node:assert';
import type { Asset } from '../actors/asset.ts';
import { type MigratingState, stateAt } from '../actors/protection.ts';
import { ASSET_STATES, ASSET_TYPES, type AssetState } from '../actors/words.ts';
import type { Reader, Transaction } from './store.ts';

const THRESHOLD_DIGITS = 5;
/** Above the rows that there can be: every state at every threshold. */
const TALLIES_MAX = 100_000;

type Placed = Pick<Asset, 'asset_type' | 'state' | 'access_policy' | 'asset_id'>;

export function placeAsset(step: Transaction, asset: Placed): void {
  step.put('asset_places', placeKey(asset), {});
  tally(step, asset, 1);
}

export function unplaceAsset(step: Transaction, asset: Placed): void {
  step.remove('asset_places', placeKey(asset));
  tally(step, asset, -1);
}

export const placeKey = ({ asset_type, state, access_policy, asset_id }: Placed): string =>
  placeOf(ASSET_TYPES.indexOf(asset_type), ASSET_STATES.indexOf(state), access_policy.risk_threshold, asset_id);

/** The beginning of a part of the index, where no id is given. */
export function placeOf(type: number, state: number, threshold: number, asset_id = ''): string {
  return `${type}/${tallyOf(state, threshold)}/${asset_id}`;
}

const tallyOf = (state: number, threshold: number): string =>
  `${state}/${String(threshold).padStart(THRESHOLD_DIGITS, '0')}`;

function tally(step: Transaction, { state, access_policy }: Placed, by: 1 | -1): void {
  const key = tallyOf(ASSET_STATES.indexOf(state), access_policy.risk_threshold);
  const count = (step.get('asset_tallies', key)?.count ?? 0) + by;
  assert(count >= 0, 'what is moved was counted');
  if (count === 0) step.remove('asset_tallies', key);
  else step.put('asset_tallies', key, { count });
}

/** How many assets are in each state at this level, and while a migration runs. */
export function assetStates(
  reader: Reader,
  held: number,
  migrating: MigratingState | null,
): Readonly<Record<AssetState, number>> {
  const counts = Object.fromEntries(ASSET_STATES.map((state) => [state, 0])) as Record<AssetState, number>;
  for (const [key, { count }] of reader.range('asset_tallies', { limit: TALLIES_MAX })) {
    const [state, threshold] = key.split('/');
    const kept = ASSET_STATES[Number(state)] as Asset['state'];
    counts[stateAt(kept, Number(threshold), held, migrating)] += count;
  }
  return counts;
}

/** Part of a page of the index at a time. */
const COUNTED_AT_ONCE = 10_000;

/** For a store that has none: what the index comes to. */
export function countPlaces(step: Transaction): void {
  const counts = new Map<string, number>();
  for (let after: string | undefined; ; ) {
    const start = after === undefined ? {} : { start: `${after}\0` };
    const page = [...step.range('asset_places', { ...start, limit: COUNTED_AT_ONCE })];
    for (const [place] of page) {
      const [, state, threshold] = place.split('/');
      const key = `${state}/${threshold}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    if (page.length < COUNTED_AT_ONCE) break;
    after = page.at(-1)![0];
  }
  for (const [key, count] of counts) step.put('asset_tallies', key, { count });
}
