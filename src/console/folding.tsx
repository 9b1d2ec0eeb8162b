import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';

interface Props {
  readonly name: string;
  readonly count: string;
  /** At first. */
  readonly isFolded: boolean;
  /** Made only once it is open: hundreds of lines that nobody sees would take longer than all else on the page. */
  readonly children: () => ComponentChildren;
}

/** A day of a timeline. */
export function Folding({ name, count, isFolded, children }: Props) {
  const [isOpen, setOpen] = useState(!isFolded);
  return (
    <details open={isOpen} onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>
        {name} <span class="small">({count})</span>
      </summary>
      {isOpen && children()}
    </details>
  );
}
