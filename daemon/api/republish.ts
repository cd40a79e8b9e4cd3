// The worker protocol over HTTP, under the upstream's names (DESIGN §10): `POST /republish` for a backend that keeps its own schedule,
// off unless an operator turns it on; and the health of republishing, for admins.
import { z } from 'zod';
import { Timestamp, timestamp, uint } from '../../actors/encoding.ts';
import { REPUBLISH_ENTRIES_MAX, RepublishEntry, RepublishResult } from '../../actors/enrolment.ts';
import { NoQuery } from './input.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

const Body = z.strictObject({ entries: z.array(RepublishEntry).max(REPUBLISH_ENTRIES_MAX) }).meta({ id: 'Republish' });
/** Entries are judged one by one by the room. */
const Loose = z.strictObject({ entries: z.array(z.unknown()).max(REPUBLISH_ENTRIES_MAX) });
const Answer = z.strictObject({ results: z.array(RepublishResult) }).meta({ id: 'RepublishResults' });

export const RepublishHealth = z
  .strictObject({
    pending: z
      .int()
      .describe('Names that are due now and wait for their turn, or are on their way; counted up to 10,000.'),
    failed: z.int().describe('Names that failed and are tried again, or are quarantined.'),
    stale: z.int().describe('Names that failed ten times in a row; they are tried on.'),
    lastRunAt: Timestamp.nullable(),
    currentEpoch: uint(32),
    teeHealthy: z.boolean(),
    published: z.int(),
    quarantined: z.int().describe('Names that nothing but their owner can mend.'),
    soonestExpiry: Timestamp.nullable().describe('When the first record ends of those that are republished.'),
    requestsInFlightMax: z.int().describe('Sinks while the router fails.'),
  })
  .meta({ id: 'RepublishHealth' });
export type RepublishHealth = z.output<typeof RepublishHealth>;

export function republish(app: App, { sequencer }: Modules): void {
  app.post(
    '/republish',
    {
      config: { role: 'worker' },
      schema: {
        summary: 'Sign records for a backend that keeps its own schedule',
        description:
          'The worker protocol: whoever calls it owns the sequence and publishes the records. Enrolled names are refused. ' +
          'Each entry is answered in its place.',
        tags: ['names'],
        querystring: NoQuery,
        body: Body,
        response: {
          200: Answer,
          ...problems(
            ...(['empty_body', 'invalid_json', 'invalid_body', 'body_too_large', 'unsupported_media_type'] as const),
            ...(['unauthorized', 'forbidden', 'invalid_query', 'worker_off'] as const),
          ),
        },
      },
      validatorCompiler: ({ schema, httpPart }) =>
        app.validatorCompiler!({ schema: httpPart === 'body' ? Loose : schema, httpPart } as never),
    },
    async (request, reply) => {
      if (!sequencer.config.names.worker) return refuse(reply, 'worker_off');
      return { results: await sequencer.names.republish((request.body as { entries: unknown[] }).entries) };
    },
  );

  app.get(
    '/admin/republish-health',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'How the republishing of names goes',
        tags: ['names'],
        querystring: NoQuery,
        response: { 200: RepublishHealth, ...problems('unauthorized', 'forbidden', 'invalid_query') },
      },
    },
    async () => {
      const { states, last_run_at_ms, soonest_expiry_ms, in_flight_limit } = sequencer.names.overview;
      return {
        pending: sequencer.names.pending,
        failed: states.retrying + states.quarantined,
        stale: states.stale,
        lastRunAt: last_run_at_ms === null ? null : timestamp(last_run_at_ms),
        currentEpoch: sequencer.epoch.keys.epoch,
        teeHealthy: (sequencer.attestation?.not_after_ms ?? 0) > sequencer.now(),
        published: states.published,
        quarantined: states.quarantined,
        soonestExpiry: soonest_expiry_ms === undefined ? null : timestamp(soonest_expiry_ms),
        requestsInFlightMax: in_flight_limit,
      };
    },
  );
}
