import type { Safety } from './api.ts';
import { CopyCommand } from './copy-command.tsx';
import { Prose } from './prose.tsx';

/** What ends the problem where a snapshot is damaged, or there is none; of what `stillpoint status` says. */
export function Advice({ safety }: { readonly safety: Safety }) {
  return (
    <section aria-labelledby="advice" class="card unsafe">
      <h2 id="advice">What can be done?</h2>
      <dl class="advice">
        {safety.advice
          .filter(({ solves }) => solves)
          .map(({ what, lines }) => (
            <div key={lines.join()}>
              <dt>{what}</dt>
              {lines.map((line) => (
                <dd key={line}>
                  <Line text={line} what={what} />
                </dd>
              ))}
            </div>
          ))}
      </dl>
    </section>
  );
}

/** A sentence, or a command with the button of this page that does the same. */
function Line({ text, what }: { readonly text: string; readonly what: string }) {
  const [, verb, operand] = /^stillpoint (\w+) (\S+)/.exec(text) ?? [];
  if (verb === undefined) return <Prose text={text} />;
  return (
    <>
      {verb === 'snapshot' && (
        <p>
          <strong>Snapshot now</strong>, below, or:
        </p>
      )}
      {verb === 'delete' && (
        <p>
          <strong>Delete …</strong>, at {operand} below, or:
        </p>
      )}
      <CopyCommand text={text} what={what} isMain />
    </>
  );
}
