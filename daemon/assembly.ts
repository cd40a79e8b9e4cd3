// The rooms of a sequencer, assembled in one place: reads like a table of contents (DESIGN §2), each part after what it needs.
// sequencer.ts makes one and says what can be asked of it. Promises that what was opened is closed again, however far it got,
// and that an end under way finishes what is in hand first.
import { join, resolve } from 'node:path';
import type { Config } from '../config/schema.ts';
import { loadEngine } from '../workers/engine.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { deriveTask } from '../workers/slhdsa.ts';
import { actHandlers } from './acts.ts';
import { foundAdmins } from './admins.ts';
import { AssetData } from './assetdata.ts';
import { followRisk } from './assets.ts';
import { openAttester } from './attestation.ts';
import type { Attester } from './attester.ts';
import { Checkpoints } from './checkpoints.ts';
import { Clock } from './clock.ts';
import { Cutter } from './cutter.ts';
import type { Logger } from './embedding.ts';
import { receiptEpoch } from './epoch.ts';
import { type Epochs, openEpochs } from './epochs.ts';
import type { Fault } from './fault.ts';
import { needsPredecessor, openPredecessor, refuseHandedOver, setAside, succeed } from './handover/open.ts';
import type { Predecessor } from './handover/predecessor.ts';
import { hasEnded, inheritance, isEndSealed, successorActs } from './handover/record.ts';
import { Intake } from './intake.ts';
import { runJob } from './job.ts';
import { deriveEpoch, type EpochKeys, storeKey } from './keys/keyring.ts';
import { openKeySource } from './keys/open.ts';
import type { KeySource } from './keys/source.ts';
import { KeysetQuote } from './keysets.ts';
import { Mempool } from './mempool.ts';
import { Migrations } from './migration.ts';
import { Names } from './names.ts';
import { type Orders, openOrders } from './orders.ts';
import { proveCrypto, proveKeys } from './proof.ts';
import { keysetRecord, meta } from './records.ts';
import { Registry } from './registry.ts';
import { Risk } from './risk.ts';
import { Rotator } from './rotator.ts';
import { Runtime } from './runtime.ts';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';
import { COVERED_MAX, Sealer } from './sealer.ts';
import { configDigest } from './settings.ts';
import { Signer } from './signer.ts';
import { openStore, type Store } from './store.ts';
import { openWatermark, type Watermark } from './watermark.ts';
import { openWitnessed } from './witness/open.ts';
import type { Witnessed } from './witnessed.ts';
import { Wrapping } from './wrapping.ts';

interface Modules {
  readonly config: Config;
  readonly log: Logger;
  /** The host's clock, and one that nobody sets. */
  readonly now: () => number;
  readonly monotonic: () => number;
  readonly fatal: (error: unknown) => void;
  /** See `WatermarkOptions`. */
  readonly accept_missing: boolean;
  /** See `SequencerOptions`. */
  readonly accept_new_witness: boolean;
  /** See `SequencerOptions`. */
  readonly successor_of: string | undefined;
  readonly signal: AbortSignal;
  readonly onSucceeding: (stage: string | undefined) => void;
  /** An envelope of this client's was refused. */
  readonly onRefused: (client: string) => void;
}

/** Every room, once `open` has resolved; before, only what it has come to. */
export class Rooms {
  store!: Store;
  runtime!: Runtime;
  /** From when it is there, `now` of all others is its. */
  clock!: Clock;
  epochs!: Epochs;
  wrapping!: Wrapping;
  assets!: Registry;
  assetData!: AssetData;
  names!: Names;
  attester!: Attester;
  /** Undefined where `attestation.witness` is off. */
  witnessed: Witnessed | undefined;
  keysetQuote!: KeysetQuote;
  pendingQuote!: KeysetQuote;
  rotator!: Rotator;
  risk!: Risk;
  mempool!: Mempool;
  intake!: Intake;
  cutter!: Cutter;
  sealer!: Sealer;
  orders!: Orders;
  checkpoints!: Checkpoints;
  migrations!: Migrations;
  handover!: Predecessor;
  pool!: Pool;
  #modules: Modules;
  /** The host's clock. */
  readonly #host: () => number;
  readonly #folder: string;
  readonly #onFault: (fault: Fault) => void;
  #source!: KeySource;
  #watermark: Watermark | undefined;
  #started = false;

