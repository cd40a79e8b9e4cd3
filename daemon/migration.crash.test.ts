// A migration that is cut off after each of its commits, over a real store: whatever was durable then, the next life carries on to one
// of the two legal ends, and a migration that was told of is never half there.
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assetOf, Registration } from '../actors/asset.ts';
import { ZERO_DIGEST } from '../actors/digest.ts';
import { base64, hex } from '../actors/encoding.ts';
import { openFolder, testPool } from '../test/vaulted.ts';
import { loadEngine } from '../workers/engine.ts';
import type { Pool } from '../workers/pool.ts';
import { assetStates, placeAsset } from './assetplaces.ts';
import type { AssetRecord } from './assets.ts';
import { Checkpoints, checkpointOf, PART_ASSETS } from './checkpoints.ts';
import { Fault } from './fault.ts';
import { checkpointRecord, migratingState, newestMigration } from './freeze.ts';
import { Migrations } from './migration.ts';
import { Runtime } from './runtime.ts';
import type { Store } from './store.ts';

const COUNT = PART_ASSETS + 1;
const ID = 'checkpoint_0';
const ml_dsa_87 = createPrivateKey({ key: Buffer.alloc(32, 3), format: 'raw-seed', asymmetricKeyType: 'ml-dsa-87' });
const public_key = new Uint8Array(createPublicKey(ml_dsa_87).export({ format: 'raw-public' }));
const { verify } = (await loadEngine('openssl')).ml_dsa_87;
const quiet = { warn: () => {}, error: () => {} };

let pool: Pool;
beforeAll(() => {
  pool = testPool();
});
afterAll(() => pool.close());

async function founded(folder: string): Promise<void> {
  const store = await openFolder(folder);
  await store.commit((step) => {
    const zero = hex(ZERO_DIGEST);
    step.put('meta', 'genesis', { chain_id: '1', log_id: zero, created_at_ms: 0 });
    step.put('meta', 'heights', { cut: 0, opened: 0, signed: 0, forgotten: 0, parent_digest: zero, timestamp_ms: 0 });
    step.put('meta', 'log', { size: 0, sealed: 0, sealing: null });
    step.put('meta', 'epoch', { active: 1, grace: [] });
    step.put('keysets', 1, { keyset: { ml_dsa_87: base64(public_key) } });
    for (let n = 0; n < COUNT; n++) {
      const policy = { requires_pqc: false, requires_tee: false, risk_threshold: 9_000 };
      const id = `file-${String(n).padStart(4, '0')}`;
      const asset = assetOf(Registration.parse({ asset_id: id, asset_type: 'OffChainFile', access_policy: policy }), 0);
      step.put('assets', id, { asset, leaf_index: 0 });
      placeAsset(step, asset);
    }
  });
  await store.close();
}

/** A life of the daemon, as far as migrations need one, whose disk takes `commits` more commits and then nothing ever again. */
class Life {
  readonly migrations: Migrations;
  readonly over: Promise<void>;
  commits = 0;
  readonly #runtime: Runtime;
  readonly #store: Store;

  constructor(store: Store, commits: number) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.over = promise;
    this.#store = store;
    const commit: Store['commit'] = (step) => {
      if (this.commits >= commits) {
        resolve();
        return Promise.reject(new Fault({ code: 'store_io', reason: 'cut off' }));
      }
      this.commits += 1;
      return store.commit(step);
    };
    const cut = new Proxy(store, {
      get(target, name) {
        if (name === 'commit') return commit;
        const member: unknown = Reflect.get(target, name, target);
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
    const runtime = new Runtime({ store: cut, log: quiet, fatal: reject });
    this.#runtime = runtime;
    const shared = { runtime, store: cut, now: () => 1_000, onMoved: () => {} };
    const options = () => ({ checkpoint_interval: 0, checkpoints_max: 4 });
    const epochs = { signing: () => ({ ml_dsa_87 }) as never };
    const checkpoints = new Checkpoints({ ...shared, pool, epochs, options, onFault: () => {}, fatal: reject });
    this.migrations = new Migrations({ ...shared, verify });
    runtime.start([...checkpoints.performers(20_000), ...this.migrations.performers(20_000)]);
  }

  /** Everything that is owed is done, or the disk is gone. */
  async settled(): Promise<void> {
    await Promise.race([this.over, this.#runtime.drained(new AbortController().signal)]);
  }

  async end(): Promise<void> {
    this.#runtime.stop();
    await this.#store.close();
  }
}

const kept = (store: Store) =>
  new Set([...store.range('assets', { limit: 100_000 })].map(([, value]) => (value as AssetRecord).asset.state));
const placed = (store: Store, state: number) =>
  [...store.range('asset_places', { limit: 100_000 })].filter(([key]) => key.split('/')[1] === String(state)).length;

/** What an operator does, whatever of it gets through. */
async function operate({ migrations }: Life, end: 'complete' | 'rollback', life: Life): Promise<void> {
  const cutOff = (error: unknown) => expect(error).toBeInstanceOf(Fault);
  await migrations.start().catch(cutOff);
  await life.settled();
  await migrations[end]({ checkpoint_id: ID }).catch(cutOff);
  await life.settled();
}

describe.each(['complete', 'rollback'] as const)('a migration that ends with %s', (end) => {
  it('is cut off after each commit, and comes to a legal end', async () => {
    let whole = Number.POSITIVE_INFINITY;
    for (let commits = 0; commits <= whole; commits++) {
      const folder = mkdtempSync(join(tmpdir(), 'aegis-cut-'));
      try {
        await founded(folder);
        const first = new Life(await openFolder(folder), commits);
        await operate(first, end, first);
        if (first.commits < commits) whole = first.commits;
        await first.end();

        const store = await openFolder(folder);
        const told = newestMigration(store);
        const second = new Life(store, Number.POSITIVE_INFINITY);
        await second.settled();
        const after = newestMigration(store);
        // What was decided is carried out; what was not waits for its operator, and no asset has been written.
        const decided = told?.state === 'moving' || told?.state === 'restoring' || told?.ended_at_ms != null;
        if (told === undefined) expect(after).toBeUndefined();
        else if (!decided) expect(after?.state).toBe('migrating');
        if (decided) expect(after?.state).toBe(end === 'complete' ? 'migrated' : 'rolled_back');
        if (decided && end === 'complete') {
          expect(kept(store)).toEqual(new Set(['Migrated']));
          expect([placed(store, 0), placed(store, 3)]).toEqual([0, COUNT]);
          expect(assetStates(store, 0, null)).toMatchObject({ Active: 0, Migrated: COUNT });
        } else {
          expect(kept(store)).toEqual(new Set(['Active']));
          expect(placed(store, 0)).toBe(COUNT);
          expect(assetStates(store, 0, null)).toMatchObject({ Active: COUNT, Migrated: 0 });
        }
        expect(migratingState(store)).toBe(told === undefined || decided ? null : 'Migrating');
        if (told !== undefined) {
          const { head, pqc_signature } = checkpointRecord(store, told.number)!;
          expect([head?.asset_count, pqc_signature !== null]).toEqual([COUNT, true]);
          expect(checkpointOf(store, ID)?.number).toBe(told.number);
        }
        await second.end();
      } finally {
        rmSync(folder, { recursive: true });
      }
    }
    expect(whole).toBeGreaterThan(6);
  });
});
