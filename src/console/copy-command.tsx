import { useState } from 'preact/hooks';

interface Props {
  readonly text: string;
  readonly what: string;
  /** What the page wants to be done: the command is shown at once. */
  readonly isMain?: boolean;
}

/** Puts a command on the clipboard, and shows it for where there is none. Says `Copied` only if it was. */
export function CopyCommand({ text, what, isMain = false }: Props) {
  const [came, setCame] = useState<'copied' | 'shown'>();
  const label =
    came === 'copied' ? 'Copied' : came === 'shown' ? 'Not copied: take it from here' : 'Copy as command';
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCame('copied');
    } catch {
      setCame('shown'); // no clipboard outside of HTTPS and loopback, or none allowed
    }
  };
  return (
    <span class="copy">
      <button type="button" class={isMain ? 'main' : 'quiet'} aria-label={`${label}: ${what}`} onClick={copy}>
        {label}
      </button>
      {(isMain || came !== undefined) && <code>{text}</code>}
    </span>
  );
}
