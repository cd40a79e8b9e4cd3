// Who comes to take over (DESIGN §8): greets a successor with this enclave's own evidence over its nonce, and judges the evidence that it
// brings over ours, the keyset that it would sign by, and whether an admin's order in force names what it measures. Greetings are few
// and end by themselves. predecessor.ts asks, and knows whether anybody may come at all.
import { randomBytes } from 'node:crypto';
import { keysetDigest } from '../../actors/digest.ts';
import { fromHex, hex } from '../../actors/encoding.ts';
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

/** Greetings cost a quote each, for whoever asks. */
const GREETINGS_MAX = 4;
const GREETING_MS = 60_000;

interface Greeted {
  /** Of the successor. */
  readonly nonce: string;
  readonly from_keyset_digest: string;
  readonly ends_ms: number;
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
  /** By the predecessor's nonce, oldest first. */
  readonly #greetings = new Map<string, Greeted>();
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
      const nonce = hex(randomBytes(32));
      const nonces = { predecessor: nonce, successor: hello.nonce };
      const subject = predecessorSubject({ log_id: keyset.log_id, from_keyset_digest, nonces });
      const attestation = await attester.attest({
        ...{ purpose: 'handover', subject, keyset, nonce: fromHex(hello.nonce) },
        not_after_ms: attester.notAfter(now()),
      });
      this.#greetings.set(nonce, { nonce: hello.nonce, from_keyset_digest, ends_ms: now() + GREETING_MS });
      if (this.#greetings.size > GREETINGS_MAX) this.#greetings.delete([...this.#greetings.keys()][0]!);
      return { ok: true, greeting: { keyset, nonce, attestation } };
    } finally {
      this.#greeting -= 1;
    }
  }

  /** @returns what is known of both but the head, which is yet to be sealed */
  async judge(opening: SuccessorOpening): Promise<HandoverOutcome<{ parties: Omit<Parties, 'head_digest'> }>> {
    const { store, judge, epochs, now, elapsed } = this.#modules;
    const greeted = this.#greetings.get(opening.nonce);
    this.#greetings.delete(opening.nonce);
    if (greeted === undefined || greeted.ends_ms < now()) return refused('handover_session_unknown');
    const { keyset: own, digest } = epochs.active.keyset;
    if (digest !== greeted.from_keyset_digest) return refused('handover_session_unknown');
    const { keyset } = opening;
    const wanted = { chain_id: own.chain_id, log_id: own.log_id, epoch: own.epoch + 1 } as const;
    for (const name of ['chain_id', 'log_id', 'epoch'] as const) {
      if (keyset[name] !== wanted[name]) return refused('successor_keyset_refused', `expected ${name} ${wanted[name]}`);
    }
    if (keyset.handover === null) return refused('successor_keyset_refused', 'expected a handover key');
    const digest_of = keysetDigest(keyset);
    const nonces = { predecessor: opening.nonce, successor: greeted.nonce };
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
