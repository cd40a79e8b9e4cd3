// Admission (DESIGN §3): an envelope becomes durable, gets its place in the queue and a signed receipt, in one commit shared
// with whatever else arrived. The API and the library call it. Nothing is acknowledged before it is durable, and what is
// refused changes nothing.
import { type KeyObject, sign } from 'node:crypto';
import { receiptDigest } from '../actors/digest.ts';
import { base64, hex } from '../actors/encoding.ts';
import { type Envelope, identify, SCHEMES, type Scheme } from '../actors/envelope.ts';
import { type AssessedAssets, feeGwei, orderByHeight, type Pending } from '../actors/ordering.ts';
import type { Receipt } from '../actors/receipt.ts';
import { receiptEpoch } from './epoch.ts';
import { Fault } from './fault.ts';
import { checkpointInForce } from './freeze.ts';
import type { Mempool } from './mempool.ts';
import { assessed } from './policing.ts';
import { type EnvelopeRecord, envelopeRecord, keysetRecord, type Meta, meta, putMeta } from './records.ts';
import type { Runtime, Step } from './runtime.ts';
import type { Reader, Store } from './store.ts';

export type Admission =
  | { readonly ok: true; readonly envelope_id: string; readonly tx_id: string | null; readonly receipt: Receipt }
  | { readonly ok: false; readonly code: 'mempool_full'; readonly retry_after_s: number }
  /** This client has as many envelopes waiting as one may. */
  | { readonly ok: false; readonly code: 'rate_limited'; readonly retry_after_s: number; readonly detail: string }
  | {
      readonly ok: false;
      readonly code: 'epoch_not_accepted';
      readonly current_epoch: number;
      readonly keyset_digest: string;
    }
  | { readonly ok: false; readonly code: 'scheme_not_accepted'; readonly schemes: Scheme[] }
  | {
      readonly ok: false;
      readonly code: 'draining' | 'store_unavailable' | 'disk_low';
      readonly retry_after_s: number;
    };

export interface IntakeOptions {
  readonly capacity: number;
  /** Of one client; all of them where left out. */
  readonly client_max?: number;
  readonly retry_after_s: number;
  readonly batch_size: number;
  readonly age_max_cuts: number;
  /** Under which envelopes are admitted; all where left out. */
  readonly schemes?: readonly Scheme[];
}

export class Intake {
  readonly #runtime: Runtime;
  readonly #store: Store;
  readonly #mempool: Mempool;
  readonly #log: Meta['genesis'];
  readonly #receiptKey: (epoch: number) => KeyObject;
  readonly #options: () => IntakeOptions;
  readonly #now: () => number;
  readonly #aging: () => number;
  #draining = false;
  #paused = false;

  constructor(modules: {
    runtime: Runtime;
    store: Store;
    mempool: Mempool;
    log: Meta['genesis'];
    /** Ed25519, of the active epoch. */
    receiptKey: (epoch: number) => KeyObject;
    options: () => IntakeOptions;
    now: () => number;
    /** What the end of a grace goes by; `now` where left out. */
    aging?: () => number;
  }) {
    this.#runtime = modules.runtime;
    this.#store = modules.store;
    this.#mempool = modules.mempool;
    this.#log = modules.log;
    this.#receiptKey = modules.receiptKey;
    this.#options = modules.options;
    this.#now = modules.now;
    this.#aging = modules.aging ?? modules.now;
  }

  /** From now on nothing is admitted. */
  drain(): void {
    this.#draining = true;
  }

