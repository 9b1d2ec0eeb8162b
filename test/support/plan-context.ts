import { join } from 'node:path';
import type { PlanContext } from '../../src/engine/engine.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { Pins } from '../../src/snapshot/capture/pins.ts';
import { temporaryFolder } from './temp.ts';

export interface PinningContext {
  readonly pins: Pins;
  readonly context: PlanContext;
}

/** What a capture gives an engine to plan with; its pins are real ones. */
export async function planContext(fs: FileSystem, dir: string): Promise<PinningContext> {
  const folder = join(await temporaryFolder(), 'pins');
  await nodeFileSystem.makeFolder(folder);
  const pins = new Pins(nodeFileSystem, dir, folder);
  const context: PlanContext = {
    fs,
    dir,
    pin: (path) => pins.pin(path),
    confirmPin: (path) => pins.confirm(path),
    expectFiles() {},
    checkCancelled() {},
  };
  return { pins, context };
}
