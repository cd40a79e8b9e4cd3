// Wrapped secrets, assembled: the room (wraps.ts), its kinds, the sweep behind it, and the end of keys. Whenever an epoch stops
// signing or retires, the daemon and all of its threads collect, because OpenSSL wipes a key only when its last handle is
// collected, and until then the host's next memory image may hold it. The sequencer makes one.
import { collect } from '../workers/collect.ts';
import type { Pool } from '../workers/pool.ts';
import { receiptEpoch } from './epoch.ts';
import type { Epochs } from './epochs.ts';
import { meta } from './records.ts';
import type { Store } from './store.ts';
import { Sweep } from './sweep.ts';
import { nameKind, sealedKind } from './wrapkinds.ts';
import { type EpochView, Wraps } from './wraps.ts';

interface Modules {
  readonly store: Store;
  readonly epochs: Epochs;
  readonly pool: Pool;
  readonly options: () => { readonly sweep_rows: number; readonly sweep_pause_ms: number };
  readonly now: () => number;
  readonly log: { warn(detail: object, message: string): void };
  /** The backlog of an epoch is empty: it may retire. */
  readonly onEmptied: (epoch: number) => void;
  readonly fatal: (error: unknown) => void;
}

export class Wrapping {
  readonly wraps: Wraps;
  readonly sweep: Sweep;
  readonly #modules: Modules;
  /** Collections, one after the other. */
  #collecting: Promise<void> = Promise.resolve();

  constructor(modules: Modules) {
    const { epochs, pool, now } = modules;
    const view: EpochView = {
      active: (reader) => meta(reader, 'epoch').active,
      // What may no longer be admitted may no longer be adopted: after a compromise old keys only move what is there.
      accepts: (reader, epoch) => receiptEpoch(reader, epoch, now()) !== undefined,
      keysOf: (epoch) => epochs.keysOf(epoch),
    };
    this.#modules = modules;
    const kinds = [sealedKind('asset', pool), nameKind(pool)];
    this.wraps = new Wraps({ ...view, kinds, now, onOld: (name) => this.sweep.soon(name) });
    this.sweep = new Sweep({ ...view, ...modules, wraps: this.wraps });
  }

  /** Takes up what the last life of the daemon left behind. */
  start(): void {
    const { epochs } = this.#modules;
    epochs.events.on('activated', () => {
      this.sweep.wake();
      this.#collect();
    });
    epochs.events.on('retired', () => this.#collect());
    this.sweep.wake();
    // Deriving leaves seeds in the working memory of noble and of whoever called it.
    this.#collect();
  }

  /** Before the pool and the store end. */
  async stop(): Promise<void> {
    await this.sweep.stop();
    await this.#collecting;
  }

  #collect(): void {
    const { pool, fatal } = this.#modules;
    this.#collecting = this.#collecting
      // A turn later, when whoever let the keys go has returned.
      .then(() => new Promise<void>((resolve) => setImmediate(resolve)))
      .then(() => pool.collect())
      .then(() => void collect())
      .catch(fatal);
  }
}
