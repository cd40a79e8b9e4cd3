// What the witness has seen, in an LMDB store of its own: the orders that it acknowledged, its copy of the log, entry by entry, and
// the seals over it, in the shapes of the sequencer's store so that the same routes show them to auditors. Each acknowledgement
// is one commit: what was shown is held against what is held, written down, and promised to the watermark; only then signed. So
// a witness that is killed at any moment repeats itself at most, and one whose store was put back does not start.
import assert from 'node:assert';
import type { KeyObject } from 'node:crypto';
import type { Header } from '../../actors/batch.ts';
import { keysetDigest, witnessDigest, ZERO_DIGEST } from '../../actors/digest.ts';
import { base64, hex, utf8 } from '../../actors/encoding.ts';
import type { SignedHead } from '../../actors/head.ts';
import type { Keyset } from '../../actors/keyset.ts';
import {
  type Answer,
  type Followed,
  followEntries,
  type HeadClaim,
  type KnownOrder,
  knownOrder,
  mayAcknowledgeOrder,
  mayQuote,
  type OrderClaim,
  type Position,
  type QuoteWish,
  refuse,
  WITNESS_REFUSALS,
  type WitnessRefusal,
} from '../../actors/witness.ts';
import type { Engine } from '../../workers/engine.ts';
import { appendLog, logRoot } from '../log.ts';
import { meta, putMeta } from '../records.ts';
import type { Runtime, Step } from '../runtime.ts';
import type { Reader, Store } from '../store.ts';
import type { Watermark } from '../watermark.ts';

/** `meta`, under the name `witness`. */
interface BookRecord {
  /** Above the highest order that was acknowledged. */
  readonly order_height: number;
  /** Of the batches in the log. */
  readonly next_height: number;
  readonly parent_digest: string;
  /** The newest leaf that is a batch without an acknowledged order. */
  readonly unvouched: number | null;
  /** How many acknowledgements there have been. */
  readonly count: number;
  /** Conflicts that were refused, ever, and the newest of them. */
  readonly refused: { readonly count: number; readonly newest: Refused | null };
}

export interface Refused {
  readonly code: string;
  readonly message: string;
  readonly at_ms: number;
}

/** `batches`: an order, and the batch that came of it once the log has it. */
export interface WitnessedBatch extends KnownOrder {
  readonly acknowledged: boolean;
  readonly header: Header | null;
  readonly leaf_index: number | null;
}

interface Modules {
  readonly store: Store;
  readonly runtime: Runtime;
  readonly watermark: Watermark;
  readonly engine: Engine;
  readonly key: KeyObject;
  /** Raw ML-DSA-87. */
  readonly witness_key: Uint8Array;
  readonly now: () => number;
}

const CONTEXT = utf8('aegis/witness/v1');
const EMPTY: BookRecord = {
  ...{ order_height: 0, next_height: 0, parent_digest: hex(ZERO_DIGEST), unvouched: null, count: 0 },
  refused: { count: 0, newest: null },
};

const bookOf = (reader: Reader): BookRecord => (reader.get('meta', 'witness') as BookRecord | undefined) ?? EMPTY;
export const witnessedBatch = (reader: Reader, height: number): WitnessedBatch | undefined =>
  reader.get('batches', height) as WitnessedBatch | undefined;

/** Undefined before the first sequencer has come. */
export const witnessedLog = (reader: Reader): { chain_id: string; log_id: string } | undefined =>
  reader.get('meta', 'genesis') as { chain_id: string; log_id: string } | undefined;

interface Signing {
  readonly kind: 'order' | 'head';
  readonly number: number;
  readonly digest: Uint8Array;
  /** Its place among all acknowledgements. */
  readonly place: number;
}

