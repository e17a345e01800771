import { defineConfig } from 'vitest/config'

/** One project for everything that runs in Node; browser tests drive a real chromium through playwright-core, so they are Node tests too. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'test/**/*.test.tsx'],
    exclude: ['node_modules/**'],
    pool: 'forks', // onnxruntime and better-sqlite3 are native: a crash must not take the runner down
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 180_000,
  },
})
