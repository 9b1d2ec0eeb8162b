import { StillpointError } from '../../errors.ts';
import { type MetricDefinition, MetricSet, nameOf } from '../metric-set.ts';

/** The metrics of a server, for files that name them. One that does not exist stops the build. */
export class Definitions {
  readonly #all: ReadonlyMap<string, MetricDefinition>;

  private constructor(all: ReadonlyMap<string, MetricDefinition>) {
    this.#all = all;
  }

  static async read(): Promise<Definitions> {
    return new Definitions(await new MetricSet().definitions());
  }

  name(short: string): string {
    return this.#find(short).name;
  }

  help(short: string): string {
    return this.#find(short).help;
  }

  #find(short: string): MetricDefinition {
    const found = this.#all.get(nameOf(short));
    if (found === undefined) throw new StillpointError('INTERNAL', `there is no metric ${short}`);
    return found;
  }
}
