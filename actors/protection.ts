// The life of an asset (DESIGN §7): `Active ⇄ Protected`, into a migration and out of it, and back from its middle by a rollback.
// Whether an asset is protected follows from the risk and its threshold, so it is computed and never written: when the score
// rises, a million assets are protected in the commit that says so. One number is kept for all of them, the held level, which
// follows the score up at once and down only by a distance, so that a score that trembles around a threshold switches once.
import { setup } from 'xstate';
import { type Snapshot, step } from './effect.ts';
import type { AssetState } from './words.ts';

export type AssetEvent =
  /** The held level has reached its threshold. */
  | { type: 'protected' }
  /** The held level is below its threshold again. */
  | { type: 'released' }
  /** It is part of a migration that begins: the checkpoint is being taken. */
  | { type: 'migration_started' }
  /** The checkpoint verifies, and the migration runs. */
  | { type: 'checkpointed' }
  /** The migration is complete; the asset lives elsewhere. */
  | { type: 'completed' }
  /** The migration is given up; the state of the checkpoint is being restored. */
  | { type: 'rolled_back' }
  /** That state is restored. */
  | { type: 'restored' };
export const ASSET_EVENTS = [
  'protected',
  'released',
  'migration_started',
  'checkpointed',
  'completed',
  'rolled_back',
  'restored',
] as const satisfies readonly AssetEvent['type'][];

export const ASSET_MACHINE_VERSION = 1;

export const assetMachine = setup({
  types: {} as { context: Record<string, never>; events: AssetEvent },
}).createMachine({
  id: 'asset',
  context: {},
  initial: 'Active',
  states: {
    Active: { on: { protected: 'Protected', migration_started: 'Preparing' } },
    // A protected asset may be moved to safety: DESIGN §7 lets migration pass while the risk is high.
    Protected: { on: { released: 'Active', migration_started: 'Preparing' } },
    Preparing: { on: { checkpointed: 'Migrating', rolled_back: 'Rollback' } },
    Migrating: { on: { completed: 'Migrated', rolled_back: 'Rollback' } },
    Rollback: { on: { restored: 'Active' } },
    Migrated: { type: 'final' },
  },
});

/** What a running migration makes of active assets. */
export type MigratingState = Exclude<AssetState, 'Active' | 'Protected'>;

/**
 * What an asset is at a held level, and while a migration runs. Only an active one can be protected: a migration goes on whatever
 * the risk.
 *
 * @param migrating  null while no migration runs
 */
export function stateAt(
  kept: Exclude<AssetState, 'Protected'>,
  risk_threshold: number,
  held: number,
  migrating: MigratingState | null = null,
): AssetState {
  if (kept !== 'Active') return kept;
  return migrating ?? (held >= risk_threshold ? 'Protected' : 'Active');
}

/** One step of the machine. @returns the new state, or a refusal where the state doesn't list the event */
export function advance(
  state: AssetState,
  event: AssetEvent,
): { readonly ok: true; readonly state: AssetState } | { readonly ok: false; readonly code: 'event_not_accepted' } {
  const kept: Snapshot = { version: ASSET_MACHINE_VERSION, value: state, context: {} };
  const stepped = step(assetMachine, kept, event);
  return stepped.ok ? { ok: true, state: stepped.snapshot.value as AssetState } : stepped;
}

/** How far the score has to fall below a threshold before assets are released; of a threshold below 1,000, half of it. */
export const HYSTERESIS = 500;

/**
 * The held level after a new score: never below the score, never more than the distance above it, and otherwise where it was.
 * An asset with threshold T is protected while the level is T or more: from a score of T on, and until it is below T - 500.
 */
export function holdLevel(held: number, score: number): number {
  return Math.max(score, Math.min(held, score + Math.min(HYSTERESIS, score)));
}
