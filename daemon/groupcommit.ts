// Group commit: steps wait for the next turn of the event loop, run in order against overlays, and are written by one LMDB transaction, which
// blocks the thread for one fdatasync that all of them share. Called by the store (lmdbstore.ts), which writes and knows when it can't.
// Promises that a step is told when it is durable and not before, and that one that throws changes nothing and hinders no other.
import assert from 'node:assert';
import type { Environment } from './environment.ts';
import { Fault } from './fault.ts';
import { Overlay } from './overlay.ts';
import { type Counters, Step, type Transaction } from './step.ts';

export interface Group {
  /** As they are on the disk; another one each time LMDB had to be opened again. */
  readonly environment: () => Environment;
  readonly counters: () => Counters;
  /** Why nothing is committed now. */
  readonly refusal: () => Fault | undefined;
  /** Durable, and the counters moved, or it throws. */
  readonly write: (overlay: Overlay, counters: Counters) => void;
  /** From now on there is a refusal. @returns what whoever waits is told */
  readonly onFailed: (error: unknown, overlay: Overlay) => Fault;
  /** The journal goes on to here. */
  readonly onJournaled: (cursor: number) => void;
  /** Steps in one LMDB transaction at most, and steps that may wait. */
  readonly commit_steps_max: number;
  readonly queue_max: number;
}

type Waiting = { run(step: Step): void; resolve(): void; reject(error: unknown): void };

export class GroupCommit {
  readonly #group: Group;
  #queue: Waiting[] = [];
  #scheduled = false;
  #steps = 0;

  constructor(group: Group) {
    this.#group = group;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** That were committed. */
  get steps(): number {
    return this.#steps;
  }

  /** See `Store.commit`. */
  enqueue<T>(step: (tx: Transaction) => T): Promise<T> {
    const refusal = this.#group.refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    if (this.#queue.length >= this.#group.queue_max) {
      return Promise.reject(new Fault({ code: 'store_busy', waiting: this.#queue.length }));
    }
    return new Promise<T>((resolve, reject) => {
      let result: T;
      const run = (tx: Step) => {
        result = step(tx);
        assert(!(result instanceof Promise), 'a step is synchronous: effects run after the commit');
      };
      this.#queue.push({ run, resolve: () => resolve(result), reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.#queue.length > 0 && this.#group.refusal() === undefined) this.flush();
    });
  }

  /** One group: run, write, then tell. */
  flush(): void {
    const { environment, counters: now, write, onFailed, onJournaled, commit_steps_max } = this.#group;
    const group = this.#queue.splice(0, commit_steps_max);
    if (this.#queue.length > 0) this.#schedule();
    const overlay = new Overlay(environment());
    const { done, counters } = this.#run(group, overlay);
    const before = now().head.cursor;
    try {
      if (!overlay.empty) write(overlay, counters);
    } catch (error) {
      const fault = onFailed(error, overlay);
      for (const { reject } of done) reject(fault);
      this.reject(fault);
      return;
    }
    this.#steps += done.length;
    for (const { resolve } of done) resolve();
    const { cursor } = now().head;
    if (cursor !== before) onJournaled(cursor);
  }

  /** Runs the steps in order; whoever throws is rejected at once and leaves the overlay and the counters as they were. */
  #run(group: readonly Waiting[], overlay: Overlay): { done: Waiting[]; counters: Counters } {
    let counters = this.#group.counters();
    const done: Waiting[] = [];
    for (const waiting of group) {
      const step = new Step(overlay, counters);
      try {
        waiting.run(step);
        counters = step.finish();
        overlay.merge(step.overlay);
        done.push(waiting);
      } catch (error) {
        step.finish();
        waiting.reject(error);
      }
    }
    return { done, counters };
  }

  /** Whoever waits. */
  reject(fault: Fault): void {
    for (const { reject } of this.#queue.splice(0)) reject(fault);
  }
}
