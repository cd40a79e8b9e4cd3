// The trees against definitions written a second time, straight from RFC 9162 §2.1, with OpenSSL as the hash; every size to
// 64, then sizes beyond 32 bits on a synthetic log whose leaves are all alike.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { equal, hex } from './encoding.ts';
import {
  append,
  consistencyPath,
  EMPTY_ROOT,
  inclusionPath,
  leafHash,
  logLeaf,
  nodeHash,
  type ReadNode,
  readerOf,
  rootAt,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from './tree.ts';

const SIZE_MAX = 64;
const entries = Array.from({ length: SIZE_MAX }, (_, i) => new Uint8Array(1 + (i % 5)).fill(i));
const leaves = entries.map(leafHash);
const read = readerOf(leaves);

const sha512 = (...parts: Uint8Array[]) => {
  const hash = createHash('sha512');
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};

/** The largest power of two smaller than n. */
function k(n: number): number {
  let power = 1;
  while (power * 2 < n) power *= 2;
  return power;
}

/** RFC 9162 §2.1.1. */
function MTH(D: readonly Uint8Array[]): Uint8Array {
  if (D.length === 0) return sha512();
  if (D.length === 1) return sha512(Uint8Array.of(0), D[0]!);
  return sha512(Uint8Array.of(1), MTH(D.slice(0, k(D.length))), MTH(D.slice(k(D.length))));
}

/** RFC 9162 §2.1.3.1. */
function PATH(m: number, D: readonly Uint8Array[]): Uint8Array[] {
  if (D.length === 1) return [];
  const half = k(D.length);
  return m < half
    ? [...PATH(m, D.slice(0, half)), MTH(D.slice(half))]
    : [...PATH(m - half, D.slice(half)), MTH(D.slice(0, half))];
}

/** RFC 9162 §2.1.4.1. */
function PROOF(m: number, D: readonly Uint8Array[]): Uint8Array[] {
  return SUBPROOF(m, D, true);
}
function SUBPROOF(m: number, D: readonly Uint8Array[], b: boolean): Uint8Array[] {
  if (m === D.length) return b ? [] : [MTH(D)];
  const half = k(D.length);
  return m <= half
    ? [...SUBPROOF(m, D.slice(0, half), b), MTH(D.slice(half))]
    : [...SUBPROOF(m - half, D.slice(half), false), MTH(D.slice(0, half))];
}

const sizes = Array.from({ length: SIZE_MAX }, (_, i) => i + 1);

describe('roots', () => {
  it('are those of RFC 9162 at every size, computed from entries, from a reader, and by appending', () => {
    expect(rootOf([])).toEqual(MTH([]));
    expect(rootAt(0, read)).toEqual(EMPTY_ROOT);
    const kept = new Map<string, Uint8Array>();
    const stored: ReadNode = (level, index) => {
      const node = kept.get(`${level} ${index}`);
      if (node === undefined) throw new Error(`node ${level} ${index} was never stored`);
      return node;
    };
    for (const size of sizes) {
      const root = MTH(entries.slice(0, size));
      for (const { level, index, hash } of append(size - 1, leaves[size - 1]!, stored)) {
        expect(kept.has(`${level} ${index}`), 'a node is written once').toBe(false);
        kept.set(`${level} ${index}`, hash);
      }
      expect(rootOf(entries.slice(0, size))).toEqual(root);
      expect(rootAt(size, read)).toEqual(root);
      expect(rootAt(size, stored)).toEqual(root);
    }
    // Of n leaves, n - popcount(n) inner nodes are complete.
    expect(kept.size).toBe(2 * SIZE_MAX - 1);
  });

  it('separate leaves from nodes and kinds of entries', () => {
    const [a, b] = [leaves[0]!, leaves[1]!];
    expect(equal(leafHash(new Uint8Array([...a, ...b])), nodeHash(a, b))).toBe(false);
    const digest = new Uint8Array(64);
    expect(logLeaf('batch', digest)).toEqual(leafHash(new Uint8Array(65)));
    const kinds = (['batch', 'checkpoint', 'epoch', 'policy', 'handover'] as const).map((kind) =>
      logLeaf(kind, digest),
    );
    expect(kinds.map(hex)).toEqual([0, 1, 2, 3, 4].map((kind) => hex(leafHash(Uint8Array.of(kind, ...digest)))));
  });
});

describe('inclusion', () => {
  it('is proven as in RFC 9162, for every leaf of every size, and for no other leaf, place or size', () => {
    for (const size of sizes) {
      const root = rootAt(size, read);
      for (let index = 0; index < size; index++) {
        const path = inclusionPath(index, size, read);
        expect(path).toEqual(PATH(index, entries.slice(0, size)));
        expect(verifyInclusion(leaves[index]!, index, size, path, root)).toBe(true);
        if (size > 1) expect(verifyInclusion(leaves[(index + 1) % size]!, index, size, path, root)).toBe(false);
        for (const other of [index - 1, index + 1, size]) {
          expect(verifyInclusion(leaves[index]!, other, size, path, root), `${index} as ${other} of ${size}`).toBe(
            false,
          );
        }
      }
    }
  });

  it('fails with a hash altered, dropped, added or swapped', () => {
    const size = fc.integer({ min: 2, max: SIZE_MAX });
    fc.assert(
      fc.property(size, fc.nat(), fc.nat(), (n, i, j) => {
        const index = i % n;
        const path = inclusionPath(index, n, read);
        const at = j % path.length;
        for (const bad of tampered(path, at)) {
          expect(verifyInclusion(leaves[index]!, index, n, bad, rootAt(n, read))).toBe(false);
        }
      }),
    );
  });

  it('of a place that is none is false, and a path to it is refused', () => {
    const root = rootAt(5, read);
    for (const index of [-1, 5, Number.NaN, 0.5]) {
      expect(verifyInclusion(leaves[0]!, index, 5, inclusionPath(0, 5, read), root)).toBe(false);
    }
    expect(verifyInclusion(leaves[0]!, 0, 0, [], EMPTY_ROOT)).toBe(false);
    expect(verifyInclusion(leaves[0]!, 0, 1.5, [], leaves[0]!)).toBe(false);
    expect(verifyInclusion(leaves[0]!, 0, Number.POSITIVE_INFINITY, [], leaves[0]!)).toBe(false);
    expect(() => inclusionPath(5, 5, read)).toThrow(RangeError);
    expect(() => inclusionPath(-1, 5, read)).toThrow(RangeError);
  });
});

describe('consistency', () => {
  it('is proven as in RFC 9162 between all sizes, and with no other root or size', () => {
    for (const size of sizes) {
      const root = rootAt(size, read);
      for (let from = 1; from <= size; from++) {
        const earlier = rootAt(from, read);
        const proof = consistencyPath(from, size, read);
        expect(proof).toEqual(PROOF(from, entries.slice(0, size)));
        expect(verifyConsistency(from, earlier, size, root, proof)).toBe(true);
        const wrong = leaves[0]!.with(0, leaves[0]![0]! ^ 1);
        expect(verifyConsistency(from, wrong, size, root, proof)).toBe(false);
        expect(verifyConsistency(from, earlier, size, wrong, proof)).toBe(false);
        // The sizes enter as the shape of the proof: another shape fails, and a head's signature binds its size anyway.
        if (from > 1) expect(verifyConsistency(from - 1, earlier, size, root, proof), `${from} ${size}`).toBe(false);
      }
    }
  });

  it('fails with a hash altered, dropped, added or swapped', () => {
    const pair = fc.tuple(fc.integer({ min: 1, max: SIZE_MAX }), fc.integer({ min: 1, max: SIZE_MAX }), fc.nat());
    fc.assert(
      fc.property(
        pair.filter(([a, b]) => a !== b),
        ([a, b, j]) => {
          const [from, size] = a < b ? [a, b] : [b, a];
          const proof = consistencyPath(from, size, read);
          for (const bad of tampered(proof, j % proof.length)) {
            expect(verifyConsistency(from, rootAt(from, read), size, rootAt(size, read), bad)).toBe(false);
          }
        },
      ),
    );
  });

  it('of a log that was rewritten fails', () => {
    const other = readerOf(leaves.with(2, leafHash(Uint8Array.of(99))));
    for (let from = 3; from < 20; from++) {
      const proof = consistencyPath(from, 20, other);
      expect(verifyConsistency(from, rootAt(from, read), 20, rootAt(20, other), proof)).toBe(false);
    }
  });

  it('between sizes that are none is refused', () => {
    expect(verifyConsistency(0, EMPTY_ROOT, 5, rootAt(5, read), [])).toBe(false);
    expect(verifyConsistency(6, rootAt(6, read), 5, rootAt(5, read), [])).toBe(false);
    expect(verifyConsistency(3, rootAt(3, read), 3, rootAt(3, read), [leaves[0]!])).toBe(false);
    expect(() => consistencyPath(0, 5, read)).toThrow(RangeError);
    expect(() => consistencyPath(6, 5, read)).toThrow(RangeError);
  });
});

describe('sizes beyond 32 bits', () => {
  /** All leaves are alike, so a complete subtree is known by its level, whatever its index. */
  const byLevel: Uint8Array[] = [leaves[0]!];
  const alike: ReadNode = (level) => {
    while (byLevel.length <= level) byLevel.push(nodeHash(byLevel.at(-1)!, byLevel.at(-1)!));
    return byLevel[level]!;
  };
  const near = [2 ** 31, 2 ** 32, 2 ** 33, 2 ** 48, 2 ** 49, 2 ** 52, Number.MAX_SAFE_INTEGER - 2].flatMap((n) =>
    [-2, -1, 0, 1, 2].map((d) => n + d),
  );

  /** From the peaks, as integers: no logarithm can round here. */
  function rootOfPeaks(size: number): Uint8Array {
    let root: Uint8Array | undefined;
    for (let level = 0, rest = BigInt(size); rest > 0n; level++, rest >>= 1n) {
      if ((rest & 1n) === 0n) continue;
      const peak = alike(level, 0);
      root = root === undefined ? peak : nodeHash(peak, root);
    }
    return root!;
  }

  it.each(near)('%i: roots and proofs hold', (size) => {
    const root = rootAt(size, alike);
    expect(root).toEqual(rootOfPeaks(size));
    for (const index of [0, 1, 2 ** 31, size - 2, size - 1].filter((i) => i < size)) {
      const path = inclusionPath(index, size, alike);
      expect(verifyInclusion(leaves[0]!, index, size, path, root)).toBe(true);
      expect(verifyInclusion(leaves[1]!, index, size, path, root)).toBe(false);
    }
    for (const from of [1, 2 ** 30 + 1, 2 ** 31 - 1, size - 1, size].filter((n) => n <= size)) {
      const proof = consistencyPath(from, size, alike);
      expect(verifyConsistency(from, rootOfPeaks(from), size, root, proof)).toBe(true);
      expect(verifyConsistency(from, leaves[1]!, size, root, proof)).toBe(false);
    }
  });

  it('are appended to with the right indices', () => {
    const index = 2 ** 33 - 1;
    const asked: [number, number][] = [];
    const added = append(index, leaves[0]!, (level, at) => {
      asked.push([level, at]);
      return alike(level, at);
    });
    expect(added).toHaveLength(34);
    expect(added.at(-1)).toEqual({ level: 33, index: 0, hash: alike(33, 0) });
    expect(asked[0]).toEqual([0, index - 1]);
    expect(asked.at(-1)).toEqual([32, 0]);
  });
});

/** The proof with one hash altered, dropped, doubled, and with another added, or two swapped. */
function tampered(proof: readonly Uint8Array[], at: number): Uint8Array[][] {
  const hash = proof[at]!;
  const altered = hash.with(63, hash[63]! ^ 0x80);
  const all = [proof.with(at, altered), proof.toSpliced(at, 1), proof.toSpliced(at, 0, hash), [...proof, hash]];
  if (at > 0) all.push(proof.with(at - 1, hash).with(at, proof[at - 1]!));
  return all;
}
