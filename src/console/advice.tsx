import type { Safety } from './api.ts';
import { CopyCommand } from './copy-command.tsx';
import { Prose } from './prose.tsx';

/** What ends what is wrong: a snapshot is damaged, there is none, or an attempt failed last. Of what `stillpoint status` says. */
export function Advice({ safety }: { readonly safety: Safety }) {
  const solving = safety.advice.filter(({ solves }) => solves);
  if (solving.length === 0) return null;
  return (
    <section aria-labelledby="advice" class={`card ${safety.safe ? 'warned' : 'unsafe'}`}>
      <h2 id="advice">What can be done?</h2>
      <dl class="advice">
        {solving.map(({ what, lines }) => (
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
