// What protects a router from us: a token bucket for how many requests begin in a second, and a limit of requests in flight that
// halves when the router fails, slows down or asks for a pause, and grows again by one for each round that goes well. Every
// request to the router passes here. It goes by the process's own clock, for requests are real whatever time the daemon has.

export interface LimitOptions {
  readonly requests_per_s: number;
  readonly in_flight_max: number;
}

/** How a request went, as the limit sees it. */
export type Load = 'well' | 'badly';

/**
 * The limit after one more answer: additive increase, multiplicative decrease.
 *
 * @param limit  from 1; its fraction is the part of a round that has gone well
 */
export function adapted(limit: number, load: Load, in_flight_max: number): number {
  const next = load === 'well' ? limit + 1 / limit : limit / 2;
  return Math.min(Math.max(next, 1), in_flight_max);
}

/** What is in a bucket that holds a second's worth, at least one. */
export function refilled(tokens: number, elapsed_ms: number, requests_per_s: number): number {
  return Math.min(tokens + (elapsed_ms * requests_per_s) / 1_000, Math.max(1, requests_per_s));
}

/** Nobody waits longer than this for a router that asked for a pause; names have a due time of their own. */
const PAUSE_MAX_MS = 60_000;

export class RouterLimit {
  readonly #options: () => LimitOptions;
  readonly #waiting: (() => void)[] = [];
  #limit: number;
  #running = 0;
  #tokens: number;
  #at_ms = performance.now();
  #until_ms = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: () => LimitOptions) {
    this.#options = options;
    this.#limit = options().in_flight_max;
    this.#tokens = options().requests_per_s;
  }

  /** Requests that may be in flight now. */
  get limit(): number {
    return Math.max(1, Math.floor(Math.min(this.#limit, this.#options().in_flight_max)));
  }

  /** One request, when there is room for it. @throws when the signal fires first */
  async pass<T>(signal: AbortSignal, request: () => Promise<T>, judge: (result: T) => Load): Promise<T> {
    await this.#enter(signal);
    let load: Load = 'badly';
    try {
      const result = await request();
      load = judge(result);
      return result;
    } finally {
      this.#running -= 1;
      this.#limit = adapted(this.#limit, load, this.#options().in_flight_max);
      this.#pump();
    }
  }

  /** The router asks to be left alone. */
  pause(ms: number): void {
    this.#until_ms = Math.max(this.#until_ms, performance.now() + Math.min(ms, PAUSE_MAX_MS));
  }

  #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const give = () => {
      const at = this.#waiting.indexOf(enter);
      if (at !== -1) this.#waiting.splice(at, 1);
      reject(signal.reason);
    };
    const enter = () => {
      signal.removeEventListener('abort', give);
      resolve();
    };
    signal.addEventListener('abort', give, { once: true });
    this.#waiting.push(enter);
    this.#pump();
    return promise;
  }

  #pump(): void {
    const { requests_per_s } = this.#options();
    const now_ms = performance.now();
    this.#tokens = refilled(this.#tokens, now_ms - this.#at_ms, requests_per_s);
    this.#at_ms = now_ms;
    while (this.#waiting.length > 0 && this.#running < this.limit) {
      const wait_ms = Math.max(
        this.#until_ms - now_ms,
        this.#tokens < 1 ? ((1 - this.#tokens) * 1_000) / requests_per_s : 0,
      );
      if (wait_ms > 0) {
        this.#later(wait_ms);
        return;
      }
      this.#tokens -= 1;
      this.#running += 1;
      this.#waiting.shift()!();
    }
  }

  #later(wait_ms: number): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#pump();
    }, Math.ceil(wait_ms)).unref();
  }
}

/** Rows that come one by one go on in chunks of up to `rows_max`: whatever came in the same turn, or in a given time. */
export class Chunks<Row, Result> {
  readonly #rows_max: number;
  readonly #perform: (rows: readonly Row[]) => Promise<readonly Result[]>;
  readonly #wait_ms: number;
  #timer: NodeJS.Timeout | undefined;
  #waiting: { row: Row; resolve: (result: Result) => void; reject: (error: unknown) => void }[] = [];

  /** @param wait_ms  how long a row waits for others; to the end of the turn where left out */
  constructor(rows_max: number, perform: (rows: readonly Row[]) => Promise<readonly Result[]>, wait_ms = 0) {
    this.#rows_max = rows_max;
    this.#perform = perform;
    this.#wait_ms = wait_ms;
  }

  add(row: Row): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.#waiting.push({ row, resolve, reject });
    if (this.#waiting.length >= this.#rows_max) this.#flush();
    else if (this.#waiting.length === 1) this.#later();
    return promise;
  }

  #later(): void {
    if (this.#wait_ms === 0) setImmediate(() => this.#flush());
    else this.#timer = setTimeout(() => this.#flush(), this.#wait_ms);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    const chunk = this.#waiting;
    this.#waiting = [];
    if (chunk.length === 0) return;
    this.#perform(chunk.map(({ row }) => row)).then(
      (results) => {
        for (const [i, { resolve }] of chunk.entries()) resolve(results[i]!);
      },
      (error: unknown) => {
        for (const { reject } of chunk) reject(error);
      },
    );
  }
}
