import { join } from 'node:path';
import type { Environment } from '../environment.ts';
import { type Capture, CapturedFiles } from './captured-files.ts';
import { Pins, sizeFindings } from './pins.ts';
import { captureChanging } from './planning-rounds.ts';
import type { CaptureRequest } from './request.ts';
import { Transfer } from './transfer.ts';

export type { Capture } from './captured-files.ts';

/**
 * Captures one state of a data directory into a folder. Each source byte is read once, and each copy is read back for its
 * proof while others are still being copied. Everything is synced except the names in the folder itself, which sealing syncs.
 *
 * Rejects with `SOURCE_CHANGING` when no consistent state was found, `NO_SPACE`, `UNSUPPORTED_FILE`, `CANCELLED` and others.
 * The caller removes what was written until then.
 */
export async function capture(env: Environment, request: CaptureRequest): Promise<Capture> {
  const pinFolder = join(request.into, '.pins');
  await env.fs.makeFolder(pinFolder);
  const pins = new Pins(env.fs, request.dir, pinFolder);
  const captured = new CapturedFiles();
  const transfer = new Transfer(env, request, pins, captured);
  try {
    const { checkpoint, immutables } = await captureChanging(env, request, pins, transfer);
    // From here on nothing that the engine does can change what is captured: the rest is pinned.
    const isLinked = immutables.every(({ path }) => pins.of(path).link !== undefined);
    if (isLinked) await request.onFixed?.();
    await transfer.takeImmutables(immutables);
    if (!isLinked) await request.onFixed?.();
    await request.onCaptured?.();
    await transfer.finish();
    return captured.result(checkpoint, sizeFindings(immutables, pins));
  } finally {
    await transfer.settled();
    await pins.drop();
  }
}
