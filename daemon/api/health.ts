// GET /health (the process lives) and /ready (it may be sent traffic: attested, not draining, the store writes).
import { z } from 'zod';
import { Ready } from '../status.ts';
import { NoQuery } from './input.ts';
import { type App, type Modules, problems } from './route.ts';

const Health = z
  .strictObject({ healthy: z.literal(true), uptime_s: z.int(), version: z.string(), simulated: z.boolean() })
  .meta({ id: 'Health' });

export function health(app: App, { sequencer, version }: Modules): void {
  app.get(
    '/health',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Alive',
        tags: ['health'],
        querystring: NoQuery,
        response: { 200: Health, ...problems('invalid_query') },
      },
    },
    async () => ({
      healthy: true as const,
      uptime_s: Math.floor(process.uptime()),
      version,
      simulated: sequencer.ready().simulated,
    }),
  );

  app.get(
    '/ready',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Ready for traffic, or why not',
        tags: ['health'],
        querystring: NoQuery,
        response: { 200: Ready, 503: Ready, ...problems('invalid_query') },
      },
    },
    async (_request, reply) => {
      const found = sequencer.ready();
      return reply.code(found.ready ? 200 : 503).send(found);
    },
  );
}
