// The life of an enrolled IPNS name (DESIGN §10): `due → opening → signed → publishing → published`, and back when the next cycle
// comes. A router that fails makes it `retrying`, and `stale` after ten times in a row; either comes back by itself, for a name
// is never given up. What no retry can mend is `quarantined` with its reason, until the owner brings another key or record.
//
// The owner may bring a newer record at any time: whatever is under way, the name is due again.
import { assign, setup } from 'xstate';

/** Why a name is left alone until its owner brings something else. */
export const QUARANTINE_REASONS = ['key_unopenable', 'key_foreign', 'key_retired', 'record_refused'] as const;
export type QuarantineReason = (typeof QUARANTINE_REASONS)[number];

export type NameEvent =
  /** Its time has come: a cycle, or a retry. */
  | { type: 'due' }
  /** Its record is to be signed anew. */
  | { type: 'taken' }
  /** The new record is durable. */
  | { type: 'signed' }
  /** The record that is durable goes out. */
  | { type: 'sent' }
  | { type: 'published' }
  /** The router failed; `resolve`: it should be asked first what it has. */
  | { type: 'failed'; reason: string; resolve?: boolean }
  | { type: 'refused'; reason: QuarantineReason; detail?: string }
  /** The owner, or the network, has brought a record or a key. */
  | { type: 'updated' };

export const NAME_MACHINE_VERSION = 1;
/** Failures in a row after which a name shows as stale. */
export const STALE_FAILURES = 10;

export interface NameContext {
  /** In a row. */
  readonly failures: number;
  /** Of the last failure or refusal; null once it is published. */
  readonly reason: string | null;
  /** Whether a record was signed for this cycle and has not gone out. */
  readonly unsent: boolean;
}

const RESTING: NameContext = { failures: 0, reason: null, unsent: false };

export const nameMachine = setup({
  types: {} as { context: NameContext; events: NameEvent },
  guards: { isTenth: ({ context }) => context.failures + 1 >= STALE_FAILURES },
  actions: {
    count: assign(({ context, event }) =>
      event.type === 'failed' ? { failures: context.failures + 1, reason: event.reason } : {},
    ),
    rest: assign(RESTING),
    say: assign(({ event }) => {
      if (event.type !== 'refused') return {};
      const { reason, detail } = event;
      return { reason: detail === undefined ? reason : `${reason}: ${detail}`, unsent: false };
    }),
    hold: assign({ unsent: true }),
    drop: assign({ unsent: false }),
  },
}).createMachine({
  id: 'name',
  context: RESTING,
  initial: 'due',
  // Whatever is under way is of the record before.
  on: { updated: { target: '.due', actions: 'drop' } },
  states: {
    due: { on: { taken: 'opening', sent: 'publishing', failed: failing(), refused: quarantining() } },
    opening: { on: { signed: { target: 'signed', actions: 'hold' }, failed: failing(), refused: quarantining() } },
    signed: { on: { sent: 'publishing', due: 'due' } },
    publishing: {
      on: { published: { target: 'published', actions: 'rest' }, failed: failing(), refused: quarantining() },
    },
    published: { on: { due: 'due' } },
    retrying: { on: { due: 'due' } },
    stale: { on: { due: 'due' } },
    quarantined: {},
  },
});

function failing() {
  return [
    { guard: 'isTenth', target: 'stale', actions: 'count' },
    { target: 'retrying', actions: 'count' },
  ] as const;
}

function quarantining() {
  return { target: 'quarantined', actions: 'say' } as const;
}
