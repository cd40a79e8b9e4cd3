import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{actors,bench,client,config,daemon,workers,test}/**/*.test.ts'],
    exclude: ['**/*.long.test.ts', 'node_modules/**'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
});
