import type { Definitions } from './definitions.ts';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly summary: string;
}

/** Alerts for Prometheus, as a rule file. */
export function rulesFile(metrics: Definitions): string {
  const failed = metrics.name('last_failure_timestamp_seconds');
  const succeeded = metrics.name('last_success_timestamp_seconds');
  const rules: Rule[] = [
    {
      alert: 'StillpointDamage',
      expr: `${metrics.name('snapshots')}{state="damaged"} > 0`,
      summary: 'A snapshot is damaged: stillpoint status tells which',
    },
    {
      alert: 'StillpointSnapshotTooOld',
      expr: `time() - ${metrics.name('newest_good_snapshot_timestamp_seconds')} > 26 * 3600`,
      for: '15m',
      summary: 'No good snapshot for more than 26 hours',
    },
    {
      alert: 'StillpointBackupFails',
      expr: `${failed}{kind="backup"} > (${succeeded}{kind="backup"} or ${failed}{kind="backup"} * 0)`,
      for: '1h',
      summary: 'The last attempt to take a snapshot failed',
    },
    {
      alert: 'StillpointPlanOverdue',
      expr: `${metrics.name('plan_overdue')} == 1`,
      for: '5m',
      summary: 'The {{ $labels.action }} of plan {{ $labels.plan }} is overdue',
    },
    {
      alert: 'StillpointProofTooOld',
      expr: `time() - ${metrics.name('oldest_proof_timestamp_seconds')} > 30 * 86400`,
      summary: 'A snapshot was not verified for a month',
    },
    {
      alert: 'StillpointUnreadable',
      expr: `${metrics.name('snapshots_readable')} == 0 or up{job="stillpoint"} == 0`,
      for: '5m',
      summary: 'Nobody can tell whether the data is safe',
    },
    {
      alert: 'StillpointDiskFull',
      expr: `${metrics.name('disk_free_bytes')} < 5e9`,
      for: '15m',
      summary: 'Less than 5 GB free: snapshots and restores will fail',
    },
  ];
  // What JSON.stringify quotes is YAML.
  const lines = rules.flatMap((rule) => [
    `      - alert: ${rule.alert}`,
    `        expr: ${JSON.stringify(rule.expr)}`,
    ...(rule.for === undefined ? [] : [`        for: ${rule.for}`]),
    `        annotations: { summary: ${JSON.stringify(rule.summary)} }`,
  ]);
  return ['groups:', '  - name: stillpoint', '    rules:', ...lines, ''].join('\n');
}
