// The container of an asset's data (docs/format.md §12): a header, then chunks of 64 KiB under AES-256-GCM with a key of the
// stream's own, so that streams of any size pass through bounded memory and no nonce is ever used twice. Truncated, reordered,
// altered and foreign streams fail with a code of their own. After STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015): the
// nonce is the chunk's place and whether it is the last; and the place is also said in the clear, so that a chunk which
// stands elsewhere can be told from one that was altered. Each chunk is given on only once it is authentic.
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { sha512 } from '../actors/digest.ts';
import { utf8 } from '../actors/encoding.ts';

export const CHUNK_BYTES = 65_536;
const MAGIC = utf8('aegis-s1');
const ID_BYTES = 32;
export const SALT_BYTES = 32;
/** Magic ‖ uint32 chunk size ‖ half of SHA-512(asset_id) ‖ salt. */
export const HEADER_BYTES = MAGIC.length + 4 + ID_BYTES + SALT_BYTES;
/** uint64 2 · index + last ‖ uint32 bytes of ciphertext. */
const PLACE_BYTES = 12;
const TAG_BYTES = 16;
const INFO = 'aegis/stream/v1';

export type StreamCode =
  /** It is no container, or one of another version. */
  | 'stream_unknown'
  /** It belongs to another asset. */
  | 'stream_foreign'
  /** It ends before its last chunk does. */
  | 'stream_truncated'
  /** A chunk is authentic, and stands at another place. */
  | 'stream_reordered'
  /** A chunk is not authentic, or something stands behind the last. */
  | 'stream_altered';

/** Carried through streams, which know no values. */
export class StreamError extends Error {
  readonly code: StreamCode;

  constructor(code: StreamCode) {
    super(code);
    this.name = 'StreamError';
    this.code = code;
  }
}

export function makeHeader(asset_id: string, salt: Uint8Array): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  header.set(MAGIC);
  new DataView(header.buffer).setUint32(MAGIC.length, CHUNK_BYTES);
  header.set(halfOf(asset_id), MAGIC.length + 4);
  header.set(salt, HEADER_BYTES - SALT_BYTES);
  return header;
}

const halfOf = (asset_id: string): Uint8Array => sha512(utf8(asset_id)).subarray(0, ID_BYTES);

/** @returns what is wrong with a header, or null. That it is authentic shows with the first chunk: the key is bound to it */
export function headerTrouble(header: Uint8Array, asset_id: string): StreamCode | null {
  const expected = makeHeader(asset_id, new Uint8Array(SALT_BYTES));
  const differs = (from: number, to: number) => Buffer.compare(header.subarray(from, to), expected.subarray(from, to));
  if (header.length < HEADER_BYTES) {
    const begun = Math.min(header.length, MAGIC.length);
    return differs(0, begun) === 0 && begun > 0 ? 'stream_truncated' : 'stream_unknown';
  }
  if (differs(0, MAGIC.length + 4) !== 0) return 'stream_unknown';
  return differs(MAGIC.length + 4, HEADER_BYTES - SALT_BYTES) === 0 ? null : 'stream_foreign';
}

