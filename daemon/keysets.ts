// The quote over the active keyset (DESIGN §5): taken at the start, renewed while half of its life is left, and given to
// whoever fetches the keyset. So the daemon knows that its platform attests before anyone asks, and a client never waits for
// a quote that another client is waiting for. A quote over a client's nonce is made for that client alone.
import { fromHex } from '../actors/encoding.ts';
import type { Attestation } from '../actors/quote.ts';
import type { Attester } from './attester.ts';
import { Fault } from './fault.ts';
import type { KeysetRecord } from './records.ts';

interface Modules {
  readonly attester: Attester;
  /** The active one. */
  readonly keyset: () => KeysetRecord;
  readonly now: () => number;
  /** The active keyset's was renewed, and has verified. */
  readonly onRenewed: (attestation: Attestation) => void;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

interface Quote {
  readonly keyset_digest: string;
  readonly attestation: Promise<Attestation>;
  readonly renew_ms: number;
  readonly not_after_ms: number;
}

/** Of its life. */
const RENEW_AFTER = 0.5;

/** After a platform that gave no quote. */
const RETRY_MS = 10_000;

export class KeysetQuote {
  readonly #modules: Modules;
  #held: Quote | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** Takes the first one and keeps it new; a platform that fails is asked again. Called again when another epoch is active. */
  start(): void {
    void this.#renew();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** @throws {Fault} quote_failed, quote_busy, worker_failed */
  give(nonce?: Uint8Array): Promise<Attestation> {
    if (nonce !== undefined) return this.#take(nonce).attestation;
    const held = this.#current();
    const now_ms = this.#modules.now();
    if (held !== undefined && now_ms < held.renew_ms) return held.attestation;
    const taken = this.#take();
    this.#held = taken;
    taken.attestation.catch(() => {
      if (this.#held === taken) this.#held = held;
    });
    // The one before is good for as long again.
    return held !== undefined && now_ms < held.not_after_ms ? held.attestation : taken.attestation;
  }

  /** What is held, unless it is over the keyset of an epoch that has passed. */
  #current(): Quote | undefined {
    return this.#held?.keyset_digest === this.#modules.keyset().digest ? this.#held : undefined;
  }

  #take(nonce?: Uint8Array): Quote {
    const { attester, now } = this.#modules;
    const { keyset, digest: keyset_digest } = this.#modules.keyset();
    const now_ms = now();
    const not_after_ms = attester.notAfter(now_ms);
    const about = { purpose: 'keyset', subject: fromHex(keyset_digest), keyset, not_after_ms } as const;
    const attestation = attester.attest({ ...about, ...(nonce !== undefined && { nonce }) });
    return { keyset_digest, attestation, renew_ms: now_ms + (not_after_ms - now_ms) * RENEW_AFTER, not_after_ms };
  }

  async #renew(): Promise<void> {
    const { now, onRenewed, onFault, fatal } = this.#modules;
    let wait_ms = RETRY_MS;
    try {
      const given = await this.give();
      onRenewed((await this.#held?.attestation) ?? given);
      const held = this.#current();
      if (held !== undefined) wait_ms = Math.max(RETRY_MS, held.renew_ms - now());
    } catch (error) {
      if (this.#stopped) return;
      if (error instanceof Fault) onFault(error);
      else fatal(error);
    }
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#renew(), wait_ms).unref();
  }
}
