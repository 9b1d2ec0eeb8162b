import { useState } from 'preact/hooks';
import type {
  Api,
  Report,
  Snapshot,
  Snapshots,
  Status,
  StoredBackup,
  UndoFolder,
  VerifiedAll,
} from './api.ts';
import { Button } from './button.tsx';
import { CopyCommand } from './copy-command.tsx';
import { Folding } from './folding.tsx';
import { byDay, pointsOf, standingOf, standingOfBackup } from './history.ts';
import type { Offsite } from './offsite.ts';
import { BackupRow, SnapshotRow } from './point-rows.tsx';
import { Prose } from './prose.tsx';
import { PruneQuestion } from './prune.tsx';
import { Question } from './question.tsx';
import { ago, bytes, plural, sentence, textOf, time } from './text.ts';
import { type Message, Told } from './told.tsx';

interface Props {
  readonly api: Api;
  readonly list: Snapshots;
  readonly status: Status;
  readonly offsite: Offsite | undefined;
  readonly nowMs: number;
  readonly look: () => Promise<void>;
}

type Asked =
  | { readonly what: 'restore' | 'delete'; readonly snapshot: Snapshot }
  | { readonly what: 'restore-backup'; readonly backup: StoredBackup; readonly repository: string }
  | { readonly what: 'undo'; readonly folder: UndoFolder }
  | { readonly what: 'prune' };

/** Stands for all snapshots where the one that is being verified is named. */
const ALL = '';
/** What the question about old snapshots begins with. */
const KEEP = 7;

