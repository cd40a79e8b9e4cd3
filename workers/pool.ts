// The pools of threads: `open` and `sign` for what a batch waits for, `seal` for SLH-DSA alone, whose signatures take
// most of a second and would hold up everything behind them, and one for the verification of quotes, whose 20 ms would
// show in every batch that comes meanwhile, and for wraps and names, which have time. The last two are nice. The only file that knows
// Piscina. Queues are FIFO and bounded, tasks have a deadline, and a thread that dies fails its task and is replaced.
import { Piscina } from 'piscina';
import type { CollectTask } from './collect.ts';
import type { EngineName } from './engine.ts';
import type { Answer, JobName, Jobs, Message, ThreadData } from './job.ts';

/** `.ts` in a checkout, `.js` in dist/. */
const EXTENSION = import.meta.url.slice(import.meta.url.lastIndexOf('.'));

/** `[workers]` of sequencer.toml. */
export interface PoolOptions {
  readonly open_threads: number;
  readonly sign_threads: number;
  readonly queue_max: number;
  readonly task_timeout_ms: number;
  readonly seal_nice: number;
  /** `signing.engine`; OpenSSL where nothing else is said. */
  readonly engine?: EngineName;
}

/** Why a job was not done. The daemon turns it into a Fault. */
export class WorkerError extends Error {
  readonly job: JobName;
  constructor(job: JobName, reason: string, options?: { cause?: unknown }) {
    super(reason, options);
    this.name = 'WorkerError';
    this.job = job;
  }
}

export interface Pool {
  run<Name extends JobName>(job: Name, task: Jobs[Name]['task'], signal?: AbortSignal): Promise<Jobs[Name]['result']>;
  /** Starts every thread, and loads the code that a batch waits for. */
  ready(): Promise<void>;
  /** Every thread collects what it no longer uses, so that keys which were let go are wiped. */
  collect(): Promise<void>;
  /** Lets running and queued tasks end, and the threads with them. */
  close(): Promise<void>;
}

/** What every batch and every seal takes; the rest is loaded when it is first asked for. */
const NEEDED: readonly JobName[] = ['open', 'sign', 'seal'];

/** For what runs when a pool is closed; a thread that takes longer is ended all the same. */
const CLOSE_TIMEOUT_MS = 5_000;

export function createPool(options: PoolOptions): Pool {
  const lane = (threads: number, nice = 0) =>
    new Piscina({
      filename: new URL(`./thread${EXTENSION}`, import.meta.url).href,
      minThreads: threads,
      maxThreads: threads,
      maxQueue: options.queue_max,
      stricterFIFO: true,
      workerData: { nice, engine: options.engine ?? 'openssl' } satisfies ThreadData,
      resourceLimits: { maxOldGenerationSizeMb: 512 },
      // The threads need no arguments of the main process, such as a test runner's loader.
      execArgv: [],
    });
  const opening = lane(options.open_threads);
  const signing = lane(options.sign_threads);
  const sealing = lane(1, options.seal_nice);
  const verifying = lane(1, options.seal_nice);
  const all = [opening, signing, sealing, verifying];
  const lanes: Record<JobName, Piscina> = {
    open: opening,
    sign: signing,
    seal: sealing,
    certify: signing,
    derive: sealing,
    pair: sealing,
    evidence: verifying,
    rewrap: verifying,
    unwrap: verifying,
    extend: verifying,
    examine: verifying,
  };

  /** A task for each of a lane's threads. */
  const onEach = (pool: Piscina, message: Message, signal?: AbortSignal): Promise<unknown>[] => {
    const options = signal === undefined ? undefined : { signal };
    return Array.from({ length: pool.options.maxThreads }, () => pool.run(message, options));
  };

  const outstanding = new Map<Piscina, number>(all.map((pool) => [pool, 0]));
  let closed = false;

  return {
    async run(job, task, signal) {
      const pool = lanes[job];
      const count = outstanding.get(pool)!;
      if (closed) throw new WorkerError(job, 'the pool is closed');
      // Piscina doesn't count tasks that wait for a thread to start.
      if (count >= options.queue_max + pool.options.maxThreads) throw new WorkerError(job, 'too many tasks wait');
      outstanding.set(pool, count + 1);
      const deadline = AbortSignal.timeout(options.task_timeout_ms);
      try {
        const answer: Answer<typeof job> = await pool.run(
          { job, task },
          { signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]) },
        );
        if (!answer.ok) throw new WorkerError(job, answer.reason);
        return answer.result;
      } catch (cause) {
        if (cause instanceof WorkerError) throw cause;
        const reason = deadline.aborted ? `no answer in ${options.task_timeout_ms} ms` : 'the thread failed';
        throw new WorkerError(job, reason, { cause });
      } finally {
        outstanding.set(pool, outstanding.get(pool)! - 1);
      }
    },
    async ready() {
      const needed = (pool: Piscina) => NEEDED.filter((job) => lanes[job] === pool);
      await Promise.all(all.flatMap((pool) => onEach(pool, { job: 'load', task: needed(pool) })));
    },
    async collect() {
      const signal = AbortSignal.timeout(options.task_timeout_ms);
      const lanes = all.map(async (pool) => {
        const threads = pool.options.maxThreads;
        const task: CollectTask = { arrived: new SharedArrayBuffer(4), threads };
        await Promise.all(onEach(pool, { job: 'collect', task }, signal));
      });
      // A thread that failed is replaced, and the new one has seen no key.
      await Promise.allSettled(lanes);
    },
    async close() {
      closed = true;
      // libsecp256k1's addon aborts the process when a thread is ended while it loads it: so let each one finish first.
      const signal = AbortSignal.timeout(CLOSE_TIMEOUT_MS);
      await Promise.allSettled(all.flatMap((pool) => onEach(pool, { job: 'load', task: [] }, signal)));
      await Promise.all(all.map((pool) => pool.close({ force: true })));
    },
  };
}
