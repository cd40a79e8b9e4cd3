// SIGKILL for either process at every message of a handover, before it comes and before its answer does; and as much state as an enclave
// may have.
import { expect, it } from 'vitest';
import { handOver, type Kill } from './handover.ts';

const MESSAGES = ['/handover/hello', '/handover/open', '/handover/chunk', '/handover/accept', '/handover'];
const KILLS = (['old', 'new'] as const).flatMap((side) =>
  MESSAGES.flatMap((path) => (['before', 'after'] as const).map((moment): Kill => ({ side, path, moment }))),
);

it.each(KILLS)('SIGKILL for the $side one, $moment $path', async (kill) => {
  expect(await handOver({ pending: 100, assets: 50, kill })).toMatchObject({ killed: true, broken: [] });
});

it.each([
  [10_000, 10_000],
  [100_000, 100_000],
])('%i pending envelopes and %i assets', async (pending, assets) => {
  expect(await handOver({ pending, assets })).toMatchObject({ broken: [] });
});
