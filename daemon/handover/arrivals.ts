// Who comes to take over (DESIGN §8): greets a successor with this enclave's own evidence over its nonce, and judges the evidence that it
// brings over ours, the keyset that it would sign by, and whether an admin's order in force names what it measures. The nonce of a
// greeting says itself to which hello it was given and when, so nothing is kept of who only greets, and nobody is crowded out by them.
// predecessor.ts asks, and knows whether anybody may come at all.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { keysetDigest } from '../../actors/digest.ts';
import { concat, fromHex, hex, uintBytes } from '../../actors/encoding.ts';
import {
  type Elapsed,
  mayImport,
  type PredecessorGreeting,
  predecessorSubject,
  type SuccessorOpening,
  successorSubject,
} from '../../actors/handover.ts';
import type { Attester } from '../attester.ts';
import type { Epochs } from '../epochs.ts';
import { SCHEMA_VERSION } from '../schema.ts';
import type { Store } from '../store.ts';
import { type Judge, judgeEnd, ofAnyEnclave } from '../witness/judgement.ts';
import { allowedSuccessors } from './record.ts';
import type { Parties } from './transfer.ts';

export type HandoverRefusal =
  | 'handover_not_open'
  | 'handover_ended'
  | 'handover_running'
  | 'handover_no_url'
  | 'successor_other_schema'
  | 'successor_not_allowed'
  | 'successor_not_in_force'
  | 'successor_evidence_refused'
  | 'successor_keyset_refused'
  | 'handover_session_unknown'
  | 'handover_not_drained'
  | 'handover_not_accepted';

export type HandoverOutcome<T = unknown> =
  | ({ readonly ok: true } & T)
  | { readonly ok: false; readonly code: HandoverRefusal; readonly detail?: string };

export const refused = (code: HandoverRefusal, detail?: string) =>
  ({ ok: false, code, ...(detail !== undefined && { detail }) }) as const;

/** Greetings cost a quote each, for whoever asks; so many are made at once. */
const GREETINGS_MAX = 4;
const GREETING_MS = 60_000;
/** Of a nonce: its time, and behind it 24 bytes of an HMAC-SHA-256 that only this process can make. */
const TIME_BYTES = 8;
const NONCE_BYTES = 32;

export class Greetings {
  readonly #key = randomBytes(32);
  /** Nonces that were answered, by the time that they end at. No more than there were quotes in a minute. */
  readonly #answered = new Map<string, number>();

  /** @param hello  the successor's nonce, 0x-hex. @returns the predecessor's, 0x-hex */
  give(hello: string, from_keyset_digest: string, now_ms: number): string {
    const time = uintBytes(now_ms, TIME_BYTES);
    const about = concat(time, fromHex(hello), fromHex(from_keyset_digest));
    const mac = createHmac('sha256', this.#key).update(about).digest();
    return hex(concat(time, mac.subarray(0, NONCE_BYTES - TIME_BYTES)));
  }

  /** Whether this nonce was given to this hello under this keyset, not long ago, and is answered for the first time. */
  take(nonce: string, hello: string, from_keyset_digest: string, now_ms: number): boolean {
    const bytes = Buffer.from(fromHex(nonce));
    const age_ms = now_ms - Number(bytes.readBigUInt64BE());
    if (age_ms < 0 || age_ms > GREETING_MS) return false;
    if (!timingSafeEqual(bytes, fromHex(this.give(hello, from_keyset_digest, now_ms - age_ms)))) return false;
    for (const [each, ends_ms] of this.#answered) if (ends_ms < now_ms) this.#answered.delete(each);
    if (this.#answered.has(nonce)) return false;
    this.#answered.set(nonce, now_ms - age_ms + GREETING_MS);
    return true;
  }
}

interface Modules {
  readonly store: Store;
  readonly epochs: Pick<Epochs, 'active'>;
  readonly attester: Attester;
  readonly judge: Judge;
  readonly now: () => number;
  /** What the time until an order is in force goes by. */
  readonly elapsed: () => Elapsed;
}

export class Arrivals {
  readonly #modules: Modules;
  readonly #greetings = new Greetings();
  #greeting = 0;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** @throws {Fault} of the platform */
  async greet(hello: { schema: number; nonce: string }): Promise<HandoverOutcome<{ greeting: PredecessorGreeting }>> {
    const { epochs, attester, now } = this.#modules;
    if (hello.schema !== SCHEMA_VERSION) return refused('successor_other_schema', `expected schema ${SCHEMA_VERSION}`);
    if (this.#greeting >= GREETINGS_MAX) return refused('handover_running');
    this.#greeting += 1;
    try {
      const { keyset, digest: from_keyset_digest } = epochs.active.keyset;
      const nonce = this.#greetings.give(hello.nonce, from_keyset_digest, now());
      const nonces = { predecessor: nonce, successor: hello.nonce };
      const subject = predecessorSubject({ log_id: keyset.log_id, from_keyset_digest, nonces });
      const attestation = await attester.attest({
        ...{ purpose: 'handover', subject, keyset, nonce: fromHex(hello.nonce) },
        not_after_ms: attester.notAfter(now()),
      });
      return { ok: true, greeting: { keyset, nonce, attestation } };
    } finally {
      this.#greeting -= 1;
    }
  }

  /** @returns what is known of both but the head, which is yet to be sealed */
  async judge(opening: SuccessorOpening): Promise<HandoverOutcome<{ parties: Omit<Parties, 'head_digest'> }>> {
    const { store, judge, epochs, now, elapsed } = this.#modules;
    const { keyset: own, digest } = epochs.active.keyset;
    const { nonce, successor_nonce, keyset } = opening;
    if (!this.#greetings.take(nonce, successor_nonce, digest, now())) return refused('handover_session_unknown');
    const wanted = { chain_id: own.chain_id, log_id: own.log_id, epoch: own.epoch + 1 } as const;
    for (const name of ['chain_id', 'log_id', 'epoch'] as const) {
      if (keyset[name] !== wanted[name]) return refused('successor_keyset_refused', `expected ${name} ${wanted[name]}`);
    }
    if (keyset.handover === null) return refused('successor_keyset_refused', 'expected a handover key');
    const digest_of = keysetDigest(keyset);
    const nonces = { predecessor: nonce, successor: successor_nonce };
    const about = { log_id: own.log_id, from_keyset_digest: digest, to_keyset_digest: hex(digest_of), nonces };
    const judged = await judgeEnd(ofAnyEnclave(judge), opening.attestation, {
      ...{ purpose: 'handover', subject: successorSubject(about), keyset_digest: digest_of },
      nonce: fromHex(opening.nonce),
    });
    if (!judged.ok) return refused('successor_evidence_refused', judged.message);
    const may = mayImport(allowedSuccessors(store), judged.found, elapsed());
    if (!may.ok) return refused(may.code);
    return { ok: true, parties: { ...about, keyset, found: judged.found } };
  }
}
