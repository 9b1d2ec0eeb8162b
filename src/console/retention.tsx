import { useEffect, useState } from 'preact/hooks';
import type { Api, Repository, Retention } from './api.ts';
import { Prose } from './prose.tsx';
import { Question } from './question.tsx';
import { plural, textOf } from './text.ts';

const FIELDS = [
  ['keep_last', 'newest'],
  ['keep_daily', 'days'],
  ['keep_weekly', 'weeks'],
  ['keep_monthly', 'months'],
] as const;
type Rule = Partial<Record<(typeof FIELDS)[number][0], number>>;
/** As the examples of the documentation have it. */
const USUAL: Rule = { keep_daily: 7, keep_weekly: 4, keep_monthly: 12 };

interface Props {
  readonly api: Api;
  readonly repository: Repository;
  readonly storeId: string;
  readonly onNo: () => void;
}

/** Tries a rule of retention: which backups it would keep, and why. Nothing is removed. */
export function RetentionQuestion({ api, repository, storeId, onNo }: Props) {
  const [rule, setRule] = useState<Rule>(USUAL);
  const [shown, setShown] = useState<Retention>();
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    let isOver = false;
    setShown(undefined);
    setProblem(undefined);
    api.retention({ store_id: storeId, ...rule }).then(
      (retention) => isOver || setShown(retention),
      (error) => isOver || setProblem(textOf(error)),
    );
    return () => {
      isOver = true;
    };
  }, [api, storeId, rule]);
  const command = FIELDS.flatMap(([field]) =>
    rule[field] === undefined ? [] : [`--${field.replace('_', '-')} ${rule[field]}`],
  );
  return (
    <Question title="What would this rule keep?" onNo={onNo}>
      <p class="fields">
        {FIELDS.map(([field, name]) => (
          <label key={field}>
            {name}{' '}
            <input
              type="number"
              class="count"
              min={1}
              value={rule[field] ?? ''}
              onInput={({ currentTarget: { valueAsNumber: value } }) => {
                const { [field]: _, ...others } = rule;
                setRule(Number.isInteger(value) && value >= 1 ? { ...others, [field]: value } : others);
              }}
            />
          </label>
        ))}
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
            {plural(shown.kept.length, 'backup')} would stay, {shown.removed.length.toLocaleString()} would
            go. Nothing is removed here:{' '}
            <code>{api.backupCommand('prune', repository, storeId, command.join(' '))}</code> does it.
          </p>
        )}
      </div>
      {shown !== undefined && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached with the keyboard
        <section class="scroll" tabIndex={0} aria-label="Why each stays or goes">
          <table>
            <thead>
              <tr>
                <th scope="col">Backup</th>
                <th scope="col">Then</th>
                <th scope="col">Why</th>
              </tr>
            </thead>
            <tbody>
              {shown.removed.map((id) => (
                <tr key={id}>
                  <th scope="row">{id}</th>
                  <td class="bad">goes</td>
                  <td>no rule keeps it</td>
                </tr>
              ))}
              {[...shown.kept].reverse().map(({ backup_id: id, reasons }) => (
                <tr key={id}>
                  <th scope="row">{id}</th>
                  <td>stays</td>
                  <td>{reasons.join(', ')}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </Question>
  );
}
