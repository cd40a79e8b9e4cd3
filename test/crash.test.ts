// A few of the kills of crash.long.test.ts, which has those in the middle of rotations too.
import { expect, it } from 'vitest';
import { crash } from './crash.ts';
import { seeded } from './seed.ts';

it('loses, doubles and reorders nothing when it is killed 6 times under load', { timeout: 300_000 }, async () => {
  const outcome = await crash(6, seeded(20_261_121));
  expect(outcome.broken).toEqual([]);
  expect(outcome.receipts).toBeGreaterThan(6 * 10);
  expect(outcome.batches).toBeGreaterThan(6);
});
