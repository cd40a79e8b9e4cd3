/**
 * One node of a B-tree page after another, without making anything for it: a boot reads millions. pages.ts has one `Node` for each walk,
 * which says where in the page the parts of the node lie that was read last, after it checked that they lie in it. Whoever wants bytes
 * of their own asks for a view or a copy.
 *
 * Layout: MDB_node of mdb.c: {data size (4), flags (2), key size (2)}, key, data; in a branch page the first six bytes are the child.
 */

export const HEAD_BYTES = 24;
const NODE_BYTES = 8;
/** F_BIGDATA: the data are on overflow pages, and the node names the first. */
export const BIG = 0x01;
/** MDB_ovpage. */
const BIG_BYTES = 24;
const KEY_BYTES_MAX = 1_978;

export class Node {
  readonly #name: string;
  readonly #integer: boolean;
  readonly #pageBytes: number;
  readonly #nodeMax: number;
  bytes: Buffer = Buffer.alloc(0);
  keyAt = 0;
  /** Where the key ends and the data begin. */
  dataAt = 0;
  flags = 0;
  /** Of the record, here or on overflow pages. */
  dataSize = 0;
  /** What of the data is in the page. */
  held = 0;
  /** Of a branch: the page below. */
  child = 0;
  /** All that the node takes of its page. */
  size = 0;

  /** @param name the table, for what is said of a wrong node; @param integer whether its keys are numbers */
  constructor(name: string, integer: boolean, pageBytes: number) {
    this.#name = name;
    this.#integer = integer;
    this.#pageBytes = pageBytes;
    // me_nodemax of mdb.c: larger nodes put their data on overflow pages.
    this.#nodeMax = (Math.floor((pageBytes - HEAD_BYTES) / 2) & ~1) - 2;
  }

  /**
   * Reads node `n`. The page's header was checked: it has so many pointers, and `upper` is in it.
   *
   * @returns what is wrong with the node, which must not be used then
   */
  read(bytes: Buffer, n: number, leaf: boolean): string | undefined {
    const at = HEAD_BYTES + bytes.readUInt16LE(HEAD_BYTES + 2 * n);
    const upper = HEAD_BYTES + bytes.readUInt16LE(22);
    if (at < upper || at % 2 !== 0 || at + NODE_BYTES > this.#pageBytes)
      return `a node of ${this.#name} is out of place`;
    const low = bytes.readUInt32LE(at);
    const flags = bytes.readUInt16LE(at + 4);
    const keyBytes = bytes.readUInt16LE(at + 6);
    const dataAt = at + NODE_BYTES + keyBytes;
    const dataSize = leaf ? low : 0;
    const held = !leaf ? 0 : flags === BIG ? BIG_BYTES : dataSize;
    const sized =
      leaf || n > 0 ? keyBytes > 0 && keyBytes <= KEY_BYTES_MAX && (!this.#integer || keyBytes === 8) : true;
    if (!sized || dataAt + held > this.#pageBytes) return `a node of ${this.#name} is too large`;
    if (leaf && (flags === BIG) !== NODE_BYTES + keyBytes + dataSize > this.#nodeMax)
      return `a record of ${this.#name} is in the wrong place`;
    const size = NODE_BYTES + keyBytes + held;
    this.bytes = bytes;
    this.keyAt = at + NODE_BYTES;
    this.dataAt = dataAt;
    this.flags = flags;
    this.dataSize = dataSize;
    this.held = held;
    this.child = leaf ? 0 : low + flags * 2 ** 32;
    this.size = size + (size % 2);
    return undefined;
  }

  /** How the key compares, as bytes, with the one that lies at `start` of these. */
  compareKey(bytes: Buffer, start: number, end: number): number {
    const ownBytes = this.dataAt - this.keyAt;
    const shorter = Math.min(ownBytes, end - start);
    for (let i = 0; i < shorter; i++) {
      const difference = this.bytes[this.keyAt + i]! - bytes[start + i]!;
      if (difference !== 0) return difference;
    }
    return ownBytes - (end - start);
  }

  key(): Buffer {
    return this.bytes.subarray(this.keyAt, this.dataAt);
  }

  data(): Buffer {
    return this.bytes.subarray(this.dataAt, this.dataAt + this.held);
  }
}

/** A record as a walk meets it: the same object each time, good during the call only. */
export class StoredRecord {
  readonly #readFile: (at: number, bytes: number) => Buffer;
  #node!: Node;
  /** Where in the file the data are, if not in the node. */
  #overflowAt: number | undefined;

  constructor(readFile: (at: number, bytes: number) => Buffer) {
    this.#readFile = readFile;
  }

  /** For the walk: the record is now the one of this node. */
  moveTo(node: Node, overflowAt: number | undefined): void {
    this.#node = node;
    this.#overflowAt = overflowAt;
  }

  key(): Buffer {
    return this.#node.key();
  }

  whole(): Buffer {
    return this.#overflowAt === undefined ? this.#node.data() : this.#readFile(this.#overflowAt, this.#node.dataSize);
  }

  get keyBytes(): number {
    return this.#node.dataAt - this.#node.keyAt;
  }

  copyKey(into: Uint8Array, at: number): void {
    const { bytes, keyAt, dataAt } = this.#node;
    copy(bytes, keyAt, dataAt, into, at);
  }

  /** The last `count` bytes of the record, all of it where it has less. */
  copyTail(into: Uint8Array, at: number, count: number): void {
    const { bytes, dataAt, dataSize } = this.#node;
    const from = Math.max(0, dataSize - count);
    if (this.#overflowAt === undefined) copy(bytes, dataAt + from, dataAt + dataSize, into, at);
    else into.set(this.#readFile(this.#overflowAt + from, dataSize - from), at);
  }
}

// Keys and tags are some tens of bytes: for so few, a loop takes less than the view that `set` would need.

/** @param start, end  lie in `from`; the target has room */
function copy(from: Uint8Array, start: number, end: number, into: Uint8Array, at: number): void {
  for (let i = start, to = at; i < end; i++, to++) into[to] = from[i]!;
}
