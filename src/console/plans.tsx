import { useState } from 'preact/hooks';
import type { Action, Api, Plan } from './api.ts';
import { Button } from './button.tsx';
import { CopyCommand } from './copy-command.tsx';
import { type Offsite, runningJobs } from './offsite.ts';
import { Prose } from './prose.tsx';
import { ago, ahead, textOf, time } from './text.ts';

const BUTTONS: Readonly<Record<Action, string>> = {
  backup: 'Back up now',
  verify: 'Verify the newest backup',
  drill: 'Drill: restore it for a trial',
};
const ACTIONS = Object.keys(BUTTONS) as Action[];

interface Props {
  readonly api: Api;
  readonly offsite: Offsite;
  readonly nowMs: number;
  readonly look: () => Promise<void>;
}

/** What comes next? The plans for backups off the machine, and a button for each action. */
export function Plans({ api, offsite, nowMs, look }: Props) {
  const [problem, setProblem] = useState<string>();
  const running = runningJobs(offsite);
  const run = async (name: string, action: Action) => {
    setProblem(undefined);
    await api.runPlan(name, action).catch((error) => setProblem(textOf(error)));
    await look();
  };
  return (
    <section aria-labelledby="next" class="card">
      <h2 id="next">What comes next?</h2>
      {problem !== undefined && (
        <p class="bad" role="alert">
          <Prose text={problem} />
        </p>
      )}
      {offsite.plans.map((plan) => (
        <div key={plan.name} class="plan">
          <h3>
            {plan.name} <span class="small">into {plan.repository}</span>
          </h3>
          <Schedules plan={plan} nowMs={nowMs} />
          <p class="actions">
            {ACTIONS.map((action) => (
              <Button
                key={action}
                isBusy={running.some(({ kind }) => kind === action)}
                aria-label={`${BUTTONS[action]}, plan ${plan.name}`}
                onClick={() => run(plan.name, action)}
              >
                {BUTTONS[action]}
              </Button>
            ))}
            <CopyCommand text={api.planCommand(plan.name, 'backup')} what={`back up by plan ${plan.name}`} />
          </p>
        </div>
      ))}
    </section>
  );
}

/** Only runs at due times count. Of the first one, a service that has just begun says `begun`: it has run nothing by itself. */
function bySchedule(
  { last_status: status, last_success_ms: successMs }: Plan['schedules'][number],
  nowMs: number,
): string {
  if (status === null || status === 'begun') return 'not due yet';
  const when = successMs === null ? '' : ago(successMs, nowMs);
  if (status === 'succeeded') return `last run by the schedule: succeeded ${when}`;
  return `last run by the schedule: ${status}${when && `, the last success was ${when}`}`;
}

function Schedules({ plan, nowMs }: { plan: Plan; nowMs: number }) {
  return (
    <ul>
      {plan.schedules.map((schedule) => {
        const { action, next_due_ms: next, last_error, overdue } = schedule;
        return (
          <li key={action}>
            <strong>{action}</strong>:{' '}
            {next === null ? (
              'no time to come'
            ) : (
              <time dateTime={new Date(next).toISOString()} title={time(next)}>
                {ahead(next, nowMs)}
              </time>
            )}
            {overdue && <strong class="bad"> · overdue</strong>}
            {` · ${bySchedule(schedule, nowMs)}`}
            {last_error !== null && <span class="bad"> · {last_error}</span>}
          </li>
        );
      })}
    </ul>
  );
}
