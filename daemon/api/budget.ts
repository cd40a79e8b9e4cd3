// What clients can make the daemon hold and do for them, beside envelopes. Bodies on their way in and answers that nobody has taken
// yet are counted in bytes, over all connections and for each client; answers that take the main thread for long are made one at a
// time. Without this a thousand requests for the largest answer, which fit into one packet, would end the process.
import { setImmediate } from 'node:timers/promises';

/** A client's share lets it hold the largest bodies and answers of a few connections, and leaves room for three others like it. */
const BYTES_MAX = 256 * 1024 * 1024;
const CLIENT_BYTES_MAX = BYTES_MAX / 4;
/** Requests that may wait for their turn. */
const WAITING_MAX = 256;
const CLIENT_WAITING_MAX = 16;

/** Counts bytes. Who came through the unix socket has no client and is not counted. */
export class Budget {
  readonly #bytes_max: number;
  readonly #client_bytes_max: number;
  readonly #held = new Map<string, number>();
  #total = 0;

  constructor(bytes_max = BYTES_MAX, client_bytes_max = CLIENT_BYTES_MAX) {
    this.#bytes_max = bytes_max;
    this.#client_bytes_max = client_bytes_max;
  }

  get held(): number {
    return this.#total;
  }

  /** Whether the client has to give something back first. One that has room may go beyond it with what it asked for. */
  isSpent(client: string | undefined): boolean {
    if (client === undefined) return false;
    return this.#total >= this.#bytes_max || (this.#held.get(client) ?? 0) >= this.#client_bytes_max;
  }

  take(client: string | undefined, bytes: number): void {
    if (client === undefined) return;
    this.#held.set(client, (this.#held.get(client) ?? 0) + bytes);
    this.#total += bytes;
  }

  give(client: string | undefined, bytes: number): void {
    if (client === undefined) return;
    const left = (this.#held.get(client) ?? 0) - bytes;
    if (left > 0) this.#held.set(client, left);
    else this.#held.delete(client);
    this.#total -= bytes;
  }
}

/** Makes what is asked for one after the other, first come first served; no client can put more than a few before the others. */
export class Turns {
  readonly #waiting = new Map<string, number>();
  #last: Promise<void> = Promise.resolve();
  #size = 0;

  /** @returns what ends the turn, may be called twice; undefined when too many wait already */
  async take(client: string | undefined): Promise<(() => void) | undefined> {
    const ahead = client === undefined ? 0 : (this.#waiting.get(client) ?? 0);
    if (client !== undefined) {
      if (this.#size >= WAITING_MAX || ahead >= CLIENT_WAITING_MAX) return undefined;
      this.#waiting.set(client, ahead + 1);
    }
    this.#size += 1;
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    await before;
    // What else came in gets a look in between.
    await setImmediate();
    this.#size -= 1;
    if (client !== undefined) this.#leave(client);
    return resolve;
  }

  #leave(client: string): void {
    const left = this.#waiting.get(client)! - 1;
    if (left > 0) this.#waiting.set(client, left);
    else this.#waiting.delete(client);
  }
}
