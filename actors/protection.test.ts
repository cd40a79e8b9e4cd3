import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { getShortestPaths } from 'xstate/graph';
import { ASSET_EVENTS, advance, assetMachine, HYSTERESIS, holdLevel, stateAt } from './protection.ts';
import { ASSET_STATES, type AssetState } from './words.ts';

const ACCEPTED: Record<AssetState, readonly string[]> = {
  Active: ['protected', 'migration_started'],
  Protected: ['released', 'migration_started'],
  Preparing: ['checkpointed', 'rolled_back'],
  Migrating: ['completed', 'rolled_back'],
  Rollback: ['restored'],
  Migrated: [],
};

describe('the asset machine', () => {
  it('reaches every state by a shortest path, and each path can be gone step by step', () => {
    const paths = getShortestPaths(assetMachine, { events: ASSET_EVENTS.map((type) => ({ type })) });
    expect(new Set(paths.map((path) => path.state.value))).toEqual(new Set(ASSET_STATES));
    for (const path of paths) {
      const events = path.steps.map(({ event }) => event).filter(({ type }) => !type.startsWith('xstate.'));
      const end = events.reduce<AssetState>((state, event) => {
        const stepped = advance(state, event);
        expect(stepped.ok).toBe(true);
        return stepped.ok ? stepped.state : state;
      }, 'Active');
      expect(end).toBe(path.state.value);
    }
  });

  it('refuses every event that a state does not list, with a code', () => {
    for (const state of ASSET_STATES) {
      for (const type of ASSET_EVENTS) {
        const stepped = advance(state, { type });
        if (ACCEPTED[state].includes(type)) expect([state, type, stepped.ok]).toEqual([state, type, true]);
        else expect(stepped).toEqual({ ok: false, code: 'event_not_accepted' });
      }
    }
  });

  it('is where the held level says, exactly as its events would bring it there', () => {
    const kept = fc.constantFrom(...ASSET_STATES.filter((state) => state !== 'Protected'));
    fc.assert(
      fc.property(kept, fc.nat(10_000), fc.nat(10_000), (state, threshold, held) => {
        const stepped = held >= threshold ? advance(state, { type: 'protected' }) : { ok: false as const };
        expect(stateAt(state, threshold, held)).toBe(stepped.ok ? stepped.state : state);
      }),
    );
  });
});

describe('the held level', () => {
  const scores = fc.array(fc.nat(10_000), { minLength: 1, maxLength: 50 });
  const held = (all: readonly number[]) => all.reduce(holdLevel, 0);

  it('is never below the score, so protection begins at once', () => {
    fc.assert(
      fc.property(scores, (all) => {
        expect(held(all)).toBeGreaterThanOrEqual(all.at(-1)!);
      }),
    );
  });

  it('lets go of a threshold once the score is the distance below it, and not before', () => {
    fc.assert(
      fc.property(scores, fc.integer({ min: 1_000, max: 10_000 }), fc.nat(10_000), (all, threshold, last) => {
        const before = held([...all, threshold]);
        const after = holdLevel(before, last);
        if (last < threshold - HYSTERESIS) expect(after).toBeLessThan(threshold);
        else expect(after).toBeGreaterThanOrEqual(threshold);
      }),
    );
  });

  it('comes down to nothing when the risk does', () => {
    fc.assert(
      fc.property(scores, (all) => {
        expect(held([...all, 0])).toBe(0);
      }),
    );
  });

  it('switches once while the score trembles', () => {
    const levels = [4_990, 5_010, 4_995, 5_005, 4_700, 5_001].map(
      (
        (now) => (score: number) =>
          (now = holdLevel(now, score))
      )(0),
    );
    expect(levels.map((level) => level >= 5_000)).toEqual([false, true, true, true, true, true]);
  });
});
