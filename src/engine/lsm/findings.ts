import { Findings } from '../findings.ts';

export const findingsOf = (path: string): Findings => new Findings(path, 'LSM_MORE');
