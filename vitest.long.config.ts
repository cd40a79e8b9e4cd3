import { globSync, readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

const tests = globSync('{actors,bench,client,config,daemon,workers,test}/**/*.test.ts', { cwd: import.meta.dirname });
const isLong = (file: string) => file.endsWith('.long.test.ts') || /\/long\.ts'/.test(readFileSync(file, 'utf8'));

// The larger counts of `npm run test:long`; their results go into the notes of a release.
export default defineConfig({
  test: {
    include: tests.filter(isLong),
    globalSetup: 'test/run.ts',
    env: { AEGIS_LONG: '1' },
    testTimeout: 7_200_000,
    hookTimeout: 900_000,
    maxWorkers: 1,
    disableConsoleIntercept: true,
  },
});
