import type { Finding } from './report.ts';

/** A damaged file may be wrong in every one of its blocks; this many findings say enough. */
const LIMIT = 100;

/** The findings of one file: the first hundred, and how many more there were. */
export class Findings {
  readonly #path: string;
  readonly #moreCode: string;
  readonly #kept: Finding[] = [];
  /** Of what is not listed, one of each kind. */
  readonly #dropped: Finding[] = [];
  #count = 0;

  /** @param moreCode The code of the finding that tells of what is not listed. */
  constructor(path: string, moreCode: string) {
    this.#path = path;
    this.#moreCode = moreCode;
  }

  get isEmpty(): boolean {
    return this.#kept.length === 0;
  }

  error(code: string, offset: number | null, message: string): void {
    this.add('error', code, offset, message);
  }

  warning(code: string, offset: number | null, message: string): void {
    this.add('warning', code, offset, message);
  }

  /** What could not be read, and so may be anything. */
  unread(code: string, offset: number | null, message: string): void {
    this.#keep({ path: this.#path, offset, code, severity: 'warning', message, verdict: 'unread' });
  }

  add(severity: Finding['severity'], code: string, offset: number | null, message: string): void {
    this.#keep({ path: this.#path, offset, code, severity, message });
  }

  get list(): readonly Finding[] {
    if (this.#dropped.length === 0) return this.#kept;
    const isError = this.#dropped.some(({ severity }) => severity === 'error');
    const isUnread = this.#dropped.some(({ verdict }) => verdict === 'unread');
    const more: Finding = {
      path: this.#path,
      offset: null,
      code: this.#moreCode,
      severity: isError ? 'error' : 'warning',
      message: `${this.#count} further findings in this file are not listed`,
      ...(isUnread && !isError && { verdict: 'unread' }),
    };
    return [...this.#kept, more];
  }

  #keep(finding: Finding): void {
    if (this.#kept.length < LIMIT) this.#kept.push(finding);
    else {
      this.#count++;
      // One of each kind is enough to say how bad they are.
      const isNew = !this.#dropped.some(
        ({ severity, verdict }) => severity === finding.severity && verdict === finding.verdict,
      );
      if (isNew) this.#dropped.push(finding);
    }
  }
}
