// The witness (DESIGN §6): a small role of the daemon on the second platform. It has keys, a store and a watermark of its own, opens
// channels to a sequencer after both have shown evidence, acknowledges its orders and heads, quotes the heads, and shows auditors
// what it saw. It takes nothing on trust from the sequencer and gives it no order: what it refuses, it writes down. Made by
// `aegisd witness`, and by tests.
import { randomBytes } from 'node:crypto';
import { join, resolve } from 'node:path';
import { keysetDigest, quoteDigest, ZERO_DIGEST } from '../../actors/digest.ts';
import { base64, fromBase64, fromHex, hex } from '../../actors/encoding.ts';
import { attest } from '../../actors/quote.ts';
import { witnessStatement } from '../../actors/redundancy.ts';
import {
  type Answer,
  Ask,
  type Greeting,
  type HeadClaim,
  type Hello,
  type Message,
  type Opening,
  type QuoteWish,
  refuse,
  type WitnessRefusal,
} from '../../actors/witness.ts';
import type { Config } from '../../config/schema.ts';
import { loadEngine } from '../../workers/engine.ts';
import { createPool, type Pool } from '../../workers/pool.ts';
import { xwingKey } from '../../workers/xwing.ts';
import { collateralSource } from '../collateral.ts';
import type { Logger } from '../embedding.ts';
import { Fault } from '../fault.ts';
import { deriveWitness, storeKey } from '../keys/keyring.ts';
import { openKeySource } from '../keys/open.ts';
import { proveCrypto } from '../proof.ts';
import { evidenceRules } from '../rules.ts';
import { Runtime } from '../runtime.ts';
import { MIGRATIONS, SCHEMA_VERSION } from '../schema.ts';
import { openStore, type Store } from '../store.ts';
import { openPlatforms } from '../tee/open.ts';
import type { Platform } from '../tee/platform.ts';
import { openWatermark, type Watermark } from '../watermark.ts';
import { Book } from './book.ts';
import { box, channelSubject, openSecret, unbox } from './channel.ts';
import { type Judge, judgeEnd, judgeSeal } from './judgement.ts';
import { Sessions } from './sessions.ts';

export interface WitnessOptions {
  readonly config: Config;
  readonly log: Logger;
  /** Told of a broken invariant: the process must end. */
  readonly fatal: (error: unknown) => void;
  readonly now?: () => number;
  /** An operator's word for one start: see `WatermarkOptions`. */
  readonly accept_missing_watermark?: boolean;
}

/** How long a channel lives; a quote that ends sooner ends it. */
const CHANNEL_MS = 3_600_000;

/** @throws {Fault} when the state folder, a key or a thread fails */
export async function createWitness(options: WitnessOptions): Promise<Witness> {
  const { config, log, fatal, now = Date.now, accept_missing_watermark: accept_missing = false } = options;
  const state_dir = resolve(config.daemon.state_dir);
  await proveCrypto(config.signing.engine);
  const open: Opened = { pool: createPool({ ...config.workers, engine: config.signing.engine }) };
  try {
    const source = await openKeySource({ config, state_dir });
    const folder = join(state_dir, 'witness');
    const schema = { version: SCHEMA_VERSION, migrations: MIGRATIONS };
    open.store = await openStore({ folder, key: await storeKey(source), ...config.store, schema, logger: log, fatal });
    open.watermark = await openWatermark(open.store, { accept_missing });
    const { ml_dsa_87: key, public_key } = await deriveWitness(source);
    const engine = await loadEngine(config.signing.engine);
    const runtime = new Runtime({ store: open.store, log, fatal });
    runtime.start([]);
    const policy = evidenceRules(config);
    const { collateral_dir, pccs_url, kds_url, collateral_timeout_ms: timeout_ms } = config.attestation;
    const cache = join(state_dir, 'collateral');
    const collateral = collateralSource({ folder: collateral_dir, cache, pccs_url, kds_url, timeout_ms, now });
    const { primary: platform } = await openPlatforms({ config, state_dir, pool: open.pool, now, collateral, policy });
    const production = config.daemon.environment === 'production';
    const judge = { pool: open.pool, engine, policy, production, now };
    const about = { store: open.store, runtime, watermark: open.watermark, engine, key };
    const book = new Book({ ...about, witness_key: public_key, now });
    await open.pool.ready();
    return new Witness({ ...open, store: open.store, config, log, now, book, platform, judge, public_key });
  } catch (error) {
    await close(open);
    throw error;
  }
}

interface Opened {
  readonly pool: Pool;
  store?: Store;
  watermark?: Watermark;
}

async function close({ pool, watermark, store }: Opened): Promise<void> {
  await pool.close();
  await watermark?.close();
  await store?.close();
}

interface Modules extends Opened {
  readonly config: Config;
  readonly log: Logger;
  readonly now: () => number;
  readonly store: Store;
  readonly book: Book;
  readonly platform: Platform;
  readonly judge: Judge;
  readonly public_key: Uint8Array;
}

export class Witness {
  readonly book: Book;
  readonly store: Store;
  readonly platform: Platform;
  /** Raw ML-DSA-87, base64. */
  readonly witness_key: string;
  readonly #modules: Modules;
  readonly #sessions: Sessions;
  #closing: Promise<void> | undefined;

  constructor(modules: Modules) {
    this.book = modules.book;
    this.store = modules.store;
    this.platform = modules.platform;
    this.witness_key = base64(modules.public_key);
    this.#modules = modules;
    this.#sessions = new Sessions(modules.now);
  }

