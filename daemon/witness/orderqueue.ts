// Orders on their way to the witness: those that come while one message is out travel together in the next, so that batches in
// flight share a round trip and the witness's commit. Bounded by the batches that may be in flight.
import { type Answer, ENVELOPES_MAX, ORDERS_MAX, type OrderClaim, type WitnessRefusal } from '../../actors/witness.ts';

export type OrderAnswer = Answer<'orders'>['orders'][number];

interface Waiting {
  readonly claim: OrderClaim;
  resolve(answer: OrderAnswer): void;
  reject(error: unknown): void;
}

export class OrderQueue {
  readonly #send: (orders: OrderClaim[]) => Promise<Answer<'orders'> | WitnessRefusal>;
  readonly #waiting: Waiting[] = [];
  #sending = false;

  constructor(send: (orders: OrderClaim[]) => Promise<Answer<'orders'> | WitnessRefusal>) {
    this.#send = send;
  }

  /** @throws whatever sending throws, for each that was in the message */
  ask(claim: OrderClaim): Promise<OrderAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<OrderAnswer>();
    this.#waiting.push({ claim, resolve, reject });
    if (!this.#sending) void this.#work();
    return promise;
  }

  async #work(): Promise<void> {
    this.#sending = true;
    while (this.#waiting.length > 0) {
      const together = this.#take();
      try {
        const answer = await this.#send(together.map(({ claim }) => claim));
        for (const [i, { resolve }] of together.entries()) resolve(answer.ok ? (answer.orders[i] ?? MISSING) : answer);
      } catch (error) {
        for (const { reject } of together) reject(error);
      }
    }
    this.#sending = false;
  }

  /** At least one, and no more than a message may hold. */
  #take(): Waiting[] {
    let count = 0;
    let envelopes = 0;
    while (count < Math.min(ORDERS_MAX, this.#waiting.length)) {
      envelopes += this.#waiting[count]!.claim.order.length;
      if (count > 0 && envelopes > ENVELOPES_MAX) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }
}

const MISSING: WitnessRefusal = { ok: false, code: 'unavailable', message: 'it left the order out' };
