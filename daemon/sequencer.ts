// The sequencer: assembles every room in one place and reads like a table of contents (DESIGN §2). `main.ts` and the demo
// make one; the API and the feed talk to it. What it has acknowledged is durable, whatever ends the process.

import { EventEmitter } from 'node:events';
import { join, resolve } from 'node:path';
import type { BatchFile } from '../actors/batch.ts';
import { sha512 } from '../actors/digest.ts';
import { hex, utf8 } from '../actors/encoding.ts';
import { Envelope, type EnvelopeInput } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Attestation } from '../actors/quote.ts';
import { canonicalJson } from '../config/canonical.ts';
import { loadConfig } from '../config/load.ts';
import type { Config, Settings } from '../config/schema.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { firstIssue } from './api/input.ts';
import { Attester } from './attester.ts';
import { batchFile, recentBatches } from './batches.ts';
import { Cutter } from './cutter.ts';
import { type ActiveEpoch, openEpoch } from './epochs.ts';
import type { Fault } from './fault.ts';
import { type Admission, Intake } from './intake.ts';
import { storeKey } from './keys/keyring.ts';
import { openKeySource } from './keys/open.ts';
import type { KeySource } from './keys/source.ts';
import { KeysetQuote } from './keysets.ts';
import { createLogger } from './logger.ts';
import { Mempool } from './mempool.ts';
import { proveCrypto, proveKeys } from './proof.ts';
import { meta } from './records.ts';
import { Runtime } from './runtime.ts';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';
import { Sealer } from './sealer.ts';
import { Signer } from './signer.ts';
import { type Ready, ready, type Status, status } from './status.ts';
import { openStore, type Store } from './store.ts';
import { openSimulator } from './tee/simulator.ts';
import { openWatermark, type Watermark } from './watermark.ts';

/** pino fits. */
export interface Logger {
  debug(detail: object, message: string): void;
  info(detail: object, message: string): void;
  warn(detail: object, message: string): void;
  error(detail: object, message: string): void;
}

export interface SequencerOptions {
  /** What differs from the embedded sequencer.toml, or the path of a TOML file with that. */
  readonly settings?: Settings | string;
  /** In place of `settings`: the whole of it, as `loadConfig` checked it. */
  readonly config?: Config;
  /** JSON lines on standard error from `daemon.log_level` on, where left out. */
  readonly log?: Logger;
  /** Wall clock in ms; the host's. */
  readonly now?: () => number;
  /**
   * Told of a broken invariant: the process must end, and the next start replays the outbox. Where left out, the error is
   * thrown where nothing catches it.
   */
  readonly fatal?: (error: unknown) => void;
  /** An operator's word for one start: see `WatermarkOptions`. */
  readonly accept_missing_watermark?: boolean;
}

export interface SequencerEvents {
  /** An envelope from this client's address was refused. */
  refused: [client: string];
}

export interface Sequencer extends AsyncDisposable {
  readonly config: Config;
  readonly store: Store;
  readonly epoch: ActiveEpoch;
  /** What envelopes are encrypted to. */
  readonly keyset: Keyset;
  readonly events: EventEmitter<SequencerEvents>;
  /**
   * Admits one encrypted transaction; durable when it resolves with `ok`.
   *
   * @param envelope  from whoever: it is validated here, and `invalid_envelope` names the field that is wrong
   * @param client    who is told of by the event `refused` if it can't be opened
   */
  submitEncrypted(envelope: EnvelopeInput, client?: string): Promise<Submission>;
  /** Cuts a batch now. @returns its height; undefined when nothing is pending */
  createBatch(): Promise<number | undefined>;
  batch(height: number): BatchFile | undefined;
  /** Newest first. */
  recentBatches(count: number): BatchFile[];
  /** The active keyset with a quote, over the nonce where one is given. */
  attestKeyset(nonce?: Uint8Array): Promise<Attestation>;
  /** The newest evidence that verified; undefined before the first. */
  readonly attestation: Attestation | undefined;
  status(): Status;
  ready(): Ready;
  /** Ends admission; what is on its way goes on. */
  drain(): void;
  /** Stops admission and cutting, and finishes what is in hand within the limit. @returns whether all of it is sealed */
  finish(limit_ms?: number): Promise<boolean>;
  /** Finishes unless that was done, and closes. What could not be finished is taken up at the next start. */
  close(limit_ms?: number): Promise<void>;
}

