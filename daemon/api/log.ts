// The log over HTTP (DESIGN §3 "Why a log"): the newest sealed head, and the two proofs that connect leaves and heads with it.
// Who keeps one head and asks for consistency with each later one holds the whole history append-only. What is in the log,
// and every head that it has had, is in tile.ts.
import { z } from 'zod';
import { fromHex, hex } from '../../actors/encoding.ts';
import { Consistency, LogHead } from '../../actors/head.ts';
import { Inclusion } from '../../actors/inclusion.ts';
import { LOG_KINDS, logLeaf } from '../../actors/tree.ts';
import { consistencyProof, inclusionProof, logRoot, signedHead } from '../log.ts';
import { batchRecord, meta } from '../records.ts';
import { integer, NoQuery } from './input.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

export function log(app: App, { sequencer }: { readonly sequencer: Pick<Modules['sequencer'], 'store'> }): void {
  const { store } = sequencer;

  app.get(
    '/log/head',
    {
      config: { role: 'public' },
      schema: {
        summary: 'The newest seal, and where the log stands',
        tags: ['log'],
        querystring: NoQuery,
        response: { 200: LogHead, ...problems('invalid_query') },
      },
    },
    async () => {
      const { size, sealed } = meta(store, 'log');
      const { log_id } = meta(store, 'genesis');
      return { log_id, size, root: logRoot(store, size), sealed: signedHead(store, sealed) ?? null };
    },
  );

  app.get(
    '/log/inclusion',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Proves that a leaf is in a head of the log',
        description:
          'By `leaf_index`, or by the `height` of a batch. Without `size`: in the newest sealed head if that covers ' +
          'the leaf, else in the log as it stands.',
        tags: ['log'],
        querystring: z
          .strictObject({
            leaf_index: integer(0).optional(),
            height: integer(0).optional(),
            size: integer(1).optional(),
          })
          .refine((query) => (query.leaf_index === undefined) !== (query.height === undefined), {
            error: 'expected either leaf_index or height',
            path: ['leaf_index'],
          }),
        response: { 200: Inclusion, ...problems('invalid_query', 'batch_not_found', 'leaf_not_found') },
      },
    },
    async (request, reply) => {
      const { size: now, sealed } = meta(store, 'log');
      const { height } = request.query;
      if (height !== undefined && height >= meta(store, 'heights').signed) return refuse(reply, 'batch_not_found');
      const leaf_index = request.query.leaf_index ?? batchRecord(store, height!).leaf_index!;
      const size = request.query.size ?? (leaf_index < sealed ? sealed : now);
      if (leaf_index >= size || size > now) return refuse(reply, 'leaf_not_found', { size: now });
      const entry = store.get('log', leaf_index)!;
      const kind = LOG_KINDS[entry.kind]!;
      return {
        leaf_index,
        size,
        kind,
        digest: entry.digest,
        leaf_hash: hex(logLeaf(kind, fromHex(entry.digest))),
        inclusion_path: inclusionProof(store, leaf_index, size),
        root: logRoot(store, size),
      };
    },
  );

  app.get(
    '/log/consistency',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Proves that one head continues another',
        description: 'Without `to`: the newest sealed head.',
        tags: ['log'],
        querystring: z.strictObject({ from: integer(1), to: integer(1).optional() }),
        response: { 200: Consistency, ...problems('invalid_query', 'leaf_not_found') },
      },
    },
    async (request, reply) => {
      const { size, sealed } = meta(store, 'log');
      const { from, to = sealed } = request.query;
      if (from > to || to > size) return refuse(reply, 'leaf_not_found', { size });
      const consistency_path = consistencyProof(store, from, to);
      return { from, to, from_root: logRoot(store, from), to_root: logRoot(store, to), consistency_path };
    },
  );
}
