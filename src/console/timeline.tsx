import { useState } from 'preact/hooks';
import type { Api, Report, Snapshot, Snapshots, Status } from './api.ts';
import { CopyCommand } from './copy-command.tsx';
import { byDay, standingOf } from './history.ts';
import { Question } from './question.tsx';
import { textOf } from './running.tsx';
import { ago, bytes, plural, time } from './text.ts';

interface Props {
  readonly api: Api;
  readonly list: Snapshots;
  readonly status: Status;
  readonly nowMs: number;
  readonly look: () => Promise<void>;
}

type Asked = { readonly what: 'restore' | 'delete'; readonly snapshot: Snapshot } | { readonly what: 'undo' };

/** What can I go back to? The snapshots by day, and what can be done with each. */
export function Timeline({ api, list, status, nowMs, look }: Props) {
  const [asked, setAsked] = useState<Asked>();
  const [told, setTold] = useState<{ text: string; isBad: boolean }>();
  const [verifying, setVerifying] = useState<string>();
  const isBusy = status.restore_state?.status === 'running' || status.backup_state?.status === 'running';

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
  const verify = async ({ name }: Snapshot) => {
    setVerifying(name);
    setTold(undefined);
    try {
      const report = await api.verify(name);
      setTold({ text: `${name}: ${verdictOf(report)}`, isBad: !report.ok });
    } catch (error) {
      setTold({ text: textOf(error), isBad: true });
    } finally {
      setVerifying(undefined);
    }
    await look();
  };
  const undoable = status.safety?.undo.count ?? 0;
  return (
    <section aria-labelledby="back" class="card">
      <h2 id="back">What can I go back to?</h2>
      {undoable > 0 && (
        <p class="notice">
          A restore, or the undo of one, replaced the data{' '}
          {ago(status.safety!.undo.newest_at_ms ?? nowMs, nowMs)}. What was there is kept.{' '}
          <button type="button" disabled={isBusy} onClick={() => setAsked({ what: 'undo' })}>
            Undo it
          </button>
        </p>
      )}
      {told !== undefined && (
        <p class={told.isBad ? 'bad' : 'good'} role={told.isBad ? 'alert' : 'status'}>
          {told.text}
        </p>
      )}
      {list.snapshots.length === 0 && <p>There is no snapshot yet.</p>}
      {byDay(list.snapshots).map(({ name, snapshots, isFolded }) => (
        <details key={name} open={!isFolded}>
          <summary>
            {name} <span class="small">({plural(snapshots.length, 'snapshot')})</span>
          </summary>
          <ul class="snapshots">
            {snapshots.map((snapshot) => (
              <Row
                key={snapshot.name}
                snapshot={snapshot}
                command={api.commandFor('POST', 'restore', { source: snapshot.name })}
                nowMs={nowMs}
                isBusy={isBusy}
                isVerifying={verifying === snapshot.name}
                onVerify={() => verify(snapshot)}
                onAsk={(what) => setAsked({ what, snapshot })}
              />
            ))}
          </ul>
        </details>
      ))}
      {asked?.what === 'restore' && (
        <Question
          title={`Restore ${asked.snapshot.name}?`}
          yes="Replace the data"
          onNo={() => setAsked(undefined)}
          onYes={() =>
            act(async () => {
              await api.restore(asked.snapshot.name);
              return undefined; // how far it is, and what came of it, stands under "What runs now?"
            })
          }
        >
          <p>
            The database is closed, its data of now is replaced by that of{' '}
            {time(asked.snapshot.created_at_ms)} ({bytes(asked.snapshot.total_bytes ?? 0)}), and it is opened
            again. Writes since then are not in it.
          </p>
          <p>
            What is replaced is kept in an undo folder until you remove it: <strong>Undo it</strong> brings it
            back.
          </p>
          {asked.snapshot.state !== 'good' && (
            <p class="bad">
              {standingOf(asked.snapshot).explanation}
              {list.latest_good !== null &&
                list.latest_good !== asked.snapshot.name &&
                ` The best of the others is ${list.latest_good}.`}
            </p>
          )}
        </Question>
      )}
      {asked?.what === 'delete' && (
        <Question
          title={`Delete ${asked.snapshot.name}?`}
          yes="Delete it for good"
          onNo={() => setAsked(undefined)}
          onYes={() =>
            act(async () => {
              await api.delete(asked.snapshot.name);
              return `${asked.snapshot.name} was deleted.`;
            })
          }
        >
          <p>The disk gets back {bytes(asked.snapshot.own_bytes ?? 0)}. This cannot be undone.</p>
        </Question>
      )}
      {asked?.what === 'undo' && (
        <Question
          title="Undo the restore?"
          yes="Bring back what was replaced"
          onNo={() => setAsked(undefined)}
          onYes={() =>
            act(async () => {
              await api.undo();
              return undefined;
            })
          }
        >
          <p>
            The database is closed, gets back what the last restore replaced, and is opened again. What it
            holds now is kept in turn.
          </p>
        </Question>
      )}
    </section>
  );
}

interface RowProps {
  readonly snapshot: Snapshot;
  /** That restores it. */
  readonly command: string;
  readonly nowMs: number;
  readonly isBusy: boolean;
  readonly isVerifying: boolean;
  readonly onVerify: () => void;
  readonly onAsk: (what: 'restore' | 'delete') => void;
}

function Row({ snapshot, command, nowMs, isBusy, isVerifying, onVerify, onAsk }: RowProps) {
  const { name, created_at_ms: atMs, entries, disk_bytes, own_bytes, verified_at_ms } = snapshot;
  const { word, tone, explanation } = standingOf(snapshot);
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
        <div class="small">
          {name} · {entries === null ? 'files unknown' : plural(entries, 'file')}
          {disk_bytes !== null && ` · ${bytes(disk_bytes)}`}
          {own_bytes !== null && `, ${bytes(own_bytes)} of its own`}
          {verified_at_ms !== null && ` · read ${ago(verified_at_ms, nowMs)}`}
        </div>
        {tone !== 'good' && <div class={tone}>{explanation}</div>}
      </div>
      <div class="actions">
        <button type="button" disabled={isVerifying} aria-label={`Verify ${name}`} onClick={onVerify}>
          {isVerifying ? 'Reading …' : 'Verify'}
        </button>
        <button
          type="button"
          disabled={isBusy}
          aria-label={`Restore ${name}`}
          onClick={() => onAsk('restore')}
        >
          Restore …
        </button>
        <button type="button" disabled={isBusy} aria-label={`Delete ${name}`} onClick={() => onAsk('delete')}>
          Delete …
        </button>
        <CopyCommand text={command} what={`restore ${name}`} />
      </div>
    </li>
  );
}

function verdictOf({ ok, verdict, findings, counts, medium }: Report): string {
  if (ok) {
    const where = medium ? ' from the disk itself' : '';
    return `read${where} and whole: ${plural(counts.files, 'file')}, ${plural(counts.entries, 'entry', 'entries')}`;
  }
  const worst = findings.find(({ severity }) => severity === 'error') ?? findings[0];
  return worst === undefined ? verdict : `${verdict}: ${worst.path} ${worst.message}`;
}
