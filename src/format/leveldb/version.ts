import type { TableEntry, VersionEdit } from './version-edit.ts';

/** The state after all edits of a MANIFEST up to some record. */
export class Version {
  comparator: string | undefined;
  logNumber: number | undefined;
  prevLogNumber = 0;
  nextFile: number | undefined;
  lastSequence: bigint | undefined;
  readonly #tables = new Map<string, TableEntry>();
  readonly #compactPointers = new Map<number, Buffer>();

  /** Applies an edit. Returns its contradictions to the state, which LevelDB itself ignores. */
  apply(edit: VersionEdit): string[] {
    const contradictions: string[] = [];
    this.comparator = edit.comparator ?? this.comparator;
    this.logNumber = edit.logNumber ?? this.logNumber;
    this.prevLogNumber = edit.prevLogNumber ?? this.prevLogNumber;
    this.nextFile = edit.nextFile ?? this.nextFile;
    this.lastSequence = edit.lastSequence ?? this.lastSequence;
    for (const { level, key } of edit.compactPointers) this.#compactPointers.set(level, key);
    for (const { level, number } of edit.deletedFiles) {
      if (!this.#tables.delete(`${level}/${number}`)) {
        contradictions.push(`table ${number} is deleted from level ${level}, where it is not`);
      }
    }
    for (const table of edit.newFiles) this.#tables.set(`${table.level}/${table.number}`, table);
    return contradictions;
  }

  /** The live tables, in the order in which they were added. */
  get tables(): TableEntry[] {
    return [...this.#tables.values()];
  }

  /** One edit that says the same as all edits so far. */
  toEdit(): VersionEdit {
    const { comparator, logNumber, prevLogNumber, nextFile, lastSequence } = this;
    return {
      ...(comparator !== undefined && { comparator }),
      ...(logNumber !== undefined && { logNumber }),
      ...(prevLogNumber !== 0 && { prevLogNumber }),
      ...(nextFile !== undefined && { nextFile }),
      ...(lastSequence !== undefined && { lastSequence }),
      compactPointers: [...this.#compactPointers]
        .map(([level, key]) => ({ level, key }))
        .sort((a, b) => a.level - b.level),
      deletedFiles: [],
      newFiles: this.tables,
    };
  }

  /** Whether the log of this number holds writes that no table has yet. */
  needsLog(number: number): boolean {
    return number >= (this.logNumber ?? 0) || (number === this.prevLogNumber && number !== 0);
  }

  /** Fields that every usable MANIFEST sets and this one does not. */
  get missingFields(): string[] {
    return [
      ...(this.comparator === undefined ? ['comparator'] : []),
      ...(this.logNumber === undefined ? ['log number'] : []),
      ...(this.nextFile === undefined ? ['next file number'] : []),
      ...(this.lastSequence === undefined ? ['last sequence'] : []),
    ];
  }
}
