import { existsSync, rmSync } from 'node:fs';
import type { TestProject } from 'vitest/node';
import { compileInto } from './build.ts';

/** Once a run: the code for threads and child processes. Afterwards the folder of this run goes, with what tests may have left in it. */
export default function setup(project: TestProject): () => void {
  const { STILLPOINT_RUN: folder, STILLPOINT_BUILD: build } = process.env as Record<string, string>;
  const compile = () => {
    rmSync(build!, { recursive: true, force: true });
    compileInto(build!);
  };
  if (!existsSync(build!)) compile(); // each project of the runner calls this
  project.onTestsRerun(compile);
  return () => rmSync(folder!, { recursive: true, force: true });
}
