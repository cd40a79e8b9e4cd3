import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoff, choose, extendedEol, extendsUnresolved, judgeUpdate, needOf, nextDue, phaseOf } from './extension.ts';

const HOUR_MS = 3_600_000;
const cycle = { interval_ms: 6 * HOUR_MS, lifetime_ms: 48 * HOUR_MS };
const NOW = Date.UTC(2026, 5, 1);
const time = fc.integer({ min: 0, max: Date.UTC(2100) });
const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const candidate = fc.record({
  value: fc.constantFrom('/ipfs/a', '/ipfs/b'),
  sequence: fc.bigInt({ min: 0n, max: 3n }),
  eol_ms: fc.integer({ min: 0, max: 3 }),
});

describe('when a name is due', () => {
  it('is half a cycle to one and a half ahead, and its jitter, at its phase', () => {
    fc.assert(
      fc.property(fc.string(), time, chance, (name, now_ms, jitter) => {
        const due_ms = nextDue(name, now_ms, cycle.interval_ms, jitter);
        expect(due_ms - now_ms).toBeGreaterThanOrEqual(cycle.interval_ms / 2);
        expect(due_ms - now_ms).toBeLessThan(1.55 * cycle.interval_ms);
        const late_ms = (due_ms - phaseOf(name, cycle.interval_ms)) % cycle.interval_ms;
        expect(late_ms).toBeLessThanOrEqual(0.05 * cycle.interval_ms);
      }),
    );
  });

  it('spreads names over the whole cycle', () => {
    const hours = Array.from({ length: 6 }, () => 0);
    for (let n = 0; n < 6_000; n++) hours[Math.floor(phaseOf(`name-${n}`, cycle.interval_ms) / HOUR_MS)]! += 1;
    for (const count of hours) expect(Math.abs(count - 1_000)).toBeLessThan(150);
  });
});

describe('extending', () => {
  it('never shortens a life, and gives a whole one', () => {
    fc.assert(
      fc.property(time, time, (eol_ms, now_ms) => {
        const after = extendedEol(eol_ms, now_ms, cycle);
        expect(after).toBeGreaterThan(eol_ms);
        expect(after).toBeGreaterThanOrEqual(now_ms + cycle.lifetime_ms);
        // What was just signed is sent again as it is while the cycle tries.
        expect(needOf(after, now_ms, cycle, true)).toBe('resend');
        expect(needOf(after, now_ms, cycle, false)).toBe('resend');
      }),
    );
  });

  it('is left out while the record lives long enough, half as long when it was signed for this cycle', () => {
    expect(needOf(NOW + 48 * HOUR_MS, NOW, cycle, false)).toBe('resend');
    expect(needOf(NOW + 48 * HOUR_MS - 1, NOW, cycle, false)).toBe('extend');
    expect(needOf(NOW + 24 * HOUR_MS, NOW, cycle, true)).toBe('resend');
    expect(needOf(NOW + 24 * HOUR_MS - 1, NOW, cycle, true)).toBe('extend');
  });

  it('is done without an answer only near the end', () => {
    expect(extendsUnresolved(NOW + 12 * HOUR_MS, NOW, cycle)).toBe(false);
    expect(extendsUnresolved(NOW + 12 * HOUR_MS - 1, NOW, cycle)).toBe(true);
    expect(extendsUnresolved(NOW - 1, NOW, cycle)).toBe(true);
  });
});

describe('two records', () => {
  it('a higher sequence always wins, and a lower one never', () => {
    fc.assert(
      fc.property(candidate, candidate, (held, found) => {
        const { adopt, conflict } = choose(held, found);
        if (found.sequence > held.sequence) expect({ adopt, conflict }).toEqual({ adopt: true, conflict: false });
        if (found.sequence < held.sequence) expect({ adopt, conflict }).toEqual({ adopt: false, conflict: false });
        if (found.sequence === held.sequence) {
          expect(adopt).toBe(found.eol_ms > held.eol_ms);
          expect(conflict).toBe(found.value !== held.value);
        }
      }),
    );
  });

  it('whatever order they are met in, the same one is held unless they tie', () => {
    fc.assert(
      fc.property(candidate, candidate, (a, b) => {
        fc.pre(a.sequence !== b.sequence || a.eol_ms !== b.eol_ms);
        const [fromA, fromB] = [choose(a, b).adopt ? b : a, choose(b, a).adopt ? a : b];
        expect(fromA).toEqual(fromB);
      }),
    );
  });

  it('an update of the owner is taken when it is newer, is no error when it is known, and else says why', () => {
    const held = { value: '/ipfs/a', sequence: 5n, eol_ms: 10 };
    expect(judgeUpdate(held, { ...held, sequence: 6n, value: '/ipfs/b', eol_ms: 1 })).toEqual({
      ok: true,
      adopt: true,
    });
    expect(judgeUpdate(held, held)).toEqual({ ok: true, adopt: false });
    expect(judgeUpdate(held, { ...held, eol_ms: 9 })).toEqual({ ok: true, adopt: false });
    expect(judgeUpdate(held, { ...held, eol_ms: 11 })).toEqual({ ok: true, adopt: true });
    expect(judgeUpdate(held, { ...held, sequence: 4n })).toEqual({ ok: false, code: 'record_outdated' });
    expect(judgeUpdate(held, { ...held, value: '/ipfs/b' })).toEqual({ ok: false, code: 'record_conflict' });
  });
});

it('backoff doubles from 30 s to 1 h, with full jitter, and waits at least as long as it is asked to', () => {
  const most = (failures: number) => backoff(failures, 1 - 1e-9);
  expect([1, 2, 3, 7, 8, 100].map(most)).toEqual([30, 60, 120, 1_920, 3_600, 3_600].map((s) => s * 1_000 - 1));
  expect(backoff(5, 0)).toBe(0);
  expect(backoff(1, 0, 90_000)).toBe(90_000);
  expect(backoff(1, 0, 90_000_000)).toBe(HOUR_MS);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1_000 }), chance, fc.integer(), (failures, jitter, asked) => {
      const wait_ms = backoff(failures, jitter, asked);
      expect(wait_ms).toBeGreaterThanOrEqual(0);
      expect(wait_ms).toBeLessThanOrEqual(HOUR_MS);
    }),
  );
});
