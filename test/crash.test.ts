import { expect, it } from 'vitest';
import { crash } from './crash.ts';
import { seeded } from './seed.ts';

it('loses, doubles and reorders nothing when it is killed 30 times under load', { timeout: 300_000 }, async () => {
  const outcome = await crash(30, seeded(20_261_121));
  expect(outcome.broken).toEqual([]);
  expect(outcome.receipts).toBeGreaterThan(30 * 10);
  expect(outcome.batches).toBeGreaterThan(30);
});

it('does not either when it is killed 5 times in the middle of rotations', { timeout: 600_000 }, async () => {
  const outcome = await crash(5, seeded(4), { rotating: true });
  expect(outcome.broken).toEqual([]);
  expect(outcome.epochs).toBeGreaterThan(1);
  expect(outcome.receipts).toBeGreaterThan(5 * 10);
});
