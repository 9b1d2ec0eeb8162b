import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Calendar } from '../../src/cli/unattended/calendar.ts';
import { calendarOf } from '../../src/cli/unattended/calendar.ts';
import { cronFiles } from '../../src/cli/unattended/cron.ts';
import type { Subject } from '../../src/cli/unattended/subject.ts';
import { onCalendar } from '../../src/cli/unattended/systemd.ts';
import { dueTimes } from '../../src/schedule/due-times.ts';
import { COMMAND, stillpoint, stillpointProcess } from '../support/command.ts';
import { needsPrograms } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';

/** A data directory whose name has all that needs quoting, a repository, and settings that name both. */
async function stage() {
  const root = await temporaryFolder();
  const dataDir = join(root, 'a b %n $X "q\' &<');
  const repository = join(root, 'repository');
  for (const folder of [dataDir, repository]) mkdirSync(folder);
  writeFileSync(join(dataDir, 'letter'), 'of the data');
  const settings = join(root, 'stillpoint.json');
  const plan = { store: 'a', repository: 'r', backup: '0 3 * * *' };
  const document = {
    version: 1,
    stores: { a: { data_dir: dataDir, engine: 'files' } },
    repositories: { r: { destination: repository, encryption: { key_file: 'key' } } },
    plans: { nightly: plan },
  };
  writeFileSync(settings, JSON.stringify(document));
  writeFileSync(join(root, 'key'), 'a key');
  return { root, dataDir, repository, settings, out: join(root, 'out') };
}

const print = async (...args: string[]) => (await stillpoint(['service', 'print', '--json', ...args])).json;
const errorOf = async (...args: string[]) => (await print(...args)).error;

