// Jobs on the pool, as the daemon asks for them: what goes wrong on a thread is a Fault, which the runtime tries again.
import type { JobName, Jobs } from '../workers/job.ts';
import { type Pool, WorkerError } from '../workers/pool.ts';
import { Fault } from './fault.ts';

export async function runJob<Name extends JobName>(
  pool: Pool,
  job: Name,
  task: Jobs[Name]['task'],
  signal?: AbortSignal,
): Promise<Jobs[Name]['result']> {
  try {
    return await pool.run(job, task, signal);
  } catch (cause) {
    if (!(cause instanceof WorkerError)) throw cause;
    throw new Fault({ code: 'worker_failed', job, reason: cause.message }, { cause });
  }
}
