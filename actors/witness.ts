// What a sequencer and its witness on the second platform say to each other (DESIGN §3 "Sign once", §6 "What the second platform
// vouches for"), and the one question that a witness decides: may I acknowledge this? Both ends and the tests use these schemas;
// the functions are pure, over what the witness holds. A witness acknowledges one order for a height, which may grow and never
// change, and one history of the log, which it follows entry by entry; so a sequencer that was rolled back, or that runs twice,
// is refused whatever its own disk says.
import { z } from 'zod';
import { Header, ORDER_MAX, Ordered, orderRoot } from './batch.ts';
import { batchDigest } from './digest.ts';
import { base64Of, base64UpTo, Counter, Digest, hex, hexOf } from './encoding.ts';
import { SignedHead } from './head.ts';
import { Keyset, PUBLIC_KEY_BYTES } from './keyset.ts';
import { Attestation } from './quote.ts';
import { Head, ML_DSA_SIGNATURE_BYTES } from './seal.ts';
import { LOG_KINDS } from './tree.ts';

/** Log entries in one claim; orders in one message, and beyond the first, envelopes in them: what keeps it within `BOX_BYTES_MAX`. */
export const ENTRIES_MAX = 64;
export const ORDERS_MAX = 64;
export const ENVELOPES_MAX = 2_000;
/** An event log and collateral at their limits, beside a page of headers. */
export const BOX_BYTES_MAX = 4_194_304;

/** Why a witness does not do as it was asked. `conflict`: what it holds and what it was shown can't be one history. */
export const WITNESS_REFUSALS = {
  order_conflict: { conflict: true, sentence: 'another order of this height was acknowledged' },
  batch_conflict: { conflict: true, sentence: 'the batch has another order than the one that was acknowledged' },
  log_conflict: { conflict: true, sentence: 'the log is not the one that was followed' },
  log_shrank: { conflict: true, sentence: 'the log has fewer entries than were followed' },
  order_late: { conflict: false, sentence: 'orders of later heights were acknowledged before it was shown' },
  position: { conflict: false, sentence: 'the entries do not begin where the witness stands' },
  entries_invalid: { conflict: false, sentence: 'the entries and their headers do not fit together' },
  wrong_log: { conflict: false, sentence: 'this witness is that of another log' },
  seal_invalid: { conflict: false, sentence: 'the newest seal does not verify' },
  head_unknown: { conflict: false, sentence: 'no such head was acknowledged' },
  keyset_unlogged: { conflict: false, sentence: 'the keyset of the head is not in the log' },
  freshness_unearned: { conflict: false, sentence: 'not every order below the head was acknowledged' },
  clock_apart: { conflict: false, sentence: 'the clocks of the two platforms are too far apart' },
  not_after_invalid: { conflict: false, sentence: 'the quote would live for too long' },
  evidence_refused: { conflict: false, sentence: 'the evidence does not verify' },
  session_unknown: { conflict: false, sentence: 'there is no such channel, or the message was seen before' },
  unavailable: { conflict: false, sentence: 'the witness can not answer at the moment' },
} as const;
export type WitnessRefusalCode = keyof typeof WITNESS_REFUSALS;
const CODES = Object.keys(WITNESS_REFUSALS) as [WitnessRefusalCode, ...WitnessRefusalCode[]];

export const WitnessRefusal = z.strictObject({
  ok: z.literal(false),
  code: z.enum(CODES),
  message: z.string().max(1_024),
});
export type WitnessRefusal = z.output<typeof WitnessRefusal>;

export function refuse(code: WitnessRefusalCode, detail?: string): WitnessRefusal {
  const { sentence } = WITNESS_REFUSALS[code];
  return { ok: false, code, message: (detail === undefined ? sentence : `${sentence}: ${detail}`).slice(0, 1_024) };
}

// ---- the channel

const Nonce = hexOf(32);
const SessionId = hexOf(16);
const MlDsaKey = base64Of(PUBLIC_KEY_BYTES.ml_dsa_87);
const Signature = base64Of(ML_DSA_SIGNATURE_BYTES);

export const Hello = z
  .strictObject({ version: z.literal(1), log_id: Digest, nonce: Nonce })
  .meta({ id: 'WitnessHello' });
export type Hello = z.output<typeof Hello>;

export const Greeting = z
  .strictObject({
    ok: z.literal(true),
    witness_key: MlDsaKey.describe('ML-DSA-87; signs acknowledgements, and is the identity of the witness.'),
    x_wing: base64Of(PUBLIC_KEY_BYTES.x_wing).describe('Of this channel alone.'),
    nonce: Nonce,
    attestation: Attestation.describe('Purpose 4 over the aegis/channel/v1 digest of the side 1.'),
  })
  .meta({ id: 'WitnessGreeting' });
export type Greeting = z.output<typeof Greeting>;

