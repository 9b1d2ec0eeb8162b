import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { engineByName } from '../../src/engine/index.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { copySnapshot } from '../../src/snapshot/restore/copy-snapshot.ts';
import { folderSource } from '../../src/snapshot/source/folder-source.ts';
import { readManifest } from '../../src/snapshot/store/manifest-file.ts';
import { plainDirectory, readTree } from '../support/folders.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { temporaryFolder } from '../support/temp.ts';

/** Makes a clone of a snapshot of plain files that was changed; unless it is to last, nobody reads it back. */
async function cloneChanged(change: (location: string) => void, isLasting = false) {
  const dir = await plainDirectory();
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  const { entries } = (await readManifest(inlineEnvironment, location))!;
  change(location);
  const into = join(await temporaryFolder(), 'clone');
  const engine = engineByName('files');
  const control = new RunControl();
  const source = folderSource(inlineEnvironment, location);
  const request = {
    source,
    into,
    entries,
    engine,
    level: 'full' as const,
    isLasting,
    control,
  };
  await copySnapshot(inlineEnvironment, request);
  return { dir, into };
}

const edit = (path: string, change: (bytes: Buffer) => Buffer) => (location: string) => {
  const bytes = readFileSync(join(location, path));
  writeFileSync(join(location, path), change(bytes));
};

test('a clone is what the manifest says', async () => {
  const { dir, into } = await cloneChanged(() => {});
  expect(readTree(into, [])).toEqual(readTree(dir));
});

test.each([
  ['one bit', edit('deep/er/b.bin', (bytes) => withByte(bytes, 200_000))],
  ['a shorter file', edit('deep/er/b.bin', (bytes) => bytes.subarray(0, -1))],
  ['a zero more at the end', edit('zeros.bin', (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]))],
  ['other bytes of the same CRC-32', edit('deep/er/b.bin', withSameCrc32)],
])('%s in the source of a clone is noticed while copying', async (_what, change) => {
  for (const isLasting of [false, true]) {
    const clone = cloneChanged(change, isLasting);
    await expect(clone).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
  }
});

/** The same with one bit of that byte turned round. */
function withByte(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at]! ^= 1;
  return changed;
}

/** Changes a part and puts that right in the four bytes behind it: CRC-32 is linear. */
function withSameCrc32(bytes: Buffer): Buffer {
  const changed = withByte(bytes, 1000);
  const wanted = crc32(bytes);
  // Which bits of the patch are to be set follows from what each of them alone does to the sum (Gauss over GF(2)).
  const rows = Array.from({ length: 32 }, (_, bit) => {
    const one = Buffer.from(changed);
    one[2000 + (bit >> 3)]! ^= 1 << (bit & 7);
    return { effect: (crc32(one) ^ crc32(changed)) >>> 0, bits: 2 ** bit };
  });
  let missing = (crc32(changed) ^ wanted) >>> 0;
  let patch = 0;
  for (let column = 31; column >= 0; column--) {
    const has = (value: number) => ((value >>> column) & 1) === 1;
    const at = rows.findIndex(({ effect }) => has(effect) && effect >>> column === 1);
    const [pivot] = at < 0 ? [] : rows.splice(at, 1);
    if (pivot === undefined) continue;
    for (const row of rows) {
      if (!has(row.effect)) continue;
      row.effect = (row.effect ^ pivot.effect) >>> 0;
      row.bits = (row.bits ^ pivot.bits) >>> 0;
    }
    if (!has(missing)) continue;
    missing = (missing ^ pivot.effect) >>> 0;
    patch = (patch ^ pivot.bits) >>> 0;
  }
  changed.writeUInt32LE((changed.readUInt32LE(2000) ^ patch) >>> 0, 2000);
  expect(crc32(changed)).toBe(wanted);
  return changed;
}
