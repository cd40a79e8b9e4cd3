// The witness over HTTP: three questions of a sequencer, and what auditors may see. The heads are shown by the routes that show the
// sequencer's own, over the same shapes of store: `aegisd verify --since` and `aegisd audit` take its URL as they take a daemon's,
// and whoever compares the two sees whether they were shown one history. Everything is public; what a sequencer may ask,
// its channel decides.
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { Counter, Digest } from '../../actors/encoding.ts';
import { FreshAttestation } from '../../actors/quote.ts';
import {
  BOX_BYTES_MAX,
  Boxed,
  Greeting,
  Hello,
  Message,
  Opened,
  Opening,
  Position,
  WitnessRefusal,
} from '../../actors/witness.ts';
import { batchHeaders } from '../api/batches.ts';
import { Budget } from '../api/budget.ts';
import { closeDoor, type DoorOptions, openTcp } from '../api/door.ts';
import { acceptJson, NoQuery, validatorCompiler } from '../api/input.ts';
import { log as logRoutes } from '../api/log.ts';
import { problemOf, Refused, sendProblem } from '../api/problem.ts';
import type { App } from '../api/route.ts';
import { tiles } from '../api/tile.ts';
import type { Logger } from '../embedding.ts';
import { witnessedLog } from './book.ts';
import type { Witness } from './witness.ts';

/** What `GET /witness` answers. */
export const WitnessStatus = z
  .strictObject({
    witness_key: Greeting.shape.witness_key,
    log_id: Digest.nullable().describe('Of the one log that it witnesses; null before its sequencer has come.'),
    position: Position,
    refused: z.strictObject({
      count: Counter.describe('Conflicts that were ever refused.'),
      newest: z.strictObject({ code: z.string(), message: z.string(), at_ms: Counter }).nullable(),
    }),
    platform: z.strictObject({
      provider: FreshAttestation.shape.attestation.shape.provider,
      simulated: z.boolean(),
      state: z.enum(['unknown', 'working', 'failing']),
      reason: z.string().nullable(),
    }),
  })
  .meta({ id: 'WitnessStatus' });

export interface WitnessServer extends AsyncDisposable {
  readonly app: App;
  readonly url: string;
}

/** A box in base64, and what is around it. */
const BODY_BYTES_MAX = Math.ceil((BOX_BYTES_MAX * 4) / 3) + 65_536;
/** Greetings make quotes, for whoever asks. */
const GREETINGS_WAITING_MAX = 8;

/** @throws {Fault} listen_failed, naming the address */
export async function serveWitness(witness: Witness, config: ServerConfig, log: Logger): Promise<WitnessServer> {
  const app = await makeApp(witness, log);
  const door = {
    ...config.api,
    handle: app.routing.bind(app),
    upgrades: () => false,
    upgrade: (_request: unknown, socket: { destroy(): void }) => socket.destroy(),
  };
  const { server, url } = await openTcp(config.api.listen, door);
  return {
    app,
    url,
    async [Symbol.asyncDispose]() {
      await closeDoor(server);
      await app.close();
    },
  };
}

type ServerConfig = {
  readonly api: { readonly listen: string } & Pick<
    DoorOptions,
    'connections_max' | 'client_connections_max' | 'request_timeout_ms'
  >;
};

async function makeApp(witness: Witness, log: Logger): Promise<App> {
  const fail = (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const found = problemOf(error);
    if (found.status === 500) log.error({ err: error, route: request.routeOptions?.url }, 'a request failed');
    return sendProblem(reply, found);
  };
  const options = { logger: false, bodyLimit: BODY_BYTES_MAX, routerOptions: { maxParamLength: 256 } } as const;
  const app: App = Fastify({ ...options, frameworkErrors: fail as never }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler as never);
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.setErrorHandler(fail);
  app.setNotFoundHandler((request, reply) => fail(new Refused('route_not_found'), request, reply));
  acceptJson(app as never, new Budget());
  app.addHook('onRequest', async (request) => {
    // Before its sequencer has come there is no log to show.
    const { url = '' } = request.routeOptions;
    if (/^\/(log|batches)\//.test(url) && witnessedLog(witness.store) === undefined) {
      throw new Refused('leaf_not_found', { size: 0 });
    }
  });
  app.addHook('onSend', async (_request, reply) => {
    if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store');
    reply.header('x-content-type-options', 'nosniff');
  });
  channel(app, witness);
  status(app, witness);
  const mirror = { sequencer: { store: witness.store } };
  for (const room of [logRoutes, tiles, batchHeaders]) room(app, mirror);
  await app.ready();
  return app;
}

function channel(app: App, witness: Witness): void {
  let greetings = 0;
  app.post('/witness/hello', { schema: { body: Hello, response: { 200: Greeting } } }, async (request) => {
    if (greetings >= GREETINGS_WAITING_MAX) throw new Refused('rate_limited', { retry_after_s: 1 });
    greetings += 1;
    try {
      return await witness.greet(request.body);
    } finally {
      greetings -= 1;
    }
  });
  const opened = { 200: z.union([Opened, WitnessRefusal]) };
  app.post('/witness/open', { schema: { body: Opening, response: opened } }, (request) => witness.open(request.body));
  const answered = { 200: z.union([Boxed, WitnessRefusal]) };
  app.post('/witness/message', { schema: { body: Message, response: answered } }, (request) =>
    witness.answer(request.body),
  );
}

function status(app: App, witness: Witness): void {
  const schema = { querystring: NoQuery, response: { 200: WitnessStatus } };
  app.get('/witness', { schema }, async () => {
    const { state, reason } = witness.platform.state;
    const { providerName: provider, simulated } = witness.platform.provider;
    return {
      witness_key: witness.witness_key,
      log_id: witnessedLog(witness.store)?.log_id ?? null,
      position: witness.book.position,
      refused: witness.book.refused,
      platform: { provider, simulated, state, reason },
    };
  });
}
