// Batch files over HTTP, and the admin's order to cut one now. The file of a sealed batch never changes, so caches may keep it
// for ever; that of a signed one changes once, when its seal comes.
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { BatchFile, type Header } from '../../actors/batch.ts';
import { Headers, PAGE_MAX } from '../../actors/head.ts';
import { batchRecord, meta, sealOver } from '../records.ts';
import { integer, NoQuery } from './input.ts';
import { type App, IMMUTABLE, type Modules, problems, refuse } from './route.ts';

const RECENT_MAX = 50;
const RECENT_DEFAULT = 10;
/** An answer with several batches ends after this many characters: a batch may be large. */
const RECENT_CHARACTERS_MAX = 16 * 1024 * 1024;

const Cut = z
  .strictObject({ height: z.int().nullable().describe('Null when nothing was pending.') })
  .meta({ id: 'Cut' });

export function batches(app: App, { sequencer }: Modules): void {
  const { store } = sequencer;

  app.get(
    '/batches/recent',
    {
      config: { role: 'public', long: true },
      schema: {
        summary: 'The newest batch files, newest first',
        description: 'Fewer than asked for where there are no more, or where they are large (16 MiB at a time).',
        tags: ['batches'],
        querystring: z.strictObject({ count: integer(1, RECENT_MAX).optional() }),
        response: { 200: z.array(BatchFile), ...problems('invalid_query') },
      },
    },
    async (request, reply) => {
      const { signed } = meta(store, 'heights');
      const files: string[] = [];
      let characters = 0;
      for (let height = signed - 1; height >= 0 && files.length < (request.query.count ?? RECENT_DEFAULT); height--) {
        const file = JSON.stringify(sequencer.batch(height));
        characters += file.length;
        if (characters > RECENT_CHARACTERS_MAX && files.length > 0) break;
        files.push(file);
        // A batch takes milliseconds to write: others get their turn in between.
        await new Promise((resolve) => setImmediate(resolve));
      }
      return json(reply, `[${files.join(',')}]`);
    },
  );

  batchHeaders(app, { sequencer });

  app.get(
    '/batches/:height',
    {
      config: { role: 'public', long: true },
      schema: {
        summary: 'The file of a batch',
        description: 'Immutable once it is sealed: `slh_dsa_sig` and `attestation` are there.',
        tags: ['batches'],
        params: z.strictObject({ height: integer(0) }),
        querystring: NoQuery,
        response: { 200: BatchFile, ...problems('invalid_path', 'invalid_query', 'batch_not_found') },
      },
    },
    async (request, reply) => {
      const { height } = request.params;
      if (height >= meta(store, 'heights').signed) return refuse(reply, 'batch_not_found');
      const { digest, leaf_index } = batchRecord(store, height);
      const sealed_by = sealOver(store, leaf_index)?.head.size;
      const etag = `"${digest!.slice(2, 34)}-${sealed_by ?? 'signed'}"`;
      reply.header('etag', etag);
      reply.header('cache-control', sealed_by === undefined ? 'no-cache' : IMMUTABLE);
      if (isKnown(request, etag)) return reply.code(304 as 200).send(undefined as never);
      return json(reply, JSON.stringify(sequencer.batch(height)));
    },
  );

  app.post(
    '/batches/cut',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Cut a batch now',
        description: 'Whatever the interval; answers once the order is durable.',
        tags: ['admin'],
        querystring: NoQuery,
        response: { 200: Cut, ...problems('invalid_query', 'unauthorized', 'forbidden') },
      },
    },
    async () => ({ height: (await sequencer.createBatch()) ?? null }),
  );
}

/** RFC 9110 §13.1.2: a weak comparison with each of the tags. */
function isKnown(request: FastifyRequest, etag: string): boolean {
  const tags = request.headers['if-none-match'];
  if (tags === undefined) return false;
  return tags.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag);
}

/** Text that is JSON already. */
function json(reply: FastifyReply, text: string): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(text);
}

/** Also of a witness, whose store has the headers alone. */
export function batchHeaders(
  app: App,
  { sequencer: { store } }: { readonly sequencer: Pick<Modules['sequencer'], 'store'> },
): void {
  app.get(
    '/batches/headers',
    {
      config: { role: 'public', long: true },
      schema: {
        summary: 'Headers of batches, in order of height',
        description: 'From height `from` on; all that an auditor needs to hold the heights against the log.',
        tags: ['batches'],
        querystring: z.strictObject({ from: integer(0).optional(), limit: integer(1, PAGE_MAX.headers).optional() }),
        response: { 200: Headers, ...problems('invalid_query') },
      },
    },
    async (request, reply) => {
      const { from = 0, limit = PAGE_MAX.headers } = request.query;
      const end = Math.min(from + limit, meta(store, 'heights').signed);
      const headers: Header[] = [];
      let sealed = true;
      for (let height = from; height < end; height++) {
        const record = batchRecord(store, height);
        headers.push(record.header!);
        sealed &&= sealOver(store, record.leaf_index) !== undefined;
        await new Promise((resolve) => setImmediate(resolve));
      }
      reply.header('cache-control', sealed && headers.length === limit ? IMMUTABLE : 'no-cache');
      return { headers };
    },
  );
}
