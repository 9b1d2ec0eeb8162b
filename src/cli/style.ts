import colors from 'picocolors';
import type { Terminal, TerminalStream } from './terminal.ts';

/** Colours for one stream, or none. */
export type Style = ReturnType<typeof colors.createColors>;

export function styleFor(stream: TerminalStream, { NO_COLOR, FORCE_COLOR, TERM }: Terminal['env']): Style {
  const isForced = FORCE_COLOR !== undefined && FORCE_COLOR !== '' && FORCE_COLOR !== '0';
  const isWanted = isForced || (stream.isTTY === true && TERM !== 'dumb' && FORCE_COLOR !== '0');
  return colors.createColors(isWanted && !NO_COLOR);
}
