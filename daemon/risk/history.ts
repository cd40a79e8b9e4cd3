// The history of the score (DESIGN §9): a row each time it or the recommendation changed, so what held at any time is the last
// row before it. Rows older than `risk.retention_d` go, but for the one that held when the retention began.
import type { Recommendation } from '../../actors/recommendation.ts';
import type { Step } from '../runtime.ts';
import type { Reader } from '../store.ts';

export interface Moment {
  readonly score: number;
  readonly recommendation: Recommendation;
  readonly indicator_count: number;
}

export interface Point extends Moment {
  readonly at_ms: number;
}

/** What one answer may have. */
export const POINTS_MAX = 1_000;

/** Rows that one step takes away: more than it adds, so that a shorter retention is caught up with. */
const PRUNED_MAX = 64;

const DAY_MS = 86_400_000;

/** Part of the step that makes the change durable. */
export function remember(step: Step, at_ms: number, moment: Moment, retention_d: number): void {
  const end = Math.max(0, at_ms - retention_d * DAY_MS);
  const old = [...step.range('risk_history', { end, limit: PRUNED_MAX + 1 })];
  for (const [old_ms] of old.slice(0, -1)) step.remove('risk_history', old_ms);
  step.put('risk_history', at_ms, moment);
}

/**
 * What held at `from_ms`, then every `step_ms`, and at `to_ms`; times before the first row are left out.
 *
 * @param step_ms  positive, such that it are at most POINTS_MAX points
 */
export function history(reader: Reader, from_ms: number, to_ms: number, step_ms: number): Point[] {
  const points: Point[] = [];
  for (let at_ms = from_ms; at_ms <= to_ms; at_ms += step_ms) {
    const moment = heldAt(reader, at_ms);
    if (moment !== undefined) points.push({ at_ms, ...moment });
  }
  return points;
}

function heldAt(reader: Reader, at_ms: number): Moment | undefined {
  for (const [, row] of reader.range('risk_history', { end: at_ms + 1, limit: 1, reverse: true })) return row as Moment;
  return undefined;
}
