// The risk score over HTTP (DESIGN §9): what it is and was for everyone; what moves it only for administrators. Nothing that a
// client sends to another route ever gets here.
import { z } from 'zod';
import { Counter, Timestamp, timestamp } from '../../actors/encoding.ts';
import { INDICATORS_MAX, ReportedIndicator, type ReportedIndicatorInput, Threat } from '../../actors/indicator.ts';
import { RECOMMENDATIONS } from '../../actors/recommendation.ts';
import { history, POINTS_MAX } from '../risk/history.ts';
import { RiskView } from '../risk/view.ts';
import { integer, NoQuery } from './input.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

const DAY_MS = 86_400_000;
/** Points where no step is asked for. */
const POINTS = 200;
const LISTED_MAX = 1_000;
const TIME_MAX_MS = 8_640_000_000_000_000;

export const RiskHistory = z
  .strictObject({
    from_ms: Counter,
    to_ms: Counter,
    step_ms: Counter,
    points: z.array(
      z.strictObject({
        at_ms: Counter,
        timestamp: Timestamp,
        score: Counter,
        recommendation: z.enum(RECOMMENDATIONS),
        indicator_count: Counter,
      }),
    ),
  })
  .meta({ id: 'RiskHistory' });

const OUTCOMES = ['added', 'updated', 'unchanged', 'dropped', 'removed'] as const;
export const Reported = z
  .strictObject({
    results: z.array(z.strictObject({ id: z.string(), outcome: z.enum(OUTCOMES) })),
    score: Counter.describe('With them.'),
    recommendation: z.enum(RECOMMENDATIONS),
  })
  .meta({ id: 'Reported' });

const FeedState = z.strictObject({
  name: z.string(),
  url: z.string(),
  sequence: Counter.nullable(),
  taken_ms: Counter.nullable(),
  quarantine: z.strictObject({ code: z.string(), detail: z.string(), tries: z.int() }).nullable(),
});
export const Indicators = z
  .strictObject({ indicators: z.array(Threat), feeds: z.array(FeedState) })
  .meta({ id: 'Indicators' });

export const Simulation = z.strictObject({ seed: Counter, rounds: Counter }).meta({ id: 'Simulation' });

export function risk(app: App, { sequencer }: Modules): void {
  const { store } = sequencer;

  app.get(
    '/qrm/risk',
    {
      config: { role: 'public' },
      schema: {
        summary: 'The risk score that orders the next batch, and what it comes from',
        description:
          'With `explain=1`, what each of the heaviest indicators does to the score. docs/risk.md has the formula.',
        tags: ['risk'],
        querystring: z.strictObject({ explain: z.enum(['0', '1']).optional() }),
        response: { 200: RiskView, ...problems('invalid_query') },
      },
    },
    async (request) => sequencer.risk.view(request.query.explain === '1'),
  );

  app.get(
    '/qrm/history',
    {
      config: { role: 'public' },
      schema: {
        summary: 'What the score was',
        description:
          'At `from`, then every `step`, until `to`: milliseconds, Unix time. Left out: the last day in 200 steps. At most ' +
          `${POINTS_MAX} points; times before the first assessment are left out.`,
        tags: ['risk'],
        querystring: z.strictObject({
          from: integer(0, TIME_MAX_MS).optional(),
          to: integer(0, TIME_MAX_MS).optional(),
          step: integer(1, TIME_MAX_MS).optional(),
        }),
        response: { 200: RiskHistory, ...problems('invalid_query') },
      },
    },
    async (request, reply) => {
      const to = request.query.to ?? sequencer.risk.room.circumstances.now_ms;
      const from = request.query.from ?? Math.max(0, to - DAY_MS);
      if (from > to) return refuse(reply, 'invalid_query', { field: 'from', detail: 'expected a time before to' });
      const step = request.query.step ?? Math.max(1, Math.ceil((to - from) / POINTS));
      if ((to - from) / step > POINTS_MAX - 1) {
        const detail = `expected at least ${Math.ceil((to - from) / (POINTS_MAX - 1))} for so long a time`;
        return refuse(reply, 'invalid_query', { field: 'step', detail });
      }
      const points = history(store, from, to, step).map((point) => ({ ...point, timestamp: timestamp(point.at_ms) }));
      return { from_ms: from, to_ms: to, step_ms: step, points };
    },
  );

  reports(app, { sequencer } as Modules);
  simulations(app, { sequencer } as Modules);
}

