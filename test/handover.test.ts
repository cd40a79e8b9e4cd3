// Two real processes: state goes from one to the other, and SIGKILL comes in between. All moments are in handover.long.test.ts.
import { expect, it } from 'vitest';
import { handOver, type Kill } from './handover.ts';
import { LONG } from './long.ts';

const DISTURBANCES: [what: string, kill: Kill | undefined][] = [
  [
    'with SIGKILL for the predecessor when it was told that all is taken',
    { side: 'old', path: '/handover/accept', moment: 'after' },
  ],
  [
    'with SIGKILL for the successor before it has all',
    { side: 'new', path: '/handover/chunk', moment: 'before', nth: 3 },
  ],
  ['without a disturbance', undefined],
];

it.each(LONG ? DISTURBANCES : DISTURBANCES.slice(0, 1))('a handover between two processes, %s', async (_what, kill) => {
  const outcome = await handOver({ pending: 200, assets: 100, ...(kill && { kill }) });
  expect(outcome).toMatchObject({ killed: kill !== undefined, broken: [] });
});
