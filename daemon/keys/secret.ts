// Bytes of secrets, so that they can really be wiped: V8 keeps typed arrays of up to 64 bytes on its own heap and copies them
// as it likes, while the memory of an ArrayBuffer stays where it is. And small files of secrets, read into such memory and
// written whole or not at all. Called by the key sources.
import { type FileHandle, mkdir, open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Zeroed bytes off the V8 heap: `fill(0)` leaves no copy behind. */
export const offHeap = (length: number): Uint8Array<ArrayBuffer> => new Uint8Array(new ArrayBuffer(length));

/**
 * Reads an open file without leaving its bytes in buffers of Node's.
 *
 * @returns at most `bytes_max` bytes, the caller's to wipe; undefined when there are more
 */
export async function readSecret(file: FileHandle, bytes_max: number): Promise<Uint8Array | undefined> {
  const buffer = offHeap(bytes_max + 1);
  let length = 0;
  try {
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length > bytes_max) return undefined;
    const bytes = offHeap(length);
    bytes.set(buffer.subarray(0, length));
    return bytes;
  } finally {
    buffer.fill(0);
  }
}

/** Written beside, synced and renamed, mode 0600, in a folder 0700: a root that is cut short would lose the store that it seals. */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const beside = join(folder, `${basename(path)}.new`);
  const file = await open(beside, 'w', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  const directory = await open(folder, 'r');
  await directory.sync().finally(() => directory.close());
}

/** @returns the value of an ASCII hex digit; undefined when it is none */
export function hexDigit(code: number): number | undefined {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : undefined;
}
