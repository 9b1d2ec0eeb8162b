import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Real child processes and real disks: generous limits, so that a slow machine never decides a test.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
  },
});
