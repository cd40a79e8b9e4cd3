// Rotations that a store takes from what was published (resolution.ts): the keyset that was announced, and the epoch that has signed since. Why
// they rotated was signed by nobody, so the worst is taken for it: admission under every older epoch has ended, and what an
// emergency may have taken away is away until an admin's order gives it back.
import type { Keyset } from '../actors/keyset.ts';
import { LOG_KINDS } from '../actors/tree.ts';
import { type BatchRecord, batchRecord, keysetRecord, meta, pendingRotation, putMeta, riskRecord } from './records.ts';
import { announce, supersede } from './rotation.ts';
import type { Step } from './runtime.ts';
import { dropOrder } from './takenbatch.ts';

/** @param keyset  known to be of the store's own root. @returns whether it can be the next of this log */
export function takeKeyset(step: Step, keyset: Keyset | undefined, digest: string): boolean {
  const { active } = meta(step, 'epoch');
  if (keyset === undefined || keyset.epoch !== active + 1 || pendingRotation(step) !== undefined) return false;
  const { not_before_ms } = keyset;
  const due = { reason: 'manual', at_height: meta(step, 'heights').signed, deadline_ms: not_before_ms } as const;
  announce(step, keyset, digest, due, not_before_ms);
  return true;
}

/** @returns whether this epoch is the active one now: it was, or it is the announced one, which has signed here first */
export function beginEpoch(step: Step, epoch: number, first_height: number, now_ms: number): boolean {
  const { active } = meta(step, 'epoch');
  if (epoch === active) return true;
  if (pendingRotation(step)?.to_epoch !== epoch) return false;
  const before = keysetRecord(step, active)!.keyset;
  supersede(step, { grace_ms: 0, first_height }, now_ms);
  const risk = riskRecord(step);
  const lost = before.secp256k1 !== null && keysetRecord(step, epoch)!.keyset.secp256k1 === null;
  if (lost && risk !== undefined) putMeta(step, 'risk', { ...risk, allowed: { ecdsa: false, schemes: ['x-wing'] } });
  return true;
}

/**
 * What the store has on its way is signed and sealed by its own epoch or by none: what it has cut under an older one, beyond all that was
 * published, is forgotten.
 *
 * @returns why that can't be
 */
export function dropSuperseded(step: Step): string | undefined {
  const { active } = meta(step, 'epoch');
  const { size, sealed } = meta(step, 'log');
  for (const [, entry] of step.range('log', { start: sealed, end: size, limit: size - sealed })) {
    if (LOG_KINDS[entry.kind] !== 'batch') continue;
    const { height } = step.get('batch_ids', entry.digest)!;
    if (batchRecord(step, height).epoch !== active) return `the publication lacks the head that seals batch ${height}`;
  }
  const heights = meta(step, 'heights');
  let { cut } = heights;
  for (; cut > heights.signed; cut--) {
    const own = step.get('batches', cut - 1) as BatchRecord;
    if (own.epoch === active) break;
    if (own.digest !== null) return `the store may have signed batch ${cut - 1}, which is not in the publication`;
    dropOrder(step, own, []);
    step.remove('batches', cut - 1);
    step.remove('machines', `batch/${cut - 1}`);
    for (const [id, { kind, subject }] of step.range('outbox', { limit: 100_000 })) {
      if (kind === 'open' && subject === cut - 1) step.settle(id);
    }
  }
  if (cut < heights.cut) putMeta(step, 'heights', { ...heights, cut });
  return undefined;
}
