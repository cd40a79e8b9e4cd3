// The end of an epoch, as steps and questions over the store (DESIGN §5). Grace is closed first: an admission sequence becomes
// the barrier, behind which no envelope is of this epoch. When all before the barrier is opened and nothing is encrypted to the
// epoch any more, it retires and its keys are let go. What was acknowledged is opened before, even if an admin forces it.
import { timestamp } from '../actors/encoding.ts';
import { EPOCH, inGrace, standing } from './epoch.ts';
import { type Ordered, requireOrder } from './orders.ts';
import { batchRecord, meta, putMeta } from './records.ts';
import type { Step } from './runtime.ts';
import type { Reader } from './store.ts';

/** How many secrets are still wrapped by an epoch. */
export type Backlog = (reader: Reader, epoch: number) => number;

export type Retirement = { readonly ok: true } | { readonly ok: false; readonly code: 'epoch_not_in_grace' };

/** Ends admission under an epoch in grace, if it has not ended before. */
export function close(step: Step, epoch: number): void {
  if (standing(step, epoch)?.barrier !== undefined) return;
  step.send(EPOCH, epoch, { type: 'closed', barrier: meta(step, 'mempool').next_sequence });
}

/**
 * Ends grace now, and lets nothing but acknowledged envelopes hold up retirement. What is still wrapped is lost, so an admin has
 * to order it. Whoever calls wakes the rotator once the step is durable.
 */
export function force(step: Step, ordered: Ordered<'retire_epoch'>): Retirement {
  const { epoch } = requireOrder(ordered, step, 'retire_epoch');
  if (standing(step, epoch)?.state !== 'grace') return { ok: false, code: 'epoch_not_in_grace' };
  close(step, epoch);
  step.send(EPOCH, epoch, { type: 'forced' });
  return { ok: true };
}

/** Whether grace is over by the clock, and admission has not been ended yet. */
export function isOver(reader: Reader, epoch: number, now_ms: number): boolean {
  const found = standing(reader, epoch);
  return found?.state === 'grace' && found.barrier === undefined && now_ms >= (found.grace_ends_ms ?? 0);
}

/** Whether an epoch may retire. Costs a few reads, whatever waits. */
export function isSpent(reader: Reader, epoch: number, backlog: Backlog): boolean {
  const found = standing(reader, epoch);
  if (found?.state !== 'grace' || found.barrier === undefined) return false;
  return isOpened(reader, found.barrier) && (found.forced === true || backlog(reader, epoch) === 0);
}

/** Whether every envelope below an admission sequence has been opened: none is pending, none in a batch on its way. */
function isOpened(reader: Reader, barrier: number): boolean {
  for (const [sequence] of reader.range('pending', { limit: 1 })) if (sequence < barrier) return false;
  const { opened, cut } = meta(reader, 'heights');
  for (let height = opened; height < cut; height++) {
    const record = batchRecord(reader, height);
    const waiting = record.order.slice(record.opened.length);
    if (waiting.some(({ admission_sequence }) => Number(admission_sequence) < barrier)) return false;
  }
  return true;
}

export function retire(step: Step, epoch: number, now_ms: number): void {
  const forced = standing(step, epoch)?.forced === true;
  step.send(EPOCH, epoch, { type: 'retired' });
  const { active } = meta(step, 'epoch');
  putMeta(step, 'epoch', { active, grace: inGrace(step).filter((each) => each !== epoch) });
  step.remove('inherited', epoch);
  step.journal('epoch_retired', { epoch, forced, created_at: timestamp(now_ms) }, now_ms);
}