export type Submission =
  | Admission
  | { readonly ok: false; readonly code: 'invalid_envelope'; readonly field: string; readonly detail: string };

/**
 * ```ts
 * await using sequencer = await createSequencer({ settings: { daemon: { state_dir: 'state' } } });
 * ```
 *
 * It opens no port: api/server.ts does that for `aegisd start`. A process that embeds it should take SIGUSR1 before
 * anything else, as main.ts does: Node would open its debugger on it.
 *
 * @throws {ConfigError} naming every wrong setting. @throws {Fault} when the state folder, a key or a thread fails
 */
export async function createSequencer(options: SequencerOptions = {}): Promise<Sequencer> {
  const sequencer = new Assembly(options);
  try {
    await sequencer.init();
    return sequencer;
  } catch (error) {
    await sequencer.close(0);
    throw error;
  }
}

function configOf(settings: Settings | string | undefined): Config {
  const given = typeof settings === 'string' ? { file: settings } : { settings };
  return loadConfig(given).config;
}

/** Past every handler of the call that met it, so that the process ends unless its host says otherwise. */
function rethrow(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}

class Assembly implements Sequencer {
  readonly config: Config;
  readonly events = new EventEmitter<SequencerEvents>();
  readonly #options: SequencerOptions;
  readonly #log: Logger;
  readonly #fatal: (error: unknown) => void;
  readonly #now: () => number;
  #pool: Pool | undefined;
  #watermark: Watermark | undefined;
  #source!: KeySource;
  #store: Store | undefined;
  #runtime!: Runtime;
  #epoch!: ActiveEpoch;
  #mempool!: Mempool;
  #attester!: Attester;
  #cutter!: Cutter;
  #sealer!: Sealer;
  #intake!: Intake;
  #keysetQuote!: KeysetQuote;
  #finishing: Promise<boolean> | undefined;
  #closing: Promise<void> | undefined;
  #started = false;

  constructor(options: SequencerOptions) {
    this.config = options.config ?? configOf(options.settings);
    this.#options = options;
    this.#log = options.log ?? createLogger(this.config.daemon.log_level);
    this.#fatal = options.fatal ?? rethrow;
    this.#now = options.now ?? Date.now;
  }

  /** In the order of what needs what. */
  async init(): Promise<void> {
    const { config } = this;
    const { accept_missing_watermark: accept_missing = false } = this.#options;
    const log = this.#log;
    const fatal = this.#fatal;
    const now = this.#now;
    const folder = resolve(config.daemon.state_dir);
    const onFault = (fault: Fault) => log.warn({ err: fault }, fault.message);

    const { engine } = config.signing;
    await proveCrypto(engine);
    this.#pool = createPool({ ...config.workers, engine });
    const threads = this.#pool.ready();
    this.#source = await openKeySource({ config, state_dir: folder });
    this.#store = await openStore({
      folder: join(folder, 'store'),
      key: await storeKey(this.#source),
      ...config.store,
      schema: { version: SCHEMA_VERSION, migrations: MIGRATIONS },
      logger: log,
      fatal,
    });
    const store = this.#store;
    this.#watermark = await openWatermark(store, { accept_missing });
    const watermark = this.#watermark;
    const pool = this.#pool;

