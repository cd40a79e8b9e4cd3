// The enclave that hands its state over (DESIGN §8). An operator opens the handover; a successor that an admin's order in force allows
// comes by itself, and both show evidence over fresh nonces. Then everything that could be acknowledged pauses, what is in hand is
// signed and sealed, the store is held, and the state goes out chunk by chunk. When the successor has accepted all of it, one commit ends
// this enclave: from there on it seals the entry that says so, and nothing else, in this life or any other. Before that commit
// every failure, silence included, gives everything back as it was.
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { fromBase64, hex, utf8 } from '../../actors/encoding.ts';
import {
  type Elapsed,
  type Handover,
  type HandoverState,
  type HandoverStatus,
  mayImport,
  OFFER_CONTEXT,
  offerDigest,
  type PredecessorGreeting,
  type SuccessionOffer,
  type SuccessorOpening,
  secretInfo,
} from '../../actors/handover.ts';
import type { Keyset } from '../../actors/keyset.ts';
import type { Engine } from '../../workers/engine.ts';
import type { Attester } from '../attester.ts';
import type { Epochs } from '../epochs.ts';
import { Fault } from '../fault.ts';
import { loadHpke } from '../hpke.ts';
import type { KeySource } from '../keys/source.ts';
import { signedHead } from '../log.ts';
import { meta, pendingRotation } from '../records.ts';
import type { Sealer } from '../sealer.ts';
import type { Hold, Reader, Store } from '../store.ts';
import type { Judge } from '../witness/judgement.ts';
import { Arrivals, type HandoverOutcome, refused } from './arrivals.ts';
import { sealSecret } from './channel.ts';
import {
  allowedSuccessors,
  appendHandover,
  endedFor,
  hasEnded,
  isEndSealed,
  isWhole,
  markEnded,
  newestHandover,
} from './record.ts';
import { exportChunks } from './rows.ts';
import { hashState } from './state.ts';
import { type GivenChunk, type Parties, Transfer } from './transfer.ts';

/** `[handover]` of sequencer.toml. */
export interface HandoverOptions {
  readonly successor_url: string;
  readonly drain_timeout_ms: number;
  readonly idle_timeout_ms: number;
  readonly transfer_timeout_ms: number;
}

interface Modules {
  readonly store: Store;
  readonly source: KeySource;
  readonly epochs: Epochs;
  readonly attester: Attester;
  readonly sealer: Pick<Sealer, 'sealLast' | 'stop'>;
  readonly judge: Judge;
  readonly engine: Engine;
  readonly options: () => HandoverOptions;
  /** Seals what there is, but for what a single seal covers, while everything goes on. */
  readonly caughtUp: (limit: AbortSignal) => Promise<void>;
  /** Nothing new is admitted or cut while it is paused. */
  readonly onPaused: () => void;
  /** Waits until what is in hand is signed and sealed. @returns whether it is */
  readonly drained: (limit: AbortSignal) => Promise<boolean>;
  /** Everything goes on as before. */
  readonly onResumed: () => void;
  /** It has ended: the rooms that work by themselves stop. */
  readonly onEnded: () => Promise<void>;
  readonly now: () => number;
  /** What the time until an order is in force goes by. */
  readonly elapsed: () => Elapsed;
  readonly log: { info(detail: object, message: string): void; warn(detail: object, message: string): void };
  readonly fatal: (error: unknown) => void;
}

const RETRY_MS = 1_000;
/** Each has kept everybody waiting; a successor that fails like this would go on for ever. */
const FAILED_MAX = 5;

