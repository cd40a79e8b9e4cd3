// Orders of admins (DESIGN §11): judges a signed order, and does what it says in the commit that writes it down: the order, its
// entry in the log, the act's own part and the journal become durable together, or nothing does. The API hands orders in; a
// room that can do an act gives its handler. What lowers security anywhere else takes an `Ordered`, which only this file makes.
// Executed orders are kept for ever: they explain entries of the log, and a nonce that was used must never count again.
import assert from 'node:assert';
import type { Act, ActOf, ActType } from '../actors/act.ts';
import { hex } from '../actors/encoding.ts';
import { type ExecutedOrder, judgeOrder, type Order, type OrderCode, type Verify } from '../actors/order.ts';
import { LOG_KINDS } from '../actors/tree.ts';
import type { Config } from '../config/schema.ts';
import { loadEngine } from '../workers/engine.ts';
import { openAdmins } from './admins.ts';
import { appendLog } from './log.ts';
import { type Meta, meta, takenGaps } from './records.ts';
import type { Runtime, Step } from './runtime.ts';
import type { Reader, Store } from './store.ts';

export type OrderOutcome =
  | { readonly ok: true; readonly executed: ExecutedOrder }
  | { readonly ok: false; readonly code: OrderCode | 'act_not_supported' }
  /** `leaf_index` of the order that has used the nonce, this one or another. */
  | { readonly ok: false; readonly code: 'order_replayed'; readonly leaf_index: number; readonly detail: string }
  | { readonly ok: false; readonly code: 'act_refused'; readonly detail: string };

/** What a handler answers. `done` runs once the step is durable; a refusal undoes all that the step has written. */
export type ActOutcome =
  | { readonly ok: true; readonly done?: () => void }
  | { readonly ok: false; readonly detail: string };

/** Asks for what must hold before the act, and does its part of the step. Called once, when everything else is right. */
export type ActHandler<Type extends ActType> = (step: Step, ordered: Ordered<Type>) => ActOutcome;

/** Who does what; an act that nobody does is refused. */
export type ActHandlers = { readonly [Type in ActType]?: ActHandler<Type> };

/**
 * That an admin has ordered this act, in this step. A room that does what lowers security asks for one with `requireOrder`, so
 * that no other way leads there: only `Orders` makes them, and none is good beyond its step.
 */
class Ordered<Type extends ActType = ActType> {
  readonly act: ActOf<Type>;
  readonly executed: ExecutedOrder;
  readonly #step: Step;

  constructor(step: Step, act: ActOf<Type>, executed: ExecutedOrder) {
    this.#step = step;
    this.act = act;
    this.executed = executed;
  }

  static isFor(value: unknown, step: Step, type: ActType): boolean {
    return value instanceof Ordered && value.#step === step && value.act.type === type;
  }
}

export type { Ordered };

/** @returns the act. Asserts that it is ordered in this very step: anything else is a mistake of the caller */
export function requireOrder<Type extends ActType>(
  ordered: Ordered<Type> | undefined,
  step: Step,
  type: Type,
): ActOf<Type> {
  assert(ordered !== undefined && Ordered.isFor(ordered, step, type), `${type} takes an admin's order`);
  return ordered.act;
}

/** Takes the step back. */
class ActRefused extends Error {}

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly log: Meta['genesis'];
  readonly acts: ActHandlers;
  /** What must be in the log before the order's own entry is, in the same step. */
  readonly prepare?: (step: Step, act: Act) => ActOutcome;
  readonly now: () => number;
  /** The log has grown. */
  readonly onExecuted: () => void;
}

/**
 * With the admins that genesis fixed, and the engine that signs here: it verifies on the main thread, which takes OpenSSL a
 * third of a millisecond and noble 5.
 *
 * @throws {Fault} admins_changed
 */
export async function openOrders({ config, ...modules }: Modules & { readonly config: Config }): Promise<Orders> {
  const admins = openAdmins(modules.store, config.admin.keys);
  const { ml_dsa_87 } = await loadEngine(config.signing.engine);
  return new Orders({ ...modules, admins, verify: ml_dsa_87.verify });
}

