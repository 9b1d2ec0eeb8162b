import { Findings } from '../findings.ts';

export const findingsOf = (path: string): Findings => new Findings(path, 'LEVELDB_MORE');
