// Journal entries as they go over the wire of the feed, made once for all clients: RFC 6455 §5.2, a server's text frame
// carries no mask and is the same for everyone. The newest are kept, so that those who keep up cost the store nothing, and
// what many of them get next is put together in one piece. Bounded in entries, bytes and pieces. feed.ts uses it.
import type { JournalEntry } from './journal.ts';

export interface Frame {
  readonly cursor: number;
  readonly type: string;
  readonly bytes: Buffer;
}

/** Frames in one piece. `cursor` is that of the last of them, or of the last that a filter passed over. */
export interface Chunk {
  readonly cursor: number;
  readonly bytes: Buffer;
}

/** Where a client is, and what it wants. */
export interface Place {
  readonly cursor: number;
  readonly types: ReadonlySet<string> | undefined;
  /** `types` as they came. */
  readonly filter: string;
}

/** Both bounds hold. */
const FRAMES_MAX = 4_096;
const BYTES_MAX = 8 * 1024 * 1024;
/** The smallest that `feed.buffered_bytes_max` may be. */
const CHUNK_BYTES_MAX = 65_536;
/** Nearly all clients share a few places and filters; the others get frame by frame. */
const CHUNKS_MAX = 32;

export class Recent {
  readonly #chunks = new Map<string, Chunk>();
  #frames: Frame[] = [];
  #bytes = 0;

  /** Of the entry that follows the newest one here. */
  remember(frame: Frame): void {
    this.#frames.push(frame);
    this.#bytes += frame.bytes.length;
    if (this.#frames.length <= FRAMES_MAX && this.#bytes <= BYTES_MAX) return;
    // Half at once: taking them one by one would move the rest every time.
    for (const { bytes } of this.#frames.splice(0, Math.ceil(this.#frames.length / 2))) this.#bytes -= bytes.length;
  }

  forget(): void {
    this.#chunks.clear();
    this.#frames = [];
    this.#bytes = 0;
  }

  /** Everyone's place will be another: pieces for the old ones are of no use. */
  advance(): void {
    this.#chunks.clear();
  }

  /** What lies behind a cursor, if all of it is still here. */
  after(cursor: number): Frame[] | undefined {
    const oldest = this.#frames[0]?.cursor;
    return oldest === undefined || oldest > cursor + 1 ? undefined : this.#frames.slice(cursor + 1 - oldest);
  }

  /** The next piece for a client, at most 64 KiB or one frame; undefined where it must be served by itself. */
  chunk({ cursor: after, types, filter }: Place): Chunk | undefined {
    const place = `${after} ${filter}`;
    const made = this.#chunks.get(place);
    if (made !== undefined || this.#chunks.size >= CHUNKS_MAX) return made;
    const frames = this.after(after);
    if (frames === undefined || frames.length === 0) return undefined;
    const parts: Buffer[] = [];
    let length = 0;
    let last = after;
    for (const { cursor, type, bytes } of frames) {
      if (types?.has(type) !== false) {
        if (length > 0 && length + bytes.length > CHUNK_BYTES_MAX) break;
        parts.push(bytes);
        length += bytes.length;
      }
      last = cursor;
    }
    const chunk = { cursor: last, bytes: Buffer.concat(parts, length) };
    this.#chunks.set(place, chunk);
    return chunk;
  }
}

export function frameOf({ cursor, type, at_ms, data }: JournalEntry): Frame {
  return { cursor, type, bytes: textFrame(JSON.stringify({ cursor, type, at_ms, data })) };
}

/** Final, text, unmasked. */
function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const head = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(head + length);
  frame[0] = 0x81;
  frame[1] = head === 2 ? length : head === 4 ? 126 : 127;
  if (head === 4) frame.writeUInt16BE(length, 2);
  if (head === 10) frame.writeBigUInt64BE(BigInt(length), 2);
  frame.write(text, head);
  return frame;
}
