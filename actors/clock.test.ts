// What is believed of a clock, whatever the host does with it: no sequence of steps makes anything age by more than what was
// allowed and what really passed.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  agingTime,
  agree,
  apart,
  begin,
  dayTime,
  dwellTime,
  followed,
  observe,
  type Reading,
  type Timekeeping,
} from './clock.ts';

const MAX_MS = 1_000;
const START: Reading = { wall_ms: 1_000_000, monotonic_ms: 50 };
const at = (passed_ms: number, set_ms = 0): Reading => ({
  wall_ms: START.wall_ms + passed_ms + set_ms,
  monotonic_ms: START.monotonic_ms + passed_ms,
});

/** What really passes, and how far the host then sets its clock. */
const moves = fc.array(fc.record({ passed_ms: fc.nat(5_000), set_ms: fc.integer({ min: -5_000, max: 5_000 }) }), {
  maxLength: 40,
});

describe('a clock', () => {
  it('is believed within what is allowed, to either side', () => {
    for (const off of [0, MAX_MS, -MAX_MS]) {
      const state = observe(agree(START), at(60_000, off), MAX_MS);
      expect(state.hold).toBeNull();
      for (const time of [dayTime, agingTime, dwellTime]) expect(time(state, at(60_000, off))).toBe(1_060_000 + off);
    }
  });

  it.each([MAX_MS + 1, -MAX_MS - 1, 86_400_000, -86_400_000])('is held when it is set by %d ms', (off) => {
    const before = observe(agree(START), at(60_000), MAX_MS);
    const state = observe(before, at(61_000, off), MAX_MS);
    expect(state.hold).toMatchObject({ cause: 'step', stopped_ms: 1_061_000 });
    expect(apart(state, at(61_000, off))).toBe(off);
    const later = at(90_000, off);
    const times = [dayTime, agingTime, dwellTime].map((time) => time(observe(state, later, MAX_MS), later));
    expect(times).toEqual([1_090_000, 1_061_000, 1_090_000]);
    const back = observe(state, at(100_000), MAX_MS);
    expect(back.hold).toBeNull();
    expect(agingTime(back, at(100_000))).toBe(1_100_000);
    const agreed = agree(later);
    expect([agreed.hold, agingTime(agreed, later)]).toEqual([null, 1_090_000 + off]);
  });

  it('far from where the last run left it is held from the start, while the day goes by it', () => {
    for (const off of [5_000, -5_000]) {
      const mark_ms = START.wall_ms - off;
      const state = begin({ mark_ms, agreed_ms: mark_ms }, START, MAX_MS);
      expect(state.hold).toMatchObject({ cause: 'start' });
      const later = at(300);
      const times = [dayTime, agingTime, dwellTime].map((time) => time(state, later));
      expect(times).toEqual([1_000_300, mark_ms, mark_ms + 300]);
      // Set back to where it was left.
      expect(observe(state, at(300, -off), MAX_MS).hold).toBeNull();
    }
    expect(begin(undefined, START, MAX_MS).hold).toBeNull();
    for (const agreed_ms of [START.wall_ms, START.wall_ms - MAX_MS, START.wall_ms + MAX_MS]) {
      expect(begin({ mark_ms: START.wall_ms, agreed_ms }, START, MAX_MS).hold).toBeNull();
    }
  });

  it('lets all starts of a day add no more than one step, to either side', () => {
    const day_ms = 86_400_000;
    const anchor = { offset_ms: 7_000, uptime_ms: 0 };
    const found = (off_ms: number, uptime_ms: number) => ({ offset_ms: 7_000 + off_ms, uptime_ms });
    for (const side of [1, -1]) {
      expect(followed(anchor, found(side * 900, 0), MAX_MS)).toEqual(anchor);
      expect(followed(anchor, found(side * 900, day_ms / 2), MAX_MS)).toEqual(found(side * 500, day_ms / 2));
      expect(followed(anchor, found(side * 900, day_ms), MAX_MS)).toEqual(found(side * 900, day_ms));
      // A year of running allows no more than a day of it, and what is held stays where it was.
      expect(followed(anchor, found(side * 2_000, 365 * day_ms), MAX_MS).offset_ms).toBe(7_000 + side * 1_000);
      expect(followed(anchor, found(side * 2_001, 365 * day_ms), MAX_MS)).toBe(anchor);
    }
    fc.assert(
      fc.property(moves, (all) => {
        let [kept, uptime_ms] = [{ offset_ms: 0, uptime_ms: 0 }, 0];
        for (const { passed_ms, set_ms } of all) {
          uptime_ms += passed_ms;
          kept = followed(kept, { offset_ms: set_ms, uptime_ms }, MAX_MS);
        }
        expect(Math.abs(kept.offset_ms)).toBeLessThanOrEqual((MAX_MS * uptime_ms) / day_ms);
      }),
    );
  });

  it('ages nothing by more than what passed and what is allowed, however often it is set', () => {
    fc.assert(
      fc.property(moves, (all) => {
        let state: Timekeeping = agree(START);
        let [passed_ms, stood] = [0, undefined as number | undefined];
        for (const move of all) {
          passed_ms += move.passed_ms;
          const reading = at(passed_ms, move.set_ms);
          state = observe(state, reading, MAX_MS);
          const aging = agingTime(state, reading);
          expect(Math.abs(dayTime(state, reading) - START.wall_ms - passed_ms)).toBeLessThanOrEqual(MAX_MS);
          expect(aging - START.wall_ms - passed_ms).toBeLessThanOrEqual(MAX_MS);
          expect(state.hold !== null).toBe(Math.abs(move.set_ms) > MAX_MS);
          if (state.hold !== null && stood !== undefined) expect(aging).toBe(stood);
          stood = state.hold === null ? undefined : aging;
        }
      }),
    );
  });
});
