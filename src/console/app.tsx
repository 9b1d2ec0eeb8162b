import { useRef } from 'preact/hooks';
import { Advice } from './advice.tsx';
import type { Api, Run, Snapshots, Status } from './api.ts';
import { Backups } from './backups.tsx';
import { Charts } from './charts.tsx';
import { DamagedDatabase } from './damaged-database.tsx';
import { Failures } from './failures.tsx';
import { lookOffsite, type Offsite, runningJobs } from './offsite.ts';
import { Plans } from './plans.tsx';
import { Room } from './room.tsx';
import { Running } from './running.tsx';
import { Safety } from './safety.tsx';
import { span } from './text.ts';
import { Timeline } from './timeline.tsx';
import { Upkeep } from './upkeep.tsx';
import { BUSY_MS, IDLE_MS, NoAnswer, useLooking } from './use-looking.tsx';

const RUNS = 100;

interface Seen {
  readonly status: Status;
  readonly list: Snapshots;
  /** Newest first. */
  readonly runs: readonly Run[];
  /** Undefined for a server without plans. */
  readonly offsite: Offsite | undefined;
}

/**
 * The page of one data directory: it asks for everything every few seconds, and at once after an action.
 *
 * @param isOpenHere Whether the server has the database open.
 */
export function App({ api, isOpenHere }: { api: Api; isOpenHere: boolean }) {
  const known = useRef<Offsite>(undefined);
  const looking = useLooking<Seen>(api, async () => {
    const [status, list, runs, offsite] = await Promise.all([
      api.status(),
      api.snapshots(),
      api.runs(RUNS),
      lookOffsite(api, known.current),
    ]);
    known.current = offsite;
    if (!isOpenHere) api.dataDir = status.data_dir;
    const isAtWork = isBusy(status) || (offsite !== undefined && runningJobs(offsite).length > 0);
    return [{ status, list, runs, offsite }, isAtWork ? BUSY_MS : IDLE_MS];
  });
  const { seen, nowMs, again: look } = looking;
  if (looking.signIn !== undefined) return looking.signIn;
  if (seen === undefined) {
    return (
      <main>
        <NoAnswer looking={looking} />
      </main>
    );
  }
  const { status, list, runs, offsite } = seen;
  return (
    <>
      <header>
        <h1>Stillpoint</h1>
        {isOpenHere ? (
          <p>
            {status.engine} · {status.mode.replace('_', ' ')} · up {span(status.uptime_secs * 1000)} · version{' '}
            {status.version}
          </p>
        ) : (
          <p>
            {status.data_dir} · {status.engine} · not open here · version {status.version}
          </p>
        )}
        {location.pathname.includes('/folder/') && <a href="../../">All folders</a>}
        {api.isSignedIn && (
          <button type="button" onClick={looking.signOut}>
            Sign out
          </button>
        )}
      </header>
      <main>
        <NoAnswer looking={looking} />
        <Safety {...seen} nowMs={nowMs} oldMs={looking.oldMs} />
        {status.safety?.source_damaged && (
          <DamagedDatabase api={api} status={status} isOpenHere={isOpenHere} />
        )}
        {status.safety !== null && !status.safety.source_damaged && <Advice safety={status.safety} />}
        <Running api={api} status={status} offsite={offsite} look={look} />
        <Timeline api={api} list={list} status={status} offsite={offsite} nowMs={nowMs} look={look} />
        {offsite !== undefined && <Plans api={api} offsite={offsite} nowMs={nowMs} look={look} />}
        <Charts list={list} runs={runs} offsite={offsite} />
        <Room api={api} list={list} status={status} nowMs={nowMs} look={look} />
        <Backups safety={status.safety} nowMs={nowMs} />
        <Upkeep runs={runs} nowMs={nowMs} />
        <Failures status={status} runs={runs} offsite={offsite} nowMs={nowMs} />
      </main>
    </>
  );
}

const isRunning = (state: Status['backup_state']): boolean =>
  state?.status === 'running' || state?.status === 'queued';

export const isBusy = ({ backup_state, restore_state }: Status): boolean =>
  isRunning(backup_state) || isRunning(restore_state);
