import type { Engine } from '../../engine/engine.ts';
import type { Finding, Report } from '../../engine/report.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { placeOf } from '../store/layout.ts';

/**
 * What of a live directory changed shows whether a proof of it saw one state: names, and the files that name others.
 * Logs are left out; they grow all the time and harm no proof.
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

/** A report of a directory that did not stand still for it: what looks like damage may be nothing but change. */
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
    ({ verdict: _, ...finding }): Finding => ({ ...finding, severity: 'warning' }),
  );
  return { ...report, ok: true, verdict: 'faithful', findings: [changing, ...findings] };
}
