import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CHUNK_BYTES,
  decryptStream,
  encryptStream,
  HEADER_BYTES,
  headerTrouble,
  makeHeader,
  StreamError,
  streamKey,
} from './datastream.ts';

const DATA_KEY = new Uint8Array(32).fill(7);
const FRAME = 12 + CHUNK_BYTES + 16;

async function* pieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function whole(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of stream) all.push(piece);
  return Buffer.concat(all);
}

async function encrypted(plain: Uint8Array, asset_id = 'file', size = 50_000): Promise<Buffer> {
  const header = makeHeader(asset_id, randomBytes(32));
  return whole(encryptStream(streamKey(DATA_KEY, header), header, pieces(plain, size)));
}

const keyOf = async (header: Uint8Array) => {
  const trouble = headerTrouble(header, 'file');
  if (trouble !== null) throw new StreamError(trouble);
  return streamKey(DATA_KEY, header);
};
const decrypted = (bytes: Uint8Array, size = 70_001) => whole(decryptStream(keyOf, pieces(bytes, size)));

async function codeOf(bytes: Uint8Array): Promise<string> {
  try {
    await decrypted(bytes);
    return 'none';
  } catch (error) {
    return (error as StreamError).code;
  }
}

describe('a stream', () => {
  it.each([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 200_000])(
    'of %i bytes comes back, however it is cut into pieces',
    async (length) => {
      const plain = randomBytes(length);
      for (const size of [1_000, CHUNK_BYTES, 300_000]) {
        const stream = await encrypted(plain, 'file', size);
        expect((await decrypted(stream, size)).equals(plain)).toBe(true);
        const chunks = Math.max(1, Math.ceil(length / CHUNK_BYTES));
        expect(stream.length).toBe(HEADER_BYTES + length + chunks * 28);
      }
    },
  );

  it('is another one each time', async () => {
    const plain = new Uint8Array(100);
    expect((await encrypted(plain)).equals(await encrypted(plain))).toBe(false);
  });
});

describe('what is not what was encrypted fails with its own code:', () => {
  const plain = randomBytes(3 * CHUNK_BYTES + 1_000);
  const frame = (stream: Buffer, i: number) =>
    stream.subarray(HEADER_BYTES + i * FRAME, Math.min(HEADER_BYTES + (i + 1) * FRAME, stream.length));
  const joined = (stream: Buffer, ...order: number[]) =>
    Buffer.concat([stream.subarray(0, HEADER_BYTES), ...order.map((i) => frame(stream, i))]);

  it('truncated, wherever', async () => {
    const stream = await encrypted(plain);
    for (const at of [9, HEADER_BYTES, HEADER_BYTES + 5, HEADER_BYTES + FRAME, stream.length - 20, stream.length - 1]) {
      expect([at, await codeOf(stream.subarray(0, at))]).toEqual([at, 'stream_truncated']);
    }
  });

  it('reordered, doubled, or with one left out', async () => {
    const stream = await encrypted(plain);
    expect(await codeOf(joined(stream, 0, 2, 1, 3))).toBe('stream_reordered');
    expect(await codeOf(joined(stream, 0, 0, 1, 2, 3))).toBe('stream_reordered');
    expect(await codeOf(joined(stream, 0, 1, 3))).toBe('stream_reordered');
  });

  it('altered in any bit behind the header, or followed by more', async () => {
    const stream = await encrypted(plain);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: HEADER_BYTES, max: stream.length - 1 }), fc.nat(7), async (at, bit) => {
        const copy = Buffer.from(stream);
        copy[at]! ^= 1 << bit;
        // A length that says more than there is looks like a truncation.
        expect(['stream_altered', 'stream_truncated']).toContain(await codeOf(copy));
      }),
      { numRuns: 60 },
    );
    expect(await codeOf(Buffer.concat([stream, Buffer.of(0)]))).toBe('stream_altered');
    const salted = Buffer.from(stream);
    salted[HEADER_BYTES - 1]! ^= 1;
    expect(await codeOf(salted)).toBe('stream_altered');
  });

  it('of another stream of the same asset', async () => {
    const [one, two] = [await encrypted(plain), await encrypted(plain)];
    const mixed = Buffer.concat([one.subarray(0, HEADER_BYTES + FRAME), two.subarray(HEADER_BYTES + FRAME)]);
    expect(await codeOf(mixed)).toBe('stream_altered');
  });

  it('of another asset, or no stream at all', async () => {
    expect(await codeOf(await encrypted(plain, 'other'))).toBe('stream_foreign');
    expect(await codeOf(Buffer.from('hello'))).toBe('stream_unknown');
    expect(await codeOf(randomBytes(1_000))).toBe('stream_unknown');
    expect(await codeOf(Buffer.alloc(0))).toBe('stream_unknown');
  });

  it('gives nothing on that is not authentic', async () => {
    const stream = await encrypted(plain);
    stream[HEADER_BYTES + 2 * FRAME + 100]! ^= 1;
    const given: Uint8Array[] = [];
    await expect(async () => {
      for await (const piece of decryptStream(keyOf, pieces(stream, 10_000))) given.push(piece);
    }).rejects.toThrow('stream_altered');
    expect(Buffer.concat(given).equals(plain.subarray(0, 2 * CHUNK_BYTES))).toBe(true);
  });
});