export const Opening = z
  .strictObject({
    nonce: Nonce.describe('Of the greeting.'),
    keyset: Keyset,
    sealed: base64UpTo(2_048).describe("The channel's secret, HPKE under `x_wing`."),
    attestation: Attestation.describe('Purpose 4 over the aegis/channel/v1 digest of the side 2.'),
  })
  .meta({ id: 'WitnessOpening' });
export type Opening = z.output<typeof Opening>;

const Box = base64UpTo(BOX_BYTES_MAX).describe('AES-256-GCM under a key of the channel; the nonce is the sequence.');
export const Opened = z
  .strictObject({ ok: z.literal(true), session: SessionId, box: Box })
  .meta({ id: 'WitnessOpened' });
export const Message = z
  .strictObject({ session: SessionId, sequence: z.int().min(1), box: Box })
  .meta({ id: 'WitnessMessage' });
export type Message = z.output<typeof Message>;
export const Boxed = z.strictObject({ ok: z.literal(true), box: Box }).meta({ id: 'WitnessBox' });

/** The aegis/channel/v1 fields as both ends know them. */
export type ChannelParts = Pick<Hello, 'log_id'> & {
  readonly greeting: Pick<Greeting, 'witness_key' | 'x_wing' | 'nonce'>;
};

// ---- what is asked through it

/** How far the witness has come. */
export const Position = z.strictObject({
  size: Counter.describe('Entries of the log that it has followed.'),
  root: Digest,
  sealed: Counter.describe('Of the newest seal that it has verified; 0 before the first.'),
  order_height: Counter.describe('Above the highest order that it acknowledged.'),
});
export type Position = z.output<typeof Position>;

export const OrderClaim = z.strictObject({
  height: Counter,
  order: z.array(Ordered).min(1).max(ORDER_MAX).describe('All of it, so that any beginning of it can be told.'),
});
export type OrderClaim = z.output<typeof OrderClaim>;

export const HeadClaim = z.strictObject({
  type: z.literal('head'),
  from: Counter.describe('The size at which the witness stands.'),
  entries: z.array(z.strictObject({ kind: z.enum(LOG_KINDS), digest: Digest })).max(ENTRIES_MAX),
  headers: z.array(Header).max(ENTRIES_MAX).describe('Of the batches among the entries.'),
  root: Digest.describe('Of `from` and the entries.'),
  sealed: SignedHead.nullable().describe('The newest seal, where the witness has not verified it.'),
});
export type HeadClaim = z.output<typeof HeadClaim>;

export const QuoteWish = z.strictObject({
  type: z.literal('quote'),
  head: Head,
  not_after_ms: Counter,
  worker_id: z.string().min(1).max(128).nullable(),
  enclave_id: z.string().min(1).max(128).nullable(),
});
export type QuoteWish = z.output<typeof QuoteWish>;

/** What the witness's clock shows. */
export const TimeWish = z.strictObject({ type: z.literal('time') });

export const Ask = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('orders'), orders: z.array(OrderClaim).min(1).max(ORDERS_MAX) }),
  HeadClaim,
  QuoteWish,
  TimeWish,
]);
export type Ask = z.output<typeof Ask>;

export const Acknowledged = z.strictObject({ ok: z.literal(true), signature: Signature });

/** One answer for each type of question; a refusal may come in the place of each, and of each order. */
export const ANSWERS = {
  orders: z.strictObject({
    ok: z.literal(true),
    orders: z.array(z.union([Acknowledged, WitnessRefusal])).max(ORDERS_MAX),
  }),
  head: z.strictObject({
    ...Acknowledged.shape,
    position: Position,
    unvouched: Counter.nullable().describe('The newest leaf that is a batch whose order was not acknowledged.'),
  }),
  time: z.strictObject({ ok: z.literal(true), now_ms: Counter }),
  quote: z.strictObject({
    ok: z.literal(true),
    evidence: Attestation.pick({ quote_type: true, quote: true, event_log: true, collateral: true }),
  }),
} as const;
export type Answer<Type extends Ask['type']> = z.output<(typeof ANSWERS)[Type]>;

// ---- may I acknowledge this?

export interface KnownOrder {
  readonly count: number;
  readonly root: string;
}

export const knownOrder = (order: readonly Ordered[]): KnownOrder => ({
  count: order.length,
  root: hex(orderRoot(order)),
});

/**
 * One order for a height: the same again, or one that grew behind what was acknowledged.
 *
 * @param held          what was acknowledged for this height
 * @param order_height  above the highest height that has any
 */
export function mayAcknowledgeOrder(
  { height, order }: OrderClaim,
  held: KnownOrder | undefined,
  order_height: number,
): { readonly ok: true; readonly known: boolean } | WitnessRefusal {
  if (held === undefined) {
    if (height >= order_height) return { ok: true, known: false };
    return refuse('order_late', `height ${height}, expected ${order_height} or above`);
  }
  const begins = order.length >= held.count && knownOrder(order.slice(0, held.count)).root === held.root;
  if (begins) return { ok: true, known: order.length === held.count };
  return refuse('order_conflict', `height ${height}`);
}

