// GET /metrics for Prometheus, in a registry of its own. What counts is read from the store when it is scraped: durable numbers that
// no client can write and that survive a restart. Attestation is exported as the time at which it ends, so that a frozen exporter
// still alarms.
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { z } from 'zod';
import { RECOMMENDATIONS } from '../../actors/recommendation.ts';
import { refusalOf } from '../../actors/refusal.ts';
import type { Feed } from '../feed.ts';
import { NAME_TOTALS } from '../names/record.ts';
import { meta, riskRecord, totals } from '../records.ts';
import type { Sequencer } from '../sequencer.ts';
import type { Telemetry } from '../telemetry.ts';
import { assetMetrics } from './assetmetrics.ts';
import { epochMetrics } from './epochmetrics.ts';
import { NoQuery } from './input.ts';
import { migrationMetrics } from './migrationmetrics.ts';
import type { ProblemCode } from './problem.ts';
import { processMetrics } from './processmetrics.ts';
import { type App, problems } from './route.ts';

const DELAY_SAMPLE_MS = 20;
const DELAY_BUCKETS_S = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5];
const REQUEST_BUCKETS_S = [0.005, 0.02, 0.05, 0.1, 0.5, 2, 10];

interface Watched {
  readonly sequencer: Sequencer;
  readonly feed: Feed;
  readonly version: string;
  /** Undefined where `telemetry.otlp_endpoint` is empty. */
  readonly telemetry?: Pick<Telemetry, 'counts'> | undefined;
}

/** One metric, as docs/metrics.md has it. */
export interface Described {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly labels: readonly string[];
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #problems: Counter<'code'>;
  readonly #requests: Histogram<'route'>;
  readonly #sampler: NodeJS.Timeout;

