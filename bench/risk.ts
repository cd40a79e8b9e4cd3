// How long it takes to assess 10,000 indicators, which is the most that may be kept, beside one pass that only adds them up; and
// to explain the hundred heaviest of them.
import { type Threat, threatOf } from '../actors/indicator.ts';
import { assess, explain } from '../actors/risk.ts';
import { CATEGORIES, ERAS } from '../actors/words.ts';
import { type Figure, median, time } from './figure.ts';

const COUNT = 10_000;
const ROUNDS = 51;
const NOW_MS = Date.parse('2026-06-01T00:00:00.000Z');
const DAY_MS = 86_400_000;
const AT = { now_ms: NOW_MS, half_life_ms: 180 * DAY_MS, era: 'nisq' } as const;

export async function run(): Promise<Figure[]> {
  const threats = Array.from({ length: COUNT }, (_, i): Threat => {
    const said = {
      ...{
        category: CATEGORIES[i % CATEGORIES.length]!,
        sub_category: `scheme ${i % 997}`,
        source: `source ${i % 89}`,
      },
      ...{ severity: ((i * 37) % 1000) / 1000, confidence: ((i * 61) % 1000) / 1000, era_relevance: ERAS[i % 3]! },
      ...{ timestamp: new Date(NOW_MS - (i % 700) * DAY_MS).toISOString(), description: 'An attack.', references: [] },
    };
    return threatOf(said, 'operator', String((i * 7919) % COUNT));
  });
  const whole: number[] = [];
  const bare: number[] = [];
  const explained: number[] = [];
  let sum = 0;
  for (let round = 0; round < ROUNDS; round++) {
    whole.push(time(() => assess(threats, AT)));
    bare.push(
      time(() => {
        for (const { severity, confidence } of threats) sum += severity * confidence;
      }),
    );
  }
  const assessed = assess(threats, AT);
  for (let round = 0; round < ROUNDS; round++) explained.push(time(() => explain(assessed, AT, 100)));
  if (sum === 0) throw new Error('the pass was not made');
  const value = median(whole);
  const floor = median(bare);
  return [
    {
      name: 'assess 10,000 indicators',
      value,
      unit: 'ms',
      floor,
      ratio: value / floor,
      reach: '< 10 ms',
      met: value < 10,
    },
    { name: 'explain 100 of 10,000 indicators', value: median(explained), unit: 'ms' },
  ];
}
