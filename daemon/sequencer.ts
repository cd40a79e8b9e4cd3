// The sequencer: assembles every room in one place and reads like a table of contents (DESIGN §2). `main.ts` and the demo
// make one; the API and the feed talk to it. What it has acknowledged is durable, whatever ends the process.

import { EventEmitter } from 'node:events';
import { join, resolve } from 'node:path';
import type { RegistrationInput } from '../actors/asset.ts';
import type { BatchFile } from '../actors/batch.ts';
import { canonicalJson } from '../actors/canonical.ts';
import { sha512 } from '../actors/digest.ts';
import { hex, utf8 } from '../actors/encoding.ts';
import { Envelope, type EnvelopeInput } from '../actors/envelope.ts';
import type { ReportedIndicatorInput } from '../actors/indicator.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Attestation } from '../actors/quote.ts';
import { loadConfig } from '../config/load.ts';
import type { Config, Settings } from '../config/schema.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { deriveTask } from '../workers/slhdsa.ts';
import { actHandlers } from './acts.ts';
import { foundAdmins } from './admins.ts';
import { firstIssue } from './api/input.ts';
import { AssetData } from './assetdata.ts';
import { followRisk } from './assets.ts';
import { openAttester } from './attestation.ts';
import type { Attester } from './attester.ts';
import { batchFile, recentBatches } from './batches.ts';
import { Cutter } from './cutter.ts';
import type { Logger, Sequencer, SequencerEvents, SequencerOptions, Submission } from './embedding.ts';
import { type ActiveEpoch, type Epochs, openEpochs } from './epochs.ts';
import type { Fault } from './fault.ts';
import { Intake } from './intake.ts';
import { runJob } from './job.ts';
import { deriveEpoch, type EpochKeys, storeKey } from './keys/keyring.ts';
import { openKeySource } from './keys/open.ts';
import type { KeySource } from './keys/source.ts';
import { KeysetQuote } from './keysets.ts';
import { createLogger } from './logger.ts';
import { Mempool } from './mempool.ts';
import { type Orders, openOrders } from './orders.ts';
import { proveCrypto, proveKeys } from './proof.ts';
import { keysetRecord, meta, pendingRotation } from './records.ts';
import { setRedundancy } from './redundancy.ts';
import { Registry } from './registry.ts';
import type { Backlog, Retirement } from './retirement.ts';
import { Risk, type ThreatUpdate } from './risk.ts';
import { type RotationOutcome, Rotator, type Wish } from './rotator.ts';
import { Runtime } from './runtime.ts';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';
import { Sealer } from './sealer.ts';
import { Signer } from './signer.ts';
import { type Ready, ready, type Status, status } from './status.ts';
import { openStore, type Store } from './store.ts';
import { type TeeProvider, teeProvider } from './tee/agent.ts';
import { openWatermark, type Watermark } from './watermark.ts';
import { Wrapping } from './wrapping.ts';

export type { Logger, Sequencer, SequencerEvents, SequencerOptions, Submission } from './embedding.ts';

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

/** Resolves when the signal fires. */
function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

class Assembly implements Sequencer {
  readonly config: Config;
  readonly events = new EventEmitter<SequencerEvents>();
  orders!: Orders;
  assets!: Registry;
  assetData!: AssetData;
  readonly #options: SequencerOptions;
  readonly #log: Logger;
  readonly #fatal: (error: unknown) => void;
  readonly #now: () => number;
  #pool: Pool | undefined;
  #watermark: Watermark | undefined;
  #source!: KeySource;
  #store: Store | undefined;
  #runtime!: Runtime;
  #epochs!: Epochs;
  #mempool!: Mempool;
  #attester!: Attester;
  #tee: TeeProvider | undefined;
  #cutter!: Cutter;
  #sealer!: Sealer;
  #intake!: Intake;
  #keysetQuote!: KeysetQuote;
  #pendingQuote!: KeysetQuote;
  #rotator!: Rotator;
  risk!: Risk;
  wrapping!: Wrapping;
  readonly #backlog: Backlog = (reader, epoch) => this.wrapping.wraps.backlog(reader, epoch);
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

