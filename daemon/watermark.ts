/**
 * Sign once (DESIGN §3). `permit` is the one function that answers "may I sign this?": yes, when the store durably holds exactly this
 * digest for the batch's height or the head's size, and the watermark file beside the store says so too. Signers await it first.
 *
 * The store never changes a promise that it holds (step.ts); the file catches what the store itself can't see: that somebody put an
 * older copy of it back. At boot a store older than its file is refused. (A host that puts both back is beyond a local watermark:
 * that is what `freshness`, witnesses and the chain are for.)
 *
 * The file has two slots of 512 bytes, written in turn, each fdatasynced before `permit` resolves: a torn write spoils one slot, whose
 * permit was never given, and the other still holds. Slot:
 *
 *   "AEGISWM1" ‖ uint64 sequence ‖ for batch and head each: uint8 set ‖ uint64 number ‖ digest (64) ‖ HMAC-SHA-512 over all before (64)
 */
import assert from 'node:assert';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from './environment.ts';
import { Fault } from './fault.ts';
import type { Store } from './store.ts';
import type { Mark } from './tables.ts';

export type MarkKind = 'batch' | 'head';
export type MarkPosition = { readonly number: number; readonly digest: string };
export type Position = { readonly [K in MarkKind]: MarkPosition | undefined };

export interface Watermark {
  /**
   * Resolves once this digest, and no other, may be signed for this number.
   *
   * @param digest 0x-hex of 64 bytes: the batch digest of a height, or the root of a log size
   * @throws Fault `watermark_unknown` when the store does not hold this digest for this number; `store_io` when the file can't be
   *         written: nothing was permitted, and asking again is safe
   */
  permit(kind: MarkKind, number: number, digest: string): Promise<void>;
  /** The highest numbers that were ever permitted, as on the disk. */
  position(): Position;
  close(): Promise<void>;
}

/**
 * What was ever permitted, as the file beside the store says, whatever the store holds: for whoever brings an older store forward.
 *
 * @returns undefined where there is no file, or no slot of it holds
 */
