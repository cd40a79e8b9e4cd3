// What Prometheus hears of migrations and checkpoints, read from the store when it is scraped (metrics.ts). The newest checkpoint is
// exported as its time, so that one that never comes alarms by itself.
import { Counter, Gauge, type Registry } from 'prom-client';
import { MIGRATION_STATES } from '../../actors/migration.ts';
import { listCheckpoints } from '../checkpoints.ts';
import { checkpointsMeta, newestMigration } from '../freeze.ts';
import type { Store } from '../store.ts';

/** The newest two: the last of them may not be signed yet. */
const LOOKED_AT = 2;

export function migrationMetrics(store: Store, registers: Registry[]): void {
  new Gauge({
    name: 'aegis_migration',
    help: '1 for the stage of the newest migration, 0 for the others.',
    labelNames: ['stage'],
    registers,
    collect() {
      const stage = newestMigration(store)?.state;
      for (const state of MIGRATION_STATES) this.set({ stage: state }, Number(state === stage));
    },
  });
  new Counter({
    name: 'aegis_checkpoints_total',
    help: 'Checkpoints of all assets that were begun, ever.',
    registers,
    collect() {
      this.reset();
      this.inc(checkpointsMeta(store).next);
    },
  });
  new Gauge({
    name: 'aegis_checkpoint_seconds',
    help: 'When the newest signed checkpoint was taken, Unix time; 0 before the first.',
    registers,
    collect() {
      const [newest] = listCheckpoints(store, LOOKED_AT);
      this.set((newest?.begun_at_ms ?? 0) / 1000);
    },
  });
}
