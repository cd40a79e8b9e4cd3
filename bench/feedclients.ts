// A thousand readers of a feed in a process of their own, for bench/feed.ts. They read frames from the socket by hand and of
// each entry only the cursor and the time, so that the readers cost little and the sender is what is measured.
import { connect, type Socket } from 'node:net';

export type Command =
  | { readonly act: 'connect'; readonly port: number; readonly clients: number; readonly cursor: number }
  /** Answered when every client has reached the cursor. */
  | { readonly act: 'expect'; readonly cursor: number }
  | { readonly act: 'leave' };

export interface Report {
  readonly act: Command['act'];
  /** Since the last report. */
  readonly entries: number;
  /** Entries that did not follow the one before. */
  readonly wrong: number;
  /** Of every hundredth client: from the entry's own time to its arrival. */
  readonly delays_ms: readonly number[];
}

const KEY = `${'A'.repeat(22)}==`;
const SAMPLED = 100;

let readers: Reader[] = [];
let entries = 0;
let wrong = 0;
let delays_ms: number[] = [];
let target = Number.POSITIVE_INFINITY;
let missing = 0;

class Reader {
  readonly socket: Socket;
  readonly opened: Promise<void>;
  readonly #isSampled: boolean;
  #rest: Buffer = Buffer.alloc(0);
  #isOpen = false;
  cursor: number;

  constructor(port: number, cursor: number, index: number) {
    this.cursor = cursor;
    this.#isSampled = index % SAMPLED === 0;
    this.socket = connect({ port, host: '127.0.0.1' });
    this.socket.on('error', () => {});
    this.socket.write(
      `GET /feed?cursor=${cursor} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`,
    );
    this.opened = new Promise((resolve) => {
      this.socket.on('data', (chunk: Buffer) => {
        this.#read(chunk, resolve);
      });
    });
  }

  #read(chunk: Buffer, open: () => void): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (!this.#isOpen) {
      const end = bytes.indexOf('\r\n\r\n');
      if (end === -1) {
        this.#rest = bytes;
        return;
      }
      this.#isOpen = true;
      bytes = bytes.subarray(end + 4);
      open();
    }
    this.#rest = Buffer.from(bytes.subarray(this.#frames(bytes)));
  }

  /** RFC 6455 §5.2: a server's frames carry no mask. @returns how many bytes were whole frames */
  #frames(bytes: Buffer): number {
    let at = 0;
    for (;;) {
      if (bytes.length < at + 4) return at;
      const short = bytes[at + 1]! & 0x7f;
      const head = short === 126 ? 4 : short === 127 ? 10 : 2;
      const length = short === 126 ? bytes.readUInt16BE(at + 2) : short;
      if (bytes.length < at + head + length) return at;
      if (bytes[at] === 0x81) this.#entry(bytes, at + head);
      at += head + length;
    }
  }

  /** `{"cursor":N,"type":"batch_created","at_ms":T,…`. */
  #entry(bytes: Buffer, start: number): void {
    let at = start + '{"cursor":'.length;
    let cursor = 0;
    for (; bytes[at] !== 0x2c; at++) cursor = cursor * 10 + bytes[at]! - 0x30;
    entries += 1;
    if (cursor !== this.cursor + 1) wrong += 1;
    this.cursor = cursor;
    if (this.#isSampled) {
      const from = bytes.indexOf('"at_ms":', at) + 8;
      delays_ms.push(Date.now() - Number(bytes.toString('latin1', from, from + 13)));
    }
    if (cursor === target) arrived();
  }
}

function arrived(): void {
  missing -= 1;
  if (missing === 0) report('expect');
}

function report(act: Command['act']): void {
  process.send!({ act, entries, wrong, delays_ms } satisfies Report);
  entries = 0;
  wrong = 0;
  delays_ms = [];
}

process.on('message', async (command: Command) => {
  if (command.act === 'connect') {
    readers = [];
    for (let i = 0; i < command.clients; i++) {
      readers.push(new Reader(command.port, command.cursor, i));
      // No flood of handshakes: that is not what is measured.
      if (i % 50 === 49) await readers.at(-1)!.opened;
    }
    await Promise.all(readers.map(({ opened }) => opened));
    report('connect');
  } else if (command.act === 'expect') {
    target = command.cursor;
    missing = readers.length;
  } else {
    for (const { socket } of readers) socket.destroy();
    report('leave');
  }
});
process.on('disconnect', () => process.exit());