export class Orders {
  readonly #modules: Modules & { readonly admins: ReadonlyMap<string, Uint8Array>; readonly verify: Verify };

  /** @param modules.admins  raw public keys by their ids */
  constructor(modules: Modules & { admins: ReadonlyMap<string, Uint8Array>; verify: Verify }) {
    this.#modules = modules;
  }

  /**
   * Executes an order, once; durable when it resolves with `ok`.
   *
   * @param order  validated by its schema
   * @throws {Fault} store_…  when nothing can be written; the same order may be handed in again
   */
  async execute(order: Order): Promise<OrderOutcome> {
    const { runtime, store, log, admins, verify, now, onExecuted } = this.#modules;
    // A clock that was set back doesn't make an order young again: batches have seen a later time. It is written down as well,
    // so that whoever judges the order again judges by the same time.
    const now_ms = Math.max(now(), meta(store, 'heights').timestamp_ms);
    const judged = judgeOrder(order, { log_id: log.log_id, admins, now_ms }, verify);
    if (!judged.ok) return judged;
    const digest = hex(judged.digest);
    let done: (() => void) | undefined;
    try {
      const outcome = await runtime.commit((step): OrderOutcome => {
        const known = step.get('order_nonces', order.nonce);
        if (known !== undefined) return replayed(step, known.leaf_index, digest);
        const handler = this.#modules.acts[order.act.type] as ActHandler<ActType> | undefined;
        if (handler === undefined) return { ok: false, code: 'act_not_supported' };
        const prepared = this.#modules.prepare?.(step, order.act);
        if (prepared?.ok === false) throw new ActRefused(prepared.detail);
        const leaf_index = takenOrder(step, digest);
        if (leaf_index !== undefined) throw new ActRefused(`it was executed before: log entry ${leaf_index}`);
        const executed = record(step, order, digest, now_ms);
        const acted = handler(step, new Ordered(step, order.act, executed));
        if (!acted.ok) throw new ActRefused(acted.detail);
        done = acted.done;
        return { ok: true, executed };
      });
      if (outcome.ok) {
        done?.();
        onExecuted();
      }
      return outcome;
    } catch (error) {
      if (error instanceof ActRefused) return { ok: false, code: 'act_refused', detail: error.message };
      throw error;
    }
  }
}

function replayed(step: Step, leaf_index: number, digest: string): OrderOutcome {
  const first = step.get('orders', leaf_index) as ExecutedOrder;
  const which = first.digest === digest ? 'this order was executed' : 'another order with this nonce was executed';
  return { ok: false, code: 'order_replayed', leaf_index, detail: `${which}: log entry ${leaf_index}` };
}

/**
 * An order that was executed in a part of the log which this store has only from what was published: its nonce is not known here, but
 * its digest is the entry.
 */
function takenOrder(reader: Reader, digest: string): number | undefined {
  for (const { from, to } of takenGaps(reader)) {
    for (const [leaf_index, entry] of reader.range('log', { start: from, end: to, limit: to - from })) {
      if (LOG_KINDS[entry.kind] === 'policy' && entry.digest === digest) return leaf_index;
    }
  }
  return undefined;
}

function record(step: Step, order: Order, digest: string, executed_at_ms: number): ExecutedOrder {
  const leaf_index = appendLog(step, 'policy', digest);
  const executed = { leaf_index, digest, executed_at_ms, order };
  step.put('orders', leaf_index, executed);
  step.put('order_nonces', order.nonce, { leaf_index });
  const { act, admin } = order;
  step.journal('order_executed', { leaf_index, digest, admin, act }, executed_at_ms);
  return executed;
}

/**
 * In the order of the log.
 *
 * @param after  only behind this leaf; from the beginning where left out
 */
export function executedOrders(reader: Reader, after: number | undefined, limit: number): ExecutedOrder[] {
  const start = after === undefined ? 0 : after + 1;
  return [...reader.range('orders', { start, limit })].map(([, executed]) => executed as ExecutedOrder);
}
