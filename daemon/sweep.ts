// The background sweep (DESIGN §5): moves what older epochs wrapped to the active one, lowest epoch first, a bounded chunk
// at a time with a pause behind it, so that batches never wait for it. What was just used goes before the rest. The state is
// the index itself: a crash between two commits loses nothing, and the next start goes on where the index says.
//
// A row that doesn't open is counted, logged and passed over: it keeps its epoch's backlog from emptying, and an admin
// decides. Faults are tried again with backoff for as long as the daemon lives.
import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from './fault.ts';
import type { Store } from './store.ts';
import { type EpochView, idIn, kindIn, type Move, type Wrap, type WrapKeys, type Wraps } from './wraps.ts';

interface Modules extends Pick<EpochView, 'active' | 'keysOf'> {
  readonly store: Store;
  readonly wraps: Wraps;
  /** `[rotation]` of sequencer.toml. */
  readonly options: () => { readonly sweep_rows: number; readonly sweep_pause_ms: number };
  /** An epoch has lost its last wrap, durably: it may retire. */
  readonly onEmptied: (epoch: number) => void;
  readonly log: { warn(detail: object, message: string): void };
  /** Told of a broken invariant; the process must end. */
  readonly fatal: (error: unknown) => void;
}

/** Rows of one epoch that are moved by one commit. */
interface Chunk {
  readonly epoch: number;
  readonly rows: readonly { readonly name: string; readonly held: Wrap }[];
}

export interface SweepState {
  readonly running: boolean;
  /** Wraps that did not open when they were last tried. */
  readonly stuck: number;
}

const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 30_000;
/** Names that were used and wait; the rest comes with its epoch. */
const TOUCHED_MAX = 1_024;
/** What was adopted under an older epoch is found by then, and what did not open is tried again. */
const LOOK_AGAIN_MS = 60_000;

