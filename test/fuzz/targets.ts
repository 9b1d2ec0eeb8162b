import { FILE_TARGETS } from './file-targets.ts';
import { FORMAT_TARGETS } from './format-targets.ts';
import { LEVELDB_TARGETS } from './leveldb-targets.ts';
import { SNAPSHOT_TARGETS } from './snapshot-targets.ts';

/** Every decoder of bytes that may come from anywhere. */
export const TARGETS = [...FORMAT_TARGETS, ...LEVELDB_TARGETS, ...SNAPSHOT_TARGETS, ...FILE_TARGETS];
