// The plots of docs/risk.md, each computed by the code that the daemon runs.
import { type Threat, threatOf } from '../actors/indicator.ts';
import { advance, CALM, RECOMMENDATIONS, recommendationOf, type Stance, THRESHOLDS } from '../actors/recommendation.ts';
import { assess, SCORE_MAX } from '../actors/risk.ts';
import { SIMULATION_ROUNDS, simulate } from '../actors/simulation.ts';
import { ERAS } from '../actors/words.ts';
import { plot, type Series } from './plot.ts';

const DAY_MS = 86_400_000;
const START_MS = Date.parse('2026-01-01T00:00:00.000Z');
const HALF_LIFE_MS = 180 * DAY_MS;

const LEVELS = [
  [THRESHOLDS.monitor, 'monitor_closely'],
  [THRESHOLDS.scheduled, 'schedule_rotation'],
  [THRESHOLDS.emergency, 'emergency_rotation'],
] as const;
const SCORE = { label: 'score', max: SCORE_MAX, ticks: [0, 2000, 4000, 6000, 8000, 10_000] };

/** Confirmed and severe, each of another scheme. */
export const severe = (count: number, severity = 0.9, confidence = 0.9): Threat[] =>
  Array.from({ length: count }, (_, i) =>
    threatOf(
      {
        category: 'digital_signatures',
        sub_category: `scheme ${i + 1}`,
        ...{ severity, confidence, source: 'a laboratory', description: 'An attack.', era_relevance: 'pre_quantum' },
        ...{ timestamp: new Date(START_MS).toISOString(), references: [] },
      },
      'operator',
      String(i),
    ),
  );

const scoreAt = (threats: readonly Threat[], now_ms: number, era: (typeof ERAS)[number] = 'nisq') =>
  assess(threats, { now_ms, half_life_ms: HALF_LIFE_MS, era }).score;

/** Each more adds less, and three are enough in every era. */
export function countPlot(): string {
  const counts = Array.from({ length: 9 }, (_, i) => i);
  return plot({
    title: 'Confirmed severe threats to signatures (severity and confidence 0.9)',
    x: { label: 'threats, each by itself', max: 8, ticks: counts.map((count) => [count, String(count)] as const) },
    y: SCORE,
    levels: LEVELS,
    series: ERAS.map((era) => ({
      name: era,
      points: counts.map((count) => [count, scoreAt(severe(count), START_MS, era)] as const),
    })),
  });
}

/** What three of them are after a time, and what is recommended. */
export function decayPlot(): string {
  const days = Array.from({ length: 541 }, (_, i) => i);
  const threats = severe(3, 0.95, 0.95);
  let stance: Stance = CALM;
  const points: [number, number][] = [];
  const held: [number, number][] = [];
  for (const day of days) {
    const now_ms = START_MS + day * DAY_MS;
    const score = scoreAt(threats, now_ms);
    stance = advance(stance, score, now_ms, { margin: 500, rise_ms: 0, fall_ms: 0 });
    points.push([day, score]);
    held.push([day, [0, ...Object.values(THRESHOLDS)][RECOMMENDATIONS.indexOf(recommendationOf(stance))]!]);
  }
  return plot({
    title: 'Three threats of 0.95 as they decay: half-life 180 days, hysteresis 500',
    x: { label: 'days', max: 540, ticks: [0, 90, 180, 270, 360, 450, 540].map((day) => [day, String(day)] as const) },
    y: SCORE,
    levels: LEVELS,
    series: [
      { name: 'score', points },
      { name: 'recommendation', points: held, stepped: true },
    ],
  });
}

/** Noise around a threshold, and what a naive comparison would have made of it. */
export function noisePlot(): string {
  const ticks = Array.from({ length: 121 }, (_, i) => i);
  let state = 7;
  const noise = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 16) / 65_536 - 0.5;
  };
  const scores = ticks.map((tick) => (tick < 20 || tick > 90 ? 5000 : 6000) + Math.round(noise() * 800));
  let stance: Stance = CALM;
  const held = ticks.map((tick): [number, number] => {
    stance = advance(stance, scores[tick]!, tick, { margin: 500, rise_ms: 5, fall_ms: 10 });
    const level = [0, ...Object.values(THRESHOLDS)][RECOMMENDATIONS.indexOf(recommendationOf(stance))]!;
    return [tick, level];
  });
  return plot({
    title: 'Noise around 6,000: one rise, one fall',
    x: {
      label: 'assessments (rises after 5, falls after 10)',
      max: 120,
      ticks: [0, 30, 60, 90, 120].map((t) => [t, String(t)] as const),
    },
    y: SCORE,
    levels: LEVELS,
    series: [
      { name: 'score', points: scores.map((score, tick) => [tick, score] as const) },
      { name: 'recommendation', points: held, stepped: true },
    ],
  });
}

/** `aegisd qrm simulate` for three seeds. */
export function simulationPlot(): string {
  const rounds = Array.from({ length: SIMULATION_ROUNDS }, (_, i) => i);
  const series = [1, 2, 3].map((seed): Series => {
    const points = rounds.map((round) => [round, scoreAt(simulate(seed, round, START_MS), START_MS)] as const);
    return { name: `seed ${seed}`, points };
  });
  return plot({
    title: 'A simulated threat, calm to emergency and back',
    x: {
      label: 'round',
      max: SIMULATION_ROUNDS - 1,
      ticks: [0, 5, 10, 15, 20].map((round) => [round, String(round)] as const),
    },
    y: SCORE,
    levels: LEVELS,
    series,
  });
}
