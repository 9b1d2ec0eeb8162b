import { StillpointError } from '../../errors.ts';
import { type SystemFiles, shellWord, type Unattended } from './system-files.ts';

/** `man 5 crontab`: a file of its own for the machine, a line to add for a user. */
export function cronFiles(what: Unattended): SystemFiles {
  const { name, subject, program, calendar, user, isOfMachine, envFile } = what;
  if (calendar === undefined) {
    throw new StillpointError('INVALID_REQUEST', `cron starts \`${subject.args[0]}\` once and never again`, {
      hint: 'Choose `--system systemd`, `launchd` or `container` for what runs all the time.',
    });
  }
  const variables = envFile === undefined ? '' : `set -a; . ${shellWord(envFile)}; set +a; `;
  const command = escaped(`${variables}${[...program, ...subject.args].map(shellWord).join(' ')}`);
  const line = [calendar.pattern, ...(isOfMachine ? [user] : []), `umask 077; ${command}`].join(' ');
  return {
    folder: isOfMachine ? '/etc/cron.d' : undefined,
    files: [{ name, text: `SHELL=/bin/sh\n${line}\n` }],
    next: isOfMachine ? [] : ['crontab -e  # and add the line'],
  };
}

/**
 * An unescaped % ends the command. A backslash is not told apart from one that escapes, so none stands before a % or, since some crons make
 * one of two, before another: words with a backslash are in single quotes, which end and begin again between them.
 */
const escaped = (command: string): string =>
  command.replaceAll(/\\(?=[\\%])/g, "\\''").replaceAll('%', '\\%');
