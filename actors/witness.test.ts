// What a witness acknowledges, and what it refuses: one order for a height, one history of the log, and a sequencer that stands
// behind what was acknowledged. The functions are pure, so properties hold over every prefix and every other order.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Header, Ordered } from './batch.ts';
import { batchDigest, ZERO_DIGEST } from './digest.ts';
import { hex } from './encoding.ts';
import type { Head } from './seal.ts';
import {
  followEntries,
  holdAgainst,
  type KnownHead,
  knownOrder,
  mayAcknowledgeOrder,
  mayQuote,
  type QuoteWish,
  WITNESS_REFUSALS,
} from './witness.ts';

const id = (byte: number, bytes = 64) => hex(new Uint8Array(bytes).fill(byte));
const envelope = (n: number): Ordered => ({ envelope_id: id(n % 256, 32), admission_sequence: String(n) });
const orderOf = (count: number, from = 0) => Array.from({ length: count }, (_, i) => envelope(from + i));
const claim = (height: number, order: readonly Ordered[]) => ({ height, order: [...order] });

describe('an order', () => {
  it('is acknowledged once, again, and as it grows', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 40 }), (count, more) => {
        const [first, grown] = [orderOf(count), orderOf(count + more)];
        expect(mayAcknowledgeOrder(claim(3, first), undefined, 3)).toEqual({ ok: true, known: false });
        expect(mayAcknowledgeOrder(claim(3, first), knownOrder(first), 4)).toEqual({ ok: true, known: true });
        const outcome = mayAcknowledgeOrder(claim(3, grown), knownOrder(first), 4);
        expect(outcome).toEqual({ ok: true, known: more === 0 });
      }),
    );
  });

  it('is refused for a height that has another one, of whatever length', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 20 }), (count, other) => {
        const held = knownOrder(orderOf(count));
        const conflict = { ok: false, code: 'order_conflict' };
        expect(mayAcknowledgeOrder(claim(3, orderOf(other, 100)), held, 4)).toMatchObject(conflict);
        const reversed = [...orderOf(count + 1)].reverse();
        expect(mayAcknowledgeOrder(claim(3, reversed), held, 4)).toMatchObject(conflict);
      }),
    );
  });

  it('is refused when it shrinks, and too late when later heights were acknowledged before', () => {
    const shrunk = claim(3, orderOf(2));
    expect(mayAcknowledgeOrder(shrunk, knownOrder(orderOf(5)), 4)).toMatchObject({ code: 'order_conflict' });
    expect(mayAcknowledgeOrder(shrunk, undefined, 4)).toMatchObject({ code: 'order_late' });
    expect(WITNESS_REFUSALS.order_late.conflict).toBe(false);
    expect(mayAcknowledgeOrder(shrunk, undefined, 0)).toEqual({ ok: true, known: false });
  });
});

const LOG = id(1);
function header(height: number, parent_digest: string, order: readonly Ordered[]): Header {
  const { count, root } = knownOrder(order);
  return {
    ...{ version: 1, chain_id: '1', log_id: LOG, height, parent_digest, block_number: String(height), timestamp_ms: 5 },
    ...{ epoch: 1, order_count: count, order_root: root, tx_count: count, tx_root: id(2), refused_root: id(3) },
    ...{ assets_root: id(4), risk_score: 0, ordering_mode: 3, algorithms: 7, checkpoint_digest: id(0) },
  };
}
const entryOf = (of: Header) => ({ kind: 'batch' as const, digest: hex(batchDigest(of)) });

