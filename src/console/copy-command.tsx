import { useState } from 'preact/hooks';
import { shown } from './text.ts';

interface Props {
  readonly text: string;
  readonly what: string;
  /** What the page wants to be done: the command is shown at once. */
  readonly isMain?: boolean;
}

/** Puts a command on the clipboard, and shows it for where there is none. Says `Copied` only if it was. */
export function CopyCommand({ text, what, isMain = false }: Props) {
  const [done, setDone] = useState<{ came: 'copied' | 'shown'; text: string }>();
  const came = done?.text === text ? done.came : undefined; // another command has not been copied yet
  const label =
    came === 'copied' ? 'Copied' : came === 'shown' ? 'Not copied: take it from here' : 'Copy as command';
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone({ came: 'copied', text });
    } catch {
      setDone({ came: 'shown', text }); // no clipboard outside of HTTPS and loopback, or none allowed
    }
  };
  return (
    <span class="copy">
      <button type="button" class={isMain ? 'main' : 'quiet'} aria-label={`${label}: ${what}`} onClick={copy}>
        {label}
      </button>
      {(isMain || came !== undefined) && <code>{shown(text)}</code>}
    </span>
  );
}
