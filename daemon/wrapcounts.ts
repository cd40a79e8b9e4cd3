// How many wraps each epoch has, by kind, kept in one record and written in the same commit as the wraps: the backlog of an epoch is
// read from it without a scan. A step gathers its changes and writes them once. For wraps.ts alone.
import assert from 'node:assert';
import type { Meta } from './records.ts';
import type { Reader, Transaction } from './store.ts';

export const counts = (reader: Reader): Meta['wraps'] =>
  (reader.get('meta', 'wraps') as Meta['wraps'] | undefined) ?? { counts: {}, moved: 0 };

/** What a step does to the counts. */
export class Changes {
  readonly #by = new Map<number, Map<string, number>>();

  add(epoch: number, kind: string, by: 1 | -1): void {
    const kinds = this.#by.get(epoch) ?? new Map<string, number>();
    this.#by.set(epoch, kinds.set(kind, (kinds.get(kind) ?? 0) + by));
  }

  /** Counts of nothing are left out, so that the record stays as small as the number of epochs in use. */
  write(step: Transaction, moved = 0): void {
    if (this.#by.size === 0) return;
    const record = counts(step);
    const all = { ...record.counts };
    for (const [epoch, changes] of this.#by) {
      const kinds = { ...all[epoch] };
      for (const [kind, by] of changes) {
        const count = (kinds[kind] ?? 0) + by;
        assert(count >= 0, 'the counts are those of the index');
        if (count === 0) delete kinds[kind];
        else kinds[kind] = count;
      }
      if (Object.keys(kinds).length === 0) delete all[epoch];
      else all[epoch] = kinds;
    }
    step.put('meta', 'wraps', { counts: all, moved: record.moved + moved });
  }
}
