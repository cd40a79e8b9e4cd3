// A store whose disk fails while a test says so: what the tests of the rooms above it use to see that an I/O error loses,
// doubles and blocks nothing. Everything else is the store that it wraps.
import { Fault } from '../daemon/fault.ts';
import type { Store } from '../daemon/store.ts';

export interface Disk {
  /** How many commits fail from now on; each is counted down. */
  failures: number;
  /** Commits that were asked for, failed ones included. */
  asked: number;
}

export function faulty(store: Store): { store: Store; disk: Disk } {
  const disk: Disk = { failures: 0, asked: 0 };
  const commit: Store['commit'] = (step) => {
    disk.asked += 1;
    if (disk.failures === 0) return store.commit(step);
    disk.failures -= 1;
    // As a store does that knows its disk to be broken: at once, without a turn of the event loop.
    return Promise.reject(new Fault({ code: 'store_io', reason: 'the disk of a test' }));
  };
  const wrapped = new Proxy(store, {
    get(target, name) {
      if (name === 'commit') return commit;
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
  return { store: wrapped, disk };
}
