import colors from 'picocolors';
import type { Finding } from '../engine/report.ts';
import { type StillpointError, toStillpointError } from '../errors.ts';
import { findingLine } from './report-text.ts';
import { visible } from './text.ts';

export type Style = ReturnType<typeof colors.createColors>;

const FINDINGS_SHOWN = 20;

/**
 * Results go to stdout, once a run: lines for people, or one JSON document. All else goes to stderr. Colours only on a
 * terminal, and not with `NO_COLOR` (https://no-color.org).
 */
export class Output {
  readonly json: boolean;
  readonly #out = styleFor(process.stdout);
  readonly #err = styleFor(process.stderr);

  constructor(json: boolean) {
    this.json = json;
    // A reader that went away (`| head`) or a closed terminal is no reason to fail.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', ignoreClosed);
  }

  result(document: unknown, lines: (style: Style) => readonly string[]): void {
    const text = this.json ? JSON.stringify(document) : lines(this.#out).join('\n');
    process.stdout.write(`${text}\n`);
  }

  note(text: string): void {
    process.stderr.write(`${this.#err.dim(visible(text))}\n`);
  }

  failure(error: StillpointError): void {
    const { code, message, hint, path, data } = error;
    if (this.json) {
      const optional = { ...(path !== undefined && { path }), ...(data !== undefined && { data }) };
      process.stdout.write(`${JSON.stringify({ error: { code, message, hint, ...optional } })}\n`);
    }
    const style = this.#err;
    const lines = [`${style.red(style.bold('error:'))} ${visible(message)}`];
    const findings = (data?.findings ?? []) as readonly Finding[];
    for (const finding of findings.slice(0, FINDINGS_SHOWN)) lines.push(`  ${findingLine(finding, style)}`);
    if (findings.length > FINDINGS_SHOWN) lines.push(`  … and ${findings.length - FINDINGS_SHOWN} more`);
    const cause = causeText(error);
    if (cause !== undefined) lines.push(`  cause: ${cause}`);
    lines.push(`  hint: ${visible(hint)}  ${style.dim(`(${code})`)}`);
    process.stderr.write(`${lines.join('\n')}\n`);
  }
}

/** A cause that the message does not tell already; with its stack where the defect is ours. */
function causeText({ code, message, cause }: StillpointError): string | undefined {
  if (!(cause instanceof Error)) return undefined;
  if (code === 'INTERNAL') return (cause.stack ?? cause.message).split('\n').map(visible).join('\n  ');
  // The system's own words for what the code says already.
  if (code !== 'IO_ERROR' && toStillpointError(cause).code === code) return undefined;
  return message.includes(cause.message) ? undefined : visible(cause.message);
}

function styleFor(stream: NodeJS.WriteStream): Style {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  const isForced = FORCE_COLOR !== undefined && FORCE_COLOR !== '' && FORCE_COLOR !== '0';
  const isWanted = isForced || (stream.isTTY === true && TERM !== 'dumb' && FORCE_COLOR !== '0');
  return colors.createColors(isWanted && !NO_COLOR);
}

function ignoreClosed(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
}
