import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ReportedIndicator } from '../../actors/indicator.ts';
import { faulty } from '../../test/faulty.ts';
import { settings } from '../../test/house.ts';
import { type RiskAct, riskNow, riskRecord } from '../records.ts';
import { Runtime } from '../runtime.ts';
import { openStore, type Store } from '../store.ts';
import type { Rotated } from './demand.ts';
import { history } from './history.ts';
import { allowAgain, overrideRisk } from './orders.ts';
import { type RiskOptions, RiskRoom } from './room.ts';

const START_MS = Date.parse('2026-06-01T00:00:00.000Z');
const DAY_MS = 86_400_000;

let folder: string;
let store: Store;
let now_ms: number;
let options: RiskOptions;
let rotations: RiskAct[];
let closing: (() => Promise<void>)[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-risk-'));
  now_ms = START_MS;
  rotations = [];
  closing = [];
  options = { ...settings(folder).risk, rise_s: 0, fall_s: 60, catalogue: false, assess_interval_s: 3600 };
  store = await reopen();
  await store.commit((tx) => tx.put('meta', 'epoch', { active: 1 }));
});
afterEach(async () => {
  for (const close of closing) await close();
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

const reopen = () =>
  openStore({
    folder: join(folder, 'store'),
    key: new Uint8Array(32).fill(7),
    map_bytes_max: 2 ** 26,
    free_bytes_min: 0,
    commit_steps_max: 100,
    retry_ms: 10,
    schema: { version: 1, migrations: [] },
  });

const fatal = (error: unknown) => {
  throw error;
};

type Rotate = (act: RiskAct) => Promise<Rotated | null>;
const rotated: Rotate = async (act) => {
  rotations.push(act);
  return { epoch: act.to_epoch, at_height: 0 };
};

async function openRoom({ on = store, rotate = rotated }: { on?: Store; rotate?: Rotate } = {}) {
  const runtime = new Runtime({ store: on, log: { warn: () => {}, error: () => {} }, fatal });
  const modules = { runtime, store: on, options: () => options, now: () => now_ms, onChange: () => {}, fatal };
  const room = new RiskRoom({ ...modules, onFault: () => {} });
  runtime.start([room.performer(rotate, 10_000)]);
  await room.start();
  const drained = () => runtime.drained(AbortSignal.timeout(10_000));
  const close = async () => {
    runtime.stop();
    await room.stop();
  };
  closing.push(close);
  return { room, runtime, drained, close };
}

const severe = (over: Partial<ReportedIndicator> = {}): ReportedIndicator => ({
  category: 'digital_signatures',
  sub_category: 'ecdsa',
  severity: 0.95,
  confidence: 0.95,
  source: 'a laboratory',
  timestamp: new Date(now_ms).toISOString(),
  description: 'An attack.',
  era_relevance: 'nisq',
  references: [],
  ...over,
});
const three = () => ['ecdsa', 'rsa', 'bls'].map((sub_category) => severe({ sub_category, id: sub_category }));
const journal = (type: string) =>
  [...store.range('journal', { limit: 1000 })].flatMap(([, entry]) => (entry.type === type ? [entry.data] : []));

describe('reports', () => {
  it('are durable when they are answered, and idempotent by id and by content', async () => {
    const { room } = await openRoom();
    const first = await room.report([severe(), severe({ id: 'mine', sub_category: 'rsa' })]);
    expect(first).toMatchObject({
      ok: true,
      results: [{ outcome: 'added' }, { id: 'operator/mine', outcome: 'added' }],
    });
    const { cursor } = store.journalHead();
    const again = await room.report([severe(), severe({ id: 'mine', sub_category: 'rsa' })]);
    expect(again).toMatchObject({ results: [{ outcome: 'unchanged' }, { outcome: 'unchanged' }] });
    expect(store.journalHead().cursor).toBe(cursor);
    expect(store.count('indicators')).toBe(2);
    const other = await room.report([severe({ id: 'mine', sub_category: 'rsa', severity: 0.1 })]);
    expect(other).toMatchObject({ results: [{ id: 'operator/mine', outcome: 'updated' }] });
    expect(riskNow(store, now_ms)).toEqual(room.record.assessment);
    expect(room.record.assessment.score).toBeGreaterThan(6000);
  });

  it('are taken all or none: one with a time to come is named', async () => {
    const { room } = await openRoom();
    const early = severe({ timestamp: new Date(now_ms + 301_000).toISOString(), sub_category: 'rsa' });
    expect(await room.report([severe(), early])).toMatchObject({ ok: false, index: 1, field: 'timestamp' });
    expect(store.count('indicators')).toBe(0);
  });

  it('crowd out what weighs least, themselves included', async () => {
    options = { ...options, indicators_max: 16 };
    const { room } = await openRoom();
    const many = Array.from({ length: 16 }, (_, i) =>
      severe({ id: `i${i}`, sub_category: `s${i}`, severity: 0.5 + i / 100 }),
    );
    await room.report(many);
    const light = await room.report([severe({ id: 'light', sub_category: 'light', severity: 0.4 })]);
    expect(light).toMatchObject({ results: [{ id: 'operator/light', outcome: 'dropped' }] });
    await room.report([severe({ id: 'heavy', sub_category: 'heavy' })]);
    const kept = [...store.range('indicators', { limit: 100 })].map(([id]) => id);
    expect(kept).toHaveLength(16);
    expect(kept).toContain('operator/heavy');
    expect(kept).not.toContain('operator/i0');
    expect(room.threats.map(({ id }) => id)).toEqual(kept);
  });

  it('of a feed are a snapshot, and touch no other origin', async () => {
    const { room } = await openRoom();
    await room.report([severe({ id: 'a' })]);
    const [own] = room.threats;
    const of = (id: string) => ({ ...own!, id: `feed:lab/${id}`, origin: 'feed:lab' as const });
    await room.replace('feed:lab', [of('a'), of('b')]);
    await room.replace('feed:lab', [of('b')]);
    expect(room.threats.map(({ id }) => id)).toEqual(['feed:lab/b', 'operator/a']);
    await room.replace('feed:lab', []);
    expect(room.threats.map(({ id }) => id)).toEqual(['operator/a']);
    expect(await room.withdraw('a')).toBe(true);
    expect(await room.withdraw('a')).toBe(false);
    expect(room.record.assessment.score).toBe(0);
  });

  it('change nothing when the disk fails', async () => {
    const { store: failing, disk } = faulty(store);
    const { room } = await openRoom({ on: failing });
    disk.failures = 1;
    await expect(room.report(three())).rejects.toMatchObject({ code: 'store_io' });
    expect([room.threats.length, room.record.assessment.score, store.count('indicators')]).toEqual([0, 0, 0]);
    await room.report(three());
    expect(room.record.assessment.recommendation).toBe('emergency_rotation');
  });
});

describe('an escalation', () => {
  it('is decided and owed in one step, performed once, and remembered with its outcome', async () => {
    const { room, drained } = await openRoom();
    await room.report([severe()]);
    await drained();
    expect(rotations.map(({ urgency }) => urgency)).toEqual(['scheduled']);
    await room.report(three());
    await drained();
    expect(rotations.map(({ urgency, number }) => [urgency, number])).toEqual([
      ['scheduled', 1],
      ['emergency', 2],
    ]);
    await room.report([severe({ sub_category: 'another' })]);
    await room.assess();
    await drained();
    expect(rotations).toHaveLength(2);
    expect(riskRecord(store)).toMatchObject({
      act_count: 2,
      acts: [{ rotated: { epoch: 2 } }, { rotated: { epoch: 2 } }],
      allowed: { ecdsa: false, schemes: ['x-wing'] },
    });
  });

  it('survives a crash between decision and act, and after an act whose outcome was lost', async () => {
    const first = await openRoom({ rotate: () => new Promise(() => {}) });
    await first.room.report(three());
    await first.close();
    await store.close();
    store = await reopen();
    const second = await openRoom();
    await second.drained();
    await second.room.assess();
    await second.drained();
    expect(rotations.map(({ number, urgency }) => [number, urgency])).toEqual([[1, 'emergency']]);
    expect(journal('qrm_update').filter((data) => (data as { rotation: unknown }).rotation !== null)).toHaveLength(1);
    await second.close();
    await store.close();
    store = await reopen();
    const third = await openRoom();
    await third.drained();
    expect(rotations).toHaveLength(1);
  });

  it('that could not be performed is asked for again at the next start', async () => {
    const first = await openRoom({ rotate: async () => null });
    await first.room.report([severe()]);
    await first.drained();
    await first.close();
    await openRoom().then(({ drained }) => drained());
    expect(rotations.map(({ number }) => number)).toEqual([1]);
  });

  it('is only written down in a dry run', async () => {
    options = { ...options, dry_run: true };
    const { room, drained } = await openRoom();
    await room.report(three());
    await drained();
    expect(rotations).toEqual([]);
    expect(room.inEmergency).toBe(false);
    expect(riskRecord(store)).toMatchObject({
      assessment: { recommendation: 'emergency_rotation' },
      acts: [{ dry_run: true, urgency: 'emergency' }],
      allowed: { ecdsa: true, schemes: ['x-wing', 'ecies'] },
    });
  });

  it('is over by time alone, but what it took away comes back only by order', async () => {
    const { room, drained } = await openRoom();
    await room.report(three());
    await drained();
    now_ms += 3 * 365 * DAY_MS;
    await room.assess();
    expect(room.record.assessment.recommendation).toBe('emergency_rotation');
    now_ms += 60_000;
    await room.assess();
    expect(room.record.assessment).toMatchObject({ recommendation: 'continue' });
    expect(room.record.allowed).toEqual({ ecdsa: false, schemes: ['x-wing'] });
    await store.commit((step) => allowAgain(step, true, ['x-wing', 'ecies']));
    await room.assess();
    expect(room.record.allowed).toEqual({ ecdsa: true, schemes: ['x-wing', 'ecies'] });
  });
});

describe('the score', () => {
  it('is overridden by order, until its time', async () => {
    const { room } = await openRoom();
    await room.report(three());
    await store.commit((step) => overrideRisk(step, { score: 100, until_ms: now_ms + 1000 }));
    await room.assess();
    expect(room.record.assessment.score).toBe(100);
    expect(room.assessed.score).toBeGreaterThan(9000);
    now_ms += 1000;
    await room.assess();
    expect(room.record).toMatchObject({ assessment: { score: room.assessed.score }, override: null });
  });

  it('does not go back in time with the host, and is the same after a restart', async () => {
    const first = await openRoom();
    await first.room.report([severe()]);
    const { score } = first.room.record.assessment;
    now_ms += 30 * DAY_MS;
    await first.room.report([severe({ sub_category: 'rsa', severity: 0.1 })]);
    const later = first.room.record.assessment;
    now_ms -= 29 * DAY_MS;
    await first.room.assess();
    expect(first.room.record.assessment).toEqual(later);
    expect(later.score).toBeLessThan(score + 1000);
    await first.close();
    const second = await openRoom();
    expect(second.room.record.assessment).toEqual(later);
  });

  it('has a history of every change, pruned by its retention', async () => {
    options = { ...options, retention_d: 10 };
    const { room } = await openRoom();
    for (let day = 0; day < 30; day++) {
      now_ms = START_MS + day * DAY_MS;
      await room.report([severe({ id: 'one', severity: 0.3 + day / 100 })]);
    }
    const rows = [...store.range('risk_history', { limit: 100 })].map(([at_ms]) => (at_ms - START_MS) / DAY_MS);
    expect(rows).toEqual([18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
    const points = history(store, START_MS, now_ms + DAY_MS, DAY_MS);
    expect(points.map(({ at_ms }) => (at_ms - START_MS) / DAY_MS)).toEqual([...rows, 30]);
    expect(points.at(-1)!.score).toBe(room.record.assessment.score);
    expect(history(store, START_MS, START_MS + 5 * DAY_MS, DAY_MS)).toEqual([]);
  });

  it('tells the feed when it moves, and only then', async () => {
    const { room } = await openRoom();
    await room.assess();
    await room.report([severe({ id: 'one' })]);
    now_ms += 1000;
    await room.assess();
    expect(journal('qrm_update')).toMatchObject([
      {
        cause: 'reported',
        score: room.record.assessment.score,
        previous: { score: 0, recommendation: 'continue' },
        indicators: [{ id: 'operator/one', outcome: 'added' }],
        rotation: { urgency: 'scheduled', dry_run: false },
      },
    ]);
  });
});
