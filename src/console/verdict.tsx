import type { ComponentChildren } from 'preact';
import { Prose } from './prose.tsx';
import { span } from './text.ts';

export type Look = 'safe' | 'warned' | 'unsafe';

const LOOKS = {
  safe: { tone: 'good', mark: '✔' },
  warned: { tone: 'unsure', mark: '!' },
  unsafe: { tone: 'bad', mark: '✘' },
} as const;

interface Props {
  readonly id: string;
  readonly question: string;
  readonly look: Look;
  readonly sentence: string;
  /** How old all this is, where the server has stopped to answer: then nobody knows. */
  readonly oldMs: number | undefined;
  readonly children?: ComponentChildren;
}

/** The first card of each page: a question, and its answer in one sentence and one colour. */
export function Verdict({ id, question, look, sentence, oldMs, children }: Props) {
  const shown = oldMs === undefined ? look : 'warned';
  const { tone, mark } = LOOKS[shown];
  return (
    <section aria-labelledby={id} class={`card ${shown}`}>
      <h2 id={id}>{question}</h2>
      <p class={`sentence ${tone}`} role="status">
        <span aria-hidden="true">{mark}</span> {oldMs !== undefined && `Not known now. ${span(oldMs)} ago: `}
        <Prose text={sentence} />
      </p>
      {children}
    </section>
  );
}
