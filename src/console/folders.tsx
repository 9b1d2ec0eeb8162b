import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { type Api, type Folder, Refused } from './api.ts';
import { SignIn } from './sign-in.tsx';
import { ago, bytes, plural } from './text.ts';

const EVERY_MS = 5000;

/** Several data directories: a line for each, with what is wrong first. */
export function Folders({ api }: { api: Api }) {
  const [folders, setFolders] = useState<readonly Folder[]>();
  const [problem, setProblem] = useState<string>();
  const [asksForKey, setAsksForKey] = useState<'first' | 'again'>();
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);

  const look = useCallback(async () => {
    clearTimeout(timer.current);
    try {
      setFolders(await api.folders());
      setProblem(undefined);
      setAsksForKey(undefined);
    } catch (error) {
      if (error instanceof Refused && error.code === 'UNAUTHORIZED') {
        setAsksForKey(api.isSignedIn ? 'again' : 'first');
        api.signOut();
        return;
      }
      setProblem(error instanceof Error ? error.message : String(error));
    }
    timer.current = setTimeout(look, EVERY_MS);
  }, [api]);

  useEffect(() => {
    look();
    return () => clearTimeout(timer.current);
  }, [look]);

  if (asksForKey !== undefined) {
    return (
      <SignIn
        isWrong={asksForKey === 'again'}
        onKey={(key) => {
          api.signIn(key);
          look();
        }}
      />
    );
  }
  const nowMs = Date.now();
  const bad = folders?.filter((folder) => !isSafe(folder)) ?? [];
  const sorted = [...bad, ...(folders ?? []).filter(isSafe)];
  return (
    <>
      <header>
        <h1>Stillpoint</h1>
        <p>{folders !== undefined && plural(folders.length, 'data directory', 'data directories')}</p>
      </header>
      <main>
        {problem !== undefined && (
          <p class="notice bad" role="alert">
            No answer from the server: {problem}
          </p>
        )}
        <section aria-labelledby="all" class={`card ${bad.length === 0 ? 'safe' : 'unsafe'}`}>
          <h2 id="all">Are they safe?</h2>
          {folders === undefined ? (
            <p role="status">Asking the server …</p>
          ) : (
            <p class={`sentence ${bad.length === 0 ? 'good' : 'bad'}`} role="status">
              <span aria-hidden="true">{bad.length === 0 ? '✔' : '✘'}</span>{' '}
              {bad.length === 0 ? 'All are safe.' : `${bad.length} of ${folders.length} not safe.`}
            </p>
          )}
          <ul class="snapshots">
            {sorted.map((folder) => (
              <Line key={folder.data_dir} folder={folder} nowMs={nowMs} />
            ))}
          </ul>
        </section>
      </main>
    </>
  );
}

const isSafe = ({ safety }: Folder): boolean => safety?.safe === true;

function Line({ folder, nowMs }: { folder: Folder; nowMs: number }) {
  const { data_dir, page, safety, problem } = folder;
  const tone = isSafe(folder) ? 'good' : 'bad';
  return (
    <li>
      <div class="what">
        <strong>{page === null ? data_dir : <a href={page}>{data_dir}</a>}</strong>
        <span class={`badge ${tone}`}>
          {safety === null ? 'not known' : safety.safe ? 'safe' : 'not safe'}
        </span>
        <div class={tone}>{safety?.summary ?? problem}</div>
        {safety !== null && (
          <div class="small">
            {plural(safety.total.count, 'snapshot')}, {bytes(safety.total.disk_bytes)}
            {safety.last_success_at_ms !== null && ` · last success ${ago(safety.last_success_at_ms, nowMs)}`}
          </div>
        )}
      </div>
    </li>
  );
}
