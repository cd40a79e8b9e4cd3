import { expect, it } from 'vitest';
import { crash } from './crash.ts';
import { seeded } from './seed.ts';

it('loses, doubles and reorders nothing when it is killed 6 times under load', { timeout: 300_000 }, async () => {
  const outcome = await crash(6, seeded(20_261_121));
  expect(outcome.broken).toEqual([]);
  expect(outcome.receipts).toBeGreaterThan(6 * 10);
  expect(outcome.batches).toBeGreaterThan(6);
});

it('does not either when it is killed twice in the middle of rotations', { timeout: 600_000 }, async () => {
  const outcome = await crash(2, seeded(4), { rotating: true });
  expect(outcome.broken).toEqual([]);
  expect(outcome.epochs).toBeGreaterThan(1);
  expect(outcome.receipts).toBeGreaterThan(2 * 10);
});