export class Book {
  readonly #modules: Modules;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  get position(): Position {
    const { store } = this.#modules;
    if (witnessedLog(store) === undefined) return { size: 0, root: logRoot(store, 0), sealed: 0, order_height: 0 };
    const { size, sealed } = meta(store, 'log');
    return { size, root: logRoot(store, size), sealed, order_height: bookOf(store).order_height };
  }

  get refused(): BookRecord['refused'] {
    return bookOf(this.#modules.store).refused;
  }

  /** The first sequencer's log is the one that is witnessed for ever. */
  async begin({ chain_id, log_id }: Keyset): Promise<{ readonly ok: true } | WitnessRefusal> {
    const { runtime, store, now } = this.#modules;
    const known = witnessedLog(store);
    if (known !== undefined) return known.log_id === log_id ? { ok: true } : refuse('wrong_log');
    return runtime.commit((step) => {
      const meanwhile = witnessedLog(step);
      if (meanwhile !== undefined) return meanwhile.log_id === log_id ? { ok: true } : refuse('wrong_log');
      putMeta(step, 'genesis', { chain_id, log_id, created_at_ms: now() });
      putMeta(step, 'log', { size: 0, sealed: 0, sealing: null });
      putHeights(step, EMPTY, now());
      step.put('meta', 'witness', EMPTY);
      return { ok: true };
    });
  }

  /** Each on its own: what is refused holds up no other. */
  async acknowledgeOrders(claims: readonly OrderClaim[]): Promise<Answer<'orders'>> {
    const signings = await this.#modules.runtime.commit((step) => claims.map((claim) => this.#takeOrder(step, claim)));
    const orders = await Promise.all(signings.map((signing) => ('kind' in signing ? this.#sign(signing) : signing)));
    return { ok: true, orders };
  }

  #takeOrder(step: Step, claim: OrderClaim): Signing | WitnessRefusal {
    const book = bookOf(step);
    const held = witnessedBatch(step, claim.height);
    const known = held?.acknowledged === true ? held : undefined;
    const may = mayAcknowledgeOrder(claim, known, Math.max(book.order_height, book.next_height));
    if (!may.ok) return this.#refuse(step, may);
    const { height, order } = claim;
    const { count, root } = knownOrder(order);
    if (!may.known) {
      step.put('batches', height, { count, root, acknowledged: true, header: null, leaf_index: null });
      step.put('meta', 'witness', { ...book, order_height: Math.max(book.order_height, height + 1) });
    }
    return this.#promise(step, 'order', height, count, root);
  }

  /**
   * Follows the log to the head, and acknowledges it.
   *
   * @param sealed  `claim.sealed`, whose signatures and evidence have been verified
   */
  async acknowledgeHead(claim: HeadClaim, sealed: SignedHead | null): Promise<Answer<'head'> | WitnessRefusal> {
    const { runtime, store } = this.#modules;
    const rejected = new Rejected();
    const taken = await runtime
      .commit((step) => {
        const outcome = this.#takeHead(step, claim, sealed);
        if ('ok' in outcome) throw rejected.with(outcome);
        return outcome;
      })
      .catch((error: unknown) => {
        if (error !== rejected) throw error;
        return rejected.refusal!;
      });
    // Entries that give another root were not written; that they were shown is.
    if ('ok' in taken) return runtime.commit((step) => this.#refuse(step, taken));
    const acknowledged = await this.#sign(taken);
    return { ...acknowledged, position: this.position, unvouched: bookOf(store).unvouched };
  }

  #takeHead(step: Step, claim: HeadClaim, sealed: SignedHead | null): Signing | WitnessRefusal {
    const { size } = meta(step, 'log');
    const { log_id } = meta(step, 'genesis');
    if (claim.from > size) return refuse('position', `expected ${size}`);
    if (claim.from < size) return refuse('position', `expected ${size}; to go back is to be another log`);
    const book = bookOf(step);
    const followed = followEntries(claim, { ...book, log_id, size }, (height) => {
      const held = witnessedBatch(step, height);
      return held?.acknowledged === true ? held : undefined;
    });
    if (!followed.ok) return followed;
    this.#append(step, claim);
    const grown = size + claim.entries.length;
    if (logRoot(step, grown) !== claim.root) return refuse('log_conflict', `size ${grown}`);
    const { next_height, parent_digest } = followed;
    const unvouched = followed.unvouched ?? book.unvouched;
    step.put('meta', 'witness', { ...bookOf(step), next_height, parent_digest, unvouched });
    putHeights(step, followed, claim.headers.at(-1)?.timestamp_ms ?? meta(step, 'heights').timestamp_ms);
    const wrong = sealed === null ? undefined : this.#takeSeal(step, sealed, grown);
    if (wrong !== undefined) return wrong;
    const mark = step.get('watermarks', `head/${grown}`);
    if (mark !== undefined && mark.digest !== claim.root) return refuse('log_conflict', `size ${grown}`);
    step.put('watermarks', `head/${grown}`, { digest: claim.root });
    return this.#promise(step, 'head', grown, 0, claim.root);
  }

  #append(step: Step, { entries, headers }: HeadClaim): void {
    let used = 0;
    for (const { kind, digest } of entries) {
      const leaf_index = appendLog(step, kind, digest);
      if (kind === 'epoch') step.put('meta', `keyset/${digest}`, { leaf_index });
      if (kind !== 'batch') continue;
      const header = headers[used++]!;
      const acknowledged = witnessedBatch(step, header.height)?.acknowledged ?? false;
      const order = { count: header.order_count, root: header.order_root };
      step.put('batches', header.height, { ...order, acknowledged, header, leaf_index });
    }
  }

  #takeSeal(step: Step, signed: SignedHead, grown: number): WitnessRefusal | undefined {
    const { seal, keyset, digest } = signed;
    if (seal.log_id !== meta(step, 'genesis').log_id) return refuse('wrong_log');
    if (seal.size > grown || logRoot(step, seal.size) !== seal.root) return refuse('log_conflict', 'the newest seal');
    const logged = loggedKeyset(step, seal.keyset_digest);
    if (logged === undefined || logged >= seal.size) return refuse('keyset_unlogged');
    const log = meta(step, 'log');
    if (seal.size <= log.sealed) return undefined;
    const { slh_dsa_sig, ml_dsa_sig, attestation } = signed;
    const signatures = { slh_dsa: slh_dsa_sig.signature, ml_dsa: ml_dsa_sig.signature, attestation };
    const { not_after_ms } = attestation;
    step.put('seals', seal.size, { head: seal, digest, not_after_ms, quoted: null, signed: signatures });
    step.put('keysets', keyset.epoch, { keyset, digest: hex(keysetDigest(keyset)), leaf_index: logged });
    putMeta(step, 'log', { ...log, sealed: seal.size });
    return undefined;
  }

  /** Whether a quote over this head says no more than what is known. */
  async mayQuote(wish: QuoteWish): Promise<{ readonly ok: true } | WitnessRefusal> {
    const { store, now } = this.#modules;
    const { head } = wish;
    return mayQuote(wish, {
      log_id: meta(store, 'genesis').log_id,
      root: store.get('watermarks', `head/${head.size}`)?.digest,
      unvouched: bookOf(store).unvouched,
      sealed: meta(store, 'log').sealed,
      keyset_logged: loggedKeyset(store, head.keyset_digest) !== undefined,
      now_ms: now(),
    });
  }

  /** A conflict is written down, once as long as it is the same. */
  #refuse(step: Step, refusal: WitnessRefusal): WitnessRefusal {
    const { code, message } = refusal;
    if (!WITNESS_REFUSALS[code].conflict) return refusal;
    const book = bookOf(step);
    const { newest } = book.refused;
    if (newest?.code === code && newest.message === message) return refusal;
    const at_ms = this.#modules.now();
    step.put('meta', 'witness', {
      ...book,
      refused: { count: book.refused.count + 1, newest: { code, message, at_ms } },
    });
    step.journal('witness_refused', { code, message }, at_ms);
    return refusal;
  }

  /** Part of a step: from here on this is what was said. */
  #promise(step: Step, kind: Signing['kind'], number: number, count: number, root: string): Signing {
    const { witness_key, now } = this.#modules;
    const { log_id } = meta(step, 'genesis');
    const digest = witnessDigest({ kind, log_id, number, count, root, witness_key });
    const book = bookOf(step);
    const place = book.count;
    step.put('watermarks', `batch/${place}`, { digest: hex(digest) });
    step.put('meta', 'witness', { ...book, count: place + 1 });
    step.journal('witness_acknowledged', { kind, number, count, root }, now());
    return { kind, number, digest, place };
  }

  async #sign({ digest, place }: Signing): Promise<{ readonly ok: true; readonly signature: string }> {
    const { watermark, engine, key } = this.#modules;
    await watermark.permit('batch', place, hex(digest));
    assert(digest.length === 64, 'only digests are signed');
    return { ok: true, signature: base64(engine.ml_dsa_87.sign(key, digest, CONTEXT)) };
  }
}

/** For the routes that show batches: as far as the log goes, they are all signed. */
function putHeights(step: Step, { next_height, parent_digest }: Followed, timestamp_ms: number): void {
  const all = { cut: next_height, opened: next_height, signed: next_height };
  putMeta(step, 'heights', { ...all, forgotten: 0, parent_digest, timestamp_ms });
}

/** The leaf at which the log has a keyset. */
function loggedKeyset(reader: Reader, keyset_digest: string): number | undefined {
  return (reader.get('meta', `keyset/${keyset_digest}`) as { leaf_index: number } | undefined)?.leaf_index;
}

/** Carries a refusal out of a step that must leave nothing behind. */
class Rejected extends Error {
  refusal: WitnessRefusal | undefined;

  with(refusal: WitnessRefusal): this {
    this.refusal = refusal;
    return this;
  }
}
