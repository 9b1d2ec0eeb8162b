import { explainCurrent, readCurrent } from '../engine/leveldb/directory.ts';
import { readVersion } from '../engine/leveldb/read-version.ts';
import { withFile } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import { CURRENT, parseFileName } from '../format/leveldb/file-name.ts';
import type { Version } from '../format/leveldb/version.ts';
import { placeOf } from '../snapshot/store/layout.ts';
import type { Source } from './source.ts';
import { unlessUnreadable } from './unreadable.ts';

/** Which files make up the state, and how that is known. */
export interface Known {
  /** Undefined: no MANIFEST tells, so every table and every log counts. */
  readonly version: Version | undefined;
  /** That of the MANIFEST in use; another one may be older. */
  readonly isInUse: boolean;
  /** What a person should know of it. */
  readonly notes: readonly string[];
}

/** The state as the MANIFEST in use has it; where that one is gone or damaged, the newest other one that is whole. */
export async function findVersion(source: Source, control: RunControl): Promise<Known> {
  const notes: string[] = [];
  const current = await nameInUse(source, notes);
  const number = (name: string) => parseFileName(name)!.number;
  const manifests = source.paths
    .filter((name) => parseFileName(name)?.kind === 'manifest')
    .sort((a, b) => Number(b === current) - Number(a === current) || number(b) - number(a));
  for (const name of manifests) {
    const read = await readManifest(source, name, control);
    if (typeof read === 'string') notes.push(`${name}: ${read}`);
    else {
      if (name !== current) notes.push(`${name} was taken for the list of tables`);
      return { version: read, isInUse: name === current, notes };
    }
  }
  notes.push(
    'no MANIFEST is whole, so every table and log was read, and keys are taken to be in bytewise order: what was deleted may be back',
  );
  return { version: undefined, isInUse: false, notes };
}

async function nameInUse({ fs, dir, paths }: Source, notes: string[]): Promise<string | undefined> {
  try {
    const current = await unlessUnreadable(
      () => readCurrent(fs, dir),
      (code) => {
        throw new StillpointError('IO_ERROR', `${CURRENT} cannot be read (${code})`);
      },
    );
    if (current === undefined) notes.push(await explainCurrent(fs, dir));
    else if (!paths.includes(current)) notes.push(`${CURRENT} names ${current}, which is gone`);
    return current;
  } catch (error) {
    // It is a link, far too large, or unreadable.
    if (!(error instanceof StillpointError)) throw error;
    notes.push(error.message);
    return undefined;
  }
}

/** The version, or why it cannot be trusted. */
function readManifest({ fs, dir }: Source, name: string, control: RunControl): Promise<Version | string> {
  return unlessUnreadable<Version | string>(
    () => withFile(fs, placeOf(dir, name), 'read', (file) => readVersion(file, control)),
    (code) => `it cannot be read (${code})`,
  );
}
