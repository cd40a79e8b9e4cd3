// State hashes against the tree of the whole, and every value of a snapshot bound by them.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  advanced,
  CheckpointId,
  checkpointId,
  misplaced,
  NO_PROGRESS,
  Snapshot,
  snapshotEntry,
  stateHashAt,
} from './checkpoint.ts';
import { hex } from './encoding.ts';
import { rootOf } from './tree.ts';

const snapshot = (n: number, over: Partial<Snapshot> = {}): Snapshot => ({
  asset_id: `asset-${String(n).padStart(6, '0')}`,
  state: 'Active',
  metadata: { asset_type: 'OnChainToken', chain_id: '7', policy_digest: hex(new Uint8Array(64).fill(n)) },
  ...over,
});
const hashOf = (snapshots: readonly Snapshot[]) => stateHashAt(advanced(NO_PROGRESS, snapshots));

describe('a state hash', () => {
  it('is the root of the tree of RFC 9162, in whatever parts it is computed', () => {
    fc.assert(
      fc.property(fc.nat(40), fc.array(fc.nat(12), { maxLength: 8 }), (count, parts) => {
        const all = Array.from({ length: count }, (_, n) => snapshot(n));
        let progress = NO_PROGRESS;
        let at = 0;
        for (const length of [...parts, count]) {
          progress = advanced(progress, all.slice(at, at + length));
          at = Math.min(count, at + length);
        }
        expect(progress.count).toBe(count);
        expect(stateHashAt(progress)).toBe(hex(rootOf(all.map(snapshotEntry))));
      }),
    );
  });

  it('differs with every value of a snapshot, with their order and their number', () => {
    const [a, b] = [snapshot(1), snapshot(2)];
    const { metadata } = a;
    const others: Snapshot[][] = [
      [b, a],
      [a],
      [a, b, b],
      [{ ...a, asset_id: 'other' }, b],
      [{ ...a, state: 'Migrated' }, b],
      [{ ...a, metadata: { ...metadata, asset_type: 'OnChainNFT' } }, b],
      [{ ...a, metadata: { ...metadata, chain_id: '8' } }, b],
      [{ ...a, metadata: { ...metadata, chain_id: null } }, b],
      [{ ...a, metadata: { ...metadata, policy_digest: b.metadata.policy_digest } }, b],
    ];
    expect(new Set([[a, b], ...others].map(hashOf)).size).toBe(others.length + 1);
  });
});

it('has one spelling for no chain, and knows no protected asset', () => {
  const { metadata, ...rest } = snapshot(1);
  expect(Snapshot.safeParse({ ...rest, metadata: { ...metadata, chain_id: null } }).success).toBe(true);
  expect(Snapshot.safeParse({ ...rest, metadata: { ...metadata, chain_id: '0' } }).success).toBe(false);
  expect(Snapshot.safeParse({ ...rest, metadata, state: 'Protected' }).success).toBe(false);
});

it('names a checkpoint by its block, and the later ones of a block behind it', () => {
  expect([checkpointId(12_345, 0), checkpointId(7, 2)]).toEqual(['checkpoint_12345', 'checkpoint_7_2']);
  for (const id of ['checkpoint_0', 'checkpoint_7_1']) expect(CheckpointId.safeParse(id).success).toBe(true);
  for (const id of ['checkpoint_', 'checkpoint_07', 'checkpoint_7_0', 'checkpoint_-1', 'batch_1']) {
    expect(CheckpointId.safeParse(id).success).toBe(false);
  }
});

it('finds what is not sorted, or there twice', () => {
  expect(misplaced([snapshot(1), snapshot(2)])).toBeUndefined();
  expect(misplaced([snapshot(1), snapshot(1)])).toBe(1);
  expect(misplaced([snapshot(1), snapshot(3), snapshot(2)])).toBe(2);
});
