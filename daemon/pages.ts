/**
 * Reads LMDB's file page by page, without LMDB. The store does so before it opens one: LMDB has no checksums, trusts every number on a
 * page, and a single flipped bit can make it crash the process, at boot or hours later. A crash can't be caught, so a child process
 * would have to make the test; a reader that trusts nothing needs none, says which page is wrong, and sees what a walk through LMDB
 * can't: a free list that names a page in use, which the next commits would write over.
 *
 * It checks all that LMDB relies on: both meta pages, every branch and leaf page (bounds, order and range of keys, counts), overflow
 * pages, and that no page is used twice. What records hold is not its business: the vault's seals and the census are for that.
 *
 * Layout: mdb.c of lmdb 3.5.6, data version 2 (64-bit, little-endian; page header of 24 bytes, offsets counted from its end). Another
 * version is refused as newer, so a new lmdb package needs a look at this file.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { Fault } from './fault.ts';
import { Levels } from './levels.ts';

/** MDB_db: one tree. */
export type Tree = {
  readonly flags: number;
  readonly depth: number;
  readonly branch: number;
  readonly leaf: number;
  readonly overflow: number;
  readonly entries: number;
  readonly root: number;
};

/** Called for each record in key order. `tail` gives its last bytes, `whole` all of it; all bytes are valid during the call only. */
export type Visit = (key: Buffer, tail: (bytes: number) => Buffer, whole: () => Buffer) => void;

/** How pages are used: `lost` ones are neither in use nor free, which wastes space and harms nothing. */
export type PageCount = { readonly total: number; readonly used: number; readonly free: number; readonly lost: number };

const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const HEAD_BYTES = 24;
const NODE_BYTES = 8;
const TREE_BYTES = 48;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const META = 0x08;
const BIG = 0x01;
const SUBTREE = 0x02;
/** MDB_INTEGERKEY: the free list's keys are numbers; the only flag that a file of ours has. */
const INTEGER_KEY = 0x08;
const NO_PAGE = 2 ** 64;
/** CURSOR_STACK of mdb.c. */
const DEPTH_MAX = 32;
const KEY_BYTES_MAX = 1_978;
/** Pages that a transaction may have taken and freed without writing them. */
const BEYOND_MAX = 65_536;

type Meta = { txnid: number; last: number; free: Tree; main: Tree };
type Bounds = { low: Buffer | undefined; high: Buffer | undefined };
type Walk = {
  tree: Tree;
  name: string;
  integer: boolean;
  visit: (leaf: Leaf) => void;
  branch: number;
  leaf: number;
  overflow: number;
  entries: number;
};
type Leaf = { key: Buffer; flags: number; size: number; data: Buffer };

export class PageFile {
  readonly #path: string;
  readonly #file: number;
  readonly #pageBytes: number;
  readonly #filePages: number;
  readonly #meta: Meta;
  /** 0 unseen, 1 in use, 2 free. */
  readonly #seen: Uint8Array;
  readonly #trees = new Map<string, Tree>();
  readonly #levels: Levels;
  #overflowSeen = 0;

