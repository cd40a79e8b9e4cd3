// What a program that embeds a sequencer gives and gets: options, events, and what can be asked of it. The API is one such
// program, the demo and the tests are others; sequencer.ts makes the one that runs.
import type { EventEmitter } from 'node:events';
import type { RegistrationInput } from '../actors/asset.ts';
import type { BatchFile } from '../actors/batch.ts';
import type { EnvelopeInput } from '../actors/envelope.ts';
import type { ReportedIndicatorInput } from '../actors/indicator.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Attestation } from '../actors/quote.ts';
import type { CompleteMigrationInput, StartMigrationInput } from '../actors/wish.ts';
import type { Change } from '../config/diff.ts';
import type { Config, Settings } from '../config/schema.ts';
import type { AssetData } from './assetdata.ts';
import type { Clock } from './clock.ts';
import type { ActiveEpoch, Epochs } from './epochs.ts';
import type { Predecessor } from './handover/predecessor.ts';
import type { Admission } from './intake.ts';
import type { MigrationOutcome, Migrations } from './migration.ts';
import type { Names } from './names.ts';
import type { Orders } from './orders.ts';
import type { AssetAnswer, Registry } from './registry.ts';
import type { Risk, ThreatUpdate } from './risk.ts';
import type { RotationOutcome, Wish } from './rotator.ts';
import type { Reloaded, Settings as SettingsRoom } from './settings.ts';
import type { Ready, Status } from './status.ts';
import type { Store } from './store.ts';
import type { TeeProvider } from './tee/agent.ts';
import type { Wrapping } from './wrapping.ts';

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
  /** How `reload` reads them anew. Where left out: `settings` where that is a file, else there is nothing new. @throws {ConfigError} */
  readonly load?: () => Config;
  /** JSON lines on standard error from `daemon.log_level` on, where left out. */
  readonly log?: Logger;
  /** Wall clock in ms; the host's. */
  readonly now?: () => number;
  /** In ms, set by nobody; steps of `now` are told by it. The process's own where neither is given. */
  readonly monotonic?: () => number;
  /**
   * Told of a broken invariant: the process must end, and the next start replays the outbox. Where left out, the error is
   * thrown where nothing catches it.
   */
  readonly fatal?: (error: unknown) => void;
  /** An operator's word for one start: see `WatermarkOptions`. */
  readonly accept_missing_watermark?: boolean;
  /** An operator's word for one start: the witness was replaced, or restored from a copy, and is the one to remember. */
  readonly accept_new_witness?: boolean;
  /**
   * The URL of an enclave that hands its log over: its state is taken into an empty state folder, and the sequencer is there once
   * that enclave has ended. Where the state was taken already, this changes nothing.
   */
  readonly successor_of?: string;
  /** Gives up waiting for a predecessor. */
  readonly signal?: AbortSignal;
  /** Told, in words, what a succession waits for or does, each time that it changes; and `undefined` once it is over. */
  readonly onSucceeding?: (stage: string | undefined) => void;
}

export interface SequencerEvents {
  /** An envelope from this client's address was refused. */
  refused: [client: string];
  /** A reload has changed settings. */
  reloaded: [changes: readonly Change[]];
}

export interface Sequencer extends AsyncDisposable {
  /** What holds now: its tables are those of the newest reload. */
  readonly config: Config;
  /** What reloads came to. */
  readonly settings: Pick<SettingsRoom, 'state' | 'counts'>;
  /**
   * Reads the settings anew and applies, all or none, what may change while it runs; durable when it resolves with `ok`.
   * What needs a restart is named and waits; on any mistake the old settings stay.
   *
   * @throws {Fault} of the store; nothing has changed then
   */
  reload(): Promise<Reloaded>;
  /** Secrets under the keys of epochs, and the sweep that moves them. */
  readonly wrapping: Wrapping;
  readonly store: Store;
  /** The active one: its keys, its published keyset, and the log. */
  readonly epoch: ActiveEpoch;
  /** The keys of every epoch that has any. */
  readonly epochs: Epochs;
  /** What envelopes are encrypted to. */
  readonly keyset: Keyset;
  readonly events: EventEmitter<SequencerEvents>;
  /** What admins order; each takes a signature of theirs. Nothing else retires an epoch by force. */
  readonly orders: Orders;
  /** Everything about registered assets but their data. */
  readonly assets: Registry;
  readonly assetData: AssetData;
  /** IPNS names that are republished for their owners. */
  readonly names: Names;
  /**
   * Admits one encrypted transaction; durable when it resolves with `ok`.
   *
   * @param envelope  from whoever: it is validated here, and `invalid_envelope` names the field that is wrong
   * @param client    who is told of by the event `refused` if it can't be opened
   */
  submitEncrypted(envelope: EnvelopeInput, client?: string): Promise<Submission>;
  /** What the next batch is ordered under, and why. */
  readonly risk: Risk;
  /**
   * Reports threats, all or none; durable, and counted, when it resolves with `ok`.
   *
   * @param input  one, or at most 256; validated here, and `invalid_indicator` names the field that is wrong
   */
  updateThreat(input: ReportedIndicatorInput | readonly ReportedIndicatorInput[]): Promise<ThreatUpdate>;
  /** Cuts a batch now. @returns its height; undefined when nothing is pending, or a rotation is on its way */
  createBatch(): Promise<number | undefined>;
  batch(height: number): BatchFile | undefined;
  /** Newest first. */
  recentBatches(count: number): BatchFile[];
  /** The active keyset with a quote, over the nonce where one is given. */
  attestKeyset(nonce?: Uint8Array): Promise<Attestation>;
  /** The announced keyset with a quote, so that clients can verify it before it counts; undefined when none is. */
  attestPending(): Promise<Attestation> | undefined;
  /**
   * Announces the next epoch of keys; durable when it resolves with `ok`. It signs from the height that the outcome names,
   * or from the deadline on, once the old epoch's batches are sealed.
   */
  rotate(wish: Wish): Promise<RotationOutcome>;
  /** How many secrets an epoch still wraps. */
  backlog(epoch: number): number;
  /** Puts an asset under a policy; durable and in the log when it resolves with `ok`. */
  registerAsset(input: RegistrationInput): Promise<AssetAnswer>;
  readonly migrations: Migrations;
  /** Hands the log over to a successor enclave. */
  readonly handover: Predecessor;
  /** Begins a migration of all assets; durable when it resolves with `ok`, and running once its checkpoint is signed. */
  startMigration(wish?: StartMigrationInput): Promise<MigrationOutcome>;
  /** Completes the migration that runs, by its checkpoint: the id, or as a batch has it. There is no way back from it. */
  completeMigration(checkpoint: CompleteMigrationInput): Promise<MigrationOutcome>;
  /** Policy and state of an asset; undefined when there is none of this id. */
  getAssetProtection(asset_id: string): ReturnType<Registry['protection']>;
  /** The TEE provider protocol of agents, over the primary platform. */
  readonly tee: TeeProvider;
  /**
   * Turns the second platform on or off from the next seal on, and names whose evidence it is (the upstream's
   * `set_phala_redundancy`); durable when it resolves.
   *
   * @param worker   the operator's names, 1 to 128 bytes each, which its quote binds
   * @returns        false where `attestation.redundancy` names none that could be turned on
   */
  setRedundancy(enabled: boolean, worker?: string | null, enclave?: string | null): Promise<boolean>;
  /** The newest evidence that verified; undefined before the first. */
  readonly attestation: Attestation | undefined;
  status(): Status;
  /** The clock that it goes by, in ms. */
  now(): number;
  /** What is believed of the host's clock. */
  readonly clock: Clock;
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
