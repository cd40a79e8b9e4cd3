// The life of a batch: `opening → signing → sealing → sealed` (DESIGN §3). The runtime steps it; what a stage needs (the
// order, the opened transactions, the header) lies in the batch's record, the machine says only what may come next and what
// is owed.
import { setup } from 'xstate';
import { EFFECT, type Effect } from './effect.ts';

export type BatchEvent =
  /** Every envelope of the order has been opened or refused; the header is made. */
  | { type: 'opened' }
  /** Refusals left places free and more envelopes joined the order; those must be opened too. */
  | { type: 'ordered' }
  /** The signatures are there and the digest has joined the log. */
  | { type: 'signed' }
  /** A seal covers the batch's leaf. */
  | { type: 'sealed' };

export const BATCH_STATES = ['opening', 'signing', 'sealing', 'sealed'] as const;

export const BATCH_MACHINE_VERSION = 1;

export const batchMachine = setup({
  types: {} as { context: { height: number }; input: { height: number }; events: BatchEvent },
  actions: { [EFFECT]: (_, _effect: Effect) => {} },
}).createMachine({
  id: 'batch',
  // XState builds an initial snapshot without input when it resolves a stored one.
  context: ({ input }) => ({ height: input?.height ?? 0 }),
  initial: 'opening',
  states: {
    opening: {
      entry: { type: EFFECT, params: ({ context }) => ({ kind: 'open', subject: context.height }) },
      on: { opened: 'signing', ordered: { target: 'opening', reenter: true } },
    },
    signing: {
      entry: { type: EFFECT, params: ({ context }) => ({ kind: 'sign', subject: context.height }) },
      on: { signed: 'sealing' },
    },
    // Nothing is owed for the batch alone: the sealer owes one seal for all that wait here.
    sealing: { on: { sealed: 'sealed' } },
    sealed: { type: 'final' },
  },
});
