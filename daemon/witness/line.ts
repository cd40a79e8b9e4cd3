// The sequencer's end of a channel to its witness: opens it, asks through it, and believes only what verifies. An answer that can't
// be read, a signature that is not the witness's, and evidence that the policy does not allow are all one to it: the witness failed,
// and the channel is over. What the witness refuses in so many words is a value. Made by witnessed.ts, which knows what to do
// without one.
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { quoteDigest, witnessDigest, ZERO_DIGEST } from '../../actors/digest.ts';
import { fromBase64, fromHex, hex, utf8 } from '../../actors/encoding.ts';
import type { Keyset } from '../../actors/keyset.ts';
import type { Attestation } from '../../actors/quote.ts';
import { witnessStatement } from '../../actors/redundancy.ts';
import {
  ANSWERS,
  type Answer,
  type Ask,
  BOX_BYTES_MAX,
  Boxed,
  Greeting,
  type KnownOrder,
  Opened,
  Position,
  type QuoteWish,
  WitnessRefusal,
} from '../../actors/witness.ts';
import { ask as post } from '../../client/exchange.ts';
import { Fault } from '../fault.ts';
import type { VerifiedQuote } from '../tee/platform.ts';
import { box, type ChannelKeys, channelSubject, sealSecret, unbox } from './channel.ts';
import { type Judge, judgeEnd, judgeEvidence } from './judgement.ts';

/** A channel is opened anew after this time, well before the witness ends it. */
const CHANNEL_MS = 1_800_000;
const ANSWER_BYTES_MAX = Math.ceil((BOX_BYTES_MAX * 4) / 3) + 65_536;
const CONTEXT = utf8('aegis/witness/v1');

export interface LineOptions {
  readonly url: string;
  readonly judge: Judge;
  /** The active one, which the sequencer's quote binds. */
  readonly keyset: Keyset;
  /** Quotes for this end of the channel: purpose 4. @throws {Fault} */
  readonly attest: (about: { subject: Uint8Array; keyset: Keyset; nonce: Uint8Array }) => Promise<Attestation>;
  /** For one question and its answer. */
  readonly timeout_ms: number;
  /** Making a quote may take longer. */
  readonly quote_timeout_ms: number;
}

/** Raised from the first to the last word; `witness_failed` says what was wrong. */
const failed = (url: string, reason: string, cause?: unknown) =>
  new Fault({ code: 'witness_failed', url, reason }, cause === undefined ? undefined : { cause });

/** @throws {Fault} witness_failed, quote_failed, quote_busy, worker_failed */
export async function openLine(options: LineOptions, signal: AbortSignal): Promise<Line> {
  const { url, judge, keyset } = options;
  const { log_id } = keyset;
  const nonce = hex(randomBytes(32));
  const hello = { version: 1, log_id, nonce };
  const greeting = await exchange(options, 'witness/hello', hello, z.union([Greeting, WitnessRefusal]), signal);
  if (!greeting.ok) throw failed(url, greeting.message);
  const subject = channelSubject('witness', { log_id, greeting }, nonce);
  const about = { subject, keyset_digest: ZERO_DIGEST, nonce: fromHex(nonce) };
  const judged = await judgeEnd(judge, greeting.attestation, about);
  if (!judged.ok) throw failed(url, judged.message);
  const { sealed, keys } = await sealSecret(fromBase64(greeting.x_wing), subject);
  const own = channelSubject('primary', { log_id, greeting }, nonce, sealed);
  const attestation = await options.attest({ subject: own, keyset, nonce: fromHex(greeting.nonce) });
  const opening = { nonce: greeting.nonce, keyset, sealed: sealed.toBase64(), attestation };
  const opened = await exchange(options, 'witness/open', opening, z.union([Opened, WitnessRefusal]), signal);
  if (!opened.ok) throw failed(url, opened.message);
  const { session } = opened;
  const first = Position.safeParse(read(keys, session, 0, opened.box));
  if (!first.success) throw failed(url, 'its first message is not from the enclave that its quote shows');
  return new Line(options, { session, keys, witness_key: fromBase64(greeting.witness_key), position: first.data });
}