    this.#runtime = new Runtime({ store, log, fatal, onFault: (fault) => this.risk?.noticed(fault) });
    const runtime = this.#runtime;
    this.#epochs = await openEpochs({
      store,
      runtime,
      source: this.#source,
      chain_id: String(config.chain.chain_id),
      hybrid_ecdsa: config.quantum.hybrid_ecdsa,
      now,
      prove: (keys) => proveKeys(keys, pool),
      found: (step, log_id) => foundAdmins(step, log_id, config.admin.keys),
    });
    const epochs = this.#epochs;
    const genesis = epochs.log;
    this.#mempool = Mempool.load(store);
    const mempool = this.#mempool;
    this.wrapping = new Wrapping({
      store,
      epochs,
      pool,
      options: () => config.rotation,
      now,
      log,
      onEmptied: () => this.#rotator.wake(),
      fatal,
    });
    const { wraps } = this.wrapping;
    this.assets = new Registry({ runtime, store, wraps, now });
    const attested = () => (this.#attester.newest?.not_after_ms ?? 0) > now();
    this.assetData = new AssetData({ runtime, store, wraps, epochs, attested });

    this.#attester = await openAttester({ config, state_dir: folder, store, runtime, pool, now, onFault, fatal });
    const attester = this.#attester;
    const quotes = { attester, now, onFault, fatal };
    this.#keysetQuote = new KeysetQuote({
      ...quotes,
      keyset: () => epochs.active.keyset,
      // Another platform measures other things, which is no change of this one.
      onRenewed: (attestation) => {
        if (attester.isByPrimary(attestation)) this.#rotator.measured(attestation);
      },
    });
    this.#pendingQuote = new KeysetQuote({
      ...quotes,
      keyset: () => keysetRecord(store, meta(store, 'epoch').active + 1)!,
      onRenewed: () => {},
    });
    this.#rotator = new Rotator({
      runtime,
      store,
      epochs,
      source: this.#source.name,
      derive: (epoch) => this.#newKeys(epoch),
      backlog: this.#backlog,
      options: () => config.rotation,
      now,
      onAnnounced: () => this.#sealer.wake(),
      onUnsealed: () => this.#sealer.hurry(),
      onExecuted: () => {
        this.#keysetQuote.start();
        this.#cutter.wake();
        this.#sealer.wake();
      },
      onFault,
      fatal,
    });
    const rotator = this.#rotator;
    this.risk = new Risk({
      runtime,
      store,
      options: () => config.risk,
      now,
      attestation: () => attester.newest,
      quote_lifetime_ms: config.attestation.quote_lifetime_s * 1000,
      follow: (step, score, now_ms) => followRisk(step, score, now_ms),
      onChange: () => this.#cutter.wake(),
      onFault,
      fatal,
      warn: (detail, message) => log.warn(detail, message),
    });
    const { risk } = this;

    this.#cutter = new Cutter({
      runtime,
      store,
      mempool,
      pool,
      log: genesis,
      keys: (wanted) => epochs.opening(wanted),
      options: () => ({
        ...config.sequencer,
        ordering: config.ordering,
        // Since the settings wait for a restart, the epoch's own key says what was set when it was made.
        hybrid_ecdsa: risk.allowed.ecdsa,
        attested: attested(),
      }),
      holds: (reader) => rotator.holdsCuts(reader) || risk.holdsCuts(reader),
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
      epochs,
      log: genesis,
      config_digest: hex(sha512(utf8(canonicalJson(config)))),
      interval_ms: () => (risk.inEmergency ? 0 : config.seal.interval_ms),
      holds: (reader) => rotator.holdsSeals(reader),
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
      receiptKey: (epoch) => epochs.signing(epoch).receipt,
      options: () => ({ ...config.mempool, ...config.sequencer, ...config.ordering, ...risk.allowed }),
      now,
    });

    const redundancy = config.attestation.redundancy === 'off' ? undefined : { now };
    const acts = actHandlers({ redundancy, onForced: () => rotator.wake(), onRisk: () => risk.reassess() });
    const onExecuted = () => this.#sealer.wake();
    this.orders = await openOrders({ runtime, store, log: genesis, config, acts, now, onExecuted });

    await threads;
    const { in_flight_max } = config.sequencer;
    const timeout_ms = config.workers.task_timeout_ms;
    const signer = new Signer({ pool, watermark });
    runtime.start([
      this.#cutter.performer(in_flight_max, timeout_ms),
      signer.performer({
        store,
        epochs,
        chain_id: genesis.chain_id,
        in_flight_max,
        timeout_ms,
        now,
        onSigned: () => {
          this.#cutter.wake();
          this.#sealer.wake();
          rotator.wake();
        },
      }),
      this.#sealer.performer(timeout_ms + config.attestation.quote_timeout_ms, () => {
        rotator.wake();
        if (risk.inEmergency) this.#cutter.wake();
      }),
      risk.performer((wish) => rotator.rotate(wish), timeout_ms),
    ]);
    this.#started = true;
    await risk.start();
    attester.start();
    this.#keysetQuote.start();
    this.#cutter.wake();
    this.#sealer.wake();
    rotator.wake();
    this.wrapping.start();
  }

  /** SLH-DSA's part takes most of a second, so a thread does it; and nobody is told of keys that were not tried. */
  async #newKeys(epoch: number): Promise<EpochKeys> {
    const pool = this.#pool!;
    const hybrid_ecdsa = this.config.quantum.hybrid_ecdsa && this.risk.allowed.ecdsa;
    const keys = await deriveEpoch(this.#source, epoch, hybrid_ecdsa, (seed) =>
      runJob(pool, 'derive', deriveTask(seed)),
    );
    await proveKeys(keys, pool);
    return keys;
  }

  get store(): Store {
    return this.#store!;
  }

  get epoch(): ActiveEpoch {
    return this.#epochs.active;
  }

  get epochs(): Epochs {
    return this.#epochs;
  }

  get keyset(): Keyset {
    return this.epoch.keyset.keyset;
  }

  async submitEncrypted(envelope: EnvelopeInput, client?: string): Promise<Submission> {
    const parsed = Envelope.safeParse(envelope);
    if (!parsed.success) return { ok: false, code: 'invalid_envelope', ...firstIssue(parsed.error) };
    const admission = await this.#intake.admit(parsed.data, client);
    if (admission.ok) this.#cutter.wake();
    return admission;
  }

  updateThreat(input: ReportedIndicatorInput | readonly ReportedIndicatorInput[]): Promise<ThreatUpdate> {
    return this.risk.updateThreat(input);
  }

  registerAsset(input: RegistrationInput) {
    return this.assets.register(input);
  }

  getAssetProtection(asset_id: string) {
    return this.assets.protection(asset_id);
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

  attestPending(): Promise<Attestation> | undefined {
    return pendingRotation(this.store) === undefined ? undefined : this.#pendingQuote.give();
  }

  rotate(wish: Wish): Promise<RotationOutcome> {
    return this.#rotator.rotate(wish);
  }

  retire(epoch: number): Promise<Retirement> {
    return this.#rotator.retire(epoch);
  }

  backlog(epoch: number): number {
    return this.#backlog(this.store, epoch);
  }

  get attestation(): Attestation | undefined {
    return this.#attester.newest;
  }

  get tee(): TeeProvider {
    this.#tee ??= teeProvider({ platform: this.#attester.primary, pool: this.#pool!, now: this.#now });
    return this.#tee;
  }

  setRedundancy(enabled: boolean, worker: string | null = null, enclave: string | null = null): Promise<boolean> {
    const wish = { enabled, worker_id: worker, enclave_id: enclave };
    return setRedundancy(this.#runtime, this.config, wish, this.#now());
  }

  now(): number {
    return this.#now();
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
      epoch: this.epoch,
      mempool_size: this.#mempool.size,
      draining: this.#intake.draining,
      attestation: this.#attester.newest,
      attesting: this.#attester.state,
      risk: this.risk,
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
      this.#attester.stop();
      this.#sealer.stop();
      this.#keysetQuote.stop();
      this.#pendingQuote.stop();
      this.#runtime.stop();
      await this.wrapping.stop();
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
    await this.risk.stop();
    // First: from now on no seal waits for a rotation.
    await Promise.race([this.#rotator.stop(), aborted(limit)]);
    for (;;) {
      await this.#runtime.drained(limit);
      if (limit.aborted || (covered() && this.#runtime.state().owed === 0)) return covered();
      await Promise.race([this.#sealer.hurry(), aborted(limit)]);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
