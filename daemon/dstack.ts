// The guest agent of a dstack CVM, asked through its SDK and guarded where the SDK (0.5.8) trusts: it ignores the HTTP status,
// takes an {error} for an answer, counts characters as bytes and may hang for 30 s. So each call gets a deadline, a bound of
// bytes, a schema for its answer and a Fault that names the method, and its connection ends with it (wire.ts). Called by the
// key source and by the quote provider. What an answer holds never reaches a Fault, and a key never the SDK.
import assert from 'node:assert';
import { resolve } from 'node:path';
import { DstackClient } from '@phala/dstack-sdk';
import { z } from 'zod';
import { Fault } from './fault.ts';
import { LINK_BYTES } from './keys/chain.ts';
import { Wire, watched } from './wire.ts';

/** The SDK opens a connection for each call: as many at once, the rest waits within its deadline. */
const IN_FLIGHT_MAX = 8;
const WAITING_MAX = 4_096;
/** The path of a key that protects nothing, which may stay in memory. */
const DECOY = 'aegis/decoy';

const REPORT_DATA_BYTES = 64;
/** A TDX quote takes 5 KB, an event log 20. */
const QUOTE_BYTES_MAX = 32_768;
const EVENT_LOG_BYTES_MAX = 1_048_576;

const bytes = (length: number) => z.instanceof(Uint8Array).refine((value) => value.length === length);
/** The key is what the wire left of it: the SDK must not have found another one. */
const KeyAnswer = z.object({ key: bytes(32).refine(isZero), signature_chain: z.array(bytes(LINK_BYTES)).length(2) });
const InfoAnswer = z.object({ app_id: z.string().regex(/^[0-9a-f]{40}$/) });
const hexText = (bytes_max: number) =>
  z
    .string()
    .max(bytes_max * 2)
    .regex(/^(?:[0-9a-f]{2})+$/);
/** The log as text, because what it may say is the business of whoever replays it. Early agents don't echo. */
const QuoteAnswer = z.object({
  quote: hexText(QUOTE_BYTES_MAX),
  event_log: z.string().max(EVENT_LOG_BYTES_MAX),
  report_data: hexText(REPORT_DATA_BYTES)
    .length(REPORT_DATA_BYTES * 2)
    .exactOptional(),
});

function isZero(value: Uint8Array): boolean {
  return value.every((byte) => byte === 0);
}

export interface DerivedKey {
  /** 32 bytes off the V8 heap, the caller's to wipe. */
  readonly key: Uint8Array;
  /** Two links of 65 bytes, unverified. */
  readonly signature_chain: readonly Uint8Array[];
}

export interface GuestQuote {
  readonly quote: Uint8Array;
  /** JSON text, unverified. */
  readonly event_log: string;
}

export class GuestAgent {
  readonly socket: string;
  readonly #timeout_ms: number;
  readonly #line = new Line();

  /** @param timeout_ms  of each call, from being asked to its answer, waiting for its turn included */
  constructor(options: { socket: string; timeout_ms: number }) {
    // Absolute: the SDK takes `http://…` for another way to connect.
    this.socket = resolve(options.socket);
    this.#timeout_ms = options.timeout_ms;
  }

  /** @throws {Fault} `guest_agent_timeout`, `guest_agent_failed` (with `status` where there was one) */
  async getKey(path: string, purpose: string): Promise<DerivedKey> {
    const derived = await this.#getKey(path, purpose);
    // libuv reads into a block that it frees as it is; the next answer of the same form is read over it.
    // Whether it comes doesn't matter.
    await this.#getKey(DECOY, DECOY).catch(() => {});
    return derived;
  }

