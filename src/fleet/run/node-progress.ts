import type { TargetKind } from '../plan/plan.ts';

export type NodePhase = 'stop' | 'snapshot' | 'start' | 'download' | 'push' | 'verify' | 'done' | 'failed';

export interface NodeProgress {
  readonly targetId: string;
  readonly phase: NodePhase;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export const PHASES: Readonly<Record<TargetKind, NodePhase>> = {
  stop: 'stop',
  'create-snapshot': 'snapshot',
  start: 'start',
  'download-snapshot': 'download',
  'push-snapshot': 'push',
  'verify-artifact': 'verify',
};
