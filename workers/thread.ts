// What runs on every thread of every pool: takes a message of job.ts, answers with a value. A job's code is loaded by the
// threads that are asked for it, so that a batch's openers don't carry the verification of quotes. A thread that is told to
// be nice yields its core to the others; only Linux gives threads a niceness of their own.
import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { workerData } from 'node:worker_threads';
import { collectTogether } from './collect.ts';
import { loadEngine } from './engine.ts';
import type { Answer, JobName, Jobs, Message, ThreadData } from './job.ts';

const { nice, engine: name } = workerData as ThreadData;
beNice(nice);
const engine = await loadEngine(name);

type Job<Name extends JobName> = (task: Jobs[Name]['task']) => Jobs[Name]['result'];

const LOAD: { readonly [Name in JobName]: () => Promise<Job<Name>> } = {
  open: async () => (await import('./open.ts')).open,
  sign: async () => {
    const { signBatches } = await import('./sign.ts');
    return (task) => signBatches(engine, task);
  },
  seal: async () => {
    const { signHead } = await import('./sign.ts');
    return (task) => signHead(engine, task);
  },
  certify: async () => {
    const { signCheckpoint } = await import('./sign.ts');
    return (task) => signCheckpoint(engine, task);
  },
  derive: async () => (await import('./slhdsa.ts')).derive,
  pair: async () => {
    const { tryPairs } = await import('./sign.ts');
    return (task) => tryPairs(engine, task);
  },
  evidence: async () => (await import('./evidence.ts')).evidence,
  rewrap: async () => (await import('./wrap.ts')).rewrap,
  unwrap: async () => (await import('./wrap.ts')).unwrap,
  extend: async () => (await import('./name.ts')).extend,
  examine: async () => (await import('./name.ts')).examine,
};

export default async function perform(message: Message): Promise<Answer<JobName>> {
  if (message.job === 'collect') return { ok: true, result: collectTogether(message.task) };
  if (message.job === 'load') {
    await Promise.all(message.task.map((job) => LOAD[job]()));
    return { ok: true, result: null };
  }
  try {
    return { ok: true, result: await dispatch(message) };
  } catch (error) {
    return { ok: false, reason: error instanceof Error ? error.message : 'unknown' };
  }
}

async function dispatch<Name extends JobName>({ job, task }: { job: Name; task: Jobs[Name]['task'] }) {
  const perform: Job<Name> = await LOAD[job]();
  return perform(task);
}

function beNice(nice: number): void {
  if (nice === 0 || process.platform !== 'linux') return;
  // `self/task/<tid>`: setpriority(2) takes a thread id where a process id is expected.
  const tid = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  setPriority(tid, nice);
}
