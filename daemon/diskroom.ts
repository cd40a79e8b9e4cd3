// How much room a store has: free space on its disk and below `map_bytes_max`, whether that is short, and what it must find room for before it
// writes again. Asked at most once a second; both answers have hysteresis, so that a store doesn't come and go.
import { statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Overlay } from './overlay.ts';

const CHECK_MS = 1_000;
/** What a store that could not write must find room for, at least and at most, before it takes steps again. */
export const ROOM_BYTES_MIN = 262_144;
const ROOM_BYTES_MAX = 2 ** 25;
/** Space that was short is no longer at so much of `free_bytes_min`: one that is just enough would be short again at once. */
const LOW_UNTIL = 1.25;

/** Of what failed, and as much again. */
export function roomFor(overlay: Overlay): number {
  let bytes = 0;
  for (const [, key, value] of overlay.writes()) bytes += key.length + (value?.length ?? 0);
  return Math.min(ROOM_BYTES_MAX, Math.max(ROOM_BYTES_MIN, 2 * bytes));
}

/** What of `StoreOptions` is asked anew each time, as settings are live. */
export interface Limits {
  readonly folder: string;
  readonly map_bytes_max: number;
  readonly free_bytes_min: number;
}

export class DiskRoom {
  readonly #limits: Limits;
  #low = false;
  #asked = { at: Number.NEGATIVE_INFINITY, free: Number.POSITIVE_INFINITY };

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** Space was short, and is until there is clearly more. */
  state(): { readonly low: boolean; readonly free_bytes: number } {
    const { free_bytes_min } = this.#limits;
    const free_bytes = this.#freeBytes();
    this.#low = free_bytes < (this.#low ? free_bytes_min * LOW_UNTIL : free_bytes_min);
    return { low: this.#low, free_bytes };
  }

  #freeBytes(): number {
    const now = performance.now();
    if (now - this.#asked.at < CHECK_MS) return this.#asked.free;
    const { folder, map_bytes_max } = this.#limits;
    try {
      const { bavail, bsize } = statfsSync(folder);
      const used = statSync(join(folder, 'data.mdb')).size;
      this.#asked = { at: now, free: Math.max(0, Math.min(bavail * bsize, map_bytes_max - used)) };
    } catch {
      this.#asked = { at: now, free: 0 };
    }
    return this.#asked.free;
  }
}
