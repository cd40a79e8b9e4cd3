// Whether this is `npm run test:long`: what a normal run samples it does whole, and what takes a normal run too long it adds. Files that
// import this are in both.
import { it } from 'vitest';

export const LONG = process.env.AEGIS_LONG === '1';

/** A test of a long run; a normal one doesn't know of it, so none is counted as skipped. */
export function itLong(name: string, test: () => Promise<void>): void {
  if (LONG) it(name, test);
}
