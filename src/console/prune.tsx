import { useState } from 'preact/hooks';
import type { Api } from './api.ts';
import { Prose } from './prose.tsx';
import { Question } from './question.tsx';
import { bytes, plural } from './text.ts';
import { useDryRun } from './use-dry-run.ts';

interface Props {
  readonly api: Api;
  /** How many stay unless the reader says otherwise. */
  readonly keep: number;
  readonly onNo: () => void;
  /** @param shown The names of those that go. */
  readonly onYes: (keep: number, shown: readonly string[]) => void;
}

/** Says which snapshots would go, and why each stays or goes; nothing is removed before it was shown. */
export function PruneQuestion({ api, keep: first, onNo, onYes }: Props) {
  const [keep, setKeep] = useState(first);
  const { shown, problem } = useDryRun(keep, 1, api.prune);
  const names = shown?.pruned.removed.map(({ name }) => name) ?? [];
  const count = names.length;
  return (
    <Question
      title="Remove old snapshots?"
      yes={`Remove ${plural(count, 'snapshot')} for good`}
      isReady={count > 0}
      onNo={onNo}
      onYes={() => shown !== undefined && onYes(shown.keep, names)}
    >
      <p>
        <label for="keep">The newest that stay:</label>{' '}
        <input
          id="keep"
          type="number"
          class="count"
          min={1}
          value={keep}
          onInput={({ currentTarget }) => setKeep(currentTarget.valueAsNumber)}
        />
      </p>
      <div role="status">
        {problem !== undefined && (
          <p class="bad">
            <Prose text={problem} />
          </p>
        )}
        {problem === undefined && shown === undefined && <p>Asking the server …</p>}
        {shown !== undefined && (
          <p>
            {count === 0 ? 'None would go.' : `${plural(count, 'snapshot')} would go; `}
            {count > 0 && `the disk gets back ${bytes(shown.pruned.freed_bytes)}. This cannot be undone.`}
          </p>
        )}
      </div>
      {shown !== undefined && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached with the keyboard
        <section class="scroll" tabIndex={0} aria-label="Why each stays or goes">
          <table>
            <thead>
              <tr>
                <th scope="col">Snapshot</th>
                <th scope="col">Then</th>
                <th scope="col">Why</th>
              </tr>
            </thead>
            <tbody>
              {shown.pruned.decisions.map(({ name, stays, reason }) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td class={stays ? '' : 'bad'}>{stays ? 'stays' : 'goes'}</td>
                  <td>{reason}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </Question>
  );
}