export class Predecessor {
  readonly #modules: Modules;
  readonly #stop = new AbortController();
  readonly #arrivals: Arrivals;
  #url: string | undefined;
  #paused = false;
  #transfer: Transfer | undefined;
  #idle: NodeJS.Timeout | undefined;
  /** Of the whole transfer. */
  #limit: NodeJS.Timeout | undefined;
  /** Pauses that have come to nothing since the handover was opened. */
  #failed = 0;
  /** Openings and acceptances, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #ending: Promise<void> | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
    this.#arrivals = new Arrivals(modules);
  }

  get state(): HandoverState {
    if (hasEnded(this.#modules.store)) return 'ended';
    if (this.#paused) return 'transferring';
    return this.#url === undefined ? 'none' : 'open';
  }

  /** Where clients are sent; undefined while nobody is going to take over. */
  get successor_url(): string | undefined {
    return endedFor(this.#modules.store)?.successor_url ?? this.#url;
  }

  status(): HandoverStatus {
    const { store } = this.#modules;
    return {
      state: this.state,
      successor_url: this.successor_url ?? null,
      allowed: [...allowedSuccessors(store)],
      newest: newestHandover(store),
    };
  }

  /** Whether cuts wait: asked inside the step that would. */
  holds(reader: Reader): boolean {
    return this.#paused || hasEnded(reader);
  }

  /** Lets a successor come. @param url  where clients go on; `handover.successor_url` where left out */
  open(url?: string): HandoverOutcome {
    const { successor_url } = this.#modules.options();
    const wanted = url ?? (successor_url === '' ? undefined : successor_url);
    if (hasEnded(this.#modules.store)) return refused('handover_ended');
    if (this.#paused) return refused('handover_running');
    if (wanted === undefined) return refused('handover_no_url');
    this.#url = wanted;
    this.#failed = 0;
    this.#modules.log.info({ successor_url: wanted }, 'a handover is open: waiting for a successor');
    return { ok: true };
  }

  /** Takes back that a successor may come, and everything from one that is there. */
  cancel(): Promise<HandoverOutcome> {
    return this.#inTurn(async () => {
      if (hasEnded(this.#modules.store)) return refused('handover_ended');
      this.#drop('it was cancelled');
      this.#url = undefined;
      return { ok: true };
    });
  }

  /** @throws {Fault} of the platform */
  async greet(hello: { schema: number; nonce: string }): Promise<HandoverOutcome<{ greeting: PredecessorGreeting }>> {
    return this.#refusal() ?? this.#arrivals.greet(hello);
  }

  /** Why nobody may come; undefined while a successor may. */
  #refusal() {
    if (hasEnded(this.#modules.store)) return refused('handover_ended');
    return this.#url === undefined ? refused('handover_not_open') : undefined;
  }

  /** Judges the successor, pauses, drains, holds the store, and offers the state. @throws {Fault} worker_failed */
  receive(opening: SuccessorOpening): Promise<HandoverOutcome<{ offer: SuccessionOffer }>> {
    return this.#inTurn(async () => {
      const judged = this.#refusal() ?? (await this.#arrivals.judge(opening));
      if (!judged.ok) return judged;
      this.#drop('another successor has come, or the same one again');
      // That may have been once too often.
      const closed = this.#refusal();
      if (closed !== undefined) return closed;
      return this.#begin(opening, judged.parties);
    });
  }

  async #begin(
    { keyset }: SuccessorOpening,
    judged: Omit<Parties, 'head_digest'>,
  ): Promise<HandoverOutcome<{ offer: SuccessionOffer }>> {
    const { store, caughtUp, options } = this.#modules;
    // Before the pause, so that it is short.
    await loadHpke();
    await caughtUp(AbortSignal.any([AbortSignal.timeout(options().drain_timeout_ms), this.#stop.signal]));
    if (pendingRotation(store) !== undefined) return refused('handover_not_drained', 'a rotation is announced');
    this.#pause();
    let hold: Hold | undefined;
    try {
      hold = await this.#hold();
      if (hold !== undefined) return await this.#offer(keyset, judged, hold);
    } finally {
      // Whatever has gone wrong on the way: nobody is left to take anything.
      if (this.#transfer === undefined) {
        hold?.release();
        this.#resume();
      }
    }
    return refused('handover_not_drained', 'what is in hand was not sealed in time; it goes on');
  }

  async #offer(
    keyset: Keyset,
    judged: Omit<Parties, 'head_digest'>,
    hold: Hold,
  ): Promise<HandoverOutcome<{ offer: SuccessionOffer }>> {
    const { store, source, log, epochs, engine, options } = this.#modules;
    const head = signedHead(store, meta(store, 'log').sealed)!;
    const parties: Parties = { ...judged, head_digest: head.digest };
    const { keyset: _, found: __, ...about } = parties;
    const { sealed, keys } = await sealSecret(fromBase64(keyset.handover!), secretInfo(about));
    const { ml_dsa_87 } = epochs.signing(epochs.active.keys.epoch);
    const signature = engine.ml_dsa_87.sign(ml_dsa_87, offerDigest(about, sealed), utf8(OFFER_CONTEXT));
    if (this.#stop.signal.aborted) return refused('handover_not_drained', 'the daemon stops');
    const session = hex(randomBytes(16));
    const state = hashState(store);
    const chunks = exportChunks(store, source, () => state);
    this.#transfer = new Transfer({ session, parties, keys, hold, chunks, state });
    this.#listen();
    this.#limit = setTimeout(() => {
      void this.#inTurn(async () => this.#drop('it took longer than handover.transfer_timeout_ms'));
    }, options().transfer_timeout_ms);
    log.info({ session, keyset_digest: about.to_keyset_digest }, 'a successor takes the state: nothing is admitted');
    return {
      ok: true,
      offer: { session, head, sealed: sealed.toBase64(), signature: signature.toBase64() },
    };
  }

  /** The next chunk, or the newest one again. @throws {Fault} */
  async chunk(session: string, index: number): Promise<HandoverOutcome<{ chunk: GivenChunk }>> {
    const transfer = this.#transfer;
    if (transfer?.session !== session) return refused('handover_session_unknown');
    clearTimeout(this.#idle);
    try {
      const chunk = await transfer.chunk(index);
      return chunk === undefined ? refused('handover_session_unknown') : { ok: true, chunk };
    } finally {
      if (this.#transfer === transfer) this.#listen();
    }
  }

  /** The successor has all of it: this enclave ends. What it says twice is true twice. @throws {Fault} of the store: it has not ended */
  accept(session: string, boxed: Uint8Array): Promise<HandoverOutcome> {
    return this.#inTurn(async () => {
      const transfer = this.#transfer;
      if (transfer?.session !== session) return refused('handover_session_unknown');
      if (hasEnded(this.#modules.store)) return { ok: true };
      if (!(await transfer.isAccepted(boxed))) return refused('handover_not_accepted');
      try {
        const ended = await this.#end(transfer);
        if (!ended.ok) this.#drop(`it may not end: ${ended.code}`);
        return ended;
      } finally {
        // The store could not be written: the successor says it again, or is silent.
        if (this.#transfer === transfer) this.#listen();
      }
    });
  }

  async #end(transfer: Transfer): Promise<HandoverOutcome> {
    const { now, log } = this.#modules;
    const { parties, state, hold } = transfer;
    const { keyset, found, log_id, from_keyset_digest, to_keyset_digest, head_digest } = parties;
    const assets = await state;
    clearTimeout(this.#idle);
    const outcome = await hold.commit((step): HandoverOutcome => {
      // It may have been dropped while this step waited for its turn, and anything may have been acknowledged since.
      if (this.#transfer !== transfer || !isWhole(step)) return refused('handover_session_unknown');
      // Orders can't come in between while the store is held; the times of what they allow go on.
      const may = mayImport(allowedSuccessors(step), found, this.#modules.elapsed());
      if (!may.ok) return refused(may.code);
      const handover: Handover = {
        ...{ log_id, leaf_index: meta(step, 'log').size + 1, from_epoch: meta(step, 'epoch').active },
        ...{ from_keyset_digest, to_epoch: keyset.epoch, to_keyset_digest, head_digest },
        ...{ ...assets, timestamp_ms: now() },
      };
      appendHandover(step, { handover, keyset, successor_url: this.#url! });
      markEnded(step, handover);
      return { ok: true };
    });
    if (!outcome.ok) return outcome;
    clearTimeout(this.#limit);
    log.info({ to_keyset_digest }, 'this enclave has ended');
    this.#seal(hold);
    return outcome;
  }

  /** At the start of an enclave that had ended before: it seals that, if it has not yet. */
  resumeEnd(): void {
    this.#seal(this.#modules.store.hold());
  }

  /** For tests, and for whoever closes: resolves when the end is sealed, or the daemon stops. */
  async ended(): Promise<void> {
    await this.#ending;
  }

  #seal(hold: Hold): void {
    this.#ending ??= this.#sealEnd(hold).catch(this.#modules.fatal);
  }

  async #sealEnd(hold: Hold): Promise<void> {
    const { store, sealer, epochs, log, onEnded } = this.#modules;
    sealer.stop();
    // First, since the successor waits for it; what the other rooms try meanwhile, the held store refuses.
    while (!isEndSealed(store) && !this.#stop.signal.aborted) {
      try {
        await sealer.sealLast(hold.commit, this.#stop.signal);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (!(error instanceof Fault)) throw error;
        log.warn({ err: error }, 'the end of this enclave is not sealed yet; it is tried again');
        await delay(RETRY_MS, undefined, { signal: this.#stop.signal }).catch(() => {});
      }
    }
    await onEnded();
    if (isEndSealed(store)) epochs.endSigning();
  }

  /** A transfer that is on its way has failed; an end that is not sealed yet is sealed at the next start. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#drop('the daemon stops');
    // Whoever is in turn meets the signal, or finds that the transfer is gone.
    await this.#turn;
    await this.#ending;
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(act);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  #pause(): void {
    this.#paused = true;
    this.#modules.onPaused();
  }

  /** @returns undefined where it could not be drained in time */
  async #hold(): Promise<Hold | undefined> {
    const { store, drained, options } = this.#modules;
    const limit = AbortSignal.any([AbortSignal.timeout(options().drain_timeout_ms), this.#stop.signal]);
    while (!limit.aborted) {
      if (!(await drained(limit))) return undefined;
      const hold = store.hold();
      let whole = false;
      try {
        // Behind every step that was taken before.
        whole = await hold.commit(isWhole);
      } finally {
        if (!whole) hold.release();
      }
      if (whole) return hold;
      await delay(RETRY_MS / 10, undefined, { signal: limit }).catch(() => {});
    }
    return undefined;
  }

  /** Everything goes on as it was before the successor came. */
  #drop(reason: string): void {
    clearTimeout(this.#idle);
    clearTimeout(this.#limit);
    const transfer = this.#transfer;
    if (transfer === undefined || hasEnded(this.#modules.store)) return;
    this.#transfer = undefined;
    transfer.hold.release();
    this.#modules.log.warn({ reason, session: transfer.session }, 'the transfer has failed; everything goes on here');
    this.#resume();
  }

  #resume(): void {
    this.#paused = false;
    this.#failed += 1;
    this.#modules.onResumed();
    if (this.#failed < FAILED_MAX || this.#url === undefined) return;
    this.#url = undefined;
    this.#modules.log.warn(
      { failed: this.#failed },
      'the handover is closed: open it again once it is known why it fails',
    );
  }

  #listen(): void {
    clearTimeout(this.#idle);
    if (hasEnded(this.#modules.store)) return;
    this.#idle = setTimeout(() => {
      void this.#inTurn(async () => this.#drop('the successor is silent'));
    }, this.#modules.options().idle_timeout_ms);
  }
}
