// What follows from a handover, for whoever knows of it: the auditor, who has seen the entry in the log, and whoever was given the
// document. The document itself is judged in daemon/handover/handover.test.ts, as a real enclave makes it.
import { describe, expect, it } from 'vitest';
import { hex } from '../actors/encoding.ts';
import { endedBefore, type Handover } from '../actors/handover.ts';
import type { LogEntry, SignedHead } from '../actors/head.ts';
import { Auditor, type AuditState } from './auditor.ts';

const digest = (byte: number) => hex(new Uint8Array(64).fill(byte));
const entry = (leaf_index: number, kind: LogEntry['kind']): LogEntry => ({
  leaf_index,
  kind,
  digest: digest(leaf_index),
});

/** Two epochs, a handover to the third behind them, and an entry of the successor. */
const ENTRIES = [entry(0, 'epoch'), entry(1, 'epoch'), entry(2, 'epoch'), entry(3, 'handover'), entry(4, 'policy')];

function followed(count: number, state: AuditState | null = null): Auditor {
  const auditor = new Auditor(state);
  for (const each of ENTRIES.slice(auditor.size, count)) expect(auditor.take(each)).toBeNull();
  return auditor;
}

/** Of the epoch whose keyset is the entry `epoch - 1`, over all that was followed. */
function head(auditor: Auditor, epoch: number): SignedHead {
  const seal = { size: auditor.size, root: auditor.root, epoch, keyset_digest: digest(epoch - 1) };
  return { seal } as SignedHead;
}

describe('an auditor that has seen a handover', () => {
  it('takes the last seal of the predecessor, and those of the successor', () => {
    const last = followed(4);
    expect(last.keep(head(last, 2))).toMatchObject({ handover: { size: 4, epoch: 2 } });
    const next = followed(5);
    expect(next.keep(head(next, 3))).toMatchObject({ version: 1 });
  });

  it.each([1, 2])('raises an alarm on a head of epoch %i beyond it', (epoch) => {
    const auditor = followed(5);
    expect(auditor.keep(head(auditor, epoch))).toMatchObject({ code: 'keyset_ended' });
    expect(auditor.matches(head(auditor, epoch))).toMatchObject({ code: 'keyset_ended' });
  });

  it('remembers it in what it keeps', () => {
    const before = followed(4);
    const state = before.keep(head(before, 2)) as AuditState;
    const auditor = followed(5, state);
    expect(auditor.keep(head(auditor, 2))).toMatchObject({ code: 'keyset_ended' });
    expect(auditor.keep(head(auditor, 3))).toMatchObject({ handover: { size: 4, epoch: 2 } });
  });

  it('knows nothing of it before it is in the log', () => {
    const auditor = followed(3);
    expect(auditor.keep(head(auditor, 2))).not.toHaveProperty('handover');
  });
});

describe('what was signed beyond a handover', () => {
  const ends = { from_epoch: 2, to_epoch: 3, to_keyset_digest: digest(7) };
  const handover = { log_id: digest(9), leaf_index: 3, ...ends } as Handover;
  const place = { log_id: digest(9), epoch: 2, size: 5, keyset_digest: digest(6) };

  it.each([
    ['of the epoch that has ended', place, true],
    ['of an older epoch', { ...place, epoch: 1 }, true],
    ['at the end itself', { ...place, size: 4 }, false],
    ['of the successor', { ...place, epoch: 3, keyset_digest: digest(7) }, false],
    ["of the successor's epoch by other keys", { ...place, epoch: 3 }, true],
    ['of another log', { ...place, log_id: digest(8) }, false],
  ])('%s', (_what, signed, ended) => {
    expect(endedBefore([handover], signed)).toBe(ended ? handover : undefined);
    expect(endedBefore([], signed)).toBeUndefined();
  });
});
