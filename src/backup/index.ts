/** What the library exports of backups off the machine. */
export {
  type Body,
  type Capabilities,
  checkKey,
  checkPrefix,
  type Destination,
  type GetOptions,
  type ListedObject,
  type ListOptions,
  type ObjectInfo,
  type PutOptions,
} from '../destination/destination.ts';
export { type FolderOptions, openFolder } from '../destination/folder.ts';
export { openDestination } from '../destination/open.ts';
export { keepsIfAbsent } from '../destination/probe.ts';
export { BACKUP_LEVELS, type BackupLevel } from '../repository/verify.ts';
export { type BackUpOptions, type BackUpResult, backUp } from './back-up.ts';
export { type DrillBackupOptions, type DrillResult, drillBackup } from './drill-backup.ts';
export type { EncryptionOptions, WrapperOptions } from './encryption.ts';
export type {
  BackupRecord,
  ExecutorJobs,
  Job,
  JobChange,
  JobFilter,
  JobKind,
  JobStatus,
  JobStore,
  RecordState,
} from './jobs/job-store.ts';
export {
  type DeletedBackup,
  deleteBackup,
  type NamedBackup,
  pinBackup,
  type UnpinnedBackup,
  unpinBackup,
} from './keep-backups.ts';
export {
  type BackupList,
  type BackupSummary,
  type FromOptions,
  listBackups,
  type StoreList,
  showBackup,
} from './list-backups.ts';
export {
  cancelJob,
  type ListJobsOptions,
  listJobs,
  listRecords,
  type ShowJobOptions,
  showJob,
} from './list-jobs.ts';
export type { BackupOptions, BackupProgress, DestinationChoice } from './options.ts';
export { type PruneBackupsOptions, type PruneBackupsResult, pruneBackups } from './prune-backups.ts';
export { type Reconciled, type ReconcileOptions, reconcileBackups } from './reconcile-backups.ts';
export {
  type InitRepositoryOptions,
  initRepository,
  type RepositorySummary,
  type StoreSummary,
  showRepository,
} from './repositories.ts';
export {
  addRepositoryKeys,
  type ChangedRepositoryKeys,
  type KeyOptions,
  type KeySlotSummary,
  listRepositoryKeys,
  type RepositoryKeys,
  removeRepositoryKey,
  rotateRepositoryKeys,
} from './repository-keys.ts';
export {
  type FailedAttempt,
  type RepositoryStanding,
  repositoryStandings,
} from './repository-standings.ts';
export {
  type OpenBackupOptions,
  type OpenedBackup,
  openBackup,
  type RestoreBackupOptions,
  type RestoreBackupResult,
  restoreBackup,
} from './restore-backup.ts';
export {
  type BackupDestination,
  type BackupOutcome,
  type BackupRun,
  type BackupSource,
  type OpenSource,
  type RunBackupOptions,
  runBackup,
  type StoredBackup,
} from './run-backup.ts';
export { type SalvageBackupOptions, type SalvagedBackup, salvageBackup } from './salvage-backup.ts';
export {
  type BackupsReport,
  type VerifiedBackup,
  type VerifyAllBackupsOptions,
  verifyAllBackups,
} from './verify-all-backups.ts';
export { type BackupReport, type VerifyBackupOptions, verifyBackup } from './verify-backup.ts';
