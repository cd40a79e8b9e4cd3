// `aegisd demo --epochs` as whoever tries the project runs it: a fresh process, whose answer and exit code are the verdict.
import { expect, it } from 'vitest';
import { run } from '../demo/child.ts';

it('rotates, is killed, and holds every check', { timeout: 600_000 }, async () => {
  const { code, stdout, stderr } = await run(['demo', '--epochs', '--json']);
  expect(stderr).toBe('');
  const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: { what: string; held: boolean }[] };
  const what = checks.map((check) => check.what);
  for (const epoch of [2, 3, 4, 5, 6]) expect(what).toContain(`epoch ${epoch} is active under a verified quote`);
  expect(what).toContain('every batch of every epoch verifies');
  expect(what).toContain('nothing of an old epoch is taken');
  expect([code, ok]).toEqual([0, true]);
});