  /**
   * Reads the meta pages and the list of tables.
   *
   * @throws Fault `store_corrupt` naming the page; `store_newer` for another layout
   */
  constructor(path: string) {
    this.#path = path;
    this.#file = openSync(path, 'r');
    try {
      const bytes = fstatSync(this.#file).size;
      this.#pageBytes = this.#readPageSize();
      this.#filePages = Math.floor(bytes / this.#pageBytes);
      this.#levels = new Levels(this.#file, this.#pageBytes);
      this.#meta = this.#newestMeta();
      this.#seen = new Uint8Array(this.#meta.last + 1);
      this.#seen.fill(1, 0, 2);
      this.#walk(this.#meta.main, 'main', false, (leaf) => {
        if (leaf.flags !== SUBTREE || leaf.size !== TREE_BYTES)
          throw this.#damaged('main holds something else than tables');
        // lmdb ends names with a zero byte
        const name = leaf.key.toString('latin1').replace(/\0$/, '');
        this.#trees.set(name, this.#readTree(leaf.data, 0, 0));
      });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Every table in the file. */
  get tables(): ReadonlyMap<string, Tree> {
    return this.#trees;
  }

  /** Bytes that a walk of this table reads at most. */
  bytesOf(name: string): number {
    const tree = this.#trees.get(name);
    return tree === undefined ? 0 : (tree.branch + tree.leaf + tree.overflow) * this.#pageBytes;
  }

  /** Checks every page of a table. @throws Fault `store_corrupt` */
  walk(name: string, visit: Visit): void {
    const tree = this.#trees.get(name);
    if (tree === undefined) return;
    this.#walk(tree, name, false, ({ key, flags, size, data }) => {
      if (flags === 0) {
        visit(
          key,
          (bytes) => data.subarray(Math.max(0, size - bytes)),
          () => data,
        );
        return;
      }
      if (flags !== BIG) throw this.#damaged(`a record of ${name} has unknown flags`);
      const first = this.#claimOverflow(data, size);
      const read = (at: number, bytes: number) => this.#read(first * this.#pageBytes + HEAD_BYTES + at, bytes);
      visit(
        key,
        (bytes) => read(Math.max(0, size - bytes), Math.min(bytes, size)),
        () => read(0, size),
      );
    });
  }

  /** Checks the free list against the pages seen in use; call it after every table was walked. @throws Fault `store_corrupt` */
  checkFree(): PageCount {
    let free = 0;
    this.#walk(this.#meta.free, 'free', true, ({ key, flags, size, data }) => {
      const txnid = this.#number(key, 0);
      if (txnid < 1 || txnid > this.#meta.txnid) throw this.#damaged('the free list names a later transaction');
      const list =
        flags === 0 ? data : this.#read(this.#claimOverflow(data, size) * this.#pageBytes + HEAD_BYTES, size);
      free += this.#claimFree(list, size);
    });
    const total = this.#seen.length;
    let used = 0;
    for (const state of this.#seen) if (state === 1) used += 1;
    const absent = this.#seen.subarray(this.#filePages).indexOf(0);
    if (absent >= 0) throw this.#damaged('its last page is beyond its end', this.#filePages + absent);
    return { total, used, free, lost: total - used - free };
  }

  close(): void {
    closeSync(this.#file);
  }

  #readPageSize(): number {
    const meta = this.#read(0, HEAD_BYTES + 168);
    const size = meta.readUInt32LE(HEAD_BYTES + 24);
    if (meta.readUInt32LE(HEAD_BYTES) !== MAGIC) throw this.#damaged('it has no magic number', 0);
    if (size < 512 || size > 65_536 || (size & (size - 1)) !== 0)
      throw this.#damaged('it has an impossible page size', 0);
    const versions = [0, size].map((at) => this.#read(at, HEAD_BYTES + 8).readUInt32LE(HEAD_BYTES + 4));
    const [version = 0] = versions;
    if (versions[1] === version && version > DATA_VERSION) {
      throw new Fault({
        code: 'store_newer',
        path: this.#path,
        found: `layout ${version}`,
        known: `layout ${DATA_VERSION}`,
      });
    }
    return size;
  }

  #newestMeta(): Meta {
    const [even, odd] = [this.#readMeta(0), this.#readMeta(1)];
    // Transaction N writes page N % 2; a file that was made and never written has 0 twice.
    const fresh = even.txnid === 0 && odd.txnid === 0;
    const pair = even.txnid % 2 === 0 && odd.txnid % 2 === 1 && Math.abs(even.txnid - odd.txnid) === 1;
    if (!fresh && !pair) throw this.#damaged('its two meta pages do not follow each other', 0);
    return even.txnid >= odd.txnid ? even : odd;
  }

  #readMeta(page: number): Meta {
    const bytes = this.#read(page * this.#pageBytes, HEAD_BYTES + 168);
    const at = HEAD_BYTES;
    const sane =
      this.#number(bytes, 0) === page &&
      bytes.readUInt16LE(18) === META &&
      bytes.readUInt32LE(at) === MAGIC &&
      bytes.readUInt32LE(at + 4) === DATA_VERSION &&
      bytes.readUInt32LE(at + 24) === this.#pageBytes;
    if (!sane) throw this.#damaged('a meta page is not one', page);
    const mapBytes = this.#number(bytes, at + 16);
    const last = this.#number(bytes, at + 24 + 2 * TREE_BYTES);
    if (mapBytes > 2 ** 47) throw this.#damaged('the map is impossibly large', page);
    // The last pages may be missing where they are free (`checkFree` sees to that); far beyond the end is nonsense.
    if (last < 1 || last > this.#filePages + BEYOND_MAX) throw this.#damaged('its last page is beyond its end', page);
    return {
      txnid: this.#number(bytes, at + 32 + 2 * TREE_BYTES),
      last,
      free: this.#readTree(bytes, at + 24, INTEGER_KEY, this.#pageBytes),
      main: this.#readTree(bytes, at + 24 + TREE_BYTES, 0),
    };
  }

  #readTree(bytes: Buffer, at: number, flags: number, pad = 0): Tree {
    const root = this.#number(bytes, at + 40, true);
    const tree = {
      flags: bytes.readUInt16LE(at + 4),
      depth: bytes.readUInt16LE(at + 6),
      branch: this.#number(bytes, at + 8),
      leaf: this.#number(bytes, at + 16),
      overflow: this.#number(bytes, at + 24),
      entries: this.#number(bytes, at + 32),
      root,
    };
    const empty = tree.depth === 0 && tree.entries === 0 && tree.leaf === 0;
    const sane =
      tree.flags === flags && bytes.readUInt32LE(at) === pad && tree.depth <= DEPTH_MAX && empty === (root === NO_PAGE);
    if (!sane) throw this.#damaged('the description of a table is impossible');
    return tree;
  }

  #walk(tree: Tree, name: string, integer: boolean, visit: (leaf: Leaf) => void): void {
    if (tree.root === NO_PAGE) return;
    const walk: Walk = { tree, name, integer, visit, branch: 0, leaf: 0, overflow: 0, entries: 0 };
    const overflowBefore = this.#overflowSeen;
    this.#walkPage(walk, tree.root, 1, { low: undefined, high: undefined });
    const overflow = this.#overflowSeen - overflowBefore;
    const counts = walk.branch === tree.branch && walk.leaf === tree.leaf && overflow === tree.overflow;
    if (!counts || walk.entries !== tree.entries) throw this.#damaged(`the counts of ${name} are wrong`, tree.root);
  }

  #walkPage(walk: Walk, page: number, level: number, bounds: Bounds): void {
    this.#claim(page, walk.name);
    const bytes = this.#readLevel(page, level);
    const flags = bytes.readUInt16LE(18);
    const lower = bytes.readUInt16LE(20);
    const upper = bytes.readUInt16LE(22);
    const room = this.#pageBytes - HEAD_BYTES;
    const expected = level === walk.tree.depth ? LEAF : BRANCH;
    const sane =
      this.#number(bytes, 0) === page &&
      this.#number(bytes, 8) <= this.#meta.txnid &&
      bytes.readUInt16LE(16) === 0 &&
      flags === expected &&
      lower % 2 === 0 &&
      lower >= 2 &&
      lower <= upper &&
      upper <= room;
    if (!sane) throw this.#damaged(`a page of ${walk.name} has a wrong header`, page);
    if (expected === LEAF) walk.leaf += 1;
    else walk.branch += 1;
    const size = this.#walkNodes(walk, page, level, bounds, bytes);
    // Nodes lie side by side from `upper` to the end: another sum means two overlap or one is out of place.
    if (size !== room - upper) throw this.#damaged(`a page of ${walk.name} has overlapping nodes`, page);
  }

  #walkNodes(walk: Walk, page: number, level: number, bounds: Bounds, bytes: Buffer): number {
    const count = bytes.readUInt16LE(20) / 2;
    const leaf = level === walk.tree.depth;
    let size = 0;
    let previous: Buffer | undefined;
    let child: { page: number; low: Buffer | undefined } | undefined;
    for (let n = 0; n < count; n++) {
      const node = this.#readNode(walk, page, bytes, n, leaf);
      size += node.size;
      if (leaf || n > 0) {
        // Where each is above the one before, the first tells for `low` and the last for `high`.
        const from = previous === undefined ? bounds.low : undefined;
        const to = n === count - 1 ? bounds.high : undefined;
        this.#checkOrder(walk, page, node.key, previous, { low: from, high: to });
        previous = node.key;
      }
      if (leaf) {
        walk.entries += 1;
        walk.visit({ key: node.key, flags: node.flags, size: node.dataSize, data: node.data });
      } else {
        if (child !== undefined) this.#walkPage(walk, child.page, level + 1, { low: child.low, high: node.key });
        child = { page: node.child, low: n === 0 ? bounds.low : node.key };
      }
    }
    if (child !== undefined) this.#walkPage(walk, child.page, level + 1, { low: child.low, high: bounds.high });
    return size;
  }

  #readNode(walk: Walk, page: number, bytes: Buffer, n: number, leaf: boolean) {
    const at = HEAD_BYTES + bytes.readUInt16LE(HEAD_BYTES + 2 * n);
    const upper = HEAD_BYTES + bytes.readUInt16LE(22);
    if (at < upper || at % 2 !== 0 || at + NODE_BYTES > this.#pageBytes)
      throw this.#damaged(`a node of ${walk.name} is out of place`, page);
    const low = bytes.readUInt32LE(at);
    const flags = bytes.readUInt16LE(at + 4);
    const keyBytes = bytes.readUInt16LE(at + 6);
    const dataAt = at + NODE_BYTES + keyBytes;
    const dataSize = leaf ? low : 0;
    const held = !leaf ? 0 : flags === BIG ? 24 : dataSize;
    const sized = leaf || n > 0 ? keyBytes > 0 && keyBytes <= KEY_BYTES_MAX && (!walk.integer || keyBytes === 8) : true;
    if (!sized || dataAt + held > this.#pageBytes) throw this.#damaged(`a node of ${walk.name} is too large`, page);
    if (leaf && (flags === BIG) !== NODE_BYTES + keyBytes + dataSize > this.#nodeMax())
      throw this.#damaged(`a record of ${walk.name} is in the wrong place`, page);
    const size = NODE_BYTES + keyBytes + held;
    return {
      key: bytes.subarray(at + NODE_BYTES, dataAt),
      flags,
      dataSize,
      data: bytes.subarray(dataAt, dataAt + held),
      child: leaf ? 0 : low + flags * 2 ** 32,
      size: size + (size % 2),
    };
  }

  /** me_nodemax of mdb.c: larger nodes put their data on overflow pages. */
  #nodeMax(): number {
    return (Math.floor((this.#pageBytes - HEAD_BYTES) / 2) & ~1) - 2;
  }

  #checkOrder(walk: Walk, page: number, key: Buffer, previous: Buffer | undefined, { low, high }: Bounds): void {
    const after = (a: Buffer, b: Buffer) =>
      walk.integer ? this.#number(a, 0) - this.#number(b, 0) : Buffer.compare(a, b);
    const inOrder =
      (previous === undefined || after(key, previous) > 0) &&
      (low === undefined || after(key, low) >= 0) &&
      (high === undefined || after(key, high) < 0);
    if (!inOrder) throw this.#damaged(`the keys of ${walk.name} are out of order`, page);
  }

  /** MDB_ovpage: {page, txnid, pages}. @returns the first page */
  #claimOverflow(data: Buffer, size: number): number {
    const [page, txnid, pages] = [0, 8, 16].map((at) => this.#number(data, at)) as [number, number, number];
    const needed = Math.floor((HEAD_BYTES - 1 + size) / this.#pageBytes) + 1; // OVPAGES; an overwritten record may have more
    if (pages < needed || page + pages > this.#seen.length)
      throw this.#damaged('an overflow record has impossible pages', page);
    for (let n = 0; n < pages; n++) this.#claim(page + n, 'an overflow record');
    const head = this.#read(page * this.#pageBytes, HEAD_BYTES);
    const sane =
      this.#number(head, 0) === page &&
      this.#number(head, 8) === txnid &&
      head.readUInt16LE(18) === OVERFLOW &&
      head.readUInt32LE(20) === pages;
    if (!sane) throw this.#damaged('an overflow page has a wrong header', page);
    this.#overflowSeen += pages;
    return page;
  }

  /** An IDL: its length, then page numbers; 0 is a gap, −n says that n pages begin at the number that follows. @returns pages */
  #claimFree(list: Buffer, size: number): number {
    const length = this.#number(list, 0);
    if ((length + 1) * 8 > size) throw this.#damaged('a part of the free list is too long');
    let pages = 0;
    for (let n = 1; n <= length; n++) {
      const entry = list.readBigInt64LE(n * 8);
      if (entry === 0n) continue;
      const count = entry < 0n ? Number(-entry) : 1;
      if (entry < 0n) n += 1;
      if (n > length) throw this.#damaged('a part of the free list ends too early');
      const first = this.#number(list, n * 8);
      if (first < 2 || count > this.#seen.length || first + count > this.#seen.length)
        throw this.#damaged('the free list names a page beyond the end', first);
      for (let page = first; page < first + count; page++) {
        if (this.#seen[page] !== 0)
          throw this.#damaged(`the free list names a page ${this.#seen[page] === 1 ? 'in use' : 'twice'}`, page);
        this.#seen[page] = 2;
      }
      pages += count;
    }
    return pages;
  }

  #claim(page: number, name: string): void {
    if (page < 2 || page >= this.#seen.length) throw this.#damaged(`${name} names a page that is not there`, page);
    if (this.#seen[page] !== 0) throw this.#damaged(`${name} shares a page`, page);
    this.#seen[page] = 1;
  }

  #readLevel(page: number, level: number): Buffer {
    const bytes = this.#levels.read(page, level);
    if (bytes === undefined) throw this.#damaged('the file is too short', page);
    return bytes;
  }

  #read(at: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    if (readSync(this.#file, bytes, 0, length, at) !== length) throw this.#damaged('the file is too short');
    return bytes;
  }

  /** A uint64 that is a safe integer, or (for roots) all ones. */
  #number(bytes: Buffer, at: number, root = false): number {
    const value = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
    if (root && value === NO_PAGE) return value;
    if (value > Number.MAX_SAFE_INTEGER) throw this.#damaged('a number is impossibly large');
    return value;
  }

  #damaged(reason: string, page?: number): Fault {
    return new Fault({ code: 'store_corrupt', path: this.#path, reason, ...(page !== undefined && { page }) });
  }
}
