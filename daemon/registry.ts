// The assets of a running sequencer: what the API, the library and the demo ask, as calls that validate, commit and tell. The
// decisions are assets.ts, inside the step; the rules are actors/policy.ts. The data key of an asset lies with the wrapped
// secrets (wraps.ts) and goes in the step that removes the asset; what is done with it is assetdata.ts.
import { PolicyPatch, Registration, type RegistrationInput } from '../actors/asset.ts';
import { firstIssue } from './api/input.ts';
import { assetStates } from './assetplaces.ts';
import {
  type AssetRecord,
  type AssetRefusal,
  assetRecord,
  assetsMeta,
  changePolicy,
  followRisk,
  listAssets,
  type Page,
  protection,
  registerAsset,
  removeAsset,
} from './assets.ts';
import { migratingState } from './freeze.ts';
import type { Runtime, Step } from './runtime.ts';
import type { Reader, Store } from './store.ts';
import type { Wraps } from './wraps.ts';

/** The kind of data keys in the room of wrapped secrets. */
export const DATA_KEY = 'asset';

export type Invalid = {
  readonly ok: false;
  readonly code: 'invalid_asset';
  readonly field: string;
  readonly detail: string;
};
export type AssetAnswer =
  | { readonly ok: true; readonly protection: NonNullable<ReturnType<typeof protection>> }
  | { readonly ok: false; readonly code: AssetRefusal }
  | Invalid;

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly wraps: Wraps;
  readonly now: () => number;
  /** The log has an entry more. */
  readonly onChanged: () => void;
}

export class Registry {
  readonly #runtime: Runtime;
  readonly #store: Store;
  readonly #wraps: Wraps;
  readonly #now: () => number;
  readonly #onChanged: () => void;

  constructor({ runtime, store, wraps, now, onChanged }: Modules) {
    this.#runtime = runtime;
    this.#store = store;
    this.#wraps = wraps;
    this.#now = now;
    this.#onChanged = onChanged;
  }

  /** Durable when it resolves. @param input  from whoever: validated here */
  async register(input: RegistrationInput): Promise<AssetAnswer> {
    const parsed = Registration.safeParse(input);
    if (!parsed.success) return { ok: false, code: 'invalid_asset', ...firstIssue(parsed.error) };
    return this.#act((step, now_ms) => registerAsset(step, parsed.data, now_ms));
  }

  async changePolicy(asset_id: string, input: unknown): Promise<AssetAnswer> {
    const parsed = PolicyPatch.safeParse(input);
    if (!parsed.success) return { ok: false, code: 'invalid_asset', ...firstIssue(parsed.error) };
    return this.#act((step, now_ms) => changePolicy(step, asset_id, parsed.data, now_ms));
  }

  /** @param lose_key  data that was encrypted for it can't be read any more, and the caller knows */
  async remove(
    asset_id: string,
    lose_key: boolean,
  ): Promise<{ ok: true; record: AssetRecord } | { ok: false; code: AssetRefusal }> {
    const hasKey = (reader: Reader) => this.#keyEpoch(reader, asset_id) !== undefined;
    const removed = await this.#runtime.commit((step) => {
      const outcome = removeAsset(step, asset_id, { now_ms: this.#now(), hasKey, lose_key });
      if (outcome.ok) this.#wraps.remove(step, DATA_KEY, asset_id);
      return outcome;
    });
    if (removed.ok) this.#onChanged();
    return removed;
  }

  protection(asset_id: string) {
    return protection(this.#store, asset_id, this.#keyEpoch);
  }

  record(asset_id: string): AssetRecord | undefined {
    return assetRecord(this.#store, asset_id);
  }

  list(asked: Parameters<typeof listAssets>[1]): Page {
    return listAssets(this.#store, asked);
  }

  /** How many assets are in each state. */
  get states() {
    return assetStates(this.#store, this.overview.held, migratingState(this.#store));
  }

  /** Level, score and counts. */
  get overview() {
    return assetsMeta(this.#store);
  }

  /** The risk room has a new score: protection follows without waiting for the next batch. @returns the held level */
  followRisk(score: number): Promise<number> {
    return this.#runtime.commit((step) => followRisk(step, score, this.#now()));
  }

  readonly #keyEpoch = (reader: Reader, asset_id: string): number | undefined =>
    this.#wraps.read(reader, DATA_KEY, asset_id)?.epoch;

  async #act(act: (step: Step, now_ms: number) => ReturnType<typeof registerAsset>): Promise<AssetAnswer> {
    const answer = await this.#runtime.commit((step): AssetAnswer => {
      const outcome = act(step, this.#now());
      if (!outcome.ok) return outcome;
      const shown = protection(step, outcome.record.asset.asset_id, this.#keyEpoch);
      return { ok: true, protection: shown! };
    });
    if (answer.ok) this.#onChanged();
    return answer;
  }
}
