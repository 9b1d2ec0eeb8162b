import type { Api, Folder } from './api.ts';
import { Prose } from './prose.tsx';
import { ago, bytes, plural } from './text.ts';
import { IDLE_MS, NoAnswer, useLooking } from './use-looking.tsx';
import { Verdict } from './verdict.tsx';

/** Several data directories: a line for each, with what is wrong first. */
export function Folders({ api }: { api: Api }) {
  const looking = useLooking(api, async () => [await api.folders(), IDLE_MS]);
  const { seen: folders, nowMs } = looking;
  if (looking.signIn !== undefined) return looking.signIn;
  const bad = folders?.filter((folder) => !isSafe(folder)) ?? [];
  const sorted = [...bad, ...(folders ?? []).filter(isSafe)];
  return (
    <>
      <header>
        <h1>Stillpoint</h1>
        <p>{folders !== undefined && plural(folders.length, 'data directory', 'data directories')}</p>
      </header>
      <main>
        <NoAnswer looking={looking} />
        {folders !== undefined && (
          <Verdict
            id="all"
            question="Are they safe?"
            look={bad.length === 0 ? 'safe' : 'unsafe'}
            sentence={bad.length === 0 ? 'All are safe.' : `${bad.length} of ${folders.length} not safe.`}
            oldMs={looking.oldMs}
          >
            <ul class="snapshots">
              {sorted.map((folder) => (
                <Line key={folder.data_dir} folder={folder} nowMs={nowMs} />
              ))}
            </ul>
          </Verdict>
        )}
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
        <div class={tone}>
          <Prose text={safety?.summary ?? problem ?? ''} />
        </div>
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
