// What Prometheus hears of epochs and their rotations, read from the store when it is scraped (metrics.ts). The end of a grace is
// exported as its time, so that one which nobody ends alarms by itself.
import { Counter, Gauge, type Registry } from 'prom-client';
import { EPOCH_STATES } from '../../actors/epoch.ts';
import { inGrace, standing } from '../epoch.ts';
import { meta, pendingRotation } from '../records.ts';
import { rotations } from '../rotation.ts';
import type { Sequencer } from '../sequencer.ts';

/** Of epochs that still have keys; how many are retired is what is left of the highest number. */
export function epochMetrics(sequencer: Sequencer, registers: Registry[]): void {
  const { store } = sequencer;
  new Gauge({
    name: 'aegis_epoch',
    help: 'The epoch that signs.',
    registers,
    collect() {
      this.set(meta(store, 'epoch').active);
    },
  });
  new Gauge({
    name: 'aegis_epochs',
    help: 'How many epochs there are, by state.',
    labelNames: ['state'],
    registers,
    collect() {
      const [pending, grace] = [Number(pendingRotation(store) !== undefined), inGrace(store).length];
      const counts = { pending, active: 1, grace, retired: meta(store, 'epoch').active - 1 - grace };
      for (const state of EPOCH_STATES) this.set({ state }, counts[state]);
    },
  });
  new Counter({
    name: 'aegis_rotations_total',
    help: 'Rotations that were executed, ever, by reason.',
    labelNames: ['reason'],
    registers,
    collect() {
      this.reset();
      for (const [reason, count] of Object.entries(rotations(store))) this.inc({ reason }, count);
    },
  });
  const perEpoch = (name: string, help: string, read: (epoch: number) => number) =>
    new Gauge({
      name: `aegis_epoch_${name}`,
      help,
      labelNames: ['epoch'],
      registers,
      collect() {
        this.reset();
        for (const epoch of inGrace(store)) this.set({ epoch }, read(epoch));
      },
    });
  perEpoch('grace_ends_seconds', 'When the grace of an epoch ends or ended, Unix time.', (epoch) => {
    return (standing(store, epoch)?.grace_ends_ms ?? 0) / 1000;
  });
  perEpoch('backlog_secrets', 'Secrets that an epoch in grace still wraps.', (epoch) => sequencer.backlog(epoch));
}
