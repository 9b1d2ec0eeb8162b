import { useEffect, useRef } from 'preact/hooks';
import { Prose } from './prose.tsx';

export interface Message {
  readonly text: string;
  readonly isBad: boolean;
}

/** What came of an action. The focus comes here when the button that began it has gone. */
export function Told({ message }: { readonly message: Message | undefined }) {
  const shown = useRef<HTMLParagraphElement>(null);
  const focused = useRef<Element>(null);
  useEffect(() => {
    const note = ({ target }: FocusEvent) => {
      focused.current = target as Element;
    };
    document.addEventListener('focusin', note);
    return () => document.removeEventListener('focusin', note);
  }, []);
  useEffect(() => {
    if (focused.current?.isConnected === false) shown.current?.focus();
  });
  if (message === undefined) return null;
  const { text, isBad } = message;
  return (
    <p ref={shown} tabIndex={-1} class={isBad ? 'bad' : 'good'} role={isBad ? 'alert' : 'status'}>
      <Prose text={text} />
    </p>
  );
}