  /** While a handover lasts, nothing is admitted; if it fails, admission goes on. */
  pause(paused: boolean): void {
    this.#paused = paused;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /**
   * @param envelope  validated by its schema
   * @param client    who is charged if it can't be opened; undefined for callers inside the process
   */
  async admit(envelope: Envelope, client?: string): Promise<Admission> {
    const {
      capacity,
      client_max = capacity,
      retry_after_s,
      batch_size,
      age_max_cuts,
      schemes = SCHEMES,
    } = this.#options();
    if (this.#draining || this.#paused) return { ok: false, code: 'draining', retry_after_s };
    const { writable, reason } = this.#store.state();
    if (!writable) return { ok: false, code: 'store_unavailable', retry_after_s };
    if (reason === 'disk_low') return { ok: false, code: 'disk_low', retry_after_s };
    const identity = identify(envelope, this.#log);
    const id = hex(identity.envelope_id);
    let admitted: Pending | undefined;
    const reserved = this.#mempool.reserve(client, client_max);
    const act = (step: Step): Admission => {
      admitted = undefined;
      const known = envelopeRecord(step, id);
      if (known !== undefined)
        return { ok: true, envelope_id: id, tx_id: envelope.tx_id ?? null, receipt: known.receipt };
      if (!schemes.includes(envelope.scheme)) return { ok: false, code: 'scheme_not_accepted', schemes: [...schemes] };
      const at_ms = this.#now();
      // In the step: once the epoch is closed, its barrier says that nothing of it comes any more.
      const epoch = receiptEpoch(step, envelope.epoch, this.#aging());
      if (epoch === undefined) return notAccepted(step);
      const { count, next_sequence } = meta(step, 'mempool');
      if (count >= capacity) return { ok: false, code: 'mempool_full', retry_after_s };
      if (!reserved) {
        const detail = `this address has ${client_max} envelopes waiting, as many as one may`;
        return { ok: false, code: 'rate_limited', retry_after_s, detail };
      }
      const { cut } = meta(step, 'heights');
      const order_by = orderByHeight(cut, count, batch_size, age_max_cuts);
      const receipt = this.#receipt(epoch, id, next_sequence, at_ms, order_by);
      putMeta(step, 'mempool', { count: count + 1, next_sequence: next_sequence + 1 });
      const place = { admission_sequence: next_sequence, admitted_cut: cut, order_by };
      const assets = assessed(step, envelope.asset_refs, this.#log.chain_id);
      const migrates = envelope.requires_migration && checkpointInForce(step) !== undefined;
      admitted = { ...place, ...pendingOf(id, envelope, identity.ciphertext.length, assets, migrates) };
      step.put('pending', next_sequence, admitted);
      step.put('envelopes', id, recordOf(envelope, hex(identity.ciphertext_sha512), receipt));
      step.put('ciphertexts', id, identity.ciphertext);
      step.journal(
        'tx_submitted',
        { envelope_id: id, admission_sequence: String(next_sequence), epoch: envelope.epoch },
        at_ms,
      );
      return { ok: true, envelope_id: id, tx_id: envelope.tx_id ?? null, receipt };
    };
    try {
      const admission = await this.#runtime.commit(act);
      if (admitted !== undefined) this.#mempool.add(admitted, client);
      else if (reserved) this.#mempool.release(client);
      return admission;
    } catch (error) {
      if (reserved) this.#mempool.release(client);
      // Nothing was acknowledged; the client may try again when the store can write.
      if (error instanceof Fault) return { ok: false, code: 'store_unavailable', retry_after_s };
      throw error;
    }
  }

  /** Signed before it is durable, which nobody sees: it leaves this room only afterwards. */
  #receipt(
    epoch: number,
    envelope_id: string,
    sequence: number,
    timestamp_ms: number,
    order_by_height: number,
  ): Receipt {
    const promise = {
      log_id: this.#log.log_id,
      envelope_id,
      admission_sequence: String(sequence),
      timestamp_ms,
      epoch,
      order_by_height: String(order_by_height),
    };
    return signReceipt(promise, this.#receiptKey(epoch));
  }
}

/** @param key  of the promise's epoch */
export function signReceipt(promise: Omit<Receipt, 'algorithm' | 'signature'>, key: KeyObject): Receipt {
  return { ...promise, algorithm: 'Ed25519', signature: base64(sign(null, receiptDigest(promise), key)) };
}

function notAccepted(reader: Reader): Admission {
  const { active } = meta(reader, 'epoch');
  return {
    ok: false,
    code: 'epoch_not_accepted',
    current_epoch: active,
    keyset_digest: keysetRecord(reader, active)!.digest,
  };
}

type Place = 'admission_sequence' | 'admitted_cut' | 'order_by';

function pendingOf(
  envelope_id: string,
  envelope: Envelope,
  bytes: number,
  assets: AssessedAssets,
  requires_migration: boolean,
): Omit<Pending, Place> {
  return {
    envelope_id,
    bytes,
    fee_gwei: feeGwei(envelope.priority_fee),
    risk_level: envelope.risk_level,
    requires_migration,
    assets,
  };
}

function recordOf(envelope: Envelope, ciphertext_sha512: string, receipt: Receipt): EnvelopeRecord {
  return {
    tx_id: envelope.tx_id ?? null,
    scheme: envelope.scheme,
    epoch: envelope.epoch,
    asset_refs: envelope.asset_refs,
    priority_fee: envelope.priority_fee,
    risk_level: envelope.risk_level,
    requires_migration: envelope.requires_migration,
    ciphertext_sha512,
    receipt,
  };
}
