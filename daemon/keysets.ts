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
  readonly keyset: KeysetRecord;
  readonly now: () => number;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

interface Quote {
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

  /** Takes the first one and keeps it new; a platform that fails is asked again. */
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
    const held = this.#held;
    const now_ms = this.#modules.now();
    if (held !== undefined && now_ms < held.renew_ms) return held.attestation;
    const taken = this.#take();
    this.#held = taken;
    taken.attestation.catch(() => {
      this.#held = held;
    });
    // The one before is good for as long again.
    return held !== undefined && now_ms < held.not_after_ms ? held.attestation : taken.attestation;
  }

  #take(nonce?: Uint8Array): Quote {
    const { attester, keyset, now } = this.#modules;
    const now_ms = now();
    const not_after_ms = attester.notAfter(now_ms);
    const subject = fromHex(keyset.digest);
    const about = { purpose: 'keyset', subject, keyset: keyset.keyset, not_after_ms } as const;
    const attestation = attester.attest({ ...about, ...(nonce !== undefined && { nonce }) });
    return { attestation, renew_ms: now_ms + (not_after_ms - now_ms) * RENEW_AFTER, not_after_ms };
  }

  async #renew(): Promise<void> {
    const { now, onFault, fatal } = this.#modules;
    let wait_ms = RETRY_MS;
    try {
      await this.give();
      await this.#held?.attestation;
      if (this.#held !== undefined) wait_ms = Math.max(RETRY_MS, this.#held.renew_ms - now());
    } catch (error) {
      if (this.#stopped) return;
      if (error instanceof Fault) onFault(error);
      else fatal(error);
    }
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#renew(), wait_ms).unref();
  }
}