  /** The first half of a channel: who this is, attested over the sequencer's nonce. @throws {Fault} quote_failed, quote_busy */
  async greet({ log_id, nonce }: Hello): Promise<Greeting> {
    // Off the V8 heap, where it can be wiped.
    const seed = new Uint8Array(new ArrayBuffer(32));
    seed.set(randomBytes(32));
    const { publicKey, handle: key } = xwingKey(seed);
    seed.fill(0);
    const { witness_key } = this;
    const greeting = { witness_key, x_wing: base64(publicKey), nonce: hex(randomBytes(32)) };
    const subject = channelSubject('witness', { log_id, greeting }, nonce);
    const attestation = await this.#attest(subject, fromHex(nonce));
    this.#sessions.greet({ log_id, primary_nonce: nonce, greeting, key, subject });
    return { ok: true, ...greeting, attestation };
  }

  async #attest(subject: Uint8Array, nonce: Uint8Array) {
    const { now, platform, config } = this.#modules;
    const not_after_ms = now() + config.attestation.quote_lifetime_s * 1000;
    const statement = { purpose: 'witness', subject, keyset_digest: ZERO_DIGEST, not_after_ms, nonce } as const;
    const { evidence, found, checked_at } = await platform.attest(quoteDigest(statement));
    return attest(evidence, found, not_after_ms, checked_at);
  }

  /** The second half: the sequencer's evidence, and the secret that it sealed. The first box says where the witness stands. */
  async open({ nonce, keyset, sealed, attestation }: Opening) {
    const greeted = this.#sessions.take(nonce);
    if (greeted === undefined) return refuse('session_unknown', 'the greeting is too old, or was answered');
    if (keyset.log_id !== greeted.log_id) return refuse('wrong_log');
    const { judge, book, log, now } = this.#modules;
    const bytes = fromBase64(sealed);
    const subject = channelSubject('primary', greeted, greeted.primary_nonce, bytes);
    const about = { subject, keyset_digest: keysetDigest(keyset), nonce: fromHex(nonce) };
    const judged = await judgeEnd(judge, attestation, about);
    if (!judged.ok) return this.#refused(judged);
    const keys = openSecret(greeted.key, bytes, greeted.subject);
    if (keys === null) return this.#refused(refuse('session_unknown', 'the secret does not open'));
    const begun = await book.begin(keyset);
    if (!begun.ok) return this.#refused(begun);
    const channel = this.#sessions.open(keys, Math.min(attestation.not_after_ms, now() + CHANNEL_MS));
    const { session } = channel;
    log.info({ epoch: keyset.epoch, simulated: judged.found.simulated }, 'a sequencer has opened a channel');
    return { ok: true as const, session, box: box(keys, 'witness', session, 0, book.position) };
  }

  /** A question and its answer, both in boxes. A refusal inside one is the witness's; one outside could be anybody's. */
  async answer({ session, sequence, box: boxed }: Message) {
    const channel = this.#sessions.find(session);
    if (channel === undefined) return refuse('session_unknown');
    const { keys } = channel;
    const opened = unbox(keys, 'primary', session, sequence, boxed);
    if (opened === undefined || !this.#sessions.takes(session, sequence)) return refuse('session_unknown');
    const parsed = Ask.safeParse(opened);
    const said = parsed.success ? await this.#reply(parsed.data) : refuse('entries_invalid', describe(parsed.error));
    return { ok: true as const, box: box(keys, 'witness', session, sequence, said) };
  }

  async #reply(ask: Ask): Promise<Answer<Ask['type']> | WitnessRefusal> {
    try {
      if (ask.type === 'time') return { ok: true, now_ms: Math.round(this.#modules.now()) };
      if (ask.type === 'orders') return this.#orders(await this.book.acknowledgeOrders(ask.orders));
      const answer = ask.type === 'head' ? await this.#head(ask) : await this.#quote(ask);
      return answer.ok ? answer : this.#refused(answer);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#modules.log.warn({ err: error }, error.message);
      return refuse('unavailable', error.code);
    }
  }

  #orders(answer: Answer<'orders'>): Answer<'orders'> {
    for (const order of answer.orders) if (!order.ok) this.#refused(order);
    return answer;
  }

  async #head(claim: HeadClaim): Promise<Answer<'head'> | WitnessRefusal> {
    const { sealed } = claim;
    if (sealed !== null) {
      const judged = await judgeSeal(this.#modules.judge, sealed);
      if (!judged.ok) return judged;
    }
    return this.book.acknowledgeHead(claim, sealed);
  }

  async #quote(wish: QuoteWish): Promise<Answer<'quote'> | WitnessRefusal> {
    const may = await this.book.mayQuote(wish);
    if (!may.ok) return may;
    const { public_key, platform } = this.#modules;
    const { evidence } = await platform.attest(quoteDigest(witnessStatement(wish, public_key)), { urgent: true });
    return { ok: true, evidence: { ...evidence, quote: base64(evidence.quote) } };
  }

  #refused(refusal: WitnessRefusal): WitnessRefusal {
    this.#modules.log.warn({ code: refusal.code }, `refused: ${refusal.message}`);
    return refusal;
  }

  /** Once; a second call waits for the first. */
  close(): Promise<void> {
    this.#closing ??= close(this.#modules);
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function describe(error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] }): string {
  const { path, message } = error.issues[0]!;
  return `${path.map(String).join('.')}: ${message}`;
}
