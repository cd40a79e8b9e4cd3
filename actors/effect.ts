// Effects: what a machine owes the world after a step (DESIGN §2 "Commit, then act, then tell"). A transition returns
// them as data; the runtime puts them into the outbox in the same commit as the snapshot and performs them only when that
// commit is durable. Each stage has one name in three forms: effect `sign`, state `signing`, event `signed`.
import { type AnyStateMachine, type EventFromLogic, initialTransition, transition } from 'xstate';

export interface Effect {
  readonly kind: 'open' | 'sign' | 'seal' | 'protect' | 'snapshot' | 'certify' | 'move' | 'restore';
  /**
   * What it is for: a height for `open` and `sign`, a size of the log for `seal`, an act of the risk score for `protect`, the
   * number of a checkpoint for those of a migration.
   */
  readonly subject: number;
}

/** The name under which every machine's setup declares effects as actions. */
export const EFFECT = 'effect';

/** A machine's snapshot as it is kept: value and context are plain JSON. */
export interface Snapshot {
  /** Of the machine's definition, so that an older record can be brought up to date when it is read. */
  readonly version: number;
  readonly value: unknown;
  readonly context: unknown;
}

export interface Step {
  readonly snapshot: Snapshot;
  readonly effects: readonly Effect[];
}

export type Refused = { readonly ok: false; readonly code: 'event_not_accepted' };

export function begin(machine: AnyStateMachine, version: number, input: unknown): Step {
  const [snapshot, actions] = initialTransition(machine, input);
  return { snapshot: keep(snapshot, version), effects: effectsOf(actions) };
}

/**
 * One pure step. `transition()` would ignore an event that the state doesn't list, so ask first: an event from outside is
 * then rejected, one from inside is a bug that the caller asserts on.
 */
export function step<M extends AnyStateMachine>(
  machine: M,
  kept: Snapshot,
  event: EventFromLogic<M>,
): ({ readonly ok: true } & Step) | Refused {
  const before = machine.resolveState({ value: kept.value, context: kept.context } as never);
  if (!before.can(event as never)) return { ok: false, code: 'event_not_accepted' };
  const [after, actions] = transition(machine, before as never, event as never);
  return { ok: true, snapshot: keep(after, kept.version), effects: effectsOf(actions) };
}

function keep(snapshot: unknown, version: number): Snapshot {
  const { value, context } = snapshot as { value: unknown; context: unknown };
  return { version, value, context };
}

function effectsOf(actions: readonly { type: string; params?: unknown }[]): Effect[] {
  return actions.filter((action) => action.type === EFFECT).map((action) => action.params as Effect);
}