/** What administrators report and see. */
function reports(app: App, { sequencer }: Modules): void {
  app.post(
    '/qrm/indicators',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Report threats',
        description:
          'One indicator or an array, all of them or, where one is wrong, none. The same again changes nothing; a known `id` ' +
          'with other content replaces what it said. `dropped`: the list is full of heavier ones.',
        tags: ['risk'],
        querystring: NoQuery,
        body: z.union([ReportedIndicator, z.array(ReportedIndicator).min(1).max(INDICATORS_MAX)]),
        response: {
          200: Reported,
          ...problems(
            ...(['empty_body', 'invalid_json', 'invalid_body', 'invalid_query', 'unauthorized', 'forbidden'] as const),
            ...(['body_too_large', 'unsupported_media_type', 'store_unavailable'] as const),
          ),
        },
      },
      // In the handler, so that the field which is wrong is named and not only that neither kind fits.
      validatorCompiler: ({ schema, httpPart }) => {
        if (httpPart === 'body') return (data: unknown) => ({ value: data });
        return app.validatorCompiler!({ schema, httpPart } as never);
      },
    },
    async (request, reply) => {
      const body: unknown = request.body;
      if (body === undefined || body === null) return refuse(reply, 'empty_body');
      const answer = await sequencer.updateThreat(body as ReportedIndicatorInput);
      if (!answer.ok) return refuse(reply, 'invalid_body', { field: answer.field, detail: answer.detail });
      const { results, score, recommendation } = answer;
      return reply.send({ results: [...results], score, recommendation });
    },
  );

  app.get(
    '/qrm/indicators',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'The indicators that are kept, and the feeds',
        description: `In the order of their ids, at most ${LISTED_MAX}; \`after\` goes on behind one. Without the catalogue.`,
        tags: ['risk'],
        querystring: z.strictObject({ after: z.string().max(512).optional() }),
        response: { 200: Indicators, ...problems('invalid_query', 'unauthorized', 'forbidden') },
      },
    },
    async (request) => {
      const { after = '' } = request.query;
      const indicators = sequencer.risk.room.threats.filter(({ id }) => id > after).slice(0, LISTED_MAX);
      return { indicators, feeds: sequencer.risk.feeds.states() };
    },
  );

  app.post(
    '/qrm/indicators/:id/withdraw',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Withdraw an indicator that was reported here',
        description: 'By the id that the reporter gave, without `operator/`.',
        tags: ['risk'],
        params: z.strictObject({ id: z.string().min(1).max(64) }),
        querystring: NoQuery,
        response: {
          200: Reported,
          ...problems(
            'invalid_path',
            'invalid_query',
            'unauthorized',
            'forbidden',
            'indicator_not_found',
            'store_unavailable',
          ),
        },
      },
    },
    async (request, reply) => {
      const { room } = sequencer.risk;
      const { id } = request.params;
      if (!(await room.withdraw(id))) return refuse(reply, 'indicator_not_found');
      const { score, recommendation } = room.record.assessment;
      return { results: [{ id: `operator/${id}`, outcome: 'removed' as const }], score, recommendation };
    },
  );
}

function simulations(app: App, { sequencer }: Modules): void {
  const answers = {
    200: Simulation,
    ...problems(
      ...(['invalid_query', 'unauthorized', 'forbidden', 'simulation_not_allowed', 'store_unavailable'] as const),
      ...(['simulation_running', 'simulation_not_running'] as const),
    ),
  };

  app.post(
    '/qrm/simulation/start',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Play a simulated threat, calm to emergency and back',
        description: 'Only with risk.simulation. What the score does about it is real.',
        tags: ['risk'],
        querystring: z.strictObject({
          seed: integer(0, 2 ** 32 - 1).optional(),
          interval_ms: integer(10, 600_000).optional(),
        }),
        response: answers,
      },
    },
    async (request, reply) => {
      const { seed = 1, interval_ms = 2_000 } = request.query;
      const started = await sequencer.risk.simulator.start(seed, interval_ms);
      if (!started.ok) return refuse(reply, started.code);
      return { seed: started.seed, rounds: started.rounds };
    },
  );

  app.post(
    '/qrm/simulation/stop',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'End it and take its indicators away',
        tags: ['risk'],
        querystring: NoQuery,
        response: answers,
      },
    },
    async (_request, reply) => {
      const stopped = await sequencer.risk.simulator.stop();
      if (!stopped.ok) return refuse(reply, stopped.code);
      return { seed: stopped.seed, rounds: stopped.rounds };
    },
  );
}
