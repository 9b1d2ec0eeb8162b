import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { isSnapshotName, type Layout } from './layout.ts';

/**
 * `.lifecycle/pins.json`: snapshots that somebody is about to fetch, until when, and for whom. Nothing deletes them before. A
 * pin ends by itself, so that whoever died leaves nothing for ever. And snapshots that nobody needs any more once they are not the
 * newest: the newest is never deleted.
 */
const pinsSchema = z.strictObject({
  version: z.literal(1),
  pins: z.array(z.strictObject({ name: z.string(), run: z.string(), expires_at_ms: z.int().min(0) })),
  discarded: z.array(z.string()),
});

type Pins = z.infer<typeof pinsSchema>;
type Pin = Pins['pins'][number];

const LIMIT_BYTES = 4 * 1024 * 1024;
const MOST_PINS = 10_000;

const pinsFileOf = (layout: Layout): string => join(layout.lifecycle, 'pins.json');

async function readPins(fs: FileSystem, layout: Layout): Promise<Pins> {
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
  return read ?? { version: 1, pins: [], discarded: [] };
}

/** Names of the snapshots that must stay. What cannot be read is an error: it may name one. */
export async function pinnedSnapshots(
  { fs, clock }: Pick<Environment, 'fs' | 'clock'>,
  layout: Layout,
): Promise<ReadonlySet<string>> {
  const nowMs = clock.nowMs();
  const { pins } = await readPins(fs, layout);
  return new Set(pins.filter((pin) => nowMs < pin.expires_at_ms).map(({ name }) => name));
}

/** What is on record as not needed any more, by name. */
export const discardedSnapshots = async (fs: FileSystem, layout: Layout): Promise<readonly string[]> =>
  (await readPins(fs, layout)).discarded;

/**
 * Pins a snapshot for a run until a moment, or ends its pin with a moment that has passed. One change at a time for a data
 * directory; the caller sees to that. `CONFLICT` when too many snapshots are pinned.
 */
export async function setPin(
  { fs, clock }: Pick<Environment, 'fs' | 'clock'>,
  layout: Layout,
  pin: Pin,
): Promise<void> {
  const nowMs = clock.nowMs();
  if (!isSnapshotName(pin.name))
    throw new StillpointError('INVALID_REQUEST', `${pin.name} is no name of a snapshot`);
  const before = await readPins(fs, layout);
  const others = before.pins.filter(
    ({ name, run, expires_at_ms }) => nowMs < expires_at_ms && !(name === pin.name && run === pin.run),
  );
  const pins = nowMs < pin.expires_at_ms ? [...others, pin] : others;
  if (pins.length > MOST_PINS)
    throw new StillpointError('CONFLICT', `${MOST_PINS} snapshots are pinned already`);
  await writePins(fs, layout, { ...before, pins });
}

/** Puts snapshots on record as not needed any more, and takes others off it. One change at a time, as with `setPin`. */
export async function noteDiscarded(
  fs: FileSystem,
  layout: Layout,
  change: { readonly add?: string; readonly remove?: readonly string[] },
): Promise<void> {
  const before = await readPins(fs, layout);
  const kept = before.discarded.filter((name) => name !== change.add && !change.remove?.includes(name));
  const discarded = change.add === undefined ? kept : [...kept, change.add].slice(-MOST_PINS);
  await writePins(fs, layout, { ...before, discarded });
}

const writePins = (fs: FileSystem, layout: Layout, pins: Pins): Promise<void> =>
  writeJson(fs, pinsFileOf(layout), pins, 'lines');
