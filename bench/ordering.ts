// How long it takes to order 10,000 pending envelopes into a batch of 50, beside one pass over them that only adds up.
import { type OrderingPolicy, order, type Pending } from '../actors/ordering.ts';
import { type Figure, median, time } from './figure.ts';

const POLICY: OrderingPolicy = {
  mode: 'hybrid',
  risk_weight: 100,
  requires_pqc_weight: 1000,
  requires_tee_weight: 2000,
  migration_weight: 5000,
  fee_weight: 1,
  fee_score_max: 1000,
  age_max_cuts: 40,
};
const ROUNDS = 101;

export async function run(): Promise<Figure[]> {
  const pending: Pending[] = Array.from({ length: 10_000 }, (_, i) => ({
    envelope_id: `0x${i.toString(16).padStart(64, '0')}`,
    admission_sequence: i,
    admitted_cut: i % 60,
    order_by: 1_000,
    bytes: 1_300,
    fee_gwei: (i * 7919) % 1200,
    risk_level: (i * 31) % 10_000,
    requires_migration: i % 97 === 0,
    assets: { risk: (i * 17) % 10_000, requires_pqc: i % 3, requires_tee: i % 2 },
  }));
  const whole: number[] = [];
  const bare: number[] = [];
  let sum = 0;
  for (let round = 0; round < ROUNDS; round++) {
    whole.push(time(() => order(pending, POLICY, 50, 50)));
    bare.push(
      time(() => {
        for (const entry of pending) sum += entry.fee_gwei + Math.min(entry.risk_level, entry.assets.risk);
      }),
    );
  }
  if (sum === 0) throw new Error('the pass was not made');
  const value = median(whole);
  const floor = median(bare);
  const name = 'order 10,000 pending into 50';
  return [{ name, value, unit: 'ms', floor, ratio: value / floor, reach: '< 5 ms', met: value < 5 }];
}
