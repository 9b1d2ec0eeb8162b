import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { openFolder } from '../../src/destination/folder.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { type BackupManifest, decodeBackupManifest } from '../../src/repository/backup-manifest.ts';
import { backupSource } from '../../src/repository/backup-source.ts';
import { manifestKey } from '../../src/repository/layout.ts';
import { StoreBackups } from '../../src/repository/store-backups.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { plainDirectory } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

interface Stored {
  key: string;
  offset: number;
  bytes: number;
}

interface Payload {
  engine: string;
  previous?: string;
  stored_bytes: number;
  snapshot_manifest: string;
  files: { path: string; sha256: string; stored?: Stored; ranges?: unknown[] }[];
  packs: Record<string, number>;
}

type Header = Record<string, unknown>;

/** A change of a real manifest. May return the payload's text, where it cannot be said by an object. */
type Change = (payload: Payload, header: Header) => unknown;

const OTHER = newUlid(1_700_000_000_000);

let bytes: Buffer | undefined;
let place: { repositoryId: string; storeId: string; backupId: string };

beforeEach(async () => {
  if (bytes !== undefined) return;
  const repository = join(await temporaryFolder(), 'repository');
  const { repositoryId } = await initRepository(repository);
  const dataDir = await plainDirectory({
    a: 'small',
    b: Buffer.alloc(400_000, 'large'),
    c: 'also small',
  });
  const { storeId, backupId } = await backUp(dataDir, {
    to: repository,
    coordinator: new BackupCoordinator({ dataDir, engine: 'files' }),
  });
  bytes = readFileSync(join(repository, manifestKey(storeId, backupId)));
  place = { repositoryId, storeId, backupId };
});

/** With all checksums right: whoever can write to a repository can do this. */
function changed(change: Change): Buffer {
  const end = bytes!.indexOf('\n');
  const header = JSON.parse(bytes!.subarray(0, end).toString());
  const payload = JSON.parse(bytes!.subarray(end + 1).toString()) as Payload;
  const text = change(payload, header);
  const body = Buffer.from(typeof text === 'string' ? text : JSON.stringify(payload));
  delete header.crc32;
  header.payload_bytes = body.byteLength;
  header.payload_sha256 = createHash('sha256').update(body).digest('hex');
  header.crc32 = crc32(Buffer.from(JSON.stringify(header)));
  return Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), body, Buffer.from('\n')]);
}

const packOf = ({ packs }: Payload): string => Object.keys(packs)[0]!;
const large = ({ files }: Payload): Stored => files[1]!.stored!;

/** The payload with other text in the place of its files. */
const withFiles = (payload: Payload, files: string): string =>
  JSON.stringify({ ...payload, files: [] }).replace('"files":[]', () => `"files":${files}`);

const MANY = 10_000_000;

