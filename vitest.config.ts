import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{actors,bench,client,config,daemon,workers,test}/**/*.test.ts'],
    exclude: ['**/*.long.test.ts', 'node_modules/**'],
    // Each ends what hangs, and no more: a machine that does much else takes ten times as long.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    maxWorkers: 2,
  },
});
