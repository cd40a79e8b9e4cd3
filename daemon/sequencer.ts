// The sequencer: what can be asked of it, over the rooms that assembly.ts puts together. `main.ts` and the demo make one; the API
// and the feed talk to it. What it has acknowledged is durable, whatever ends the process.

import { EventEmitter } from 'node:events';
import type { RegistrationInput } from '../actors/asset.ts';
import type { BatchFile } from '../actors/batch.ts';
import { Envelope, type EnvelopeInput } from '../actors/envelope.ts';
import type { ReportedIndicatorInput } from '../actors/indicator.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Attestation } from '../actors/quote.ts';
import type { CompleteMigrationInput, StartMigrationInput } from '../actors/wish.ts';
import { loadConfig } from '../config/load.ts';
import type { Config, Settings } from '../config/schema.ts';
import { firstIssue } from './api/input.ts';
import { Rooms } from './assembly.ts';
import type { AssetData } from './assetdata.ts';
import { batchFile, recentBatches } from './batches.ts';
import type { Clock } from './clock.ts';
import type { Sequencer, SequencerEvents, SequencerOptions, Submission } from './embedding.ts';
import type { ActiveEpoch, Epochs } from './epochs.ts';
import type { Predecessor } from './handover/predecessor.ts';
import { createLogger } from './logger.ts';
import type { MigrationOutcome, Migrations } from './migration.ts';
import type { Names } from './names.ts';
import type { Orders } from './orders.ts';
import { pendingRotation } from './records.ts';
import { setRedundancy } from './redundancy.ts';
import type { Registry } from './registry.ts';
import type { Risk, ThreatUpdate } from './risk.ts';
import type { RotationOutcome, Wish } from './rotator.ts';
import { ruleFlaws } from './rules.ts';
import { type Reloaded, Settings as SettingsRoom } from './settings.ts';
import { type Ready, ready, type Status, status } from './status.ts';
import type { Store } from './store.ts';
import { type TeeProvider, teeProvider } from './tee/agent.ts';
import type { Wrapping } from './wrapping.ts';

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
  const sequencer = new Assembled(options);
  try {
    await sequencer.open();
    return sequencer;
  } catch (error) {
    await sequencer.close(0);
    throw error;
  }
}

function configOf(settings: Settings | string | undefined): Config {
  const given = typeof settings === 'string' ? { file: settings } : { settings };
  return loadConfig({ ...given, check: ruleFlaws }).config;
}

/** Past every handler of the call that met it, so that the process ends unless its host says otherwise. */
function rethrow(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}

