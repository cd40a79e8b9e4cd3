// What the score recommends (DESIGN §9), so that noise can't flap it: a threshold turns on once the score has stayed at it or above
// for `rise_ms`, and off once it has stayed more than `margin` below it for `fall_ms`. Pure; the room of the daemon steps it at each
// assessment and keeps what it returns. Escalations are the only moments at which something is done about a score.
import { z } from 'zod';
import { Counter } from './encoding.ts';

export const RECOMMENDATIONS = ['continue', 'monitor_closely', 'schedule_rotation', 'emergency_rotation'] as const;
export type Recommendation = (typeof RECOMMENDATIONS)[number];

/** The scores from which on each recommendation holds; the first needs none. */
export const THRESHOLDS = { monitor: 3000, scheduled: 6000, emergency: 9000 } as const;
const LEVELS = Object.values(THRESHOLDS);

/** One threshold. */
const Trigger = z.strictObject({
  on: z.boolean(),
  /** Since when the score has been where `on` would change; null while it isn't there. */
  since_ms: Counter.nullable(),
});
type Trigger = z.output<typeof Trigger>;

/** One trigger for each threshold, from the lowest. */
export const Stance = z.tuple([Trigger, Trigger, Trigger]);
export type Stance = z.output<typeof Stance>;

export interface Damping {
  /** Points below a threshold at which it is still held. */
  readonly margin: number;
  readonly rise_ms: number;
  readonly fall_ms: number;
}

const OFF: Trigger = { on: false, since_ms: null };
export const CALM: Stance = [OFF, OFF, OFF];

/** One assessment. @param now_ms  never before that of the last step */
export function advance(stance: Stance, score: number, now_ms: number, damping: Damping): Stance {
  return stance.map((trigger, i) => step(trigger, LEVELS[i]!, score, now_ms, damping)) as Stance;
}

function step({ on, since_ms }: Trigger, threshold: number, score: number, now_ms: number, damping: Damping): Trigger {
  const leaving = on ? score < threshold - damping.margin : score >= threshold;
  if (!leaving) return { on, since_ms: null };
  const since = since_ms ?? now_ms;
  const stayed = now_ms - since >= (on ? damping.fall_ms : damping.rise_ms);
  return stayed ? { on: !on, since_ms: null } : { on, since_ms: since };
}

/** The highest that is on. */
export function recommendationOf(stance: Stance): Recommendation {
  return RECOMMENDATIONS[stance.findLastIndex(({ on }) => on) + 1]!;
}

/** When the next assessment could change the recommendation though the score doesn't; undefined when none is on its way. */
export function nextChange(stance: Stance, { rise_ms, fall_ms }: Damping): number | undefined {
  const due = stance.flatMap(({ on, since_ms }) => (since_ms === null ? [] : [since_ms + (on ? fall_ms : rise_ms)]));
  return due.length === 0 ? undefined : Math.min(...due);
}

export type Urgency = 'scheduled' | 'emergency';

/** What a change of recommendation asks for; undefined when nothing: it fell, or rose to no more than a closer look. */
export function escalation(before: Recommendation, after: Recommendation): Urgency | undefined {
  if (RECOMMENDATIONS.indexOf(after) <= RECOMMENDATIONS.indexOf(before)) return undefined;
  if (after === 'emergency_rotation') return 'emergency';
  return after === 'schedule_rotation' ? 'scheduled' : undefined;
}
