// Merkle trees of RFC 9162 §2.1 with SHA-512: the log itself and the small trees inside a batch header. Pure. The log
// keeps the hash of every complete subtree under (level, index), so an append writes few nodes and a proof reads few,
// whatever the size; small trees are computed from their entries at once.

import { concat, equal } from './bytes.ts';
import { sha512 } from './digest.ts';

const LEAF = new Uint8Array([0]);
const NODE = new Uint8Array([1]);

/** RFC 9162 §2.1.1: the root of no entries is the hash of nothing. */
export const EMPTY_ROOT: Uint8Array = sha512(new Uint8Array(0));

export function leafHash(entry: Uint8Array): Uint8Array {
  return sha512(LEAF, entry);
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha512(NODE, left, right);
}

/** The hash of the complete subtree of 2^level leaves whose first leaf is index · 2^level. */
export type ReadNode = (level: number, index: number) => Uint8Array;

/** RFC 9162 §2.1.1, of a list of entries. */
export function rootOf(entries: readonly Uint8Array[]): Uint8Array {
  let row = entries.map(leafHash);
  if (row.length === 0) return EMPTY_ROOT;
  while (row.length > 1) {
    const next: Uint8Array[] = [];
    for (let i = 0; i + 1 < row.length; i += 2) next.push(nodeHash(row[i]!, row[i + 1]!));
    // The odd one out moves up as it is; the split at the largest power of two comes to the same.
    if (row.length % 2 === 1) next.push(row.at(-1)!);
    row = next;
  }
  return row[0]!;
}

/**
 * The complete subtrees that a leaf completes when it is appended at `index`, the leaf itself first.
 *
 * @param read  answers for subtrees of earlier leaves
 */
export function append(
  index: number,
  leaf: Uint8Array,
  read: ReadNode,
): { level: number; index: number; hash: Uint8Array }[] {
  const added = [{ level: 0, index, hash: leaf }];
  let level = 0;
  let at = index;
  let hash = leaf;
  while (at % 2 === 1) {
    hash = nodeHash(read(level, at - 1), hash);
    level += 1;
    at = (at - 1) / 2;
    added.push({ level, index: at, hash });
  }
  return added;
}

/** The root of the first `size` leaves. */
export function rootAt(size: number, read: ReadNode): Uint8Array {
  return size === 0 ? EMPTY_ROOT : subtree(0, size, read);
}

/** RFC 9162 §2.1.3.1: sibling hashes from the leaf up. */
export function inclusionPath(index: number, size: number, read: ReadNode): Uint8Array[] {
  if (!isBetween(index, 0, size - 1)) throw new RangeError(`leaf ${index} is not in a tree of ${size}`);
  return path(index, 0, size, read);
}

/** RFC 9162 §2.1.4.1: proves that the first `from` of `size` leaves are those of the earlier head. */
export function consistencyPath(from: number, size: number, read: ReadNode): Uint8Array[] {
  if (!isBetween(from, 1, size)) throw new RangeError(`a tree of ${from} is not a prefix of one of ${size}`);
  return from === size ? [] : prefix(from, 0, size, true, read);
}

/** RFC 9162 §2.1.3.2. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isBetween(index, 0, size - 1)) return false;
  let fn = index;
  let sn = size - 1;
  let hash = leaf;
  for (const sibling of proof) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      hash = nodeHash(sibling, hash);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      hash = nodeHash(hash, sibling);
    }
    fn = half(fn);
    sn = half(sn);
  }
  return sn === 0 && equal(hash, root);
}

/** RFC 9162 §2.1.4.2. */
export function verifyConsistency(
  from: number,
  fromRoot: Uint8Array,
  size: number,
  root: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (!isBetween(from, 1, size)) return false;
  if (from === size) return proof.length === 0 && equal(fromRoot, root);
  // A complete subtree is its own first node, so the prover leaves it out.
  const nodes = isComplete(from) ? [fromRoot, ...proof] : [...proof];
  const first = nodes.shift();
  if (first === undefined) return false;
  let fn = from - 1;
  let sn = size - 1;
  while (fn % 2 === 1) {
    fn = half(fn);
    sn = half(sn);
  }
  let fr = first;
  let sr = first;
  for (const node of nodes) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      fr = nodeHash(node, fr);
      sr = nodeHash(node, sr);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      sr = nodeHash(sr, node);
    }
    fn = half(fn);
    sn = half(sn);
  }
  return sn === 0 && equal(fr, fromRoot) && equal(sr, root);
}

/** An index or size that a proof can be about: whole, exact, in range. */
function isBetween(n: number, from: number, to: number): boolean {
  return Number.isSafeInteger(n) && Number.isSafeInteger(to) && n >= from && n <= to;
}

/** Sizes pass 2^31, where `>>` would go wrong. */
const half = (n: number): number => Math.floor(n / 2);

/** The largest power of two below n; n > 1. By doubling, because from 2^48 on log2 rounds n + 1 to n. */
function split(n: number): number {
  let power = 1;
  while (power * 2 < n) power *= 2;
  return power;
}

/** Are n leaves one complete subtree? */
const isComplete = (n: number): boolean => n === 1 || split(n) * 2 === n;

function subtree(start: number, size: number, read: ReadNode): Uint8Array {
  if (isComplete(size)) return read(Math.log2(size), start / size);
  const left = split(size);
  return nodeHash(subtree(start, left, read), subtree(start + left, size - left, read));
}

function path(index: number, start: number, size: number, read: ReadNode): Uint8Array[] {
  if (size === 1) return [];
  const left = split(size);
  return index < left
    ? [...path(index, start, left, read), subtree(start + left, size - left, read)]
    : [...path(index - left, start + left, size - left, read), subtree(start, left, read)];
}

function prefix(from: number, start: number, size: number, whole: boolean, read: ReadNode): Uint8Array[] {
  if (from === size) return whole ? [] : [subtree(start, size, read)];
  const left = split(size);
  return from <= left
    ? [...prefix(from, start, left, whole, read), subtree(start + left, size - left, read)]
    : [...prefix(from - left, start + left, size - left, false, read), subtree(start, left, read)];
}

/** A reader over leaf hashes in memory, for small trees and tests. */
export function readerOf(leaves: readonly Uint8Array[]): ReadNode {
  return function read(level, index): Uint8Array {
    return level === 0 ? leaves[index]! : nodeHash(read(level - 1, 2 * index), read(level - 1, 2 * index + 1));
  };
}

/** A log entry: one kind byte before a 64-byte digest (DESIGN §4). */
export const LOG_KINDS = ['batch', 'checkpoint', 'epoch', 'policy', 'handover'] as const;
export type LogKind = (typeof LOG_KINDS)[number];

export function logLeaf(kind: LogKind, digest: Uint8Array): Uint8Array {
  return leafHash(concat(new Uint8Array([LOG_KINDS.indexOf(kind)]), digest));
}
