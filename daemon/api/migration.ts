// Migration over HTTP (DESIGN §8), by the deployment guide's lines as they stand: `curl -d` sends a form's media type with JSON in
// it, and a start comes with no body at all. What is decided is the operator's; how it stands, and every checkpoint, is for
// everyone. The snapshots of a checkpoint come in parts, so that a hundred thousand of them are no single answer.
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { Checkpoint, CheckpointId, Snapshot } from '../../actors/checkpoint.ts';
import { AttestedInclusion } from '../../actors/checkpointfile.ts';
import { Counter, Digest, Timestamp, timestamp } from '../../actors/encoding.ts';
import { ASSETS_WHILE, MIGRATION_STATES } from '../../actors/migration.ts';
import { CompleteMigration, StartMigration } from '../../actors/wish.ts';
import { ASSET_STATES } from '../../actors/words.ts';
import { sealParts } from '../batches.ts';
import { checkpointOf, listCheckpoints, signedCheckpoint, snapshotsOf } from '../checkpoints.ts';
import { type CheckpointRecord, checkpointRecord, newestMigration } from '../freeze.ts';
import type { MigrationOutcome } from '../migration.ts';
import { keysetRecord, meta } from '../records.ts';
import type { Store } from '../store.ts';
import { integer, NoQuery } from './input.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

const LISTED = 20;
/** How long an answer waits for what was decided to be carried out, so that a script may go on with the next line. */
const WAIT_MS = 5_000;
const PART_MAX = 1_000_000;
const RETRY_S = 1;

const Listed = Checkpoint.extend({
  leaf_index: Counter.describe('Of its digest in the log, an entry of the kind checkpoint.'),
  digest: Digest,
  sealed: z.boolean().describe('A seal covers it.'),
  parts: Counter.describe('In which its snapshots can be fetched; 0 where there are none, or they are gone.'),
});
export const MigrationStatus = z
  .strictObject({
    running: z.boolean(),
    state: z.enum(ASSET_STATES).describe('What assets are in it; of one that is over, what became of them.'),
    stage: z.enum(MIGRATION_STATES).nullable().describe('null while there was none ever.'),
    checkpoint_id: CheckpointId.nullable(),
    checkpoint: Listed.nullable().describe('null until it is signed.'),
    senders: z.array(z.string()),
    started_at: Timestamp.nullable(),
    ended_at: Timestamp.nullable(),
    assets: z.strictObject({
      total: Counter,
      done: Counter.describe('How many the stage has looked at so far.'),
    }),
    checkpoints: z.array(Listed).describe('Newest first.'),
  })
  .meta({ id: 'MigrationStatus' });
export type MigrationStatus = z.output<typeof MigrationStatus>;

export const ExportedHead = z
  .strictObject({ version: z.literal(1), ...Checkpoint.shape, ...AttestedInclusion.shape, parts: Counter })
  .meta({ id: 'ExportedCheckpoint' });
export const ExportedPart = z.strictObject({ asset_snapshots: z.array(Snapshot) }).meta({ id: 'CheckpointPart' });

const BODY = ['invalid_json', 'invalid_body', 'body_too_large', 'unsupported_media_type'] as const;
const ADMIN = ['unauthorized', 'forbidden', 'store_unavailable', 'invalid_query'] as const;
const CHECKPOINT = [
  ...(['migration_not_running', 'migration_preparing', 'migration_ending', 'checkpoint_not_found'] as const),
  ...(['checkpoint_not_running', 'checkpoint_foreign', 'checkpoint_altered', 'empty_body'] as const),
] as const;

