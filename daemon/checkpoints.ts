// Checkpoints (DESIGN §8): taken part by part while assets are frozen, put into the log, signed, and kept; their snapshots go when
// `migration.checkpoints_max` newer ones are whole. A migration begins with one, and one comes every `checkpoint_interval`
// batches by itself. Promises: however many assets there are, no commit writes more than one part; what is signed was fixed
// and in the log before; and since nothing can change an asset from the first part to the last, all parts are of one moment.
import assert from 'node:assert';
import {
  advanced,
  type Checkpoint,
  checkpointId,
  digestOfCheckpoint,
  NO_PROGRESS,
  type Progress,
  type Snapshot,
  snapshotOf,
  stateHashAt,
} from '../actors/checkpoint.ts';
import { base64, fromHex, hex, timestamp } from '../actors/encoding.ts';
import type { Pool } from '../workers/pool.ts';
import type { AssetRecord } from './assets.ts';
import type { Epochs } from './epochs.ts';
import { Fault } from './fault.ts';
import {
  CHECKPOINT,
  type CheckpointRecord,
  checkpointRecord,
  checkpointState,
  checkpointsMeta,
  checkpointUnderWay,
  MIGRATION,
  newestMigration,
  runningMigration,
} from './freeze.ts';
import { runJob } from './job.ts';
import { appendLog } from './log.ts';
import { type Meta, meta, putMeta } from './records.ts';
import type { Performer, Runtime, Step } from './runtime.ts';
import type { Reader, Store } from './store.ts';

/** `[migration]` of sequencer.toml. */
export interface CheckpointOptions {
  /** Batches; 0 for none but those of migrations. */
  readonly checkpoint_interval: number;
  readonly checkpoints_max: number;
}

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly pool: Pool;
  readonly epochs: Pick<Epochs, 'signing'>;
  readonly options: () => CheckpointOptions;
  readonly now: () => number;
  /** The log has grown, or a checkpoint was signed. */
  readonly onMoved: () => void;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

/** Assets in one part: some 10 ms to read and hash, and one row of 40 KB. */
export const PART_ASSETS = 128;
/** Rows of old snapshots that go with each part: more than come, so that retention is caught up with. */
const FORGOTTEN_PARTS = 4;

export interface Part {
  readonly snapshots: readonly Snapshot[];
  readonly progress: Progress;
  readonly after: string | null;
  readonly last: boolean;
}

/** The next assets behind one, as they are kept, and how far the root has come with them. */
export function readPart(reader: Reader, { progress, after }: { progress: Progress; after: string | null }): Part {
  const start = after === null ? {} : { start: `${after}\0` };
  const found = [...reader.range('assets', { ...start, limit: PART_ASSETS + 1 })];
  const snapshots = found.slice(0, PART_ASSETS).map(([, value]) => snapshotOf((value as AssetRecord).asset));
  return {
    snapshots,
    progress: advanced(progress, snapshots),
    after: snapshots.at(-1)?.asset_id ?? after,
    last: found.length <= PART_ASSETS,
  };
}

/** Begins one; assets are frozen from here until its last part is written. @returns its number */
export function beginCheckpoint(step: Step, for_migration: boolean, now_ms: number): number {
  const before = checkpointsMeta(step);
  const block_number = meta(step, 'heights').cut;
  const of_block = before.next > 0 && before.block_number === block_number ? before.of_block + 1 : 0;
  const number = before.next;
  const checkpoint_id = checkpointId(block_number, of_block);
  const same = unchangedSince(step, number - 1);
  putMeta(step, 'checkpoints', { ...before, next: number + 1, block_number, of_block });
  const record: CheckpointRecord = {
    ...{ number, checkpoint_id, block_number, for_migration, begun_at_ms: now_ms },
    ...{ progress: NO_PROGRESS, parts: 0, parts_of: number, after: null },
    // What was read then is what would be read now: nothing is left but to sign it as of today.
    ...(same !== undefined && {
      ...{ progress: same.progress, parts: same.parts, parts_of: same.parts_of, after: same.after },
    }),
    ...{ head: null, digest: null, leaf_index: null, pqc_signature: null },
  };
  step.put('checkpoints', number, record);
  step.put('checkpoint_ids', checkpoint_id, { number });
  step.begin(CHECKPOINT, number, { number });
  return number;
}

/** The checkpoint before, where no asset was changed since it was taken, and its snapshots are there. */
function unchangedSince(reader: Reader, number: number): CheckpointRecord | undefined {
  const record = number < 0 ? undefined : checkpointRecord(reader, number);
  if (record === undefined || record.leaf_index === null) return undefined;
  const changed = (reader.get('meta', 'assets_changed') as Meta['assets_changed'] | undefined)?.leaf_index ?? -1;
  return changed < record.leaf_index ? record : undefined;
}