/** What can I go back to? Snapshots and backups by day, and what can be done with each. */
export function Timeline({ api, list, status, offsite, nowMs, look }: Props) {
  const [asked, setAsked] = useState<Asked>();
  const [told, setTold] = useState<Message>();
  const [verifying, setVerifying] = useState<string>();
  const isBusy = status.restore_state?.status === 'running' || status.backup_state?.status === 'running';
  const no = () => setAsked(undefined);

  /** How far a restore is, and what came of it, stands under "What runs now?": it has nothing to tell here. */
  const act = async (work: () => Promise<string | undefined>) => {
    setAsked(undefined);
    setTold(undefined);
    try {
      const text = await work();
      if (text !== undefined) setTold({ text, isBad: false });
    } catch (error) {
      setTold({ text: textOf(error), isBad: true });
    }
    await look();
  };
  const verify = async (name: string, work: () => Promise<Message>) => {
    setVerifying(name);
    setTold(undefined);
    try {
      setTold(await work());
    } catch (error) {
      setTold({ text: textOf(error), isBad: true });
    } finally {
      setVerifying(undefined);
    }
    await look();
  };
  const verifyOne = async (name: string) => {
    const report = await api.verify(name);
    return { text: `${name}: ${verdictOf(report)}`, isBad: !report.ok };
  };
  const verifyAll = async () => {
    const result = await api.verifyAll();
    return { text: verdictOfAll(result), isBad: !result.ok };
  };
  const replaced = status.safety?.undo_folders.at(-1);
  const points = pointsOf(list.snapshots, offsite?.stored ?? []);
  return (
    <section aria-labelledby="back" class="card">
      <h2 id="back">What can I go back to?</h2>
      {replaced !== undefined && (
        <div class="notice">
          A restore, or the undo of one, replaced the data {ago(replaced.created_at_ms, nowMs)}. What was
          there is kept.{' '}
          <Button isBusy={isBusy} onClick={() => setAsked({ what: 'undo', folder: replaced })}>
            Undo it
          </Button>
          {replaced.damaged && replaced.may_hold_writes && (
            <p>
              It was found damaged, and may hold writes that no snapshot has. What can be read of them goes
              into a new database, and nothing changes here:{' '}
              <CopyCommand
                text={api.salvageCommand(replaced.location, `${status.data_dir}-${replaced.name}`)}
                what="salvage what was replaced"
                isMain
              />
            </p>
          )}
        </div>
      )}
      {list.snapshots.length > 0 && (
        <p class="actions">
          <Button isBusy={verifying !== undefined} onClick={() => verify(ALL, verifyAll)}>
            {verifying === ALL ? 'Reading all …' : 'Verify all snapshots'}
          </Button>
          <Button isBusy={isBusy} onClick={() => setAsked({ what: 'prune' })}>
            Remove old snapshots …
          </Button>
        </p>
      )}
      <Told message={told} />
      {offsite?.stored.map(
        ({ repository, problem }) =>
          problem !== undefined && (
            <p key={repository} class="bad" role="alert">
              The backups in {repository} cannot be shown: <Prose text={problem} />
            </p>
          ),
      )}
      {points.length === 0 && <p>There is no snapshot yet{offsite !== undefined && ', and no backup'}.</p>}
      {byDay(points).map(({ key, name, points: ofDay, isFolded }) => (
        <Folding key={key} name={name} count={countOf(ofDay)} isFolded={isFolded}>
          {() => (
            <ul class="snapshots">
              {ofDay.map((point) =>
                point.kind === 'snapshot' ? (
                  <SnapshotRow
                    key={point.id}
                    snapshot={point.snapshot}
                    command={api.restoreCommand(point.snapshot.name)}
                    nowMs={nowMs}
                    isBusy={isBusy}
                    isVerifying={verifying === point.snapshot.name}
                    onVerify={() => verify(point.snapshot.name, () => verifyOne(point.snapshot.name))}
                    onAsk={(what) => setAsked({ what, snapshot: point.snapshot })}
                  />
                ) : (
                  <BackupRow
                    key={point.id}
                    backup={point.backup}
                    repository={point.repository}
                    command={api.restoreCommand(point.backup.backup_id, point.repository)}
                    nowMs={nowMs}
                    isBusy={isBusy}
                    onRestore={() =>
                      setAsked({ what: 'restore-backup', backup: point.backup, repository: point.repository })
                    }
                  />
                ),
              )}
            </ul>
          )}
        </Folding>
      ))}
      {asked?.what === 'restore' && (
        <Question
          title={`Restore ${asked.snapshot.name}?`}
          {...(asked.snapshot.state !== 'damaged' && { yes: 'Replace the data' })}
          onNo={no}
          onYes={() =>
            act(async () => {
              await api.restore(asked.snapshot.name);
              return undefined;
            })
          }
        >
          {asked.snapshot.state === 'damaged' ? (
            <p>A damaged snapshot cannot be restored; what can be read of it can be salvaged.</p>
          ) : (
            <WhatIsReplaced
              isOpenHere={api.dataDir === undefined}
              atMs={asked.snapshot.created_at_ms}
              sizeBytes={asked.snapshot.total_bytes}
            />
          )}
          {asked.snapshot.state !== 'good' && (
            <p class="bad">
              {sentence(standingOf(asked.snapshot).explanation)}
              {list.latest_good !== null &&
                list.latest_good !== asked.snapshot.name &&
                ` The best of the others is ${list.latest_good}.`}
            </p>
          )}
        </Question>
      )}
      {asked?.what === 'restore-backup' && (
        <Question
          title={`Restore a backup from ${asked.repository}?`}
          yes="Replace the data"
          onNo={no}
          onYes={() =>
            act(async () => {
              await api.restore(asked.backup.backup_id, asked.repository);
              return undefined;
            })
          }
        >
          <p>It is downloaded and proven first.</p>
          <WhatIsReplaced
            isOpenHere={api.dataDir === undefined}
            atMs={asked.backup.created_at_ms}
            sizeBytes={asked.backup.total_bytes}
          />
          {standingOfBackup(asked.backup).tone !== 'good' && (
            <p class="bad">{sentence(standingOfBackup(asked.backup).explanation)}</p>
          )}
        </Question>
      )}
      {asked?.what === 'delete' && (
        <Question
          title={`Delete ${asked.snapshot.name}?`}
          yes="Delete it for good"
          onNo={no}
          onYes={() =>
            act(async () => {
              await api.delete(asked.snapshot.name);
              return `${asked.snapshot.name} was deleted.`;
            })
          }
        >
          <p>The disk gets back {bytes(asked.snapshot.own_bytes ?? 0)}. This cannot be undone.</p>
          {status.safety?.left_behind.includes(asked.snapshot.name) && (
            <LeftBehind api={api} snapshot={asked.snapshot} dataDir={status.data_dir} />
          )}
        </Question>
      )}
      {asked?.what === 'prune' && (
        <PruneQuestion
          api={api}
          keep={KEEP}
          onNo={no}
          onYes={(keep, shown) =>
            act(async () => {
              const { removed, freed_bytes } = await api.pruneAsShown(keep, shown);
              return `${plural(removed.length, 'snapshot')} removed; the disk got back ${bytes(freed_bytes)}.`;
            })
          }
        />
      )}
      {asked?.what === 'undo' && (
        <Question
          title="Bring back what was replaced last?"
          yes="Bring back what was replaced"
          onNo={no}
          onYes={() =>
            act(async () => {
              await api.undo(asked.folder.name);
              return undefined;
            })
          }
        >
          <p>
            The database is closed, gets back what was replaced at {time(asked.folder.created_at_ms)}, and is
            opened again. What it holds now is kept in turn.
          </p>
          {asked.folder.damaged && (
            <p class="bad">What was there was found damaged. Salvage it rather: that changes nothing here.</p>
          )}
        </Question>
      )}
    </section>
  );
}

