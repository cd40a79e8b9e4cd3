// What Prometheus hears of assets, read from the store when it is scraped (metrics.ts): a row for each threshold in use, however many
// assets there are.
import { Gauge, type Registry } from 'prom-client';
import type { Sequencer } from '../sequencer.ts';

export function assetMetrics({ assets }: Pick<Sequencer, 'assets'>, registers: Registry[]): void {
  new Gauge({
    name: 'aegis_assets',
    help: 'Registered assets, by the state that they are in.',
    labelNames: ['state'],
    registers,
    collect() {
      for (const [state, count] of Object.entries(assets.states)) this.set({ state }, count);
    },
  });
  new Gauge({
    name: 'aegis_asset_protection_level',
    help: 'Assets with a risk threshold up to this are protected.',
    registers,
    collect() {
      this.set(assets.overview.held);
    },
  });
}
