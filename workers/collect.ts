// Lets go of keys for good. OpenSSL wipes a key when its last handle is collected, and an idle thread collects nothing for
// hours: so when an epoch retires, the daemon and every thread of every pool collect at once. Called by the pool and by
// whoever has dropped keys.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Every thread of a lane takes one task and waits for the others, so that none takes two. */
export interface CollectTask {
  /** One int32: how many have come. */
  readonly arrived: SharedArrayBuffer;
  readonly threads: number;
}

/** For threads that are busy with something else; one that comes later collects later. */
const WAIT_MS = 5_000;

let gc: (() => void) | undefined;

/** A whole collection of this thread: some 10 ms, and 50 of a large heap. */
export function collect(): null {
  if (gc === undefined) {
    // V8 gives its collector to contexts that are made after the flag.
    setFlagsFromString('--expose-gc');
    gc = runInNewContext('gc') as () => void;
  }
  // Twice: what the first one finalizes may have held the rest.
  gc();
  gc();
  return null;
}

export function collectTogether({ arrived, threads }: CollectTask): null {
  const count = new Int32Array(arrived);
  if (Atomics.add(count, 0, 1) + 1 === threads) Atomics.notify(count, 0);
  const deadline = performance.now() + WAIT_MS;
  for (let seen = Atomics.load(count, 0); seen < threads; seen = Atomics.load(count, 0)) {
    if (Atomics.wait(count, 0, seen, Math.max(0, deadline - performance.now())) === 'timed-out') break;
  }
  return collect();
}
