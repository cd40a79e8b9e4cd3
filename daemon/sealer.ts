// Seals heads of the log (DESIGN §3 "Why a log"): one SLH-DSA-SHA2-256s signature, one of ML-DSA-87 and one quote for
// all that has joined the log since the last. One seal is made at a time, at most one every `seal.interval_ms`, and only when
// the log has grown. A head that was promised before a crash is finished first, under the same digest; which names the
// platforms that attest it, so where there are two, they quote a head before it is promised; so does a witness, once it has
// acknowledged it.
import assert from 'node:assert';
import { setTimeout as delay } from 'node:timers/promises';
import { sealDigest } from '../actors/digest.ts';
import { base64, fromHex, hex } from '../actors/encoding.ts';
import type { Attestation } from '../actors/quote.ts';
import { FRESHNESS, type Head, PROVIDER_BIT } from '../actors/seal.ts';
import { LOG_KINDS } from '../actors/tree.ts';
import type { Pool } from '../workers/pool.ts';
import type { Attester } from './attester.ts';
import { BATCH } from './batching.ts';
import type { Epochs } from './epochs.ts';
import { Fault } from './fault.ts';
import { runJob } from './job.ts';
import { logRoot } from './log.ts';
import {
  batchRecord,
  type KeysetRecord,
  keysetRecord,
  type Meta,
  meta,
  putMeta,
  type SealRecord,
  sealRecord,
} from './records.ts';
import type { Performer, Runtime, Step } from './runtime.ts';
import type { Reader, Store, Transaction } from './store.ts';
import type { Watermark } from './watermark.ts';
import type { Witnessed } from './witnessed.ts';

interface Sealed {
  readonly slh_dsa: string;
  readonly ml_dsa: string;
  readonly attestation: Attestation;
}

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly pool: Pool;
  readonly attester: Attester;
  /** Follows the log; undefined where `attestation.witness` is off. */
  readonly witnessed?: Witnessed | undefined;
  readonly watermark: Watermark;
  /** A head is sealed by the epoch that was active when it was promised. */
  readonly epochs: Pick<Epochs, 'signing'>;
  readonly log: Meta['genesis'];
  /** Of the settings that hold when it is asked. */
  readonly config_digest: string;
  readonly interval_ms: () => number;
  /** Whether the next seal belongs to an epoch that is about to begin: asked again in the step that would promise it. */
  readonly holds: (reader: Reader) => boolean;
  readonly retention_batches: number;
  readonly now: () => number;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

/** What one seal covers at most, so that the step which settles it stays short after hours without a quote. */
export const COVERED_MAX = 256;

/** Batches whose ciphertexts a seal drops beyond as many as it covers, so that retention that was lowered is caught up with. */
const FORGOTTEN_MORE = 10;

/** After a promise that the disk refused; at once would spin, because a broken store refuses at once. */
const RETRY_MS = 1_000;

export class Sealer {
  readonly #modules: Modules;
  #timer: NodeJS.Timeout | undefined;
  #starting: Promise<void> | undefined;
  readonly #stop = new AbortController();
  /** Monotonic, of the last start. */
  #startedAt = Number.NEGATIVE_INFINITY;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** The log may have grown, or a seal is done: looks whether the next is due. */
  wake(): void {
    if (this.#stop.signal.aborted || this.#starting !== undefined || this.#timer !== undefined || !this.#grown())
      return;
    const wait_ms = this.#startedAt + this.#modules.interval_ms() - performance.now();
    if (wait_ms > 0) this.#timer = setTimeout(() => this.#due(), wait_ms);
    else this.#due();
  }

  /** The interval may have changed: it counts from the last seal on. */
  retime(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.wake();
  }

  /** Promises a head of what there is without waiting for the interval, as at shutdown. */
  async hurry(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#starting === undefined && this.#grown()) this.#due();
    await this.#starting;
  }

  stop(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
  }

  /** @param onSealed  after each seal */
  performer(timeout_ms: number, onSealed: () => void): Performer<Sealed> {
    return {
      kind: 'seal',
      concurrency: 1,
      timeout_ms,
      perform: (size, signal) => this.#seal(size, signal),
      settle: (step, size, sealed) => {
        this.#settle(step, size, sealed);
        const done = () => {
          void this.#modules.witnessed?.follow();
          this.wake();
          onSealed();
        };
        return { done };
      },
    };
  }

  #grown(): boolean {
    const { store, holds } = this.#modules;
    const { size, sealed, sealing } = meta(store, 'log');
    return sealing === null && size > sealed && !holds(store);
  }

