// `aegisd demo --handover` as whoever tries the project runs it: a fresh process, whose answer and exit code are the verdict.
import { expect, it } from 'vitest';
import { run } from '../demo/child.ts';

it('hands over under load, and holds every check', { timeout: 600_000 }, async () => {
  const { code, stdout, stderr } = await run(['demo', '--handover', '--json']);
  expect(stderr).toBe('');
  const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: { what: string; held: boolean }[] };
  const what = checks.map((check) => check.what);
  expect(what).toContain('nobody takes over without an order of an admin');
  expect(what).toContain('an auditor follows the log from one enclave to the other');
  expect(what).toContain('every batch of both enclaves verifies');
  expect([code, ok]).toEqual([0, true]);
});
