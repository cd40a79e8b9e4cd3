// What this version does when an admin orders it: a handler for each kind of act that a room here can do. `openOrders` is given
// them; an act without one is refused with `act_not_supported`.
import { ALGORITHM_BIT } from '../actors/batch.ts';
import type { Clock } from './clock.ts';
import { standing } from './epoch.ts';
import { type ActHandlers, requireOrder } from './orders.ts';
import { orderRedundancy } from './redundancy.ts';
import { force } from './retirement.ts';
import { allowAgain, overrideRisk } from './risk/orders.ts';

/**
 * @param modules.redundancy  where there is a second platform, which can be turned on and off
 * @param modules.onForced    an epoch may have become ready to retire
 * @param modules.onRisk      the risk score is to be assessed anew
 */
export function actHandlers(modules: {
  redundancy?: { now: () => number } | undefined;
  /** Whose steps are held until somebody agrees. */
  clock?: Pick<Clock, 'accept'>;
  onForced: () => void;
  onRisk: () => void;
}): ActHandlers {
  return {
    ...(modules.redundancy !== undefined && {
      set_redundancy(step, ordered) {
        const { enabled, worker, enclave } = requireOrder(ordered, step, 'set_redundancy');
        orderRedundancy(
          step,
          { enabled, worker_id: worker || null, enclave_id: enclave || null },
          modules.redundancy!.now(),
        );
        return { ok: true };
      },
    }),

    ...(modules.clock !== undefined && {
      accept_clock: (step, ordered) => modules.clock!.accept(step, ordered),
    }),

    retire_epoch(step, ordered) {
      const { epoch } = ordered.act;
      const before = standing(step, epoch);
      if (before?.state === 'grace' && before.forced === true) {
        return { ok: false, detail: `epoch ${epoch} is being retired already` };
      }
      const found = before === undefined ? 'there is no such epoch' : `it is ${before.state}`;
      if (!force(step, ordered).ok) return { ok: false, detail: `epoch ${epoch}: expected one in grace, but ${found}` };
      return { ok: true, done: modules.onForced };
    },

    risk_override(step, ordered) {
      const { score, until_ms } = requireOrder(ordered, step, 'risk_override');
      const override = score === null || until_ms === null ? null : { score, until_ms };
      if (overrideRisk(step, override)) return { ok: true, done: modules.onRisk };
      return { ok: false, detail: 'expected a daemon that has assessed a risk' };
    },

    downgrade(step, ordered) {
      const { algorithms, schemes } = requireOrder(ordered, step, 'downgrade');
      const ecdsa = (algorithms & ALGORITHM_BIT.ECDSA) !== 0;
      if (allowAgain(step, ecdsa, schemes)) return { ok: true, done: modules.onRisk };
      return { ok: false, detail: 'expected a daemon that has assessed a risk' };
    },
  };
}
