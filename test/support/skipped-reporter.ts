import type { Reporter, TestModule, Vitest } from 'vitest/node';

/** Lists at the end which tests were skipped, and why. */
export default class SkippedReporter implements Reporter {
  #isFiltered = false;

  onInit({ config }: Vitest): void {
    this.#isFiltered = config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    if (this.#isFiltered) return;
    for (const { relativeModuleId, children } of modules) {
      for (const test of children.allTests('skipped')) {
        const result = test.result();
        const note = (result.state === 'skipped' && result.note) || '';
        console.log(`skipped: ${relativeModuleId}: ${test.fullName}${note && `: ${note}`}`);
      }
    }
  }
}
