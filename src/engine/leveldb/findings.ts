import type { Finding } from '../report.ts';

const KEPT = 100;

/** The findings of one file: the first hundred, and how many more there were. */
export class Findings {
  readonly #path: string;
  readonly #kept: Finding[] = [];
  #more = 0;

  constructor(path: string) {
    this.#path = path;
  }

  error(code: string, offset: number | null, message: string): void {
    this.#add({ path: this.#path, offset, code, severity: 'error', message });
  }

  warning(code: string, offset: number | null, message: string): void {
    this.#add({ path: this.#path, offset, code, severity: 'warning', message });
  }

  #add(finding: Finding): void {
    if (this.#kept.length < KEPT) this.#kept.push(finding);
    else this.#more++;
  }

  get list(): Finding[] {
    if (this.#more === 0) return this.#kept;
    const message = `${this.#more} more findings in this file are not listed`;
    return [
      ...this.#kept,
      { path: this.#path, offset: null, code: 'LEVELDB_MORE', severity: 'error', message },
    ];
  }
}
