// The rounds in which due names go their way, as many at once as are let, the nearest end of life first. A round looks at the
// schedule again until nothing is due; the tick of node-cron, and whoever enrols or updates a name, asks for another look. It
// keeps nothing: after a crash the schedule still says what is due.
import { Fault } from '../fault.ts';
import type { Store } from '../store.ts';
import { dueNames } from './record.ts';

interface Modules {
  readonly store: Store;
  readonly pass: (name: string, signal: AbortSignal) => Promise<void>;
  readonly now: () => number;
  /** Whether everything waits, since the clock is held; whoever ends that asks for a look. */
  readonly held?: (() => boolean) | undefined;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

const TICK = '*/30 * * * * *';
/** Names on their way at once; most wait for the router. */
const WAYS_MAX = 128;
/** Names that are looked up at once: some milliseconds of the main thread. */
const PAGE = 256;

export class Rounds {
  readonly #modules: Modules;
  readonly #stop = new AbortController();
  readonly #ways = new Set<string>();
  /** Failed on our side: left alone until somebody asks for another look. */
  readonly #failed = new Set<string>();
  #task: { destroy(): unknown } | undefined;
  #round: Promise<void> | undefined;
  #again = false;
  #wake: () => void = () => {};

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  async start(): Promise<void> {
    const { default: cron } = await import('node-cron');
    if (this.#stop.signal.aborted) return;
    // A slot that comes while a round is on makes it look again.
    this.#task = cron.schedule(TICK, () => void this.run(), { timezone: 'Etc/UTC' });
    void this.run();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('the daemon ends'));
    this.#wake();
    await this.#task?.destroy();
    await this.#round;
  }

  /** Resolves when nothing is due any more, nothing of what fell due up to the call, either. */
  run(): Promise<void> {
    if (this.#stop.signal.aborted) return Promise.resolve();
    this.#again = true;
    this.#failed.clear();
    this.#wake();
    this.#round ??= this.#go().then(() => {
      this.#round = undefined;
      // Asked while the last look was ending.
      return this.#again ? this.run() : undefined;
    });
    return this.#round;
  }

  async #go(): Promise<void> {
    const { store, now, held, fatal } = this.#modules;
    const { signal } = this.#stop;
    let behind = false;
    const skip = (name: string) => this.#ways.has(name) || this.#failed.has(name);
    try {
      while (!signal.aborted) {
        this.#again = false;
        const page: string[] = held?.() === true ? [] : dueNames(store, now(), skip, { limit: PAGE, behind });
        behind = page.length === PAGE;
        if (page.length === 0 && this.#ways.size === 0) break;
        for (const name of page) {
          await this.#until(() => this.#ways.size < WAYS_MAX);
          if (signal.aborted || held?.() === true) break;
          this.#begin(name);
        }
        // Each look costs reads: the next is worth it when more are known to wait, or half of these are done.
        const enough = behind ? WAYS_MAX - 1 : this.#ways.size >> 1;
        await this.#until(() => this.#ways.size <= enough || this.#again);
      }
    } catch (error) {
      if (!signal.aborted) fatal(error);
    }
    while (this.#ways.size > 0) await this.#changed();
  }

  #begin(name: string): void {
    const { pass, onFault, fatal } = this.#modules;
    const { signal } = this.#stop;
    this.#ways.add(name);
    pass(name, signal)
      .catch((error: unknown) => {
        this.#failed.add(name);
        if (signal.aborted) return;
        if (error instanceof Fault) onFault(error);
        else fatal(error);
      })
      .finally(() => {
        this.#ways.delete(name);
        this.#wake();
      });
  }

  async #until(enough: () => boolean): Promise<void> {
    while (!enough() && !this.#stop.signal.aborted) await this.#changed();
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
