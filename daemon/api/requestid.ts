// Who is who in the log: every request has an id, which its answer carries as `x-request-id` and each line about it names. A client
// or a proxy may bring one of its own, to follow a request through several programs; what could be more than a name is not taken.
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from '../embedding.ts';
import { listened, type Span, tell } from '../spans.ts';
import type { App } from './route.ts';

/** Ids of proxies and UUIDs fit; a line break, a quote or a brace, which could forge a line of a log, does not. */
const TAKEN = /^[A-Za-z0-9][\w.:-]{0,63}$/;

/** Different after each start, so that an id names one request of all that a log holds. */
export function requestIds(): (request: Pick<IncomingMessage, 'headers'>) => string {
  const start = randomBytes(6).toString('hex');
  let count = 0;
  return ({ headers }) => {
    const brought = headers['x-request-id'];
    if (typeof brought === 'string' && TAKEN.test(brought)) return brought;
    count += 1;
    return `${start}-${count.toString(36)}`;
  };
}

/** Method and pattern, never what a client wrote into the path: `GET /batches/:height`. */
export function routeOf({ method, routeOptions }: FastifyRequest): string {
  // A URL that could not be read has no options at all, whatever the type says.
  const pattern = routeOptions?.url;
  return pattern === undefined ? 'none' : `${method} ${pattern}`;
}

/** The answer's header, a line at `debug` for every request, and a span for who listens. */
export function nameRequests(app: App, log: Logger): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  app.addHook('onResponse', async (request, reply) => {
    const duration_ms = Math.round(reply.elapsedTime);
    const route = routeOf(request);
    log.debug({ request_id: request.id, route, status: reply.statusCode, duration_ms }, 'answered');
    if (listened()) tell(spanOf(request, reply, route));
  });
}

function spanOf(request: FastifyRequest, reply: FastifyReply, route: string): Span {
  const { traceparent } = request.headers;
  const { elapsedTime: duration_ms, statusCode } = reply;
  return {
    name: 'request',
    started_ms: performance.timeOrigin + performance.now() - duration_ms,
    duration_ms,
    attributes: {
      'http.route': route,
      'http.request.method': request.method,
      'http.response.status_code': statusCode,
      'aegis.request_id': request.id,
    },
    ...(typeof traceparent === 'string' && { traceparent }),
    // What a client did wrong is no error of ours (OpenTelemetry's conventions for HTTP servers).
    ...(statusCode >= 500 && { error: `http_${statusCode}` }),
  };
}
