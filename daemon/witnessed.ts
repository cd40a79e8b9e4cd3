// What the sequencer does with its witness (DESIGN §6, `attestation.witness`): keeps a channel to it, shows it each order before
// anything of it is opened and each head before it is sealed, and knows what follows when it does not answer. Under `required` they
// wait, while admission goes on; under `preferred` they wait for a bounded time and go on with freshness 0; a witness that comes
// back takes part again. A conflict is another matter: then this store is a copy from earlier, or another copy runs, and under
// either nothing more is opened, signed or sealed by this process. Called by the cutter, the signer and the sealer.
import { setTimeout as delay } from 'node:timers/promises';
import type { Ordered } from '../actors/batch.ts';
import { base64 } from '../actors/encoding.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Enclave } from '../actors/redundancy.ts';
import { FRESHNESS, type Head } from '../actors/seal.ts';
import {
  type Answer,
  type Ask,
  holdAgainst,
  knownOrder,
  type Position,
  vouched,
  WITNESS_REFUSALS,
  type WitnessRefusal,
} from '../actors/witness.ts';
import type { WITNESS_MODES } from '../config/schema.ts';
import { Fault } from './fault.ts';
import { logRoot } from './log.ts';
import { meta } from './records.ts';
import type { Runtime } from './runtime.ts';
import type { Reader, Store, Transaction } from './store.ts';
import type { VerifiedQuote } from './tee/platform.ts';
import { claimOf } from './witness/claim.ts';
import { type Line, type LineOptions, openLine } from './witness/line.ts';
import { OrderQueue } from './witness/orderqueue.ts';

/** Between two tries to reach it, doubling. */
const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 5_000;

export const WITNESS_STATES = ['unknown', 'working', 'failing', 'conflict'] as const;
export interface WitnessState {
  readonly mode: Exclude<(typeof WITNESS_MODES)[number], 'off'>;
  /** `conflict`: it saw another history than this one. */
  readonly state: (typeof WITNESS_STATES)[number];
  readonly since_ms: number;
  readonly reason: string | null;
  /** The largest size that it acknowledged, as this store knows. */
  readonly size: number;
}

/** `meta`, under the name `witness`: who it was when it was first seen, and how far it had come. */
interface WitnessRecord {
  readonly key: string;
  readonly size: number;
}

export const witnessRecord = (reader: Reader): WitnessRecord | undefined =>
  reader.get('meta', 'witness') as WitnessRecord | undefined;

/** What a head gets from the witness, before it is promised. */
export interface WitnessedHead {
  readonly freshness: Head['freshness'];
  /** ML-DSA-87 over size and root. */
  readonly acknowledgement: string;
}

/** A head's evidence from the witness, as a seal carries it. */
export interface WitnessQuote extends VerifiedQuote {
  readonly witness: { readonly key: string; readonly acknowledgement: string };
}

interface Modules {
  readonly mode: WitnessState['mode'];
  readonly store: Store;
  readonly runtime: Runtime;
  readonly line: Omit<LineOptions, 'keyset'>;
  readonly keyset: () => Keyset;
  /** How long orders and heads wait under `preferred`. */
  readonly patience_ms: number;
  /** An operator's word for one start: a witness with another key, or from a backup, is the one to remember from now on. */
  readonly accept_new: boolean;
  readonly enclave: () => Enclave;
  readonly now: () => number;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

export class Witnessed {
  readonly #modules: Modules;
  readonly #stop = new AbortController();
  readonly #orders: OrderQueue;
  #line: Line | undefined;
  /** Ends the life of the present channel. */
  #broken: ((fault: Fault | undefined) => void) | undefined;
  #position: Position | undefined;
  #state: WitnessState['state'] = 'unknown';
  #reason: string | null = null;
  #since_ms = 0;
  #accept_new: boolean;
  #turn: Promise<unknown> = Promise.resolve();
  /** The present channel has served. */
  #useful = false;
  #changed = Promise.withResolvers<void>();
  #living: Promise<void> | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
    this.#accept_new = modules.accept_new;
    this.#orders = new OrderQueue((orders) => this.#ask({ type: 'orders', orders }));
  }

