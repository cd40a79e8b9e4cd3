// When batches are cut, and how they are opened (DESIGN §3 "Cut", "Order"). The only room that takes envelopes out of the
// queue: a cut and the growth of an order run one after the other, so no envelope is in two batches. It cuts when the
// interval has passed with something pending, at once when `batch_size` are, and waits while `in_flight_max` batches are
// on their way to their signatures, so that under load batches grow instead of queues.
import assert from 'node:assert';
import { envelopeInfo } from '../actors/digest.ts';
import { hex } from '../actors/encoding.ts';
import { claimsAad } from '../actors/envelope.ts';
import type { Pending } from '../actors/ordering.ts';
import type { OpeningKeys } from '../workers/open.ts';
import type { Pool } from '../workers/pool.ts';
import { type CutPolicy, cut, settleOpened } from './batching.ts';
import { Fault } from './fault.ts';
import { runJob } from './job.ts';
import type { Mempool } from './mempool.ts';
import type { Opened } from './policing.ts';
import { batchRecord, envelopeRecord, type Meta, meta } from './records.ts';
import type { Performer, Runtime } from './runtime.ts';
import { timed } from './spans.ts';
import type { Reader, Store } from './store.ts';
import type { Witnessed } from './witnessed.ts';

export interface CutterOptions extends CutPolicy {
  readonly batch_interval_ms: number;
  readonly batch_size: number;
  readonly in_flight_max: number;
}

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly mempool: Mempool;
  readonly pool: Pool;
  readonly log: Meta['genesis'];
  /** Of these epochs. */
  readonly keys: (epochs: Iterable<number>) => readonly OpeningKeys[];
  readonly options: () => CutterOptions;
  /** Whether a rotation waits until what was cut is sealed: asked again in the step that would cut. */
  readonly holds: (reader: Reader) => boolean;
  /** Acknowledges orders; undefined where `attestation.witness` is off. */
  readonly witnessed?: Pick<Witnessed, 'order'> | undefined;
  readonly now: () => number;
  /** An envelope of this client's turned out to be refused. */
  readonly onRefused: (client: string) => void;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

export class Cutter {
  readonly #modules: Modules;
  #timer: NodeJS.Timeout | undefined;
  /** With the height, or undefined when nothing was cut. */
  #cutting: Promise<number | undefined> | undefined;
  #stopped = false;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** Something was admitted, or a batch has left the way: looks whether a cut is due. */
  wake(): void {
    const { mempool, options } = this.#modules;
    if (this.#stopped || this.#cutting !== undefined || mempool.size === 0) return;
    if (mempool.size >= options().batch_size && this.#hasRoom()) this.#begin();
    else this.#later();
  }

  /** The interval may have changed: what waits by the old one waits anew. */
  retime(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.wake();
  }

  /** Cuts now, whatever the interval; resolves with the height, or undefined when there is nothing to cut or it can't be done. */
  async cutNow(): Promise<number | undefined> {
    while (this.#cutting !== undefined) await this.#cutting;
    if (this.#modules.mempool.size === 0 || this.#stopped) return undefined;
    return this.#begin();
  }

  /** No more cuts; batches on their way go on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#cutting;
  }

  /** Opens a batch's envelopes on the threads. Those of a later round are settled in the same turn. */
  performer(in_flight_max: number, timeout_ms: number): Performer<Opened[]> {
    return {
      kind: 'open',
      concurrency: in_flight_max,
      timeout_ms,
      first: (reader) => meta(reader, 'heights').opened,
      perform: (height, signal) => this.#open(height, signal),
      settle: (step, height, outcomes) => {
        const { mempool, options, log, onRefused } = this.#modules;
        const settled = settleOpened(step, height, outcomes, mempool, options(), log);
        mempool.take(settled.taken);
        return {
          next: settled.complete ? height + 1 : height,
          done: () => {
            for (const { envelope_id, refused } of settled.judged) {
              const client = mempool.takeClient(envelope_id);
              if (refused && client !== undefined) onRefused(client);
            }
            this.wake();
          },
          undo: () => mempool.giveBack(settled.taken),
        };
      },
    };
  }

  #due(): void {
    this.#timer = undefined;
    if (this.#stopped || this.#cutting !== undefined || this.#modules.mempool.size === 0) return;
    // With no room, the batch that leaves the way wakes us.
    if (this.#hasRoom()) this.#begin();
  }

  #hasRoom(): boolean {
    const { store, options, holds } = this.#modules;
    const { cut, signed } = meta(store, 'heights');
    return cut - signed < options().in_flight_max && !holds(store);
  }

  #later(): void {
    const { mempool, options } = this.#modules;
    if (this.#stopped || mempool.size === 0) return;
    this.#timer ??= setTimeout(() => this.#due(), options().batch_interval_ms);
  }

  #begin(): Promise<number | undefined> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const cutting = timed(
      'cut',
      () => this.#cut(),
      (subject) => (subject === undefined ? undefined : { subject }),
    );
    this.#cutting = cutting.then((height) => {
      this.#cutting = undefined;
      // A store that can't write says so at once: to look again at once would never let go of the thread.
      if (height === undefined) this.#later();
      else this.wake();
      return height;
    });
    return this.#cutting;
  }

  async #cut(): Promise<number | undefined> {
    const { runtime, mempool, options, holds, now, onFault, fatal } = this.#modules;
    let taken: Pending[] = [];
    try {
      return await runtime.commit((step) => {
        const height = meta(step, 'heights').cut;
        taken = holds(step) ? [] : cut(step, mempool, options(), now());
        mempool.take(taken);
        return taken.length === 0 ? undefined : height;
      });
    } catch (error) {
      mempool.giveBack(taken);
      // The interval tries again.
      if (error instanceof Fault) onFault(error);
      else fatal(error);
      return undefined;
    }
  }

  async #open(height: number, signal: AbortSignal): Promise<Opened[]> {
    const { store, pool, log, keys, witnessed } = this.#modules;
    const record = batchRecord(store, height);
    await witnessed?.order(height, record.order, signal);
    const envelopes = record.order.slice(record.opened.length).map(({ envelope_id }) => {
      const envelope = envelopeRecord(store, envelope_id);
      const ciphertext = store.get('ciphertexts', envelope_id);
      assert(envelope !== undefined && ciphertext !== undefined, 'what is ordered was admitted');
      const { scheme, epoch, priority_fee } = envelope;
      const info = envelopeInfo({ chain_id: log.chain_id, log_id: log.log_id, epoch });
      const id = envelope_id as `0x${string}`;
      return {
        envelope_id: id,
        scheme,
        epoch,
        ciphertext,
        aad: claimsAad(envelope, log),
        info,
        priority_fee: BigInt(priority_fee),
      };
    });
    const wanted = envelopes.map(({ epoch }) => epoch);
    const task = { chain_id: BigInt(log.chain_id), keys: keys(wanted), envelopes };
    const outcomes = await runJob(pool, 'open', task, signal);
    return outcomes.map((outcome) =>
      outcome.ok
        ? {
            ok: true,
            raw: hex(outcome.raw),
            tx_hash: outcome.tx_hash,
            sender: outcome.sender,
            nonce: String(outcome.nonce),
            call: { to: outcome.to, data: outcome.data, authorities: outcome.authorities },
          }
        : { ok: false, reason: outcome.code },
    );
  }
}
