import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { BYTEWISE_COMPARATOR, compareInternalKeys } from '../../format/leveldb/internal-key.ts';
import type { LogItem } from '../../format/leveldb/log.ts';
import { Version } from '../../format/leveldb/version.ts';
import { decodeVersionEdit, LEVELS, type TableEntry } from '../../format/leveldb/version-edit.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import type { Findings } from '../findings.ts';
import { keyIdentity, type ManifestFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { readLog } from './log-records.ts';

/** A MANIFEST: every record's checksum, every edit to its last byte, and that the tables they add up to fit together. */
export async function checkManifest(
  file: OpenFile,
  request: FileCheckRequest,
  run: TaskRun,
): Promise<FileCheck> {
  const findings = findingsOf(request.path);
  const version = new Version();

  const take = (item: LogItem): void => {
    if (item.kind !== 'record') {
      findings.error('LEVELDB_MANIFEST_RECORD', item.offset, item.message);
      return;
    }
    const edit = decodeVersionEdit(item.payload);
    if (typeof edit === 'string') {
      findings.error('LEVELDB_MANIFEST_EDIT', item.offset, edit);
      return;
    }
    for (const contradiction of version.apply(edit)) {
      findings.warning('LEVELDB_MANIFEST_CONTRADICTION', item.offset, contradiction);
    }
  };

  const { sums, tornAt } = await readLog(file, request, run, findings, take);
  if (tornAt !== undefined) {
    const report = request.live ? 'warning' : 'error';
    findings[report]('LEVELDB_MANIFEST_TORN', tornAt, 'the last record is not complete');
  }
  const facts = checkVersion(version, findings);
  return { ...sums, findings: findings.list, counts: {}, ...(facts === undefined ? {} : { facts }) };
}

function checkVersion(version: Version, findings: Findings): ManifestFacts | undefined {
  const { comparator, logNumber, nextFile, lastSequence, tables, missingFields } = version;
  if (
    comparator === undefined ||
    logNumber === undefined ||
    nextFile === undefined ||
    lastSequence === undefined
  ) {
    findings.error('LEVELDB_MANIFEST_INCOMPLETE', null, `without ${missingFields.join(', ')}`);
    return undefined;
  }
  const seen = new Set<number>();
  for (const { number } of tables) {
    if (seen.has(number)) findings.error('LEVELDB_MANIFEST_TABLES', null, `table ${number} is live twice`);
    if (number >= nextFile) {
      findings.error(
        'LEVELDB_MANIFEST_TABLES',
        null,
        `table ${number} is not below the next number ${nextFile}`,
      );
    }
    seen.add(number);
  }
  if (comparator === BYTEWISE_COMPARATOR) checkLevels(tables, findings);
  else {
    const message = `keys are ordered by "${comparator}", which is not known here: their order was not checked`;
    findings.warning('LEVELDB_COMPARATOR', null, message);
  }
  return {
    kind: 'manifest',
    comparator,
    logNumber,
    prevLogNumber: version.prevLogNumber,
    lastSequence: String(lastSequence),
    tables: tables.map(({ level, number, sizeBytes, smallest, largest }) => ({
      level,
      number,
      sizeBytes,
      smallest: keyIdentity(smallest),
      largest: keyIdentity(largest),
    })),
  };
}

/** From level 1 on, tables of a level must not overlap: a reader looks into one of them only. */
function checkLevels(tables: readonly TableEntry[], findings: Findings): void {
  for (let level = 0; level < LEVELS; level++) {
    const members = tables.filter((table) => table.level === level);
    const sorted = members.sort((a, b) => compareInternalKeys(a.smallest, b.smallest));
    sorted.forEach((table, index) => {
      if (compareInternalKeys(table.smallest, table.largest) > 0) {
        const message = `the first key of table ${table.number} is behind its last`;
        findings.error('LEVELDB_MANIFEST_TABLES', null, message);
      }
      const before = sorted[index - 1];
      if (level === 0 || before === undefined) return;
      if (compareInternalKeys(before.largest, table.smallest) >= 0) {
        const message = `tables ${before.number} and ${table.number} overlap in level ${level}`;
        findings.error('LEVELDB_MANIFEST_TABLES', null, message);
      }
    });
  }
}
