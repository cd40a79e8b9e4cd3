// A demand that is made again after a crash, wherever in a rotation it came: never a second epoch for one decision.
import { expect, it } from 'vitest';
import type { RotationRecord } from '../records.ts';
import type { RotationOutcome, Wish } from '../rotator.ts';
import type { Reader } from '../store.ts';
import { demandRotation } from './demand.ts';

const record = (first_height: number | null): RotationRecord => ({
  ...{ from_epoch: 1, to_epoch: 2, reason: 'risk', announced_at_ms: 0, at_height: 7, deadline_ms: 0 },
  ...{ first_height, executed_at_ms: first_height === null ? null : 1 },
});
const store = (found: RotationRecord | undefined): Reader => ({
  get: ((table: string, key: number) => (table === 'rotations' && key === 2 ? found : undefined)) as never,
  range: () => [],
  count: () => 0,
});

function rotator(outcome: RotationOutcome) {
  const wishes: Wish[] = [];
  const rotate = async (wish: Wish) => {
    wishes.push(wish);
    return outcome;
  };
  return { wishes, rotate };
}
const announced: RotationOutcome = { ok: true, rotation: record(null) };

it.each(['scheduled', 'emergency'] as const)('nothing is there: a %s rotation is announced', async (urgency) => {
  const { wishes, rotate } = rotator(announced);
  const rotated = await demandRotation(store(undefined), { to_epoch: 2, urgency }, rotate);
  expect(rotated).toEqual({ epoch: 2, at_height: 7 });
  expect(wishes).toEqual([{ reason: 'risk', urgency }]);
});

it('announced: a scheduled one is content, an emergency brings it forward', async () => {
  const calm = rotator(announced);
  expect(await demandRotation(store(record(null)), { to_epoch: 2, urgency: 'scheduled' }, calm.rotate)).toEqual({
    ...{ epoch: 2, at_height: 7 },
  });
  expect(calm.wishes).toEqual([]);
  const urgent = rotator({ ok: false, code: 'rotation_pending', rotation: record(null) });
  expect(await demandRotation(store(record(null)), { to_epoch: 2, urgency: 'emergency' }, urgent.rotate)).toEqual({
    ...{ epoch: 2, at_height: 7 },
  });
  expect(urgent.wishes).toHaveLength(1);
});

it.each(['scheduled', 'emergency'] as const)('executed: a %s one asks for no more', async (urgency) => {
  const { wishes, rotate } = rotator(announced);
  expect(await demandRotation(store(record(5)), { to_epoch: 2, urgency }, rotate)).toEqual({ epoch: 2, at_height: 5 });
  expect(wishes).toEqual([]);
});

it.each<RotationOutcome>([
  { ok: false, code: 'draining' },
  { ok: false, code: 'too_many_epochs', grace: 16 },
])('$code: it is left for the next start', async (outcome) => {
  const { rotate } = rotator(outcome);
  expect(await demandRotation(store(undefined), { to_epoch: 2, urgency: 'scheduled' }, rotate)).toBeNull();
});
