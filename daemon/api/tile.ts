// The log itself over HTTP, for auditors and mirrors: its entries, the hashes of its tree as tiles (after c2sp.org/tlog-tiles,
// with SHA-512), and every head that was ever sealed. What lies below the newest seal never changes, so caches may keep it for
// ever and a popular log costs its daemon little; what is newer is answered too and marked as not to be kept.
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { concat } from '../../actors/encoding.ts';
import { type ListedSeal, LogEntries, PAGE_MAX, Seals, SignedHead } from '../../actors/head.ts';
import { LOG_KINDS } from '../../actors/tree.ts';
import { signedHead } from '../log.ts';
import { meta, type SealRecord } from '../records.ts';
import type { Store } from '../store.ts';
import { integer, NoQuery } from './input.ts';
import { type App, IMMUTABLE, type Modules, problems, refuse } from './route.ts';

/** Hashes of a full tile; a tile of level L spans 256^(L + 1) leaves. */
export const TILE_WIDTH = 256;
/** 256^7 leaves are more than a JSON number can count. */
const LEVEL_MAX = 6;
const HASH_BYTES = 64;
const ENTRIES_DEFAULT = 256;
/** A seal's record carries its evidence and takes a fraction of a millisecond to read: others get their turn in between. */
const SEALS_STEP = 8;

const Place = z.strictObject({ level: integer(0, LEVEL_MAX), index: integer(0) });
const PartialPlace = Place.extend({ width: integer(1, TILE_WIDTH - 1) });

const tileAnswer = {
  200: {
    description: 'Hashes of 64 bytes, one after the other',
    content: { 'application/octet-stream': { schema: z.string().meta({ format: 'binary' }) } },
  },
  ...problems('invalid_path', 'invalid_query', 'leaf_not_found'),
};

export function tiles(app: App, { sequencer }: { readonly sequencer: Pick<Modules['sequencer'], 'store'> }): void {
  const { store } = sequencer;

  app.get(
    '/log/entries',
    {
      config: { role: 'public', long: true },
      schema: {
        summary: 'Entries of the log, in order',
        description: 'From leaf `from` on, those that no seal covers yet included; none beyond the end.',
        tags: ['log'],
        querystring: z.strictObject({ from: integer(0).optional(), limit: integer(1, PAGE_MAX.entries).optional() }),
        response: { 200: LogEntries, ...problems('invalid_query') },
      },
    },
    async (request, reply) => {
      const { from = 0, limit = ENTRIES_DEFAULT } = request.query;
      const found = [...store.range('log', { start: from, limit })];
      const entries = found.map(([leaf_index, { kind, digest }]) => ({ leaf_index, kind: LOG_KINDS[kind]!, digest }));
      keep(reply, found.length === limit && from + limit <= meta(store, 'log').sealed);
      return { entries };
    },
  );

  const description =
    `Tile \`index\` of level L holds the hashes of ${TILE_WIDTH} neighbouring complete subtrees of 256^L leaves each; level 0 holds ` +
    'leaf hashes. `.p/{width}` is the beginning of a tile that is not full yet.';
  app.get(
    '/log/tile/:level/:index',
    {
      config: { role: 'public' },
      schema: {
        summary: 'A full tile of the tree',
        description,
        tags: ['log'],
        params: Place,
        querystring: NoQuery,
        response: tileAnswer,
      },
    },
    async (request, reply) => sendTile(store, reply, { ...request.params, width: TILE_WIDTH }),
  );
  app.get(
    '/log/tile/:level/:index.p/:width',
    {
      config: { role: 'public' },
      schema: {
        summary: 'The beginning of a tile',
        description,
        tags: ['log'],
        params: PartialPlace,
        querystring: NoQuery,
        response: tileAnswer,
      },
    },
    async (request, reply) => sendTile(store, reply, request.params),
  );

  app.get(
    '/log/seals',
    {
      config: { role: 'public', long: true },
      schema: {
        summary: 'Heads that were sealed, in order',
        description: 'Those of a size above `after`, without signatures: each is at /log/seals/{size} with them.',
        tags: ['log'],
        querystring: z.strictObject({ after: integer(0).optional(), limit: integer(1, PAGE_MAX.seals).optional() }),
        response: { 200: Seals, ...problems('invalid_query') },
      },
    },
    async (request, reply) => {
      const { after = 0, limit = PAGE_MAX.seals } = request.query;
      const seals = await listSeals(store, after, limit);
      keep(reply, seals.length === limit);
      return { seals };
    },
  );

  app.get(
    '/log/seals/:size',
    {
      config: { role: 'public' },
      schema: {
        summary: 'The seal of a size, with signatures, evidence and keyset',
        description: 'As `sealed` of /log/head, which is the newest: keep one to hold the daemon to its history.',
        tags: ['log'],
        params: z.strictObject({ size: integer(1) }),
        querystring: NoQuery,
        response: { 200: SignedHead, ...problems('invalid_path', 'invalid_query', 'leaf_not_found') },
      },
    },
    async (request, reply) => {
      const head = signedHead(store, request.params.size);
      if (head === undefined) return refuse(reply, 'leaf_not_found', { size: meta(store, 'log').size });
      keep(reply, true);
      return head;
    },
  );
}

function sendTile(
  store: Store,
  reply: FastifyReply,
  { level, index, width }: { level: number; index: number; width: number },
): FastifyReply {
  const { size, sealed } = meta(store, 'log');
  const first = index * TILE_WIDTH;
  const leaves = (first + width) * TILE_WIDTH ** level;
  if (leaves > size) return refuse(reply, 'leaf_not_found', { size });
  // Level L of the tiles is level 8 L of the tree.
  const row = store.range('nodes', { start: [8 * level, first], limit: width });
  const bytes = concat(...[...row].map(([, hash]) => hash));
  if (bytes.length !== width * HASH_BYTES) throw new Error(`the log lacks nodes of tile ${level}/${index}`);
  keep(reply, leaves <= sealed);
  return reply.type('application/octet-stream').send(Buffer.from(bytes.buffer));
}

async function listSeals(store: Store, after: number, limit: number): Promise<ListedSeal[]> {
  // One may be in the making beyond it.
  const end = meta(store, 'log').sealed + 1;
  const seals: ListedSeal[] = [];
  for (let start = after + 1; seals.length < limit && start < end; ) {
    const step = Math.min(SEALS_STEP, limit - seals.length);
    const page = [...store.range('seals', { start, end, limit: step })];
    for (const [, record] of page) {
      const { head, digest } = record as SealRecord;
      seals.push({ seal: head, digest });
    }
    if (page.length < step) break;
    start = page.at(-1)![0] + 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return seals;
}

function keep(reply: FastifyReply, isFinal: boolean): void {
  reply.header('cache-control', isFinal ? IMMUTABLE : 'no-cache');
}
