// Commit, then act, then tell (DESIGN §2). The runtime is where machines meet the store: a step writes snapshots, records,
// journal entries and the effects still owed in one commit; only when that is durable are the effects performed, and their
// outcomes come back as steps. Whatever is in the outbox at boot is performed again, so every effect is idempotent.
//
// Promises: outcomes of one kind are settled in the order of their subjects (heights, sizes) even though several are
// performed at once; a fault is tried again with backoff for as long as the daemon lives; a broken invariant ends it.
import assert from 'node:assert';
import { setTimeout as delay } from 'node:timers/promises';
import type { AnyStateMachine, EventFromLogic } from 'xstate';
import { begin, type Effect, step as stepMachine } from '../actors/effect.ts';
import { Fault } from './fault.ts';
import { timed } from './spans.ts';
import type { Reader, Store, Transaction } from './store.ts';

/** A machine under the name that is the first part of its ids in the table `machines`. */
export interface MachineKind<M extends AnyStateMachine = AnyStateMachine> {
  readonly name: string;
  readonly version: number;
  readonly machine: M;
}

export interface Step extends Transaction {
  /** Begins the life of a machine; the id must be new. */
  begin<M extends AnyStateMachine>(kind: MachineKind<M>, id: number, input: unknown): void;
  /** An event from inside: one that the state doesn't accept is a bug. */
  send<M extends AnyStateMachine>(kind: MachineKind<M>, id: number, event: EventFromLogic<M>): void;
  /** An effect that no machine's transition owes. */
  owe(effect: Effect): void;
}

/** How one kind of effect is performed and its outcome settled. */
export interface Performer<Outcome = unknown> {
  readonly kind: Effect['kind'];
  /** How many may be performed at once. */
  readonly concurrency: number;
  /** For one try of `perform`. */
  readonly timeout_ms: number;
  /** Where outcomes are settled in the order of their subjects: the lowest that is still owed, or the next one. */
  first?(reader: Reader): number;
  /** Does it; only reads. A throw is a fault and is tried again. */
  perform(subject: number, signal: AbortSignal): Promise<Outcome>;
  /**
   * Writes what came of it.
   *
   * @returns `next` is the subject that may be settled after this one, where there is an order; `done` runs once the step is durable, `undo` when
   *          it could not be made so, before it is tried again
   */
  settle(step: Step, subject: number, outcome: Outcome): { next?: number; done?: () => void; undo?: () => void };
}

export interface RuntimeState {
  readonly owed: number;
  /** The newest fault of each kind that is being tried again. */
  readonly faults: Readonly<Record<string, { message: string; tries: number }>>;
}

interface Logger {
  warn(detail: object, message: string): void;
  error(detail: object, message: string): void;
}

interface Lane {
  readonly performer: Performer;
  readonly waiting: Owed[];
  readonly turns: Map<number, () => void>;
  running: number;
  /** The subject whose outcome may be settled; undefined where any may. */
  turn: number | undefined;
}

interface Owed {
  readonly id: number;
  readonly effect: Effect;
}

const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 30_000;
/** Above all that can be owed at once: in-flight batches and one seal. */
const OUTBOX_MAX = 10_000;

export class Runtime {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #fatal: (error: unknown) => void;
  readonly #onFault: (fault: Fault) => void;
  readonly #lanes = new Map<string, Lane>();
  readonly #faults = new Map<string, { message: string; tries: number }>();
  readonly #stop = new AbortController();
  #idle: (() => void)[] = [];

  /**
   * @param modules.fatal    told of a broken invariant; the process must end
   * @param modules.onFault  told of each try of an effect that failed
   */
  constructor(modules: {
    store: Store;
    log: Logger;
    fatal: (error: unknown) => void;
    onFault?: (fault: Fault) => void;
  }) {
    this.#store = modules.store;
    this.#log = modules.log;
    this.#fatal = modules.fatal;
    this.#onFault = modules.onFault ?? (() => {});
  }

