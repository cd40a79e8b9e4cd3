// Attests digests (DESIGN §6): asks the provider for a quote over the report data and verifies it as a stranger would,
// on a thread, before it goes anywhere. Quotes are made one after the other, with a deadline each.
import { keysetDigest, type QUOTE_PURPOSE, quoteDigest } from '../actors/digest.ts';
import { timestamp } from '../actors/encoding.ts';
import { INTEL_ROOT_DER } from '../actors/evidence.ts';
import type { Keyset } from '../actors/keyset.ts';
import { type Attestation, attest } from '../actors/quote.ts';
import type { Pool } from '../workers/pool.ts';
import { Fault } from './fault.ts';
import { runJob } from './job.ts';
import type { QuoteProvider } from './tee/provider.ts';

/** Anything of dcap-qvl's that still attests; the status is published, and it is for verifiers to judge it. */
const TCB_STATUSES = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
];

/** How many requests for a quote may wait; each is a client with a nonce of its own, or the sealer. */
const QUEUE_MAX = 64;

export interface AttesterOptions {
  readonly quote_lifetime_s: number;
  readonly quote_timeout_ms: number;
}

/** What a quote is to vouch for. */
interface Subject {
  readonly purpose: keyof typeof QUOTE_PURPOSE;
  readonly subject: Uint8Array;
  readonly keyset: Keyset;
  readonly not_after_ms: number;
  readonly nonce?: Uint8Array;
}

export class Attester {
  readonly #provider: QuoteProvider;
  /** DER of the root that the provider's evidence must chain to. */
  readonly #root: Uint8Array;
  readonly #pool: Pool;
  readonly #options: AttesterOptions;
  readonly #now: () => number;
  /** The sealer waits for each of its own, so it is never more than one; others are bounded. */
  readonly #seals: (() => Promise<void>)[] = [];
  readonly #others: (() => Promise<void>)[] = [];
  #busy = false;
  #newest: Attestation | undefined;

  constructor(modules: {
    provider: QuoteProvider;
    root?: Uint8Array;
    pool: Pool;
    options: AttesterOptions;
    now: () => number;
  }) {
    this.#provider = modules.provider;
    this.#root = modules.root ?? INTEL_ROOT_DER;
    this.#pool = modules.pool;
    this.#options = modules.options;
    this.#now = modules.now;
  }

  get provider(): QuoteProvider {
    return this.#provider;
  }

  /** The newest evidence that verified, or undefined before the first. */
  get newest(): Attestation | undefined {
    return this.#newest;
  }

  /** When a quote made now ends, in ms. */
  notAfter(from_ms: number): number {
    return from_ms + this.#options.quote_lifetime_s * 1000;
  }

  /**
   * Seals go before everything else: clients with nonces must not hold up the log.
   *
   * @param about.nonce  of a client, at most 64 bytes
   * @throws {Fault}     quote_failed, quote_busy
   */
  async attest(about: Subject): Promise<Attestation> {
    const waiting = this.#seals.length + this.#others.length;
    if (about.purpose !== 'seal' && waiting >= QUEUE_MAX) throw new Fault({ code: 'quote_busy', waiting });
    const { promise, resolve, reject } = Promise.withResolvers<Attestation>();
    const queue = about.purpose === 'seal' ? this.#seals : this.#others;
    queue.push(() => this.#attest(about).then(resolve, reject));
    if (!this.#busy) void this.#work();
    return promise;
  }

  async #work(): Promise<void> {
    this.#busy = true;
    for (let next = this.#next(); next !== undefined; next = this.#next()) await next();
    this.#busy = false;
  }

  #next(): (() => Promise<void>) | undefined {
    return this.#seals.shift() ?? this.#others.shift();
  }

  async #attest(about: Subject): Promise<Attestation> {
    const report_data = quoteDigest({ ...about, keyset_digest: keysetDigest(about.keyset) });
    const evidence = await deadline(this.#provider.quote(report_data), this.#options.quote_timeout_ms, this.#provider);
    const now_ms = this.#now();
    const policy = { roots: [this.#root], now_ms, report_data, tcb_statuses: TCB_STATUSES };
    const found = await runJob(this.#pool, 'evidence', { evidence, policy });
    if (!found.ok) {
      throw new Fault({
        code: 'quote_failed',
        provider: this.#provider.providerName,
        reason: `${found.code}: ${found.message}`,
      });
    }
    this.#newest = attest(evidence, found, about.not_after_ms, timestamp(now_ms));
    return this.#newest;
  }
}

function deadline<T>(promise: Promise<T>, timeout_ms: number, provider: QuoteProvider): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () =>
      reject(
        new Fault({ code: 'quote_failed', provider: provider.providerName, reason: `no quote in ${timeout_ms} ms` }),
      ),
    timeout_ms,
  );
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
