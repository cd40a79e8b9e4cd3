// What this version does when an admin orders it: a handler for each kind of act that a room here can do. `openOrders` is given
// them; an act without one is refused with `act_not_supported`.
import { standing } from './epoch.ts';
import { type ActHandlers, requireOrder } from './orders.ts';
import { force } from './retirement.ts';

/** @param modules.onForced  an epoch may have become ready to retire */
export function actHandlers(modules: { onForced: () => void }): ActHandlers {
  return {
    retire_epoch(step, ordered) {
      const { epoch } = requireOrder(ordered, step, 'retire_epoch');
      const before = standing(step, epoch);
      if (before?.state === 'grace' && before.forced === true) {
        return { ok: false, detail: `epoch ${epoch} is being retired already` };
      }
      const found = before === undefined ? 'there is no such epoch' : `it is ${before.state}`;
      if (!force(step, epoch).ok) return { ok: false, detail: `epoch ${epoch}: expected one in grace, but ${found}` };
      return { ok: true, done: modules.onForced };
    },
  };
}