test('systemd finds nothing wrong with a service, a timer, and names that need quoting', async (context) => {
  needsPrograms(context, 'systemd-analyze');
  const { dataDir, repository, settings, out } = await stage();
  const install = (...args: string[]) => stillpoint(['service', 'install', '--out', out, '--json', ...args]);
  const given = [
    ['--user', 'daemon', '--', 'serve', dataDir, '--settings', settings],
    ['--at', '*/15 3-4 1 * mon', '--', 'backup', 'run', dataDir, `--to=${repository}`],
  ];
  for (const args of given) expect((await install(...args)).code).toBe(0);
  const files = readdirSync(out);
  expect(files.map((name) => name.split('.')[1]).sort()).toEqual(['service', 'service', 'timer']);
  const analyze = (...args: string[]) =>
    execFileSync('systemd-analyze', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  expect(analyze('verify', ...files.map((name) => join(out, name)))).toBe('');
  const service = files.find((name) => name.startsWith('stillpoint-serve'))!;
  // Of 100: what is left open. It fails above that.
  if (process.getuid?.() === 0) analyze('security', '--offline=true', '--threshold=30', join(out, service));
  const text = readFileSync(join(out, service), 'utf8');
  const written = /^ReadWritePaths=(.*)$/m.exec(text)?.[1];
  if (process.getuid?.() === 0) {
    expect(written).toContain(repository);
    expect(written).toContain('a b %%n $X');
    expect(text).toContain('%%n $$X \\"q\' &<"');
  }
});

test.each([
  ['*/20 3-4 * * *', '0 0 1-7 1,2 0-6'],
  ['30 1 1 1 7', '5 4 29 2 tue'],
])('systemd runs %s and %s when cron does', (...patterns) => {
  for (const pattern of patterns) {
    const at = dueTimes('x', pattern, 'UTC', 0);
    const lines = onCalendar(calendarOf(pattern));
    let ms = Date.UTC(2026, 10, 27);
    for (let i = 0; i < 20; i++) {
      ms = at.firstAfter(ms)!;
      const isDue = lines.some((line) => matches(line, new Date(ms)));
      expect(isDue, `${pattern} at ${new Date(ms).toISOString()}`).toBe(true);
      expect(lines.some((line) => matches(line, new Date(ms + 60_000)))).toBe(
        at.firstAfter(ms) === ms + 60_000,
      );
    }
  }
});

/** `Mon,Tue *-01,02-* 03:00,15:00`, as systemd.time(7) has it. */
function matches(line: string, when: Date): boolean {
  const [time = '', date = '', weekdays] = line.split(' ').reverse();
  const has = (list: string, value: number) => list === '*' || list.split(',').map(Number).includes(value);
  const [, month = '', day = ''] = date.split('-');
  const [hour = '', minute = ''] = time.split(':');
  const name = when.toUTCString().slice(0, 3);
  return (
    (weekdays === undefined || weekdays.split(',').includes(name)) &&
    has(month, when.getUTCMonth() + 1) &&
    has(day, when.getUTCDate()) &&
    has(hour, when.getUTCHours()) &&
    has(minute, when.getUTCMinutes())
  );
}

test('a folder may be called like a word of the command, or like the value of an option', async () => {
  const root = await temporaryFolder();
  for (const name of ['serve', 'backup', 'lsm']) mkdirSync(join(root, name));
  const lineOf = async (...args: string[]) => {
    const [program, ...before] = COMMAND;
    const text = execFileSync(program!, [...before, 'service', 'print', '--json', ...args], { cwd: root });
    return /^ExecStart=.*?main\.\w+"? (.*)$/m.exec(JSON.parse(text.toString()).files[0].text)?.[1];
  };
  expect(await lineOf('--', 'serve', 'serve')).toBe(`serve ${root}/serve`);
  expect(await lineOf('--', 'serve', 'lsm', '--engine', 'lsm')).toBe(`serve ${root}/lsm --engine lsm`);
  expect(await lineOf('--at', '0 3 * * *', '--', 'backup', 'run', 'backup', '--to=serve')).toBe(
    `backup run ${root}/backup --to=${root}/serve`,
  );
});

test('no value of an option can add a line, or a command', async () => {
  const { root, dataDir } = await stage();
  const ending = join(root, 'ends\\');
  mkdirSync(ending);
  for (const [args, what] of [
    [['--user', 'a\nExecStartPre=/bin/true', '--', 'serve', dataDir], 'no name of a user'],
    [['--user', 'root touch /tmp/p;', '--', 'serve', dataDir], 'no name of a user'],
    [['--environment-file', '/etc/a\nUser=root', '--', 'serve', dataDir], 'control character'],
    [['--', 'serve', ending], 'ends in a backslash'],
  ] as const)
    expect(await errorOf(...args)).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining(what),
    });
  expect(
    (await print('--system', 'container', '--user', '1000:1000', '--', 'serve', dataDir)).error,
  ).toBeUndefined();
});

test('a property list is well-formed, and says the same', async (context) => {
  needsPrograms(context, 'python3');
  const { dataDir, settings } = await stage();
  const read = async (...args: string[]) => {
    const { files } = await print('--system', 'launchd', ...args);
    const script = 'import plistlib, json, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))';
    return JSON.parse(execFileSync('python3', ['-c', script], { input: files[0].text, encoding: 'utf8' }));
  };
  const lasting = await read('--environment-file', '/etc/x', '--', 'serve', dataDir, '--settings', settings);
  expect(lasting.ProgramArguments.slice(-4)).toEqual(['serve', dataDir, '--settings', settings]);
  expect(lasting).toMatchObject({ RunAtLoad: true, KeepAlive: { SuccessfulExit: false }, Umask: 63 });
  const timed = await read('--at', '0 3 1 * 1-2', '--', 'snapshot', dataDir);
  expect(timed.StartCalendarInterval).toEqual([
    { Day: 1, Hour: 3, Minute: 0 },
    { Weekday: 1, Hour: 3, Minute: 0 },
    { Weekday: 2, Hour: 3, Minute: 0 },
  ]);
});

