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
import { BIG, HEAD_BYTES, Node, StoredRecord } from './nodes.ts';

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

/** Called for each record in key order: the same object each time, and what it gives is valid during the call only. */
export type Visit = (record: StoredRecord) => void;

/** How pages are used: `lost` ones are neither in use nor free, which wastes space and harms nothing. */
export type PageCount = { readonly total: number; readonly used: number; readonly free: number; readonly lost: number };

const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const TREE_BYTES = 48;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const META = 0x08;
const SUBTREE = 0x02;
/** MDB_INTEGERKEY: the free list's keys are numbers; the only flag that a file of ours has. */
const INTEGER_KEY = 0x08;
const NO_PAGE = 2 ** 64;
/** CURSOR_STACK of mdb.c. */
const DEPTH_MAX = 32;
/** Pages that a transaction may have taken and freed without writing them. */
const BEYOND_MAX = 65_536;

type Meta = { txnid: number; last: number; free: Tree; main: Tree };
type Bounds = { low: Buffer | undefined; high: Buffer | undefined };
type Walk = {
  tree: Tree;
  name: string;
  integer: boolean;
  node: Node;
  visit: (leaf: Node) => void;
  branch: number;
  leaf: number;
  overflow: number;
  entries: number;
};

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
        if (leaf.flags !== SUBTREE || leaf.dataSize !== TREE_BYTES)
          throw this.#damaged('main holds something else than tables');
        // lmdb ends names with a zero byte
        const name = leaf.key().toString('latin1').replace(/\0$/, '');
        this.#trees.set(name, this.#readTree(leaf.data(), 0, 0));
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
    const record = new StoredRecord((at, bytes) => this.#read(at, bytes));
    this.#walk(tree, name, false, (leaf) => {
      if (leaf.flags === 0) record.moveTo(leaf, undefined);
      else if (leaf.flags === BIG) record.moveTo(leaf, this.#claimOverflow(leaf) * this.#pageBytes + HEAD_BYTES);
      else throw this.#damaged(`a record of ${name} has unknown flags`);
      visit(record);
    });
  }

  /** Checks the free list against the pages seen in use; call it after every table was walked. @throws Fault `store_corrupt` */
  checkFree(): PageCount {
    let free = 0;
    this.#walk(this.#meta.free, 'free', true, (leaf) => {
      const txnid = this.#number(leaf.bytes, leaf.keyAt);
      if (txnid < 1 || txnid > this.#meta.txnid) throw this.#damaged('the free list names a later transaction');
      const size = leaf.dataSize;
      const list =
        leaf.flags === 0 ? leaf.data() : this.#read(this.#claimOverflow(leaf) * this.#pageBytes + HEAD_BYTES, size);
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

  #walk(tree: Tree, name: string, integer: boolean, visit: (leaf: Node) => void): void {
    if (tree.root === NO_PAGE) return;
    const node = new Node(name, integer, this.#pageBytes);
    const walk: Walk = { tree, name, integer, node, visit, branch: 0, leaf: 0, overflow: 0, entries: 0 };
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

  #walkNodes(walk: Walk, page: number, level: number, { low, high }: Bounds, bytes: Buffer): number {
    const { node } = walk;
    const count = bytes.readUInt16LE(20) / 2;
    const leaf = level === walk.tree.depth;
    let size = 0;
    let previousAt = 0; // none yet
    let previousEnd = 0;
    let child: { page: number; low: Buffer | undefined } | undefined;
    for (let n = 0; n < count; n++) {
      const wrong = node.read(bytes, n, leaf);
      if (wrong !== undefined) throw this.#damaged(wrong, page);
      size += node.size;
      if (leaf || n > 0) {
        // Where each is above the one before, the first tells for `low` and the last for `high`.
        const inOrder =
          (previousAt === 0
            ? low === undefined || this.#order(walk, low, 0, low.length) >= 0
            : this.#order(walk, bytes, previousAt, previousEnd) > 0) &&
          (n < count - 1 || high === undefined || this.#order(walk, high, 0, high.length) < 0);
        if (!inOrder) throw this.#damaged(`the keys of ${walk.name} are out of order`, page);
        previousAt = node.keyAt;
        previousEnd = node.dataAt;
      }
      if (leaf) {
        walk.entries += 1;
        walk.visit(node);
      } else {
        // The pages below use the same node: what is needed of it is taken first.
        const next = { page: node.child, low: n === 0 ? low : node.key() };
        if (child !== undefined) this.#walkPage(walk, child.page, level + 1, { low: child.low, high: next.low });
        child = next;
      }
    }
    if (child !== undefined) this.#walkPage(walk, child.page, level + 1, { low: child.low, high });
    return size;
  }

  /** Whether the node's key is above (> 0), at or below the one that lies there. */
  #order({ node, integer }: Walk, bytes: Buffer, start: number, end: number): number {
    if (integer) return this.#number(node.bytes, node.keyAt) - this.#number(bytes, start);
    return node.compareKey(bytes, start, end);
  }

  /** MDB_ovpage: {page, txnid, pages}. @returns the first page */
  #claimOverflow({ bytes, dataAt, dataSize }: Node): number {
    const [page, txnid, pages] = [0, 8, 16].map((at) => this.#number(bytes, dataAt + at)) as [number, number, number];
    const needed = Math.floor((HEAD_BYTES - 1 + dataSize) / this.#pageBytes) + 1; // OVPAGES; an overwritten record may have more
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
