// How far a sequencer is with what it owes, for whoever waits for that: an orderly end and a handover. Both end with the time that they are
// given, whatever is still owed then.
import type { Rooms } from '../assembly.ts';
import { meta } from '../records.ts';
import { COVERED_MAX } from '../sealer.ts';

/** Until one more seal would cover the whole log, or the time is over. */
export async function caughtUp({ store, sealer }: Rooms, limit: AbortSignal): Promise<void> {
  const isNear = () => meta(store, 'log').size - meta(store, 'log').sealed <= COVERED_MAX;
  while (!isNear() && !limit.aborted) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = store.onCommitted(() => resolve());
    await sealer.hurry();
    await Promise.race([promise, aborted(limit)]);
    end();
  }
}

/** Until everything that is owed is done and a seal covers it, or the time is over. @returns whether all of it is sealed */
export async function drained({ store, runtime, sealer }: Rooms, limit: AbortSignal): Promise<boolean> {
  const covered = () => {
    const { size, sealed } = meta(store, 'log');
    return size === sealed;
  };
  for (;;) {
    await runtime.drained(limit);
    if (limit.aborted || (covered() && runtime.state().owed === 0)) return covered();
    await Promise.race([sealer.hurry(), aborted(limit)]);
  }
}

/** Resolves when the signal fires. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
