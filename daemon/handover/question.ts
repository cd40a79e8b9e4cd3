// What a successor asks its predecessor over HTTP: each question bounded in time and size, tried again while the network is at fault,
// and never believed beyond its shape. A refusal of the predecessor is a value; successor.ts knows what follows from it.
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import {
  CHUNK_BYTES_MAX,
  Chunk,
  HandoverStatus,
  PredecessorGreeting,
  SuccessionOffer,
  type SuccessorHello,
  type SuccessorOpening,
} from '../../actors/handover.ts';
import { ask as post } from '../../client/exchange.ts';

const Taken = z.strictObject({ ok: z.literal(true) });

/** Event logs, collateral and signatures at their limits. */
const ANSWER_BYTES_MAX = 8 * 1_048_576;
const RETRY_MS = 500;
/** Within the least that `handover.idle_timeout_ms` may be. The last chunk is a few bytes. */
const ALIVE_MS = 500;
/** Of one answer; the offer comes once all is drained and sealed. */
const TIMEOUT_MS = 30_000;

export type Said<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: string; readonly message: string };

export class Questions {
  readonly url: string;
  readonly #signal: AbortSignal;
  /** How long an answer that doesn't come is asked for again. */
  readonly #patience_ms: number;

  constructor(options: { url: string; signal: AbortSignal; patience_ms: number }) {
    this.url = options.url;
    this.#signal = options.signal;
    this.#patience_ms = options.patience_ms;
  }

  hello(hello: z.input<typeof SuccessorHello>): Promise<Said<PredecessorGreeting>> {
    return this.#ask('handover/hello', PredecessorGreeting, hello);
  }

  /** Not asked again by itself: a greeting is answered once. */
  open(opening: SuccessorOpening, drain_ms: number): Promise<Said<SuccessionOffer>> {
    return this.#once('handover/open', SuccessionOffer, opening, drain_ms + TIMEOUT_MS);
  }

  chunk(session: string, index: number): Promise<Said<z.output<typeof Chunk>>> {
    return this.#ask('handover/chunk', Chunk, { session, index }, Math.ceil((CHUNK_BYTES_MAX * 4) / 3) + 65_536);
  }

  /** Asks for the chunk that was taken last for as long as the work on it lasts, since a predecessor drops who is silent. */
  async keepAlive<T>(session: string, index: number, work: Promise<T>): Promise<T> {
    const done = new AbortController();
    const signal = AbortSignal.any([done.signal, this.#signal]);
    void (async () => {
      for (let isKnown = true; isKnown && !signal.aborted; ) {
        await delay(ALIVE_MS, undefined, { signal }).catch(() => {});
        if (!signal.aborted) isKnown = (await this.chunk(session, index)).ok;
      }
    })();
    return work.finally(() => done.abort());
  }

  accept(session: string, box: string): Promise<Said<z.output<typeof Taken>>> {
    return this.#ask('handover/accept', Taken, { session, box });
  }

  status(): Promise<Said<HandoverStatus>> {
    return this.#once('handover', HandoverStatus);
  }

  /** Until it answers, whatever it says, or patience ends. */
  async #ask<T extends z.ZodType>(
    path: string,
    answer: T,
    body: unknown,
    bytes_max = ANSWER_BYTES_MAX,
  ): Promise<Said<z.output<T>>> {
    const limit = AbortSignal.any([this.#signal, AbortSignal.timeout(this.#patience_ms)]);
    for (;;) {
      const said = await this.#once(path, answer, body, TIMEOUT_MS, bytes_max);
      if (said.ok || !TRANSIENT.has(said.code) || limit.aborted) return said;
      await delay(RETRY_MS, undefined, { signal: limit }).catch(() => {});
    }
  }

  async #once<T extends z.ZodType>(
    path: string,
    answer: T,
    body?: unknown,
    timeout_ms = TIMEOUT_MS,
    bytes_max = ANSWER_BYTES_MAX,
  ): Promise<Said<z.output<T>>> {
    const question = { path, answer, bytes_max, ...(body !== undefined && { body }) };
    const said = await post(this.url, question, { signal: this.#signal, timeout_ms });
    if (said.ok) return said;
    return { ok: false, code: said.problem?.code ?? said.code, message: said.message };
  }
}

/** Of the way between the two, or of a moment; what else is said is said on purpose. */
const TRANSIENT: ReadonlySet<string> = new Set([
  ...['unreachable', 'timeout', 'malformed', 'answer_too_large'],
  ...['attestation_unavailable', 'store_unavailable', 'rate_limited'],
  ...['http_502', 'http_503', 'http_504'],
]);
