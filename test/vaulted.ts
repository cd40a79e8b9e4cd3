// A room of wrapped secrets over a real store and real threads, with keys that the test makes: for the tests of the room and of
// the sweep. It recounts what the room counts, and opens every row under every epoch.
import { createSecretKey, hash } from 'node:crypto';
import { expect } from 'vitest';
import { base64 } from '../actors/encoding.ts';
import { type Meta, putMeta } from '../daemon/records.ts';
import { openStore, type Store } from '../daemon/store.ts';
import { Sweep } from '../daemon/sweep.ts';
import { nameKind, sealedKind } from '../daemon/wrapkinds.ts';
import { type EpochView, idIn, kindIn, type Wrap, type WrapKeys, type WrapKind, Wraps } from '../daemon/wraps.ts';
import { eciesKey, openEcies } from '../workers/ecies.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { openWrap } from '../workers/wrap.ts';

export const scalarOf = (epoch: number): Uint8Array => new Uint8Array(32).fill(epoch);

/** As far as wraps need them. */
export function keysFor(epoch: number): WrapKeys {
  const names = eciesKey(scalarOf(epoch));
  const asset = createSecretKey(new Uint8Array(32).fill(100 + epoch));
  return { epoch, asset, names: names.handle, public: { names: base64(names.publicKey) } };
}

/** Of any name, so that what is found can be told from what was put. */
export const secretFor = (name: string, version = 0): Uint8Array =>
  new Uint8Array(hash('sha256', `${name} ${version}`, 'buffer'));

export const testPool = (): Pool =>
  createPool({ open_threads: 1, sign_threads: 1, queue_max: 64, task_timeout_ms: 20_000, seal_nice: 0 });

export const openFolder = (folder: string): Promise<Store> =>
  openStore({
    folder,
    key: new Uint8Array(32).fill(7),
    map_bytes_max: 2 ** 30,
    free_bytes_min: 0,
    commit_steps_max: 1_000,
    retry_ms: 50,
    schema: { version: 1, migrations: [] },
  });

/** The active epoch is the store's; an epoch that is forgotten is retired. */
export class Vaulted implements EpochView {
  readonly store: Store;
  readonly wraps: Wraps;
  readonly keys = new Map([1, 2, 3].map((epoch) => [epoch, keysFor(epoch)]));
  readonly touched: string[] = [];
  readonly warned: object[] = [];
  readonly kinds: readonly WrapKind[];
  sweep: Sweep | undefined;

  constructor(store: Store, pool: Pool, kinds: readonly WrapKind[] = []) {
    this.store = store;
    this.kinds = [...kinds, sealedKind('asset', pool), sealedKind('test', pool), nameKind(pool)];
    const { active, accepts, keysOf } = this;
    const onOld = (name: string) => {
      this.touched.push(name);
      this.sweep?.soon(name);
    };
    this.wraps = new Wraps({ kinds: this.kinds, active, accepts, keysOf, now: () => 1_000, onOld });
  }

  readonly active: EpochView['active'] = (reader) => (reader.get('meta', 'epoch') as Meta['epoch']).active;
  readonly accepts: EpochView['accepts'] = (reader, epoch) => epoch <= this.active(reader) && this.keys.has(epoch);
  readonly keysOf: EpochView['keysOf'] = (epoch) => this.keys.get(epoch);

  rotate(active: number): Promise<void> {
    return this.store.commit((step) => putMeta(step, 'epoch', { active }));
  }

  /** Creates secrets of a kind, many to a commit. */
  async fill(kind: string, count: number): Promise<void> {
    for (let from = 0; from < count; from += 1_000) {
      await this.store.commit((step) => {
        for (let n = from; n < Math.min(count, from + 1_000); n++) {
          this.wraps.create(step, kind, `${n}`, secretFor(`${kind}/${n}`));
        }
      });
    }
  }

  /** @returns the sweep, begun, and a promise for the epoch that it has emptied first */
  swept(sweep_rows: number, store = this.store): { sweep: Sweep; emptied: Promise<number> } {
    const { wraps, active, keysOf } = this;
    const { promise: emptied, resolve, reject } = Promise.withResolvers<number>();
    const log = { warn: (detail: object) => void this.warned.push(detail) };
    const options = () => ({ sweep_rows, sweep_pause_ms: 0 });
    const sweep = new Sweep({ store, wraps, active, keysOf, options, onEmptied: resolve, log, fatal: reject });
    this.sweep = sweep;
    sweep.wake();
    return { sweep, emptied };
  }

  /** Every row as the store has it. */
  rows(): Map<string, Wrap> {
    const names = [...this.store.range('wraps', { limit: 100_000 })].map(([name]) => name);
    return new Map(names.map((name) => [name, this.wraps.byName(this.store, name)!]));
  }

  /** Each row opens under exactly its epoch and is the secret that was put; index and counts are what a recount gives. */
  check(expected: ReadonlyMap<string, Uint8Array>): void {
    const rows = this.rows();
    expect(rows.size).toBe(expected.size);
    const recount: Meta['wraps']['counts'] = {};
    let wrong = 0;
    for (const [name, { epoch, wrapped }] of rows) {
      const kind = kindIn(name);
      recount[epoch] = { ...recount[epoch], [kind]: (recount[epoch]?.[kind] ?? 0) + 1 };
      const secret = expected.get(name);
      for (const [other, { asset, names }] of this.keys) {
        const place = { kind, id: idIn(name), epoch: other };
        const opened = kind === 'name' ? openEcies(names, wrapped) : openWrap(asset, place, wrapped);
        const right = other === epoch ? opened !== null && Buffer.from(secret!).equals(opened) : opened === null;
        if (!right) wrong += 1;
      }
    }
    expect(wrong).toBe(0);
    const index = [...this.store.range('wrap_epochs', { limit: 100_000 })].map(([[epoch, name]]) => `${epoch} ${name}`);
    expect(new Set(index)).toEqual(new Set([...rows].map(([name, { epoch }]) => `${epoch} ${name}`)));
    const record = this.store.get('meta', 'wraps') as Meta['wraps'] | undefined;
    expect(record?.counts ?? {}).toEqual(recount);
  }
}

export function expectedOf(kinds: Readonly<Record<string, number>>): Map<string, Uint8Array> {
  const names = Object.entries(kinds).flatMap(([kind, count]) =>
    Array.from({ length: count }, (_, n) => `${kind}/${n}`),
  );
  return new Map(names.map((name) => [name, secretFor(name)]));
}
