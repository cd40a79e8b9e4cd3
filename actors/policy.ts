// What a policy lets through (DESIGN §7): one pure function for transactions that were opened, and its rules again for the data
// API. Whatever a transaction reaches is judged for each asset that is registered there; the first rule that is broken gives
// the refusal. What the policy can't see (docs/assets.md) it doesn't promise, but what it could see and can't read is refused.
import { keccak_256 } from '@noble/hashes/sha3.js';
import type { Budget } from './abi.ts';
import { parseFunction } from './abi.ts';
import { type Asset, byId, type DataOperation, isReachable } from './asset.ts';
import { type Address, type Reach, reach, WRAPPER_INTERFACE } from './calldata.ts';
import { concat, fromHex, hex } from './encoding.ts';
import type { Scheme } from './envelope.ts';
import { type Interface, interfaceOf, operationOf, STANDARD } from './operation.ts';
import { type MigratingState, stateAt } from './protection.ts';
import type { Refusal } from './refusal.ts';
import { encodeUint, listPrefix } from './rlp.ts';
import type { AssetState } from './words.ts';

/** What the enclave knows while it judges; the same for a whole batch. */
export interface World {
  readonly chain_id: string;
  /** Held level of the risk (protection.ts). */
  readonly held: number;
  /** What active assets are in the migration that runs; null while none does. */
  readonly migrating?: MigratingState | null;
  /** Its newest verified evidence has not ended. */
  readonly attested: boolean;
  find(asset_id: string): Asset | undefined;
  /** All that is registered at an address of this chain. */
  at(address: Address): readonly Asset[];
}

/** An opened transaction, with what its envelope declared. */
export interface Subject {
  readonly sender: Address;
  readonly nonce: bigint;
  readonly to: Address | null;
  readonly data: Uint8Array;
  /** Accounts whose code its EIP-7702 authorizations would change. */
  readonly authorities: readonly Address[];
  readonly scheme: Scheme;
  readonly asset_refs: readonly string[];
  /** It belongs to the running migration, and its sender is listed for it. */
  readonly migration: boolean;
}

export type PolicyRefusal = Extract<
  Refusal,
  | 'asset_undeclared'
  | 'asset_not_touched'
  | 'operation_not_allowed'
  | 'pqc_required'
  | 'attestation_required'
  | 'asset_protected'
  | 'asset_migrating'
  | 'calldata_malformed'
  | 'calldata_too_complex'
>;

export type Verdict =
  | { readonly ok: true; readonly touched: readonly { readonly asset: Asset; readonly state: AssetState }[] }
  | {
      readonly ok: false;
      readonly reason: PolicyRefusal;
      readonly asset_id?: string | undefined;
      readonly operation?: string | undefined;
    };

/** One thing that is about to happen to one asset. */
interface Act {
  readonly asset: Asset;
  readonly operation: string;
  readonly malformed: boolean;
}

/** Judges a transaction. Every asset that it reaches must have been declared, and every declared one be reached. */
export function judge(subject: Subject, world: World): Verdict {
  const { to, data } = subject;
  const found = to === null ? undefined : reach(to, data);
  if (found?.hidden === 'unreadable') return { ok: false, reason: 'calldata_malformed' };
  if (found?.hidden === 'too_complex') return { ok: false, reason: 'calldata_too_complex' };
  const touched = new Map<string, Asset>();
  for (const act of acts(subject, found?.reaches ?? [], found?.budget, world)) {
    const reason = broken(act, subject, world);
    const { asset_id } = act.asset;
    if (reason !== null) return { ok: false, reason, asset_id, operation: act.operation };
    touched.set(asset_id, act.asset);
  }
  const untouched = subject.asset_refs.find((id) => !touched.has(id));
  if (untouched !== undefined) return { ok: false, reason: 'asset_not_touched', asset_id: untouched };
  const assets = [...touched.values()].sort(byId);
  return { ok: true, touched: assets.map((asset) => ({ asset, state: stateOf(asset, world) })) };
}

function* acts(subject: Subject, reaches: readonly Reach[], budget: Budget | undefined, world: World): Generator<Act> {
  for (const each of reaches) {
    for (const asset of world.at(each.to)) {
      const act = actOf(each, asset, budget);
      if (act !== undefined) yield act;
    }
  }
  const whole = (address: Address, operation: string) =>
    world.at(address).map((asset) => ({ asset, operation, malformed: false }));
  if (subject.to === null) yield* whole(createdBy(subject), 'create');
  for (const authority of subject.authorities) yield* whole(authority, 'delegate');
}