interface LeftBehindProps {
  readonly api: Api;
  readonly snapshot: Snapshot;
  readonly dataDir: string;
}

/** What is lost with a snapshot after which the database went back, and how to keep it. */
function LeftBehind({ api, snapshot: { name, location, state }, dataDir }: LeftBehindProps) {
  const command =
    state === 'damaged'
      ? api.salvageCommand(location, `${dataDir}-${name}`)
      : api.restoreIntoCommand(name, dataDir);
  return (
    <>
      <p class="bad">
        The database went back after it: it may hold writes that no newer one has. They would be lost.
      </p>
      <p>To keep them, write them into a new folder first:</p>
      <p class="actions">
        <CopyCommand text={command} what="keep its writes" isMain />
      </p>
    </>
  );
}

interface ReplacedProps {
  /** Whether this server has the database open, and closes it by itself. */
  readonly isOpenHere: boolean;
  readonly atMs: number;
  readonly sizeBytes: number | null;
}

function WhatIsReplaced({ isOpenHere, atMs, sizeBytes }: ReplacedProps) {
  const source = `${time(atMs)} (${bytes(sizeBytes ?? 0)})`;
  return (
    <>
      <p>
        {isOpenHere
          ? `The database is closed, the data it has now is replaced by that of ${source}, and it is opened again.`
          : `The data it has now is replaced by that of ${source}. While any program has the database open, nothing is replaced.`}{' '}
        Writes since then are not in it.
      </p>
      <p>
        What is replaced is kept in an undo folder until you remove it: <strong>Undo it</strong> brings it
        back.
      </p>
    </>
  );
}

function countOf(points: readonly { readonly kind: 'snapshot' | 'backup' }[]): string {
  const backups = points.filter(({ kind }) => kind === 'backup').length;
  const snapshots = points.length - backups;
  const parts = [snapshots > 0 && plural(snapshots, 'snapshot'), backups > 0 && plural(backups, 'backup')];
  return parts.filter(Boolean).join(', ');
}

function verdictOf({ ok, verdict, findings, counts, medium }: Report): string {
  if (ok) {
    const where = medium ? ' from the disk itself' : '';
    return `read${where} and whole: ${plural(counts.files, 'file')}, ${plural(counts.entries, 'entry', 'entries')}`;
  }
  const worst = findings.find(({ severity }) => severity === 'error') ?? findings[0];
  return worst === undefined ? verdict : `${verdict}: ${worst.path} ${worst.message}`;
}

function verdictOfAll({ ok, snapshots, totals }: VerifiedAll): string {
  if (ok) {
    const { read_bytes, snapshots: count } = totals;
    return `${plural(count, 'snapshot')} read and whole; ${bytes(read_bytes)} were read.`;
  }
  const bad = snapshots.filter(({ report }) => !report.ok);
  return (
    bad.map(({ name, report }) => `${name}: ${verdictOf(report)}`).join('; ') || 'Not all could be read.'
  );
}
