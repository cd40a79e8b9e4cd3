// Migration of state (DESIGN §8): started, completed or rolled back by an operator, one at a time. Each decision is one commit with
// its entry in the log; what follows from it is carried out part by part behind it, and gone on with after a crash. Rolling back
// needs no copy: no asset is written before a migration is completed, and the state hash is computed anew from the store before
// anyone is told that it is the checkpoint's. Log, heights, epochs, risk and keys are no part of it and never go back.
import assert from 'node:assert';
import { CHECKPOINT_CONTEXT, digestOfCheckpoint, NO_PROGRESS, stateHashAt } from '../actors/checkpoint.ts';
import { MIGRATION_ACTS, migrationDigest } from '../actors/digest.ts';
import { fromBase64, fromHex, hex, utf8 } from '../actors/encoding.ts';
import type { Verify } from '../actors/order.ts';
import { rootOf } from '../actors/tree.ts';
import {
  CompleteMigration,
  type CompleteMigrationInput,
  StartMigration,
  type StartMigrationInput,
} from '../actors/wish.ts';
import { firstIssue } from './api/input.ts';
import { placeAsset, unplaceAsset } from './assetplaces.ts';
import type { AssetRecord } from './assets.ts';
import { beginCheckpoint, checkpointOf, nextTurn, PART_ASSETS, readPart } from './checkpoints.ts';
import {
  CHECKPOINT,
  type CheckpointRecord,
  checkpointRecord,
  checkpointState,
  checkpointUnderWay,
  MIGRATION,
  type Migration,
  type MigrationRecord,
  newestMigration,
  runningMigration,
} from './freeze.ts';
import { appendLog } from './log.ts';
import { keysetRecord, meta, putMeta } from './records.ts';
import type { Performer, Runtime, Step } from './runtime.ts';
import type { Reader, Store } from './store.ts';

export type MigrationRefusal =
  | 'migration_running'
  | 'checkpoint_running'
  | 'migration_not_running'
  | 'migration_preparing'
  | 'migration_ending'
  | 'checkpoint_not_found'
  | 'checkpoint_not_running'
  | 'checkpoint_foreign'
  | 'checkpoint_altered';

export type MigrationOutcome =
  | { readonly ok: true; readonly migration: Migration }
  | { readonly ok: false; readonly code: MigrationRefusal }
  | { readonly ok: false; readonly code: 'invalid_migration'; readonly field: string; readonly detail: string };

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly verify: Verify;
  readonly now: () => number;
  /** The log has grown, or assets are frozen no more. */
  readonly onMoved: () => void;
}

/** Assets that one commit marks as migrated: three rows each, some 10 ms. */
const MOVED_ASSETS = PART_ASSETS / 2;

