import type { Command } from 'commander';
import type { Job } from '../../backup/jobs/job-store.ts';
import { cancelJob, listJobs, listJobsOptions, showJob, showJobOptions } from '../../backup/list-jobs.ts';
import type { Cli } from '../cli.ts';
import { DATA_DIR } from '../data-dir-variable.ts';
import { commandEnvironment } from '../environment.ts';
import { Flags, fromVariable, type Given } from '../flags.ts';
import { examples } from '../help-text.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { duration, table, time, visible } from '../text.ts';

const flags = new Flags(listJobsOptions.fields, ['kind', 'status', 'before', 'limit', 'jobs']);

const showFlags = new Flags(showJobOptions.fields, ['jobs']);

export function define(command: Command, cli: Cli): void {
  const list = subcommand(
    command,
    'list',
    'list the attempts to back up a data directory, newest first',
    DATA_DIR,
  );
  flags.addTo(list, '', { jobs: fromVariable });
  list
    .addHelpText('after', examples('jobs list ./data', 'jobs list ./data --status failed --limit 10 --json'))
    .action(async (dir: string, given: Given) => {
      const jobs = await listJobs(dir, { environment: commandEnvironment, ...flags.read(given) });
      cli.output.result(jobs, (style) => describeList(jobs.jobs, given, style));
    });
  const show = subcommand(command, 'show', 'show one attempt', { ...DATA_DIR, '<job>': 'the id of the job' });
  showFlags.addTo(show, '', { jobs: fromVariable });
  show
    .addHelpText('after', examples('jobs show ./data 01KXXXXXXXXXXXXXXXXXXXXXXX'))
    .action(async (dir: string, id: string, given: Given) => {
      const job = await showJob(dir, id, { environment: commandEnvironment, ...showFlags.read(given) });
      cli.output.result(job, (style) => describe(job, style));
    });
  defineCancel(command, cli);
}

function defineCancel(command: Command, cli: Cli): void {
  const cancel = subcommand(command, 'cancel', 'ask whoever works on a job to end it', {
    ...DATA_DIR,
    '<job>': 'the id of the job',
  });
  showFlags.addTo(cancel, '', { jobs: fromVariable });
  cancel
    .addHelpText('after', examples('jobs cancel ./data 01KXXXXXXXXXXXXXXXXXXXXXXX'))
    .action(async (dir: string, id: string, given: Given) => {
      const job = await cancelJob(dir, id, { environment: commandEnvironment, ...showFlags.read(given) });
      cli.output.result(job, (style) => [
        `${style.bold(id)}  asked to end; \`stillpoint jobs show\` tells when it has`,
      ]);
    });
}

function describeList(jobs: readonly Job[], { kind, status }: Given, style: Style): string[] {
  if (jobs.length === 0) return [kind === undefined && status === undefined ? 'no jobs yet' : 'no such jobs'];
  const rows = jobs.map((job) => [
    job.id,
    job.kind,
    job.status,
    time(job.startedAtMs),
    job.finishedAtMs === null ? `${job.progress}%` : duration(job.finishedAtMs - job.startedAtMs),
    visible(job.error ?? ''),
  ]);
  const [head = '', ...lines] = table([['JOB', 'KIND', 'STATUS', 'STARTED', 'TOOK', ''], ...rows], [4]);
  return [
    style.dim(head),
    ...lines.map((line, i) => (jobs[i]!.status === 'failed' ? style.red(line) : line)),
  ];
}

function describe(job: Job, style: Style): string[] {
  const { id, kind, status, startedAtMs, finishedAtMs, backupId, repositoryId, error, errorCode, errorHint } =
    job;
  return [
    `${style.bold(id)}  ${kind}: ${status}, ${job.progress}%`,
    `  started ${time(startedAtMs)}${finishedAtMs === null ? '' : `, took ${duration(finishedAtMs - startedAtMs)}`}`,
    repositoryId === null
      ? '  failed before the repository was open'
      : `  backup ${backupId ?? '-'} in repository ${repositoryId}`,
    ...(error === null ? [] : [`  ${style.red(errorCode ?? '')} ${visible(error)}`]),
    ...(errorHint === null ? [] : [`  hint: ${visible(errorHint)}`]),
  ];
}
