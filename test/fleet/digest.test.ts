import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { folderDigest } from '../../src/fleet/copies/digest.ts';
import { topologyChanges, topologyHash } from '../../src/fleet/plan/topology.ts';
import { fleetNode } from '../support/fleet.ts';
import { writeTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

test.each([
  [{}, 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
  [
    { 'a.b': 'one', 'a/b': 'two', 'nested/state.bin': 'nested snapshot' },
    'f9421de715561178bdef656fe1b8fa3f51bb4cf4bd291e63e6bdd8626dce5767',
  ],
  [{ 'snapshot.bin': 'app snapshot' }, 'e25f06e07b6815cc3e23d409f84b71affebc05dbfb5f81f55634c6bea5976c87'],
])('the digest of a folder is that of the contract: %j', async (files, digest) => {
  const folder = await temporaryFolder();
  writeTree(folder, files);
  expect(await folderDigest(nodeFileSystem, folder)).toBe(digest);
});

test('one changed byte, in a large file too, changes the digest, and a link is refused', async () => {
  const folder = await temporaryFolder();
  const large = Buffer.alloc(256 * 1024 * 2, 7);
  writeTree(folder, { large });
  const digest = await folderDigest(nodeFileSystem, folder);
  large[large.length - 1] = 8;
  writeTree(folder, { large });
  expect(await folderDigest(nodeFileSystem, folder)).not.toBe(digest);
  symlinkSync(join(folder, 'large'), join(folder, 'link'));
  await expect(folderDigest(nodeFileSystem, folder)).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE' });
});

test('the topology hash knows no order, and no two topologies have one', () => {
  const [a, b] = [fleetNode('a'), fleetNode('b', 'a')];
  expect(topologyHash([a, b])).toBe(topologyHash([b, a]));
  const hashes = [
    [a, b],
    [a],
    [a, { ...b, parent: null }],
    [a, { ...b, parent: '' }],
    [a, { ...b, role: `${b.role}relocatable`, identity: 'fixed' as const }],
    [a, { ...b, storeId: null }],
    [{ ...a, targetId: 'a\0b' }],
  ].map(topologyHash);
  expect(new Set(hashes).size).toBe(hashes.length);
});

test('what changed in a topology is named', () => {
  const [a, b, c] = [fleetNode('a'), fleetNode('b', 'a'), fleetNode('c')];
  expect(topologyChanges([a, b], [a, b])).toEqual([]);
  expect(topologyChanges([a, b], [{ ...a, storeId: 'other' }, c])).toEqual([
    'a: storeId was store-of-a and is other',
    'b is gone',
    'c is new',
  ]);
});
