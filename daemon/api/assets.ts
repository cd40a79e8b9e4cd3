// Assets over HTTP (DESIGN §7, §11): registration as the deployment guide writes it, policies, removal, pages, and the
// protection of one asset, which anyone may see: it says what the sequencer enforces. Their data is another room
// (assetdata.ts).
import { z } from 'zod';
import { PolicyPatch, Protection, RegisteredId, Registration } from '../../actors/asset.ts';
import { Counter } from '../../actors/encoding.ts';
import { ASSET_STATES, ASSET_TYPES } from '../../actors/words.ts';
import type { AssetRefusal } from '../assets.ts';
import type { AssetAnswer } from '../registry.ts';
import { integer, NoQuery } from './input.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

const PAGE_DEFAULT = 100;
const PAGE_MAX = 1_000;
const AFTER_CHARACTERS_MAX = 160;

export const Shown = Protection.extend({
  leaf_index: Counter.describe('Of the last privileged act on it, in the log.'),
}).meta({ id: 'AssetShown' });
export const Removed = z.strictObject({ asset_id: RegisteredId, leaf_index: Counter }).meta({ id: 'AssetRemoved' });
export const Listed = z
  .strictObject({
    assets: z.array(
      Protection.pick({ asset_id: true, asset_type: true, chain_id: true, contract_address: true }).extend({
        migration_state: z.enum(ASSET_STATES),
        risk_threshold: z.int(),
      }),
    ),
    next: z.string().nullable().describe('`after` of the next page; null on the last.'),
    total: Counter.describe('Registered, of whatever type and state.'),
    risk_score: z.int(),
    level: z.int().describe('Assets with a threshold up to this are protected.'),
  })
  .meta({ id: 'Assets' });

const Params = z.strictObject({ id: RegisteredId });
const BODY = ['empty_body', 'invalid_json', 'invalid_body', 'body_too_large', 'unsupported_media_type'] as const;
const ADMIN = ['unauthorized', 'forbidden', 'store_unavailable', 'invalid_query'] as const;
const FROZEN = ['migration_running', 'checkpoint_running'] as const;

export function assets(app: App, { sequencer }: Modules): void {
  const { assets: registry, store } = sequencer;

  app.post(
    '/assets/register',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Put an asset under a policy',
        description: 'What the policy leaves out is filled in, and shown. The same registration again is no error.',
        tags: ['assets'],
        querystring: NoQuery,
        body: Registration,
        response: { 201: Shown, ...problems(...BODY, ...ADMIN, ...FROZEN, 'asset_exists', 'address_full') },
      },
      // Validated by the registry, which every caller goes through.
      validatorCompiler: unread('body'),
    },
    async (request, reply) => {
      if (isNothing(request.body)) return refuse(reply, 'empty_body');
      return answer(reply, await registry.register(request.body), 201);
    },
  );

  app.get(
    '/assets/protection/:id',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Policy and state of an asset',
        tags: ['assets'],
        params: Params,
        querystring: NoQuery,
        response: { 200: Shown, ...problems('invalid_path', 'invalid_query', 'asset_not_found') },
      },
    },
    async (request, reply) => registry.protection(request.params.id) ?? refuse(reply, 'asset_not_found'),
  );

  app.get(
    '/assets',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Registered assets, in pages',
        tags: ['assets'],
        querystring: z.strictObject({
          type: z.enum(ASSET_TYPES).optional(),
          state: z.enum(ASSET_STATES).optional(),
          after: z
            .string()
            .max(AFTER_CHARACTERS_MAX)
            .regex(/^[A-Za-z0-9._:@/-]+$/, 'expected `next` of a page')
            .optional(),
          limit: integer(1, PAGE_MAX).default(PAGE_DEFAULT),
        }),
        response: { 200: Listed, ...problems('invalid_query') },
      },
    },
    async (request) => {
      const page = registry.list(request.query);
      const { score, held } = registry.overview;
      return {
        assets: page.assets.map(({ asset, state }) => ({
          asset_id: asset.asset_id,
          asset_type: asset.asset_type,
          chain_id: asset.chain_id,
          contract_address: asset.contract_address,
          migration_state: state,
          risk_threshold: asset.access_policy.risk_threshold,
        })),
        next: page.next,
        total: store.count('assets'),
        risk_score: score,
        level: held,
      };
    },
  );

  app.patch(
    '/assets/:id/policy',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Change the policy of an asset',
        description: 'What the body names is replaced, the rest stays.',
        tags: ['assets'],
        params: Params,
        querystring: NoQuery,
        body: PolicyPatch,
        response: {
          200: Shown,
          ...problems(...BODY, ...ADMIN, ...FROZEN, 'invalid_path', 'asset_not_found', 'asset_frozen'),
        },
      },
      validatorCompiler: unread('body'),
    },
    async (request, reply) => {
      if (isNothing(request.body)) return refuse(reply, 'empty_body');
      return answer(reply, await registry.changePolicy(request.params.id, request.body), 200);
    },
  );

  app.delete(
    '/assets/:id',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Remove an asset and its data key',
        tags: ['assets'],
        params: Params,
        querystring: z.strictObject({
          lose_key: z
            .enum(['true', 'false'])
            .default('false')
            .describe('true: although data was encrypted for it, which nobody can read afterwards.'),
        }),
        response: {
          200: Removed,
          ...problems(...ADMIN, ...FROZEN, 'invalid_path', 'asset_not_found', 'asset_frozen', 'asset_has_key'),
        },
      },
    },
    async (request, reply) => {
      const outcome = await registry.remove(request.params.id, request.query.lose_key === 'true');
      if (!outcome.ok) return refuseAsset(reply, outcome.code);
      return { asset_id: outcome.record.asset.asset_id, leaf_index: outcome.record.leaf_index };
    },
  );

  /** A part of the request goes to the handler as it came; the others are validated as everywhere. */
  function unread(part: 'body') {
    return ({ schema, httpPart }: { schema: unknown; httpPart?: string }) => {
      if (httpPart !== part) return app.validatorCompiler!({ schema, httpPart } as never);
      return (data: unknown) => ({ value: data });
    };
  }

  function answer(reply: Parameters<typeof refuse>[0], given: AssetAnswer, status: 200 | 201) {
    if (given.ok) return reply.code(status).send(given.protection as never);
    if (given.code !== 'invalid_asset') return refuseAsset(reply, given.code);
    return refuse(reply, 'invalid_body', { field: given.field, detail: given.detail });
  }
}

/** A checkpoint takes moments, a migration as long as its operator says. */
const refuseAsset = (reply: Parameters<typeof refuse>[0], code: AssetRefusal) =>
  refuse(reply, code, code === 'checkpoint_running' ? { retry_after_s: 1 } : {});

const isNothing = (body: unknown): boolean => body === undefined || body === null;
