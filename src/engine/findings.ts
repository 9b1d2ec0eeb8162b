import type { Finding } from './report.ts';

/** A damaged file may be wrong in every one of its blocks; this many findings say enough. */
const LIMIT = 100;

/** The findings of one file: the first hundred, and how many more there were. */
export class Findings {
  readonly #path: string;
  readonly #moreCode: string;
  readonly #kept: Finding[] = [];
  #dropped = 0;

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

  add(severity: Finding['severity'], code: string, offset: number | null, message: string): void {
    if (this.#kept.length < LIMIT) this.#kept.push({ path: this.#path, offset, code, severity, message });
    else this.#dropped++;
  }

  get list(): readonly Finding[] {
    if (this.#dropped === 0) return this.#kept;
    const message = `${this.#dropped} further findings in this file are not listed`;
    const more = {
      path: this.#path,
      offset: null,
      code: this.#moreCode,
      severity: 'error',
      message,
    } as const;
    return [...this.#kept, more];
  }
}
