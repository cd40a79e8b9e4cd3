// `aegisd demo --tee dstack`, as an operator runs it: two simulated guest agents, a witness in a second process, and what a stranger
// makes of the batch files that are kept.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { run } from '../demo/child.ts';

it('gives every batch two evidences, which hold under both roots, not without, and not swapped', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-teedemo-'));
  try {
    const args = ['demo', '--tee', 'dstack', '--transactions', '20', '--keep', folder, '--json'];
    const { code, stdout, stderr } = await run(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const report = JSON.parse(stdout) as { batches: string[]; witnessed: number };
    expect(report).toMatchObject({
      transactions: 20,
      refused: 0,
      verified: true,
      refuses: { without_roots: true, one_root: true, swapped: true },
    });
    expect(report.witnessed).toBe(report.batches.length);
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(['batch-0.json', 'policy.json', 'witness.log']));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 180_000);
