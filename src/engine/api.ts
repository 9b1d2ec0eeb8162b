/**
 * `stillpoint/engine`: what the module of an engine imports. It loads little, since each worker thread imports that module too.
 */

export type {
  FileIdentity,
  FileKind,
  FileStat,
  FileSystem,
  FolderEntry,
  OpenFile,
  OpenHow,
} from '../env/file-system.ts';
export { listRegularFiles } from '../env/folder-tree.ts';
export { readFully } from '../env/io.ts';
export type { TaskRun } from '../env/run-control.ts';
export { StillpointError } from '../errors.ts';
export type { Level } from '../options/choices.ts';
export {
  type BytesItem,
  type CaptureItem,
  type CapturePlan,
  type ConsistencyCheck,
  type Engine,
  type EngineName,
  type Extent,
  type FileCheck,
  type FileCheckRequest,
  type History,
  type Hold,
  type ImageItem,
  type ImmutableItem,
  LIFECYCLE,
  MANIFEST,
  type Part,
  type PartOfFolder,
  type Patch,
  type PlanContext,
  type PlanRounds,
} from './engine.ts';
export { checkRawFile, joinRawParts, streamFile } from './raw-file-check.ts';
export type { Counts, Finding } from './report.ts';
