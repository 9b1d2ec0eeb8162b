import { join } from 'node:path';
import { StillpointError } from '../../errors.ts';
import { type Calendar, dayChoices, WEEKDAYS } from './calendar.ts';
import type { SystemFiles, Unattended } from './system-files.ts';

/** https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html */
export function systemdFiles(what: Unattended): SystemFiles {
  const { name, calendar, isOfMachine, home } = what;
  const systemctl = `systemctl${isOfMachine ? '' : ' --user'}`;
  const unit = calendar === undefined ? `${name}.service` : `${name}.timer`;
  return {
    folder: isOfMachine ? '/etc/systemd/system' : join(home, '.config/systemd/user'),
    files: [
      { name: `${name}.service`, text: serviceUnit(what) },
      ...(calendar === undefined ? [] : [{ name: `${name}.timer`, text: timerUnit(what, calendar) }]),
    ],
    next: [
      `${systemctl} daemon-reload`,
      `${systemctl} enable --now ${unit}`,
      ...(isOfMachine ? [] : ['loginctl enable-linger']),
    ],
  };
}

function serviceUnit(what: Unattended): string {
  const { subject, calendar, program, envFile, isOfMachine } = what;
  const isLasting = calendar === undefined;
  const lines = [
    '[Unit]',
    `Description=${literal(`stillpoint ${subject.args.join(' ')}`)}`,
    ...(isOfMachine ? ['Wants=network-online.target', 'After=network-online.target'] : []),
    ...pathsLine('RequiresMountsFor', subject.folders),
    '',
    '[Service]',
    ...(isLasting ? ['Type=exec', 'Restart=on-failure', 'RestartSec=5'] : ['Type=oneshot']),
    `ExecStart=${[...program, ...subject.args].map(quoted).join(' ')}`,
    ...(envFile === undefined ? [] : [environmentFile(envFile)]),
    '# A restore that is exchanging files goes to its end first.',
    'TimeoutStopSec=5min',
    'UMask=0077',
    '',
    ...(isOfMachine ? machineLimits(what) : []),
    'NoNewPrivileges=yes',
    'LockPersonality=yes',
    'RestrictRealtime=yes',
    'RestrictSUIDSGID=yes',
    'RestrictNamespaces=yes',
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX',
    'SystemCallArchitectures=native',
    'SystemCallFilter=@system-service',
    'SystemCallErrorNumber=EPERM',
    '# Not MemoryDenyWriteExecute: the JavaScript engine compiles at run time.',
    ...(isLasting && isOfMachine ? ['', '[Install]', 'WantedBy=multi-user.target'] : []),
    ...(isLasting && !isOfMachine ? ['', '[Install]', 'WantedBy=default.target'] : []),
  ];
  return `${lines.join('\n')}\n`;
}

/** Only the manager of the machine may set these on every system. */
function machineLimits({ subject, program, user, envFile }: Unattended): string[] {
  const places = [...program, ...subject.folders, ...subject.files, ...(envFile ? [envFile] : [])];
  const isBelow = (...roots: string[]) =>
    places.some((place) => roots.some((root) => place === root || place.startsWith(`${root}/`)));
  return [
    `User=${literal(user)}`,
    // Root reads what belongs to others, and gives away what it makes; other users need no such right.
    `CapabilityBoundingSet=${user === 'root' ? 'CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER' : ''}`,
    '# All is read-only but these:',
    'ProtectSystem=strict',
    ...pathsLine('ReadWritePaths', subject.folders),
    `ProtectHome=${isBelow('/home', '/root', '/run/user') ? 'read-only' : 'yes'}`,
    ...(isBelow('/tmp', '/var/tmp') ? [] : ['PrivateTmp=yes']),
    'PrivateDevices=yes',
    'ProtectClock=yes',
    'ProtectControlGroups=yes',
    'ProtectHostname=yes',
    'ProtectKernelLogs=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelTunables=yes',
  ];
}

function timerUnit({ subject }: Unattended, calendar: Calendar): string {
  const lines = [
    '[Unit]',
    `Description=${literal(`stillpoint ${subject.args.join(' ')}`)}`,
    '',
    '[Timer]',
    ...onCalendar(calendar).map((when) => `OnCalendar=${when}`),
    '# A run that was missed while the machine was off is made up.',
    'Persistent=yes',
    '',
    '[Install]',
    'WantedBy=timers.target',
  ];
  return `${lines.join('\n')}\n`;
}

/** In local time, as cron. */
export function onCalendar(calendar: Calendar): string[] {
  const { months, hours, minutes } = calendar;
  const list = (values: readonly number[] | undefined) =>
    values?.map((value) => String(value).padStart(2, '0')).join(',') ?? '*';
  const time = `${list(hours)}:${list(minutes)}:00`;
  return dayChoices(calendar).map(({ days, weekdays }) => {
    const names = weekdays?.map((day) => `${WEEKDAYS[day]![0]!.toUpperCase()}${WEEKDAYS[day]!.slice(1)}`);
    return `${names === undefined ? '' : `${names.join(',')} `}*-${list(months)}-${list(days)} ${time}`;
  });
}

const pathsLine = (name: string, paths: readonly string[]): string[] =>
  paths.length === 0 ? [] : [`${name}=${paths.map((path) => quoted(path).replaceAll('$$', '$')).join(' ')}`];

/** Its path is not unquoted: what systemd takes off, or takes for its own, cannot be named. */
function environmentFile(path: string): string {
  if (path === path.trim() && !path.endsWith('\\')) return `EnvironmentFile=${literal(path)}`;
  throw new StillpointError('INVALID_REQUEST', `systemd cannot name the file "${path}"`, {
    path,
    hint: 'Give it a name without a space or a backslash at its end.',
  });
}

/** `%` begins a specifier. */
const literal = (text: string): string => text.replaceAll('%', '%%');

/** One word: no specifier, no variable, no escape. */
function quoted(text: string): string {
  const plain = literal(text).replaceAll('$', '$$$$');
  return /^[\w@%+=:,./$-]+$/.test(plain)
    ? plain
    : `"${plain.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
