import type { Finding } from '../report.ts';

/** A damaged file may be wrong in every one of its blocks; so many findings say enough. */
const LIMIT = 100;

/** All findings of one file, bounded: past the limit they are only counted. */
export class FindingList {
  readonly #path: string;
  readonly #kept: Finding[] = [];
  #dropped = 0;

  constructor(path: string) {
    this.#path = path;
  }

  get isEmpty(): boolean {
    return this.#kept.length === 0;
  }

  error(code: string, offset: number | null, message: string): void {
    this.add('error', code, offset, message);
  }

  warn(code: string, offset: number | null, message: string): void {
    this.add('warning', code, offset, message);
  }

  add(severity: Finding['severity'], code: string, offset: number | null, message: string): void {
    if (this.#kept.length < LIMIT) this.#kept.push({ path: this.#path, offset, code, severity, message });
    else this.#dropped++;
  }

  list(): Finding[] {
    if (this.#dropped === 0) return this.#kept;
    const message = `${this.#dropped} further findings in this file are not listed`;
    return [...this.#kept, { path: this.#path, offset: null, code: 'LSM_MORE', severity: 'error', message }];
  }
}
