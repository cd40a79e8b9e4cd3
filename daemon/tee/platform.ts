// One attesting platform: a provider whose quotes are made one after the other, with a deadline each, and verified as a
// stranger would, on a thread, before they go anywhere. Called by attester.ts for seals and keysets and by agent.ts for the
// keys of agents. Promises: what `attest` gives has verified over exactly these 64 bytes; a quote is made once for them; and
// whether the platform works is known from what it did last, to whoever asks, without waiting for it.
import { timestamp } from '../../actors/encoding.ts';
import type { Evidence, EvidencePolicy, VerifiedEvidence } from '../../actors/evidence.ts';
import type { Pool } from '../../workers/pool.ts';
import { Fault } from '../fault.ts';
import { runJob } from '../job.ts';
import type { QuoteProvider } from './provider.ts';

/** How many requests for a quote may wait; each is a client with a nonce of its own, or the sealer. */
const QUEUE_MAX = 64;
/** Quotes that are kept for who asks again: a seal whose signature failed, a client without a nonce. */
const KEPT_MAX = 32;
const KEPT_MS = 600_000;

/** Faults by which a platform shows that it doesn't work, not that we ask too much. */
const FAILURES: readonly string[] = ['quote_failed', 'guest_agent_failed', 'guest_agent_timeout'];

export interface VerifiedQuote {
  readonly evidence: Evidence;
  readonly found: VerifiedEvidence;
  /** RFC 3339 UTC with three decimals. */
  readonly checked_at: string;
}

export interface PlatformState {
  /** `unknown` before the first answer. */
  readonly state: 'unknown' | 'working' | 'failing';
  /** Since when, in ms; 0 while unknown. */
  readonly since_ms: number;
  /** Why it fails. */
  readonly reason: string | null;
}

export interface PlatformModules {
  readonly provider: QuoteProvider;
  /** What its evidence is held to, but for the time and the report data. */
  readonly policy: Omit<EvidencePolicy, 'now_ms' | 'report_data'>;
  /** Production takes no evidence that no hardware made, whatever roots the policy names. */
  readonly production: boolean;
  readonly pool: Pool;
  readonly options: { readonly quote_timeout_ms: number };
  readonly now: () => number;
  /** Told when it begins or ceases to work. */
  readonly onChange?: (state: PlatformState, before: PlatformState['state']) => void;
}

interface Kept {
  readonly quote: Promise<VerifiedQuote>;
  readonly at_ms: number;
}

export class Platform {
  readonly provider: QuoteProvider;
  readonly policy: PlatformModules['policy'];
  readonly #modules: PlatformModules;
  /** The sealer waits for each of its own, so it is never more than one; others are bounded. */
  readonly #urgent: (() => Promise<void>)[] = [];
  readonly #others: (() => Promise<void>)[] = [];
  /** By report data in hex, oldest first. */
  readonly #kept = new Map<string, Kept>();
  #busy = false;
  #state: PlatformState = { state: 'unknown', since_ms: 0, reason: null };

  constructor(modules: PlatformModules) {
    this.provider = modules.provider;
    this.policy = modules.policy;
    this.#modules = modules;
  }

  get state(): PlatformState {
    return this.#state;
  }

  /**
   * A quote over the report data, which came from `quoteDigest`. The urgent go before everything else: clients with nonces
   * must not hold up the log.
   *
   * @param fresh    asks the platform even where a quote is kept
   * @throws {Fault} quote_failed, quote_busy, worker_failed, guest_agent_failed, guest_agent_timeout
   */
  async attest(report_data: Uint8Array, { urgent = false, fresh = false } = {}): Promise<VerifiedQuote> {
    const name = report_data.toHex();
    const kept = fresh ? undefined : this.#keptQuote(name);
    if (kept !== undefined) return kept;
    const waiting = this.#urgent.length + this.#others.length;
    if (!urgent && waiting >= QUEUE_MAX) throw new Fault({ code: 'quote_busy', waiting });
    const { promise, resolve, reject } = Promise.withResolvers<VerifiedQuote>();
    this.#keep(name, promise);
    const queue = urgent ? this.#urgent : this.#others;
    queue.push(() => this.#attest(report_data).then(resolve, reject));
    if (!this.#busy) void this.#work();
    return promise;
  }

  #keptQuote(name: string): Promise<VerifiedQuote> | undefined {
    const kept = this.#kept.get(name);
    if (kept === undefined) return undefined;
    if (Math.abs(this.#modules.now() - kept.at_ms) < KEPT_MS) return kept.quote;
    this.#kept.delete(name);
    return undefined;
  }

  /** Those that fail are asked for again. */
  #keep(name: string, quote: Promise<VerifiedQuote>): void {
    const kept = { quote, at_ms: this.#modules.now() };
    this.#kept.set(name, kept);
    quote.catch(() => {
      if (this.#kept.get(name) === kept) this.#kept.delete(name);
    });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT_MAX) this.#kept.delete(oldest!);
  }

  async #work(): Promise<void> {
    this.#busy = true;
    for (let next = this.#next(); next !== undefined; next = this.#next()) await next();
    this.#busy = false;
  }

  #next(): (() => Promise<void>) | undefined {
    return this.#urgent.shift() ?? this.#others.shift();
  }

  async #attest(report_data: Uint8Array): Promise<VerifiedQuote> {
    try {
      const quote = await this.#verified(report_data);
      this.#become('working', null);
      return quote;
    } catch (error) {
      if (error instanceof Fault && FAILURES.includes(error.code)) this.#become('failing', error.message);
      throw error;
    }
  }

  async #verified(report_data: Uint8Array): Promise<VerifiedQuote> {
    const { provider } = this;
    const { pool, policy, production, now, options } = this.#modules;
    const evidence = await deadline(provider.quote(report_data), options.quote_timeout_ms, provider);
    const now_ms = now();
    const found = await runJob(pool, 'evidence', { evidence, policy: { ...policy, now_ms, report_data } });
    if (found.ok && !(production && found.simulated)) return { evidence, found, checked_at: timestamp(now_ms) };
    const reason = found.ok ? SIMULATED : `${found.code}: ${found.message}`;
    throw new Fault({ code: 'quote_failed', provider: provider.providerName, reason });
  }

  #become(state: 'working' | 'failing', reason: string | null): void {
    const before = this.#state.state;
    const changed = before !== state;
    const since_ms = changed ? this.#modules.now() : this.#state.since_ms;
    this.#state = { state, since_ms, reason };
    if (changed) this.#modules.onChange?.(this.#state, before);
  }
}

const SIMULATED = 'its evidence is under the root of a simulator, which daemon.environment = "production" refuses';

function deadline<T>(promise: Promise<T>, timeout_ms: number, provider: QuoteProvider): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const { providerName } = provider;
  const tooLate = () => reject(new Fault({ code: 'quote_failed', provider: providerName, reason: silent(timeout_ms) }));
  const timer = setTimeout(tooLate, timeout_ms);
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const silent = (timeout_ms: number) => `no quote in ${timeout_ms} ms`;