interface Channel {
  readonly session: string;
  readonly keys: ChannelKeys;
  readonly witness_key: Uint8Array;
  readonly position: Position;
}

export class Line {
  /** Raw ML-DSA-87. */
  readonly witness_key: Uint8Array;
  /** Where the witness stood when the channel was opened. */
  readonly position: Position;
  /** When it is to be opened anew, by a monotonic clock. */
  readonly renew_at = performance.now() + CHANNEL_MS;
  readonly #options: LineOptions;
  readonly #channel: Channel;
  #sequence = 0;

  constructor(options: LineOptions, channel: Channel) {
    this.#options = options;
    this.#channel = channel;
    this.witness_key = channel.witness_key;
    this.position = channel.position;
  }

  /** @throws {Fault} witness_failed */
  async ask<Type extends Ask['type']>(
    ask: Extract<Ask, { type: Type }>,
    signal: AbortSignal,
  ): Promise<Answer<Type> | WitnessRefusal> {
    const { session, keys } = this.#channel;
    this.#sequence += 1;
    const sequence = this.#sequence;
    const message = { session, sequence, box: box(keys, 'primary', session, sequence, ask) };
    const answer = z.union([Boxed, WitnessRefusal]);
    const said = await exchange(this.#options, 'witness/message', message, answer, signal, ask.type === 'quote');
    // Outside a box it could be anybody's, so it says no more than that the channel is over.
    if (!said.ok) throw failed(this.#options.url, said.message);
    const schema = z.union([ANSWERS[ask.type], WitnessRefusal]);
    const parsed = schema.safeParse(read(keys, session, sequence, said.box));
    if (!parsed.success) throw failed(this.#options.url, `its answer about ${ask.type} can't be read`);
    return parsed.data as Answer<Type> | WitnessRefusal;
  }

  /** @throws {Fault} witness_failed, unless the witness has signed just this */
  verify(kind: 'order' | 'head', log_id: string, number: number, { count, root }: KnownOrder, signature: string): void {
    const { witness_key } = this;
    const { judge, url } = this.#options;
    const digest = witnessDigest({ kind, log_id, number, count, root, witness_key });
    if (judge.engine.ml_dsa_87.verify(witness_key, digest, CONTEXT, fromBase64(signature))) return;
    throw failed(url, `its acknowledgement of ${kind} ${number} does not verify`);
  }

  /** The witness's quote over a head, verified as a stranger would. @throws {Fault} witness_failed, worker_failed */
  async quote(wish: QuoteWish, answer: Answer<'quote'>): Promise<VerifiedQuote> {
    const { judge, url } = this.#options;
    const evidence = { ...answer.evidence, quote: fromBase64(answer.evidence.quote) };
    const judged = await judgeEvidence(judge, evidence, quoteDigest(witnessStatement(wish, this.witness_key)));
    if (!judged.ok) throw failed(url, judged.message);
    return { evidence, found: judged.found, checked_at: judged.checked_at };
  }
}

function read(keys: ChannelKeys, session: string, sequence: number, boxed: string): unknown {
  try {
    return unbox(keys, 'witness', session, sequence, boxed);
  } catch {
    return undefined;
  }
}

async function exchange<T extends z.ZodType>(
  { url, timeout_ms, quote_timeout_ms }: LineOptions,
  path: string,
  body: unknown,
  answer: T,
  signal: AbortSignal,
  slow = path === 'witness/hello',
): Promise<z.output<T>> {
  const question = { path, body, answer, bytes_max: ANSWER_BYTES_MAX };
  const said = await post(url, question, { signal, timeout_ms: slow ? timeout_ms + quote_timeout_ms : timeout_ms });
  if (!said.ok) throw failed(url, said.message);
  return said.value;
}
