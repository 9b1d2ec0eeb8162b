import { pause } from '../../env/clock.ts';
import { mapConcurrent, orAborted } from '../../env/concurrency.ts';
import { withFile } from '../../env/io.ts';
import type { RunControl } from '../../env/run-control.ts';
import { StillpointError } from '../../errors.ts';
import type { Summed } from '../../format/sums.ts';
import type { Environment } from '../environment.ts';
import type { SnapshotSource } from '../source/snapshot-source.ts';
import { placeOf } from '../store/layout.ts';
import type { ManifestEntry } from '../store/manifest.ts';
import { ImageWriter } from '../tasks/image-writer.ts';

/** Streams mostly wait for their source, so more of them than processors are worth having. */
const STREAMS_AT_ONCE = 4;

/**
 * Writes the files of a source into `into`, whose folders exist, largest first. Calls `done` for each file once its last byte is
 * written, before it is synced. Rejects with `RESTORE_INTEGRITY_MISMATCH` when a stream ends early or goes on too long, and
 * with `CANCELLED` at once, also when the source does not answer. Every file is closed then; the source may still be ending streams.
 */
export async function copyStreams(
  { fs }: Pick<Environment, 'fs'>,
  source: SnapshotSource,
  into: string,
  entries: readonly ManifestEntry[],
  control: RunControl,
  done: (entry: ManifestEntry, sums: Summed) => void,
): Promise<void> {
  const abort = new AbortController();
  const stop = control.onCancel(() => abort.abort(new StillpointError('CANCELLED', 'cancelled on request')));
  try {
    control.checkCancelled(); // a cancel from before `onCancel`
    const bySize = [...entries].sort((a, b) => b.size - a.size);
    await mapConcurrent(bySize, STREAMS_AT_ONCE, async (entry) => {
      try {
        const target = placeOf(into, entry.path);
        const sums = await withFile(fs, target, 'create', async (file) => {
          const writer = new ImageWriter(file, 0, false, control);
          for await (const { offset, bytes } of chunksOf(source, entry, abort.signal)) {
            await writer.write(offset, bytes);
            await control.rateLimiter.wait(bytes.byteLength, abort.signal);
          }
          const sums = writer.finish(entry.size);
          await file.truncate(entry.size); // it may end with a hole
          return sums.result();
        });
        done(entry, sums);
      } catch (error) {
        abort.abort(error); // ends the other streams
        throw error;
      }
    });
  } finally {
    stop();
  }
}

/** The chunks of a file with their offsets: together exactly as long as its entry says. */
async function* chunksOf(
  source: SnapshotSource,
  { path, size }: ManifestEntry,
  signal: AbortSignal,
): AsyncGenerator<{ offset: number; bytes: Uint8Array }> {
  const wrong = (message: string) =>
    new StillpointError('RESTORE_INTEGRITY_MISMATCH', `${path} of ${source.location} ${message}`, { path });
  const unusable = (what: string) =>
    new StillpointError('HOOK_INVALID', `${path} of ${source.location} is read as ${what}`);
  const chunks = source.read(path, signal)?.[Symbol.asyncIterator]?.();
  if (typeof chunks?.next !== 'function') throw unusable('something else than an async iterable');
  let offset = 0;
  try {
    for (;;) {
      const next = await orAborted(Promise.resolve(chunks.next()), signal);
      if (typeof next !== 'object' || next === null) throw unusable('an iterator without results');
      if (next.done) break;
      const bytes = next.value;
      if (!(bytes instanceof Uint8Array)) throw unusable('something else than bytes');
      if (bytes.byteLength > size - offset) throw wrong(`is longer than the ${size} bytes of its entry`);
      if (bytes.byteLength > 0) yield { offset, bytes };
      else await pause(0); // a source that yields nothing for ever must not keep a cancel from arriving
      offset += bytes.byteLength;
    }
  } finally {
    // Not awaited: an iteration that hangs would never return. The signal and `release` end it.
    Promise.resolve()
      .then(() => chunks.return?.())
      .catch(() => undefined);
  }
  if (offset < size) throw wrong(`ends after ${offset} of ${size} bytes`);
}
