import { resolve } from 'node:path';
import { StillpointError } from '../../errors.ts';
import { VERSION } from '../../snapshot/version.ts';
import type { SystemFiles, Unattended } from './system-files.ts';

/** A folder with a Dockerfile and a compose file. */
export function containerFiles(what: Unattended): SystemFiles {
  if (what.calendar !== undefined) {
    throw new StillpointError('INVALID_REQUEST', 'a container runs all the time, and has no `--at`', {
      hint: 'Write the times into a settings file, and run `-- schedule run SETTINGS`.',
    });
  }
  return {
    folder: resolve(what.name),
    files: [
      { name: 'Dockerfile', text: DOCKERFILE },
      { name: 'compose.yaml', text: compose(what) },
    ],
    next: ['docker compose up --detach --build  # in that folder'],
  };
}

const DOCKERFILE = `FROM node:22-bookworm-slim
# Beside stillpoint: what buckets and LevelDB need. Leave out what you do not use.
RUN npm install --global stillpoint@${VERSION} @aws-sdk/client-s3@3 classic-level@3 && npm cache clean --force
ENTRYPOINT ["stillpoint"]
`;

/** Strings are JSON, which is YAML. */
function compose({ name, subject, user, uid, gid, envFile }: Unattended): string {
  const text = (value: unknown) => JSON.stringify(value).replaceAll('$', '$$$$'); // a $ begins a variable
  const id = /^\d+(:\d+)?$/.test(user) ? user : `${uid}:${gid}`;
  const lines = [
    'services:',
    `  ${name}:`,
    '    build: .',
    `    command: [${subject.args.map(text).join(', ')}]`,
    '    # The owner of the data. Paths are the same inside and outside: files on the disk name them.',
    `    user: ${text(id)}`,
    '    volumes:',
    ...subject.folders.map((path) => volume(text(path), false)),
    ...subject.files.map((path) => volume(text(path), true)),
    ...(envFile === undefined ? [] : [`    env_file: ${text(envFile)}`]),
    '    # Without a key, stillpoint listens on loopback alone: that of the host.',
    '    network_mode: host',
    '    init: true',
    '    restart: unless-stopped',
    '    stop_grace_period: 5m',
    '    read_only: true',
    '    tmpfs: [/tmp]',
    '    cap_drop: [ALL]',
    '    security_opt: ["no-new-privileges:true"]',
  ];
  return `${lines.join('\n')}\n`;
}

const volume = (path: string, isReadOnly: boolean): string =>
  `      - { type: bind, source: ${path}, target: ${path}${isReadOnly ? ', read_only: true' : ''} }`;
