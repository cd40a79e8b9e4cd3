import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { adapted, Chunks, RouterLimit, refilled } from './limit.ts';

const never = new AbortController().signal;

describe('the limit of requests in flight', () => {
  it('halves when it goes badly, grows by one in a round that goes well, and stays within its bounds', () => {
    expect(adapted(32, 'badly', 32)).toBe(16);
    expect(adapted(1, 'badly', 32)).toBe(1);
    expect(adapted(32, 'well', 32)).toBe(32);
    let limit = 4;
    for (let request = 0; request < 4; request++) limit = adapted(limit, 'well', 32);
    expect(limit).toBeGreaterThan(4.9);
    expect(limit).toBeLessThanOrEqual(5);
    const loads = fc.array(fc.constantFrom('well' as const, 'badly' as const));
    fc.assert(
      fc.property(loads, fc.integer({ min: 1, max: 256 }), (all, most) => {
        const after = all.reduce((now, load) => adapted(now, load, most), most);
        expect(after).toBeGreaterThanOrEqual(1);
        expect(after).toBeLessThanOrEqual(most);
      }),
    );
  });

  it('lets no more through at once, keeps their order, and sinks by what fails', async () => {
    const limit = new RouterLimit(() => ({ requests_per_s: 100_000, in_flight_max: 2 }));
    const began: number[] = [];
    const ends = [0, 1, 2].map(() => Promise.withResolvers<void>());
    const passed = ends.map(({ promise }, i) =>
      limit.pass(
        never,
        () => {
          began.push(i);
          return promise;
        },
        () => 'badly',
      ),
    );
    await Promise.resolve();
    expect(began).toEqual([0, 1]);
    ends[0]!.resolve();
    ends[1]!.resolve();
    await Promise.all(passed.slice(0, 2));
    expect(limit.limit).toBe(1);
    ends[2]!.resolve();
    await Promise.all(passed);
    expect(began).toEqual([0, 1, 2]);
  });

  it('lets go of who gives up waiting, and goes on after a request that throws', async () => {
    const limit = new RouterLimit(() => ({ requests_per_s: 100_000, in_flight_max: 1 }));
    const first = Promise.withResolvers<void>();
    const running = limit.pass(
      never,
      () => first.promise,
      () => 'well',
    );
    const gone = new AbortController();
    const waiting = limit.pass(
      gone.signal,
      async () => 'never',
      () => 'well',
    );
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    first.reject(new Error('broken'));
    await expect(running).rejects.toThrow('broken');
    expect(
      await limit.pass(
        never,
        async () => 'next',
        () => 'well',
      ),
    ).toBe('next');
    await expect(
      limit.pass(
        gone.signal,
        async () => '',
        () => 'well',
      ),
    ).rejects.toThrow('gone');
  });
});

it('the bucket fills with time up to a second’s worth, and never below one request', () => {
  expect(refilled(0, 500, 10)).toBe(5);
  expect(refilled(0, 60_000, 10)).toBe(10);
  expect(refilled(0.5, 0, 10)).toBe(0.5);
});

describe('chunks', () => {
  it('gather what comes in one turn up to their size, and answer each row its own', async () => {
    const sizes: number[] = [];
    const chunks = new Chunks<number, number>(4, async (rows) => {
      sizes.push(rows.length);
      return rows.map((row) => 2 * row);
    });
    const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => chunks.add(n)));
    expect(answers).toEqual(Array.from({ length: 10 }, (_, n) => 2 * n));
    expect(sizes).toEqual([4, 4, 2]);
    expect(await chunks.add(21)).toBe(42);
  });

  it('wait for what comes later, where they are told to, and no longer than until they are full', async () => {
    const sizes: number[] = [];
    const perform = async (rows: readonly number[]) => {
      sizes.push(rows.length);
      return rows;
    };
    const patient = new Chunks<number, number>(2, perform, 60_000);
    const first = patient.add(1);
    await nextTurn();
    await nextTurn();
    expect(await Promise.all([first, patient.add(2)])).toEqual([1, 2]);
    expect(sizes).toEqual([2]);
    // Nobody else comes.
    expect(await new Chunks<number, number>(2, perform, 1).add(3)).toBe(3);
  });

  it('fail for those who were in them, and for nobody else', async () => {
    const chunks = new Chunks<number, number>(2, async (rows) => {
      if (rows.includes(1)) throw new Error('broken');
      return [...rows];
    });
    const settled = await Promise.allSettled([0, 1, 2, 3].map((n) => chunks.add(n)));
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled', 'fulfilled']);
  });
});