export class Sweep {
  readonly #modules: Modules;
  readonly #stop = new AbortController();
  readonly #touched = new Set<string>();
  /** Rows that did not open: in the last whole pass, and in this one so far. */
  #stuck = { last: 0, now: 0 };
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  /** Something was said while a pass was on: another one follows. */
  #again = false;
  /** How far this pass has come in the lowest epoch. */
  #at = { epoch: 0, after: '' };

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** Looks for what is left behind; called at the start, and after a rotation. */
  wake(): void {
    if (this.#stop.signal.aborted) return;
    this.#again = true;
    if (this.#running !== undefined) return;
    clearTimeout(this.#timer);
    this.#running = this.#run()
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#modules.fatal(error);
      })
      .finally(() => {
        this.#running = undefined;
        if (this.#stop.signal.aborted) return;
        // Said while the pass was ending.
        if (this.#again || this.#touched.size > 0) this.wake();
        else this.#timer = setTimeout(() => this.wake(), LOOK_AGAIN_MS).unref();
      });
  }

  /** A secret of an older epoch was used. */
  soon(name: string): void {
    if (this.#touched.size < TOUCHED_MAX) this.#touched.add(name);
    // A pass that is on takes it next. Were each use to begin the pass anew, rows that don't open could hold it up for ever.
    if (this.#running === undefined) this.wake();
  }

  state(): SweepState {
    return { running: this.#running !== undefined, stuck: Math.max(this.#stuck.last, this.#stuck.now) };
  }

  /** Ends after the rows in hand; the index remembers the rest. */
  async stop(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** Passes until nothing more was said and nothing is left that can be moved. */
  async #run(): Promise<void> {
    const { options, log } = this.#modules;
    let tries = 0;
    while (!this.#stop.signal.aborted) {
      try {
        const chunk = this.#next();
        if (chunk === undefined) this.#passed();
        else await this.#move(chunk);
        if (chunk === undefined && !this.#again) return;
        tries = 0;
        await this.#pause(options().sweep_pause_ms);
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        log.warn({ err: error }, error.message);
        // The same rows again: a fault says nothing about them.
        this.#again = true;
        await this.#pause(Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** tries));
        tries = Math.min(tries + 1, 20);
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stop.signal }).catch(() => {});
  }

  #passed(): void {
    const { last, now } = this.#stuck;
    this.#stuck = { last: now, now };
    if (now > 0 && now !== last) this.#modules.log.warn({ rows: now }, 'wraps do not open and stay with their epoch');
  }

  /** What was touched, or what the lowest epoch has left; undefined at the end of a pass. */
  #next(): Chunk | undefined {
    if (this.#again) {
      this.#again = false;
      this.#at = { epoch: 0, after: '' };
      this.#stuck.now = 0;
    }
    return this.#nextTouched() ?? this.#nextOfLowest();
  }

  /** All of one epoch, up to a chunk: a job has one key to open with. */
  #nextTouched(): Chunk | undefined {
    const { store, options } = this.#modules;
    let epoch: number | undefined;
    const rows: { name: string; held: Wrap }[] = [];
    for (const name of this.#touched) {
      const held = this.#modules.wraps.byName(store, name);
      if (held === undefined || !this.#movable(held.epoch)) {
        this.#touched.delete(name);
        continue;
      }
      epoch ??= held.epoch;
      if (held.epoch !== epoch) continue;
      this.#touched.delete(name);
      if (rows.push({ name, held }) === options().sweep_rows) break;
    }
    return epoch === undefined ? undefined : { epoch, rows };
  }

  #nextOfLowest(): Chunk | undefined {
    const { store, wraps, options } = this.#modules;
    for (const { epoch } of wraps.backlogs(store)) {
      if (epoch < this.#at.epoch || !this.#movable(epoch)) continue;
      if (epoch > this.#at.epoch) this.#at = { epoch, after: '' };
      const names = wraps.of(store, epoch, this.#at.after, options().sweep_rows);
      if (names.length === 0) continue;
      this.#at.after = names.at(-1)!;
      return { epoch, rows: names.map((name) => ({ name, held: wraps.byName(store, name)! })) };
    }
    return undefined;
  }

  /** The wraps of an epoch that was retired by force are lost, and those of the active one are where they belong. */
  #movable(epoch: number): boolean {
    const { active, keysOf, store } = this.#modules;
    return epoch !== active(store) && keysOf(epoch) !== undefined;
  }

  async #move({ epoch, rows }: Chunk): Promise<void> {
    const { store, wraps, active, keysOf, onEmptied } = this.#modules;
    const to = active(store);
    const [fromKeys, toKeys] = [keysOf(epoch), keysOf(to)];
    if (fromKeys === undefined || toKeys === undefined) return;
    const moves = await this.#rewrap(rows, fromKeys, toKeys);
    if (this.#stop.signal.aborted) return;
    const { moved, emptied } = await store.commit((step) => {
      const moved = wraps.move(step, moves, to);
      return { moved, emptied: moved > 0 && wraps.backlog(step, epoch) === 0 };
    });
    // What changed meanwhile is looked at again: a row that was replaced, or all of them, when another epoch is active now.
    if (moved < moves.length) this.#again = true;
    if (emptied) onEmptied(epoch);
  }

  /** By kind, and as many at a time as the kind takes. @returns what opened; the rest is counted */
  async #rewrap(rows: Chunk['rows'], from: WrapKeys, to: WrapKeys): Promise<Move[]> {
    const { wraps } = this.#modules;
    const moves: Move[] = [];
    for (const [kind, group] of Map.groupBy(rows, ({ name }) => kindIn(name))) {
      const { rewrap, rows_max } = wraps.kindOf(kind);
      for (let at = 0; at < group.length && !this.#stop.signal.aborted; at += rows_max) {
        const part = group.slice(at, at + rows_max);
        const answers = await rewrap(
          part.map(({ name, held }) => ({ id: idIn(name), wrapped: held.wrapped })),
          from,
          to,
        );
        part.forEach((row, i) => {
          const wrapped = answers[i] ?? null;
          if (wrapped === null) this.#stuck.now += 1;
          else moves.push({ ...row, wrapped });
        });
      }
    }
    return moves;
  }
}
