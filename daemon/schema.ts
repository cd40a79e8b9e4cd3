// The version of what the store holds, and how an older store becomes this one. A change of a record's meaning is a new version
// with a migration here; a store from a newer version is refused.
import { batchRecord, type Meta } from './records.ts';
import type { Migration } from './store.ts';

export const SCHEMA_VERSION = 2;

export const MIGRATIONS: readonly Migration[] = [
  {
    // An envelope's record no longer says what became of it: its place in an order does.
    from: 1,
    to: 2,
    migrate(tx) {
      const heights = tx.get('meta', 'heights') as Meta['heights'] | undefined;
      for (let height = 0; height < (heights?.cut ?? 0); height++) {
        for (const { envelope_id } of batchRecord(tx, height).order) tx.put('ordered', envelope_id, { height });
      }
    },
  },
];