describe('the entries of a head', () => {
  const orders = [orderOf(2), orderOf(3, 50)];
  const first = header(0, hex(ZERO_DIGEST), orders[0]!);
  const second = header(1, entryOf(first).digest, orders[1]!);
  const added = {
    entries: [{ kind: 'epoch' as const, digest: id(9) }, entryOf(first), entryOf(second)],
    headers: [first, second],
  };
  const at = { next_height: 0, parent_digest: hex(ZERO_DIGEST), log_id: LOG, size: 7 };
  const known = (height: number) => knownOrder(orders[height]!);

  it('follow the heights with the orders that were acknowledged', () => {
    const followed = { ok: true, next_height: 2, parent_digest: entryOf(second).digest };
    expect(followEntries(added, at, known)).toEqual({ ...followed, unvouched: null });
    const unseen = followEntries(added, at, (height) => (height === 0 ? undefined : known(height)));
    expect(unseen).toEqual({ ...followed, unvouched: 8 });
  });

  it.each([
    ['batch_conflict', added, () => knownOrder(orderOf(2, 7))],
    ['entries_invalid', { ...added, headers: [first] }, known],
    ['entries_invalid', { ...added, headers: [first, second, second] }, known],
    ['entries_invalid', { ...added, headers: [second, first] }, known],
    ['log_conflict', { entries: [entryOf(second)], headers: [second] }, known],
  ] as const)('are refused: %s', (code, given, orderOfHeight) => {
    expect(followEntries(given as never, at, orderOfHeight)).toMatchObject({ ok: false, code });
  });

  it('of another log are refused', () => {
    expect(followEntries(added, { ...at, log_id: id(5) }, known)).toMatchObject({ code: 'wrong_log' });
  });
});

describe('a quote over a head', () => {
  const head: Head = {
    ...{ log_id: LOG, size: 9, root: id(7), timestamp_ms: 1_000_000, epoch: 1, keyset_digest: id(8) },
    ...{ config_digest: id(9), freshness: 1, providers: 3 },
  };
  const wish: QuoteWish = { type: 'quote', head, not_after_ms: 2_000_000, worker_id: null, enclave_id: null };
  const known: KnownHead = {
    ...{ log_id: LOG, root: id(7), unvouched: 4, sealed: 5, keyset_logged: true, now_ms: 1_000_500 },
  };

  it('is given for what was acknowledged', () => {
    expect(mayQuote(wish, known)).toEqual({ ok: true });
    expect(mayQuote({ ...wish, head: { ...head, freshness: 0 } }, { ...known, unvouched: 8 })).toEqual({ ok: true });
  });

  it.each([
    ['wrong_log', { log_id: id(3) }, {}],
    ['head_unknown', { root: undefined }, {}],
    ['head_unknown', { root: id(3) }, {}],
    ['keyset_unlogged', { keyset_logged: false }, {}],
    ['freshness_unearned', { unvouched: 5 }, {}],
    ['freshness_unearned', {}, { head: { ...head, freshness: 2 } }],
    ['clock_apart', { now_ms: 1_300_001 }, {}],
    ['clock_apart', { now_ms: 699_999 }, {}],
    ['not_after_invalid', {}, { not_after_ms: 1_000_000 }],
    ['not_after_invalid', {}, { not_after_ms: 1_000_001 + 86_400_000 }],
  ] as const)('is refused: %s', (code, knows, wishes) => {
    expect(mayQuote({ ...wish, ...wishes }, { ...known, ...knows })).toMatchObject({ ok: false, code });
  });
});

describe('a sequencer beside its witness', () => {
  const own = { size: 10, cut: 4, rootAt: (size: number) => id(size) };
  const at = (size: number, order_height: number, root = id(size)) => ({ size, root, sealed: 0, order_height });

  it('goes on where it has all that the witness saw', () => {
    expect(holdAgainst(own, at(0, 0, id(99)))).toEqual({ ok: true });
    expect(holdAgainst(own, at(7, 3))).toEqual({ ok: true });
    expect(holdAgainst(own, at(10, 4))).toEqual({ ok: true });
  });

  it.each([
    ['order_conflict', at(7, 5)],
    ['log_shrank', at(11, 4)],
    ['log_conflict', at(7, 4, id(99))],
  ])('stops where the witness saw more, or something else: %s', (code, position) => {
    expect(holdAgainst(own, position)).toMatchObject({ ok: false, code });
    expect(WITNESS_REFUSALS[code as keyof typeof WITNESS_REFUSALS].conflict).toBe(true);
  });
});
