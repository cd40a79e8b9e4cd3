// Searches what a process can write to, in /proc/<pid>/mem, for secrets: as bytes, hex and base64, and by either half of each, since
// a key that was half overwritten is still a leak. From outside, in pieces, so that the search doesn't find itself.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

const PIECE_BYTES = 1024 * 1024;
const OVERLAP_BYTES = 64;
const PAGE_BYTES = 4_096;
const ZEROS = Buffer.alloc(PAGE_BYTES);
/** Enough to be no chance; what malloc writes into a freed piece is the first 16 bytes. */
const PART_BYTES = 15;

/** Every form by which a secret may be met. Base64 has three, by where in a group of three bytes the secret begins. */
export function formsOf(secret: Uint8Array): Buffer[] {
  const parts = [0, secret.length - PART_BYTES].map((at) => Buffer.from(secret.subarray(at, at + PART_BYTES)));
  return parts.flatMap((part) => [part, Buffer.from(part.toString('hex')), ...base64Forms(part)]);
}

function base64Forms(part: Buffer): Buffer[] {
  return [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), part]).toString('base64');
    // Characters that hold bits of the bytes before or behind are left out.
    return Buffer.from(text.slice(shift === 0 ? 0 : shift + 1, Math.floor(((shift + part.length) * 8) / 6)));
  });
}

interface Needle {
  readonly name: string;
  readonly form: Buffer;
}

export class Search {
  /** By the first two bytes whether any form begins so, and by the first four which do: hundreds of forms cost one walk. */
  readonly #begins = new Uint8Array(65_536);
  readonly #byPrefix = new Map<number, Needle[]>();

  constructor(secrets: Readonly<Record<string, Uint8Array>>) {
    for (const [name, secret] of Object.entries(secrets)) {
      for (const form of formsOf(secret)) {
        this.#begins[form.readUInt16LE()] = 1;
        const prefix = form.readUInt32LE();
        this.#byPrefix.set(prefix, [...(this.#byPrefix.get(prefix) ?? []), { name, form }]);
      }
    }
  }

  /** @returns the names of the secrets that are in these bytes */
  in(bytes: Uint8Array): Set<string> {
    const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const begins = this.#begins;
    const found = new Set<string>();
    for (let at = 0; at < haystack.length - 3; at++) {
      // Most of what a process has mapped was never written to.
      if (at % PAGE_BYTES === 0 && haystack.subarray(at, at + PAGE_BYTES).equals(ZEROS)) at += PAGE_BYTES - 1;
      if (begins[haystack[at]! | (haystack[at + 1]! << 8)] === 0) continue;
      for (const { name, form } of this.#byPrefix.get(haystack.readUInt32LE(at)) ?? []) {
        if (haystack.subarray(at, at + form.length).equals(form)) found.add(name);
      }
    }
    return found;
  }

  /** @returns name of each secret that was found → the mappings that hold it */
  inMemory(pid: number): Map<string, Set<string>> {
    const found = new Map<string, Set<string>>();
    const memory = openSync(`/proc/${pid}/mem`, 'r');
    const piece = Buffer.alloc(PIECE_BYTES + OVERLAP_BYTES);
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const [, from, to, where] = /^([0-9a-f]+)-([0-9a-f]+) rw\S+ \S+ \S+ \S+\s*(.*)$/.exec(line) ?? [];
      if (from === undefined) continue;
      const end = Number.parseInt(to!, 16);
      for (let start = Number.parseInt(from, 16); start < end; start += PIECE_BYTES) {
        const length = read(memory, piece, start, Math.min(piece.length, end - start));
        for (const name of this.in(piece.subarray(0, length))) {
          found.set(name, (found.get(name) ?? new Set()).add(where || 'anonymous'));
        }
      }
    }
    closeSync(memory);
    return found;
  }
}

/** Some mappings can't be read; no secret of ours is in them. */
function read(memory: number, piece: Buffer, position: number, length: number): number {
  try {
    return readSync(memory, piece, 0, length, position);
  } catch {
    return 0;
  }
}