test('a line of cron is one, and does what it says', async (context) => {
  needsPrograms(context, 'crontab');
  const { root, dataDir } = await stage();
  const { stdout } = await stillpointProcess([
    ...['service', 'print', '--json', '--system', 'cron', '--at', '0 3 * * *'],
    ...['--', 'snapshot', dataDir, '--engine', 'files', '--quiet'],
  ]);
  const { text } = JSON.parse(stdout).files[0];
  const table = join(root, 'crontab');
  writeFileSync(table, text);
  execFileSync('crontab', ['-n', table], { stdio: 'pipe' });
  const line = text.trimEnd().split('\n').at(-1);
  expect(line).toMatch(/^0 3 \* \* \* /);
  expect(line).toContain('\\%n');
  expect(line.replaceAll('\\%', '')).not.toContain('%'); // to cron it would end the command
  execFileSync('sh', ['-c', line.slice(line.indexOf('umask')).replaceAll('\\%', '%')], { stdio: 'pipe' });
  expect(existsSync(join(dataDir, '.lifecycle/backup/latest'))).toBe(true);
});

/** What reaches the shell, as `do_command.c` has it: of vixie-cron, where a backslash escapes itself too, and of cronie. */
function throughCron(command: string, escapes: string): string {
  let text = '';
  for (let i = 0; i < command.length; i++) {
    const [here, next] = [command[i]!, command[i + 1]];
    if (here === '%') return text; // the rest would be its input
    if (here === '\\' && next !== undefined) {
      text += escapes.includes(next) ? next : here + next;
      i++;
    } else text += here;
  }
  return text;
}

test.each(['%\\', '%'])(
  'whatever is in a path, a cron that knows an escaped %s runs it as it is',
  (escapes) => {
    const names = ['a%b', 'a\\%b', 'a\\\\%b', 'a\\\\\\b', "it's\\'%", '\\%\\%', '%', "'%'\\"];
    for (const path of names) {
      const { files } = cronFiles({
        ...{ name: 'stillpoint', user: 'user', uid: 1, gid: 1, home: '/', isOfMachine: false },
        ...{ program: ['printf', '%s|'], envFile: undefined },
        calendar: { pattern: '0 3 * * *' } as Calendar,
        subject: { args: ['snapshot', path] } as unknown as Subject,
      });
      const line = files[0]!.text.trimEnd().split('\n').at(-1)!;
      const command = throughCron(line.slice(line.indexOf('umask')), escapes);
      expect(execFileSync('sh', ['-c', command], { encoding: 'utf8' })).toBe(`snapshot|${path}|`);
    }
  },
);

test('a container sees what the command needs at the same paths, and no more', async () => {
  const { root, dataDir, repository, settings } = await stage();
  const { files } = await print('--system', 'container', '--', 'schedule', 'run', settings);
  const [dockerfile, compose] = files;
  expect(dockerfile.text).toMatch(
    /^FROM node:\d+.*\n(#.*\n)?RUN npm install .*\nENTRYPOINT \["stillpoint"\]\n$/m,
  );
  const text = compose.text.replaceAll('$$', '$');
  expect(JSON.parse(/command: (.*)/.exec(text)![1]!)).toEqual(['schedule', 'run', settings]);
  const volumes = [...text.matchAll(/source: (".*"), target: (".*?")(, read_only: true)? }/g)];
  expect(
    volumes.map(([, source, target, only]) => [JSON.parse(source!), source === target, only !== undefined]),
  ).toEqual([
    [dataDir, true, false],
    [repository, true, false],
    [settings, true, true],
    [join(root, 'key'), true, true],
  ]);
});

