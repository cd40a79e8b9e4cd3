// What every route is made of: the Fastify app with zod types, the modules that routes may use, and who may call them. A route
// without a role is a mistake that stops the start, so that nothing is public by oversight.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { z } from 'zod';
import type { Feed } from '../feed.ts';
import type { Sequencer } from '../sequencer.ts';
import type { Allowance } from './allowance.ts';
import {
  type Particulars,
  PROBLEM_TYPE,
  PROBLEMS,
  Problem,
  type ProblemCode,
  problem,
  sendProblem,
} from './problem.ts';
import type { Role } from './token.ts';

export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

export interface Modules {
  readonly sequencer: Sequencer;
  readonly feed: Feed;
  readonly allowance: Allowance;
  readonly version: string;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may call the route over TCP; the unix socket may call everything. An admin may call everything too. */
    role?: 'public' | Role;
    /** Other roles that may call the route; what they may do there, the handler asks with `callerOf`. */
    roles?: readonly Role[];
    /** Takes the main thread for milliseconds and more: made in turns with the others of this kind. */
    long?: boolean;
  }
}

const callers = new WeakMap<IncomingMessage, Role>();

export function rememberCaller(request: IncomingMessage, role: Role): void {
  callers.set(request, role);
}

/** As whom a request that the guard let through came; over the unix socket as an admin. */
export const callerOf = ({ raw }: { raw: IncomingMessage }): Role => callers.get(raw) ?? 'admin';

/** `Cache-Control` of what never changes (RFC 8246). */
export const IMMUTABLE = 'public, max-age=31536000, immutable';

/** For a route's schema: the problems that are its own, by status, beside what each route can answer. */
export function problems(...codes: ProblemCode[]): Record<number, ProblemResponse> {
  const byStatus = new Map<number, string[]>();
  for (const code of codes) {
    const [status] = PROBLEMS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, names]) => [
      status,
      { description: names.join(', '), content: { [PROBLEM_TYPE]: { schema: Problem } } },
    ]),
  );
}

interface ProblemResponse {
  description: string;
  content: Record<string, { schema: z.ZodType }>;
}

/** Ends a request with a problem: `return refuse(reply, 'batch_not_found')`. */
export function refuse(reply: FastifyReply, code: ProblemCode, particulars?: Particulars): FastifyReply {
  return sendProblem(reply, problem(code, particulars));
}
