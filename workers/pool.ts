// The pools of threads: `open` and `sign` for what a batch waits for, `seal` for SLH-DSA alone, whose signatures take
// most of a second and would hold up everything behind them. The only file that knows Piscina. Queues are FIFO and
// bounded, tasks have a deadline, and a thread that dies fails its task and is replaced.
import { Piscina } from 'piscina';
import type { EngineName } from './engine.ts';
import type { Answer, JobName, Jobs, ThreadData } from './job.ts';

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
  /** Loads every thread's code, so that the first batch doesn't wait for it. */
  ready(): Promise<void>;
  /** Lets running tasks end; what is queued is refused. */
  close(): Promise<void>;
}

export function createPool(options: PoolOptions): Pool {
  const lane = (threads: number, nice = 0) =>
    new Piscina({
      filename: new URL('./thread.ts', import.meta.url).href,
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
  const lanes: Record<JobName, Piscina> = {
    open: opening,
    sign: signing,
    seal: sealing,
    pair: sealing,
    evidence: opening,
  };

  return {
    async run(job, task, signal) {
      const deadline = AbortSignal.timeout(options.task_timeout_ms);
      const answer = await lanes[job]
        .run({ job, task }, { signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]) })
        .catch((cause: unknown) => {
          throw new WorkerError(
            job,
            deadline.aborted ? `no answer in ${options.task_timeout_ms} ms` : 'the thread failed',
            {
              cause,
            },
          );
        });
      const { ok, ...rest } = answer as Answer<typeof job>;
      if (!ok) throw new WorkerError(job, (rest as { reason: string }).reason);
      return (rest as { result: never }).result;
    },
    async ready() {
      await Promise.all([opening, signing, sealing].map((pool) => pool.run({ job: 'sign', task: [] })));
    },
    async close() {
      await Promise.all([opening, signing, sealing].map((pool) => pool.close({ force: true })));
    },
  };
}
