import { join } from 'node:path';
import { StillpointError } from '../../errors.ts';
import { type Calendar, dayChoices } from './calendar.ts';
import { type SystemFiles, shellWord, type Unattended } from './system-files.ts';

/** `man 5 launchd.plist`. */
export function launchdFiles(what: Unattended): SystemFiles {
  const { name, isOfMachine, home } = what;
  const folder = isOfMachine ? '/Library/LaunchDaemons' : join(home, 'Library/LaunchAgents');
  const domain = isOfMachine ? 'system' : `gui/${what.uid}`;
  return {
    folder,
    files: [{ name: `${name}.plist`, text: plist(what) }],
    next: [`launchctl bootstrap ${domain} ${shellWord(join(folder, `${name}.plist`))}`],
  };
}

function plist(what: Unattended): string {
  const { name, subject, program, calendar, user, isOfMachine, home, envFile } = what;
  const log = isOfMachine ? `/var/log/${name}.log` : join(home, 'Library/Logs', `${name}.log`);
  const line = [...program, ...subject.args];
  const values: Value = {
    Label: name,
    // launchd reads no file of variables: a shell does.
    ProgramArguments:
      envFile === undefined ? line : ['/bin/sh', '-c', 'set -a; . "$0"; set +a; exec "$@"', envFile, ...line],
    ...(isOfMachine && { UserName: user }),
    ...(calendar === undefined
      ? { RunAtLoad: true, KeepAlive: { SuccessfulExit: false } }
      : { StartCalendarInterval: intervals(calendar) }),
    ExitTimeOut: 300,
    Umask: 0o077,
    StandardOutPath: log,
    StandardErrorPath: log,
  };
  return `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
${xml(values, '')}
</plist>
`;
}

const MOST_INTERVALS = 1000;

/** launchd knows no lists: each time is one dictionary. */
function intervals(calendar: Calendar): { [field: string]: number }[] {
  const all = dayChoices(calendar).flatMap(({ days, weekdays }) => {
    const fields = {
      Month: calendar.months,
      Day: days,
      Weekday: weekdays,
      Hour: calendar.hours,
      Minute: calendar.minutes,
    };
    return Object.entries(fields).reduce<{ [field: string]: number }[]>(
      (made, [field, values]) =>
        values === undefined
          ? made
          : made.flatMap((one) => values.map((value) => ({ ...one, [field]: value }))),
      [{}],
    );
  });
  if (all.length <= MOST_INTERVALS) return all;
  throw new StillpointError('INVALID_REQUEST', `launchd would need ${all.length} entries for \`--at\``, {
    hint: 'Choose fewer times, or run `schedule run SETTINGS` as a service.',
  });
}

type Value = string | number | boolean | readonly Value[] | { readonly [key: string]: Value };

function xml(value: Value, indent: string): string {
  if (typeof value === 'string') return `${indent}<string>${escaped(value)}</string>`;
  if (typeof value === 'number') return `${indent}<integer>${value}</integer>`;
  if (typeof value === 'boolean') return `${indent}<${value}/>`;
  const deeper = `${indent}  `;
  const inner = Array.isArray(value)
    ? value.map((one) => xml(one, deeper))
    : Object.entries(value).map(([key, one]) => `${deeper}<key>${escaped(key)}</key>\n${xml(one, deeper)}`);
  const tag = Array.isArray(value) ? 'array' : 'dict';
  return `${indent}<${tag}>\n${inner.join('\n')}\n${indent}</${tag}>`;
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
