import { useState } from 'preact/hooks';

/** Puts a command on the clipboard; it is shown, too, for where there is no clipboard. */
export function CopyCommand({ text, what }: { text: string; what: string }) {
  const [shown, setShown] = useState(false);
  const label = shown ? 'Copied' : 'Copy as command';
  return (
    <span class="copy">
      <button
        type="button"
        class="quiet"
        aria-label={`${label}: ${what}`}
        onClick={() => {
          navigator.clipboard?.writeText(text).catch(() => {});
          setShown(true);
        }}
      >
        {label}
      </button>
      {shown && <code>{text}</code>}
    </span>
  );
}
