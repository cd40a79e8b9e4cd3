// What each client holds of something that is there for all (connections, places of the feed, places of the pool), so that one can't
// hold all of it. The number of clients remembered is that of those who hold something, which the whole bounds.

export class Shares {
  readonly #held = new Map<string, number>();

  /** @returns whether it was within its share, and holds one more now; whoever has no name is never counted */
  take(client: string | undefined, max: number): boolean {
    if (client === undefined) return true;
    const held = this.of(client);
    if (held >= max) return false;
    this.#held.set(client, held + 1);
    return true;
  }

  /** Once for each `take` that was granted. */
  give(client: string | undefined): void {
    if (client === undefined) return;
    const left = this.of(client) - 1;
    if (left > 0) this.#held.set(client, left);
    else this.#held.delete(client);
  }

  of(client: string): number {
    return this.#held.get(client) ?? 0;
  }

  /** Clients that hold something. */
  get size(): number {
    return this.#held.size;
  }
}