test('install shows what it writes, and replaces nothing that it did not write', async () => {
  const { dataDir, out } = await stage();
  const install = async (...args: string[]) => {
    const given = ['service', 'install', '--system', 'systemd', '--name', 'one', '--out', out, ...args];
    return stillpoint([...given, '--', 'serve', dataDir]);
  };
  const path = join(out, 'one.service');
  expect((await install('--dry-run')).stdout).toContain('would be written');
  expect(existsSync(out)).toBe(false);
  const first = await install();
  expect(first.stdout).toContain(`${path}: written`);
  for (const line of readFileSync(path, 'utf8').trimEnd().split('\n')) expect(first.stderr).toContain(line);
  expect((await install('--json')).json.files[0].state).toBe('same');
  const { json } = await stillpoint([
    ...['service', 'install', '--system', 'systemd', '--name', 'one', '--out', out, '--json'],
    ...['--', 'serve', dataDir, '--port', '5000'],
  ]);
  expect(json.files[0].state).toBe('ours');
  expect(readFileSync(path, 'utf8')).toContain('--port 5000');

  appendFileSync(path, 'Nice=5\n');
  expect(await install('--json')).toMatchObject({ code: 4, json: { error: { code: 'CONFLICT' } } });
  expect(await install('--dry-run')).toMatchObject({ code: 4 });
  expect(readFileSync(path, 'utf8')).toContain('Nice=5');
  writeFileSync(path, '[Service]\nExecStart=/bin/true\n');
  expect((await install()).code).toBe(4);
  expect((await install('--force')).code).toBe(0);
  expect(readFileSync(path, 'utf8')).not.toContain('/bin/true');
});

test('what could not run is refused now', async () => {
  const { root, dataDir, repository } = await stage();
  const cases = [
    { args: ['--', 'serve', dataDir, '--prot', '5'], code: 'INVALID_REQUEST', message: /--prot/ },
    { args: ['--', 'serve', join(root, 'absent')], code: 'NOT_FOUND', message: /there is nothing at/ },
    { args: ['--', 'serve'], code: 'INVALID_REQUEST', message: /missing required argument/ },
    { args: ['--', 'backup', 'run', dataDir], code: 'INVALID_REQUEST', message: /--to/ },
    { args: ['--', 'nothing'], code: 'INVALID_REQUEST', message: /no command to run unattended/ },
    { args: ['--', 'console', dataDir], code: 'INVALID_REQUEST', message: /no command to run unattended/ },
    { args: ['--', 'snapshot', dataDir], code: 'INVALID_REQUEST', message: /not said when/ },
    { args: ['--at', '0 3 * * *', '--', 'serve', dataDir], code: 'INVALID_REQUEST', message: /all the time/ },
    { args: ['--at', '0 3 * *', '--', 'snapshot', dataDir], code: 'INVALID_REQUEST', message: /five fields/ },
    { args: ['--at', '0 3 L * *', '--', 'snapshot', dataDir], code: 'INVALID_REQUEST', message: /L is none/ },
    { args: ['--name', 'a/b', '--', 'serve', dataDir], code: 'INVALID_REQUEST', message: /no name/ },
    {
      args: ['--environment-file', '/etc/x ', '--', 'serve', dataDir],
      code: 'INVALID_REQUEST',
      message: /systemd cannot name the file/,
    },
    { args: ['--system', 'cron', '--', 'serve', dataDir], code: 'INVALID_REQUEST', message: /once/ },
    {
      args: [
        '--system',
        'container',
        '--at',
        '0 3 * * *',
        '--',
        'backup',
        'run',
        dataDir,
        '--to',
        repository,
      ],
      ...{ code: 'INVALID_REQUEST', message: /no `--at`/ },
    },
    {
      args: ['--', 'serve', dataDir, '--api-key', 'a-secret-of-sixteen-characters'],
      ...{ code: 'INVALID_REQUEST', message: /the key would stand/ },
    },
    { args: ['--', 'serve', `${dataDir}\n[Service]`], code: 'INVALID_REQUEST', message: /control character/ },
  ];
  for (const { args, code, message } of cases)
    expect(await errorOf(...args), args.join(' ')).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
});

test('who names the system as a command learns of the option', async () => {
  const { code, hint } = await errorOf('systemd', 'serve', './data');
  expect(code).toBe('INVALID_REQUEST');
  expect(hint).toContain('`--system systemd`');
});
