// The files through which a kernel or Gramine gives quotes: a write that must arrive whole, a read with a bound, a folder
// that is a request. Called by tsm.ts and sgx.ts, which take it as an argument: a plain folder can't act on a write, so
// tests put a stand-in for the kernel at this border, over real files.
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rmdir } from 'node:fs/promises';

export interface Devices {
  /** @throws EEXIST and the like, as the system does */
  mkdir(path: string): Promise<void>;
  rmdir(path: string): Promise<void>;
  /** To the end of the file. @throws {RangeError} when there are more than `bytes_max` bytes */
  read(path: string, bytes_max: number): Promise<Uint8Array>;
  /** All in one write, because each one counts. @throws {RangeError} when the device took less */
  write(path: string, bytes: Uint8Array): Promise<void>;
}

export const devices: Devices = {
  async mkdir(path) {
    await mkdir(path, { mode: 0o700 });
  },
  rmdir,
  async read(path, bytes_max) {
    let file: FileHandle | undefined;
    try {
      file = await open(path, 'r');
      return await readUpTo(file, path, bytes_max);
    } finally {
      await file?.close();
    }
  },
  async write(path, bytes) {
    // No O_CREAT: where there is no such device, no file shall look like one.
    const file = await open(path, constants.O_WRONLY);
    try {
      const { bytesWritten } = await file.write(bytes, 0, bytes.length, null);
      if (bytesWritten !== bytes.length) {
        throw new RangeError(`${path} took ${bytesWritten} of ${bytes.length} bytes`);
      }
    } finally {
      await file.close();
    }
  },
};

async function readUpTo(file: FileHandle, path: string, bytes_max: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(bytes_max + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) return buffer.slice(0, length);
    length += bytesRead;
  }
  throw new RangeError(`${path} holds more than ${bytes_max} bytes`);
}
