import { expect, it } from 'vitest';
import { assess } from '../../actors/risk.ts';
import { type Sight, seen } from './eyes.ts';

const DAY_MS = 86_400_000;
const NOW_MS = Date.parse('2026-06-01T12:00:00.000Z');
const healthy: Sight = {
  attestation: { status: 'UpToDate', advisory_ids: [], not_after_ms: NOW_MS + DAY_MS },
  quote_lifetime_ms: DAY_MS,
  signature_failed_ms: undefined,
};
const at = (status: string, advisory_ids: readonly string[] = []): Sight => ({
  ...healthy,
  attestation: { status, advisory_ids, not_after_ms: NOW_MS + DAY_MS },
});
const ids = (sight: Sight, now_ms = NOW_MS) => seen(sight, now_ms).map(({ id }) => id);
const score = (sight: Sight, now_ms = NOW_MS) =>
  assess(seen(sight, now_ms), { now_ms, half_life_ms: 180 * DAY_MS, era: 'nisq' }).score;

it('a healthy platform, and one that has not quoted yet, are nothing', () => {
  expect(ids(healthy)).toEqual([]);
  expect(ids({ ...healthy, attestation: undefined })).toEqual([]);
});

it('a worse TCB status weighs more, names its advisories, and is seen anew each day', () => {
  const [threat] = seen(at('OutOfDate', ['INTEL-SA-00828']), NOW_MS);
  expect(threat).toMatchObject({
    ...{ id: 'daemon/tcb-status', category: 'side_channel', timestamp: '2026-06-01T00:00:00.000Z' },
    ...{ references: ['INTEL-SA-00828'], description: "The platform's TCB status is OutOfDate." },
  });
  expect(seen(at('OutOfDate', ['INTEL-SA-00828']), NOW_MS + 1000)).toEqual([threat]);
  expect(seen(at('OutOfDate'), NOW_MS + DAY_MS)[0]!.at_ms).toBe(threat!.at_ms + DAY_MS);
  const rising = ['UpToDate', 'SWHardeningNeeded', 'ConfigurationAndSWHardeningNeeded', 'OutOfDate', 'Revoked'];
  const scores = rising.map((status) => score(at(status)));
  expect(scores).toEqual([...new Set(scores)].sort((a, b) => a - b));
  expect(score(at('SomethingNew'))).toBe(score(at('OutOfDate')));
});

it('an attestation that is not renewed shows in its last eighth, and more once it has ended', () => {
  const ends_ms = NOW_MS + DAY_MS;
  expect(ids(healthy, ends_ms - DAY_MS / 8 - 1)).toEqual([]);
  expect(ids(healthy, ends_ms - DAY_MS / 8)).toEqual(['daemon/attestation-age']);
  expect(score(healthy, ends_ms)).toBeGreaterThan(score(healthy, ends_ms - 1));
});

it('a signature of its own that fails its check schedules a rotation by itself', () => {
  const failed = { ...healthy, signature_failed_ms: NOW_MS };
  expect(ids(failed)).toEqual(['daemon/signature-check']);
  expect(score(failed)).toBeGreaterThanOrEqual(6000);
  expect(score(failed)).toBeLessThan(9000);
});
