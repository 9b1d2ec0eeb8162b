import type { Engine } from '../../engine/engine.ts';
import type { Finding, Report } from '../../engine/report.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { placeOf } from '../store/layout.ts';

/**
 * A fingerprint of a live directory. If it is the same before and after a proof, the proof saw one state. Of logs only the names
 * count: they grow all the time, which disturbs no proof.
 */
export async function stillnessOf(fs: FileSystem, engine: Engine, folder: string): Promise<string> {
  const lines: string[] = [];
  for (const path of await engine.listFiles(fs, folder)) {
    if (path.endsWith('.log')) lines.push(path);
    else {
      const stat = await fs.inspect(placeOf(folder, path));
      lines.push(`${path} ${stat?.ino} ${stat?.sizeBytes} ${stat?.mtimeNs}`);
    }
  }
  return lines.sort().join('\n');
}

/** The report on a directory that kept changing: what looks like damage may be change. */
export function downgradeToWarnings(report: Report): Report {
  const message = 'the directory changed all the while; take a snapshot, which is proven as one state';
  const changing: Finding = {
    path: '',
    offset: null,
    code: 'DIRECTORY_CHANGING',
    severity: 'warning',
    message,
  };
  const findings = report.findings.map(
    ({ verdict, ...finding }): Finding => ({
      ...finding,
      severity: 'warning',
      ...(verdict === 'unread' && { verdict }),
    }),
  );
  const hasUnread = findings.some(({ verdict }) => verdict === 'unread');
  const verdict = hasUnread ? 'unread' : 'faithful';
  return { ...report, ok: !hasUnread, verdict, findings: [changing, ...findings] };
}
