import type { ComponentChildren } from 'preact';
import type { Snapshot, StoredBackup } from './api.ts';
import { Button } from './button.tsx';
import { CopyCommand } from './copy-command.tsx';
import { type Standing, standingOf, standingOfBackup } from './history.ts';
import { Prose } from './prose.tsx';
import { ago, bytes, plural, time } from './text.ts';

interface SnapshotProps {
  readonly snapshot: Snapshot;
  readonly command: string;
  readonly nowMs: number;
  readonly isBusy: boolean;
  readonly isVerifying: boolean;
  readonly onVerify: () => void;
  readonly onAsk: (what: 'restore' | 'delete') => void;
}

export function SnapshotRow({
  snapshot,
  command,
  nowMs,
  isBusy,
  isVerifying,
  onVerify,
  onAsk,
}: SnapshotProps) {
  const {
    name,
    created_at_ms: atMs,
    entries,
    disk_bytes,
    own_bytes,
    verified_at_ms,
    delete_refused: refused,
  } = snapshot;
  return (
    <Row
      atMs={atMs}
      nowMs={nowMs}
      standing={standingOf(snapshot)}
      detail={
        <>
          {name} · {entries === null ? 'files unknown' : plural(entries, 'file')}
          {disk_bytes !== null && ` · ${bytes(disk_bytes)}`}
          {own_bytes !== null && `, ${bytes(own_bytes)} of its own`}
          {verified_at_ms !== null && ` · read ${ago(verified_at_ms, nowMs)}`}
        </>
      }
    >
      <Button isBusy={isVerifying} aria-label={`Verify ${name}`} onClick={onVerify}>
        {isVerifying ? 'Reading …' : 'Verify'}
      </Button>
      <Button isBusy={isBusy} aria-label={`Restore ${name}`} onClick={() => onAsk('restore')}>
        Restore …
      </Button>
      {refused === null ? (
        <Button isBusy={isBusy} aria-label={`Delete ${name}`} onClick={() => onAsk('delete')}>
          Delete …
        </Button>
      ) : (
        <span class="small">
          Not to be deleted: <Prose text={refused} />
        </span>
      )}
      <CopyCommand text={command} what={`restore ${name}`} />
    </Row>
  );
}

interface BackupProps {
  readonly backup: StoredBackup;
  readonly repository: string;
  readonly command: string;
  readonly nowMs: number;
  readonly isBusy: boolean;
  readonly onRestore: () => void;
}

export function BackupRow({ backup, repository, command, nowMs, isBusy, onRestore }: BackupProps) {
  const {
    backup_id: id,
    created_at_ms: atMs,
    files,
    total_bytes,
    stored_bytes,
    verified_at_ms,
    pinned,
  } = backup;
  return (
    <Row
      atMs={atMs}
      nowMs={nowMs}
      standing={standingOfBackup(backup)}
      where={repository}
      detail={
        <>
          {id} · {files === null ? 'files unknown' : plural(files, 'file')}
          {total_bytes !== null && ` · ${bytes(total_bytes)}`}
          {stored_bytes !== null && `, ${bytes(stored_bytes)} stored for it`}
          {pinned && ' · pinned'}
          {verified_at_ms !== null && ` · read ${ago(verified_at_ms, nowMs)}`}
        </>
      }
    >
      <Button isBusy={isBusy} aria-label={`Restore ${id} from ${repository}`} onClick={onRestore}>
        Restore …
      </Button>
      <CopyCommand text={command} what={`restore ${id} from ${repository}`} />
    </Row>
  );
}

interface RowProps {
  readonly atMs: number;
  readonly nowMs: number;
  readonly standing: Standing;
  /** The repository; beside the database if there is none. */
  readonly where?: string;
  readonly detail: ComponentChildren;
  readonly children: ComponentChildren;
}

/** One line of a timeline: when it was, how it stands, and what can be done with it. */
export function Row({
  atMs,
  nowMs,
  standing: { word, tone, explanation },
  where,
  detail,
  children,
}: RowProps) {
  return (
    <li>
      <div class="what">
        <strong>
          <time dateTime={new Date(atMs).toISOString()}>{time(atMs)}</time>
        </strong>{' '}
        <span class="small">{ago(atMs, nowMs)}</span>
        <span class={`badge ${tone}`} title={explanation}>
          {word}
        </span>
        {where !== undefined && <span class="badge where">backup in {where}</span>}
        <div class="small">{detail}</div>
        {tone !== 'good' && <div class={tone}>{explanation}</div>}
      </div>
      <div class="actions">{children}</div>
    </li>
  );
}
