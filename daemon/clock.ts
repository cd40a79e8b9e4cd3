// The clock that the rooms go by (DESIGN §12): the host may set its own to whatever it likes, so a step beyond `clock.step_max_ms` is
// not believed. It is held, and said so, until the host's clock comes back, the witness says that it is right, or an admin orders it
// (`accept_clock`); meanwhile envelopes are admitted and batches signed, but nothing expires, decays, retires or is signed for a
// name. A durable mark says how far time had come and how long all runs have lasted, so that neither a start nor many are a way around
// it. What is believed is actors/clock.ts.
import {
  type Anchor,
  agingTime,
  agree,
  apart,
  begin,
  dayTime,
  dwellTime,
  followed,
  type HoldCause,
  observe,
  type Reading,
  type Timekeeping,
} from '../actors/clock.ts';
import { CLOCK_APART_MAX_MS } from '../actors/witness.ts';
import type { Logger } from './embedding.ts';
import { Fault } from './fault.ts';
import { type ActOutcome, type Ordered, requireOrder } from './orders.ts';
import { adminsRecord, meta } from './records.ts';
import type { Runtime, Step } from './runtime.ts';
import type { Reader, Store } from './store.ts';

/** `meta`, under the name `clock`: the newest time that was agreed on and written down. It travels in a handover. */
interface ClockMark {
  readonly agreed_ms: number;
  /** How long all runs have lasted, but for what a kill took of it. */
  readonly uptime_ms: number;
  readonly anchor: Anchor;
}

export interface ClockState {
  readonly held: boolean;
  /** `step`: it was set while the daemon ran. `start`: it is far from where the last run left it. Null while it isn't held. */
  readonly cause: HoldCause | null;
  /** By how much the host's clock is ahead of the agreed time; negative when it is behind. */
  readonly apart_ms: number;
}

export const AGREED_BY = ['host', 'witness', 'order', 'start'] as const;
type AgreedBy = (typeof AGREED_BY)[number];

