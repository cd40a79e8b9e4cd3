import { describe, expect, it } from 'vitest';
import { findConflicts } from './history.ts';

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
