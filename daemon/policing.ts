// Asset policies in the way of a transaction (DESIGN §3 "police"): after opening, what a policy does not let through is refused
// with its reason, and a batch remembers which assets it touched. A decision over records, inside the step that settles the
// opening, so that the policies which judged are those of that commit. The rules are actors/policy.ts.
import assert from 'node:assert';
import { type Asset, byId, type Touched, touchedOf } from '../actors/asset.ts';
import type { Address } from '../actors/calldata.ts';
import type { AssessedAssets } from '../actors/ordering.ts';
import { assess, judge, type World } from '../actors/policy.ts';
import { assetRecord, assetsAt, assetsMeta } from './assets.ts';
import { migratingState, newestMigration } from './freeze.ts';
import { envelopeRecord, type OpenedRecord } from './records.ts';
import type { Step } from './runtime.ts';
import type { Reader } from './store.ts';

/** What policies look at and the record of a batch does not keep: `raw` has it. */
export interface OpenedCall {
  readonly to: Address | null;
  readonly data: Uint8Array;
  /** Accounts that its EIP-7702 authorizations give other code. */
  readonly authorities: readonly Address[];
}

export type Opened = OpenedRecord & { readonly call?: OpenedCall };

export interface Policed {
  readonly outcome: OpenedRecord;
  readonly touched: readonly Touched[];
}

/**
 * Judges what was opened.
 *
 * @param by.envelope_ids  of the outcomes
 * @param by.risk_score    that ordered the batch
 */
export function police(
  step: Step,
  outcomes: readonly Opened[],
  by: {
    envelope_ids: readonly string[];
    chain_id: string;
    risk_score: number;
    attested: boolean;
  },
): Policed[] {
  // A score that ordered the batch protects, too, even where it has fallen since.
  const held = Math.max(assetsMeta(step).held, by.risk_score);
  const world = worldOf(step, { ...by, held });
  const running = newestMigration(step);
  const senders = running?.state === 'migrating' ? running.senders : undefined;
  return outcomes.map(({ call, ...outcome }, i) => {
    if (!outcome.ok) return { outcome, touched: [] };
    const { scheme, asset_refs, requires_migration } = envelopeRecord(step, by.envelope_ids[i]!)!;
    // The claim has brought it forward, so it does not pay for whom the migration does not list.
    const migration = requires_migration && senders !== undefined;
    if (migration && !senders.includes(outcome.sender)) {
      return { outcome: { ok: false, reason: 'migration_not_listed' }, touched: [] };
    }
    if (asset_refs.length === 0 && step.count('assets') === 0) return { outcome, touched: [] };
    assert(call !== undefined, 'what was opened in this process can be judged');
    const { sender, nonce } = outcome;
    const subject = { ...call, sender: sender as Address, nonce: BigInt(nonce), scheme, asset_refs, migration };
    const verdict = judge(subject, world);
    if (!verdict.ok) return { outcome: { ok: false, reason: verdict.reason }, touched: [] };
    return { outcome, touched: verdict.touched.map(({ asset, state }) => touchedOf(asset, state)) };
  });
}

/** Each asset once, as it was touched last, sorted by id. */
export function joined(...parts: readonly (readonly Touched[])[]): Touched[] {
  return [...new Map(parts.flat().map((each) => [each.asset_id, each])).values()].sort(byId);
}

/** The registry as policies see it; what was read once is kept for the step. */
function worldOf(reader: Reader, by: Pick<World, 'chain_id' | 'held' | 'attested'>): World {
  const at = new Map<Address, readonly Asset[]>();
  return {
    chain_id: by.chain_id,
    held: by.held,
    migrating: migratingState(reader),
    attested: by.attested,
    find: (id) => assetRecord(reader, id)?.asset,
    at(address) {
      const known = at.get(address);
      if (known !== undefined) return known;
      const found = assetsAt(reader, by.chain_id, address);
      at.set(address, found);
      return found;
    },
  };
}

/** What ordering goes by, before anything is opened: only what is registered here counts, and each asset once. */
export function assessed(reader: Reader, asset_refs: readonly string[], chain_id: string): AssessedAssets {
  const find = (id: string) => assetRecord(reader, id)?.asset;
  const { count, ...requirements } = assess(asset_refs, chain_id, find);
  return { ...requirements, risk: count === 0 ? 0 : assetsMeta(reader).score };
}
