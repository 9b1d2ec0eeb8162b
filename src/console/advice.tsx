import type { Safety } from './api.ts';
import { CopyCommand } from './copy-command.tsx';
import { Prose } from './prose.tsx';

/** What can be done where a snapshot is damaged, or there is none: what `stillpoint status` says. */
export function Advice({ safety }: { readonly safety: Safety }) {
  return (
    <section aria-labelledby="advice" class="card unsafe">
      <h2 id="advice">What can be done?</h2>
      <p>Use the buttons of this page where there is one, and else these commands.</p>
      <dl class="advice">
        {safety.advice.map(({ what, lines }) => (
          <div key={lines.join()}>
            <dt>{what}</dt>
            {lines.map((line) => (
              <dd key={line}>
                {line.startsWith('stillpoint ') ? (
                  <CopyCommand text={line} what={what} isMain />
                ) : (
                  <Prose text={line} />
                )}
              </dd>
            ))}
          </div>
        ))}
      </dl>
    </section>
  );
}
