import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { CATALOGUE } from '../../actors/catalogue.ts';
import type { ReportedIndicatorInput } from '../../actors/indicator.ts';
import { SIMULATION_ROUNDS } from '../../actors/simulation.ts';
import { CATEGORIES } from '../../actors/words.ts';
import { enveloped, type House, openHouse } from '../../test/house.ts';
import { RiskView } from '../risk/view.ts';
import { Indicators, Reported, RiskHistory } from './risk.ts';
import type { Listening } from './server.ts';

let house: House;
let at: Listening;
beforeAll(async () => {
  house = await openHouse({ risk: { simulation: true, dry_run: true, rise_s: 0 }, api: { rate_limit_per_s: 0 } });
  at = await house.server.listen();
});
afterAll(() => house?.[Symbol.asyncDispose]());

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

async function ask(method: string, path: string, { body, token = true }: { body?: unknown; token?: boolean } = {}) {
  const authorization = `Bearer ${readFileSync(house.server.adminTokenPath, 'utf8').trim()}`;
  const headers = {
    ...(token && { authorization }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
  };
  const answer = await fetch(`${at.url}${path}`, {
    ...{ method, headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() } as Answer;
}

async function get<T>(path: string, shape: z.ZodType<T>): Promise<T> {
  const { status, body } = await ask('GET', path);
  expect(status).toBe(200);
  return shape.parse(body);
}
const report = (body: unknown) => ask('POST', '/qrm/indicators', { body });

const indicator = (over: Partial<ReportedIndicatorInput> = {}): ReportedIndicatorInput => ({
  category: 'consensus_attacks',
  sub_category: 'bls',
  severity: 0.8,
  confidence: 0.9,
  source: 'a laboratory',
  timestamp: new Date().toISOString(),
  description: 'An attack.',
  era_relevance: 'nisq',
  ...over,
});

describe('GET /qrm/risk', () => {
  it('has every category, the heaviest indicators and the thresholds', async () => {
    const view = await get('/qrm/risk', RiskView);
    expect(view.category_breakdown.map(({ category }) => category)).toEqual(CATEGORIES);
    expect(view.thresholds).toEqual({ monitor: 3000, scheduled: 6000, emergency: 9000 });
    expect(view.indicator_count).toBe(CATALOGUE.length);
    expect(view.indicators).toHaveLength(10);
    expect(view.explanation).toBeUndefined();
    expect(view.recommendation).toBe('continue');
  });

  it('explains where it is asked to, and so that it adds up', async () => {
    await report(indicator({ id: 'explained' }));
    const view = await get('/qrm/risk?explain=1', RiskView);
    const [heaviest] = view.explanation!;
    expect(heaviest).toMatchObject({ id: 'operator/explained', duplicate_of: null, decay: 10_000 });
    expect(view.indicators[0]!.id).toBe('operator/explained');
    expect(view.explanation).toHaveLength(CATALOGUE.length + 1);
    await ask('POST', '/qrm/indicators/explained/withdraw');
    const after = await get('/qrm/risk', RiskView);
    expect(after.score).toBe(view.score - heaviest!.marginal);
  });

  it('is what the next batch carries in its header', async () => {
    const admission = await house.sequencer.submitEncrypted(await enveloped(house.sequencer));
    expect(admission.ok).toBe(true);
    await house.journaled('batch_created', ({ height }) => height === 0);
    const { header, risk_assessment } = house.sequencer.batch(0)!;
    const { score, recommendation, current_era, category_breakdown } = await get('/qrm/risk', RiskView);
    expect(header.risk_score).toBe(score);
    expect(score).toBeGreaterThan(0);
    expect(risk_assessment).toMatchObject({ score, recommendation, current_era });
    expect(risk_assessment.category_breakdown).toEqual(
      category_breakdown
        .filter((each) => each.indicator_count > 0)
        .map(({ category, score: own, indicator_count }) => ({ category, score: own, indicator_count })),
    );
    expect(house.sequencer.status()).toMatchObject({ qrm: { risk_score: score }, chain: { risk_score: score } });
  });
});

describe('POST /qrm/indicators', () => {
  it('takes one or many, in any RFC 3339 time, and answers each', async () => {
    const one = await report(indicator({ id: 'one', timestamp: '2026-01-01T02:00:00+02:00' }));
    expect(one).toMatchObject({ status: 200, body: { results: [{ id: 'operator/one', outcome: 'added' }] } });
    const two = await report([
      indicator({ id: 'one', timestamp: '2026-01-01T00:00:00Z' }),
      indicator({ id: 'two' }),
      indicator({ id: 'two', severity: 0.1 }),
    ]);
    const { results } = Reported.parse(two.body);
    expect(results.map(({ outcome }) => outcome)).toEqual(['unchanged', 'added', 'added']);
    const { indicators, feeds } = await get('/qrm/indicators?after=operator/one', Indicators);
    expect(indicators).toMatchObject([{ id: 'operator/two', origin: 'operator', severity: 0.1 }]);
    expect(feeds).toEqual([]);
  });

  const later = new Date(Date.now() + 3_600_000).toISOString();
  it.each<[string, unknown, string]>([
    ['an unknown category', indicator({ category: 'x' as never }), 'category'],
    ['a severity above 1', indicator({ severity: 1.01 }), 'severity'],
    ['a severity that is text', indicator({ severity: '1' as never }), 'severity'],
    ['a negative confidence', indicator({ confidence: -0.1 }), 'confidence'],
    ['no source', indicator({ source: '' }), 'source'],
    ['control characters', indicator({ description: 'a\u001b[2J' }), 'description'],
    ['a long description', indicator({ description: 'x'.repeat(1025) }), 'description'],
    ['too many references', indicator({ references: Array.from({ length: 9 }, () => 'x') }), 'references'],
    ['no time', indicator({ timestamp: 'yesterday' }), 'timestamp'],
    ['a time without a zone', indicator({ timestamp: '2026-01-01T00:00:00' }), 'timestamp'],
    ['a time to come', indicator({ timestamp: later }), 'timestamp'],
    ['an era that is none', indicator({ era_relevance: 'future' as never }), 'era_relevance'],
    ['an id with a slash', indicator({ id: 'feed:lab/x' }), 'id'],
    ['an unknown key', { ...indicator(), origin: 'daemon' }, 'origin'],
    ['the second of two', [indicator(), indicator({ severity: 2 })], '[1].severity'],
    ['a time to come in the second', [indicator(), indicator({ timestamp: later })], '[1].timestamp'],
    ['an empty array', [], ''],
    ['too many', Array.from({ length: 257 }, () => indicator()), ''],
    ['a text', 'indicator', ''],
  ])('refuses %s, naming the field, and takes nothing', async (_, body, field) => {
    const before = house.sequencer.store.count('indicators');
    const answer = await report(body);
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_body', field } });
    expect(house.sequencer.store.count('indicators')).toBe(before);
  });

  it.each([
    ['POST', '/qrm/indicators'],
    ['GET', '/qrm/indicators'],
    ['POST', '/qrm/indicators/one/withdraw'],
    ['POST', '/qrm/simulation/start'],
    ['POST', '/qrm/simulation/stop'],
  ])('%s %s is for administrators', async (method, path) => {
    const answer = await ask(method, path, {
      token: false,
      ...(path === '/qrm/indicators' && method === 'POST' && { body: indicator() }),
    });
    expect(answer).toMatchObject({ status: 401, body: { code: 'unauthorized' } });
  });
});

describe('GET /qrm/history', () => {
  it('has what held, at the times that are asked for', async () => {
    const { room } = house.sequencer.risk;
    const whole = await get('/qrm/history', RiskHistory);
    expect(whole.points.at(-1)).toMatchObject({ score: room.record.assessment.score });
    const now = Date.now();
    const few = await get(`/qrm/history?from=${now - 1000}&to=${now + 1000}&step=500`, RiskHistory);
    expect(few.points.map(({ at_ms }) => at_ms - now).filter((ms) => ms >= 0)).toEqual([0, 500, 1000]);
    expect(
      await get('/qrm/history?from=0&to=1000&step=1', RiskHistory).catch((error: unknown) => error),
    ).toBeInstanceOf(Error);
  });

  it.each([
    ['from=2&to=1', 'from'],
    ['from=0&to=1000000&step=1', 'step'],
    ['step=0', 'step'],
    ['from=-1', 'from'],
    ['since=1', 'since'],
  ])('refuses %s', async (query, field) => {
    expect(await ask('GET', `/qrm/history?${query}`)).toMatchObject({
      status: 400,
      body: { code: 'invalid_query', field },
    });
  });
});

describe('a simulation', () => {
  it('plays calm to emergency and back, the same for the same seed, and leaves nothing', async () => {
    const before = await get('/qrm/risk', RiskView);
    expect(await ask('POST', '/qrm/simulation/start?seed=7&interval_ms=10')).toMatchObject({
      status: 200,
      body: { seed: 7, rounds: SIMULATION_ROUNDS },
    });
    expect(await ask('POST', '/qrm/simulation/start')).toMatchObject({ body: { code: 'simulation_running' } });
    await house.journaled('simulation_stopped', ({ seed, reason }) => seed === 7 && reason === 'finished');
    const scores = [...house.sequencer.store.range('journal', { limit: 10_000 })]
      .filter(([, { type, data }]) => type === 'qrm_update' && (data as { cause: string }).cause === 'simulation')
      .map(([, { data }]) => (data as { score: number }).score);
    expect(Math.max(...scores)).toBeGreaterThanOrEqual(9000);
    expect(scores.at(-1)).toBeLessThanOrEqual(before.score);
    expect(house.sequencer.risk.room.threats.filter(({ origin }) => origin === 'simulation')).toEqual([]);
    // It was a dry run.
    const { rotations, allowed } = await get('/qrm/risk', RiskView);
    expect(rotations.every(({ dry_run }) => dry_run)).toBe(true);
    expect(allowed.ecdsa).toBe(true);
  });

  it('can be stopped', async () => {
    await ask('POST', '/qrm/simulation/start?interval_ms=600000');
    expect(await ask('POST', '/qrm/simulation/stop')).toMatchObject({ status: 200, body: { rounds: 0 } });
    expect(await ask('POST', '/qrm/simulation/stop')).toMatchObject({ body: { code: 'simulation_not_running' } });
  });
});
