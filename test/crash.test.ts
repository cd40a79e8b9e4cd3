import { expect, it } from 'vitest';
import { crash } from './crash.ts';
import { seeded } from './seed.ts';

it('loses, doubles and reorders nothing when it is killed 12 times under load', { timeout: 300_000 }, async () => {
  const outcome = await crash(12, seeded(20_261_121));
  expect(outcome.broken).toEqual([]);
  expect(outcome.receipts).toBeGreaterThan(12 * 10);
  expect(outcome.batches).toBeGreaterThan(12);
});

it('does not either when it is killed 3 times in the middle of rotations', { timeout: 600_000 }, async () => {
  const outcome = await crash(3, seeded(4), { rotating: true });
  expect(outcome.broken).toEqual([]);
  expect(outcome.epochs).toBeGreaterThan(1);
  expect(outcome.receipts).toBeGreaterThan(3 * 10);
});
