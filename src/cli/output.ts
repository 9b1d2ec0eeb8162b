import { fileURLToPath } from 'node:url';
import type { Finding } from '../engine/report.ts';
import { type StillpointError, systemMessage, toStillpointError } from '../errors.ts';
import { toJson } from '../options/casing.ts';
import { findingLine } from './report-text.ts';
import { type Style, styleFor } from './style.ts';
import type { Terminal } from './terminal.ts';
import { visible } from './text.ts';

const FINDINGS_SHOWN = 20;

/**
 * Results go to stdout, once a run: lines for people, or one JSON document. All else goes to stderr. Colours only on a
 * terminal, and not with `NO_COLOR` (https://no-color.org).
 */
export class Output {
  readonly json: boolean;
  /** Results are held back until it is known that something is wrong; notes are left out. */
  readonly quiet: boolean;
  readonly #held: string[] = [];
  readonly #terminal: Terminal;
  readonly #out: Style;
  readonly #err: Style;

  constructor({ json, quiet }: { json: boolean; quiet: boolean }, terminal: Terminal) {
    this.json = json;
    this.quiet = quiet;
    this.#terminal = terminal;
    this.#out = styleFor(terminal.stdout, terminal.env);
    this.#err = styleFor(terminal.stderr, terminal.env);
  }

  /** @param lines Is told how wide the terminal is; undefined where the text goes to a file or another program. */
  result(document: unknown, lines: (style: Style, columns?: number) => readonly string[]): void {
    const { columns } = this.#terminal.stdout;
    const text = this.json ? JSON.stringify(toJson(document)) : lines(this.#out, columns).join('\n');
    if (this.quiet) this.#held.push(text);
    else this.#terminal.stdout.write(`${text}\n`);
  }

  /** What was held back is told after all, once the exit code says that something is wrong. */
  end(exitCode: number): void {
    if (exitCode === 0) return;
    for (const text of this.#held.splice(0)) this.#terminal.stdout.write(`${text}\n`);
  }

  note(text: string): void {
    if (this.quiet) return;
    this.#terminal.stderr.write(`${this.#err.dim(visible(text))}\n`);
  }

  /** Also where results are held back. */
  warning(text: string): void {
    this.#terminal.stderr.write(`${this.#err.yellow('warning:')} ${visible(text)}\n`);
  }

  failure(error: StillpointError, hint = error.hint): void {
    const { code, message, path, data } = error;
    if (this.json) {
      const optional = { ...(path !== undefined && { path }), ...(data !== undefined && { data }) };
      this.#terminal.stdout.write(
        `${JSON.stringify(toJson({ error: { code, message, hint, ...optional } }))}\n`,
      );
    }
    const style = this.#err;
    const lines = [`${style.red(style.bold('error:'))} ${visible(message)}`];
    const findings = (data?.findings ?? []) as readonly Finding[];
    for (const finding of findings.slice(0, FINDINGS_SHOWN)) lines.push(`  ${findingLine(finding, style)}`);
    if (findings.length > FINDINGS_SHOWN) lines.push(`  … and ${findings.length - FINDINGS_SHOWN} more`);
    const cause = causeText(error);
    if (cause !== undefined) lines.push(`  cause: ${cause}`);
    lines.push(`  hint: ${visible(located(hint))}  ${style.dim(`(${code})`)}`);
    this.#terminal.stderr.write(`${lines.join('\n')}\n`);
  }
}

/** Pages of the package, by a path that can be opened from where the reader is. */
const located = (hint: string): string =>
  hint.replace(/\bsrc\/[\w/-]+\.md\b/g, (page) => fileURLToPath(new URL(`../../${page}`, import.meta.url)));

/** A cause that the message does not tell already; with its stack where the defect is ours. */
function causeText({ code, message, cause }: StillpointError): string | undefined {
  if (!(cause instanceof Error)) return undefined;
  if (code === 'INTERNAL') return (cause.stack ?? cause.message).split('\n').map(visible).join('\n  ');
  // The system's own words for what the code says already.
  if (code !== 'IO_ERROR' && toStillpointError(cause).code === code) return undefined;
  return message.includes(cause.message) || message.includes(systemMessage(cause))
    ? undefined
    : visible(cause.message);
}