  async #getKey(path: string, purpose: string): Promise<DerivedKey> {
    const wire = new Wire('key', 32);
    try {
      const answer = await this.#call('GetKey', KeyAnswer, wire, (client) => client.getKey(path, purpose));
      return { key: wire.take(), signature_chain: answer.signature_chain };
    } finally {
      wire.wipe();
    }
  }

  /** @throws {Fault} as `getKey` */
  async info(): Promise<{ app_id: Uint8Array }> {
    const { app_id } = await this.#call('Info', InfoAnswer, new Wire(), (client) => client.info());
    return { app_id: Uint8Array.fromHex(app_id) };
  }

  /**
   * @param report_data  64 bytes. Bytes, never text: the SDK would take a text's characters for the data
   * @throws {Fault}     as `getKey`; also when the answer is for other report data
   */
  async quote(report_data: Uint8Array): Promise<GuestQuote> {
    assert(report_data.length === REPORT_DATA_BYTES, 'report data has 64 bytes');
    const answer = await this.#call('GetQuote', QuoteAnswer, new Wire(), (client) => client.getQuote(report_data));
    if (answer.report_data !== undefined && answer.report_data !== report_data.toHex()) {
      const reason = 'its answer is for other report data than it was asked for';
      throw new Fault({ code: 'guest_agent_failed', path: this.socket, method: 'GetQuote', reason });
    }
    return { quote: Uint8Array.fromHex(answer.quote), event_log: answer.event_log };
  }

  async #call<T extends z.ZodType>(
    method: string,
    schema: T,
    wire: Wire,
    ask: (client: DstackClient) => Promise<unknown>,
  ): Promise<z.output<T>> {
    const about = { path: this.socket, method };
    const { promise: late, reject } = Promise.withResolvers<never>();
    late.catch(() => {});
    const timeout_ms = this.#timeout_ms;
    const due_ms = performance.now() + timeout_ms;
    const tooLate = () => reject(new Fault({ code: 'guest_agent_timeout', ...about, timeout_ms }));
    const timer = setTimeout(tooLate, timeout_ms);
    let leave: (() => void) | undefined;
    try {
      leave = await this.#line.enter(late);
      // Many turn late in one moment, and each would still open a connection before it hears of it.
      if (performance.now() >= due_ms) await late;
      const asked = watched(wire, async () => ask(new DstackClient(this.socket)));
      const answer = await Promise.race([asked, late]);
      const parsed = schema.safeParse(answer);
      if (wire.status === 200 && wire.complete && wire.trouble() === undefined && parsed.success) return parsed.data;
      throw new Error('not an answer');
    } catch (cause) {
      if (cause instanceof Fault) throw cause;
      const system = typeof (cause as NodeJS.ErrnoException).code === 'string';
      const { status } = wire;
      const reason = wire.trouble() ?? reasonOf(cause, method);
      const detail = { ...about, reason, ...(status !== undefined && { status }) };
      // Only of the system's own errors: others could quote the answer.
      throw new Fault({ code: 'guest_agent_failed', ...detail }, system ? { cause } : {});
    } finally {
      clearTimeout(timer);
      wire.end();
      leave?.();
    }
  }
}

function reasonOf(cause: unknown, method: string): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED') return 'nobody listens on its socket';
  if (code === 'ENOENT' || /^Unix socket file .* does not exist$/.test(message)) return 'there is no such socket';
  if (typeof code === 'string') return code;
  return `its answer is not what ${method} gives`;
}

/** At most so many calls at once; the others wait in turn until they are late. */
class Line {
  #free = IN_FLIGHT_MAX;
  readonly #waiting = new Set<() => void>();

  async enter(late: Promise<never>): Promise<() => void> {
    if (this.#free > 0) {
      this.#free--;
      return () => this.#leave();
    }
    if (this.#waiting.size >= WAITING_MAX) {
      throw new Fault({ code: 'guest_agent_failed', method: 'any call', reason: `${WAITING_MAX} calls wait for it` });
    }
    const { promise: turn, resolve: next } = Promise.withResolvers<void>();
    this.#waiting.add(next);
    try {
      await Promise.race([turn, late]);
    } catch (cause) {
      // The turn may have come in the same moment; then it is the next one's.
      if (!this.#waiting.delete(next)) this.#leave();
      throw cause;
    }
    return () => this.#leave();
  }

  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#free++;
    else {
      this.#waiting.delete(next);
      next();
    }
  }
}