const HOSTILE: Record<string, [Change, RegExp]> = {
  'from another repository': [
    (_, header) => {
      header.repository_id = OTHER;
    },
    /belongs to repository/,
  ],
  'from another store': [
    (_, header) => {
      header.store_id = OTHER;
    },
    /belongs to store/,
  ],
  'from another backup': [
    (_, header) => {
      header.backup_id = OTHER;
    },
    /belongs to backup/,
  ],
  'of a later version': [
    (_, header) => {
      header.version = 3;
    },
    /version/,
  ],
  'made in the year 287396': [
    (_, header) => {
      header.created_at_ms = Number.MAX_SAFE_INTEGER;
    },
    /created_at_ms/,
  ],
  'with itself as the backup before': [
    (payload) => {
      payload.previous = place.backupId;
    },
    /before it/,
  ],
  'with a later backup as the one before': [
    (payload) => {
      payload.previous = `7${'Z'.repeat(25)}`;
    },
    /before it/,
  ],
  'of another engine than its snapshot': [
    (payload) => {
      payload.engine = 'lsm';
    },
    /another engine/,
  ],
  'with a snapshot that lost its seal': [
    (payload) => {
      const { entries } = JSON.parse(payload.snapshot_manifest);
      payload.snapshot_manifest = JSON.stringify({ version: 1, entries });
    },
    /no checksum of itself/,
  ],
  'with a snapshot that was edited': [
    (payload) => {
      payload.snapshot_manifest = payload.snapshot_manifest.replace('"a"', '"x"');
    },
    /snapshot is damaged/,
  ],
  'with an object of another store': [
    (payload) => {
      large(payload).key = large(payload).key.replace(place.storeId, OTHER);
    },
    /lies in/,
  ],
  'with an object outside of all stores': [
    (payload) => {
      large(payload).key = `stores/${place.storeId}/objects/../../../x`;
    },
    /lies in/,
  ],
  'with a pack of another store': [
    (payload) => {
      payload.packs = { [packOf(payload).replace(place.storeId, OTHER)]: 15 };
    },
    /names a pack/,
  ],
  'with a pack of 1.5 GB': [
    (payload) => {
      payload.packs[packOf(payload)] = 1.5e9;
    },
    /size that no pack has/,
  ],
  'with a pack of half a byte': [
    (payload) => {
      payload.packs[packOf(payload)] = 0.5;
    },
    /size that no pack has/,
  ],
  'with data behind the end of its pack': [
    (payload) => {
      payload.files[0]!.stored!.offset = 99_999;
    },
    /does not lie within/,
  ],
  'with data before the beginning of its pack': [
    (payload) => {
      payload.files[0]!.stored!.offset = -1;
    },
    /file 0: stored.offset/,
  ],
  'with data at the largest offset': [
    (payload) => {
      payload.files[0]!.stored!.offset = Number.MAX_SAFE_INTEGER;
    },
    /does not lie within/,
  ],
  'with more bytes than the file has': [
    (payload) => {
      large(payload).bytes += 1;
    },
    /stores 400001 bytes/,
  ],
  'with ranges that overlap': [
    (payload) => {
      payload.files[1]!.ranges = [
        [0, 300_000],
        [200_000, 100_000],
      ];
    },
    /overlap or leave/,
  ],
  'with a range that leaves its file': [
    (payload) => {
      payload.files[1]!.ranges = [[1, 400_000]];
    },
    /overlap or leave/,
  ],
  'with a range that is none': [
    (payload) => {
      payload.files[1]!.ranges = [[0]];
    },
    /file 1: ranges/,
  ],
  'with a file too little': [(payload) => payload.files.pop(), /names 2 files, and its snapshot has 3/],
  'with a file twice': [
    (payload) => {
      payload.files[1] = payload.files[0]!;
    },
    /where its snapshot has another/,
  ],
  'with a path that leaves the folder': [
    (payload) => {
      payload.files[0]!.path = '../x';
    },
    /where its snapshot has another/,
  ],
  'with another sum of its bytes': [
    (payload) => {
      payload.stored_bytes = 1;
    },
    /names 1 stored bytes/,
  ],
  'with millions of files that are none': [
    (payload) => withFiles(payload, `[${'0,'.repeat(MANY)}0]`),
    /is no manifest: it has values/,
  ],
  'with millions of brackets': [
    (payload) => withFiles(payload, `[${'[],'.repeat(MANY / 2)}0]`),
    /is no manifest: it has containers/,
  ],
  'with a deep nest': [
    (payload) => withFiles(payload, `${'['.repeat(100_000)}${']'.repeat(100_000)}`),
    /is no manifest: it has depth/,
  ],
};

describe('a manifest', () => {
  test('that was not changed is read', () => {
    expect(
      decodeBackupManifest(
        changed(() => {}),
        place,
      ).files,
    ).toHaveLength(3);
  });

  test.each(Object.entries(HOSTILE))('%s is refused', (_, [change, message]) => {
    expect(() => decodeBackupManifest(changed(change), place)).toThrow(
      expect.objectContaining({ code: 'BACKUP_DAMAGED', message: expect.stringMatching(message) }),
    );
  });
});

test('a hole of a petabyte leaves the event loop free while it is read', async () => {
  const destination = await openFolder(await temporaryFolder());
  const store = new StoreBackups(systemEnvironment, destination, place.repositoryId, place.storeId);
  const manifest = decodeBackupManifest(bytes!, place);
  const hole: BackupManifest = {
    ...manifest,
    snapshot: {
      ...manifest.snapshot,
      entries: manifest.snapshot.entries.map((entry) => ({ ...entry, size: 2 ** 50 })),
    },
    files: manifest.files.map(({ path }) => ({
      path,
      sha256: createHash('sha256').digest('hex'),
      ranges: [],
    })),
  };
  const source = backupSource(store, hole);
  let isOver = false;
  const over = setTimeout(20).then(() => {
    isOver = true;
  });
  let chunks = 0;
  for await (const _ of source.read('a', new AbortController().signal))
    if (isOver || ++chunks > 2_000_000) break;
  expect(isOver).toBe(true);
  await over;
});
