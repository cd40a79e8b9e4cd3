// Rotation over HTTP (DESIGN §5, §11): the log of all rotations under the upstream's names, and the admin's wish for another
// one. A wish is answered when the next epoch is announced, durably; the feed tells when it signs.
import { z } from 'zod';
import { Counter, fromBase64, Timestamp, timestamp, uint } from '../../actors/encoding.ts';
import { ROTATION_REASONS } from '../../actors/epoch.ts';
import { keysetRecord, type RotationRecord } from '../records.ts';
import type { Store } from '../store.ts';
import { NoQuery } from './input.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

/** Newest first; more is for the log. */
const LISTED_MAX = 1_000;
const DELAY_BLOCKS_MAX = 1_000_000;

const PublicKey = z.string().length(130).nullable().describe('The key for IPNS keys: uncompressed secp256k1, hex.');

export const Rotation = z
  .strictObject({
    from_epoch: uint(32),
    to_epoch: uint(32),
    from_public_key: PublicKey,
    to_public_key: PublicKey,
    reason: z.enum(ROTATION_REASONS),
    created_at: Timestamp.describe('When it was announced.'),
    at_height: Counter.describe('Due when this many batches are cut, or at the deadline.'),
    deadline: Timestamp,
    first_height: Counter.nullable().describe('Of the new epoch; null while the rotation is pending.'),
    executed_at: Timestamp.nullable(),
  })
  .meta({ id: 'Rotation' });
export type Rotation = z.output<typeof Rotation>;

const Rotations = z.strictObject({ rotations: z.array(Rotation) }).meta({ id: 'Rotations' });

const Wish = z
  .strictObject({
    reason: z
      .enum(['manual', 'compromise'])
      .optional()
      .describe('`manual` where left out. After a compromise there is no grace.'),
    delay_blocks: z
      .int()
      .min(0)
      .max(DELAY_BLOCKS_MAX)
      .optional()
      .describe('Batches from now; rotation.delay_blocks where left out. A compromise does not wait.'),
  })
  .meta({ id: 'RotationWish' });

export function rotation(app: App, { sequencer }: Modules): void {
  const { store } = sequencer;

  app.get(
    '/epochs/rotations',
    {
      config: { role: 'public' },
      schema: {
        summary: 'The rotation log, newest first',
        tags: ['epochs'],
        querystring: NoQuery,
        response: { 200: Rotations, ...problems('invalid_query') },
      },
    },
    async () => {
      const found = [...store.range('rotations', { limit: LISTED_MAX, reverse: true })];
      return { rotations: found.map(([, record]) => entryOf(store, record as RotationRecord)) };
    },
  );

  app.post(
    '/epochs/rotate',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Announce the next epoch of keys',
        tags: ['epochs'],
        querystring: NoQuery,
        body: Wish,
        response: {
          202: Rotation,
          ...problems(
            'invalid_body',
            'invalid_query',
            'unauthorized',
            'forbidden',
            'rotation_pending',
            'too_many_epochs',
            'draining',
            'keys_unavailable',
            'store_unavailable',
          ),
        },
      },
    },
    async (request, reply) => {
      const { reason = 'manual', delay_blocks } = request.body;
      const outcome = await sequencer.rotate({ reason, ...(delay_blocks !== undefined && { delay_blocks }) });
      if (outcome.ok) return reply.code(202).send(entryOf(store, outcome.rotation));
      if (outcome.code !== 'rotation_pending') return refuse(reply, outcome.code);
      const { to_epoch, at_height } = outcome.rotation;
      return refuse(reply, outcome.code, { detail: `epoch ${to_epoch} begins at height ${at_height}, or earlier` });
    },
  );
}

function entryOf(store: Store, record: RotationRecord): Rotation {
  const { from_epoch, to_epoch, reason, at_height, first_height, executed_at_ms } = record;
  return {
    from_epoch,
    to_epoch,
    from_public_key: publicKey(store, from_epoch),
    to_public_key: publicKey(store, to_epoch),
    reason,
    created_at: timestamp(record.announced_at_ms),
    at_height,
    deadline: timestamp(record.deadline_ms),
    first_height,
    executed_at: executed_at_ms === null ? null : timestamp(executed_at_ms),
  };
}

/** As `GET /public-key` gives it. */
export function publicKey(store: Store, epoch: number): string | null {
  const names = keysetRecord(store, epoch)?.keyset.names ?? null;
  return names === null ? null : fromBase64(names).toHex();
}