    this.#runtime = new Runtime({ store, log, fatal });
    const runtime = this.#runtime;
    this.#epoch = await openEpoch({
      store,
      runtime,
      source: this.#source,
      chain_id: String(config.chain.chain_id),
      hybrid_ecdsa: config.quantum.hybrid_ecdsa,
      now,
      prove: (keys) => proveKeys(keys, pool),
    });
    const { keys, keyset, log: genesis } = this.#epoch;
    this.#mempool = Mempool.load(store);
    const mempool = this.#mempool;

    const provider = openSimulator(join(folder, 'simulator', 'pki'), now);
    this.#attester = new Attester({ provider, root: provider.root, pool, options: config.attestation, now });
    const attester = this.#attester;
    this.#keysetQuote = new KeysetQuote({ attester, keyset, now, onFault, fatal });

    this.#cutter = new Cutter({
      runtime,
      store,
      mempool,
      pool,
      log: genesis,
      keys: () => [{ epoch: keys.epoch, x_wing: keys.x_wing, ecies: keys.ecies }],
      options: () => ({
        ...config.sequencer,
        ordering: config.ordering,
        hybrid_ecdsa: keys.secp256k1 !== null,
      }),
      now,
      onRefused: (client) => this.events.emit('refused', client),
      onFault,
      fatal,
    });
    this.#sealer = new Sealer({
      runtime,
      store,
      pool,
      attester,
      watermark,
      keys,
      keyset,
      log: genesis,
      config_digest: hex(sha512(utf8(canonicalJson(config)))),
      interval_ms: () => config.seal.interval_ms,
      retention_batches: config.store.retention_batches,
      now,
      onFault,
      fatal,
    });
    this.#intake = new Intake({
      runtime,
      store,
      mempool,
      log: genesis,
      receiptKey: keys.receipt,
      active: { epoch: keys.epoch, digest: keyset.digest },
      options: () => ({ ...config.mempool, ...config.sequencer, ...config.ordering }),
      now,
    });

    await threads;
    const { in_flight_max } = config.sequencer;
    const timeout_ms = config.workers.task_timeout_ms;
    const signer = new Signer({ pool, watermark });
    runtime.start([
      this.#cutter.performer(in_flight_max, timeout_ms),
      signer.performer({
        store,
        keys,
        chain_id: genesis.chain_id,
        in_flight_max,
        timeout_ms,
        now,
        onSigned: () => {
          this.#cutter.wake();
          this.#sealer.wake();
        },
      }),
      this.#sealer.performer(timeout_ms + config.attestation.quote_timeout_ms),
    ]);
    this.#started = true;
    this.#keysetQuote.start();
    this.#cutter.wake();
    this.#sealer.wake();
  }

  get store(): Store {
    return this.#store!;
  }

  get epoch(): ActiveEpoch {
    return this.#epoch;
  }

  get keyset(): Keyset {
    return this.#epoch.keyset.keyset;
  }

  async submitEncrypted(envelope: EnvelopeInput, client?: string): Promise<Submission> {
    const parsed = Envelope.safeParse(envelope);
    if (!parsed.success) return { ok: false, code: 'invalid_envelope', ...firstIssue(parsed.error) };
    const admission = await this.#intake.admit(parsed.data, client);
    if (admission.ok) this.#cutter.wake();
    return admission;
  }

  createBatch(): Promise<number | undefined> {
    return this.#cutter.cutNow();
  }

  batch(height: number): BatchFile | undefined {
    return batchFile(this.store, height);
  }

  recentBatches(count: number): BatchFile[] {
    return recentBatches(this.store, count);
  }

  attestKeyset(nonce?: Uint8Array): Promise<Attestation> {
    return this.#keysetQuote.give(nonce);
  }

  get attestation(): Attestation | undefined {
    return this.#attester.newest;
  }

  status(): Status {
    return status(this.#view());
  }

  ready(): Ready {
    return ready(this.#view());
  }

  #view() {
    return {
      config: this.config,
      store: this.store,
      runtime: this.#runtime.state(),
      epoch: this.#epoch,
      mempool_size: this.#mempool.size,
      draining: this.#intake.draining,
      attestation: this.#attester.newest,
      provider: this.#attester.provider,
      now_ms: this.#now(),
    };
  }

  drain(): void {
    this.#intake.drain();
  }

  finish(limit_ms = this.config.daemon.stop_timeout_s * 1000): Promise<boolean> {
    this.#finishing ??= this.#finish(AbortSignal.timeout(limit_ms));
    return this.#finishing;
  }

  close(limit_ms?: number): Promise<void> {
    this.#closing ??= this.#close(limit_ms);
    return this.#closing;
  }

  async #close(limit_ms?: number): Promise<void> {
    if (this.#started) {
      await this.finish(limit_ms);
      this.#sealer.stop();
      this.#keysetQuote.stop();
      this.#runtime.stop();
    }
    await this.#pool?.close();
    await this.#watermark?.close();
    await this.#store?.close();
  }

  /** What is on its way gets its signatures, and a seal covers it. */
  async #finish(limit: AbortSignal): Promise<boolean> {
    const covered = () => {
      const { size, sealed } = meta(this.store, 'log');
      return size === sealed;
    };
    this.drain();
    await this.#cutter.stop();
    for (;;) {
      await this.#runtime.drained(limit);
      if (limit.aborted || (covered() && this.#runtime.state().owed === 0)) return covered();
      await this.#sealer.hurry();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
