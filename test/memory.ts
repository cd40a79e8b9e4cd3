// A store in memory, for simulations that make thousands of commits: the real steps, overlays and tables over nothing. What
// has resolved is there, as with the real one; it fails as a disk does, and outlives the daemons that a simulation kills.
import { Fault } from '../daemon/fault.ts';
import { EMPTY_HEAD } from '../daemon/journal.ts';
import { Overlay, type Source } from '../daemon/overlay.ts';
import { type Counters, createReader, Step, type Transaction } from '../daemon/step.ts';
import type { Store } from '../daemon/store.ts';

const NOTHING: Source = { lookup: () => undefined, has: () => false, scan: () => [], count: () => 0 };

export interface MemoryStore {
  /** The store as one life of the daemon has it: nothing that it commits after its end is heard of. */
  live(): { store: Store; kill(): void };
}

/** @param refuse  asked before each commit whether it fails */
export function memoryStore(refuse: () => boolean): MemoryStore {
  const overlay = new Overlay(NOTHING);
  let counters: Counters = { head: EMPTY_HEAD, nextEffect: 1 };

  function commit<T>(act: (tx: Transaction) => T): T {
    const step = new Step(overlay, counters);
    try {
      const result = act(step);
      // Steps run before the disk fails.
      if (refuse()) throw new Fault({ code: 'store_io', reason: 'simulated' });
      counters = step.finish();
      overlay.merge(step.overlay);
      return result;
    } finally {
      step.finish();
    }
  }

  return {
    live() {
      let alive = true;
      const store: Partial<Store> = {
        ...createReader(overlay),
        journalHead: () => counters.head,
        state: () => ({ writable: true, free_bytes: 1, commits: 0, steps: 0, waiting: 0 }),
        async commit(act) {
          // A real commit comes with a later turn of the event loop.
          await new Promise((resolve) => setImmediate(resolve));
          return alive ? commit(act) : new Promise(() => {});
        },
      };
      return {
        store: store as Store,
        kill: () => {
          alive = false;
        },
      };
    },
  };
}
