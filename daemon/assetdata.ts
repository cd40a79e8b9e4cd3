// The data of assets (DESIGN §7): who may use a data key, and the key itself, which is drawn when it is first needed, lies
// wrapped by an epoch (wraps.ts) and is in the clear for one derivation. The API streams through here; policy, risk and
// attestation count as they do for transactions, and so does what a token's role was granted.

import type { KeyObject } from 'node:crypto';
import { randomFillSync } from 'node:crypto';
import type { Asset, DataOperation } from '../actors/asset.ts';
import { judgeData } from '../actors/policy.ts';
import { assetRecord, assetsMeta } from './assets.ts';
import { headerTrouble, makeHeader, SALT_BYTES, StreamError, streamKey } from './datastream.ts';
import type { Epochs } from './epochs.ts';
import { Fault } from './fault.ts';
import { migratingState } from './freeze.ts';
import { offHeap } from './keys/secret.ts';
import { meta } from './records.ts';
import { DATA_KEY } from './registry.ts';
import type { Runtime } from './runtime.ts';
import type { Store } from './store.ts';
import { nameOf, type Wraps } from './wraps.ts';

export type DataRefusal =
  | 'asset_not_found'
  | 'grant_missing'
  | 'operation_not_allowed'
  | 'asset_protected'
  | 'asset_frozen'
  | 'evidence_missing'
  | 'data_key_missing'
  | 'data_key_retired';

export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly code: DataRefusal };

/** What a policy refuses, in the words of the API. */
const REFUSED = {
  operation_not_allowed: 'operation_not_allowed',
  asset_protected: 'asset_protected',
  asset_migrating: 'asset_frozen',
  attestation_required: 'evidence_missing',
  // Over the API nothing comes under a scheme.
  pqc_required: 'operation_not_allowed',
} as const;

const KEY_BYTES = 32;

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly wraps: Wraps;
  readonly epochs: Epochs;
  /** There is evidence that verified and has not ended. */
  readonly attested: () => boolean;
}

export class AssetData {
  readonly #modules: Modules;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** Whether this role may do this to this asset now. */
  permit(asset_id: string, operation: DataOperation, role: string): Outcome<Asset> {
    const { store, attested } = this.#modules;
    const asset = assetRecord(store, asset_id)?.asset;
    if (asset === undefined) return { ok: false, code: 'asset_not_found' };
    const granted = role === 'admin' ? [operation] : (asset.grants[role as keyof Asset['grants']] ?? []);
    if (!granted.includes(operation)) return { ok: false, code: 'grant_missing' };
    const judged = judgeData(asset, operation, {
      ...{ held: assetsMeta(store).held, migrating: migratingState(store), attested: attested() },
    });
    return judged.ok ? { ok: true, value: asset } : { ok: false, code: REFUSED[judged.reason] };
  }

  /** A header and the key of a new stream. Draws the asset's data key, if it has none; durable when it resolves. */
  async begin(asset_id: string): Promise<Outcome<{ header: Uint8Array; key: KeyObject }>> {
    const { store, wraps } = this.#modules;
    if (wraps.read(store, DATA_KEY, asset_id) === undefined && !(await this.#draw(asset_id))) {
      return { ok: false, code: 'asset_not_found' };
    }
    const header = makeHeader(asset_id, randomFillSync(new Uint8Array(SALT_BYTES)));
    const key = await this.#keyOf(asset_id, header);
    return key.ok ? { ok: true, value: { header, key: key.value } } : key;
  }

  /**
   * The key of a stream that begins with this header.
   *
   * @throws {StreamError} when the header is of no stream of this asset
   */
  resume(asset_id: string, header: Uint8Array): Promise<Outcome<KeyObject>> {
    const trouble = headerTrouble(header, asset_id);
    if (trouble !== null) throw new StreamError(trouble);
    return this.#keyOf(asset_id, header);
  }

  /** Moves the data key to the active epoch. @returns from where to where; the same where it was there already */
  async rewrap(asset_id: string): Promise<Outcome<{ from_epoch: number; epoch: number }>> {
    const { runtime, store, wraps, epochs } = this.#modules;
    const held = wraps.read(store, DATA_KEY, asset_id);
    if (held === undefined) return { ok: false, code: 'data_key_missing' };
    const { active } = meta(store, 'epoch');
    if (held.epoch === active) return { ok: true, value: { from_epoch: active, epoch: active } };
    const [from, to] = [epochs.keysOf(held.epoch), epochs.keysOf(active)];
    if (from === undefined || to === undefined) return { ok: false, code: 'data_key_retired' };
    const [wrapped] = await wraps.kindOf(DATA_KEY).rewrap([{ id: asset_id, wrapped: held.wrapped }], from, to);
    if (wrapped === null || wrapped === undefined) throw unopenable(asset_id);
    const row = { name: nameOf(DATA_KEY, asset_id), held, wrapped };
    await runtime.commit((step) => wraps.move(step, [row], active));
    // Another one may have moved it meanwhile, to here or further.
    return {
      ok: true,
      value: { from_epoch: held.epoch, epoch: wraps.read(store, DATA_KEY, asset_id)?.epoch ?? active },
    };
  }

  async #keyOf(asset_id: string, header: Uint8Array): Promise<Outcome<KeyObject>> {
    const { store, wraps } = this.#modules;
    const used = await wraps.use(store, DATA_KEY, asset_id, (secret) => streamKey(secret, header));
    if (used.ok) return { ok: true, value: used.result };
    if (used.code === 'wrap_not_found') return { ok: false, code: 'data_key_missing' };
    if (used.code === 'epoch_retired') return { ok: false, code: 'data_key_retired' };
    throw unopenable(asset_id);
  }

  /** @returns whether the asset is still there; of two that draw at once, one key is kept */
  async #draw(asset_id: string): Promise<boolean> {
    const { runtime, wraps } = this.#modules;
    const secret = randomFillSync(offHeap(KEY_BYTES));
    try {
      return await runtime.commit((step) => {
        if (assetRecord(step, asset_id) === undefined) return false;
        if (wraps.read(step, DATA_KEY, asset_id) === undefined) wraps.create(step, DATA_KEY, asset_id, secret);
        return true;
      });
    } finally {
      secret.fill(0);
    }
  }
}

function unopenable(asset_id: string): Fault {
  return new Fault({ code: 'store_corrupt', reason: 'a data key does not open', table: 'wraps', key: asset_id });
}
