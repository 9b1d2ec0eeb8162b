import { useCallback, useState } from 'preact/hooks';
import type { Api, PrunedUndo, Safety } from './api.ts';
import { CopyCommand } from './copy-command.tsx';
import { Prose } from './prose.tsx';
import { Question } from './question.tsx';
import { bytes, plural, textOf, time } from './text.ts';
import { type Message, Told } from './told.tsx';
import { useDryRun } from './use-dry-run.ts';

interface Props {
  readonly api: Api;
  readonly safety: Safety;
  readonly dataDir: string;
  readonly look: () => Promise<void>;
}

/** Where what restores replaced can be given up, in two steps. */
export function UndoFolders({ api, safety, dataDir, look }: Props) {
  const [isAsking, setAsking] = useState(false);
  const [told, setTold] = useState<Message>();
  const holding = safety.undo_folders.filter((one) => one.may_hold_writes).map(({ name }) => name);
  const giveUp = async (keep: number, discardWrites: boolean, shown: readonly string[]) => {
    setAsking(false);
    try {
      const { removed, freed_bytes } = await api.pruneUndoAsShown(keep, discardWrites, shown);
      const text = `${plural(removed.length, 'undo folder')} removed; the disk got back ${bytes(freed_bytes)}.`;
      setTold({ text, isBad: false });
    } catch (error) {
      setTold({ text: textOf(error), isBad: true });
    }
    await look();
  };
  return (
    <>
      {holding.length > 0 && <p>{holding.join(', ')} may hold writes that no snapshot has.</p>}
      {safety.undo.count > 0 && (
        <p class="actions">
          <button type="button" onClick={() => setAsking(true)}>
            Give up undo folders …
          </button>
          <CopyCommand text={api.giveUpUndoCommand(dataDir)} what="see which undo folders would go" />
        </p>
      )}
      <Told message={told} />
      {isAsking && <GiveUpQuestion api={api} onNo={() => setAsking(false)} onYes={giveUp} />}
    </>
  );
}

interface QuestionProps {
  readonly api: Api;
  readonly onNo: () => void;
  readonly onYes: (keep: number, discardWrites: boolean, shown: readonly string[]) => void;
}

/** Nothing is removed before it was shown, with what may be lost. */
function GiveUpQuestion({ api, onNo, onYes }: QuestionProps) {
  const [keep, setKeep] = useState(0);
  const [isDiscarding, setDiscarding] = useState(false);
  const ask = useCallback((keep: number) => api.pruneUndo(keep, isDiscarding), [api, isDiscarding]);
  const { shown, problem } = useDryRun(keep, 0, ask);
  const { removed, kept, freed_bytes } = shown?.pruned ?? NONE;
  const lost = removed.filter((one) => one.may_hold_writes).map(({ name }) => name);
  const folders = [...removed, ...kept].reverse();
  return (
    <Question
      title="Give up undo folders?"
      yes={`Remove ${plural(removed.length, 'undo folder')} for good`}
      isReady={removed.length > 0}
      onNo={onNo}
      onYes={() =>
        shown !== undefined &&
        onYes(
          shown.keep,
          isDiscarding,
          removed.map(({ name }) => name),
        )
      }
    >
      <p>
        <label for="keep-undo">The newest that stay:</label>{' '}
        <input
          id="keep-undo"
          type="number"
          class="count"
          min={0}
          value={keep}
          onInput={({ currentTarget }) => setKeep(currentTarget.valueAsNumber)}
        />
      </p>
      <p>
        <label>
          <input
            type="checkbox"
            checked={isDiscarding}
            onInput={({ currentTarget }) => setDiscarding(currentTarget.checked)}
          />{' '}
          Also those that may hold writes that no snapshot has
        </label>
      </p>
      <div role="status">
        {problem !== undefined && (
          <p class="bad">
            <Prose text={problem} />
          </p>
        )}
        {problem === undefined && shown === undefined && <p>Asking the server …</p>}
        {shown !== undefined && removed.length === 0 && <p>None would go.</p>}
        {removed.length > 0 && (
          <p>
            {plural(removed.length, 'undo folder')} would go; the disk gets back {bytes(freed_bytes)}. What
            was replaced then cannot be brought back.
          </p>
        )}
        {lost.length > 0 && (
          <p class="bad">{lost.join(', ')} may hold writes that no snapshot has: they would be lost.</p>
        )}
      </div>
      {shown !== undefined && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached with the keyboard
        <section class="scroll" tabIndex={0} aria-label="Undo folders">
          <table>
            <thead>
              <tr>
                <th scope="col">Undo folder</th>
                <th scope="col">Replaced</th>
                <th scope="col">Takes</th>
                <th scope="col">Then</th>
              </tr>
            </thead>
            <tbody>
              {folders.map((folder) => (
                <tr key={folder.name}>
                  <th scope="row">{folder.name}</th>
                  <td>{time(folder.created_at_ms)}</td>
                  <td class="right">{bytes(folder.disk_bytes)}</td>
                  <td class={removed.includes(folder) ? 'bad' : ''}>
                    {removed.includes(folder) ? 'goes' : 'stays'}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </Question>
  );
}

const NONE: Omit<PrunedUndo, 'dry_run'> = { removed: [], kept: [], freed_bytes: 0 };