  /** Takes up what the outbox still owes. Called once, before anything new is committed. */
  start(performers: readonly Performer[]): void {
    for (const performer of performers) {
      const turn = performer.first?.(this.#store);
      this.#lanes.set(performer.kind, { performer, waiting: [], turns: new Map(), running: 0, turn });
    }
    const owed = [...this.#store.range('outbox', { limit: OUTBOX_MAX })].map(([id, effect]) => ({
      id,
      effect: effect as Effect,
    }));
    // By subject: after a crash a kind's turn begins at the lowest.
    for (const entry of owed.sort((a, b) => a.effect.subject - b.effect.subject)) this.#take(entry);
  }

  /** One step, durable when it resolves. Effects that it owes begin only then. */
  async commit<T>(act: (step: Step) => T): Promise<T> {
    const owed: Owed[] = [];
    const result = await this.#store.commit((tx) => act(withMachines(tx, owed)));
    for (const entry of owed) this.#take(entry);
    return result;
  }

  state(): RuntimeState {
    return { owed: this.#count(), faults: Object.fromEntries(this.#faults) };
  }

  /** Resolves when nothing is owed or the signal fires. */
  async drained(signal: AbortSignal): Promise<void> {
    while (this.#count() > 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#idle.push(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }

  /** Ends all tries; what is owed stays in the outbox. */
  stop(): void {
    this.#stop.abort();
  }

  #count(): number {
    let count = 0;
    for (const lane of this.#lanes.values()) count += lane.running + lane.waiting.length;
    return count;
  }

  #take(owed: Owed): void {
    const lane = this.#lanes.get(owed.effect.kind);
    assert(lane !== undefined, `nobody performs ${owed.effect.kind}`);
    lane.waiting.push(owed);
    // The lowest first, also when it is owed again: those above wait for its turn, and could hold every place while they do.
    lane.waiting.sort((a, b) => a.effect.subject - b.effect.subject);
    this.#pump(lane);
  }

  #pump(lane: Lane): void {
    while (lane.running < lane.performer.concurrency && lane.waiting.length > 0 && !this.#stop.signal.aborted) {
      const owed = lane.waiting.shift()!;
      lane.running += 1;
      this.#run(lane, owed)
        .catch((error: unknown) => {
          if (!this.#stop.signal.aborted) this.#fatal(error);
        })
        .finally(() => {
          lane.running -= 1;
          this.#pump(lane);
          for (const resolve of this.#idle.splice(0)) resolve();
        });
    }
  }

  async #run(lane: Lane, { id, effect }: Owed): Promise<void> {
    const { performer } = lane;
    const { subject } = effect;
    const outcome = await this.#persist(effect.kind, () => {
      const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(performer.timeout_ms)]);
      const perform = () => performer.perform(subject, signal);
      return timed(effect.kind, perform, () => ({ subject }));
    });
    await this.#turn(lane, subject);
    const { next, done } = await this.#persist(effect.kind, () => this.#settle(performer, id, subject, outcome));
    if (next !== undefined) {
      lane.turn = next;
      lane.turns.get(next)?.();
      lane.turns.delete(next);
    }
    done?.();
  }

  async #settle(performer: Performer, id: number, subject: number, outcome: unknown) {
    let settled: ReturnType<Performer['settle']> | undefined;
    try {
      return await this.commit((step) => {
        assert(step.settle(id), 'an effect is settled once');
        settled = performer.settle(step, subject, outcome);
        return settled;
      });
    } catch (error) {
      settled?.undo?.();
      throw error;
    }
  }

  /** Tries until it works, unless what fails is an invariant or the daemon stops. */
  async #persist<T>(kind: string, attempt: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        const result = await attempt();
        this.#faults.delete(kind);
        return result;
      } catch (error) {
        if (this.#stop.signal.aborted) throw error;
        if (!(error instanceof Fault)) throw error;
        this.#faults.set(kind, { message: error.message, tries });
        this.#onFault(error);
        const wait_ms = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(tries - 1, 20));
        this.#log.warn({ kind, tries, wait_ms, err: error }, 'an effect failed and is tried again');
        await delay(wait_ms, undefined, { signal: this.#stop.signal });
      }
    }
  }

  #turn(lane: Lane, subject: number): Promise<void> {
    assert(lane.turn === undefined || subject >= lane.turn, 'settled subjects are not owed again');
    if (lane.turn === undefined || subject === lane.turn) return Promise.resolve();
    return new Promise((resolve) => {
      lane.turns.set(subject, resolve);
    });
  }
}

/** The id of a machine's record: heights in records, numbers in code. */
export const machineId = (kind: Pick<MachineKind, 'name'>, id: number): string => `${kind.name}/${id}`;

function withMachines(tx: Transaction, owed: Owed[]): Step {
  const owe = (effects: readonly Effect[]) => {
    for (const effect of effects) owed.push({ id: tx.effect({ ...effect }), effect });
  };
  return {
    get: (table, key) => tx.get(table, key),
    range: (table, range) => tx.range(table, range),
    count: (table) => tx.count(table),
    put: (table, key, value) => tx.put(table, key, value),
    remove: (table, key) => tx.remove(table, key),
    journal: (type, data, at_ms) => tx.journal(type, data, at_ms),
    effect: (effect) => tx.effect(effect),
    settle: (id) => tx.settle(id),
    owe: (effect) => owe([effect]),
    begin(kind, id, input) {
      const key = machineId(kind, id);
      assert(tx.get('machines', key) === undefined, `${key} has begun already`);
      const { snapshot, effects } = begin(kind.machine, kind.version, input);
      tx.put('machines', key, snapshot);
      owe(effects);
    },
    send(kind, id, event) {
      const key = machineId(kind, id);
      const kept = tx.get('machines', key);
      assert(kept !== undefined, `${key} has not begun`);
      const stepped = stepMachine(kind.machine, kept, event);
      assert(stepped.ok, `${key} accepts no ${String((event as { type: string }).type)} while ${String(kept.value)}`);
      tx.put('machines', key, stepped.snapshot);
      owe(stepped.effects);
    },
  };
}
