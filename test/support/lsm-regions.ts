import { anywhere, type Region } from './corruption.ts';
import { MANIFEST } from './manifest-edits.ts';

/**
 * Where the parts of an lsm snapshot's files lie, read from the bytes themselves with the offsets of the format's
 * document: a second opinion beside the codecs.
 */
export function lsmRegions(files: ReadonlyMap<string, Buffer>, segmentBytes: number): Region[] {
  const regions: Region[] = [];
  for (const [path, bytes] of files) {
    if (path === 'lsm.wal') regions.push(...logRegions(path, bytes, segmentBytes));
    else if (path.startsWith('sst/')) regions.push(...tableRegions(path, bytes));
    else if (path !== MANIFEST) regions.push(anywhere(path, path, bytes));
  }
  return regions;
}

const between = (name: string, path: string, from: number, to: number): Region[] =>
  to <= from ? [] : [{ name, path, offset: (chance) => from + Math.floor(chance() * (to - from)) }];

function logRegions(path: string, bytes: Buffer, segmentBytes: number): Region[] {
  const count = (bytes.byteLength - 16) / segmentBytes;
  const dataBytes = segmentBytes - 28;
  const ring = dataBytes * count;
  const start = Number(bytes.readBigUInt64LE(0));
  const end = Number(bytes.readBigUInt64LE(8) & ((1n << 63n) - 1n));
  const isFull = bytes.readBigUInt64LE(8) >> 63n === 1n;
  const used = isFull ? ring : (end - start + ring) % ring;
  const place = (logical: number) => {
    const at = logical % ring;
    return 16 + Math.floor(at / dataBytes) * segmentBytes + 28 + (at % dataBytes);
  };
  const live: Region = {
    name: 'log, live',
    path,
    offset: (chance) => place(start + Math.floor(chance() * used)),
  };
  const dead: Region = {
    name: 'log, dead',
    path,
    offset: (chance) => place(start + used + Math.floor(chance() * (ring - used))),
  };
  return [
    ...between('log, header', path, 0, 16),
    ...Array.from({ length: count }, (_, i) => 16 + i * segmentBytes).flatMap((at) =>
      between('log, segment header', path, at, at + 28),
    ),
    ...(used > 0 ? [live] : []),
    ...(used < ring ? [dead] : []),
  ];
}

function tableRegions(path: string, bytes: Buffer): Region[] {
  const footer = bytes.byteLength - 48;
  const index = Number(bytes.readBigUInt64LE(footer));
  const indexEnd = index + bytes.readUInt32LE(footer + 8);
  const bloom = Number(bytes.readBigUInt64LE(footer + 12));
  const bloomEnd = bloom + bytes.readUInt32LE(footer + 20);
  return [
    ...between('table, header', path, 0, 32),
    ...between('table, blocks', path, 32, index),
    ...between('table, index', path, index, indexEnd),
    ...between('table, filter', path, bloom, bloomEnd),
    ...between('table, footer', path, footer, bytes.byteLength),
  ];
}

export const LSM_REGIONS = [
  'checkpoint.meta',
  'log, dead',
  'log, header',
  'log, live',
  'log, segment header',
  'manifest',
  'table, blocks',
  'table, filter',
  'table, footer',
  'table, header',
  'table, index',
];
