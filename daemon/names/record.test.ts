import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { step } from '../../actors/effect.ts';
import { validityOf } from '../../actors/ipns.ts';
import { type NameEvent, nameMachine } from '../../actors/name.ts';
import { memoryStore } from '../../test/memory.ts';
import {
  advance,
  dueNames,
  type Name,
  NameTally,
  nameRecord,
  namesAgree,
  namesMeta,
  newMachine,
  placeName,
  putName,
  soonestExpiry,
} from './record.ts';

const EVENTS: readonly NameEvent[] = [
  ...(['due', 'taken', 'signed', 'sent', 'published', 'updated'] as const).map((type) => ({ type })),
  ...['a', 'b'].map((reason) => ({ type: 'failed' as const, reason })),
  { type: 'refused', reason: 'key_foreign' },
];

it('steps that are remembered are those that the machine makes', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...EVENTS), { maxLength: 40 }), (events) => {
      let kept = newMachine();
      for (const event of events) {
        const stepped = step(nameMachine, kept, event);
        if (!stepped.ok) {
          expect(() => advance(kept, event)).toThrow('accepts no');
          continue;
        }
        for (let again = 0; again < 2; again++) expect(advance(kept, event)).toEqual(stepped.snapshot);
        kept = stepped.snapshot;
      }
    }),
  );
});

describe('the schedule', () => {
  const nameOf = (n: number) => `k51-${String(n).padStart(4, '0')}`;
  const recordOf = (due_ms: number | null, eol_ms: number): Name => ({
    ...{ machine: newMachine(), due_ms, revision: 0, resolve: false, enrolled_at_ms: 0, published_at_ms: null },
    held: {
      value: '/ipfs/a',
      sequence: 2n ** 63n,
      ttl_ns: 1n,
      validity: validityOf(eol_ms),
      eol_ms,
      record: new Uint8Array(3),
    },
  });
  async function storeOf(rows: readonly (readonly [due_ms: number | null, eol_ms: number])[]) {
    const { store } = memoryStore(() => false).live();
    await store.commit((tx) => {
      for (const [n, [due, eol]] of rows.entries()) putName(tx, nameOf(n), undefined, recordOf(due, eol));
    });
    return store;
  }
  const nobody = () => false;

  it('gives who is due, the nearest end of life first, less those who are under way', async () => {
    const store = await storeOf([
      [5, 30],
      [5, 10],
      [6, 1],
      [1, 20],
      [null, 0],
    ]);
    expect(dueNames(store, 5, nobody, { limit: 10 })).toEqual([1, 3, 0].map(nameOf));
    expect(dueNames(store, 5, (name) => name === nameOf(3), { limit: 10 })).toEqual([1, 0].map(nameOf));
    expect(dueNames(store, 0, nobody, { limit: 10 })).toEqual([]);
    expect(soonestExpiry(store)).toBe(1);
  });

  it('when too many are due takes the most urgent of them, whatever lies around them', async () => {
    const rows = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 50 })), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(rows, fc.integer({ min: 1, max: 5 }), async (all, limit) => {
        const store = await storeOf(all);
        const found = dueNames(store, 1, nobody, { limit });
        const again = dueNames(store, 1, nobody, { limit, behind: true });
        expect(again.toSorted()).toEqual(found.toSorted());
        const due = all.flatMap(([at, eol], n) => (at <= 1 ? [{ name: nameOf(n), eol }] : []));
        const ends = (names: readonly string[]) => names.map((name) => due.find((each) => each.name === name)!.eol);
        expect(ends(again)).toEqual(ends(found));
        expect(found.length).toBe(Math.min(limit, due.length));
        expect(new Set(found).size).toBe(found.length);
        for (const name of found) expect(due.map((each) => each.name)).toContain(name);
        if (due.length > 0 && all.length <= 2 * limit) {
          const soonest = Math.min(...due.map(({ eol }) => eol));
          expect(due.find(({ name }) => name === found[0])!.eol).toBe(soonest);
        }
      }),
    );
  });

  it('agrees with records and counts whatever is put, changed and removed', async () => {
    const acts = fc.array(
      fc.record({
        n: fc.integer({ min: 0, max: 5 }),
        due: fc.option(fc.integer({ min: 0, max: 9 })),
        eol: fc.integer({ min: -5, max: 9 }),
        remove: fc.boolean(),
      }),
    );
    await fc.assert(
      fc.asyncProperty(acts, async (all) => {
        const store = await storeOf([]);
        let told = 0;
        for (const { n, due, eol, remove } of all) {
          await store.commit((tx) => {
            const before = nameRecord(tx, nameOf(n));
            if (remove && before === undefined) return;
            const tally = new NameTally();
            placeName(tx, nameOf(n), before, remove ? undefined : recordOf(due, eol), tally);
            // Another one beside it in the same step.
            placeName(tx, nameOf(6), nameRecord(tx, nameOf(6)), recordOf(due, eol), tally);
            tally.tell(['due', 'due'], 7);
            tally.write(tx);
            told += 2;
          });
          expect(namesMeta(store)).toMatchObject(told === 0 ? {} : { totals: { due: told }, last_run_at_ms: 7 });
          expect(namesAgree(store)).toBe(true);
        }
        const { counts } = namesMeta(store);
        expect(Object.values(counts).every((count) => count >= 0)).toBe(true);
      }),
    );
  });
});
