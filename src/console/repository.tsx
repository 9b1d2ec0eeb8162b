import { useRef, useState } from 'preact/hooks';
import type { Api, Errand, ErrandBody, Repository, StoredBackup } from './api.ts';
import { Button } from './button.tsx';
import { CopyCommand } from './copy-command.tsx';
import { Folding } from './folding.tsx';
import { byDay, pointsOf, standingOfBackup } from './history.ts';
import { Row } from './point-rows.tsx';
import { Prose } from './prose.tsx';
import { Question } from './question.tsx';
import { RetentionQuestion } from './retention.tsx';
import { ago, bytes, plural, shown, span, textOf } from './text.ts';
import { BUSY_MS, IDLE_MS, NoAnswer, useLooking } from './use-looking.tsx';
import { type Reading, useRepository } from './use-repository.ts';
import { Verdict } from './verdict.tsx';

type Store = Repository['stores'][number];

type Asked =
  | { readonly what: 'restore'; readonly store: Store; readonly backup: StoredBackup }
  | { readonly what: 'retention'; readonly store: Store };

/** A repository: what can be restored from it. What is done with it is shown also when it cannot be read. */
export function RepositoryPage({ api }: { api: Api }) {
  const [asked, setAsked] = useState<Asked>();
  const [problem, setProblem] = useState<{ text: string; ended: number | null }>();
  const isReading = useRef(false);
  const looking = useLooking<{ errand: Errand | null }>(api, async () => {
    const errand = await api.errand();
    return [{ errand }, errand?.status === 'running' || isReading.current ? BUSY_MS : IDLE_MS];
  });
  const { seen, nowMs, again } = looking;
  const ended = seen && (seen.errand?.finished_at_ms ?? null);
  const reading = useRepository(api, ended, nowMs);
  const { repository, sinceMs } = reading;
  isReading.current = sinceMs !== undefined;
  if (looking.signIn !== undefined) return looking.signIn;
  const begin = async (body: ErrandBody) => {
    setAsked(undefined);
    setProblem(undefined);
    await api.beginErrand(body).catch((error) => setProblem({ text: textOf(error), ended: ended ?? null }));
    await again();
  };
  const isBusy = seen?.errand?.status === 'running';
  const isKnown = looking.oldMs === undefined && sinceMs === undefined && reading.problem === undefined;
  return (
    <>
      <header>
        <h1>Stillpoint</h1>
        <p>
          {repository !== undefined &&
            `repository ${shown(repository.destination)}${repository.encrypted ? ' · encrypted' : ''}`}
        </p>
        <button
          type="button"
          onClick={() => {
            reading.read();
            again();
          }}
        >
          Read it again
        </button>
      </header>
      <main>
        <NoAnswer looking={looking} />
        {seen !== undefined && (
          <>
            <ReadingNote reading={reading} nowMs={nowMs} />
            {repository !== undefined && (
              <Summary
                stores={repository.stores}
                nowMs={nowMs}
                readAtMs={reading.atMs}
                oldMs={isKnown ? undefined : Math.max(0, nowMs - reading.atMs)}
              />
            )}
            <ErrandCard
              api={api}
              errand={seen.errand}
              problem={problem?.ended === ended ? problem?.text : undefined}
              nowMs={nowMs}
              again={again}
            />
            {repository?.stores.map((store) => (
              <StoreCard
                key={store.store_id}
                api={api}
                store={store}
                repository={repository}
                nowMs={nowMs}
                isBusy={isBusy}
                onBegin={begin}
                onAsk={setAsked}
              />
            ))}
          </>
        )}
        {asked?.what === 'restore' && (
          <RestoreQuestion asked={asked} onNo={() => setAsked(undefined)} onYes={begin} />
        )}
        {asked?.what === 'retention' && repository !== undefined && (
          <RetentionQuestion
            api={api}
            repository={repository}
            storeId={asked.store.store_id}
            onNo={() => setAsked(undefined)}
          />
        )}
      </main>
    </>
  );
}