export class Migrations {
  readonly #modules: Modules;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** Durable when it resolves with `ok`; it runs once its checkpoint is signed. @param input  from whoever: validated here */
  async start(input: StartMigrationInput = {}): Promise<MigrationOutcome> {
    const parsed = StartMigration.safeParse(input);
    if (!parsed.success) return { ok: false, code: 'invalid_migration', ...firstIssue(parsed.error) };
    const senders = [...new Set(parsed.data.senders)].sort();
    return this.#decide((step, now_ms) => {
      if (runningMigration(step) !== undefined) return 'migration_running';
      if (checkpointUnderWay(step) !== undefined) return 'checkpoint_running';
      const number = beginCheckpoint(step, true, now_ms);
      const times = { started_at_ms: now_ms, ended_at_ms: null };
      putMeta(step, 'migration', { number, senders, ...times, progress: NO_PROGRESS, after: null });
      step.begin(MIGRATION, number, { number });
      logAct(step, 'started', now_ms);
      return undefined;
    });
  }

  /** From here on there is no way back: every asset that was active counts as migrated. */
  async complete(input: CompleteMigrationInput): Promise<MigrationOutcome> {
    return this.#end(input, 'completed');
  }

  /** The migration is given up, and every asset is what it was. */
  async rollback(input: CompleteMigrationInput): Promise<MigrationOutcome> {
    return this.#end(input, 'rolled_back');
  }

  #end(input: CompleteMigrationInput, act: 'completed' | 'rolled_back'): Promise<MigrationOutcome> {
    const parsed = CompleteMigration.safeParse(input);
    if (!parsed.success) {
      return Promise.resolve({ ok: false, code: 'invalid_migration', ...firstIssue(parsed.error) });
    }
    return this.#decide((step, now_ms) => {
      const refusal = this.#judge(step, parsed.data);
      if (refusal !== undefined) return refusal;
      const { number, state } = runningMigration(step)!;
      if (state === 'moving' || state === 'restoring') return 'migration_ending';
      if (state === 'preparing' && act === 'completed') return 'migration_preparing';
      step.send(MIGRATION, number, { type: act });
      logAct(step, act, now_ms);
      if (state === 'preparing') {
        if (checkpointState(step, number) === 'snapshotting') step.send(CHECKPOINT, number, { type: 'abandoned' });
        close(step, now_ms, 'migration_rolled_back');
      }
      return undefined;
    });
  }

  /** Whether this is the checkpoint of the migration that runs, in all that was given of it. */
  #judge(reader: Reader, given: CompleteMigration): MigrationRefusal | undefined {
    const record = checkpointOf(reader, given.checkpoint_id);
    if ('log_id' in given && given.log_id !== meta(reader, 'genesis').log_id) return 'checkpoint_foreign';
    if (record === undefined) return 'checkpoint_not_found';
    if ('log_id' in given && hex(digestOfCheckpoint(given)) !== record.digest) return 'checkpoint_altered';
    if ('log_id' in given && !this.#isSigned(reader, record, given.pqc_signature)) return 'checkpoint_altered';
    const running = runningMigration(reader);
    if (running === undefined) return 'migration_not_running';
    if (running.number !== record.number) return 'checkpoint_not_running';
    // What it goes by was kept since it was signed: whoever changed it in between ends the way here.
    if (record.pqc_signature === null || this.#isSigned(reader, record, record.pqc_signature)) return undefined;
    return 'checkpoint_altered';
  }

  #isSigned(reader: Reader, { head }: CheckpointRecord, pqc_signature: string | null): boolean {
    if (head === null || pqc_signature === null) return head !== null;
    const key = fromBase64(keysetRecord(reader, head.epoch)!.keyset.ml_dsa_87);
    const context = utf8(CHECKPOINT_CONTEXT);
    return this.#modules.verify(key, digestOfCheckpoint(head), context, fromBase64(pqc_signature));
  }

  /** @param decide  writes, or says why not */
  async #decide(decide: (step: Step, now_ms: number) => MigrationRefusal | undefined): Promise<MigrationOutcome> {
    const { runtime, now, onMoved } = this.#modules;
    const outcome = await runtime.commit((step): MigrationOutcome => {
      const code = decide(step, now());
      return code === undefined ? { ok: true, migration: newestMigration(step)! } : { ok: false, code };
    });
    if (outcome.ok) onMoved();
    return outcome;
  }

  /**
   * Resolves when the newest migration is in none of these states any more, or the signal fires.
   *
   * @returns undefined where there was none ever
   */
  async left(states: readonly Migration['state'][], signal: AbortSignal): Promise<Migration | undefined> {
    const { store } = this.#modules;
    const { promise, resolve } = Promise.withResolvers<void>();
    const isIn = () => states.some((state) => newestMigration(store)?.state === state);
    const end = store.onCommitted(() => {
      if (!isIn()) resolve();
    });
    signal.addEventListener('abort', () => resolve(), { once: true });
    if (isIn() && !signal.aborted) await promise;
    end();
    return newestMigration(store);
  }

  performers(timeout_ms: number): readonly Performer<never>[] {
    return [this.#moving(timeout_ms), this.#restoring(timeout_ms)] as unknown as readonly Performer<never>[];
  }

  #moving(timeout_ms: number): Performer<void> {
    const { now, onMoved } = this.#modules;
    return {
      kind: 'move',
      concurrency: 1,
      timeout_ms,
      perform: () => nextTurn(),
      settle: (step, number) => {
        movePart(step, number, now());
        return { done: onMoved };
      },
    };
  }

  #restoring(timeout_ms: number): Performer<ReturnType<typeof readPart>> {
    const { store, now, onMoved } = this.#modules;
    return {
      kind: 'restore',
      concurrency: 1,
      timeout_ms,
      perform: async () => {
        await nextTurn();
        return readPart(store, newestMigration(store)!);
      },
      settle: (step, number, { progress, after, last }) => {
        const { state: _, ...record } = newestMigration(step)!;
        putMeta(step, 'migration', { ...record, progress, after });
        if (last) {
          const { state_hash } = checkpointRecord(step, number)!.head!;
          assert(stateHashAt(progress) === state_hash, 'what was frozen is as the checkpoint says');
          step.send(MIGRATION, number, { type: 'restored' });
          close(step, now(), 'migration_rolled_back');
        } else {
          step.send(MIGRATION, number, { type: 'continued' });
        }
        return { done: onMoved };
      },
    };
  }
}

