import { CommanderError } from 'commander';
import { StillpointError, toStillpointError } from '../errors.ts';
import { withDataDir } from '../options/shell-word.ts';
import { interruptible } from './interrupt.ts';
import { Output } from './output.ts';
import { NO_PROGRESS, openProgress, type Progress } from './progress.ts';
import type { Terminal } from './terminal.ts';

const INTERRUPTED = 130;

/** What one run of the command line has at hand: where to print, how to be interrupted, what to exit with. */
export class Cli {
  readonly output: Output;
  exitCode = 0;

  readonly terminal: Terminal;

  constructor(argv: readonly string[], terminal: Terminal) {
    this.terminal = terminal;
    const end = argv.indexOf('--');
    const flags = end === -1 ? argv : argv.slice(0, end);
    // Needed before the command line is parsed: a mistake in it is told as JSON too.
    const json = flags.includes('--json');
    this.output = new Output({ json, quiet: flags.includes('--quiet') || flags.includes('-q') }, terminal);
  }

  /** Ctrl-C, SIGTERM or a closed terminal abort the signal; a second one kills. */
  interruptible<T>(
    work: (signal: AbortSignal) => Promise<T>,
    doing = 'cancelling',
    onInterrupt = () => {},
  ): Promise<T> {
    return interruptible(work, () => {
      onInterrupt();
      this.output.note(`${doing} … (once more to stop at once)`);
    });
  }

  /** To be terminated is how a service ends. After anything else, such as a closed terminal, a supervisor shall start it again. */
  serviceEnded({ reason }: AbortSignal): void {
    if (reason !== 'SIGTERM') this.exitCode = INTERRUPTED;
  }

  /**
   * As `interruptible`, with a progress bar where stderr is a terminal. The interruption takes it off the screen: whoever is
   * killed by a second one has no chance to put the cursor back. A limit makes it tell the time that is left.
   */
  async watched<T>(
    work: (signal: AbortSignal, progress: Progress) => Promise<T>,
    maxBytesPerSecond?: number,
  ): Promise<T> {
    const progress = this.output.quiet ? NO_PROGRESS : await openProgress(this.terminal, maxBytesPerSecond);
    try {
      return await this.interruptible(
        (signal) => work(signal, progress),
        'cancelling',
        () => progress.stop(),
      );
    } finally {
      progress.stop();
    }
  }

  /**
   * Tells an error and resolves it to an exit code. `help` is the command that explains the usage; `hint` stands before it. `dataDir` is
   * the one that the command line names.
   */
  fail(error: unknown, help: string, { hint, dataDir }: { hint?: string; dataDir?: string } = {}): number {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0; // help or version, printed already
      if (error.code === 'commander.help') return USAGE; // no command at all: the help stands on stderr
      return this.fail(usageError(error, help, hint), help);
    }
    const known = toStillpointError(error);
    this.output.failure(known, dataDir === undefined ? known.hint : withDataDir(known.hint, dataDir));
    return known.exitCode;
  }
}

const USAGE = 2;

/** Commander's messages read "error: …", with "(Did you mean …?)" on a line of its own where it has a suggestion. */
function usageError({ message }: CommanderError, help: string, more: string | undefined): StillpointError {
  const [first = '', suggestion] = message.replace(/^error: /, '').split('\n');
  const hint =
    suggestion?.replace(/^\((.*)\)$/, '$1') ?? [more, `Run \`${help}\`.`].filter(Boolean).join(' ');
  return new StillpointError('INVALID_REQUEST', first, { hint });
}
