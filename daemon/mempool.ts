// The pending envelopes in memory: a mirror of the table `pending`, which is the truth, so that ordering never scans the
// disk. Entries come in after their commit; those that an ordering step takes are held until that step is durable, so that
// no two steps take one envelope and a failed step gives them back.
import type { Pending } from '../actors/ordering.ts';
import { meta } from './records.ts';
import { Shares } from './share.ts';
import type { Reader } from './store.ts';

/** A range at most; the table is read in pages at boot. */
const PAGE = 10_000;

export class Mempool {
  readonly #pending = new Map<number, Pending>();
  readonly #clients = new Map<string, string>();
  /** From admission until they are opened. */
  readonly #shares = new Shares();

  #below = 0;

  static load(reader: Reader): Mempool {
    const mempool = new Mempool();
    mempool.#below = meta(reader, 'mempool').next_sequence;
    for (let start = 0; ; ) {
      const page = [...reader.range('pending', { start, limit: PAGE })];
      for (const [, pending] of page) mempool.add(pending as Pending);
      if (page.length < PAGE) return mempool;
      start = page.at(-1)![0] + 1;
    }
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Every pending envelope with a lower admission sequence is here: they come in the order of their commits. */
  get below(): number {
    return this.#below;
  }

  /** A place for one more of this client's, before it is durable. @returns false when it has as many as one may */
  reserve(client: string | undefined, max: number): boolean {
    return this.#shares.take(client, max);
  }

  /** Nothing came of what was reserved. */
  release(client: string | undefined): void {
    this.#shares.give(client);
  }

  /** @param client  who has reserved its place, and pays if it can't be opened; forgotten at a restart */
  add(pending: Pending, client?: string): void {
    this.#pending.set(pending.admission_sequence, pending);
    this.#below = Math.max(this.#below, pending.admission_sequence + 1);
    if (client !== undefined) this.#clients.set(pending.envelope_id, client);
  }

  entries(): Iterable<Pending> {
    return this.#pending.values();
  }

  /** Out of the queue, so that nothing else orders them. */
  take(entries: readonly Pending[]): void {
    for (const entry of entries) this.#pending.delete(entry.admission_sequence);
  }

  /** Back into the queue, because the step that took them did not become durable. */
  giveBack(entries: readonly Pending[]): void {
    for (const entry of entries) this.#pending.set(entry.admission_sequence, entry);
  }

  /** Who submitted an envelope, once: the answer is forgotten with the question. */
  takeClient(envelope_id: string): string | undefined {
    const client = this.#clients.get(envelope_id);
    if (this.#clients.delete(envelope_id)) this.#shares.give(client);
    return client;
  }
}
