import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

// Tests start some hundred daemons, each of which would strip and compile the same modules. No daemon in earnest does this: what
// lies on a disk that the host can write to is not run.
process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, 'node_modules', '.cache', 'aegis-tests');

export default defineConfig({
  test: {
    include: ['{actors,bench,client,config,daemon,workers,test}/**/*.test.ts'],
    exclude: ['**/*.long.test.ts', 'node_modules/**'],
    globalSetup: 'test/run.ts',
    // Each ends what hangs, and no more: a machine that does much else takes ten times as long.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    // One more than cores of the machines that this is for: many tests wait for a disk, a timer or another process.
    maxWorkers: 3,
  },
});
