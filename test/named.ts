// Names over a real store, real threads and a real router on loopback, with a clock that stands until it is moved: for the tests of
// the names' rooms. Owners act as applications do, through daemon/demo/owner.ts.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBase64 } from '../actors/encoding.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { Owner, resolved } from '../daemon/demo/owner.ts';
import { startRouter, type TestRouter } from '../daemon/demo/router.ts';
import type { Fault } from '../daemon/fault.ts';
import { Names } from '../daemon/names.ts';
import { httpRouter } from '../daemon/router.ts';
import type { Pool } from '../workers/pool.ts';
import { openFolder, Vaulted } from './vaulted.ts';

export const HOUR_MS = 3_600_000;

export const ownerOf = (n: number): Owner =>
  new Owner(new Uint8Array(createHash('sha256').update(`owner ${n}`).digest()));

export class Named implements AsyncDisposable {
  readonly folder: string;
  readonly vaulted: Vaulted;
  readonly router: TestRouter;
  readonly faults: Fault[] = [];
  readonly fatal: unknown[] = [];
  readonly emptied: number[] = [];
  readonly options: Config['names'];
  names: Names;
  now_ms = Date.now();
  /** From 0 up to 1; in the middle unless a test says otherwise. */
  chance = 0.5;
  readonly #pool: Pool;

  private constructor(
    folder: string,
    vaulted: Vaulted,
    router: TestRouter,
    pool: Pool,
    options: Partial<Config['names']>,
  ) {
    this.folder = folder;
    this.vaulted = vaulted;
    this.router = router;
    this.#pool = pool;
    const { names } = loadConfig({ environment: {} }).config;
    this.options = {
      ...names,
      router: router.url,
      requests_per_s: 100_000,
      read_back_every: 0,
      timeout_ms: 1_000,
      ...options,
    };
    this.names = this.open();
  }

  static async open(pool: Pool, options: Partial<Config['names']> = {}): Promise<Named> {
    const folder = mkdtempSync(join(tmpdir(), 'aegis-named-'));
    const vaulted = new Vaulted(await openFolder(join(folder, 'store')), pool);
    await vaulted.rotate(1);
    return new Named(folder, vaulted, await startRouter(join(folder, 'router')), pool, options);
  }

  /** Another life over the same store. */
  open(): Names {
    const { vaulted } = this;
    const epochs = {
      get active() {
        return { keys: vaulted.keys.get(vaulted.active(vaulted.store))! };
      },
      keysOf: vaulted.keysOf,
    };
    this.names = new Names({
      store: vaulted.store,
      wraps: vaulted.wraps,
      pool: this.#pool,
      epochs,
      options: () => this.options,
      accepts: (epoch) => vaulted.accepts(vaulted.store, epoch),
      onEmptied: (epoch) => this.emptied.push(epoch),
      now: () => this.now_ms,
      random: () => this.chance,
      onFault: (fault) => this.faults.push(fault),
      fatal: (error) => this.fatal.push(error),
    });
    return this.names;
  }

  /** @param epoch  whose names key the owner's key is encrypted to */
  async enrolment(owner: Owner, value: string, sequence = 1n, epoch = 1, life_ms = 24 * HOUR_MS) {
    const record = await owner.record(value, sequence, this.now_ms + life_ms);
    return owner.enrolment(record, epoch, fromBase64(this.vaulted.keys.get(epoch)!.public.names!));
  }

  /** Enrols, and publishes. */
  async enrol(owner: Owner, value: string, sequence = 1n, epoch = 1, life_ms = 24 * HOUR_MS): Promise<void> {
    const [outcome] = await this.names.enrol([await this.enrolment(owner, value, sequence, epoch, life_ms)]);
    if (!outcome?.ok) throw new Error(outcome?.code);
    await this.names.run();
  }

  /** Moves the clock, and passes whatever is due then. */
  async pass(hours: number): Promise<void> {
    this.now_ms += hours * HOUR_MS;
    await this.names.run();
  }

  /** What everyone else sees: the router's record, judged by the `ipns` package. */
  async resolve({ name }: Owner) {
    const got = await httpRouter(this.router.url, 5_000, Date.now).get(name, AbortSignal.timeout(5_000));
    if (!got.ok || got.record === null) return undefined;
    return resolved(name, got.record);
  }

  /** Publishes past us, as the owner's application does. */
  async put({ name }: Owner, record: Uint8Array): Promise<void> {
    const put = await httpRouter(this.router.url, 5_000, Date.now).put(name, record, AbortSignal.timeout(5_000));
    if (!put.ok) throw new Error(JSON.stringify(put));
  }

  shown({ name }: Owner) {
    const { record, key_epoch } = this.names.show(name)!;
    const { state, context } = {
      state: record.machine.value,
      context: record.machine.context as { failures: number; reason: string | null },
    };
    return { state, key_epoch, ...context, sequence: record.held.sequence, value: record.held.value };
  }

  journal(type: string): unknown[] {
    return [...this.vaulted.store.range('journal', { limit: 10_000 })]
      .map(([, entry]) => entry)
      .filter((entry) => entry.type === type)
      .map(({ data }) => data);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.names.stop();
    await this.vaulted.sweep?.stop();
    await this.vaulted.store.close();
    await this.router[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }
}