  constructor(modules: Modules) {
    this.#modules = modules;
    this.#host = modules.now;
    this.#folder = resolve(modules.config.daemon.state_dir);
    this.#onFault = (fault) => modules.log.warn({ err: fault }, fault.message);
  }

  /** In the order of what needs what. @throws {Fault} what was opened by then is for `close` */
  async open(): Promise<void> {
    await proveCrypto(this.#modules.config.signing.engine);
    this.pool = createPool({ ...this.#modules.config.workers, engine: this.#modules.config.signing.engine });
    const threads = this.pool.ready();
    await this.#openStore();
    await this.#succeed();
    await refuseHandedOver(this.#basics());
    await this.#openKeys();
    await this.#openEvidence();
    this.#openRotation();
    this.#openRisk();
    this.#openWay();
    await this.#openOrders();
    await this.#openMigration();
    await this.#openHandover();
    await threads;
    await this.#start();
  }

  async #openStore(): Promise<void> {
    const { config, log, fatal, accept_missing } = this.#modules;
    this.#source = await openKeySource({ config, state_dir: this.#folder });
    this.store = await openStore({
      folder: join(this.#folder, 'store'),
      key: await storeKey(this.#source),
      ...config.store,
      get free_bytes_min() {
        return config.store.free_bytes_min;
      },
      schema: { version: SCHEMA_VERSION, migrations: MIGRATIONS },
      logger: log,
      fatal,
    });
    this.#watermark = await openWatermark(this.store, { accept_missing });
    const onFault = (fault: Fault) => (this.risk as Risk | undefined)?.noticed(fault);
    this.runtime = new Runtime({ store: this.store, log, fatal, onFault });
    this.#openClock();
  }

  #openClock(): void {
    const { config, log, now: wall, monotonic, fatal } = this.#modules;
    const { store, runtime } = this;
    this.clock = new Clock({
      ...{ store, runtime, wall, monotonic, log, fatal },
      step_max_ms: config.clock.step_max_ms,
      witnessed: config.attestation.witness === 'off' ? undefined : async () => this.witnessed?.time(),
      onAgreed: () => {
        this.risk.reassess();
        this.rotator.wake();
        void this.names.run();
      },
      onFault: this.#onFault,
    });
    this.#modules = { ...this.#modules, now: () => this.clock.now() };
  }

  #basics() {
    const { config, log, now, fatal } = this.#modules;
    return { config, log, now, fatal, store: this.store, pool: this.pool, source: this.#source };
  }

  /** Where this enclave is to go on with a predecessor's state: it has it, and may, when this resolves. */
  async #succeed(): Promise<void> {
    const { successor_of: url, signal, onSucceeding: onStage } = this.#modules;
    while (needsPredecessor(this.store, url)) {
      const about = {
        url: url!,
        signal,
        runtime: this.runtime,
        state_dir: this.#folder,
        onFault: this.#onFault,
        onStage,
      };
      const became = await succeed({ ...this.#basics(), ...about });
      this.#modules = { ...this.#modules, now: this.#host };
      // The mark and the admins that came with the state judge this host's clock as well.
      if (became === 'active') {
        onStage(undefined);
        return this.#openClock();
      }
      const whole = inheritance(this.store)?.state === 'imported';
      await this.#watermark?.close();
      await this.store.close();
      setAside(this.#folder, whole);
      await this.#openStore();
    }
  }

  /** The keys of epochs, and what is wrapped by them. */
  async #openKeys(): Promise<void> {
    const { config, log, now, fatal } = this.#modules;
    const { store, runtime, pool, clock } = this;
    const aging = () => clock.aging();
    this.epochs = await openEpochs({
      store,
      runtime,
      source: this.#source,
      chain_id: String(config.chain.chain_id),
      hybrid_ecdsa: config.quantum.hybrid_ecdsa,
      now,
      prove: (keys) => proveKeys(keys, pool),
      found: (step, log_id) => foundAdmins(step, log_id, config.admin.keys),
    });
    const { epochs } = this;
    this.mempool = Mempool.load(store);
    this.wrapping = new Wrapping({
      store,
      epochs,
      pool,
      options: () => config.rotation,
      now: aging,
      log,
      onEmptied: () => this.rotator.wake(),
      fatal,
    });
    const { wraps } = this.wrapping;
    this.assets = new Registry({ runtime, store, wraps, now, onChanged: () => this.sealer.wake() });
    this.assetData = new AssetData({ runtime, store, wraps, epochs, attested: () => this.#isAttested() });
    this.names = new Names({
      ...{ store, wraps, pool, epochs, fatal },
      now: aging,
      held: () => clock.held,
      options: () => config.names,
      accepts: (epoch) => receiptEpoch(store, epoch, aging()) !== undefined,
      onEmptied: () => this.rotator.wake(),
      onFault: this.#onFault,
    });
  }

  /** The newest evidence is still good. */
  #isAttested(): boolean {
    return (this.attester.newest?.not_after_ms ?? 0) > this.#modules.now();
  }

  async #openEvidence(): Promise<void> {
    const { config, now, fatal } = this.#modules;
    const { store, runtime, pool, epochs } = this;
    const onFault = this.#onFault;
    this.attester = await openAttester({ config, state_dir: this.#folder, store, runtime, pool, now, onFault, fatal });
    const { attester } = this;
    const { accept_new_witness: accept_new } = this.#modules;
    const about = { config, store, runtime, pool, attester, accept_new, now, onFault, fatal };
    this.witnessed = await openWitnessed({ ...about, keyset: () => epochs.active.keyset.keyset });
    const quotes = { attester, now, onFault, fatal };
    this.keysetQuote = new KeysetQuote({
      ...quotes,
      keyset: () => epochs.active.keyset,
      // Another platform measures other things, which is no change of this one.
      onRenewed: (attestation) => {
        if (attester.isByPrimary(attestation)) this.rotator.measured(attestation);
      },
    });
    this.pendingQuote = new KeysetQuote({
      ...quotes,
      keyset: () => keysetRecord(store, meta(store, 'epoch').active + 1)!,
      onRenewed: () => {},
    });
  }

  #openRotation(): void {
    const { config, fatal } = this.#modules;
    const { runtime, store, epochs, clock } = this;
    this.rotator = new Rotator({
      runtime,
      store,
      epochs,
      source: this.#source.name,
      derive: (epoch) => this.#newKeys(epoch),
      backlog: (reader, epoch) => this.wrapping.wraps.backlog(reader, epoch),
      options: () => config.rotation,
      now: () => clock.aging(),
      held: () => clock.held,
      onAnnounced: () => this.sealer.wake(),
      onUnsealed: () => this.sealer.hurry(),
      onExecuted: () => {
        this.witnessed?.renew();
        this.keysetQuote.start();
        this.cutter.wake();
        this.sealer.wake();
      },
      onFault: this.#onFault,
      fatal,
    });
  }

  /** SLH-DSA's part takes most of a second, so a thread does it; and nobody is told of keys that were not tried. */
  async #newKeys(epoch: number): Promise<EpochKeys> {
    const { pool } = this;
    const hybrid_ecdsa = this.#modules.config.quantum.hybrid_ecdsa && this.risk.allowed.ecdsa;
    const keys = await deriveEpoch(this.#source, epoch, hybrid_ecdsa, (seed) =>
      runJob(pool, 'derive', deriveTask(seed)),
    );
    await proveKeys(keys, pool);
    return keys;
  }

  #openRisk(): void {
    const { config, log, now, fatal } = this.#modules;
    const { runtime, store, attester, clock } = this;
    this.risk = new Risk({
      runtime,
      store,
      options: () => config.risk,
      now,
      aging: () => clock.aging(),
      dwell: () => clock.dwell(),
      attestation: () => attester.newest,
      quote_lifetime_ms: config.attestation.quote_lifetime_s * 1000,
      follow: (step, score, now_ms) => followRisk(step, score, now_ms),
      onChange: () => this.cutter.wake(),
      onFault: this.#onFault,
      fatal,
      warn: (detail, message) => log.warn(detail, message),
    });
  }

  /** The way of a transaction: admitted, cut, opened, signed (`#start`), sealed. */
  #openWay(): void {
    const { config, now, fatal, onRefused } = this.#modules;
    const { runtime, store, mempool, pool, epochs, rotator, risk, attester } = this;
    const { log } = epochs;
    const onFault = this.#onFault;
    this.intake = new Intake({
      runtime,
      store,
      mempool,
      log,
      receiptKey: (epoch) => epochs.signing(epoch).receipt,
      options: () => ({ ...config.mempool, ...config.sequencer, ...config.ordering, ...risk.allowed }),
      now,
      aging: () => this.clock.aging(),
    });
    this.cutter = new Cutter({
      runtime,
      store,
      mempool,
      pool,
      log,
      keys: (wanted) => epochs.opening(wanted),
      options: () => ({
        ...config.sequencer,
        ordering: config.ordering,
        // Since the settings wait for a restart, the epoch's own key says what was set when it was made.
        hybrid_ecdsa: risk.allowed.ecdsa,
        attested: this.#isAttested(),
      }),
      holds: (reader) => this.handover.holds(reader) || rotator.holdsCuts(reader) || risk.holdsCuts(reader),
      witnessed: this.witnessed,
      now,
      onRefused,
      onFault,
      fatal,
    });
    this.sealer = new Sealer({
      runtime,
      store,
      pool,
      attester,
      witnessed: this.witnessed,
      watermark: this.#watermark!,
      epochs,
      log,
      get config_digest() {
        return configDigest(config);
      },
      interval_ms: () => (risk.inEmergency ? 0 : config.seal.interval_ms),
      holds: (reader) => rotator.holdsSeals(reader),
      retention_batches: config.store.retention_batches,
      now,
      onFault,
      fatal,
    });
  }

  async #openOrders(): Promise<void> {
    const { config, now } = this.#modules;
    const { runtime, store, epochs, rotator, risk, sealer } = this;
    const redundancy = config.attestation.redundancy === 'off' ? undefined : { now };
    const { clock } = this;
    const acts = actHandlers({ redundancy, clock, onForced: () => rotator.wake(), onRisk: () => risk.reassess() });
    const onExecuted = () => sealer.wake();
    const all = { ...acts, ...successorActs(() => config.handover.delay_ms, clock) };
    this.orders = await openOrders({ runtime, store, log: epochs.log, config, acts: all, now, onExecuted });
  }

  async #openMigration(): Promise<void> {
    const { config, now, fatal } = this.#modules;
    const { runtime, store, pool, epochs } = this;
    const { ml_dsa_87 } = await loadEngine(config.signing.engine);
    const onMoved = () => {
      this.sealer.wake();
      this.rotator.wake();
      this.checkpoints.wake();
    };
    const options = () => config.migration;
    const onFault = this.#onFault;
    this.checkpoints = new Checkpoints({ runtime, store, pool, epochs, options, now, onMoved, onFault, fatal });
    this.migrations = new Migrations({ runtime, store, verify: ml_dsa_87.verify, now, onMoved });
  }

  async #openHandover(): Promise<void> {
    const { epochs, attester, sealer, intake, cutter, rotator } = this;
    this.handover = await openPredecessor({
      ...{ ...this.#basics(), epochs, attester, sealer },
      elapsed: () => ({ aging_ms: this.clock.aging(), uptime_ms: this.clock.uptime() }),
      caughtUp: (limit) => this.#caughtUp(limit),
      onPaused: () => intake.pause(true),
      drained: (limit) => this.#drained(limit),
      onResumed: () => {
        intake.pause(false);
        for (const room of [cutter, sealer, rotator, this.checkpoints]) room.wake();
      },
      onEnded: async () => {
        await Promise.all([cutter, this.risk, this.checkpoints, rotator, this.names].map((room) => room.stop()));
        await this.wrapping.stop();
      },
    });
  }

  /** An enclave that has ended answers, and sees to it that a seal says so. */
  #startEnded(): void {
    this.#started = true;
    this.intake.pause(true);
    this.attester.start();
    this.witnessed?.start();
    this.handover.resumeEnd();
  }

