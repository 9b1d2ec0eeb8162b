import { StillpointError } from '../../errors.ts';
import { cronProblem } from '../../schedule/due-times.ts';

/** When a command runs: the five fields of a cron pattern, in the local time of the machine. A field that says nothing is left out. */
export interface Calendar {
  readonly pattern: string;
  readonly minutes: readonly number[] | undefined;
  readonly hours: readonly number[] | undefined;
  readonly days: readonly number[] | undefined;
  readonly months: readonly number[] | undefined;
  /** 0 is Sunday. */
  readonly weekdays: readonly number[] | undefined;
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
export const WEEKDAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;

/** `INVALID_REQUEST` for what cron, systemd and launchd do not read alike. */
export function calendarOf(text: string): Calendar {
  const pattern = text.trim().replaceAll(/\s+/g, ' ');
  const [minute = '', hour = '', day = '', month = '', weekday = ''] = pattern.split(' ');
  const problem = cronProblem(pattern, 'UTC');
  if (problem !== undefined) throw refuse(pattern, problem);
  const read = (field: string, from: number, to: number, names: readonly string[] = []) =>
    valuesOf(pattern, field, from, to, names);
  const weekdays = read(weekday, 0, 7, WEEKDAYS)?.map((value) => value % 7);
  return {
    pattern,
    minutes: read(minute, 0, 59),
    hours: read(hour, 0, 23),
    days: read(day, 1, 31),
    months: read(month, 1, 12, MONTHS),
    weekdays: weekdays && [...new Set(weekdays)].sort((a, b) => a - b),
  };
}

/**
 * The days on which it runs, as alternatives of which none has both: where a pattern of cron names days of the month and of the
 * week, one of them is enough.
 */
export function dayChoices({ days, weekdays }: Calendar): Pick<Calendar, 'days' | 'weekdays'>[] {
  if (days === undefined || weekdays === undefined) return [{ days, weekdays }];
  return [
    { days, weekdays: undefined },
    { days: undefined, weekdays },
  ];
}

function valuesOf(
  pattern: string,
  field: string,
  from: number,
  to: number,
  names: readonly string[],
): number[] | undefined {
  if (field === '*') return undefined;
  const numberOf = (text: string): number => {
    const index = names.indexOf(text.toLowerCase());
    return index >= 0 ? index + from : Number(text);
  };
  const values = new Set<number>();
  for (const part of field.split(',')) {
    const [, first = '', last, step] =
      /^(\*|\d+|[a-z]{3})(?:-(\d+|[a-z]{3}))?(?:\/(\d+))?$/i.exec(part) ?? [];
    const begin = first === '*' ? from : numberOf(first);
    const end = first === '*' || (last === undefined && step !== undefined) ? to : numberOf(last ?? first);
    const by = Number(step ?? 1);
    if (first === '' || !(begin >= from && begin <= end && end <= to && by >= 1))
      throw refuse(pattern, `must have numbers, lists, ranges and steps alone; ${field} is none`);
    for (let value = begin; value <= end; value += by) values.add(value);
  }
  return [...values].sort((a, b) => a - b);
}

const refuse = (pattern: string, problem: string): StillpointError =>
  new StillpointError('INVALID_REQUEST', `\`--at\` ${problem}: ${JSON.stringify(pattern)}`, {
    hint: 'For every night at three write `--at "0 3 * * *"`.',
  });
