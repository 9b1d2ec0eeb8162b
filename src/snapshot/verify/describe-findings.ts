import type { Finding } from '../../engine/report.ts';

/** The first few findings in one line. */
export function describeFindings(findings: readonly Finding[]): string {
  const shown = findings.slice(0, 3).map(({ path, message }) => `${path}: ${message}`);
  return shown.join('; ') + (findings.length > 3 ? `; and ${findings.length - 3} more` : '');
}
