import { describe, expect, it } from 'vitest';
import { Budget, Turns } from './budget.ts';

describe('a budget', () => {
  it('is spent for a client at its share, and for all at the whole', () => {
    const budget = new Budget(100, 40);
    budget.take('a', 39);
    expect(budget.isSpent('a')).toBe(false);
    budget.take('a', 30);
    expect([budget.isSpent('a'), budget.isSpent('b')]).toEqual([true, false]);
    budget.take('b', 31);
    expect(budget.isSpent('c')).toBe(true);
    budget.give('a', 30);
    expect([budget.isSpent('a'), budget.isSpent('c')]).toEqual([false, false]);
    budget.give('a', 39);
    budget.give('b', 31);
    expect(budget.held).toBe(0);
  });

  it('does not count who came through the socket', () => {
    const budget = new Budget(1, 1);
    budget.take(undefined, 10);
    expect([budget.held, budget.isSpent(undefined), budget.isSpent('a')]).toEqual([0, false, false]);
    budget.take('a', 1);
    expect(budget.isSpent(undefined)).toBe(false);
  });
});

describe('turns', () => {
  it('come one after the other, in order', async () => {
    const turns = new Turns();
    const seen: string[] = [];
    const work = async (name: string) => {
      const end = await turns.take(name);
      seen.push(`${name} begins`);
      await Promise.resolve();
      seen.push(`${name} ends`);
      end!();
      end!();
    };
    await Promise.all(['a', 'b', 'c'].map(work));
    expect(seen).toEqual(['a', 'b', 'c'].flatMap((name) => [`${name} begins`, `${name} ends`]));
  });

  it('bound what one client puts before the others', async () => {
    const turns = new Turns();
    const held = await turns.take('a');
    const mine = Array.from({ length: 17 }, () => turns.take('a'));
    expect(await mine.at(-1)).toBeUndefined();
    const other = turns.take('b');
    const owner = turns.take(undefined);
    held!();
    for (const turn of mine.slice(0, -1)) (await turn)!();
    (await other)!();
    (await owner)!();
    (await turns.take('a'))!();
  });
});
