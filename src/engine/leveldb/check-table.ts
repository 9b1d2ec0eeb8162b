import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { BlockCursor } from '../../format/leveldb/block.ts';
import { compareInternalKeys, TAG_BYTES, TYPE_VALUE } from '../../format/leveldb/internal-key.ts';
import { CRC_BYTES, checkSeal, FOOTER_BYTES } from '../../format/leveldb/table.ts';
import { runningCrc32c, Sums } from '../../format/sums.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import type { Findings } from '../findings.ts';
import { streamFile } from '../raw-file-check.ts';
import { withoutScanner, withScanner } from '../scanner.ts';
import { SequentialReader } from '../sequential-reader.ts';
import { keyIdentity, type TableFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { contentOf, readTableFrame, type TableFrame } from './table-frame.ts';
import { layoutOf, type Region } from './table-layout.ts';
import { type Passed, TableScanner } from './table-scanner.ts';

/**
 * A sorted table. Level `open`: footer, index, metaindex, filter, and that the blocks cover the file. Level `full`:
 * every block's checksum, and every entry against its neighbours, the index and the filter.
 */
export async function checkTable(
  file: OpenFile,
  request: FileCheckRequest,
  run: TaskRun,
): Promise<FileCheck> {
  const findings = findingsOf(request.path);
  const order = findingsOf(request.path);
  const { sizeBytes } = await file.stat();
  const frame = await readTableFrame(file, sizeBytes, findings);
  if (frame === undefined) {
    const read = await streamFile(file, request, run);
    return { ...read, findings: findings.list, counts: { tables: 1 } };
  }
  const { index = NONE, filter } = frame;
  const withScan: typeof withoutScanner = (use) =>
    request.level === 'full' ? withScanner([index, filter?.bytes ?? NONE], use) : withoutScanner(use);
  return withScan(async ({ buffer, scanner, kept }) => {
    const fast =
      scanner &&
      new TableScanner(scanner, { indexAt: kept[0]!, filterAt: kept[1]! }, frame, sizeBytes - FOOTER_BYTES);
    const blocks = new BlockChecks(frame, request.level === 'full', { findings, order, fast });
    // The CRC-32C of the file is combined from those of its blocks and windows, so that no byte is summed twice.
    const sums = request.live ? undefined : new Sums(false);
    const reader = new SequentialReader(file, run, buffer, sums);
    const laidOut = await blocks.pass(reader);
    for (const region of layoutOf(frame, sizeBytes, findings, order, laidOut)) {
      await reader.skipTo(region.offset, (between) => blocks.skip(between));
      // Awaiting what is in memory already would take longer than checking a small block.
      const sealed = reader.takeBuffered(region.length) ?? (await reader.take(region.length));
      if (sealed.byteLength === region.length) blocks.check(region, sealed);
      else blocks.skip(sealed); // the file has become shorter
    }
    await reader.skipTo(Number.POSITIVE_INFINITY, (between) => blocks.skip(between));
    reader.flush();
    return {
      sizeBytes: reader.position,
      crc32: sums?.crc32 ?? 0,
      ...(sums !== undefined && { crc32c: blocks.crc32c }),
      findings: findings.list,
      counts: { tables: 1, blocks: blocks.count, entries: blocks.entries },
      facts: blocks.facts(),
    };
  });
}

const NONE = new Uint8Array();

class BlockChecks {
  count = 0; // data blocks
  entries = 0;
  readonly #frame: TableFrame;
  readonly #withEntries: boolean;
  readonly #findings: Findings;
  readonly #order: Findings;
  #smallest: Buffer | undefined;
  /** Absent while the compiled scanner has the last key. */
  #largest: Buffer | undefined;
  #isWhole: boolean;
  // The largest sequence as two numbers of 24 and 32 bits: one bigint for each entry would take most of the time.
  #maxHigh = 0;
  #maxLow = 0;
  readonly #sum = runningCrc32c();
  readonly #cursor = new BlockCursor();

  readonly #fast: TableScanner | undefined;

  /** `order` gets findings that count only for bytewise order. `fast` checks each block first. */
  constructor(
    frame: TableFrame,
    withEntries: boolean,
    { findings, order, fast }: { findings: Findings; order: Findings; fast: TableScanner | undefined },
  ) {
    this.#frame = frame;
    this.#withEntries = withEntries;
    this.#findings = findings;
    this.#order = order;
    this.#fast = fast;
    this.#isWhole = withEntries && frame.index !== undefined;
  }

  /** CRC-32C of all bytes so far. */
  get crc32c(): number {
    return this.#sum.value;
  }

  /** Bytes that belong to no block. */
  skip(between: Buffer): void {
    this.#sum.add(between);
  }

  /** Goes through as many whole windows as are good. */
  async pass(reader: SequentialReader): Promise<Passed> {
    if (this.#fast === undefined) return { bytes: 0, isEnd: false, blocks: 0, entries: 0 };
    const passed = await this.#fast.pass(reader, (crc, bytes) => this.#sum.append(crc, bytes));
    this.count += passed.blocks;
    this.entries += passed.entries;
    return passed;
  }

  check(region: Region, sealed: Buffer): void {
    const { name, offset, bounds } = region;
    if (bounds !== undefined) this.count++;
    const { crc, broken } = checkSeal(sealed);
    this.#sum.append(crc, sealed.length - CRC_BYTES);
    this.#sum.add(sealed.subarray(sealed.length - CRC_BYTES));
    if (bounds !== undefined && !this.#withEntries) return;
    if (broken !== undefined) {
      this.#findings.error('LEVELDB_BLOCK_CHECKSUM', offset, `${name} block: ${broken}`);
      this.#isWhole = false;
      return;
    }
    if (bounds === undefined) return; // what the frame has read already
    const good = this.#fast?.entriesOf(sealed, region);
    if (good !== undefined) {
      this.entries += good;
      this.#largest = undefined;
      return;
    }
    const content = contentOf(sealed, offset, name, this.#findings);
    if (content === undefined) this.#isWhole = false;
    else this.#lookCloser(region, content);
  }

  #lookCloser({ offset, bounds }: Region, content: Buffer): void {
    const cursor = this.#cursor;
    cursor.begin(content);
    const { filter } = this.#frame;
    let isFirst = true;
    while (cursor.next()) {
      const { key, keyLength } = cursor;
      const userEnd = keyLength - TAG_BYTES;
      if (userEnd < 0) {
        this.#bad('LEVELDB_ENTRY', offset, cursor, 'a key without a tag');
        this.#isWhole = false;
        return;
      }
      this.entries++;
      this.#noteTag(cursor, offset);
      if (isFirst) {
        isFirst = false;
        this.#smallest ??= this.#fast?.firstKey() ?? cursor.copyKey();
        const after = bounds!.after;
        if (after !== undefined && compareInternalKeys(after, key, after.length, keyLength) >= 0) {
          this.#bad(
            'LEVELDB_TABLE_INDEX',
            offset,
            cursor,
            'not behind the index key of the block before',
            true,
          );
        }
      } else if (compareInternalKeys(cursor.previous, key, cursor.previousLength, keyLength) >= 0) {
        this.#bad('LEVELDB_ENTRY_ORDER', offset, cursor, 'a key that is not behind the one before', true);
      }
      if (filter !== undefined && !filter.mayContain(offset, key, userEnd)) {
        this.#bad('LEVELDB_FILTER_DENIES', offset, cursor, 'the filter denies a key that is here');
      }
    }
    if (cursor.problem !== undefined) {
      this.#findings.error('LEVELDB_BLOCK_CONTENT', offset, `data block: ${cursor.problem}`);
      this.#isWhole = false;
      return;
    }
    if (isFirst) {
      this.#findings.error('LEVELDB_BLOCK_CONTENT', offset, 'data block: without an entry');
      return;
    }
    this.#largest = cursor.copyKey();
    if (compareInternalKeys(this.#largest, bounds!.upTo) > 0) {
      this.#bad('LEVELDB_TABLE_INDEX', offset, cursor, 'behind the index key of its block', true);
    }
  }

  #noteTag({ key, keyLength, offset }: BlockCursor, blockOffset: number): void {
    const tagAt = keyLength - TAG_BYTES;
    const type = key[tagAt]!;
    if (type > TYPE_VALUE) {
      this.#findings.error('LEVELDB_ENTRY', blockOffset, `type ${type} at byte ${offset} of the block`);
    }
    const low = key[tagAt + 1]! | (key[tagAt + 2]! << 8) | (key[tagAt + 3]! << 16);
    const high = key.readUInt32LE(tagAt + 4);
    if (high > this.#maxHigh || (high === this.#maxHigh && low > this.#maxLow)) {
      this.#maxHigh = high;
      this.#maxLow = low;
    }
  }

  #bad(code: string, offset: number, cursor: BlockCursor, message: string, isOrder = false): void {
    const findings = isOrder ? this.#order : this.#findings;
    findings.error(code, offset, `${message} (byte ${cursor.offset} of the block)`);
  }

  facts(): TableFacts {
    const identity = (key: Buffer | undefined): string | null =>
      this.#isWhole && key !== undefined ? keyIdentity(key) : null;
    const maxSequence = (BigInt(this.#maxHigh) << 24n) | BigInt(this.#maxLow);
    const fastSequence = this.#fast?.maxSequence ?? 0n;
    return {
      kind: 'table',
      smallest: identity(this.#smallest ?? this.#fast?.firstKey()),
      largest: identity(this.#largest ?? this.#fast?.lastKey()),
      maxSequence: String(fastSequence > maxSequence ? fastSequence : maxSequence),
      order: this.#order.list,
    };
  }
}
