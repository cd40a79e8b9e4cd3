// What a checkpoint and a migration hold still (DESIGN §8), and what assets are meanwhile: questions over the store, for the rooms that
// must not change an asset, rotate or order as usual then. Asked inside the step that would, so that a migration which begins
// and whatever comes beside it are decided one after the other. checkpoints.ts and migration.ts write what is read here.
import type { Progress, UnsignedCheckpoint } from '../actors/checkpoint.ts';
import {
  ASSETS_WHILE,
  CHECKPOINT_MACHINE_VERSION,
  type CheckpointState,
  checkpointMachine,
  MIGRATION_MACHINE_VERSION,
  type MigrationState,
  migrationMachine,
} from '../actors/migration.ts';
import type { MigratingState } from '../actors/protection.ts';
import { type MachineKind, machineId } from './runtime.ts';
import type { Reader } from './store.ts';

export const CHECKPOINT: MachineKind<typeof checkpointMachine> = {
  name: 'checkpoint',
  version: CHECKPOINT_MACHINE_VERSION,
  machine: checkpointMachine,
};

export const MIGRATION: MachineKind<typeof migrationMachine> = {
  name: 'migration',
  version: MIGRATION_MACHINE_VERSION,
  machine: migrationMachine,
};

/** `checkpoints`: grows with its stages. Kept for ever; its snapshots only as long as `migration.checkpoints_max` says. */
export interface CheckpointRecord {
  readonly number: number;
  readonly checkpoint_id: string;
  readonly block_number: number;
  readonly for_migration: boolean;
  readonly begun_at_ms: number;
  readonly progress: Progress;
  /** How many parts of snapshots are written, and the asset behind which the next one begins. */
  readonly parts: number;
  readonly after: string | null;
  /** Under whose number they lie: its own, or an earlier one's from which nothing has changed. */
  readonly parts_of: number;
  /** From `certifying` on. */
  readonly head: UnsignedCheckpoint | null;
  readonly digest: string | null;
  readonly leaf_index: number | null;
  /** Once it is certified. */
  readonly pqc_signature: string | null;
}

export const checkpointRecord = (reader: Reader, number: number): CheckpointRecord | undefined =>
  reader.get('checkpoints', number) as CheckpointRecord | undefined;

export const checkpointState = (reader: Reader, number: number): CheckpointState =>
  reader.get('machines', machineId(CHECKPOINT, number))!.value as CheckpointState;

/** `meta` record `checkpoints`: the next number, and how those of one block are told apart. */
export interface CheckpointsMeta {
  readonly next: number;
  readonly block_number: number;
  readonly of_block: number;
  /** Below it, checkpoints have lost their snapshots. */
  readonly oldest: number;
}

export const checkpointsMeta = (reader: Reader): CheckpointsMeta =>
  (reader.get('meta', 'checkpoints') as CheckpointsMeta | undefined) ?? {
    ...{ next: 0, block_number: 0, of_block: 0, oldest: 0 },
  };

/** `meta` record `migration`: the newest, running or over. Its number is that of its checkpoint. */
export interface MigrationRecord {
  readonly number: number;
  /** Whose transactions belong to it: 0x-hex, in lower case, sorted. */
  readonly senders: readonly string[];
  readonly started_at_ms: number;
  readonly ended_at_ms: number | null;
  /** Of the end that is being carried out: how many assets were looked at, and the last of them. */
  readonly progress: Progress;
  readonly after: string | null;
}

export type Migration = MigrationRecord & { readonly state: MigrationState };

/** The newest migration, running or over. */
export function newestMigration(reader: Reader): Migration | undefined {
  const record = reader.get('meta', 'migration') as MigrationRecord | undefined;
  if (record === undefined) return undefined;
  return { ...record, state: reader.get('machines', machineId(MIGRATION, record.number))!.value as MigrationState };
}

/** The one that runs: from its start until its end is carried out. */
export function runningMigration(reader: Reader): Migration | undefined {
  const found = newestMigration(reader);
  return found !== undefined && ASSETS_WHILE[found.state] !== null ? found : undefined;
}

/** What active assets are while a migration runs; null where none does. */
export function migratingState(reader: Reader): MigratingState | null {
  const found = newestMigration(reader);
  return found === undefined ? null : ASSETS_WHILE[found.state];
}

/** The checkpoint that what is cut now belongs to: of a migration whose checkpoint is signed. */
export function checkpointInForce(reader: Reader): CheckpointRecord | undefined {
  const found = newestMigration(reader);
  return found?.state === 'migrating' ? checkpointRecord(reader, found.number) : undefined;
}

/** The newest checkpoint while it is not certified yet; there is one at a time. */
export function checkpointUnderWay(
  reader: Reader,
): (CheckpointRecord & { readonly state: 'snapshotting' | 'certifying' }) | undefined {
  const { next } = checkpointsMeta(reader);
  if (next === 0) return undefined;
  const state = checkpointState(reader, next - 1);
  if (state !== 'snapshotting' && state !== 'certifying') return undefined;
  return { ...checkpointRecord(reader, next - 1)!, state };
}

export type FreezeRefusal = 'migration_running' | 'checkpoint_running';

/** Why no asset can be registered, changed or removed now; undefined while they can. */
export function freeze(reader: Reader): FreezeRefusal | undefined {
  if (runningMigration(reader) !== undefined) return 'migration_running';
  return checkpointUnderWay(reader)?.state === 'snapshotting' ? 'checkpoint_running' : undefined;
}

/** Whether a checkpoint has to be signed, or sealed, by the epoch that is about to end: it vouches for its own. */
export function holdsRotation(reader: Reader, sealed: number): boolean {
  const { next } = checkpointsMeta(reader);
  const newest = next === 0 ? undefined : checkpointRecord(reader, next - 1);
  if (newest === undefined || newest.leaf_index === null) return false;
  return newest.pqc_signature === null || newest.leaf_index >= sealed;
}
