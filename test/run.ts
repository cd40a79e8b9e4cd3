// Around one run of the tests: a folder for what its files share (founded.ts), which goes with it. Vitest's `globalSetup`.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** In the environment of the test files' processes. */
export const SHARED = 'AEGIS_TEST_SHARED';

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-run-'));
  process.env[SHARED] = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