/** Writes some assets as what all of them count as already. */
function movePart(step: Step, number: number, now_ms: number): void {
  const { state: _, ...record } = newestMigration(step)!;
  const start = record.after === null ? {} : { start: `${record.after}\0` };
  const found = [...step.range('assets', { ...start, limit: MOVED_ASSETS + 1 })];
  const part = found.slice(0, MOVED_ASSETS);
  for (const [asset_id, value] of part) {
    const { asset, leaf_index } = value as AssetRecord;
    if (asset.state !== 'Active') continue;
    const moved = { ...asset, state: 'Migrated' as const };
    step.put('assets', asset_id, { asset: moved, leaf_index });
    unplaceAsset(step, asset);
    placeAsset(step, moved);
  }
  const count = record.progress.count + part.length;
  putMeta(step, 'migration', {
    ...record,
    progress: { ...NO_PROGRESS, count },
    after: part.at(-1)?.[0] ?? record.after,
  });
  if (found.length > part.length) {
    step.send(MIGRATION, number, { type: 'continued' });
    return;
  }
  step.send(MIGRATION, number, { type: 'moved' });
  putMeta(step, 'assets_changed', { leaf_index: meta(step, 'log').size - 1 });
  close(step, now_ms, 'migration_completed');
}

function logAct(step: Step, act: keyof typeof MIGRATION_ACTS, timestamp_ms: number): void {
  const { number, senders } = newestMigration(step)!;
  const { checkpoint_id, digest: checkpoint_digest } = checkpointRecord(step, number)!;
  const { log_id } = meta(step, 'genesis');
  const about = { act: MIGRATION_ACTS[act], log_id, checkpoint_id, checkpoint_digest, timestamp_ms };
  const digest = hex(migrationDigest({ ...about, senders_root: rootOf(senders.map(fromHex)) }));
  const leaf_index = appendLog(step, 'policy', digest);
  const entry = { act, checkpoint_id, checkpoint_digest, senders, digest, leaf_index };
  step.journal('migration_ordered', entry, timestamp_ms);
}

/** The end is carried out: assets are frozen no more. */
function close(step: Step, now_ms: number, type: 'migration_completed' | 'migration_rolled_back'): void {
  const { state: _, ...record }: Migration = newestMigration(step)!;
  const { checkpoint_id, head } = checkpointRecord(step, record.number)!;
  const closed: MigrationRecord = { ...record, ended_at_ms: now_ms };
  putMeta(step, 'migration', closed);
  step.journal(
    type,
    { checkpoint_id, state_hash: head?.state_hash ?? null, asset_count: head?.asset_count ?? null },
    now_ms,
  );
}
