// The registry of assets (DESIGN §7): who is registered, under which policy, found by id, by the contract that a transaction
// reaches, and by type and state for pages. The API, the CLI and the pipeline use it. A million of them cost disk and no
// memory: nothing is loaded at the start, and whether an asset is protected follows from one number.
//
// Promises: a privileged act is one step with its entry in the log and in the journal; the indexes agree with the records.
import assert from 'node:assert';
import {
  type Asset,
  type AssetAct,
  actDigest,
  assetOf,
  type PolicyPatch,
  type Protection,
  patched,
  protectionOf,
  type Registration,
  SAME_ADDRESS_MAX,
  touchedOf,
} from '../actors/asset.ts';
import { hex } from '../actors/encoding.ts';
import { holdLevel, type MigratingState, stateAt } from '../actors/protection.ts';
import { ASSET_STATES, ASSET_TYPES, type AssetState, type AssetType } from '../actors/words.ts';
import { assetStates, placeAsset, placeOf, unplaceAsset } from './assetplaces.ts';
import { type FreezeRefusal, freeze, migratingState } from './freeze.ts';
import { appendLog } from './log.ts';
import { putMeta } from './records.ts';
import type { Step } from './runtime.ts';
import type { Reader, Transaction } from './store.ts';

/** `assets`: the asset, and the log entry of the last privileged act on it. */
export interface AssetRecord {
  readonly asset: Asset;
  readonly leaf_index: number;
}

/** `meta` record `assets`. */
export interface AssetsMeta {
  /** The risk score that was heard of last, and the level that protection goes by (protection.ts). */
  readonly score: number;
  readonly held: number;
  /** How many there are of each type. */
  readonly counts: Readonly<Partial<Record<AssetType, number>>>;
}

export const assetsMeta = (reader: Reader): AssetsMeta =>
  (reader.get('meta', 'assets') as AssetsMeta | undefined) ?? { score: 0, held: 0, counts: {} };

export const assetRecord = (reader: Reader, asset_id: string): AssetRecord | undefined =>
  reader.get('assets', asset_id) as AssetRecord | undefined;

/** Every asset at a contract. */
export function assetsAt(reader: Reader, chain_id: string, address: string): Asset[] {
  const found = reader.get('asset_contracts', contractKey(chain_id, address));
  return (found?.ids ?? []).map((id) => {
    const record = assetRecord(reader, id);
    assert(record !== undefined, `the index of contracts names ${id}, which is not there`);
    return record.asset;
  });
}

/** Whether the asset has data that needs its key: removing it would make that unreadable. */
export type HasKey = (reader: Reader, asset_id: string) => boolean;

export type AssetRefusal =
  | FreezeRefusal
  | 'asset_exists'
  | 'asset_not_found'
  | 'asset_frozen'
  | 'address_full'
  | 'asset_has_key';
export type AssetOutcome =
  | { readonly ok: true; readonly record: AssetRecord }
  | { readonly ok: false; readonly code: AssetRefusal };

/**
 * Registers an asset. The same registration again changes nothing and is no error, so that a client that got no answer may
 * ask again.
 */
export function registerAsset(step: Step, registration: Registration, now_ms: number): AssetOutcome {
  const { asset_id } = registration;
  const asset = assetOf(registration, now_ms);
  const known = assetRecord(step, asset_id);
  if (known !== undefined) {
    return isSame(known.asset, asset) ? { ok: true, record: known } : { ok: false, code: 'asset_exists' };
  }
  const frozen = freeze(step);
  if (frozen !== undefined) return { ok: false, code: frozen };
  if (!putContract(step, asset)) return { ok: false, code: 'address_full' };
  return { ok: true, record: record(step, 'registered', asset, now_ms) };
}

function isSame(a: Asset, b: Asset): boolean {
  return a.asset_type === b.asset_type && a.policy_digest === b.policy_digest;
}

/** What is in a migration keeps its policy until that ends (DESIGN §8). */
export function changePolicy(step: Step, asset_id: string, patch: PolicyPatch, now_ms: number): AssetOutcome {
  const known = assetRecord(step, asset_id);
  if (known === undefined) return { ok: false, code: 'asset_not_found' };
  if (known.asset.state !== 'Active') return { ok: false, code: 'asset_frozen' };
  const frozen = freeze(step);
  if (frozen !== undefined) return { ok: false, code: frozen };
  const after = patched(known.asset, patch);
  if (isSame(known.asset, after)) return { ok: true, record: known };
  unplaceAsset(step, known.asset);
  return { ok: true, record: record(step, 'policy', after, now_ms) };
}

