import { expect, it } from 'vitest';
import { crash } from './crash.ts';
import { seeded } from './seed.ts';

const KILLS = 1_000;

it(`loses, doubles and reorders nothing when it is killed ${KILLS} times under load`, {
  timeout: 7_200_000,
}, async () => {
  const outcome = await crash(KILLS, seeded(1));
  process.stdout.write(`${JSON.stringify({ ...outcome, broken: outcome.broken.length })}\n`);
  expect(outcome.broken).toEqual([]);
});

it('does not either when it is killed 50 times in the middle of rotations', { timeout: 7_200_000 }, async () => {
  const outcome = await crash(50, seeded(4), { rotating: true });
  process.stdout.write(`${JSON.stringify({ ...outcome, broken: outcome.broken.length })}\n`);
  expect(outcome.broken).toEqual([]);
  expect(outcome.cut_short).toBeGreaterThan(1);
  expect(outcome.epochs).toBeGreaterThan(3);
});
