// Signs batches (DESIGN §3 "Sign once"): asks the watermark, then the signing thread. Batches that wait while one message
// is on its way travel together in the next, since a message costs more than a part of one.
import { ALGORITHM_BIT } from '../actors/batch.ts';
import { base64, fromHex, hex } from '../actors/encoding.ts';
import type { SignResult, SignTask } from '../workers/job.ts';
import type { Pool } from '../workers/pool.ts';
import { settleSigned } from './batching.ts';
import type { Epochs } from './epochs.ts';
import { runJob } from './job.ts';
import { batchRecord, meta } from './records.ts';
import type { Performer } from './runtime.ts';
import type { Store } from './store.ts';
import type { Watermark } from './watermark.ts';
import type { Witnessed } from './witnessed.ts';

interface Waiting {
  readonly task: SignTask;
  resolve(result: SignResult): void;
  reject(error: unknown): void;
}

export class Signer {
  readonly #pool: Pool;
  readonly #watermark: Watermark;
  #waiting: Waiting[] = [];
  #sending = false;

  constructor(modules: { pool: Pool; watermark: Watermark }) {
    this.#pool = modules.pool;
    this.#watermark = modules.watermark;
  }

  /** `signed` batches wake the sealer and make room for the cutter. */
  performer(modules: {
    store: Store;
    /** Each batch is signed by the epoch that it was cut in. */
    epochs: Pick<Epochs, 'signing'>;
    chain_id: string;
    in_flight_max: number;
    timeout_ms: number;
    /** Knows whether this is the newest copy of the store; undefined where `attestation.witness` is off. */
    witnessed?: Pick<Witnessed, 'clear'> | undefined;
    now: () => number;
    onSigned: () => void;
  }): Performer<{ ml_dsa: string; ecdsa: string | null }> {
    return {
      kind: 'sign',
      concurrency: modules.in_flight_max,
      timeout_ms: modules.timeout_ms,
      first: (reader) => meta(reader, 'heights').signed,
      perform: async (height, signal) => {
        const { header, digest, epoch, algorithms } = batchRecord(modules.store, height);
        if (header === null || digest === null) throw new Error('a batch is signed after its header is made');
        await modules.witnessed?.clear(signal);
        await this.#watermark.permit('batch', height, digest);
        const { ml_dsa_87, ...keys } = modules.epochs.signing(epoch);
        const secp256k1 = (algorithms & ALGORITHM_BIT.ECDSA) === 0 ? null : keys.secp256k1;
        const task = { digest: fromHex(digest), height, chain_id: modules.chain_id, ml_dsa_87, secp256k1 };
        const { ml_dsa, ecdsa } = await this.#sign(task);
        return { ml_dsa: base64(ml_dsa), ecdsa: ecdsa === null ? null : hex(ecdsa) };
      },
      settle: (step, height, signed) => {
        settleSigned(step, height, signed, modules.now());
        return { next: height + 1, done: modules.onSigned };
      },
    };
  }

  #sign(task: SignTask): Promise<SignResult> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ task, resolve, reject });
      if (!this.#sending) void this.#send();
    });
  }

  async #send(): Promise<void> {
    this.#sending = true;
    while (this.#waiting.length > 0) {
      const chunk = this.#waiting;
      this.#waiting = [];
      try {
        const results = await runJob(
          this.#pool,
          'sign',
          chunk.map(({ task }) => task),
        );
        chunk.forEach(({ resolve }, i) => {
          resolve(results[i]!);
        });
      } catch (error) {
        for (const { reject } of chunk) reject(error);
      }
    }
    this.#sending = false;
  }
}