  get state(): WitnessState {
    const size = witnessRecord(this.#modules.store)?.size ?? 0;
    return { mode: this.#modules.mode, state: this.#state, since_ms: this.#since_ms, reason: this.#reason, size };
  }

  /** Another epoch is active: its keyset is attested to the witness before anything is asked under it. Waits for nothing. */
  renew(): void {
    this.#line = undefined;
    this.#broken?.(undefined);
  }

  /** Waits for nothing. */
  start(): void {
    this.#living ??= this.#live().catch(this.#modules.fatal);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#broken?.(undefined);
    await this.#living;
  }

  /**
   * Before anything is signed, the witness has been asked once whether this is the newest copy.
   *
   * @throws {Fault} witness_conflict; under `required` also witness_failed, when it was not reached in time
   */
  async clear(signal: AbortSignal): Promise<void> {
    if (this.#position === undefined) await this.#working(signal);
    this.#refuseConflict();
  }

  /** Shows it an order. @throws {Fault} as `clear` */
  async order(height: number, order: readonly Ordered[], signal: AbortSignal): Promise<void> {
    await this.#attempt(signal, async (line) => {
      const answer = await this.#orders.ask({ height, order: [...order] });
      if (!answer.ok) return this.#refused(answer);
      const { log_id } = meta(this.#modules.store, 'genesis');
      line.verify('order', log_id, height, knownOrder(order), answer.signature);
    });
  }

  /** Shows it the newest seal without making anything wait, so that what it shows to auditors is as new. */
  async follow(): Promise<void> {
    const { store, onFault, fatal } = this.#modules;
    const line = this.#line;
    if (line === undefined || (this.#position?.size ?? 0) < meta(store, 'log').sealed) return;
    try {
      await this.#inTurn(async () => {
        const position = this.#position!;
        const answer = await this.#ask(claimOf(store, position.size, position), line);
        if (answer.ok) this.#position = answer.position;
        else await this.#refused(answer);
      });
    } catch (error) {
      if (!(error instanceof Fault)) fatal(error);
      else if (!this.#stop.signal.aborted) onFault(error);
    }
  }

  /** One claim after the other: each begins where the one before ended. */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(act);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Has it follow the log to a head. @returns undefined where seals go on without it. @throws {Fault} as `clear` */
  async head(size: number, root: string): Promise<WitnessedHead | undefined> {
    return this.#attempt(AbortSignal.timeout(this.#modules.patience_ms), (line) =>
      this.#inTurn(() => this.#lead(size, root, line)),
    );
  }

  async #lead(size: number, root: string, line: Line): Promise<WitnessedHead | undefined> {
    for (;;) {
      const claim = claimOf(this.#modules.store, size, this.#position ?? line.position);
      const answer = await this.#ask(claim, line);
      if (!answer.ok) {
        await this.#refused(answer);
        return undefined;
      }
      const { position } = answer;
      const reached = claim.from + claim.entries.length;
      const { log_id } = meta(this.#modules.store, 'genesis');
      line.verify('head', log_id, reached, { count: 0, root: claim.root }, answer.signature);
      this.#position = position;
      if (reached < size) continue;
      if (claim.root !== root) throw new Error('the log is append-only');
      const freshness = vouched({ ...answer, sealed: position.sealed }) ? FRESHNESS.witness : FRESHNESS.local;
      return { freshness, acknowledgement: answer.signature };
    }
  }

  /** Its quote over a head that it acknowledged. @returns undefined as `head` */
  async quote(head: Head, not_after_ms: number, acknowledgement: string): Promise<WitnessQuote | undefined> {
    return this.#attempt(AbortSignal.timeout(this.#modules.patience_ms), async (line) => {
      const { worker_id, enclave_id } = this.#modules.enclave();
      const wish = { type: 'quote', head, not_after_ms, worker_id, enclave_id } as const;
      const answer = await this.#ask(wish, line);
      if (!answer.ok) {
        await this.#refused(answer);
        return undefined;
      }
      const quote = await line.quote(wish, answer);
      return { ...quote, witness: { key: base64(line.witness_key), acknowledgement } };
    });
  }

  /** What its clock shows; undefined where it isn't reached, or of a version that doesn't say. */
  async time(): Promise<number | undefined> {
    if (this.#line === undefined) return undefined;
    try {
      const answer = await this.#ask({ type: 'time' });
      return answer.ok ? answer.now_ms : undefined;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (!this.#stop.signal.aborted) this.#modules.onFault(error);
      return undefined;
    }
  }

  /** Part of the step that promises a head: from now on a witness that stands below it was put back. */
  note(step: Transaction, size: number): void {
    const record = witnessRecord(step);
    if (record !== undefined && record.size < size) step.put('meta', 'witness', { ...record, size });
  }

  /** Under `required` a failure is the caller's to try again; under `preferred` it means to go on without. */
  async #attempt<T>(signal: AbortSignal, act: (line: Line) => Promise<T>): Promise<T | undefined> {
    const line = await this.#working(signal);
    this.#refuseConflict();
    if (line === undefined) return undefined;
    try {
      const outcome = await act(line);
      this.#useful = true;
      return outcome;
    } catch (error) {
      if (!(error instanceof Fault) || error.code === 'witness_conflict') throw error;
      if (error.code === 'witness_failed') this.#fail(error, line);
      if (this.#modules.mode === 'required') throw error;
      this.#modules.onFault(error);
      return undefined;
    }
  }

  /** The open channel; undefined where nobody waits for one any longer. @throws {Fault} witness_failed under `required` */
  async #working(signal: AbortSignal): Promise<Line | undefined> {
    const { mode, patience_ms, line } = this.#modules;
    const patience = mode === 'required' ? signal : AbortSignal.any([signal, AbortSignal.timeout(patience_ms)]);
    while (this.#line === undefined && this.#state !== 'conflict') {
      // One that is known to fail has had its time.
      if (patience.aborted || (mode === 'preferred' && this.#state === 'failing')) {
        if (mode === 'preferred') return undefined;
        throw new Fault({ code: 'witness_failed', url: line.url, reason: this.#reason ?? 'it was not reached yet' });
      }
      await Promise.race([this.#changed.promise, aborted(patience)]);
    }
    return this.#line;
  }

  /** @param line  one that has given way to the next still answers what was begun with it */
  async #ask<Type extends Ask['type']>(
    ask: Extract<Ask, { type: Type }>,
    line = this.#line,
  ): Promise<Answer<Type> | WitnessRefusal> {
    if (line === undefined)
      throw new Fault({ code: 'witness_failed', url: this.#modules.line.url, reason: 'it is gone' });
    try {
      return await line.ask<Type>(ask, this.#stop.signal);
    } catch (error) {
      if (error instanceof Fault) this.#fail(error, line);
      throw error;
    }
  }

  /** What the witness refuses: a conflict stops everything, the rest concerns this question alone. */
  async #refused(refusal: WitnessRefusal): Promise<void> {
    const { code, message } = refusal;
    if (WITNESS_REFUSALS[code].conflict) {
      await this.#become('conflict', message);
      this.#broken?.(undefined);
      this.#refuseConflict();
    }
    // Nobody can mend it, and it is no sign of another copy: the seal will say that this order has no witness.
    if (code === 'order_late') return this.#modules.onFault(this.#fault(message));
    throw this.#fault(message);
  }

  #fault(reason: string): Fault {
    return new Fault({ code: 'witness_failed', url: this.#modules.line.url, reason });
  }

  #refuseConflict(): void {
    if (this.#state === 'conflict') throw new Fault({ code: 'witness_conflict', reason: this.#reason });
  }

  /** Ends the channel, unless it is another one by now. */
  #fail(fault: Fault, line: Line): void {
    if (this.#line === line) this.#broken?.(fault);
  }

  /** Opens a channel, holds it open, and opens the next. */
  async #live(): Promise<void> {
    let retry_ms = RETRY_MIN_MS;
    // Only another store, or another witness, ends a conflict, and both take a start.
    while (!this.#stop.signal.aborted && this.#state !== 'conflict') {
      this.#useful = false;
      try {
        const keyset = this.#modules.keyset();
        const opened = await openLine({ ...this.#modules.line, keyset }, this.#stop.signal);
        const isActive = keyset.epoch === this.#modules.keyset().epoch;
        if (isActive && (await this.#accepts(opened))) await this.#use(opened);
        // Nothing was wrong: the next one is wanted at once.
        retry_ms = RETRY_MIN_MS;
        continue;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (!(error instanceof Fault)) throw error;
        await this.#become('failing', error.message);
      }
      // One that opens channels and then lies is asked less and less often.
      if (this.#useful) retry_ms = RETRY_MIN_MS;
      await delay(retry_ms, undefined, { signal: this.#stop.signal }).catch(() => {});
      retry_ms = Math.min(RETRY_MAX_MS, 2 * retry_ms);
    }
  }

  /** Until it breaks or is old. @throws {Fault} what broke it */
  async #use(line: Line): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<Fault | undefined>();
    this.#broken = resolve;
    const timer = setTimeout(() => resolve(undefined), line.renew_at - performance.now());
    this.#line = line;
    this.#position = line.position;
    await this.#become('working', null);
    const fault = await promise;
    clearTimeout(timer);
    this.#line = undefined;
    this.#broken = undefined;
    if (fault !== undefined) throw fault;
  }

  /** Who it is, and whether it saw more than this store holds. @returns false on a conflict. @throws {Fault} witness_changed, witness_rolled_back */
  async #accepts({ witness_key, position }: Line): Promise<boolean> {
    const { store, runtime, line } = this.#modules;
    const known = witnessRecord(store);
    const key = base64(witness_key);
    const { url } = line;
    if (known === undefined || this.#accept_new) {
      await runtime.commit((step) => step.put('meta', 'witness', { key, size: position.size }));
      this.#accept_new = false;
    } else if (known.key !== key) {
      throw new Fault({ code: 'witness_changed', url });
    } else if (position.size < known.size) {
      throw new Fault({ code: 'witness_rolled_back', url, size: known.size, found: position.size });
    }
    const { size } = meta(store, 'log');
    const { cut } = meta(store, 'heights');
    const held = holdAgainst({ size, cut, rootAt: (at) => logRoot(store, at) }, position);
    if (held.ok) return true;
    await this.#become('conflict', held.message);
    return false;
  }

  async #become(state: WitnessState['state'], reason: string | null): Promise<void> {
    const { runtime, now, mode, onFault, fatal } = this.#modules;
    const before = this.#state;
    this.#reason = reason;
    if (state !== before) this.#since_ms = now();
    this.#state = state;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
    if (state === before) return;
    try {
      await runtime.commit((step) =>
        step.journal('attestation_changed', { role: 'witness', mode, state, reason }, now()),
      );
    } catch (error) {
      if (error instanceof Fault) onFault(error);
      else fatal(error);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
