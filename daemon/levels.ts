// The pages that a walk down a tree holds: of each level one, and those that lie behind it. A tree that was filled in the order of its
// keys has its leaves side by side, so whoever asks for page after page gets more of them with one read, and again twice as many, while
// a tree that was filled in any other order reads hardly more than it needs.
import { readSync } from 'node:fs';

const AHEAD_PAGES_MAX = 16;

/** `bytes` holds `count` pages from `first` on; `last` was given out. A view of each page is made once, not whenever it is read. */
type Level = { bytes: Buffer; views: readonly Buffer[]; first: number; count: number; last: number; ahead: number };

export class Levels {
  readonly #file: number;
  readonly #pageBytes: number;
  /** Each has its buffer, since a page must stay while those below it are read. */
  readonly #levels: Level[] = [];

  /** @param file an open descriptor, not closed here */
  constructor(file: number, pageBytes: number) {
    this.#file = file;
    this.#pageBytes = pageBytes;
  }

  /** @returns the page, until the next one of this level is asked for; undefined where the file ends before it does */
  read(page: number, level: number): Buffer | undefined {
    this.#levels[level] ??= this.#made();
    const held = this.#levels[level];
    const next = page === held.last + 1;
    held.last = page;
    if (page < held.first || page >= held.first + held.count) {
      held.ahead = next ? Math.min(2 * held.ahead, AHEAD_PAGES_MAX) : 1;
      const bytes = readSync(this.#file, held.bytes, 0, held.ahead * this.#pageBytes, page * this.#pageBytes);
      held.first = page;
      held.count = Math.floor(bytes / this.#pageBytes);
      if (held.count === 0) return undefined;
    }
    return held.views[page - held.first];
  }

  #made(): Level {
    const size = this.#pageBytes;
    const bytes = Buffer.allocUnsafeSlow(AHEAD_PAGES_MAX * size);
    const views = Array.from({ length: AHEAD_PAGES_MAX }, (_, n) => bytes.subarray(n * size, (n + 1) * size));
    return { bytes, views, first: 0, count: 0, last: Number.NaN, ahead: 1 };
  }
}
