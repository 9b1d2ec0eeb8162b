import type { CapturePlan, Engine } from '../../engine/engine.ts';
import type { RunControl } from '../../env/run-control.ts';
import type { CloneChoice, Level, Mode } from '../../options/choices.ts';
import type { ReusableSnapshot } from '../ledger/proven-files.ts';

export interface CaptureRequest {
  readonly engine: Engine;
  /** Real path of the data directory. */
  readonly dir: string;
  /** The partial folder: exists, empty, on the same file system as it will be published on. */
  readonly into: string;
  readonly mode: Mode;
  readonly level: Level;
  /** In mode `copy`, for immutable files. */
  readonly clone: CloneChoice;
  /** Replaces the engine's own plan: what a checkpoint hook holds still. */
  readonly plan?: CapturePlan | undefined;
  /** The newest proven snapshot. Its files may be shared. */
  readonly previous?: ReusableSnapshot | undefined;
  /** Shared files carry no earlier proof: they are left to be read again. */
  readonly reprove: boolean;
  readonly control: RunControl;
  /** How many files, and how many bytes the capture and the proof will read. */
  readonly onPlanned?: (files: number, bytes: number) => void;
  /** No change of the source changes the capture any more. What is still to be read has hard links of our own. */
  readonly onFixed?: () => Promise<void>;
  /** The last byte of the source is read, or pinned: the host may change anything. Reading the copy back goes on. */
  readonly onCaptured?: () => Promise<void>;
}