/** Whether it is being read, and why it could not be. */
function ReadingNote({ reading: { sinceMs, problem }, nowMs }: { reading: Reading; nowMs: number }) {
  return (
    <>
      {sinceMs !== undefined && (
        <p role="status">Reading the repository, for {span(Math.max(0, nowMs - sinceMs))} …</p>
      )}
      {problem !== undefined && (
        <p class="notice bad">
          <span role="alert">The repository cannot be read.</span> Why: <Prose text={problem} />
        </p>
      )}
    </>
  );
}

const isGood = (backup: StoredBackup): boolean => standingOfBackup(backup).tone === 'good';
const nameOf = ({ name, store_id }: Store): string => name ?? store_id;

/** What can be restored, in one sentence. */
function Summary({
  stores,
  nowMs,
  readAtMs,
  oldMs,
}: {
  stores: readonly Store[];
  nowMs: number;
  readAtMs: number;
  oldMs: number | undefined;
}) {
  const lacking = stores.filter(({ backups }) => !backups.some(isGood));
  const isSafe = stores.length > 0 && lacking.length === 0;
  return (
    <Verdict
      id="safe"
      question="Can the data be brought back from here?"
      look={isSafe ? 'safe' : 'unsafe'}
      sentence={sentenceOf(stores, lacking, nowMs)}
      oldMs={oldMs}
    >
      <p class="small">
        The repository was read {ago(readAtMs, nowMs)}: its manifests, and names and sizes of the rest.
      </p>
      <ul>
        {stores.map((store) => {
          const good = store.backups.filter(isGood).map(({ created_at_ms }) => created_at_ms);
          return (
            <li key={store.store_id}>
              <strong>{shown(nameOf(store))}</strong>: {plural(store.backups.length, 'backup')}
              {good.length === 1 && `; the verified one was made ${ago(good[0]!, nowMs)}`}
              {good.length > 1 &&
                `; verified ones from ${ago(Math.min(...good), nowMs)} to ${ago(Math.max(...good), nowMs)}`}
            </li>
          );
        })}
      </ul>
    </Verdict>
  );
}

function sentenceOf(stores: readonly Store[], lacking: readonly Store[], nowMs: number): string {
  if (stores.length === 0) return 'No: there is no backup here yet.';
  const lost = lacking.filter(({ backups }) => backups.every(({ damaged }) => damaged));
  if (lost.length > 0) return `No: no backup of ${lost.map(nameOf).join(', ')} is left that is not damaged.`;
  if (lacking.length > 0)
    return `Not known: no backup of ${lacking.map(nameOf).join(', ')} was read in full yet. Verify one.`;
  const readAt = stores.map(({ backups }) =>
    Math.max(...backups.filter(isGood).map(({ verified_at_ms }) => verified_at_ms ?? 0)),
  );
  const least = ago(Math.min(...readAt), nowMs);
  return `Yes: each database has a backup that was read in full and is whole, as of ${least}; its files are still there.`;
}

const ERRANDS: Readonly<Record<Errand['action'], string>> = {
  verify: 'Reading a backup in full',
  drill: 'A drill: a backup is restored for a trial',
  restore: 'Restoring a backup into a folder',
};

interface ErrandProps {
  readonly api: Api;
  readonly errand: Errand | null;
  readonly problem: string | undefined;
  readonly nowMs: number;
  readonly again: () => Promise<void>;
}

function ErrandCard({ api, errand, problem, nowMs, again }: ErrandProps) {
  const cancel = async () => {
    await api.cancelErrand().catch(() => undefined); // it has ended meanwhile
    await again();
  };
  return (
    <section aria-labelledby="runs" class="card">
      <h2 id="runs">What runs now?</h2>
      {problem !== undefined && (
        <p class="bad" role="alert">
          <Prose text={problem} />
        </p>
      )}
      {errand === null && <p role="status">Nothing.</p>}
      {errand !== null && errand.status === 'running' && (
        <div class="run">
          <p role="status">
            {ERRANDS[errand.action]}: {bytes(errand.bytes_processed)}
            {errand.bytes_total !== null && ` of ${bytes(errand.bytes_total)}`}, for{' '}
            {span(nowMs - errand.started_at_ms)}{' '}
            <button type="button" onClick={cancel}>
              Cancel it
            </button>
          </p>
          <progress
            aria-label={ERRANDS[errand.action]}
            max={100}
            {...(errand.bytes_total !== null &&
              errand.bytes_total > 0 && { value: (100 * errand.bytes_processed) / errand.bytes_total })}
          />
        </div>
      )}
      {errand !== null && errand.status !== 'running' && (
        <p
          class={errand.status === 'succeeded' ? 'good' : 'bad'}
          role={errand.status === 'succeeded' ? 'status' : 'alert'}
        >
          Nothing. The last {errand.action}, of {shown(errand.backup_id)}: <Prose text={errand.text ?? ''} />
        </p>
      )}
    </section>
  );
}

