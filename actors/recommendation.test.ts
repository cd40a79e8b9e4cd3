import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  advance,
  CALM,
  type Damping,
  escalation,
  nextChange,
  RECOMMENDATIONS,
  recommendationOf,
  type Stance,
} from './recommendation.ts';

const DAMPING: Damping = { margin: 500, rise_ms: 100, fall_ms: 1_000 };

/** One assessment every 10 ms. @returns the recommendation after each */
function play(scores: readonly number[], damping = DAMPING, start: Stance = CALM): string[] {
  let stance = start;
  return scores.map((score, i) => {
    stance = advance(stance, score, i * 10, damping);
    return recommendationOf(stance);
  });
}
const hold = (score: number, times: number) => Array.from({ length: times }, () => score);
const runs = (names: readonly string[]) => names.filter((name, i) => name !== names[i - 1]);

describe('a recommendation', () => {
  it.each([
    [2_999, 'continue'],
    [3_000, 'monitor_closely'],
    [5_999, 'monitor_closely'],
    [6_000, 'schedule_rotation'],
    [8_999, 'schedule_rotation'],
    [9_000, 'emergency_rotation'],
    [10_000, 'emergency_rotation'],
  ])('at %i that stays is %s', (score, expected) => {
    expect(play(hold(score, 12)).at(-1)).toBe(expected);
    expect(play([score], { ...DAMPING, rise_ms: 0 })).toEqual([expected]);
  });

  it('rises only when the score has stayed for the whole dwell time', () => {
    expect(runs(play([...hold(9_500, 10), 0, ...hold(9_500, 10)]))).toEqual(['continue']);
    expect(play(hold(9_500, 11))[9]).toBe('continue');
    expect(play(hold(9_500, 11))[10]).toBe('emergency_rotation');
  });

  it('holds within the margin, and falls only after the dwell time below it', () => {
    expect(runs(play([...hold(9_000, 11), ...hold(8_500, 500)]))).toEqual(['continue', 'emergency_rotation']);
    const fallen = play([...hold(9_000, 11), ...hold(8_499, 101)]);
    expect(fallen.at(-2)).toBe('emergency_rotation');
    expect(fallen.at(-1)).toBe('schedule_rotation');
    expect(runs(play([...hold(9_000, 11), ...hold(0, 101)]))).toEqual(['continue', 'emergency_rotation', 'continue']);
  });

  it('does not flap by noise around a threshold', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 5_500, max: 6_499 }), { minLength: 1, maxLength: 400 }), (noise) => {
        const seen = runs(play([...hold(6_000, 11), ...noise]));
        expect(seen).toEqual(['continue', 'schedule_rotation']);
      }),
    );
  });

  it('is never in between: a higher threshold is on only while the lower ones are', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(10_000), { maxLength: 400 }),
        fc.nat(300),
        fc.nat(300),
        (scores, rise_ms, fall_ms) => {
          let stance = CALM;
          for (const [i, score] of scores.entries()) {
            stance = advance(stance, score, i * 10, { margin: 500, rise_ms, fall_ms });
            const [monitor, scheduled, emergency] = stance;
            expect(!emergency.on || scheduled.on).toBe(true);
            expect(!scheduled.on || monitor.on).toBe(true);
          }
        },
      ),
    );
  });

  it('changes at the time that is told when the score stays', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(10_000), { minLength: 1, maxLength: 50 }), fc.nat(10_000), (scores, last) => {
        let stance = CALM;
        for (const [i, score] of [...scores, last].entries()) stance = advance(stance, score, i * 10, DAMPING);
        const due = nextChange(stance, DAMPING);
        const later = (now_ms: number) => recommendationOf(advance(stance, last, now_ms, DAMPING));
        if (due === undefined) expect(later(1e9)).toBe(recommendationOf(stance));
        else {
          expect(later(due - 1)).toBe(recommendationOf(stance));
          expect(advance(stance, last, due, DAMPING)).not.toEqual(advance(stance, last, due - 1, DAMPING));
        }
      }),
    );
  });
});

it('asks for something only when it rises to what rotates', () => {
  const asked = RECOMMENDATIONS.flatMap((before) =>
    RECOMMENDATIONS.flatMap((after) => {
      const urgency = escalation(before, after);
      return urgency === undefined ? [] : [`${before} → ${after}: ${urgency}`];
    }),
  );
  expect(asked).toEqual([
    'continue → schedule_rotation: scheduled',
    'continue → emergency_rotation: emergency',
    'monitor_closely → schedule_rotation: scheduled',
    'monitor_closely → emergency_rotation: emergency',
    'schedule_rotation → emergency_rotation: emergency',
  ]);
});