export function migration(app: App, { sequencer }: Modules): void {
  const { store } = sequencer;
  const routes = { config: { role: 'admin' as const }, onRequest: takeForms, validatorCompiler: unread };

  app.post(
    '/migration/start',
    {
      ...routes,
      schema: {
        summary: 'Begin a migration of all assets, with a checkpoint',
        description:
          'Answers once the checkpoint is signed, or after 5 s with a state of Preparing. The body may be left out.',
        tags: ['migration'],
        querystring: NoQuery,
        body: StartMigration.optional(),
        response: {
          200: MigrationStatus,
          ...problems(...BODY, ...ADMIN, 'migration_running', 'checkpoint_running'),
        },
      },
    },
    async (request, reply) => {
      const outcome = await sequencer.migrations.start(request.body ?? {});
      if (!outcome.ok) return refused(reply, outcome);
      await sequencer.migrations.left(['preparing'], AbortSignal.timeout(WAIT_MS));
      return statusOf(store);
    },
  );

  for (const act of ['complete', 'rollback'] as const) {
    app.post(
      `/migration/${act}`,
      {
        ...routes,
        schema: {
          summary: act === 'complete' ? 'Complete the migration, for good' : 'Give the migration up',
          description: 'By its checkpoint: the id alone, or all that a batch has of it, which then must be right.',
          tags: ['migration'],
          querystring: NoQuery,
          body: CompleteMigration,
          response: { 200: MigrationStatus, ...problems(...BODY, ...ADMIN, ...CHECKPOINT) },
        },
      },
      async (request, reply) => {
        if (request.body === undefined || request.body === null) return refuse(reply, 'empty_body');
        const outcome = await sequencer.migrations[act](request.body);
        if (!outcome.ok) return refused(reply, outcome);
        await sequencer.migrations.left(['moving', 'restoring'], AbortSignal.timeout(WAIT_MS));
        return statusOf(store);
      },
    );
  }

  app.get(
    '/migration/status',
    {
      config: { role: 'public' },
      schema: {
        summary: 'The newest migration, and the checkpoints',
        tags: ['migration'],
        querystring: NoQuery,
        response: { 200: MigrationStatus, ...problems('invalid_query') },
      },
    },
    async () => statusOf(store),
  );

  app.get(
    '/migration/checkpoints/:id',
    {
      config: { role: 'public' },
      schema: {
        summary: 'A signed checkpoint with its seal, but without its snapshots',
        tags: ['migration'],
        params: z.strictObject({ id: CheckpointId }),
        querystring: NoQuery,
        response: { 200: ExportedHead, ...problems('invalid_path', 'invalid_query', 'checkpoint_not_found') },
      },
    },
    async (request, reply) => {
      const record = checkpointOf(store, request.params.id);
      const signed = record && signedCheckpoint(record);
      if (signed === undefined) return refuse(reply, 'checkpoint_not_found');
      const seal = sealParts(store, record!.leaf_index);
      const { keyset } = keysetRecord(store, signed.epoch)!;
      return { version: 1 as const, ...signed, ...seal, keyset, parts: partsOf(store, record!) };
    },
  );

  app.get(
    '/migration/checkpoints/:id/snapshots',
    {
      config: { role: 'public', long: true },
      schema: {
        summary: 'Some of the snapshots of a checkpoint, sorted by asset',
        tags: ['migration'],
        params: z.strictObject({ id: CheckpointId }),
        querystring: z.strictObject({ part: integer(0, PART_MAX) }),
        response: {
          200: ExportedPart,
          ...problems('invalid_path', 'invalid_query', 'checkpoint_not_found', 'rate_limited'),
        },
      },
    },
    async (request, reply) => {
      const record = checkpointOf(store, request.params.id);
      const found = record && snapshotsOf(store, record, request.query.part);
      if (found === undefined || record!.pqc_signature === null) return refuse(reply, 'checkpoint_not_found');
      return { asset_snapshots: [...found] };
    },
  );

  /** Bodies are validated by the room, which every caller goes through; what else there is, as everywhere. */
  function unread({ schema, httpPart }: { schema: unknown; httpPart?: string }) {
    if (httpPart !== 'body') return app.validatorCompiler!({ schema, httpPart } as never);
    return (data: unknown) => ({ value: data });
  }
}

/** What `curl -d` says of any body. No browser gets in by this: it needs a token, or the socket. */
async function takeForms({ raw: { headers } }: FastifyRequest): Promise<void> {
  if (headers['content-type'] === 'application/x-www-form-urlencoded') headers['content-type'] = 'application/json';
}

function refused(reply: FastifyReply, outcome: Exclude<MigrationOutcome, { ok: true }>): FastifyReply {
  const { ok: _, code, ...particulars } = outcome;
  if (code === 'invalid_migration') return refuse(reply, 'invalid_body', particulars);
  return refuse(reply, code, code === 'checkpoint_running' ? { retry_after_s: RETRY_S } : {});
}

export function statusOf(store: Store): MigrationStatus {
  const newest = newestMigration(store);
  const checkpoints = listCheckpoints(store, LISTED).map((record) => listed(store, record));
  const nothing = { running: false, state: 'Active', stage: null, checkpoint_id: null, checkpoint: null } as const;
  const total = store.count('assets');
  if (newest === undefined) {
    return { ...nothing, senders: [], started_at: null, ended_at: null, assets: { total, done: 0 }, checkpoints };
  }
  const { number, state: stage, senders, started_at_ms, ended_at_ms, progress } = newest;
  const record = checkpointRecord(store, number)!;
  return {
    running: ASSETS_WHILE[stage] !== null,
    state: ASSETS_WHILE[stage] ?? (stage === 'migrated' ? 'Migrated' : 'Active'),
    stage,
    checkpoint_id: record.checkpoint_id,
    checkpoint: record.pqc_signature === null ? null : listed(store, record),
    senders: [...senders],
    started_at: timestamp(started_at_ms),
    ended_at: ended_at_ms === null ? null : timestamp(ended_at_ms),
    assets: { total, done: stage === 'preparing' ? record.progress.count : progress.count },
    checkpoints,
  };
}

function listed(store: Store, record: CheckpointRecord): z.output<typeof Listed> {
  const { leaf_index, digest } = record;
  const sealed = meta(store, 'log').sealed > leaf_index!;
  return {
    ...signedCheckpoint(record)!,
    leaf_index: leaf_index!,
    digest: digest!,
    sealed,
    parts: partsOf(store, record),
  };
}

const partsOf = (store: Store, record: CheckpointRecord): number =>
  record.parts > 0 &&
  snapshotsOf(store, record, record.parts - 1) !== undefined &&
  snapshotsOf(store, record, 0) !== undefined
    ? record.parts
    : 0;