interface StoreProps {
  readonly api: Api;
  readonly store: Store;
  readonly repository: Repository;
  readonly nowMs: number;
  readonly isBusy: boolean;
  readonly onBegin: (body: ErrandBody) => void;
  readonly onAsk: (asked: Asked) => void;
}

function StoreCard({ api, store, repository, nowMs, isBusy, onBegin, onAsk }: StoreProps) {
  const { store_id } = store;
  const points = pointsOf([], [{ repository: nameOf(store), backups: store.backups }]);
  return (
    <section aria-label={`Backups of ${nameOf(store)}`} class="card">
      <h2>Backups of {shown(nameOf(store))}</h2>
      {store.backups.length === 0 && <p>There is none.</p>}
      {store.backups.length > 0 && (
        <p class="actions">
          <button type="button" onClick={() => onAsk({ what: 'retention', store })}>
            What would a rule keep? …
          </button>
        </p>
      )}
      {byDay(points).map(({ key, name, points: ofDay, isFolded }) => (
        <Folding key={key} name={name} count={plural(ofDay.length, 'backup')} isFolded={isFolded}>
          {() => (
            <ul class="snapshots">
              {ofDay.map((point) => {
                if (point.kind !== 'backup') return null;
                const { backup } = point;
                const { backup_id: id, files, total_bytes, stored_bytes, verified_at_ms, pinned } = backup;
                const does = (action: 'verify' | 'drill') => onBegin({ action, store_id, backup_id: id });
                return (
                  <Row
                    key={id}
                    atMs={backup.created_at_ms}
                    nowMs={nowMs}
                    standing={standingOfBackup(backup)}
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
                    <Button isBusy={isBusy} aria-label={`Verify ${id}`} onClick={() => does('verify')}>
                      Verify
                    </Button>
                    <Button isBusy={isBusy} aria-label={`Drill ${id}`} onClick={() => does('drill')}>
                      Drill
                    </Button>
                    <Button
                      isBusy={isBusy}
                      aria-label={`Restore ${id}`}
                      onClick={() => onAsk({ what: 'restore', store, backup })}
                    >
                      Restore …
                    </Button>
                    <CopyCommand
                      text={api.backupCommand('restore', repository, store_id, id)}
                      what={`restore ${id}`}
                    />
                  </Row>
                );
              })}
            </ul>
          )}
        </Folding>
      ))}
    </section>
  );
}

interface RestoreProps {
  readonly asked: Extract<Asked, { what: 'restore' }>;
  readonly onNo: () => void;
  readonly onYes: (body: ErrandBody) => void;
}

function RestoreQuestion({ asked: { store, backup }, onNo, onYes }: RestoreProps) {
  const [into, setInto] = useState('');
  const { tone, explanation } = standingOfBackup(backup);
  const { backup_id } = backup;
  return (
    <Question
      title={`Restore ${backup_id}?`}
      yes="Restore it into this folder"
      isReady={into.startsWith('/')}
      onNo={onNo}
      onYes={() => onYes({ action: 'restore', store_id: store.store_id, backup_id, into })}
    >
      <p>
        {bytes(backup.total_bytes ?? 0)} are downloaded into a new folder on the machine of this console, and
        proven. Nothing is replaced: the folder must not exist, or be empty.
      </p>
      {tone !== 'good' && <p class={tone}>{explanation}</p>}
      <p>
        <label for="into">The folder, from the root:</label>{' '}
        <input
          id="into"
          type="text"
          autocomplete="off"
          value={into}
          onInput={({ currentTarget }) => setInto(currentTarget.value)}
        />
      </p>
    </Question>
  );
}
