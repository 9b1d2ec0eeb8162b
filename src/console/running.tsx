import { useEffect, useState } from 'preact/hooks';
import type { Api, Job, RunState, Status } from './api.ts';
import { Button } from './button.tsx';
import { CopyCommand } from './copy-command.tsx';
import { type Offsite, runningJobs } from './offsite.ts';
import { Prose } from './prose.tsx';
import { bytes, span, textOf } from './text.ts';

const PHASES: Readonly<Record<string, string>> = {
  admit: 'waiting for its turn',
  checkpoint: 'asking the database to hold still',
  capture: 'copying what may change',
  copy: 'copying the rest',
  prove: 'reading the copy back',
  seal: 'writing the manifest',
  publish: 'giving the snapshot its name',
  mark: 'moving the latest marker',
  close: 'closing the database',
  exchange: 'exchanging the files',
  open: 'opening the database',
};

interface Props {
  readonly api: Api;
  readonly status: Status;
  readonly offsite: Offsite | undefined;
  readonly look: () => Promise<void>;
}

/** What runs now, and a button to begin. */
export function Running({ api, status, offsite, look }: Props) {
  const [handle, setHandle] = useState<string>();
  const [state, setState] = useState<RunState>();
  const [problem, setProblem] = useState<string>();

  useEffect(() => {
    if (handle === undefined) return;
    const gone = new AbortController();
    const follow = async () => {
      for await (const next of api.follow(handle, gone.signal)) setState(next);
    };
    follow()
      .catch((error) => gone.signal.aborted || setProblem(String(error.message ?? error)))
      .finally(() => {
        if (gone.signal.aborted) return;
        setHandle(undefined);
        look();
      });
    return () => gone.abort();
  }, [api, handle, look]);

  /** Where one is damaged, another may share the damage that nobody has found yet. */
  const isFull = (status.safety?.damaged.length ?? 0) > 0;
  const begin = async () => {
    setProblem(undefined);
    setState(undefined);
    try {
      const reply = await api.backUp(isFull);
      setState(reply.state);
      setHandle(reply.handle);
    } catch (error) {
      setProblem(textOf(error));
    }
  };
  const backup = handle !== undefined && state !== undefined ? state : status.backup_state;
  const isBackup = isUnderWay(backup);
  const isRestore = isUnderWay(status.restore_state);
  const jobs = offsite === undefined ? [] : runningJobs(offsite);
  const cancelJob = async ({ id }: Job) => {
    await api.cancelJob(id).catch((error) => setProblem(textOf(error)));
    await look();
  };
  return (
    <section aria-labelledby="runs" class="card">
      <h2 id="runs">What runs now?</h2>
      {isBackup && <Bar name="A snapshot" state={backup!} />}
      {isRestore && <Bar name="A restore" state={status.restore_state!} />}
      {jobs.map((job) => (
        <JobBar key={job.id} job={job} onCancel={() => cancelJob(job)} />
      ))}
      {!isBackup && !isRestore && jobs.length === 0 && (
        <p role="status">
          Nothing{ended(state)}
          {endedRestore(status.restore_state)}.
        </p>
      )}
      {problem !== undefined && (
        <p class="bad" role="alert">
          <Prose text={problem} />
        </p>
      )}
      <p class="actions">
        <Button
          class={status.safety?.source_damaged ? '' : 'main'}
          isBusy={isBackup || isRestore}
          onClick={begin}
        >
          Snapshot now
        </Button>
        {handle !== undefined && isBackup && (
          <button
            type="button"
            onClick={() => api.cancel(handle).catch((error) => setProblem(textOf(error)))}
          >
            Cancel it
          </button>
        )}
        <CopyCommand text={api.snapshotCommand(isFull)} what="a snapshot" />
      </p>
    </section>
  );
}

function Bar({ name, state }: { name: string; state: RunState }) {
  const { progress, phase, started_at_ms: beganMs } = state;
  const percent = progress?.percent ?? null;
  return (
    <div class="run" role="status" aria-live="polite">
      <p>
        {name}: {PHASES[phase ?? ''] ?? phase ?? 'waiting'}
        {progress?.bytes_processed != null && `, ${bytes(progress.bytes_processed)}`}
        {progress?.bytes_total != null && ` of ${bytes(progress.bytes_total)}`}
        {beganMs !== null && `, for ${span(Date.now() - beganMs)}`}
      </p>
      <progress aria-label={name} max={100} {...(percent !== null && { value: percent })} />
    </div>
  );
}

const JOB_NAMES: Readonly<Record<Job['kind'], string>> = {
  backup: 'A backup off the machine',
  restore: 'A restore from a repository',
  verify: 'Reading a backup again',
  drill: 'A drill: a backup is restored for a trial',
  prune: 'Removing old backups',
};

function JobBar({ job, onCancel }: { job: Job; onCancel: () => void }) {
  const name = JOB_NAMES[job.kind];
  return (
    <div class="run">
      <p role="status">
        {name}, for {span(Date.now() - job.started_at_ms)}{' '}
        <button type="button" aria-label={`Cancel: ${name}`} onClick={onCancel}>
          Cancel it
        </button>
      </p>
      <progress aria-label={name} max={100} value={job.progress} />
    </div>
  );
}

const isUnderWay = (state: RunState | null): boolean =>
  state?.status === 'running' || state?.status === 'queued';

function ended(state: RunState | undefined): string {
  if (state === undefined || isUnderWay(state)) return '';
  const what =
    state.status === 'completed' ? 'was taken and proven' : `${state.status}: ${state.reason ?? ''}`;
  return `; the snapshot ${what}`;
}

function endedRestore(state: RunState | null): string {
  if (state === null || isUnderWay(state)) return '';
  return state.status === 'completed'
    ? '; the last restore was completed'
    : `; the last restore ${state.status}: ${state.reason ?? ''}`;
}
