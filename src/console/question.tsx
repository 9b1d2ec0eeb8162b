import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

interface Props {
  readonly title: string;
  /** Left out where there is nothing to be done. */
  readonly yes?: string;
  /** False: what it would do is not known yet. */
  readonly isReady?: boolean;
  readonly onYes?: () => void;
  readonly onNo: () => void;
  readonly children: ComponentChildren;
}

/** The second step of what replaces or removes something. Escape, and the first button, mean no. */
export function Question({ title, yes, isReady = true, onYes, onNo, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current!;
    shown.showModal();
    return () => shown.close(); // gives the focus back to the button that asked
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby="question" onClose={onNo}>
      <h3 id="question">{title}</h3>
      {children}
      <p class="actions">
        <button type="button" onClick={onNo}>
          {yes === undefined ? 'Close' : 'No'}
        </button>
        {yes !== undefined && (
          <button type="button" class="danger" disabled={!isReady} onClick={onYes}>
            {yes}
          </button>
        )}
      </p>
    </dialog>
  );
}
