// Follows a log entry by entry (DESIGN §3 "Why a log"): recomputes the tree, and holds every head, every height and every
// keyset that a daemon shows against it. Pure: `aegisd audit` fetches and keeps; this judges. An alarm is a proof that the
// daemon's log is not one append-only history, or at least that what it shows of it is not; a daemon that answers nothing
// raises none, because it may just be down.
import { z } from 'zod';
import type { Header } from '../actors/batch.ts';
import { batchDigest } from '../actors/digest.ts';
import { Counter, Digest, fromHex, hex } from '../actors/encoding.ts';
import { type ListedSeal, type LogEntry, SignedHead } from '../actors/head.ts';
import { append, logLeaf, type ReadNode, rootAt } from '../actors/tree.ts';
import { GROWTH_CODES } from './history.ts';

export const ALARMS = {
  ...GROWTH_CODES,
  head_invalid: 'the head does not verify',
  head_conflict: 'two heads of one size are signed',
  seal_conflict: 'a seal that is listed is not a head of this log',
  root_mismatch: 'the entries do not give the root of the head',
  leaf_conflict: 'the entries are not in their places',
  height_conflict: 'two digests have one height',
  height_gap: 'a height is missing between two batches',
  parent_mismatch: 'a batch does not name the batch before it',
  keyset_unlogged: 'the head is signed under a keyset that is not in the log',
  keyset_ended: 'keys sign that had ended by a handover',
} as const;
export type AlarmCode = keyof typeof ALARMS;

export interface Alarm {
  readonly code: AlarmCode;
  /** What was seen, and what would have been right. */
  readonly message: string;
}

/** What an auditor keeps between two looks: the newest verified head, and what it takes to go on from there. */
export const AuditState = z.strictObject({
  version: z.literal(1),
  head: SignedHead,
  frontier: z.array(Digest).max(53).describe('Hashes of the complete subtrees below the head, the largest first.'),
  next_height: Counter,
  parent_digest: Digest.describe('Of the newest batch; zero before the first.'),
  keysets: z.array(Digest).min(1).max(100_000).describe('In the order of the log.'),
  handover: z
    .strictObject({ size: Counter, epoch: Counter })
    .exactOptional()
    .describe('The newest one: keys of this epoch and of those before it seal nothing above this size.'),
});
export type AuditState = z.output<typeof AuditState>;

const ZERO = `0x${'00'.repeat(64)}`;

export class Auditor {
  /** Only the right edge: log2(size) hashes. */
  readonly #nodes = new Map<string, Uint8Array>();
  readonly #keysets: string[] = [];
  #handover: AuditState['handover'];
  #size = 0;
  #next_height = 0;
  #parent_digest = ZERO;

  /** @throws {Error} when the state doesn't give the root of its own head: it was damaged, or edited */
  constructor(state: AuditState | null = null) {
    if (state === null) return;
    const { size, root } = state.head.seal;
    const places = frontierOf(size);
    state.frontier.forEach((hash, i) => {
      if (i < places.length) this.#nodes.set(places[i]!.join('/'), fromHex(hash));
    });
    this.#size = size;
    this.#next_height = state.next_height;
    this.#parent_digest = state.parent_digest;
    this.#keysets.push(...state.keysets);
    this.#handover = state.handover;
    if (state.frontier.length !== places.length || this.root !== root) {
      throw new Error('the frontier does not give the root of the head');
    }
  }

  /** Leaves taken so far. */
  get size(): number {
    return this.#size;
  }

  /** The height that the next batch must have. */
  get next_height(): number {
    return this.#next_height;
  }