export class Checkpoints {
  readonly #modules: Modules;
  #beginning: Promise<void> | undefined;
  #stopped = false;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** A batch was cut, or a checkpoint is done: begins one where the interval has passed. */
  wake(): void {
    if (this.#stopped || this.#beginning !== undefined || !this.#isDue(this.#modules.store)) return;
    const { runtime, now, onFault, fatal } = this.#modules;
    this.#beginning = runtime
      .commit((step) => {
        if (this.#isDue(step)) beginCheckpoint(step, false, now());
      })
      // The next batch wakes it again.
      .catch((error: unknown) => (error instanceof Fault ? onFault(error) : fatal(error)))
      .finally(() => {
        this.#beginning = undefined;
      });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#beginning;
  }

  #isDue(reader: Reader): boolean {
    const { checkpoint_interval } = this.#modules.options();
    if (checkpoint_interval === 0) return false;
    if (runningMigration(reader) !== undefined || checkpointUnderWay(reader) !== undefined) return false;
    return meta(reader, 'heights').cut >= checkpointsMeta(reader).block_number + checkpoint_interval;
  }

  performers(timeout_ms: number): readonly Performer<never>[] {
    return [this.#snapshotting(timeout_ms), this.#certifying(timeout_ms)] as unknown as readonly Performer<never>[];
  }

  #snapshotting(timeout_ms: number): Performer<Part> {
    return {
      kind: 'snapshot',
      concurrency: 1,
      timeout_ms,
      perform: async (number) => {
        await nextTurn();
        return readPart(this.#modules.store, checkpointRecord(this.#modules.store, number)!);
      },
      settle: (step, number, part) => {
        this.#settlePart(step, number, part);
        return { done: this.#modules.onMoved };
      },
    };
  }

  #certifying(timeout_ms: number): Performer<string> {
    const { store, pool, epochs, now, onMoved } = this.#modules;
    return {
      kind: 'certify',
      concurrency: 1,
      timeout_ms,
      perform: async (number, signal) => {
        const { head, digest } = checkpointRecord(store, number)!;
        assert(head !== null && digest !== null, 'what is signed is in the log');
        const { ml_dsa_87 } = epochs.signing(head.epoch);
        return base64(await runJob(pool, 'certify', { digest: fromHex(digest), ml_dsa_87 }, signal));
      },
      settle: (step, number, pqc_signature) => {
        settleCertified(step, number, pqc_signature, now());
        this.#forget(step);
        return { done: onMoved };
      },
    };
  }

  /** Frozen while it was read, so what is written is what is there. */
  #settlePart(step: Step, number: number, part: Part): void {
    if (checkpointState(step, number) === 'abandoned') return;
    const record = checkpointRecord(step, number)!;
    const { progress, after, snapshots, last } = part;
    assert(progress.count === record.progress.count + snapshots.length, 'parts follow each other');
    if (snapshots.length > 0) step.put('checkpoint_parts', [number, record.parts], { snapshots });
    const parts = record.parts + (snapshots.length > 0 ? 1 : 0);
    this.#forget(step);
    if (!last) {
      step.put('checkpoints', number, { ...record, progress, after, parts });
      step.send(CHECKPOINT, number, { type: 'continued' });
      return;
    }
    const head = {
      checkpoint_id: record.checkpoint_id,
      log_id: meta(step, 'genesis').log_id,
      block_number: record.block_number,
      state_hash: stateHashAt(progress),
      asset_count: progress.count,
      timestamp: timestamp(record.begun_at_ms),
      epoch: meta(step, 'epoch').active,
    };
    const digest = hex(digestOfCheckpoint(head));
    const leaf_index = appendLog(step, 'checkpoint', digest);
    step.put('checkpoints', number, { ...record, progress, after, parts, head, digest, leaf_index });
    step.send(CHECKPOINT, number, { type: 'snapshotted' });
  }

  /** Removes old snapshots, a few rows at a time. */
  #forget(step: Step): void {
    const before = checkpointsMeta(step);
    const kept = checkpointRecord(step, Math.max(0, before.next - this.#modules.options().checkpoints_max));
    const end = kept?.parts_of ?? 0;
    let { oldest } = before;
    for (let rows = FORGOTTEN_PARTS; oldest < end && rows > 0; ) {
      const found = [...step.range('checkpoint_parts', { start: [oldest, 0], end: [oldest + 1, 0], limit: rows })];
      for (const [key] of found) step.remove('checkpoint_parts', key);
      if (found.length < rows) oldest += 1;
      rows -= Math.max(1, found.length);
    }
    if (oldest > before.oldest) putMeta(step, 'checkpoints', { ...before, oldest });
  }
}

function settleCertified(step: Step, number: number, pqc_signature: string, now_ms: number): void {
  const record = checkpointRecord(step, number)!;
  step.put('checkpoints', number, { ...record, pqc_signature });
  step.send(CHECKPOINT, number, { type: 'certified' });
  const { checkpoint_id, block_number, digest, leaf_index, head } = record;
  const { state_hash, asset_count } = head!;
  const entry = { checkpoint_id, block_number, state_hash, asset_count, digest, leaf_index };
  step.journal('checkpoint_created', entry, now_ms);
  const migration = newestMigration(step);
  if (migration?.number === number && migration.state === 'preparing') {
    step.send(MIGRATION, number, { type: 'checkpointed' });
    step.journal('migration_started', { checkpoint_id, state_hash, asset_count, senders: migration.senders }, now_ms);
  }
}

/** Undefined until it is signed. */
export function signedCheckpoint({ head, pqc_signature }: CheckpointRecord): Checkpoint | undefined {
  return head === null || pqc_signature === null ? undefined : { ...head, pqc_signature };
}

export function checkpointOf(reader: Reader, checkpoint_id: string): CheckpointRecord | undefined {
  const found = reader.get('checkpoint_ids', checkpoint_id);
  return found === undefined ? undefined : checkpointRecord(reader, found.number);
}

/** Newest first, signed ones only. */
export function listCheckpoints(reader: Reader, limit: number): CheckpointRecord[] {
  const found = [...reader.range('checkpoints', { limit, reverse: true })].map(
    ([, value]) => value as CheckpointRecord,
  );
  return found.filter(({ pqc_signature }) => pqc_signature !== null);
}

/** One part of the snapshots; undefined behind the last, and where they are gone. */
export function snapshotsOf(
  reader: Reader,
  { parts_of }: CheckpointRecord,
  part: number,
): readonly Snapshot[] | undefined {
  const found = reader.get('checkpoint_parts', [parts_of, part]);
  return found === undefined ? undefined : (found as { snapshots: readonly Snapshot[] }).snapshots;
}

/** Between two parts everything else has its turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
