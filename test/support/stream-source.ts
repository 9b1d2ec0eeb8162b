import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import type { SnapshotSource } from '../../src/snapshot/source/snapshot-source.ts';
import { readManifest } from '../../src/snapshot/store/manifest-file.ts';

export type Streams = AsyncIterable<Uint8Array>;

export interface StreamSource extends SnapshotSource {
  /** Where the files lie. */
  readonly root: string;
  /** Of each file that was asked for, whether its signal was aborted. */
  readonly signals: ReadonlyMap<string, AbortSignal>;
  released: number;
}

/** The files of a snapshot as streams alone, as a server or a repository would give them; `change` has a hand in each. */
export function streamsOf(
  location: string,
  change: (path: string, stream: Streams, signal: AbortSignal) => Streams = (_path, stream) => stream,
): StreamSource {
  const signals = new Map<string, AbortSignal>();
  return {
    location: 'streams:test',
    root: location,
    signals,
    released: 0,
    async manifest() {
      return (await readManifest(systemEnvironment, location))!;
    },
    read(path, signal) {
      signals.set(path, signal);
      return change(path, createReadStream(join(location, path)), signal);
    },
    async release() {
      this.released++;
    },
  };
}
