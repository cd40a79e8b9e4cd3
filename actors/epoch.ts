// The life of an epoch of keys: `pending → active → grace → retired` (DESIGN §5). Only `active` signs; `active` and `grace`
// open what was encrypted to them.
import { setup } from 'xstate';

export type EpochEvent =
  /** Its keyset is in the log and it signs from now on. */
  | { type: 'activated' }
  /** A newer epoch is active; this one only opens. */
  | { type: 'superseded' }
  /** Grace is over and nothing is encrypted to it any more. */
  | { type: 'retired' };

export const EPOCH_STATES = ['pending', 'active', 'grace', 'retired'] as const;
export type EpochState = (typeof EPOCH_STATES)[number];

export const EPOCH_MACHINE_VERSION = 1;

export const epochMachine = setup({
  types: {} as { context: { epoch: number }; input: { epoch: number }; events: EpochEvent },
}).createMachine({
  id: 'epoch',
  context: ({ input }) => ({ epoch: input?.epoch ?? 0 }),
  initial: 'pending',
  states: {
    pending: { on: { activated: 'active' } },
    active: { on: { superseded: 'grace' } },
    grace: { on: { retired: 'retired' } },
    retired: { type: 'final' },
  },
});

/** Whether an envelope that is encrypted to an epoch in this state is admitted. */
export const admits = (state: EpochState): boolean => state === 'active' || state === 'grace';