  /** Performs what the last life of the daemon left owed, and lets everything run. */
  async #start(): Promise<void> {
    if (hasEnded(this.store)) return this.#startEnded();
    const { config, now } = this.#modules;
    const { runtime, store, pool, epochs, cutter, sealer, rotator, risk } = this;
    const { in_flight_max } = config.sequencer;
    const timeout_ms = config.workers.task_timeout_ms;
    const signer = new Signer({ pool, watermark: this.#watermark! });
    runtime.start([
      cutter.performer(in_flight_max, timeout_ms),
      signer.performer({
        store,
        epochs,
        chain_id: epochs.log.chain_id,
        in_flight_max,
        timeout_ms,
        witnessed: this.witnessed,
        now,
        onSigned: () => {
          cutter.wake();
          sealer.wake();
          rotator.wake();
          this.checkpoints.wake();
        },
      }),
      ...this.checkpoints.performers(timeout_ms),
      ...this.migrations.performers(timeout_ms),
      sealer.performer(timeout_ms + config.attestation.quote_timeout_ms, () => {
        rotator.wake();
        if (risk.inEmergency) cutter.wake();
      }),
      risk.performer((wish) => rotator.rotate(wish), timeout_ms),
    ]);
    this.#started = true;
    await risk.start();
    this.attester.start();
    this.witnessed?.start();
    this.keysetQuote.start();
    cutter.wake();
    sealer.wake();
    rotator.wake();
    this.wrapping.start();
    this.clock.start();
    await this.names.start();
  }

  /** The settings have changed: what waits by an old one looks again. */
  retime(): void {
    this.cutter.retime();
    this.sealer.retime();
    this.risk.reassess();
    this.rotator.wake();
  }

  /** Once it has started, what is on its way gets its signatures, and a seal covers it. @returns whether all of it is sealed */
  async finish(limit: AbortSignal): Promise<boolean> {
    this.intake.drain();
    await this.handover.stop();
    if (hasEnded(this.store)) return isEndSealed(this.store);
    await this.cutter.stop();
    await this.risk.stop();
    await this.checkpoints.stop();
    // First: from now on no seal waits for a rotation.
    await Promise.race([this.rotator.stop(), aborted(limit)]);
    return this.#drained(limit);
  }

  /** Until one more seal would cover the whole log, or the time is over. */
  async #caughtUp(limit: AbortSignal): Promise<void> {
    const { store, sealer } = this;
    const isNear = () => meta(store, 'log').size - meta(store, 'log').sealed <= COVERED_MAX;
    while (!isNear() && !limit.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const end = store.onCommitted(() => resolve());
      await sealer.hurry();
      await Promise.race([promise, aborted(limit)]);
      end();
    }
  }

  /** Until everything that is owed is done and a seal covers it, or the time is over. @returns whether all of it is sealed */
  async #drained(limit: AbortSignal): Promise<boolean> {
    const covered = () => {
      const { size, sealed } = meta(this.store, 'log');
      return size === sealed;
    };
    for (;;) {
      await this.runtime.drained(limit);
      if (limit.aborted || (covered() && this.runtime.state().owed === 0)) return covered();
      await Promise.race([this.sealer.hurry(), aborted(limit)]);
    }
  }

  /** @param finish  runs before the rooms of one that has started end */
  async close(finish: () => Promise<unknown>): Promise<void> {
    if (this.#started) {
      await finish();
      this.attester.stop();
      this.sealer.stop();
      this.keysetQuote.stop();
      this.pendingQuote.stop();
      this.runtime.stop();
      await this.clock.stop();
      await this.witnessed?.stop();
      await this.names.stop();
      await this.wrapping.stop();
    }
    // Of one that failed to open, some may be missing.
    await (this.pool as Pool | undefined)?.close();
    await this.#watermark?.close();
    await (this.store as Store | undefined)?.close();
  }
}

/** Resolves when the signal fires. */
function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
