import { defineConfig } from 'vitest/config';

// The larger counts of `npm run test:long`; their results go into the notes of a release.
export default defineConfig({
  test: {
    include: ['{actors,bench,client,config,daemon,workers,test}/**/*.long.test.ts'],
    testTimeout: 7_200_000,
    maxWorkers: 1,
    disableConsoleIntercept: true,
  },
});
