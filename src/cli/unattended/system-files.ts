import type { Calendar } from './calendar.ts';
import type { Subject } from './subject.ts';

/** What has the system run a command: systemd, launchd, cron, or a container. */
export const SYSTEMS = ['systemd', 'launchd', 'cron', 'container'] as const;
export type System = (typeof SYSTEMS)[number];

export interface Unattended {
  readonly name: string;
  readonly subject: Subject;
  /** When it runs; undefined for what lasts. */
  readonly calendar: Calendar | undefined;
  /** The program and its script. */
  readonly program: readonly string[];
  readonly user: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  /** For the whole machine, and not for one user who is signed in. */
  readonly isOfMachine: boolean;
  /** A file with variables, one `NAME=value` a line. */
  readonly envFile: string | undefined;
}

export interface SystemFile {
  readonly name: string;
  /** Without the line that says who wrote it. */
  readonly text: string;
}

export interface SystemFiles {
  /** Where they belong; undefined where no file of ours may be. */
  readonly folder: string | undefined;
  readonly files: readonly SystemFile[];
  /** Commands that make the system take them. */
  readonly next: readonly string[];
}

/** One word of a shell. */
export const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
