// What passes between the SDK of dstack and the guest agent. The SDK gives neither its socket nor what came over it; but Node
// tells of each socket that is made, and the asynchronous context says for which call. So the status is seen, bytes are
// counted, the connection can be ended, and a secret is taken out before the SDK makes strings of it, which nobody can wipe:
// the SDK sees zeros in its place. Called by dstack.ts, once for each call.
import assert from 'node:assert';
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { hexDigit, offHeap } from './keys/secret.ts';

/** Info carries the compose file and the event log, some 100 KB in practice. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
const HEAD_BYTES_MAX = 64 * 1024;
const ERROR_TEXT_MAX = 200;

const wires = new AsyncLocalStorage<Wire>();
subscribe('net.client.socket', (message) => wires.getStore()?.watch((message as { socket: Socket }).socket));

/** The socket that `call` makes is the wire's. */
export function watched<T>(wire: Wire, call: () => Promise<T>): Promise<T> {
  return wires.run(wire, call);
}

export class Wire {
  #socket: Socket | undefined;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  /** Where the body begins; undefined until the head is whole. */
  #bodyAt: number | undefined;
  #length: number | undefined;
  readonly #secret: Secret | undefined;
  status: number | undefined;

  /**
   * @param secret  the name in the JSON answer of a text of hex that must not reach the SDK
   * @param length  of it, in bytes
   */
  constructor(secret?: string, length = 0) {
    this.#secret = secret === undefined ? undefined : new Secret(secret, length);
  }

  watch(socket: Socket): void {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  /** Before the SDK, whose handler was added later. */
  #read(chunk: Buffer): void {
    this.#secret?.extract(chunk);
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

  /** Whether the secret came whole, in lowercase hex; true where there is none to come. */
  get complete(): boolean {
    return this.#secret?.whole ?? true;
  }

  /** The secret, off the V8 heap, the caller's to wipe. */
  take(): Uint8Array {
    assert(this.#secret?.whole, 'only what came whole is taken');
    const copy = offHeap(this.#secret.bytes.length);
    copy.set(this.#secret.bytes);
    return copy;
  }

  /** What was not taken goes. */
  wipe(): void {
    this.#secret?.bytes.fill(0);
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

const QUOTE = 0x22;
const COLON = 0x3a;
const ZERO = 0x30;
const isSpace = (code: number): boolean => code === 0x20 || code === 0x09 || code === 0x0a || code === 0x0d;

/** Finds `"name": "<hex>"` in bytes as they come, however they are cut, and leaves zeros. */
class Secret {
  readonly bytes: Uint8Array;
  readonly #name: Uint8Array;
  #state: 'name' | 'colon' | 'open' | 'digits' | 'whole' | 'wrong' = 'name';
  /** Of the name or of the digits. */
  #matched = 0;

  constructor(name: string, length: number) {
    this.bytes = offHeap(length);
    this.#name = Buffer.from(`"${name}"`);
  }

  get whole(): boolean {
    return this.#state === 'whole';
  }

  extract(chunk: Uint8Array): void {
    for (let i = 0; i < chunk.length && this.#state !== 'whole' && this.#state !== 'wrong'; i++) {
      if (this.#state === 'digits') chunk[i] = this.#digit(chunk[i]!);
      else this.#seek(chunk[i]!);
    }
  }

  #seek(code: number): void {
    if (this.#state === 'name') {
      // No part of a name in quotes begins the name again but its own first quote.
      if (code === this.#name[this.#matched]) this.#matched++;
      else this.#matched = code === QUOTE ? 1 : 0;
      if (this.#matched === this.#name.length) this.#state = 'colon';
    } else if (isSpace(code)) return;
    else if (this.#state === 'colon' && code === COLON) this.#state = 'open';
    else if (this.#state === 'open' && code === QUOTE) {
      this.#state = 'digits';
      this.#matched = 0;
    } else this.#restart(code);
  }

  /** It was a value and no name, or its value is no text. */
  #restart(code: number): void {
    this.#state = 'name';
    this.#matched = code === QUOTE ? 1 : 0;
  }

  #digit(code: number): number {
    const digit = hexDigit(code);
    const place = this.#matched++;
    if (place === this.bytes.length * 2) {
      this.#state = code === QUOTE ? 'whole' : 'wrong';
      return code;
    }
    if (digit === undefined || (code >= 0x41 && code <= 0x46)) {
      this.#state = 'wrong';
      return code;
    }
    this.bytes[place >> 1] = (this.bytes[place >> 1]! << 4) | digit;
    return ZERO;
  }
}
