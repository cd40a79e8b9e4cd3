import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ORDERING_MODES } from './batch.ts';
import { CIPHERTEXT_BYTES_MAX } from './envelope.ts';
import {
  BATCH_BYTES_MAX,
  feeGwei,
  fitting,
  NO_ASSETS,
  type OrderingPolicy,
  order,
  orderByHeight,
  type Pending,
  score,
} from './ordering.ts';

const policy: OrderingPolicy = {
  mode: 'hybrid',
  risk_weight: 100,
  requires_pqc_weight: 1000,
  requires_tee_weight: 2000,
  migration_weight: 5000,
  fee_weight: 1,
  fee_score_max: 1000,
  age_max_cuts: 40,
};

const pending = (admission_sequence: number, fields: Partial<Pending> = {}): Pending => ({
  envelope_id: `0x${admission_sequence}`,
  admission_sequence,
  admitted_cut: 0,
  order_by: Number.MAX_SAFE_INTEGER,
  bytes: 0,
  fee_gwei: 0,
  risk_level: 0,
  requires_migration: false,
  assets: NO_ASSETS,
  ...fields,
});

const anyPending = fc
  .record({
    admitted_cut: fc.nat(100),
    order_by: fc.nat(1_000),
    fee_gwei: fc.nat(2000),
    risk_level: fc.nat(10_000),
    requires_migration: fc.boolean(),
    assets: fc.record({ risk: fc.nat(10_000), requires_pqc: fc.nat(16), requires_tee: fc.nat(16) }),
  })
  .map((fields) => fields);
const anyQueue = fc.array(anyPending, { maxLength: 60 }).map((all) => all.map((fields, i) => pending(i, fields)));

describe('score', () => {
  // Golden: the formula of the upstream, which users know: risk·100 + 1000 pqc + 2000 tee + 5000 migration + fee.
  it.each([
    ['hybrid', { fee_gwei: 7 }, 7],
    ['hybrid', { fee_gwei: 5000 }, 1000],
    ['hybrid', { risk_level: 50, assets: { risk: 80, requires_pqc: 2, requires_tee: 1 } }, 5000 + 2000 + 2000],
    ['hybrid', { risk_level: 80, assets: { risk: 50, requires_pqc: 0, requires_tee: 0 } }, 5000],
    ['hybrid', { risk_level: 10_000 }, 0],
    ['hybrid', { requires_migration: true, fee_gwei: 3 }, 5003],
    ['risk_aware', { risk_level: 2, assets: { risk: 9, requires_pqc: 3, requires_tee: 3 }, fee_gwei: 4 }, 2 * 1001 + 4],
    ['asset_protection', { risk_level: 2, assets: { risk: 9, requires_pqc: 1, requires_tee: 1 } }, 3000 * 1001],
    ['migration_aware', { requires_migration: true, fee_gwei: 9 }, 1001 * 10_001 + 9],
  ] as const)('%s %o = %d', (mode, fields, expected) => {
    expect(score(pending(1, fields), { ...policy, mode })).toBe(expected);
  });

  it('is a safe integer at every limit', () => {
    const most = pending(1, {
      fee_gwei: Number.MAX_SAFE_INTEGER,
      risk_level: 10_000,
      requires_migration: true,
      assets: { risk: 10_000, requires_pqc: 16, requires_tee: 16 },
    });
    for (const mode of ORDERING_MODES) {
      expect(Number.isSafeInteger(score(most, { ...policy, mode, fee_score_max: 1_000_000 }))).toBe(true);
    }
  });
});

describe('order', () => {
  it('does not depend on arrival, and agrees with a full sort', () => {
    fc.assert(
      fc.property(anyQueue, fc.nat(60), fc.nat(150), fc.constantFrom(...ORDERING_MODES), (queue, count, cut, mode) => {
        const by = { ...policy, mode };
        const due = (entry: Pending) => cut >= entry.order_by;
        const rank = (entry: Pending) => (due(entry) ? 2 : cut - entry.admitted_cut >= by.age_max_cuts ? 1 : 0);
        const sorted = [...queue].sort((a, b) => {
          const difference = rank(b) - rank(a) || (rank(a) > 0 ? 0 : score(b, by) - score(a, by));
          return difference || a.admission_sequence - b.admission_sequence;
        });
        const expected = sorted.slice(0, Math.max(count, queue.filter(due).length));
        expect(order(queue, by, cut, count)).toEqual(expected);
        expect(order([...queue].reverse(), by, cut, count)).toEqual(expected);
      }),
    );
  });

  it('keeps the promise of the receipt under a flood that always pays more', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 30 }),
        fc.nat(40),
        (batch_size, rush, before) => {
          const by = { ...policy, age_max_cuts: 5 };
          let sequence = 0;
          let queue: Pending[] = [];
          let cut = 0;
          const admit = (count: number, fee_gwei: number) => {
            for (let i = 0; i < count; i++) queue.push(pending(sequence++, { admitted_cut: cut, fee_gwei }));
          };
          admit(before, 1000);
          const promised = orderByHeight(cut, queue.length, batch_size, by.age_max_cuts);
          const id = sequence;
          admit(1, 0);
          for (;;) {
            const taken = new Set(order(queue, by, cut, batch_size));
            if ([...taken].some((entry) => entry.admission_sequence === id)) break;
            queue = queue.filter((entry) => !taken.has(entry));
            cut += 1;
            expect(cut).toBeLessThanOrEqual(promised);
            admit(rush, 1000);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('fitting', () => {
  it('is the longest beginning within the bytes, and never empty', () => {
    const sizes = fc.array(fc.nat(100), { maxLength: 20 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: -10, max: 500 }), (bytes, bytes_max) => {
        const ordered = bytes.map((size, i) => pending(i, { bytes: size }));
        const fits = (n: number) => n <= 1 || bytes.slice(0, n).reduce((a, b) => a + b, 0) <= bytes_max;
        const longest = ordered.map((_, i) => i + 1).filter(fits);
        expect(fitting(ordered, bytes_max)).toEqual(ordered.slice(0, Math.max(0, ...longest)));
      }),
    );
  });

  it('is what the promise of a receipt counts on', () => {
    const largest = Array.from({ length: 400 }, (_, i) => pending(i, { bytes: CIPHERTEXT_BYTES_MAX }));
    const count = fitting(largest, BATCH_BYTES_MAX).length;
    expect(orderByHeight(0, 400, 10_000, 0)).toBe(Math.floor(400 / count));
  });
});

describe('feeGwei', () => {
  it.each([
    ['0', 0],
    ['999999999', 0],
    ['1000000000', 1],
    [(2n ** 256n - 1n).toString(), Number.MAX_SAFE_INTEGER],
  ])('%s wei', (wei, gwei) => expect(feeGwei(wei)).toBe(gwei));
});
