// What the rooms of names have threads do: sign, and examine what comes from outside. Rows go in chunks, with the keys of the
// epochs that they are of and no others; a key that has retired is simply not among them, and the row says so.
import { fromBase64 } from '../../actors/encoding.ts';
import type { ExamineOutcome, ExamineRow, ExtendOutcome, ExtendRow, NamesKey } from '../../workers/name.ts';
import type { Pool } from '../../workers/pool.ts';
import { Fault } from '../fault.ts';
import { runJob } from '../job.ts';
import type { WrapKeys } from '../wraps.ts';
import { Chunks } from './limit.ts';

/** A row takes a millisecond, and more where its key moves to another epoch. What else the thread has to do waits as long. */
const ROWS_MAX = 32;
/** For other names to be signed in the same chunk, and settled in the same commit; a name has hours. */
const WAIT_MS = 5;

interface Modules {
  readonly pool: Pool;
  /** Whether nothing is signed, since the clock is held. */
  readonly held?: () => boolean;
  readonly epochs: { readonly active: { readonly keys: WrapKeys }; keysOf(epoch: number): WrapKeys | undefined };
}

export class NameThreads {
  readonly extend: Chunks<ExtendRow, ExtendOutcome>;
  readonly examine: Chunks<ExamineRow, ExamineOutcome>;

  constructor({ pool, epochs, held }: Modules) {
    const keysOf = (wanted: Iterable<number>): NamesKey[] =>
      [...new Set(wanted)].flatMap((epoch) => {
        const keys = epochs.keysOf(epoch);
        return keys === undefined ? [] : [{ epoch, names: keys.names }];
      });
    this.extend = new Chunks(
      ROWS_MAX,
      async (rows) => {
        // The last door before a key: whatever asked before the clock was held is asked again.
        if (held?.() === true) throw new Fault({ code: 'clock_held' });
        const { epoch, public: published } = epochs.active.keys;
        if (published.names === null) throw new Error('an epoch has a names key');
        const to = { epoch, point: fromBase64(published.names) };
        return runJob(pool, 'extend', { rows, keys: keysOf(rows.map((row) => row.epoch)), to });
      },
      WAIT_MS,
    );
    this.examine = new Chunks(ROWS_MAX, (rows) => {
      const wanted = rows.flatMap(({ key }) => (key === null ? [] : [key.epoch]));
      return runJob(pool, 'examine', { rows, keys: keysOf(wanted) });
    });
  }
}