export async function readPosition(store: Store): Promise<Position | undefined> {
  const path = join(store.folder, 'watermark');
  try {
    const file = await open(path, constants.O_RDONLY);
    try {
      return newest(await readSlots(file), store.derive('watermark'))?.position;
    } finally {
      await file.close();
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Fault({ code: 'store_io', operation: 'read its watermark', path, reason: String(cause) }, { cause });
  }
}

export type WatermarkOptions = {
  /** An operator's word, for one start, that a lost or damaged file is an accident and no newer copy of the store exists. */
  accept_missing?: boolean;
};

const KINDS = ['batch', 'head'] as const;
const MAGIC = Buffer.from('AEGISWM1');
/** One disk sector: the unit that a disk writes whole. */
const SLOT_BYTES = 512;
const DIGEST_BYTES = 64;
const ENTRY_BYTES = 1 + 8 + DIGEST_BYTES;
const BODY_BYTES = MAGIC.length + 8 + KINDS.length * ENTRY_BYTES;
const MAC_BYTES = 64;
const NOTHING: Position = { batch: undefined, head: undefined };

type Slot = { sequence: number; position: Position };

/**
 * Opens (or, for a store that has promised nothing yet, makes) the file and holds it against the store.
 *
 * @throws Fault `store_rolled_back` when the store is older than the file; `watermark_missing` when the store has promised and the file
 *         is gone or damaged; `store_io`
 */
export async function openWatermark(store: Store, options: WatermarkOptions = {}): Promise<Watermark> {
  const path = join(store.folder, 'watermark');
  const key = store.derive('watermark');
  let file: FileHandle | undefined;
  try {
    file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    const found = newest(await readSlots(file), key);
    if (found === undefined && promised(store) && options.accept_missing !== true) {
      throw new Fault({
        code: 'watermark_missing',
        path,
        reason: (await file.stat()).size === 0 ? 'missing' : 'damaged',
      });
    }
    const slot = found ?? { sequence: 0, position: NOTHING };
    for (const kind of KINDS) compare(store, kind, slot.position[kind]);
    const watermark = new FileWatermark(store, file, key, slot);
    if (found === undefined) await watermark.reset();
    return watermark;
  } catch (error) {
    await file?.close();
    if (error instanceof Fault) throw error;
    throw new Fault(
      { code: 'store_io', operation: 'open its watermark', path, reason: String(error) },
      { cause: error },
    );
  }
}

class FileWatermark implements Watermark {
  readonly #store: Store;
  readonly #file: FileHandle;
  readonly #key: Uint8Array;
  /** What is on the disk. */
  #durable: Slot;
  /** What should be: at most one number of each kind, the highest asked for. */
  #wanted: Position;
  #writing: Promise<void> | undefined;

  constructor(store: Store, file: FileHandle, key: Uint8Array, slot: Slot) {
    this.#store = store;
    this.#file = file;
    this.#key = key;
    this.#durable = slot;
    this.#wanted = slot.position;
  }

  async permit(kind: MarkKind, number: number, digest: string): Promise<void> {
    const held = this.#store.get('watermarks', `${kind}/${number}` as Mark);
    if (held?.digest !== digest) throw new Fault({ code: 'watermark_unknown', kind, number });
    assert(Buffer.from(digest.slice(2), 'hex').length === DIGEST_BYTES, 'a digest has 64 bytes');
    if ((this.#wanted[kind]?.number ?? -1) < number) this.#wanted = { ...this.#wanted, [kind]: { number, digest } };
    while ((this.#durable.position[kind]?.number ?? -1) < number) {
      // Whoever comes while a write is under way waits for it, and then shares the next.
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined;
      });
      await this.#writing;
    }
  }

  position(): Position {
    return this.#durable.position;
  }

  /** Both slots anew: a file that was just made, or a damaged one that the operator let go. */
  async reset(): Promise<void> {
    await this.#write();
    await this.#write();
    syncFolder(this.#store.folder);
  }

  async close(): Promise<void> {
    await this.#writing?.catch(() => undefined);
    await this.#file.close();
  }

  async #write(): Promise<void> {
    const slot = { sequence: this.#durable.sequence + 1, position: this.#wanted };
    try {
      const bytes = encodeSlot(slot, this.#key);
      const { bytesWritten } = await this.#file.write(bytes, 0, SLOT_BYTES, (slot.sequence % 2) * SLOT_BYTES);
      if (bytesWritten !== SLOT_BYTES) throw new Error(`only ${bytesWritten} of ${SLOT_BYTES} bytes were written`);
      await this.#file.datasync();
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Fault(
        { code: 'store_io', operation: 'write its watermark', path: this.#store.folder, reason },
        { cause },
      );
    }
    this.#durable = slot;
  }
}

/** Whether the store has ever promised a signature. */
function promised(store: Store): boolean {
  return store.count('watermarks') > 0;
}

/** The store must hold what the file says was permitted; whatever the store holds beyond that is fine. */
function compare(store: Store, kind: MarkKind, mark: MarkPosition | undefined): void {
  if (mark === undefined) return;
  const held = store.get('watermarks', `${kind}/${mark.number}` as Mark);
  if (held?.digest === mark.digest) return;
  const reason = held === undefined ? 'does not hold it' : 'holds another digest for it';
  throw new Fault({ code: 'store_rolled_back', path: store.folder, kind, number: mark.number, reason });
}

async function readSlots(file: FileHandle): Promise<Buffer> {
  const bytes = Buffer.alloc(2 * SLOT_BYTES);
  await file.read(bytes, 0, bytes.length, 0);
  return bytes;
}

function newest(bytes: Buffer, key: Uint8Array): Slot | undefined {
  const slots = [0, 1].map((n) => decodeSlot(bytes.subarray(n * SLOT_BYTES, (n + 1) * SLOT_BYTES), key));
  return slots.filter((slot) => slot !== undefined).sort((a, b) => b.sequence - a.sequence)[0];
}

function encodeSlot({ sequence, position }: Slot, key: Uint8Array): Buffer {
  const bytes = Buffer.alloc(SLOT_BYTES);
  MAGIC.copy(bytes);
  bytes.writeBigUInt64BE(BigInt(sequence), MAGIC.length);
  KINDS.forEach((kind, n) => {
    const mark = position[kind];
    if (mark === undefined) return;
    const at = MAGIC.length + 8 + n * ENTRY_BYTES;
    bytes[at] = 1;
    bytes.writeBigUInt64BE(BigInt(mark.number), at + 1);
    bytes.set(Buffer.from(mark.digest.slice(2), 'hex'), at + 9);
  });
  macOf(bytes, key).copy(bytes, BODY_BYTES);
  return bytes;
}

function decodeSlot(bytes: Buffer, key: Uint8Array): Slot | undefined {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  if (!timingSafeEqual(macOf(bytes, key), bytes.subarray(BODY_BYTES, BODY_BYTES + MAC_BYTES))) return undefined;
  const [batch, head] = KINDS.map((_, n) => {
    const at = MAGIC.length + 8 + n * ENTRY_BYTES;
    if (bytes[at] !== 1) return undefined;
    const digest = `0x${bytes.subarray(at + 9, at + 9 + DIGEST_BYTES).toString('hex')}`;
    return { number: Number(bytes.readBigUInt64BE(at + 1)), digest };
  });
  return { sequence: Number(bytes.readBigUInt64BE(MAGIC.length)), position: { batch, head } };
}

function macOf(bytes: Buffer, key: Uint8Array): Buffer {
  return createHmac('sha512', key).update(bytes.subarray(0, BODY_BYTES)).digest();
}
