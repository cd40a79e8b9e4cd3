import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hex } from '../actors/encoding.ts';
import { consistencyPath, leafHash, readerOf, rootAt } from '../actors/tree.ts';
import { checkGrowth, findConflicts, inOrder } from './history.ts';

/** Batch `height` of a log in which the keyset is the first entry and a new head covers each batch. */
const batch = (height: number, other: object = {}) => ({
  log_id: 'log',
  batch_id: `batch ${height}`,
  height,
  parent_digest: height === 0 ? 'zero' : `batch ${height - 1}`,
  size: height + 2,
  root: `root ${height + 2}`,
  leaf_index: height + 1,
  ...other,
});

describe('batches of one log', () => {
  it('agree when they chain, in any order, with gaps and doubles', () => {
    expect(findConflicts([0, 1, 2, 3].map((height) => batch(height)))).toEqual([]);
    expect(findConflicts([3, 0, 7, 3, 2].map((height) => batch(height)))).toEqual([]);
    const covered = { size: 9, root: 'root 9' };
    expect(findConflicts([batch(1, covered), batch(2, covered)])).toEqual([]);
    expect(findConflicts([batch(1, { size: null, root: null, leaf_index: null }), batch(2)])).toEqual([]);
  });

  it.each([
    ['height_conflict', 'height', { batch_id: 'other' }],
    ['head_conflict', 'slh_dsa_sig.seal.root', { root: 'other' }],
  ])('show %s', (code, field, other) => {
    expect(findConflicts([batch(0), batch(4), batch(4, other)])).toEqual([{ code, field, first: 1, second: 2 }]);
    expect(findConflicts([batch(4), batch(4, { ...other, log_id: 'another log' })])).toEqual([]);
  });

  it('show a parent that is not the batch before', () => {
    const conflict = { code: 'parent_mismatch', field: 'header.parent_digest', first: 1, second: 0 };
    expect(findConflicts([batch(5, { parent_digest: 'other' }), batch(4)])).toEqual([conflict]);
    expect(findConflicts([batch(6, { parent_digest: 'other' }), batch(4)])).toEqual([]);
  });

  it('show places in the log that do not rise', () => {
    const conflict = { code: 'leaf_conflict', field: 'slh_dsa_sig.leaf_index', first: 0, second: 1 };
    expect(findConflicts([batch(4, { leaf_index: 8 }), batch(6, { leaf_index: 8 })])).toEqual([conflict]);
  });
});

describe('heads of one log', () => {
  const leaves = Array.from({ length: 40 }, (_, i) => leafHash(Uint8Array.of(i)));
  const read = readerOf(leaves);
  const head = (size: number, other: object = {}) => ({
    log_id: 'log',
    size,
    root: hex(rootAt(size, read)),
    timestamp_ms: size,
    ...other,
  });
  const path = (from: number, to: number) => consistencyPath(from, to, read).map(hex);
  const sizes = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }));

  it('grow, whatever the sizes', () => {
    fc.assert(
      fc.property(sizes, ([one, other]) => {
        const [earlier, later] = inOrder(head(one), head(other));
        expect(checkGrowth(earlier, later, path(earlier.size, later.size))).toEqual({ ok: true });
      }),
    );
  });

  it('do not, when either root is another', () => {
    fc.assert(
      fc.property(sizes, fc.boolean(), ([one, other], first) => {
        const [earlier, later] = inOrder(head(one), head(other));
        const wrong = { root: hex(leafHash(new Uint8Array(2))) };
        const code = earlier.size === later.size ? 'history_forked' : 'consistency_invalid';
        const growth = first
          ? checkGrowth({ ...earlier, ...wrong }, later, path(earlier.size, later.size))
          : checkGrowth(earlier, { ...later, ...wrong }, path(earlier.size, later.size));
        expect(growth).toEqual({ ok: false, code });
      }),
    );
  });

  it('are of one log, and the later one is not smaller', () => {
    expect(checkGrowth(head(3), head(5, { log_id: 'other' }), path(3, 5))).toEqual({ ok: false, code: 'wrong_log' });
    expect(checkGrowth(head(5), head(3), path(3, 5))).toEqual({ ok: false, code: 'history_shrank' });
    expect(checkGrowth(head(3), head(5), [])).toEqual({ ok: false, code: 'consistency_invalid' });
  });
});
