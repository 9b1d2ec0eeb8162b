import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { isSnapshotName, type Layout } from './layout.ts';

/**
 * `.lifecycle/pins.json`: snapshots that somebody is about to fetch, until when, and for whom. Nothing deletes them before. A
 * pin ends by itself, so that whoever died leaves nothing for ever.
 */
const pinsSchema = z.strictObject({
  version: z.literal(1),
  pins: z.array(z.strictObject({ name: z.string(), run: z.string(), expires_at_ms: z.int().min(0) })),
});

type Pin = z.infer<typeof pinsSchema>['pins'][number];

const LIMIT_BYTES = 4 * 1024 * 1024;
const MOST_PINS = 10_000;

const pinsFileOf = (layout: Layout): string => join(layout.lifecycle, 'pins.json');

async function readPins(fs: FileSystem, layout: Layout): Promise<readonly Pin[]> {
  const path = pinsFileOf(layout);
  const read = await readJson(fs, path, {
    schema: pinsSchema,
    limitBytes: LIMIT_BYTES,
    refuse: (why, cause) =>
      new StillpointError('STORE_INVALID', `${path}: ${why}`, {
        path,
        cause,
        hint: 'It says which snapshots must stay. Remove it once no backup of a fleet is under way.',
      }),
  });
  return read?.pins ?? [];
}

/** Whether a snapshot must stay. What cannot be read is an error: it may say so. */
export async function isPinned(
  { fs, clock }: Pick<Environment, 'fs' | 'clock'>,
  layout: Layout,
  name: string,
): Promise<boolean> {
  const nowMs = clock.nowMs();
  return (await readPins(fs, layout)).some((pin) => pin.name === name && nowMs < pin.expires_at_ms);
}

/**
 * Pins a snapshot for a run until a moment, or ends its pin with a moment that has passed. One at a time for a data directory; the
 * caller sees to that. `CONFLICT` when too many snapshots are pinned.
 */
export async function setPin(
  { fs, clock }: Pick<Environment, 'fs' | 'clock'>,
  layout: Layout,
  pin: Pin,
): Promise<void> {
  const nowMs = clock.nowMs();
  if (!isSnapshotName(pin.name))
    throw new StillpointError('INVALID_REQUEST', `${pin.name} is no name of a snapshot`);
  const others = (await readPins(fs, layout)).filter(
    ({ name, run, expires_at_ms }) => nowMs < expires_at_ms && !(name === pin.name && run === pin.run),
  );
  const pins = nowMs < pin.expires_at_ms ? [...others, pin] : others;
  if (pins.length > MOST_PINS)
    throw new StillpointError('CONFLICT', `${MOST_PINS} snapshots are pinned already`);
  await writeJson(fs, pinsFileOf(layout), { version: 1, pins }, 'lines');
}
