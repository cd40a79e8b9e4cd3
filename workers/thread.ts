// What runs on every thread of every pool: takes a message of job.ts, answers with a value. A thread that is told to be
// nice yields its core to the others; only Linux gives threads a niceness of their own.
import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { workerData } from 'node:worker_threads';
import { collectTogether } from './collect.ts';
import { loadEngine } from './engine.ts';
import { evidence } from './evidence.ts';
import type { Answer, JobName, Message, ThreadData } from './job.ts';
import { examine, extend } from './name.ts';
import { open } from './open.ts';
import { signBatches, signCheckpoint, signHead, tryPairs } from './sign.ts';
import { derive } from './slhdsa.ts';
import { rewrap, unwrap } from './wrap.ts';

const { nice, engine: name } = workerData as ThreadData;
beNice(nice);
const engine = await loadEngine(name);

export default function perform(message: Message): Answer<JobName> {
  try {
    return { ok: true, result: dispatch(message) };
  } catch (error) {
    return { ok: false, reason: error instanceof Error ? error.message : 'unknown' };
  }
}

function dispatch(message: Message) {
  switch (message.job) {
    case 'open':
      return open(message.task);
    case 'sign':
      return signBatches(engine, message.task);
    case 'seal':
      return signHead(engine, message.task);
    case 'certify':
      return signCheckpoint(engine, message.task);
    case 'derive':
      return derive(message.task);
    case 'pair':
      return tryPairs(engine, message.task);
    case 'evidence':
      return evidence(message.task);
    case 'rewrap':
      return rewrap(message.task);
    case 'unwrap':
      return unwrap(message.task);
    case 'extend':
      return extend(message.task);
    case 'examine':
      return examine(message.task);
    case 'collect':
      return collectTogether(message.task);
  }
}

function beNice(nice: number): void {
  if (nice === 0 || process.platform !== 'linux') return;
  // `self/task/<tid>`: setpriority(2) takes a thread id where a process id is expected.
  const tid = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  setPriority(tid, nice);
}
