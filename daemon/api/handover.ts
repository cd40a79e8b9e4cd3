// Handover over HTTP (DESIGN §8): what an operator asks for, what a successor enclave asks, and what everyone may see. The successor's
// routes are public: who it is its evidence says, what it gets is encrypted to its enclave, and a handover that is not open costs
// nothing. While one is on its way, and for ever after an end, requests that would change something are sent on.
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { fromBase64 } from '../../actors/encoding.ts';
import {
  Acceptance,
  Chunk,
  ChunkAsk,
  HandoverStatus,
  OpenHandover,
  PredecessorGreeting,
  SuccessionOffer,
  SuccessorHello,
  SuccessorOpening,
} from '../../actors/handover.ts';
import type { HandoverOutcome } from '../handover/arrivals.ts';
import { NoQuery } from './input.ts';
import { Refused } from './problem.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

/** When a client may try again, if it does not go on at the successor. */
const RETRY_S = 5;

const BODY = ['invalid_json', 'invalid_body', 'empty_body', 'body_too_large', 'unsupported_media_type'] as const;
const SUCCESSOR = ['handover_not_open', 'handover_ended', 'handover_session_unknown', 'invalid_query'] as const;
const ADMIN = ['unauthorized', 'forbidden', 'handover_ended', 'invalid_query'] as const;
const Done = z.strictObject({ ok: z.literal(true) });

export function handover(app: App, modules: Modules): void {
  sendOn(app, modules);
  forOperators(app, modules);
  forSuccessors(app, modules);
}

/** What would change something is refused as soon as a successor takes the state, with the address where clients go on. */
function sendOn(app: App, { sequencer }: Modules): void {
  app.addHook('onRequest', async (request) => {
    const { url } = request.routeOptions;
    if (url === undefined || request.method === 'GET' || request.method === 'HEAD') return;
    if (url.startsWith('/handover') || url.startsWith('/admin/handover')) return;
    const { state, successor_url } = sequencer.handover;
    const about = { retry_after_s: RETRY_S, ...(successor_url !== undefined && { successor_url }) };
    if (state === 'transferring') throw new Refused('handover_running', about);
    if (state === 'ended') throw new Refused('handed_over', about);
  });
}

function forOperators(app: App, { sequencer }: Modules): void {
  app.get(
    '/handover',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Whether this enclave hands its log over, or did, and the sealed entry that says so',
        tags: ['handover'],
        querystring: NoQuery,
        response: { 200: HandoverStatus, ...problems('invalid_query') },
      },
    },
    async () => sequencer.handover.status(),
  );
  app.post(
    '/admin/handover',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Let a successor come, that an admin’s order in force allows',
        description: 'Nothing pauses before it has come and its evidence has verified.',
        tags: ['handover'],
        querystring: NoQuery,
        body: OpenHandover,
        response: { 200: HandoverStatus, ...problems(...BODY, ...ADMIN, 'handover_running', 'handover_no_url') },
      },
    },
    async ({ body }, reply) => {
      const outcome = sequencer.handover.open(body.successor_url);
      return outcome.ok ? sequencer.handover.status() : refused(reply, outcome);
    },
  );
  app.delete(
    '/admin/handover',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Let no successor come any more; one that is there gets no more of the state',
        tags: ['handover'],
        querystring: NoQuery,
        response: { 200: HandoverStatus, ...problems(...ADMIN) },
      },
    },
    async (_request, reply) => {
      const outcome = await sequencer.handover.cancel();
      return outcome.ok ? sequencer.handover.status() : refused(reply, outcome);
    },
  );
}

function forSuccessors(app: App, { sequencer }: Modules): void {
  const config = { role: 'public' } as const;
  // What enclaves say to each other is no interface for anyone else: docs/format.md has it, the OpenAPI document has not.
  const schema = { hide: true, tags: ['handover'], querystring: NoQuery };
  const greeting = { 200: PredecessorGreeting, ...problems(...BODY, ...SUCCESSOR, 'successor_other_schema') };
  app.post(
    '/handover/hello',
    { config, schema: { ...schema, summary: 'A successor greets', body: SuccessorHello, response: greeting } },
    async ({ body }, reply) => {
      const outcome = await sequencer.handover.greet(body);
      return outcome.ok ? outcome.greeting : refused(reply, outcome);
    },
  );
  const judged = ['successor_not_allowed', 'successor_not_in_force', 'successor_evidence_refused'] as const;
  const refusals = [...judged, 'successor_keyset_refused', 'handover_not_drained'] as const;
  const offer = { 200: SuccessionOffer, ...problems(...BODY, ...SUCCESSOR, ...refusals) };
  app.post(
    '/handover/open',
    { config, schema: { ...schema, summary: 'A successor shows evidence', body: SuccessorOpening, response: offer } },
    async ({ body }, reply) => {
      const outcome = await sequencer.handover.receive(body);
      return outcome.ok ? outcome.offer : refused(reply, outcome);
    },
  );
  const chunk = { 200: Chunk, ...problems(...BODY, ...SUCCESSOR) };
  app.post(
    '/handover/chunk',
    { config, schema: { ...schema, summary: 'Some of the state, encrypted', body: ChunkAsk, response: chunk } },
    async ({ body }, reply) => {
      const outcome = await sequencer.handover.chunk(body.session, body.index);
      return outcome.ok ? outcome.chunk : refused(reply, outcome);
    },
  );
  const done = { 200: Done, ...problems(...BODY, ...SUCCESSOR, ...judged, 'handover_not_accepted') };
  app.post(
    '/handover/accept',
    { config, schema: { ...schema, summary: 'A successor has all of it', body: Acceptance, response: done } },
    async ({ body }, reply) => {
      const outcome = await sequencer.handover.accept(body.session, fromBase64(body.box));
      return outcome.ok ? { ok: true as const } : refused(reply, outcome);
    },
  );
}

function refused(reply: FastifyReply, { code, detail }: Extract<HandoverOutcome, { ok: false }>): FastifyReply {
  const waits = code === 'handover_running' || code === 'handover_not_drained';
  return refuse(reply, code, {
    ...(detail !== undefined && { detail }),
    ...(waits && { retry_after_s: RETRY_S }),
  });
}