class Assembled implements Sequencer {
  readonly config: Config;
  readonly settings: SettingsRoom;
  readonly events = new EventEmitter<SequencerEvents>();
  readonly #rooms: Rooms;
  readonly #now: () => number;
  #tee: TeeProvider | undefined;
  #finishing: Promise<boolean> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: SequencerOptions) {
    const config = options.config ?? configOf(options.settings);
    const host = options.now ?? Date.now;
    // As long as no room is open, nothing has agreed to anything.
    this.#now = () => (this.#rooms.clock as Clock | undefined)?.now() ?? host();
    this.settings = new SettingsRoom({
      config,
      load: options.load ?? (() => (options.config === undefined ? configOf(options.settings) : config)),
      journal: (type, data, at_ms) => this.#rooms.runtime.commit((step) => step.journal(type, data, at_ms)),
      onApplied: (changes) => {
        this.#rooms.retime();
        this.events.emit('reloaded', changes);
      },
      now: this.#now,
    });
    this.config = this.settings.view;
    this.#rooms = new Rooms({
      config: this.config,
      log: options.log ?? createLogger(this.config.daemon.log_level),
      now: host,
      // Whoever gives a clock means it.
      monotonic: options.monotonic ?? options.now ?? (() => performance.now()),
      fatal: options.fatal ?? rethrow,
      accept_missing: options.accept_missing_watermark ?? false,
      accept_new_witness: options.accept_new_witness ?? false,
      successor_of: options.successor_of,
      signal: options.signal ?? new AbortController().signal,
      onSucceeding: options.onSucceeding ?? (() => {}),
      onRefused: (client) => this.events.emit('refused', client),
    });
  }

  open(): Promise<void> {
    return this.#rooms.open();
  }

  get store(): Store {
    return this.#rooms.store;
  }

  get epoch(): ActiveEpoch {
    return this.#rooms.epochs.active;
  }

  get epochs(): Epochs {
    return this.#rooms.epochs;
  }

  get keyset(): Keyset {
    return this.epoch.keyset.keyset;
  }

  get names(): Names {
    return this.#rooms.names;
  }

  get wrapping(): Wrapping {
    return this.#rooms.wrapping;
  }

  get orders(): Orders {
    return this.#rooms.orders;
  }

  get risk(): Risk {
    return this.#rooms.risk;
  }

  get assets(): Registry {
    return this.#rooms.assets;
  }

  get assetData(): AssetData {
    return this.#rooms.assetData;
  }

  async submitEncrypted(envelope: EnvelopeInput, client?: string): Promise<Submission> {
    const parsed = Envelope.safeParse(envelope);
    if (!parsed.success) return { ok: false, code: 'invalid_envelope', ...firstIssue(parsed.error) };
    const admission = await this.#rooms.intake.admit(parsed.data, client);
    if (admission.ok) this.#rooms.cutter.wake();
    return admission;
  }

  updateThreat(input: ReportedIndicatorInput | readonly ReportedIndicatorInput[]): Promise<ThreatUpdate> {
    return this.risk.updateThreat(input);
  }

  registerAsset(input: RegistrationInput) {
    return this.assets.register(input);
  }

  get migrations(): Migrations {
    return this.#rooms.migrations;
  }

  get handover(): Predecessor {
    return this.#rooms.handover;
  }

  startMigration(wish?: StartMigrationInput): Promise<MigrationOutcome> {
    return this.migrations.start(wish);
  }

  completeMigration(checkpoint: CompleteMigrationInput): Promise<MigrationOutcome> {
    return this.migrations.complete(checkpoint);
  }

  getAssetProtection(asset_id: string) {
    return this.assets.protection(asset_id);
  }

  createBatch(): Promise<number | undefined> {
    return this.#rooms.cutter.cutNow();
  }

  batch(height: number): BatchFile | undefined {
    return batchFile(this.store, height);
  }

  recentBatches(count: number): BatchFile[] {
    return recentBatches(this.store, count);
  }

  attestKeyset(nonce?: Uint8Array): Promise<Attestation> {
    return this.#rooms.keysetQuote.give(nonce);
  }

  attestPending(): Promise<Attestation> | undefined {
    return pendingRotation(this.store) === undefined ? undefined : this.#rooms.pendingQuote.give();
  }

  reload(): Promise<Reloaded> {
    return this.settings.reload();
  }

  rotate(wish: Wish): Promise<RotationOutcome> {
    return this.#rooms.rotator.rotate(wish);
  }

  backlog(epoch: number): number {
    return this.wrapping.wraps.backlog(this.store, epoch);
  }

  get attestation(): Attestation | undefined {
    return this.#rooms.attester.newest;
  }

  get tee(): TeeProvider {
    this.#tee ??= teeProvider({ platform: this.#rooms.attester.primary, pool: this.#rooms.pool, now: this.#now });
    return this.#tee;
  }

  setRedundancy(enabled: boolean, worker: string | null = null, enclave: string | null = null): Promise<boolean> {
    const wish = { enabled, worker_id: worker, enclave_id: enclave };
    return setRedundancy(this.#rooms.runtime, this.config, wish, this.#now());
  }

  now(): number {
    return this.#now();
  }

  get clock(): Clock {
    return this.#rooms.clock;
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
      settings: this.settings.state,
      store: this.store,
      runtime: this.#rooms.runtime.state(),
      epoch: this.epoch,
      mempool_size: this.#rooms.mempool.size,
      draining: this.#rooms.intake.draining,
      attestation: this.#rooms.attester.newest,
      witness: this.#rooms.witnessed?.state,
      clock: this.clock.state,
      handover: this.handover.state,
      attesting: this.#rooms.attester.state,
      risk: this.risk,
      now_ms: this.#now(),
    };
  }

  drain(): void {
    this.#rooms.intake.drain();
  }

  finish(limit_ms = this.config.daemon.stop_timeout_s * 1000): Promise<boolean> {
    this.#finishing ??= this.#rooms.finish(AbortSignal.timeout(limit_ms));
    return this.#finishing;
  }

  close(limit_ms?: number): Promise<void> {
    this.#closing ??= this.#rooms.close(() => this.finish(limit_ms));
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
