// The API's server: one Fastify app behind a TCP address and a unix socket, with every room of `api/` in it. `main.ts` and the demo
// make one around a sequencer. It promises that no route is open by oversight, that everything a client can make it hold is bounded, and
// that every error is a problem of problem.ts.
import type { Server as HttpServer } from 'node:http';
import { resolve } from 'node:path';
import { finished } from 'node:stream';
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { Fault } from '../fault.ts';
import { Feed } from '../feed.ts';
import type { Logger, Sequencer } from '../sequencer.ts';
import type { Telemetry } from '../telemetry.ts';
import { withCredentials } from '../tls.ts';
import { Allowance } from './allowance.ts';
import { assetData } from './assetdata.ts';
import { assets } from './assets.ts';
import { backup } from './backup.ts';
import { batches } from './batches.ts';
import { Budget, Turns } from './budget.ts';
import {
  closeDoor,
  type DoorOptions,
  openSocket,
  openTcp,
  peerOf,
  replaceCredentials,
  type TlsCredentials,
} from './door.ts';
import { epochs } from './epochs.ts';
import { feed } from './feed.ts';
import { handover } from './handover.ts';
import { health } from './health.ts';
import { acceptJson, NoQuery, validatorCompiler } from './input.ts';
import { log } from './log.ts';
import { Metrics, metrics } from './metrics.ts';
import { migration } from './migration.ts';
import { names } from './names.ts';
import { describe, documentOf } from './openapi.ts';
import { orders } from './orders.ts';
import { problemOf, problemSent, Refused, sendProblem } from './problem.ts';
import { republish } from './republish.ts';
import { nameRequests, requestIds, routeOf } from './requestid.ts';
import { risk } from './risk.ts';
import { rotation } from './rotation.ts';
import { type App, type Modules, rememberCaller } from './route.ts';
import { sequencerRoutes } from './sequencer.ts';
import { tiles } from './tile.ts';
import { loadTokens, type Tokens } from './token.ts';
import { transactions } from './transactions.ts';

export interface ServerOptions {
  readonly sequencer: Sequencer;
  readonly log: Logger;
  /** Of the program. */
  readonly version: string;
  /** Default: those of `$CREDENTIALS_DIRECTORY` and the state folder. */
  readonly tokens?: Tokens;
  /** Of this process, for its metrics. */
  readonly telemetry?: Pick<Telemetry, 'counts'> | undefined;
}

export interface Listening {
  readonly url: string;
  readonly port: number;
  /** Path of the unix socket. */
  readonly socket: string;
}

export interface Server extends AsyncDisposable {
  /** For tests: `app.inject()`. */
  readonly app: App;
  /** Where the admin's token lies; what it is, is told to nobody. */
  readonly adminTokenPath: string;
  /** @throws {Fault} listen_failed, naming the address */
  listen(): Promise<Listening>;
  /** Requests in hand may finish; feed clients are told where to go on. Ends within a second. */
  close(): Promise<void>;
}

/** A body that is this many times too large is still read to its end, so that the client gets to see the answer. */
const LINGER = 4;

/** Nothing here is a page: no browser is to show it, frame it, guess at it, or tell others of it. There is no CORS: no page of another origin reads it. */
const SECURITY_HEADERS = [
  ['x-content-type-options', 'nosniff'],
  ['content-security-policy', "default-src 'none'; frame-ancestors 'none'"],
  ['referrer-policy', 'no-referrer'],
  ['cross-origin-resource-policy', 'same-origin'],
] as const;

