import type { ComponentProps } from 'preact';

interface Props extends Omit<ComponentProps<'button'>, 'type' | 'disabled'> {
  /** It does nothing now, and keeps the focus: a button that is `disabled` loses it. */
  readonly isBusy: boolean;
}

/** A button of an action that takes a while. */
export function Button({ isBusy, onClick, ...props }: Props) {
  return <button type="button" {...props} aria-disabled={isBusy} onClick={isBusy ? undefined : onClick} />;
}
