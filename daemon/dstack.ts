// The guest agent of a dstack CVM, asked through its SDK and guarded where the SDK (0.5.8) trusts: it ignores the HTTP status,
// takes an {error} for an answer, counts characters as bytes and may hang for 30 s. So each call gets a deadline, a bound of
// bytes, a schema for its answer and a Fault that names the method, and its connection ends with it. Called by the key
// source. What an answer holds never reaches a Fault.
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { resolve } from 'node:path';
import { DstackClient } from '@phala/dstack-sdk';
import { z } from 'zod';
import { Fault } from './fault.ts';
import { LINK_BYTES } from './keys/chain.ts';
import { offHeap } from './keys/secret.ts';

/** The SDK opens a connection for each call: as many at once, the rest waits within its deadline. */
const IN_FLIGHT_MAX = 8;
const WAITING_MAX = 4_096;
/** Info carries the compose file and the event log, some 100 KB in practice. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
const HEAD_BYTES_MAX = 64 * 1024;
const ERROR_TEXT_MAX = 200;

const bytes = (length: number) => z.instanceof(Uint8Array).refine((value) => value.length === length);
const KeyAnswer = z.object({ key: bytes(32), signature_chain: z.array(bytes(LINK_BYTES)).length(2) });
const InfoAnswer = z.object({ app_id: z.string().regex(/^[0-9a-f]{40}$/) });

export interface DerivedKey {
  /** 32 bytes off the V8 heap, the caller's to wipe. */
  readonly key: Uint8Array;
  /** Two links of 65 bytes, unverified. */
  readonly signature_chain: readonly Uint8Array[];
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
    const answer = await this.#call('GetKey', KeyAnswer, (client) => client.getKey(path, purpose));
    const key = offHeap(32);
    key.set(answer.key);
    answer.key.fill(0);
    return { key, signature_chain: answer.signature_chain };
  }

  /** @throws {Fault} as `getKey` */
  async info(): Promise<{ app_id: Uint8Array }> {
    const { app_id } = await this.#call('Info', InfoAnswer, (client) => client.info());
    return { app_id: Uint8Array.fromHex(app_id) };
  }

  async #call<T extends z.ZodType>(
    method: string,
    schema: T,
    ask: (client: DstackClient) => Promise<unknown>,
  ): Promise<z.output<T>> {
    const about = { path: this.socket, method };
    const connection = new Connection();
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
      const asked = connections.run(connection, async () => ask(new DstackClient(this.socket)));
      const answer = await Promise.race([asked, late]);
      const parsed = schema.safeParse(answer);
      if (connection.status === 200 && connection.trouble() === undefined && parsed.success) return parsed.data;
      throw new Error('not an answer');
    } catch (cause) {
      if (cause instanceof Fault) throw cause;
      const system = typeof (cause as NodeJS.ErrnoException).code === 'string';
      const { status } = connection;
      const reason = connection.trouble() ?? reasonOf(cause, method);
      const detail = { ...about, reason, ...(status !== undefined && { status }) };
      // Only of the system's own errors: others could quote the answer.
      throw new Fault({ code: 'guest_agent_failed', ...detail }, system ? { cause } : {});
    } finally {
      clearTimeout(timer);
      connection.end();
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

/**
 * The SDK gives neither its socket nor what came over it. Node tells of each socket that is made, and the asynchronous
 * context says whose it is; so the status is seen, the bytes are counted and the connection can be ended.
 */
const connections = new AsyncLocalStorage<Connection>();
subscribe('net.client.socket', (message) => connections.getStore()?.watch((message as { socket: Socket }).socket));

class Connection {
  #socket: Socket | undefined;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  /** Where the body begins; undefined until the head is whole. */
  #bodyAt: number | undefined;
  #length: number | undefined;
  status: number | undefined;

  watch(socket: Socket): void {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  #read(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bodyAt === undefined && this.#bytes <= HEAD_BYTES_MAX) this.#readHead();
    const late = this.#bodyAt === undefined && this.#bytes > HEAD_BYTES_MAX;
    if (late || this.#bytes > ANSWER_BYTES_MAX) this.#socket?.destroy(new Error('too large'));
    // The SDK waits for as many characters as there are bytes, so for ever where one isn't ASCII.
    else if (this.#length !== undefined && this.#body() >= this.#length) this.#socket?.end();
  }

  #readHead(): void {
    const all = Buffer.concat(this.#chunks);
    const end = all.indexOf('\r\n\r\n');
    const head = all.subarray(0, Math.max(end, 0)).toString('latin1');
    all.fill(0);
    if (end < 0) return;
    this.#bodyAt = end + 4;
    const status = /^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1];
    if (status !== undefined) this.status = Number(status);
    const length = /^content-length:\s*(\d{1,15})\s*$/im.exec(head)?.[1];
    if (length !== undefined) this.#length = Number(length);
  }

  #body(): number {
    return this.#bytes - (this.#bodyAt ?? this.#bytes);
  }

  /** What is wrong with what came over the wire; undefined where nothing is, or nothing came and the socket says why. */
  trouble(): string | undefined {
    if (this.#socket === undefined) return undefined;
    if (this.#bytes > ANSWER_BYTES_MAX) return `its answer is larger than ${ANSWER_BYTES_MAX} bytes`;
    if (this.#bytes === 0)
      return this.#socket.errored === null ? 'it closed the connection without an answer' : undefined;
    if (this.status === undefined) return 'its answer is not HTTP';
    const said = this.#errorText();
    if (this.status !== 200) return `status ${this.status}${said === undefined ? '' : `: ${said}`}`;
    if (this.#length === undefined) return 'its answer has no Content-Length, without which the SDK reads nothing';
    if (this.#body() < this.#length) return `its answer ended after ${this.#body()} of ${this.#length} bytes`;
    return said;
  }

  /** The text of `{"error": …}`, shortened, without anything that could be a key. */
  #errorText(): string | undefined {
    const all = Buffer.concat(this.#chunks);
    try {
      if (!all.includes('"error"')) return undefined;
      const { error } = JSON.parse(all.subarray(this.#bodyAt).toString()) as { error?: unknown };
      if (typeof error !== 'string') return 'an error without a text';
      const text = error.replace(/[^\x20-\x7e]+/g, ' ').replace(/[0-9A-Za-z+/=_-]{32,}/g, '…');
      return text.slice(0, ERROR_TEXT_MAX);
    } catch {
      return undefined;
    } finally {
      all.fill(0);
    }
  }

  /** Ends what is left of the call: with an error, on which the SDK drops its timer of 30 s. */
  end(): void {
    if (this.#socket?.destroyed === false) this.#socket.destroy(new Error('done'));
    for (const chunk of this.#chunks.splice(0)) chunk.fill(0);
  }
}
