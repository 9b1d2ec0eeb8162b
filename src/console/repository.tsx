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
import { ago, bytes, plural, span, textOf } from './text.ts';
import { BUSY_MS, IDLE_MS, NoAnswer, useLooking } from './use-looking.tsx';
import { Verdict } from './verdict.tsx';

type Store = Repository['stores'][number];

interface Seen {
  readonly repository: Repository;
  readonly errand: Errand | null;
}

type Asked =
  | { readonly what: 'restore'; readonly store: Store; readonly backup: StoredBackup }
  | { readonly what: 'retention'; readonly store: Store };

/** A repository: what can be restored from it. It is read once, and again after each errand or on request. */
export function RepositoryPage({ api }: { api: Api }) {
  const known = useRef<{ repository: Repository; ended: number | null }>(undefined);
  const [asked, setAsked] = useState<Asked>();
  const [problem, setProblem] = useState<string>();
  const looking = useLooking<Seen>(api, async () => {
    const errand = await api.errand();
    const ended = errand?.finished_at_ms ?? null;
    if (known.current === undefined || known.current.ended !== ended)
      known.current = { repository: await api.repository(), ended };
    const { repository } = known.current;
    return [{ repository, errand }, errand?.status === 'running' ? BUSY_MS : IDLE_MS];
  });
  const { seen, nowMs, again } = looking;
  if (looking.signIn !== undefined) return looking.signIn;
  const begin = async (body: ErrandBody) => {
    setAsked(undefined);
    setProblem(undefined);
    await api.beginErrand(body).catch((error) => setProblem(textOf(error)));
    await again();
  };
  const isBusy = seen?.errand?.status === 'running';
  return (
    <>
      <header>
        <h1>Stillpoint</h1>
        <p>
          {seen !== undefined &&
            `repository ${seen.repository.destination}${seen.repository.encrypted ? ' · encrypted' : ''}`}
        </p>
        <button
          type="button"
          onClick={() => {
            known.current = undefined;
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
            <Summary stores={seen.repository.stores} nowMs={nowMs} oldMs={looking.oldMs} />
            <ErrandCard api={api} errand={seen.errand} problem={problem} nowMs={nowMs} again={again} />
            {seen.repository.stores.map((store) => (
              <StoreCard
                key={store.store_id}
                api={api}
                store={store}
                destination={seen.repository.destination}
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
        {asked?.what === 'retention' && (
          <RetentionQuestion api={api} storeId={asked.store.store_id} onNo={() => setAsked(undefined)} />
        )}
      </main>
    </>
  );
}

const isGood = (backup: StoredBackup): boolean => standingOfBackup(backup).tone === 'good';
const nameOf = ({ name, store_id }: Store): string => name ?? store_id;

/** What can be restored, in one sentence. */
function Summary({
  stores,
  nowMs,
  oldMs,
}: {
  stores: readonly Store[];
  nowMs: number;
  oldMs: number | undefined;
}) {
  const lacking = stores.filter(({ backups }) => !backups.some(isGood));
  const isSafe = stores.length > 0 && lacking.length === 0;
  return (
    <Verdict
      id="safe"
      question="Can the data be brought back from here?"
      look={isSafe ? 'safe' : 'unsafe'}
      sentence={sentenceOf(stores, lacking)}
      oldMs={oldMs}
    >
      <ul>
        {stores.map((store) => {
          const good = store.backups.filter(isGood).map(({ created_at_ms }) => created_at_ms);
          return (
            <li key={store.store_id}>
              <strong>{nameOf(store)}</strong>: {plural(store.backups.length, 'backup')}
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

function sentenceOf(stores: readonly Store[], lacking: readonly Store[]): string {
  if (stores.length === 0) return 'No: there is no backup here yet.';
  if (lacking.length === 0) return 'Yes: each database has a backup that was read in full and is whole.';
  return `Not known: no backup of ${lacking.map(nameOf).join(', ')} was read in full yet. Verify one.`;
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
          Nothing. The last {errand.action}, of {errand.backup_id}: {errand.text}
        </p>
      )}
    </section>
  );
}

interface StoreProps {
  readonly api: Api;
  readonly store: Store;
  readonly destination: string;
  readonly nowMs: number;
  readonly isBusy: boolean;
  readonly onBegin: (body: ErrandBody) => void;
  readonly onAsk: (asked: Asked) => void;
}

function StoreCard({ api, store, destination, nowMs, isBusy, onBegin, onAsk }: StoreProps) {
  const { store_id } = store;
  const points = pointsOf([], [{ repository: nameOf(store), backups: store.backups }]);
  return (
    <section aria-label={`Backups of ${nameOf(store)}`} class="card">
      <h2>Backups of {nameOf(store)}</h2>
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
                      text={api.backupCommand('restore', destination, store_id, id)}
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
