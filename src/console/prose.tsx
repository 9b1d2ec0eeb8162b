import { shown } from './text.ts';

/** A sentence of the server, in which commands stand in backticks. */
export function Prose({ text }: { readonly text: string }) {
  const parts = shown(text).split('`');
  if (parts.length % 2 === 0) return <>{shown(text)}</>; // a backtick that is none of its marks
  return (
    <>
      {parts.map((part, at) => {
        return at % 2 === 1 ? <code key={at}>{part}</code> : part;
      })}
    </>
  );
}