export async function createServer(options: ServerOptions): Promise<Server> {
  const { sequencer, version, log, telemetry } = options;
  const { config } = sequencer;
  const state_dir = resolve(config.daemon.state_dir);
  const { CREDENTIALS_DIRECTORY: credentials_directory } = process.env;
  const warn = (detail: object, message: string) => log.warn(detail, message);
  const tokens = options.tokens ?? loadTokens({ state_dir, credentials_directory, warn });
  const allowance = new Allowance(() => sequencer.config.api);
  const punish = (client: string) => allowance.punish(client);
  sequencer.events.on('refused', punish);
  const feedRoom = new Feed({ store: sequencer.store, log, options: () => sequencer.config.feed });
  const gauges = new Metrics({ sequencer, feed: feedRoom, version, telemetry });
  const app = await makeApp({ sequencer, feed: feedRoom, allowance, version }, tokens, gauges, log);

  const doorOptions: DoorOptions = {
    ...config.api,
    handle: (request, response) => app.routing(request, response),
    upgrades: (request) => feedRoom.upgrades(request),
    upgrade: (request, socket, head) => feedRoom.upgrade(request, socket, head),
  };
  const doors: HttpServer[] = [];
  let renew = () => {};

  const close = async () => {
    sequencer.events.off('refused', punish);
    sequencer.epochs.events.off('activated', renew);
    const closing = doors.splice(0).map(closeDoor);
    await feedRoom.close();
    await Promise.all(closing);
    gauges.close();
    await app.close();
  };
  return {
    app,
    adminTokenPath: tokens.admin_path,
    async listen() {
      const socket = resolve(state_dir, config.api.socket);
      const { listen, tls } = config.api;
      const { server, url, port } = await openTcp(listen, doorOptions, tls ? credentialsOf(sequencer) : undefined);
      doors.push(server);
      if (tls) {
        renew = () => replaceCredentials(server, credentialsOf(sequencer));
        sequencer.epochs.events.on('activated', renew);
      }
      try {
        doors.push(await openSocket(socket, doorOptions));
      } catch (error) {
        await Promise.all(doors.splice(0).map(closeDoor));
        throw error;
      }
      return { url, port, socket };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Of the active epoch. @throws {Fault} listen_failed */
function credentialsOf({ epoch, config }: Sequencer): TlsCredentials {
  const { keys, keyset } = epoch;
  const { tls } = keys;
  if (tls === null) {
    const reason = `epoch ${keys.epoch} is of a version without a key for TLS; rotate once with api.tls = false`;
    throw new Fault({ code: 'listen_failed', address: config.api.listen, reason });
  }
  return { use: (take) => withCredentials(keyset.keyset, tls, take) };
}

async function makeApp(modules: Modules, tokens: Tokens, gauges: Metrics, log_: Logger): Promise<App> {
  const { body_bytes_max } = modules.sequencer.config.api;
  const fail = (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const found = problemOf(error);
    if (found.status === 500) {
      log_.error({ err: error, request_id: request.id, route: routeOf(request) }, 'a request failed');
    }
    linger(request, reply, body_bytes_max);
    // A URL that could not be read comes here past every hook.
    reply.header('x-request-id', request.id);
    return sendProblem(reply, found);
  };
  const app: App = Fastify({
    logger: false,
    bodyLimit: body_bytes_max,
    return503OnClosing: false,
    exposeHeadRoutes: true,
    requestIdHeader: false,
    genReqId: requestIds(),
    routerOptions: { maxParamLength: 256 },
    // Both compilers are set below; without these Fastify would load ajv and its kin for nothing.
    schemaController: { compilersFactory: { buildValidator: unused, buildSerializer: unused } },
    frameworkErrors: fail as never,
  }).withTypeProvider<ZodTypeProvider>();

  app.setValidatorCompiler(validatorCompiler as never);
  // What we send we have made, and the compiler checks its type; tests hold every answer against its schema.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.setErrorHandler(fail);
  nameRequests(app, log_);
  const budget = new Budget();
  acceptJson(app as never, budget);
  guard(app, tokens);
  bound(app, budget);
  const methods = collectMethods(app);
  app.setNotFoundHandler((request, reply) => {
    const allowed = methods(request.url.split('?')[0]!);
    if (allowed === undefined) return fail(new Refused('route_not_found'), request, reply);
    reply.header('allow', allowed);
    return fail(new Refused('method_not_allowed'), request, reply);
  });
  app.addHook('onSend', async (_request, reply) => {
    if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store');
    for (const [name, value] of SECURITY_HEADERS) reply.header(name, value);
  });

  app.addHook('onResponse', async (request, reply) => {
    const code = problemSent(reply);
    if (code !== undefined) gauges.problem(code);
    gauges.request(routeOf(request), reply.elapsedTime / 1000);
  });

  await describe(app, modules.version);
  const rooms = [
    transactions,
    sequencerRoutes,
    batches,
    log,
    tiles,
    epochs,
    rotation,
    assets,
    assetData,
    migration,
    handover,
    backup,
    names,
    republish,
    orders,
    risk,
    health,
    feed,
  ];
  for (const room of rooms) room(app, modules);
  metrics(app, gauges);
  // Made when it is first asked for: it takes a tenth of a second that no start should wait for.
  let document: string | undefined;
  app.get(
    '/openapi.json',
    { config: { role: 'public' }, schema: { hide: true, querystring: NoQuery } as never },
    async (_request, reply) => {
      document ??= documentOf(app);
      return reply.type('application/json; charset=utf-8').send(document);
    },
  );
  await app.ready();
  return app;
}

const unused = (): never => {
  throw new Error('no compiler but ours is ever built');
};

/** Who may call what: every route says so, and a request that came over TCP needs a token for what is not public. */
function guard(app: App, tokens: Tokens): void {
  app.addHook('onRoute', ({ url, config, schema }) => {
    if (config?.role === undefined) throw new Error(`the route ${url} names no role`);
    if (config.role !== 'public' && schema !== undefined) Object.assign(schema, { security: [{ bearer: [] }] });
  });
  app.addHook('onRequest', async (request) => {
    const { role: wanted, roles = [] } = request.routeOptions.config;
    // Without a route there is nothing to guard: that is a 404.
    if (wanted === undefined || wanted === 'public' || peerOf(request.raw.socket).trusted) return;
    const role = tokens.roleOf(request.raw);
    if (role === undefined) throw new Refused('unauthorized');
    if (role !== wanted && role !== 'admin' && !roles.includes(role)) throw new Refused('forbidden');
    rememberCaller(request.raw, role);
  });
}

/** Answers below this are bounded by the connections and by what a connection may ask for at once. */
const COUNTED_BYTES = 16 * 1024;

/** Counts the answers that wait to be taken, and makes the long ones in turns. */
function bound(app: App, budget: Budget): void {
  const turns = new Turns();
  const ends = new WeakMap<FastifyReply, () => void>();
  app.addHook('onRequest', async (request, reply) => {
    const { socket } = request.raw;
    const { client } = peerOf(socket);
    const refusal = () =>
      new Refused('rate_limited', { retry_after_s: 1, detail: 'take the answers that wait, first' });
    if (budget.isSpent(client)) throw refusal();
    if (request.routeOptions.config.long !== true) return;
    const end = await turns.take(client);
    if (end === undefined) throw refusal();
    ends.set(reply, end);
    if (socket.destroyed || budget.isSpent(client)) throw refusal();
  });
  app.addHook('onSend', async (request, reply, payload) => {
    ends.get(reply)?.();
    const bytes = typeof payload === 'string' || Buffer.isBuffer(payload) ? payload.length : 0;
    const { socket } = request.raw;
    if (bytes < COUNTED_BYTES || socket.destroyed) return;
    const { client } = peerOf(socket);
    budget.take(client, bytes);
    finished(reply.raw, () => budget.give(client, bytes));
  });
}

/** For 405: which methods a path has. Fastify itself only knows that a method has no such path. */
function collectMethods(app: App): (path: string) => string | undefined {
  const known = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  app.addHook('onRoute', ({ url, method }) => {
    const pattern = new RegExp(`^${url.replace(/:[a-z_]+/g, '[^/]+')}$`);
    const entry = known.get(url) ?? { pattern, methods: new Set<string>() };
    for (const each of [method].flat()) entry.methods.add(each);
    known.set(url, entry);
  });
  return (path) => {
    const found = new Set<string>();
    for (const { pattern, methods } of known.values())
      if (pattern.test(path)) for (const each of methods) found.add(each);
    return found.size === 0 ? undefined : [...found].join(', ');
  };
}

/**
 * A connection that is closed with unread bytes is reset, and the client may never see why. So what is left of a body is read
 * and thrown away, within a bound of bytes and of `request_timeout_ms`.
 */
function linger(request: FastifyRequest, reply: FastifyReply, body_bytes_max: number): void {
  const length = Number(request.headers['content-length'] ?? 0);
  if (length <= LINGER * body_bytes_max) reply.removeHeader('connection');
  else reply.header('connection', 'close');
}