  #due(): void {
    this.#timer = undefined;
    this.#startedAt = performance.now();
    this.#starting = this.#start()
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#starting = undefined;
        this.wake();
      });
  }

  async #failed(error: unknown): Promise<void> {
    if (!(error instanceof Fault)) return this.#modules.fatal(error);
    this.#modules.onFault(error);
    await delay(RETRY_MS, undefined, { signal: this.#stop.signal }).catch(() => {});
  }

  /** Promises a head: from here on this size has this digest and no other. */
  async #start(): Promise<void> {
    const { runtime, attester, witnessed } = this.#modules;
    const ahead = attester.redundant || witnessed !== undefined;
    const quoted = ahead ? ((await this.#witnessed()) ?? (await this.#quoted())) : undefined;
    await runtime.commit((step) => {
      const record = ahead ? this.#current(step, quoted) : this.#draft(step, attester.providers());
      if (record === undefined) return;
      this.#promise(step, record);
      step.owe({ kind: 'seal', subject: record.head.size });
    });
  }

  #promise(step: Transaction, record: SealRecord): void {
    const { size } = record.head;
    if (record.quoted?.phala_redundancy?.role === 'witness') this.#modules.witnessed?.note(step, size);
    step.put('seals', size, record);
    step.put('watermarks', `head/${size}`, { digest: record.digest });
    putMeta(step, 'log', { ...meta(step, 'log'), sealing: size });
  }

  /**
   * The last head of an enclave that has ended: of all that its log holds, and nothing owed behind it. Called again after a
   * fault or a crash, it finishes what it has promised. No entry of the journal tells of it, since the successor's goes on from here.
   *
   * @param commit  of whoever holds the store
   */
  async sealLast(commit: Store['commit'], signal: AbortSignal): Promise<void> {
    const { store, attester, witnessed } = this.#modules;
    if (meta(store, 'log').sealing === null) {
      const ahead = attester.redundant || witnessed !== undefined;
      const quoted = ahead ? ((await this.#witnessed()) ?? (await this.#quoted())) : undefined;
      await commit((step) => {
        const record = ahead ? this.#current(step, quoted) : this.#draft(step, attester.providers());
        if (record !== undefined) this.#promise(step, record);
      });
    }
    const { sealing: size } = meta(store, 'log');
    if (size === null) return;
    const signed = await this.#seal(size, signal);
    await commit((step) => {
      step.put('seals', size, { ...sealRecord(step, size)!, quoted: null, signed });
      putMeta(step, 'log', { ...meta(step, 'log'), sealed: size, sealing: null });
    });
  }

  /** The head to seal next; undefined when there is nothing to seal. */
  #draft(reader: Reader, providers: number): SealRecord | undefined {
    const { attester, log, config_digest, holds, now } = this.#modules;
    const state = meta(reader, 'log');
    if (state.sealing !== null || state.size === state.sealed || holds(reader)) return undefined;
    // What was promised before is promised no other way: a store that was brought forward may have such sizes above its newest seal.
    const promised = promisedSize(reader);
    if (state.size <= promised) return undefined;
    const size = Math.max(Math.min(state.size, state.sealed + COVERED_MAX), promised + 1);
    const previous = sealRecord(reader, state.sealed);
    const { keyset, digest: keyset_digest } = activeKeyset(reader);
    const timestamp_ms = Math.max(now(), previous?.head.timestamp_ms ?? 0);
    const head: Head = {
      log_id: log.log_id,
      size,
      root: logRoot(reader, size),
      timestamp_ms,
      epoch: keyset.epoch,
      keyset_digest,
      config_digest,
      freshness: FRESHNESS.local,
      providers,
    };
    const not_after_ms = attester.notAfter(timestamp_ms);
    return { head, digest: hex(sealDigest(head)), not_after_ms, quoted: null, signed: null };
  }

  /** A draft that the witness has acknowledged and quoted beside the primary; undefined where it is done without. */
  async #witnessed(): Promise<SealRecord | undefined> {
    const { attester, witnessed, store } = this.#modules;
    const draft = witnessed && this.#draft(store, PROVIDER_BIT.primary | PROVIDER_BIT.redundancy);
    if (witnessed === undefined || draft === undefined) return undefined;
    const seen = await witnessed.head(draft.head.size, draft.head.root);
    if (seen === undefined) return undefined;
    const head = { ...draft.head, freshness: seen.freshness };
    const record = { ...draft, head, digest: hex(sealDigest(head)) };
    const witness = witnessed.quote(head, record.not_after_ms, seen.acknowledgement);
    const quoted = await attester.attest({ ...this.#statement(record), witness });
    return quoted.phala_redundancy === null ? undefined : { ...record, quoted };
  }

  /** A draft with the quotes of the platforms that it names: of both, or of the one that is left when the other has failed. */
  async #quoted(): Promise<SealRecord | undefined> {
    const { attester, store } = this.#modules;
    for (;;) {
      const draft = this.#draft(store, attester.providers());
      if (draft === undefined) return undefined;
      try {
        return { ...draft, quoted: await attester.attest(this.#statement(draft)) };
      } catch (error) {
        // What has failed is left out by the next, so this ends.
        if ((attester.providers() & draft.head.providers) === draft.head.providers) throw error;
      }
    }
  }

  /** What was quoted, unless a rotation has come meanwhile. */
  #current(reader: Reader, quoted: SealRecord | undefined): SealRecord | undefined {
    const { sealing, sealed } = meta(reader, 'log');
    if (quoted === undefined || sealing !== null || sealed >= quoted.head.size) return undefined;
    if (this.#modules.holds(reader) || activeKeyset(reader).digest !== quoted.head.keyset_digest) return undefined;
    return quoted;
  }

  #statement({ head: { epoch, providers }, digest, not_after_ms }: SealRecord) {
    const { keyset } = keysetRecord(this.#modules.store, epoch)!;
    return { purpose: 'seal', subject: fromHex(digest), keyset, not_after_ms, providers } as const;
  }

  async #seal(size: number, signal: AbortSignal): Promise<Sealed> {
    const { store, watermark, pool, attester, epochs, witnessed } = this.#modules;
    const record = sealRecord(store, size);
    assert(record !== undefined, 'a head is promised before it is sealed');
    await witnessed?.clear(signal);
    await watermark.permit('head', size, record.digest);
    const digest = fromHex(record.digest);
    const { ml_dsa_87, slh_dsa_sha2_256s } = epochs.signing(record.head.epoch);
    const signing = runJob(pool, 'seal', { digest, ml_dsa_87, slh_dsa_sha2_256s }, signal);
    const quoting = record.quoted ?? attester.attest(this.#statement(record));
    // Both to their end: or each try without a quote would leave another signature of a second behind it in the pool.
    await Promise.allSettled([signing, quoting]);
    const [signed, attestation] = [await signing, await quoting];
    return { slh_dsa: base64(signed.slh_dsa), ml_dsa: base64(signed.ml_dsa), attestation };
  }

  #settle(step: Step, size: number, sealed: Sealed): void {
    const log = meta(step, 'log');
    const record = sealRecord(step, size);
    assert(log.sealing === size && record !== undefined, 'the promised head is the one that is sealed');
    step.put('seals', size, { ...record, quoted: null, signed: sealed });
    putMeta(step, 'log', { ...log, sealed: size, sealing: null });
    const heights: number[] = [];
    for (const [, entry] of step.range('log', { start: log.sealed, end: size, limit: size - log.sealed })) {
      if (LOG_KINDS[entry.kind] !== 'batch') continue;
      const { height } = step.get('batch_ids', entry.digest)!;
      step.send(BATCH, height, { type: 'sealed' });
      heights.push(height);
    }
    forgetCiphertexts(step, this.#modules.retention_batches, heights.length + FORGOTTEN_MORE);
    const { root, epoch, providers, freshness } = record.head;
    step.journal(
      'seal_created',
      { size, root, digest: record.digest, epoch, freshness, providers, heights },
      this.#modules.now(),
    );
  }
}

/** The largest size of a head that was ever promised; 0 before the first. */
function promisedSize(reader: Reader): number {
  for (const [mark] of reader.range('watermarks', { limit: 1, reverse: true })) {
    const [kind, number] = mark.split('/');
    if (kind === 'head') return Number(number);
  }
  return 0;
}

/** Whose keys seal what is promised now. */
function activeKeyset(reader: Reader): KeysetRecord {
  return keysetRecord(reader, meta(reader, 'epoch').active)!;
}

/** Ciphertexts go once their batch is sealed and `retention` newer ones are (DESIGN §11 "Retention"). */
function forgetCiphertexts(step: Step, retention: number, count_max: number): void {
  const heights = meta(step, 'heights');
  const { sealed } = meta(step, 'log');
  const end = Math.min(heights.forgotten + count_max, heights.signed - retention);
  let height = heights.forgotten;
  for (; height < end; height++) {
    const { order, leaf_index } = batchRecord(step, height);
    if (leaf_index === null || leaf_index >= sealed) break;
    for (const { envelope_id } of order) step.remove('ciphertexts', envelope_id);
  }
  if (height > heights.forgotten) putMeta(step, 'heights', { ...heights, forgotten: height });
}