/** @param lose_key  the caller knows that what was encrypted for the asset can't be read any more */
export function removeAsset(
  step: Step,
  asset_id: string,
  by: { now_ms: number; hasKey: HasKey; lose_key: boolean },
): AssetOutcome {
  const known = assetRecord(step, asset_id);
  if (known === undefined) return { ok: false, code: 'asset_not_found' };
  const { asset } = known;
  if (asset.state !== 'Active' && asset.state !== 'Migrated') return { ok: false, code: 'asset_frozen' };
  const frozen = freeze(step);
  if (frozen !== undefined) return { ok: false, code: frozen };
  if (!by.lose_key && by.hasKey(step, asset_id)) return { ok: false, code: 'asset_has_key' };
  step.remove('assets', asset_id);
  unplaceAsset(step, asset);
  removeContract(step, asset);
  count(step, asset.asset_type, -1);
  const leaf_index = tell(step, 'removed', asset, undefined, by.now_ms);
  return { ok: true, record: { asset, leaf_index } };
}

/** Writes an asset as a privileged act has made it, with everything that tells of it. */
function record(step: Step, act: AssetAct, asset: Asset, now_ms: number): AssetRecord {
  const leaf_index = tell(step, act, asset, asset, now_ms);
  const made: AssetRecord = { asset, leaf_index };
  step.put('assets', asset.asset_id, made);
  placeAsset(step, asset);
  if (act === 'registered') count(step, asset.asset_type, 1);
  return made;
}

function tell(step: Step, act: AssetAct, asset: Asset, after: Asset | undefined, now_ms: number): number {
  const { asset_id, asset_type } = asset;
  const touched = after && touchedOf(after, stateNow(step, after));
  const digest = hex(actDigest(act, asset_id, touched, now_ms));
  const leaf_index = appendLog(step, 'policy', digest);
  const policy = after && { access_policy: after.access_policy, policy_digest: touched!.policy_digest };
  putMeta(step, 'assets_changed', { leaf_index });
  step.journal(`asset_${act}`, { asset_id, asset_type, ...policy, act_digest: digest, leaf_index }, now_ms);
  return leaf_index;
}

function count(step: Step, type: AssetType, by: 1 | -1): void {
  const { counts, ...rest } = assetsMeta(step);
  step.put('meta', 'assets', { ...rest, counts: { ...counts, [type]: (counts[type] ?? 0) + by } });
}

const contractKey = (chain_id: string, address: string): string => `${chain_id}/${address}`;

/** @returns false when so many are registered at the contract that one transaction could not declare them all */
function putContract(step: Step, { asset_id, chain_id, contract_address }: Asset): boolean {
  if (chain_id === null || contract_address === null) return true;
  const key = contractKey(chain_id, contract_address);
  const ids = step.get('asset_contracts', key)?.ids ?? [];
  if (ids.length >= SAME_ADDRESS_MAX) return false;
  step.put('asset_contracts', key, { ids: [...ids, asset_id].sort() });
  return true;
}

function removeContract(step: Step, { asset_id, chain_id, contract_address }: Asset): void {
  if (chain_id === null || contract_address === null) return;
  const key = contractKey(chain_id, contract_address);
  const ids = (step.get('asset_contracts', key)?.ids ?? []).filter((id) => id !== asset_id);
  if (ids.length === 0) step.remove('asset_contracts', key);
  else step.put('asset_contracts', key, { ids });
}

export function stateNow(reader: Reader, { state, access_policy }: Asset): AssetState {
  return stateAt(state, access_policy.risk_threshold, assetsMeta(reader).held, migratingState(reader));
}

/** @returns undefined when nothing of this id is registered */
export function protection(
  reader: Reader,
  asset_id: string,
  keyEpoch: (reader: Reader, asset_id: string) => number | undefined,
): (Protection & { leaf_index: number }) | undefined {
  const found = assetRecord(reader, asset_id);
  if (found === undefined) return undefined;
  const { asset, leaf_index } = found;
  return { ...protectionOf(asset, stateNow(reader, asset), keyEpoch(reader, asset_id)), leaf_index };
}

/**
 * The risk score moved: protection follows at once, for all assets together. What happened in between (a fall that is too
 * small to release anything) is not told.
 *
 * @returns the level that holds from now on
 */