/** Where the batches of the log stand. */
export interface Followed {
  readonly next_height: number;
  readonly parent_digest: string;
}

/**
 * Reads the entries that a head adds: batches in height order, each naming the one before, with the order that was acknowledged.
 * Whether they give the head's root, the tree of the caller says.
 *
 * @param at.size  the index of the first entry
 * @returns        `unvouched`: the newest leaf among them that is a batch whose order nobody asked about
 */
export function followEntries(
  { entries, headers }: Pick<HeadClaim, 'entries' | 'headers'>,
  at: Followed & { readonly log_id: string; readonly size: number },
  orderOf: (height: number) => KnownOrder | undefined,
): (Followed & { readonly ok: true; readonly unvouched: number | null }) | WitnessRefusal {
  let { next_height, parent_digest } = at;
  let unvouched: number | null = null;
  let used = 0;
  for (const [i, { kind, digest }] of entries.entries()) {
    if (kind !== 'batch') continue;
    const header = headers[used++];
    if (header === undefined || hex(batchDigest(header)) !== digest) return refuse('entries_invalid', `entry ${i}`);
    if (header.log_id !== at.log_id) return refuse('wrong_log');
    if (header.height !== next_height || header.parent_digest !== parent_digest) {
      return refuse('log_conflict', `batch ${header.height} does not follow batch ${next_height - 1}`);
    }
    const order = orderOf(header.height);
    if (order === undefined) unvouched = at.size + i;
    else if (order.root !== header.order_root || order.count !== header.order_count) {
      return refuse('batch_conflict', `batch ${header.height}`);
    }
    next_height = header.height + 1;
    parent_digest = digest;
  }
  if (used !== headers.length) return refuse('entries_invalid', 'a header without its entry');
  return { ok: true, next_height, parent_digest, unvouched };
}

/** How far apart the clocks of the two platforms may be. */
export const CLOCK_APART_MAX_MS = 300_000;
const QUOTE_LIFETIME_MAX_MS = 86_400_000;

/** What the witness knows of a head that it is to quote. */
export interface KnownHead {
  readonly log_id: string;
  /** The root that was acknowledged for its size. */
  readonly root: string | undefined;
  /** The newest leaf that is a batch without an acknowledged order. */
  readonly unvouched: number | null;
  readonly sealed: number;
  readonly keyset_logged: boolean;
  readonly now_ms: number;
}

/** A witness quotes what it acknowledged, and nothing that says more of its freshness than it knows. */
export function mayQuote({ head, not_after_ms }: QuoteWish, known: KnownHead): { readonly ok: true } | WitnessRefusal {
  if (head.log_id !== known.log_id) return refuse('wrong_log');
  if (known.root === undefined || known.root !== head.root) return refuse('head_unknown', `size ${head.size}`);
  if (!known.keyset_logged) return refuse('keyset_unlogged');
  // 1 is what a witness can vouch for; 2 is for the chain to say.
  if (head.freshness > 1 || (head.freshness === 1 && !vouched(known))) return refuse('freshness_unearned');
  const apart_ms = Math.abs(head.timestamp_ms - known.now_ms);
  if (apart_ms > CLOCK_APART_MAX_MS) return refuse('clock_apart', `${apart_ms} ms`);
  const lifetime_ms = not_after_ms - head.timestamp_ms;
  return lifetime_ms > 0 && lifetime_ms <= QUOTE_LIFETIME_MAX_MS ? { ok: true } : refuse('not_after_invalid');
}

/** Whether the order of every batch that no verified seal covers yet was acknowledged. */
export function vouched({ unvouched, sealed }: Pick<KnownHead, 'unvouched' | 'sealed'>): boolean {
  return unvouched === null || unvouched < sealed;
}

export interface Standing {
  readonly size: number;
  readonly cut: number;
  /** The root of its own log at a size; asked at most once, at or below `size`. */
  rootAt(size: number): string;
}

/**
 * Holds the sequencer against its witness, before it signs anything: a witness that has seen more proves that this store is a copy
 * from earlier, or that another copy runs.
 */
export function holdAgainst(own: Standing, witness: Position): { readonly ok: true } | WitnessRefusal {
  if (witness.order_height > own.cut) {
    return refuse('order_conflict', `it acknowledged batch ${witness.order_height - 1}, here ${own.cut} were cut`);
  }
  if (witness.size > own.size) {
    return refuse('log_shrank', `it followed ${witness.size} entries, here are ${own.size}`);
  }
  if (witness.size === 0 || own.rootAt(witness.size) === witness.root) return { ok: true };
  return refuse('log_conflict', `the first ${witness.size} entries differ`);
}
