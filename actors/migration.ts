// The lives of a checkpoint and of a migration of state (DESIGN §8), as machines; the two share a number. A checkpoint is taken
// in bounded steps while assets are frozen, then signed. A migration begins with one, runs once it is signed, and ends by being
// completed or rolled back; both ends are decided in one commit and carried out in bounded steps behind it. What an asset
// is meanwhile follows from the migration's state, so that all of them change with one record and none is ever half moved.
import { setup } from 'xstate';
import { EFFECT, type Effect } from './effect.ts';
import type { MigratingState } from './protection.ts';

interface Numbered {
  readonly number: number;
}

export type CheckpointEvent =
  /** A part of the snapshots is written, and it was not the last. */
  | { type: 'continued' }
  /** All are written; the digest is fixed and in the log. */
  | { type: 'snapshotted' }
  /** It is signed. */
  | { type: 'certified' }
  /** What it was for was given up before it was whole. */
  | { type: 'abandoned' };
export const CHECKPOINT_EVENTS = ['continued', 'snapshotted', 'certified', 'abandoned'] as const;
export const CHECKPOINT_STATES = ['snapshotting', 'certifying', 'certified', 'abandoned'] as const;
export type CheckpointState = (typeof CHECKPOINT_STATES)[number];

export const CHECKPOINT_MACHINE_VERSION = 1;

const owes = (kind: Effect['kind']) =>
  ({ type: EFFECT, params: ({ context }: { context: Numbered }) => ({ kind, subject: context.number }) }) as const;

export const checkpointMachine = setup({
  types: {} as { context: Numbered; input: Numbered; events: CheckpointEvent },
  actions: { [EFFECT]: (_, _effect: Effect) => {} },
}).createMachine({
  id: 'checkpoint',
  context: ({ input }) => ({ number: input?.number ?? 0 }),
  initial: 'snapshotting',
  states: {
    snapshotting: {
      entry: owes('snapshot'),
      on: {
        continued: { target: 'snapshotting', reenter: true },
        snapshotted: 'certifying',
        abandoned: 'abandoned',
      },
    },
    // Its digest is in the log: it is signed, whatever becomes of what it was for.
    certifying: { entry: owes('certify'), on: { certified: 'certified' } },
    certified: { type: 'final' },
    abandoned: { type: 'final' },
  },
});

export type MigrationEvent =
  /** Its checkpoint is signed. */
  | { type: 'checkpointed' }
  /** An operator has completed it, by that checkpoint: from here on there is no way back. */
  | { type: 'completed' }
  /** An operator has given it up. */
  | { type: 'rolled_back' }
  /** A part of the assets was written or checked, and it was not the last. */
  | { type: 'continued' }
  /** Every asset is kept as migrated. */
  | { type: 'moved' }
  /** The state was computed anew, and is that of the checkpoint. */
  | { type: 'restored' };
export const MIGRATION_EVENTS = ['checkpointed', 'completed', 'rolled_back', 'continued', 'moved', 'restored'] as const;
export const MIGRATION_STATES = ['preparing', 'migrating', 'moving', 'restoring', 'migrated', 'rolled_back'] as const;
export type MigrationState = (typeof MIGRATION_STATES)[number];

export const MIGRATION_MACHINE_VERSION = 1;

export const migrationMachine = setup({
  types: {} as { context: Numbered; input: Numbered; events: MigrationEvent },
  actions: { [EFFECT]: (_, _effect: Effect) => {} },
}).createMachine({
  id: 'migration',
  context: ({ input }) => ({ number: input?.number ?? 0 }),
  initial: 'preparing',
  states: {
    // Nothing was moved yet, so there is nothing to restore.
    preparing: { on: { checkpointed: 'migrating', rolled_back: 'rolled_back' } },
    migrating: { on: { completed: 'moving', rolled_back: 'restoring' } },
    moving: { entry: owes('move'), on: { continued: { target: 'moving', reenter: true }, moved: 'migrated' } },
    restoring: {
      entry: owes('restore'),
      on: { continued: { target: 'restoring', reenter: true }, restored: 'rolled_back' },
    },
    migrated: { type: 'final' },
    rolled_back: { type: 'final' },
  },
});

/** What an active asset is while a migration is in this state; null where none runs. */
export const ASSETS_WHILE: Readonly<Record<MigrationState, MigratingState | null>> = {
  preparing: 'Preparing',
  migrating: 'Migrating',
  moving: 'Migrated',
  restoring: 'Rollback',
  migrated: null,
  rolled_back: null,
};