interface Modules {
  readonly store: Store;
  readonly runtime: Runtime;
  readonly step_max_ms: number;
  /** The host's. */
  readonly wall: () => number;
  readonly monotonic: () => number;
  /** What the witness's clock says now; undefined when it isn't reached. Not there without a witness. */
  readonly witnessed: (() => Promise<number | undefined>) | undefined;
  /** The clock is believed again: what has waited for it goes on. */
  readonly onAgreed: () => void;
  readonly log: Logger;
  readonly onFault: (fault: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

/** Between two looks of its own; every question looks too. */
const LOOK_MS = 1_000;
/** Between two marks. `clock.step_max_ms` is at least twice that, or a start right after a kill could be held. */
const MARK_MS = 60_000;
/** Between two questions to the witness. */
const ASK_MS = 10_000;

export class Clock {
  readonly #modules: Modules;
  /** When this run began, by both clocks that the host does not set. */
  readonly #begun: { readonly uptime_ms: number; readonly monotonic_ms: number };
  #anchor: Anchor;
  #state: Timekeeping;
  /** What was said of it, durably. */
  #told: HoldCause | null = null;
  /** Who ended the hold, where that is for the next look to tell. */
  #agreed_by: AgreedBy = 'host';
  #marked: number | undefined;
  #asked: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
    const { store, step_max_ms, witnessed, log } = modules;
    const mark = markOf(store);
    const reading = this.#read();
    const uptime_ms = mark?.uptime_ms ?? 0;
    this.#begun = { uptime_ms, monotonic_ms: reading.monotonic_ms };
    const found: Anchor = { offset_ms: reading.wall_ms - uptime_ms, uptime_ms };
    // Without either, nobody could ever agree: a start takes the host's word, and says so.
    const judged = witnessed !== undefined || adminsRecord(store) !== undefined;
    this.#anchor = judged && mark !== undefined ? followed(mark.anchor, found, step_max_ms) : found;
    const left = mark && { mark_ms: mark.agreed_ms, agreed_ms: this.#anchor.offset_ms + uptime_ms };
    this.#state = begin(judged ? left : undefined, reading, step_max_ms);
    const apart_ms = mark === undefined ? 0 : reading.wall_ms - mark.agreed_ms;
    if (judged || Math.abs(apart_ms) <= step_max_ms) return;
    log.warn(
      { apart_ms },
      'the clock is far from where the last run left it, and there is nobody to ask: it is believed',
    );
    this.#agreed_by = 'start';
    this.#told = 'start';
  }

  get state(): ClockState {
    const reading = this.#look();
    const { hold } = this.#state;
    return { held: hold !== null, cause: hold?.cause ?? null, apart_ms: Math.round(apart(this.#state, reading)) };
  }

  get held(): boolean {
    return this.state.held;
  }

  /** The time of day. */
  now(): number {
    const reading = this.#look();
    return dayTime(this.#state, reading);
  }

  /** What lifetimes end and threats decay by: stands still while the clock is held. */
  aging(): number {
    const reading = this.#look();
    return agingTime(this.#state, reading);
  }

  /** How long something has lasted: goes on through a hold. */
  dwell(): number {
    const reading = this.#look();
    return dwellTime(this.#state, reading);
  }

  /** How long the daemon has run, over all its runs and those of its predecessors: no clock that the host sets has a part in it. */
  uptime(): number {
    return this.#uptimeAt(this.#read());
  }

  start(): void {
    this.#timer = setInterval(() => this.wake(), LOOK_MS).unref();
    this.wake();
  }

  /** The next start holds the host's clock against the mark that this leaves. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
    this.#marked = undefined;
    await this.look().catch(this.#modules.onFault);
  }

  wake(): void {
    const { onFault, fatal } = this.#modules;
    this.#looking ??= this.look()
      .catch((error: unknown) => (error instanceof Fault ? onFault(error) : fatal(error)))
      .finally(() => {
        this.#looking = undefined;
      });
  }

  /** Tells what has changed, asks the witness where it can help, and marks how far time has come. @throws {Fault} of the store */
  async look(): Promise<void> {
    this.#look();
    await this.#tell();
    if (this.#state.hold !== null) {
      await this.#ask();
      await this.#tell();
    }
    await this.#mark();
  }

  /**
   * An admin's order: the host's clock is right. Only while it shows about the time that the admin has signed, so that
   * an order that is kept back agrees to no other step.
   */
  accept(step: Step, ordered: Ordered<'accept_clock'>): ActOutcome {
    const { time_ms } = requireOrder(ordered, step, 'accept_clock');
    const reading = this.#look();
    const { hold } = this.#state;
    if (hold === null) return { ok: false, detail: "the clock isn't held" };
    const off_ms = Math.abs(reading.wall_ms - time_ms);
    if (off_ms > this.#modules.step_max_ms) {
      return { ok: false, detail: `the host's clock is ${Math.round(off_ms)} ms from the time in the order` };
    }
    this.#put(step, reading.wall_ms, this.#anchorAt(reading));
    return { ok: true, done: () => this.#agree('order') };
  }

  /** For a step that writes a time of this clock down: no later start may know less of it. */
  mark(step: Step): void {
    this.#put(step, this.aging());
  }

  #read(): Reading {
    return { wall_ms: this.#modules.wall(), monotonic_ms: this.#modules.monotonic() };
  }

  #look(): Reading {
    const reading = this.#read();
    this.#state = observe(this.#state, reading, this.#modules.step_max_ms);
    return reading;
  }

  #uptimeAt({ monotonic_ms }: Reading): number {
    return this.#begun.uptime_ms + Math.max(0, Math.round(monotonic_ms - this.#begun.monotonic_ms));
  }

  #anchorAt(reading: Reading): Anchor {
    const uptime_ms = this.#uptimeAt(reading);
    return { offset_ms: Math.round(reading.wall_ms) - uptime_ms, uptime_ms };
  }

  #put(step: Step, agreed_ms: number, anchor = this.#anchor): void {
    const mark: ClockMark = { agreed_ms: Math.round(agreed_ms), uptime_ms: this.uptime(), anchor };
    step.put('meta', 'clock', mark);
  }

  #agree(by: AgreedBy): void {
    const reading = this.#read();
    this.#state = agree(reading);
    this.#anchor = this.#anchorAt(reading);
    this.#agreed_by = by;
    this.wake();
  }

  /** Its clock is another's to set; both would have to be set alike. */
  async #ask(): Promise<void> {
    const { witnessed, step_max_ms, monotonic } = this.#modules;
    const now = monotonic();
    if (witnessed === undefined || (this.#asked !== undefined && now - this.#asked < ASK_MS)) return;
    this.#asked = now;
    const time_ms = await witnessed();
    const { wall_ms } = this.#look();
    if (time_ms === undefined || this.#state.hold === null) return;
    if (Math.abs(wall_ms - time_ms) <= Math.min(step_max_ms, CLOCK_APART_MAX_MS)) this.#agree('witness');
  }

  async #tell(): Promise<void> {
    const cause = this.#state.hold?.cause ?? null;
    if (cause === this.#told) return;
    const { runtime, log, onAgreed, step_max_ms } = this.#modules;
    const { apart_ms } = this.state;
    const by = this.#agreed_by;
    if (cause !== null) log.warn({ cause, apart_ms }, "the host's clock was set: expiry, decay and names wait");
    await runtime.commit((step) => {
      const at_ms = this.now();
      if (cause === null) step.journal('clock_agreed', { by }, at_ms);
      else step.journal('clock_held', { cause, apart_ms, step_max_ms }, at_ms);
      this.mark(step);
    });
    this.#told = cause;
    this.#agreed_by = 'host';
    this.#asked = undefined;
    if (cause !== null) return;
    log.info({ by }, 'the clock is believed again');
    onAgreed();
  }

  async #mark(): Promise<void> {
    const { runtime, monotonic } = this.#modules;
    const now = monotonic();
    if (this.#marked !== undefined && now - this.#marked < MARK_MS) return;
    await runtime.commit((step) => this.mark(step));
    this.#marked = now;
  }
}

/** A store of an earlier version has no mark: its newest batch is one. */
function markOf(reader: Reader): ClockMark | undefined {
  const mark = reader.get('meta', 'clock') as (Pick<ClockMark, 'agreed_ms'> & Partial<ClockMark>) | undefined;
  const batch_ms = reader.get('meta', 'heights') === undefined ? 0 : meta(reader, 'heights').timestamp_ms;
  const agreed_ms = mark?.agreed_ms ?? batch_ms;
  if (agreed_ms === 0) return undefined;
  return { uptime_ms: 0, anchor: { offset_ms: agreed_ms, uptime_ms: 0 }, ...mark, agreed_ms };
}