  constructor(watched: Watched) {
    const registers = [this.#registry];
    this.#problems = new Counter({
      name: 'aegis_problems_total',
      help: 'Requests that ended with an error, by its code, since the start.',
      labelNames: ['code'],
      registers,
    });
    this.#requests = new Histogram({
      name: 'aegis_request_seconds',
      help: 'From the head of a request to the end of its answer, by method and pattern of the route.',
      labelNames: ['route'],
      buckets: REQUEST_BUCKETS_S,
      registers,
    });
    const delay = new Histogram({
      name: 'aegis_event_loop_delay_seconds',
      help: 'How late a timer of the main thread fires.',
      buckets: DELAY_BUCKETS_S,
      registers,
    });
    this.#sampler = sample((seconds) => delay.observe(seconds));
    counters(watched, registers);
    gauges(watched, registers);
    labelled(watched, registers);
    epochMetrics(watched.sequencer, registers);
    assetMetrics(watched.sequencer, registers);
    migrationMetrics(watched.sequencer.store, registers);
    processMetrics(registers);
  }

  /** A request that ended with an error. */
  problem(code: ProblemCode): void {
    this.#problems.inc({ code });
  }

  /** @param route  a pattern: what clients may choose is no label */
  request(route: string, seconds: number): void {
    this.#requests.observe({ route }, seconds);
  }

  /** By name. */
  described(): readonly Described[] {
    const all = this.#registry.getMetricsAsArray() as unknown as (Described & { labelNames: readonly string[] })[];
    const found = all.map(({ name, type, help, labelNames }) => ({ name, type, help, labels: labelNames }));
    return found.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  get type(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  close(): void {
    clearInterval(this.#sampler);
  }
}

/** What there is without a daemon that runs: only a scrape asks for values. */
export function catalogue(): readonly Described[] {
  const idle = new Metrics({ sequencer: {}, feed: {}, version: '' } as unknown as Watched);
  idle.close();
  return idle.described();
}

export function metrics(app: App, found: Metrics): void {
  app.get(
    '/metrics',
    {
      config: { role: 'metrics' },
      schema: {
        summary: 'Prometheus metrics',
        tags: ['health'],
        querystring: NoQuery,
        response: {
          200: { description: 'Prometheus text', content: { 'text/plain': { schema: z.string() } } },
          ...problems('invalid_query', 'unauthorized', 'forbidden'),
        },
      },
    },
    async (_request, reply) => reply.type(found.type).send((await found.text()) as never),
  );
}

/** Counters of what the store has ever done; prom-client can't set one, so each is emptied and filled again at the scrape. */
const NAMES = {
  due: 'Times that a name was due, ever; retries included.',
  published: 'Records of names that a router has taken, ever.',
  failed: 'Tries to republish a name that failed, ever.',
  stale: 'Times that a name failed ten times in a row, ever.',
};

function counters({ sequencer: { store, wrapping, names } }: Watched, registers: Registry[]): void {
  const counter = (name: string, help: string, read: () => number) =>
    new Counter({
      name: `aegis_${name}_total`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  counter('envelopes_admitted', 'Envelopes that got a receipt, ever.', () => meta(store, 'mempool').next_sequence);
  counter('transactions_sequenced', 'Transactions in batches, ever.', () => totals(store).sequenced);
  counter('batches_signed', 'Batches signed, ever.', () => meta(store, 'heights').signed);
  counter('seals', 'Heads of the log that were sealed, ever.', () => {
    return store.count('seals') - (meta(store, 'log').sealing === null ? 0 : 1);
  });
  counter('wraps_moved', 'Wrapped secrets that have moved to another epoch, ever.', () => wrapping.wraps.moved(store));
  counter('risk_rotations', 'Rotations that the risk score asked for, ever, dry runs included.', () => {
    return riskRecord(store)?.act_count ?? 0;
  });
  for (const name of ['due', 'published', 'failed', 'stale'] as const) {
    counter(`names_${name}`, NAMES[name], () => names.overview.totals[name] ?? 0);
  }
  new Counter({
    name: 'aegis_names_results_total',
    help: 'What has ever come of names on their way, by result.',
    labelNames: ['result'],
    registers,
    collect() {
      this.reset();
      for (const result of NAME_TOTALS) this.inc({ result }, names.overview.totals[result] ?? 0);
    },
  });
  counter('store_commits', 'Durable commits, ever.', () => store.state().commits);
  counter('store_steps', 'Steps in commits, since the start.', () => store.state().steps);
  new Counter({
    name: 'aegis_envelopes_refused_total',
    help: 'Envelopes that were ordered and refused, ever, by reason.',
    labelNames: ['reason'],
    registers,
    collect() {
      this.reset();
      for (const [code, count] of Object.entries(totals(store).refused)) {
        this.inc({ reason: refusalOf(Number(code)) ?? code }, count);
      }
    },
  });
}

function gauges({ sequencer, feed }: Watched, registers: Registry[]): void {
  const { store } = sequencer;
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `aegis_${name}`,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge('ready', '1 when /ready says so.', () => Number(sequencer.ready().ready));
  gauge('mempool_envelopes', 'Envelopes that wait to be ordered.', () => sequencer.status().sequencer.mempool_size);
  gauge('mempool_capacity_envelopes', 'Where admission answers 503.', () => sequencer.config.mempool.capacity);
  gauge('log_size_leaves', 'Leaves of the log.', () => meta(store, 'log').size);
  gauge('log_sealed_leaves', 'Leaves that the newest seal covers.', () => meta(store, 'log').sealed);
  gauge('attestation_not_after_seconds', 'When the newest verified quote ends, Unix time; 0 without one.', () => {
    return (sequencer.attestation?.not_after_ms ?? 0) / 1000;
  });
  gauge('witness_working', '1 while the witness acknowledges; 0 too where there is none.', () => {
    return Number(sequencer.status().attestation.witness?.state === 'working');
  });
  gauge('witness_conflict', '1 when the witness has seen another history: nothing is signed.', () => {
    return Number(sequencer.status().attestation.witness?.state === 'conflict');
  });
  gauge('witness_size_leaves', 'Leaves of the largest sealed head that the witness acknowledged.', () => {
    return sequencer.status().attestation.witness?.size ?? 0;
  });
  gauge('clock_held', '1 while the host has set its clock: expiry, decay and names wait until somebody agrees.', () => {
    return Number(sequencer.clock.held);
  });
  gauge('clock_apart_seconds', "How far the host's clock is ahead of the agreed time; negative when behind.", () => {
    return sequencer.clock.state.apart_ms / 1000;
  });
  gauge('wraps_stuck', 'Wrapped secrets that did not open when they were last to move.', () => {
    return sequencer.wrapping.sweep.state().stuck;
  });
  gauge('attestation_degraded', '1 while seals go on without a platform that fails.', () => {
    return Number(sequencer.status().attestation.degraded);
  });
  gauge('risk_score', 'The score that orders the next batch, 0 to 10,000.', () => {
    return sequencer.risk.room.record.assessment.score;
  });
  gauge('risk_recommendation', '0 continue, 1 monitor closely, 2 schedule rotation, 3 emergency rotation.', () => {
    return RECOMMENDATIONS.indexOf(sequencer.risk.room.record.assessment.recommendation);
  });
  gauge('risk_indicators', 'Indicators that are assessed, those of the catalogue included.', () => {
    return sequencer.risk.room.assessed.weighed.length;
  });
  gauge('risk_feeds_quarantined', 'Feeds of indicators whose newest answer was not taken.', () => {
    return sequencer.risk.feeds.states().filter(({ quarantine }) => quarantine !== null).length;
  });
  gauge('names_soonest_expiry_seconds', 'When the first record of a name ends, Unix time; 0 without names.', () => {
    return (sequencer.names.overview.soonest_expiry_ms ?? 0) / 1000;
  });
  gauge('journal_cursor', 'The newest entry of the journal.', () => store.journalHead().cursor);
  gauge('store_waiting_steps', 'Steps that wait for a commit.', () => store.state().waiting);
  gauge('store_free_bytes', 'Room that the store has left.', () => store.state().free_bytes);
  gauge('store_writable', '1 while commits work.', () => Number(store.state().writable));
  gauge('feed_clients', 'Connected feed clients.', () => feed.clients);
  gauge('config_rejected', '1 while the newest settings are refused and the old ones hold.', () => {
    return Number(sequencer.settings.state.rejected_at_ms !== null);
  });
  gauge(
    'config_waiting',
    'Settings that have changed and need a restart.',
    () => sequencer.settings.state.waiting.length,
  );
  gauge('start_time_seconds', 'When the process started, Unix time.', () => performance.timeOrigin / 1000);
}

function labelled({ sequencer, feed, version, telemetry }: Watched, registers: Registry[]): void {
  new Gauge({
    name: 'aegis_info',
    help: 'What runs.',
    labelNames: ['version', 'platform', 'simulated'],
    registers,
    collect() {
      const { tee_platform: platform, simulated } = sequencer.status().sequencer;
      this.set({ version, platform, simulated: String(simulated) }, 1);
    },
  });
  new Gauge({
    name: 'aegis_height',
    help: 'Batches that have passed a stage.',
    labelNames: ['stage'],
    registers,
    collect() {
      const { cut, opened, signed } = meta(sequencer.store, 'heights');
      for (const [stage, count] of Object.entries({ cut, opened, signed })) this.set({ stage }, count);
    },
  });
  new Gauge({
    name: 'aegis_names',
    help: 'Enrolled names, by where they stand.',
    labelNames: ['state'],
    registers,
    collect() {
      for (const [state, count] of Object.entries(sequencer.names.overview.states)) this.set({ state }, count);
    },
  });
  new Gauge({
    name: 'aegis_wraps',
    help: 'Wrapped secrets, by the epoch whose key they are under and their kind.',
    labelNames: ['epoch', 'kind'],
    registers,
    collect() {
      this.reset();
      const { wrapping, store } = sequencer;
      for (const { epoch, kind, count } of wrapping.wraps.backlogs(store)) this.set({ epoch, kind }, count);
    },
  });
  new Gauge({
    name: 'aegis_attestation_platform',
    help: '1 when the platform quotes, 0 when it fails; not there before its first quote.',
    labelNames: ['role', 'provider'],
    registers,
    collect() {
      this.reset();
      for (const { role, provider, state } of sequencer.status().attestation.platforms) {
        if (state !== 'unknown') this.set({ role, provider }, Number(state === 'working'));
      }
    },
  });
  new Gauge({
    name: 'aegis_effect_tries',
    help: 'How often an effect has failed in a row.',
    labelNames: ['effect'],
    registers,
    collect() {
      this.reset();
      for (const { effect, tries } of sequencer.status().faults) this.set({ effect }, tries);
    },
  });
  new Counter({
    name: 'aegis_config_reloads_total',
    help: 'Reloads of the settings since the start, by outcome.',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset();
      for (const [outcome, count] of Object.entries(sequencer.settings.counts)) this.inc({ outcome }, count);
    },
  });
  new Counter({
    name: 'aegis_spans_total',
    help: 'Spans for the collector since the start: sent, dropped for want of room, failed to send.',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset();
      for (const [outcome, count] of Object.entries(telemetry?.counts ?? {})) this.inc({ outcome }, count);
    },
  });
  new Counter({
    name: 'aegis_feed_cuts_total',
    help: 'Feed connections that the daemon ended, by reason.',
    labelNames: ['reason'],
    registers,
    collect() {
      this.reset();
      for (const [reason, count] of feed.cuts) this.inc({ reason }, count);
    },
  });
}

function sample(observe: (seconds: number) => void): NodeJS.Timeout {
  let due = performance.now() + DELAY_SAMPLE_MS;
  const timer = setInterval(() => {
    const now = performance.now();
    observe(Math.max(0, now - due) / 1000);
    due = now + DELAY_SAMPLE_MS;
  }, DELAY_SAMPLE_MS);
  return timer.unref();
}
