import { join } from 'node:path';
import * as z from 'zod';
import { writeJson } from '../env/durable-json.ts';
import type { FileIdentity } from '../env/file-system.ts';
import { readSmallFile } from '../env/io.ts';
import { warn } from '../env/safe-calls.ts';
import { crc32 } from '../format/crc32.ts';
import type { KnownDigests } from '../repository/digests.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import type { ManifestEntry } from '../snapshot/store/manifest.ts';
import type { Digest } from '../snapshot/tasks/digest-files.ts';

const LIMIT_BYTES = 256 * 1024 * 1024;

const count = z.number().int().min(0);

const digestSchema = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  data_bytes: count,
  ranges: z.array(z.tuple([count, count])).optional(),
});

/** `crc32` is that of the compact JSON of `files`. */
const schema = z.object({ files: z.record(z.string(), digestSchema), crc32: count });

/**
 * `.lifecycle/digests.json`: the digests of the files of the snapshot that was backed up last. A file that the next snapshot
 * shares is the very same file on disk, and is not read again. Losing it costs time, never correctness.
 */
export async function readDigestLedger({ fs }: Environment, layout: Layout): Promise<KnownDigests> {
  const path = join(layout.lifecycle, 'digests.json');
  const files = await read();
  return {
    find(entry, identity) {
      const known = files[keyOf(entry, identity)];
      if (known === undefined) return undefined;
      const { size: sizeBytes, crc32, crc32c } = entry;
      const { sha256, data_bytes: dataBytes, ranges } = known;
      return { sizeBytes, crc32, crc32c, sha256, dataBytes, ...(ranges && { ranges }) };
    },
    async keep(digested) {
      const all = Object.fromEntries(
        digested.map(({ entry, identity, digest }) => [keyOf(entry, identity), toStored(digest)]),
      );
      // Without it the next backup reads more than it needs to; that is no reason to fail this one.
      await writeJson(fs, path, { files: all, crc32: sumOf(all) }, 'compact').catch(warn);
    },
  };

  async function read(): Promise<z.infer<typeof schema>['files']> {
    try {
      const bytes = await readSmallFile(fs, path, LIMIT_BYTES);
      const json = JSON.parse(bytes?.toString() ?? '');
      const ledger = schema.parse(json);
      if (ledger.crc32 === sumOf(json.files)) return ledger.files;
    } catch {
      // One that does not read is one that is not there.
    }
    return {};
  }
}

const sumOf = (files: unknown): number => crc32(Buffer.from(JSON.stringify(files)));

/** The file on disk, and the content that its snapshot's manifest names. */
const keyOf = ({ size, crc32, crc32c }: ManifestEntry, { ino, mtimeNs }: FileIdentity): string =>
  `${ino} ${mtimeNs} ${size} ${crc32} ${crc32c ?? ''}`;

const toStored = ({ sha256, dataBytes, ranges }: Digest) => ({
  sha256,
  data_bytes: dataBytes,
  ...(ranges && { ranges }),
});
