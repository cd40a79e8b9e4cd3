// The rooms of a sequencer, assembled in one place: reads like a table of contents (DESIGN §2), each part after what it needs.
// sequencer.ts makes one and says what can be asked of it. Promises that what was opened is closed again, however far it got,
// and that an end under way finishes what is in hand first.
import { join, resolve } from 'node:path';
import { loadEngine } from '../workers/engine.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { actHandlers } from './acts.ts';
import { aborted, caughtUp, drained } from './assembly/drained.ts';
import type { Ground, Modules } from './assembly/ground.ts';
import { openKeys, openRotation } from './assembly/keys.ts';
import { openWay, performers } from './assembly/way.ts';
import type { AssetData } from './assetdata.ts';
import { followRisk } from './assets.ts';
import { openAttester } from './attestation.ts';
import type { Attester } from './attester.ts';
import { Checkpoints } from './checkpoints.ts';
import { Clock } from './clock.ts';
import type { Cutter } from './cutter.ts';
import type { Epochs } from './epochs.ts';
import type { Fault } from './fault.ts';
import { needsPredecessor, openPredecessor, refuseHandedOver, setAside, succeed } from './handover/open.ts';
import type { Predecessor } from './handover/predecessor.ts';
import { hasEnded, inheritance, isEndSealed, successorActs } from './handover/record.ts';
import type { Intake } from './intake.ts';
import { storeKey } from './keys/keyring.ts';
import { openKeySource } from './keys/open.ts';
import type { KeySource } from './keys/source.ts';
import { KeysetQuote } from './keysets.ts';
import type { Mempool } from './mempool.ts';
import { Migrations } from './migration.ts';
import type { Names } from './names.ts';
import { type Orders, openOrders } from './orders.ts';
import { proveCrypto } from './proof.ts';
import { keysetRecord, meta } from './records.ts';
import type { Registry } from './registry.ts';
import { Risk } from './risk.ts';
import type { Rotator } from './rotator.ts';
import { Runtime } from './runtime.ts';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';
import type { Sealer } from './sealer.ts';
import { openStore, type Store } from './store.ts';
import { openWatermark, type Watermark } from './watermark.ts';
import { openWitnessed } from './witness/open.ts';
import type { Witnessed } from './witnessed.ts';
import type { Wrapping } from './wrapping.ts';

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
    await openKeys(this, this.#ground());
    await this.#openEvidence();
    openRotation(this, this.#ground());
    this.#openRisk();
    openWay(this, this.#ground());
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

  #ground(): Ground {
    return { ...this.#modules, source: this.#source, watermark: this.#watermark!, onFault: this.#onFault };
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

  /** The newest evidence is still good. */
  isAttested(): boolean {
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
      caughtUp: (limit) => caughtUp(this, limit),
      onPaused: () => intake.pause(true),
      drained: (limit) => drained(this, limit),
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
    const { runtime, cutter, sealer, rotator, risk } = this;
    runtime.start(performers(this, this.#ground()));
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
    return drained(this, limit);
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