  get root(): string {
    return hex(rootAt(this.#size, this.#read));
  }

  /** @param header  of the height `next_height`, as the daemon shows it; where the entry is a batch */
  take(entry: LogEntry, header?: Header): Alarm | null {
    if (entry.leaf_index !== this.#size) {
      return alarm('leaf_conflict', `an entry says that it is leaf ${entry.leaf_index}, expected ${this.#size}`);
    }
    const wrong = entry.kind === 'batch' ? this.#follow(entry, header) : null;
    if (wrong !== null) return wrong;
    if (entry.kind === 'epoch') this.#keysets.push(entry.digest);
    for (const { level, index, hash } of append(this.#size, logLeaf(entry.kind, fromHex(entry.digest)), this.#read)) {
      this.#nodes.set(`${level}/${index}`, hash);
    }
    this.#size += 1;
    // Epochs count from 1 and each keyset is an entry: the newest is that of the successor.
    if (entry.kind === 'handover') this.#handover = { size: this.#size, epoch: this.#keysets.length - 1 };
    this.#prune();
    return null;
  }

  /** Is a head that was sealed at the present size one of this log? */
  matches({ seal }: Pick<ListedSeal, 'seal'>): Alarm | null {
    if (seal.size === this.#size && seal.root === this.root) return this.#ended(`head of size ${seal.size}`, seal);
    const found = `the head of size ${seal.size} has the root ${short(seal.root)}`;
    return alarm('root_mismatch', `${found}, the first ${this.#size} entries give ${short(this.root)}`);
  }

  /** What to keep once `head` has been verified and every entry below it taken. */
  keep(head: SignedHead): Alarm | AuditState {
    const wrong = this.matches(head);
    if (wrong !== null) return wrong;
    const { keyset_digest } = head.seal;
    if (!this.#keysets.includes(keyset_digest)) {
      return alarm('keyset_unlogged', `the log has no entry for the keyset ${short(keyset_digest)}`);
    }
    return {
      version: 1,
      head,
      frontier: frontierOf(this.#size).map((place) => hex(this.#nodes.get(place.join('/'))!)),
      next_height: this.#next_height,
      parent_digest: this.#parent_digest,
      keysets: [...this.#keysets],
      ...(this.#handover !== undefined && { handover: this.#handover }),
    };
  }

  /** @param signed.size  what the log has with it */
  #ended(what: string, { epoch, size }: { readonly epoch: number; readonly size: number }): Alarm | null {
    const by = this.#handover;
    if (by === undefined || epoch > by.epoch || size <= by.size) return null;
    return alarm('keyset_ended', `the ${what} is of epoch ${epoch}, which ended at size ${by.size} of the log`);
  }

  #follow({ digest }: LogEntry, header: Header | undefined): Alarm | null {
    const height = this.#next_height;
    if (header === undefined) throw new Error('a batch is taken with its header');
    const found = hex(batchDigest(header));
    if (found !== digest) {
      const shown = `as batch ${header.height} the daemon shows ${short(found)}`;
      return alarm('height_conflict', `${shown}, leaf ${this.#size} of its log is ${short(digest)}`);
    }
    if (header.height < height) {
      return alarm('height_conflict', `leaf ${this.#size} is a second batch of height ${header.height}`);
    }
    if (header.height > height) {
      return alarm('height_gap', `leaf ${this.#size} is batch ${header.height}, expected ${height}`);
    }
    if (header.parent_digest !== this.#parent_digest) {
      const named = `batch ${height} names ${short(header.parent_digest)} as the batch before it`;
      return alarm('parent_mismatch', `${named}, expected ${short(this.#parent_digest)}`);
    }
    const ended = this.#ended(`batch ${height}`, { epoch: header.epoch, size: this.#size + 1 });
    if (ended !== null) return ended;
    this.#next_height = height + 1;
    this.#parent_digest = digest;
    return null;
  }

  readonly #read: ReadNode = (level, index) => {
    const hash = this.#nodes.get(`${level}/${index}`);
    if (hash === undefined) throw new Error(`the frontier of ${this.#size} leaves lacks ${level}/${index}`);
    return hash;
  };

  #prune(): void {
    const kept = new Set(frontierOf(this.#size).map((place) => place.join('/')));
    for (const place of this.#nodes.keys()) if (!kept.has(place)) this.#nodes.delete(place);
  }
}

export function alarm(code: AlarmCode, message: string): Alarm {
  return { code, message };
}

/** `[level, index]` of the complete subtrees of a tree, the largest and first one first: the set bits of its size. */
function frontierOf(size: number): (readonly [level: number, index: number])[] {
  const places: [number, number][] = [];
  let start = 0;
  for (let level = 52; level >= 0; level--) {
    const leaves = 2 ** level;
    if (size - start < leaves) continue;
    places.push([level, start / leaves]);
    start += leaves;
  }
  return places;
}

const short = (digest: string): string => `${digest.slice(0, 10)}…${digest.slice(-8)}`;