export function followRisk(step: Transaction, score: number, now_ms: number): number {
  const before = assetsMeta(step);
  const held = holdLevel(before.held, score);
  if (score === before.score && held === before.held) return held;
  step.put('meta', 'assets', { ...before, score, held });
  if (held !== before.held) {
    step.journal('asset_protection', { risk_score: score, level: held, level_before: before.held }, now_ms);
  }
  return held;
}

// Pages. The index is ordered by type, kept state, threshold and id, so that the protected ones are a range of it, too.

const THRESHOLD_END = 10_001;

export interface Page {
  readonly assets: readonly { readonly asset: Asset; readonly state: AssetState }[];
  /** To go on behind the last one; null at the end. */
  readonly next: string | null;
}

/** Pages of at most `limit` assets, by id, or by place where a type or a state is asked for. @param after  `next` of the page before */
export function listAssets(
  reader: Reader,
  asked: {
    type?: AssetType | undefined;
    state?: AssetState | undefined;
    after?: string | undefined;
    limit: number;
  },
): Page {
  const { type, state, after, limit } = asked;
  const { held } = assetsMeta(reader);
  const migrating = migratingState(reader);
  const shown = (asset: Asset) => ({
    asset,
    state: stateAt(asset.state, asset.access_policy.risk_threshold, held, migrating),
  });
  if (type === undefined && state === undefined) {
    const start = after === undefined ? {} : { start: `${after}\0` };
    const found = [...reader.range('assets', { ...start, limit: limit + 1 })];
    const page = found.slice(0, limit).map(([, value]) => (value as AssetRecord).asset);
    return { assets: page.map(shown), next: found.length > limit ? page.at(-1)!.asset_id : null };
  }
  const keys: string[] = [];
  for (const [start, end] of placesOf(type, state, held, migrating)) {
    const from = after === undefined || `${after}\0` < start ? start : `${after}\0`;
    if (from >= end) continue;
    for (const [key] of reader.range('asset_places', { start: from, end, limit: limit + 1 - keys.length }))
      keys.push(key);
    if (keys.length > limit) break;
  }
  const assets = keys.slice(0, limit).map((key) => {
    const found = assetRecord(reader, key.slice(key.lastIndexOf('/') + 1));
    assert(found !== undefined, 'what has a place is registered');
    return shown(found.asset);
  });
  return { assets, next: keys.length > limit ? keys[limit - 1]! : null };
}

/** The parts of the index where assets of this type and state are, in its order. */
function placesOf(
  type: AssetType | undefined,
  state: AssetState | undefined,
  held: number,
  migrating: MigratingState | null,
): [string, string][] {
  const types = type === undefined ? ASSET_TYPES.map((_, i) => i) : [ASSET_TYPES.indexOf(type)];
  return types.flatMap((number): [string, string][] => {
    if (state === undefined) return [[`${number}/`, `${number}0`]];
    if (migrating !== null) return placesWhile(number, state, migrating);
    const kept = state === 'Protected' ? 'Active' : state;
    const low = state === 'Active' ? held + 1 : 0;
    const high = state === 'Protected' ? held + 1 : THRESHOLD_END;
    const place = (threshold: number) => placeOf(number, ASSET_STATES.indexOf(kept), threshold);
    return [[place(Math.min(low, THRESHOLD_END)), place(Math.min(high, THRESHOLD_END))]];
  });
}

/** While a migration runs, none is active or protected: those that are kept as active are where it has got to. */
function placesWhile(type: number, state: AssetState, migrating: MigratingState): [string, string][] {
  const kept = state === migrating ? (['Active', state] as const) : [state];
  return kept
    .filter((each) => (each !== 'Active' && each !== 'Protected') || state === migrating)
    .map((each) => {
      const number = ASSET_STATES.indexOf(each);
      return [placeOf(type, number, 0), placeOf(type, number, THRESHOLD_END)];
    });
}

/** For tests and `check`: every index entry belongs to a record and every record has its entries. */
export function countsAgree(reader: Reader): boolean {
  const { counts } = assetsMeta(reader);
  const sum = (numbers: Record<string, number>) => Object.values(numbers).reduce((total, each) => total + each, 0);
  const total = sum(counts);
  const places = reader.count('asset_places');
  return total === reader.count('assets') && total === places && total === sum(assetStates(reader, 0, null));
}