/** @returns undefined where nothing happens but what is judged by itself */
function actOf(each: Reach, asset: Asset, budget: Budget | undefined): Act | undefined {
  const { strange } = each;
  if ('operation' in each) return { asset, operation: each.operation, malformed: strange };
  const own = functionsOf(asset);
  const named = operationOf(each.data, [own, STANDARD, WRAPPER_INTERFACE], budget);
  // Unless the asset itself says what its multicall is.
  if (each.transparent && !strange && !isOwn(each.data, own)) return undefined;
  return { asset, operation: named.name, malformed: named.malformed || strange };
}

const isOwn = (data: Uint8Array, own: Interface): boolean => own.has(hex(data.subarray(0, 4)));

/** The first rule that is broken; null while all are kept. */
function broken({ asset, operation, malformed }: Act, subject: Subject, world: World): PolicyRefusal | null {
  if (!subject.asset_refs.includes(asset.asset_id)) return 'asset_undeclared';
  if (malformed) return 'calldata_malformed';
  return rules(asset, operation, { ...world, pqc: subject.scheme === 'x-wing', migration: subject.migration });
}

/** What is the same for a call and for a stream of data. */
function rules(
  asset: Asset,
  operation: string,
  by: Pick<World, 'held' | 'migrating' | 'attested'> & { pqc: boolean; migration: boolean },
): Exclude<PolicyRefusal, `calldata_${string}` | 'asset_undeclared' | 'asset_not_touched'> | null {
  const { allowed_operations, emergency_operations, requires_pqc, requires_tee } = asset.access_policy;
  if (requires_pqc && !by.pqc) return 'pqc_required';
  if (requires_tee && !by.attested) return 'attestation_required';
  if (by.migration) return null;
  const state = stateOf(asset, by);
  if (state === 'Protected') return emergency_operations.includes(operation) ? null : 'asset_protected';
  if (state !== 'Active') return 'asset_migrating';
  return allowed_operations.includes(operation) ? null : 'operation_not_allowed';
}

/** Judges a use of an asset's data key. It comes over the API, not in an envelope, so there is no scheme to ask for. */
export function judgeData(
  asset: Asset,
  operation: DataOperation,
  world: Pick<World, 'held' | 'migrating' | 'attested'>,
): { readonly ok: true } | { readonly ok: false; readonly reason: NonNullable<ReturnType<typeof rules>> } {
  const reason = rules(asset, operation, { ...world, pqc: true, migration: false });
  return reason === null ? { ok: true } : { ok: false, reason };
}

const stateOf = (asset: Asset, { held, migrating = null }: Pick<World, 'held' | 'migrating'>): AssetState =>
  stateAt(asset.state, asset.access_policy.risk_threshold, held, migrating);

/** What ordering may know of an envelope's references before it is opened: those that a transaction can touch at all. */
export function assess(
  asset_refs: readonly string[],
  chain_id: string,
  find: (asset_id: string) => Asset | undefined,
): { requires_pqc: number; requires_tee: number; count: number } {
  const assets = [...new Set(asset_refs)]
    .flatMap((id) => find(id) ?? [])
    .filter((asset) => isReachable(asset, chain_id));
  const those = (key: 'requires_pqc' | 'requires_tee') => assets.filter((asset) => asset.access_policy[key]).length;
  return { requires_pqc: those('requires_pqc'), requires_tee: those('requires_tee'), count: assets.length };
}

/** Yellow Paper §7, EIP-161: the address that a creation of this sender and nonce gets. */
export function createdBy({ sender, nonce }: Pick<Subject, 'sender' | 'nonce'>): Address {
  const number = encodeUint(nonce);
  const items = concat(Uint8Array.of(0x94), fromHex(sender), number);
  return hex(keccak_256(concat(listPrefix(items.length), items)).subarray(12));
}

/** Parsed once for each list of signatures: assets come anew from the store each time. */
const PARSED_MAX = 256;
const parsed = new Map<string, Interface>();

function functionsOf({ abi }: Asset): Interface {
  const key = abi.join(';');
  const known = parsed.get(key);
  if (known !== undefined) return known;
  if (parsed.size >= PARSED_MAX) parsed.clear();
  const functions = interfaceOf(abi.map(parseFunction));
  parsed.set(key, functions);
  return functions;
}