/** HKDF-SHA-512 (RFC 5869) from the data key, the stream's salt and all of its header. */
export function streamKey(data_key: Uint8Array, header: Uint8Array): KeyObject {
  const salt = header.subarray(HEADER_BYTES - SALT_BYTES);
  const bytes = new Uint8Array(hkdfSync('sha512', data_key, salt, Buffer.concat([Buffer.from(INFO), header]), 32));
  try {
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

/** @param source  of any size, in pieces of any size */
export async function* encryptStream(
  key: KeyObject,
  header: Uint8Array,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield header;
  const reader = new Bytes(source);
  // What stands between two bodies goes out as one piece, so that no body is copied.
  let before: Uint8Array = new Uint8Array(0);
  for (let index = 0, last = false; !last; index++) {
    const plain = await reader.take(CHUNK_BYTES);
    last = await reader.ended();
    const head = place(index, last, plain.length);
    const { body, tag } = sealChunk(key, head, plain);
    yield Buffer.concat([before, head]);
    yield body;
    before = tag;
  }
  yield before;
}

/**
 * @param keyOf  of the stream that begins with this header; may throw a StreamError or whatever the caller wants to see
 * @throws {StreamError} where it is not what was encrypted; all that was given until then is authentic, and in order
 */
export async function* decryptStream(
  keyOf: (header: Uint8Array) => Promise<KeyObject>,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const reader = new Bytes(source);
  const key = await keyOf(await reader.take(HEADER_BYTES));
  for (let index = 0; ; index++) {
    const head = await reader.take(PLACE_BYTES);
    if (head.length < PLACE_BYTES) throw new StreamError('stream_truncated');
    const { number, last, length } = placeOf(head);
    if (length > CHUNK_BYTES || (!last && length !== CHUNK_BYTES)) throw new StreamError('stream_altered');
    const sealed = await reader.take(length + TAG_BYTES);
    if (sealed.length < length + TAG_BYTES) throw new StreamError('stream_truncated');
    const plain = openChunk(key, head, sealed);
    if (plain === null) throw new StreamError('stream_altered');
    if (number !== BigInt(index)) throw new StreamError('stream_reordered');
    if (last && !(await reader.ended())) throw new StreamError('stream_altered');
    yield plain;
    if (last) return;
  }
}

function place(index: number, last: boolean, length: number): Uint8Array {
  const bytes = new Uint8Array(PLACE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, 2n * BigInt(index) + (last ? 1n : 0n));
  view.setUint32(8, length);
  return bytes;
}

function placeOf(bytes: Uint8Array): { number: bigint; last: boolean; length: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, PLACE_BYTES);
  const word = view.getBigUint64(0);
  return { number: word >> 1n, last: (word & 1n) === 1n, length: view.getUint32(8) };
}

/** The whole place is the nonce: 96 bits that differ for every chunk of a stream, and the key is the stream's. */
function sealChunk(key: KeyObject, head: Uint8Array, plain: Uint8Array): { body: Uint8Array; tag: Uint8Array } {
  const cipher = createCipheriv('aes-256-gcm', key, head);
  const body = cipher.update(plain);
  cipher.final();
  return { body, tag: cipher.getAuthTag() };
}

function openChunk(key: KeyObject, head: Uint8Array, sealed: Uint8Array): Uint8Array | null {
  const end = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', key, head, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(sealed.subarray(end));
  const plain = decipher.update(sealed.subarray(0, end));
  try {
    decipher.final();
    return plain;
  } catch {
    return null;
  }
}

/** Bytes in the portions that are asked for, holding one portion and one piece of the source at most. */
class Bytes {
  readonly #source: AsyncIterator<Uint8Array>;
  #pieces: Uint8Array[] = [];
  #held = 0;
  #done = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** `length` bytes, or what is left. */
  async take(length: number): Promise<Uint8Array> {
    await this.#fill(length);
    const first = this.#pieces[0];
    if (first !== undefined && first.length > length && this.#pieces.length === 1) {
      this.#pieces[0] = first.subarray(length);
      this.#held -= length;
      return first.subarray(0, length);
    }
    const all = this.#pieces.length === 1 ? first! : Buffer.concat(this.#pieces, this.#held);
    const taken = all.subarray(0, length);
    this.#pieces = all.length > length ? [all.subarray(length)] : [];
    this.#held = all.length - taken.length;
    return taken;
  }

  async ended(): Promise<boolean> {
    await this.#fill(1);
    return this.#held === 0;
  }

  async #fill(length: number): Promise<void> {
    while (this.#held < length && !this.#done) {
      const { value, done } = await this.#source.next();
      if (done === true) this.#done = true;
      else if (value.length > 0) {
        this.#pieces.push(value);
        this.#held += value.length;
      }
    }
  }
}
