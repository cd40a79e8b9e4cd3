// The life of an epoch of keys: `pending → active → grace → retired` (DESIGN §5). Only `active` signs; `active` and `grace`
// open what was encrypted to them. Grace ends in two moves: first it is closed to new envelopes, then, when what was admitted
// before is opened and nothing is encrypted to it any more, it is retired.
import { assign, setup } from 'xstate';

export type EpochEvent =
  /** Its keyset is in the log and it signs from now on. */
  | { type: 'activated' }
  /** A newer epoch is active; this one only opens, and admits until then. */
  | { type: 'superseded'; grace_ends_ms: number }
  /** It admits no more: envelopes from this admission sequence on are of other epochs. */
  | { type: 'closed'; barrier: number }
  /** An admin has ordered that what is still encrypted to it does not hold it up. */
  | { type: 'forced' }
  /** Nothing that was admitted under it waits to be opened. */
  | { type: 'retired' };

export const EPOCH_STATES = ['pending', 'active', 'grace', 'retired'] as const;
export type EpochState = (typeof EPOCH_STATES)[number];

export const EPOCH_MACHINE_VERSION = 1;

/** Why keys rotate: the words of the upstream's rotation log, and ours. */
export const ROTATION_REASONS = ['scheduled', 'manual', 'risk', 'cvm_update', 'compromise'] as const;
export type RotationReason = (typeof ROTATION_REASONS)[number];

interface Context {
  readonly epoch: number;
  /** From grace on: when admission ends by itself. */
  readonly grace_ends_ms?: number;
  /** Once it is closed. */
  readonly barrier?: number;
  readonly forced?: boolean;
}

export const epochMachine = setup({
  types: {} as { context: Context; input: { epoch: number }; events: EpochEvent },
  guards: {
    isOpen: ({ context }) => context.barrier === undefined,
    isClosed: ({ context }) => context.barrier !== undefined,
  },
}).createMachine({
  id: 'epoch',
  context: ({ input }) => ({ epoch: input?.epoch ?? 0 }),
  initial: 'pending',
  states: {
    pending: { on: { activated: 'active' } },
    active: {
      on: {
        superseded: { target: 'grace', actions: assign({ grace_ends_ms: ({ event }) => event.grace_ends_ms }) },
      },
    },
    grace: {
      on: {
        closed: { guard: 'isOpen', actions: assign({ barrier: ({ event }) => event.barrier }) },
        forced: { guard: 'isClosed', actions: assign({ forced: true }) },
        retired: { guard: 'isClosed', target: 'retired' },
      },
    },
    retired: { type: 'final' },
  },
});

/** Where an epoch stands. */
export interface Standing extends Context {
  readonly state: EpochState;
}

/** Whether an envelope that is encrypted to the epoch is admitted now. */
export function admits({ state, barrier, grace_ends_ms }: Standing, now_ms: number): boolean {
  if (state === 'active') return true;
  return state === 'grace' && barrier === undefined && now_ms < (grace_ends_ms ?? 0);
}
