import type { Definitions } from './definitions.ts';

/** A dashboard for Grafana 10 or later: the five numbers first, then snapshots, room, runs and requests. */
export function dashboardFile(metrics: Definitions): string {
  const panels = panelsOf(metrics);
  const dashboard = {
    uid: 'stillpoint',
    title: 'Stillpoint',
    tags: ['stillpoint', 'backup'],
    schemaVersion: 39,
    timezone: 'browser',
    refresh: '1m',
    time: { from: 'now-7d', to: 'now' },
    templating: {
      list: [
        { name: 'source', label: 'Prometheus', type: 'datasource', query: 'prometheus' },
        {
          name: 'instance',
          label: 'Server',
          type: 'query',
          datasource: SOURCE,
          query: `label_values(${metrics.name('build_info')}, instance)`,
          refresh: 2,
          multi: true,
          includeAll: true,
        },
      ],
    },
    panels: laidOut(panels),
  };
  return `${JSON.stringify(dashboard, undefined, 1)}\n`;
}

const SOURCE = { type: 'prometheus', uid: '$source' };

interface Panel {
  readonly title: string;
  readonly description: string;
  readonly type: 'stat' | 'timeseries';
  readonly width: number;
  readonly unit: string;
  readonly targets: readonly { readonly expr: string; readonly legend: string }[];
  readonly colors?: readonly { readonly value: number | null; readonly color: string }[];
  /** Words for values, such as 1: Safe. */
  readonly words?: Readonly<Record<string, string>>;
}

function panelsOf(metrics: Definitions): Panel[] {
  const of = (short: string, labels = '') =>
    `${metrics.name(short)}{instance=~"$instance"${labels === '' ? '' : `, ${labels}`}}`;
  /** How long ago; nothing where there was none. */
  const since = (short: string, labels = '') => `time() - (${of(short, labels)} > 0)`;
  const stat = (
    title: string,
    short: string,
    expr: string,
    unit: string,
    more: Partial<Panel> = {},
  ): Panel => ({
    ...{ title, description: metrics.help(short), type: 'stat', width: 4, unit },
    targets: [{ expr, legend: '{{instance}}' }],
    ...more,
  });
  const graph = (title: string, short: string, unit: string, targets: Panel['targets']): Panel => ({
    ...{ title, description: metrics.help(short), type: 'timeseries', width: 12, unit, targets },
  });
  const one = (expr: string, legend: string) => ({ expr, legend });
  const rate = (short: string, by: string) => `sum by (${by}) (rate(${of(short)}[$__rate_interval]))`;
  const quantile = (short: string, q: number, by: string) =>
    `histogram_quantile(${q}, sum by (le, ${by}) (rate(${of(short).replace('{', '_bucket{')}[$__rate_interval])))`;
  return [
    stat('Am I safe?', 'safe', of('safe'), 'none', {
      words: { 0: 'Not safe', 1: 'Safe' },
      colors: [
        { value: null, color: 'red' },
        { value: 1, color: 'green' },
      ],
    }),
    stat(
      'Last success',
      'last_success_timestamp_seconds',
      since('last_success_timestamp_seconds', 'kind="backup"'),
      's',
      { colors: DAY },
    ),
    stat('Last proven', 'last_verified_timestamp_seconds', since('last_verified_timestamp_seconds'), 's'),
    stat(
      'Next due',
      'plan_next_due_timestamp_seconds',
      `min by (instance) (${of('plan_next_due_timestamp_seconds')}) - time()`,
      's',
    ),
    stat(
      'Recoverable window',
      'oldest_good_snapshot_timestamp_seconds',
      `${of('newest_good_snapshot_timestamp_seconds')} - (${of('oldest_good_snapshot_timestamp_seconds')} > 0)`,
      's',
    ),
    stat('Time to restore', 'last_restore_duration_seconds', of('last_restore_duration_seconds'), 's'),
    graph('Plans that are overdue', 'plan_overdue', 'none', [one(of('plan_overdue'), '{{plan}} {{action}}')]),
    graph('Last success of each plan', 'plan_last_success_timestamp_seconds', 's', [
      one(since('plan_last_success_timestamp_seconds'), '{{plan}} {{action}}'),
    ]),
    graph('Snapshots', 'snapshots', 'none', [one(of('snapshots'), '{{state}}')]),
    graph('Room', 'disk_free_bytes', 'bytes', [
      one(of('disk_free_bytes'), 'free'),
      one(of('snapshots_disk_bytes'), 'snapshots'),
      one(of('undo_disk_bytes'), 'undo folders'),
      one(of('archives_disk_bytes'), 'archives'),
      one(of('exports_disk_bytes'), 'exports'),
    ]),
    graph('Runs that ended', 'runs_total', 'none', [
      one(`sum by (kind, outcome) (increase(${of('runs_total')}[1h]))`, '{{kind}} {{outcome}}'),
    ]),
    graph('How long runs take', 'run_duration_seconds', 's', [
      one(quantile('run_duration_seconds', 0.5, 'kind'), '{{kind}}, half'),
      one(quantile('run_duration_seconds', 0.95, 'kind'), '{{kind}}, 95%'),
    ]),
    graph('Requests', 'http_requests_total', 'reqps', [one(rate('http_requests_total', 'code'), '{{code}}')]),
    graph('Time to answer', 'http_request_duration_seconds', 's', [
      one(quantile('http_request_duration_seconds', 0.5, 'area'), '{{area}}, half'),
      one(quantile('http_request_duration_seconds', 0.99, 'area'), '{{area}}, 99%'),
    ]),
  ];
}

const DAY_SECONDS = 86_400;
const DAY = [
  { value: null, color: 'green' },
  { value: DAY_SECONDS, color: 'orange' },
  { value: 2 * DAY_SECONDS, color: 'red' },
];

const COLUMNS = 24;
const HEIGHTS = { stat: 4, timeseries: 8 } as const;

/** From the left to the right, then below. */
function laidOut(panels: readonly Panel[]): object[] {
  let x = 0;
  let y = 0;
  return panels.map(({ title, description, type, width, unit, targets, colors, words }, id) => {
    const gridPos = { x, y, w: width, h: HEIGHTS[type] };
    x += width;
    if (x >= COLUMNS) [x, y] = [0, y + HEIGHTS[type]];
    const mappings = words && [
      {
        type: 'value',
        options: Object.fromEntries(Object.entries(words).map(([value, text]) => [value, { text }])),
      },
    ];
    return {
      ...{ id: id + 1, title, description, type, gridPos, datasource: SOURCE },
      targets: targets.map(({ expr, legend }, i) => ({
        ...{ refId: String.fromCharCode(65 + i), datasource: SOURCE, expr, legendFormat: legend },
      })),
      fieldConfig: {
        defaults: {
          unit,
          ...(colors && { color: { mode: 'thresholds' }, thresholds: { mode: 'absolute', steps: colors } }),
          ...(mappings && { mappings }),
        },
        overrides: [],
      },
    };
  });
}
