// A rotation as steps and questions over the store (DESIGN §5): announced, brought forward, due, ready, executed. Batches are
// sealed by their own epoch, so a rotation waits until every batch of the old one is signed and covered by a finished seal; and
// that seal covers the new keyset too, so that the old epoch has vouched for the new one before it signs anything. Each step
// is one commit, so a crash in between leaves a state that the next start goes on from. rotator.ts decides when.
import assert from 'node:assert';
import { timestamp } from '../actors/encoding.ts';
import { ROTATION_REASONS, type RotationReason } from '../actors/epoch.ts';
import type { Keyset } from '../actors/keyset.ts';
import { EPOCH, inGrace } from './epoch.ts';
import { holdsRotation } from './freeze.ts';
import { appendLog } from './log.ts';
import {
  batchRecord,
  keysetRecord,
  type Meta,
  meta,
  pendingRotation,
  putMeta,
  type RotationRecord,
} from './records.ts';
import { close } from './retirement.ts';
import type { Step } from './runtime.ts';
import type { Reader } from './store.ts';

/** Whether the old epoch's last batch has been cut: nothing is cut until the rotation is executed. */
export function isDue(reader: Reader, now_ms: number): boolean {
  const pending = pendingRotation(reader);
  if (pending === undefined) return false;
  return meta(reader, 'heights').cut >= pending.at_height || now_ms >= pending.deadline_ms;
}

/** Whether the old epoch has nothing left to sign, so that the next seal is the new epoch's. */
export function isReady(reader: Reader, now_ms: number): boolean {
  if (!isDue(reader, now_ms)) return false;
  const { cut, signed } = meta(reader, 'heights');
  const { sealed, sealing } = meta(reader, 'log');
  if (cut !== signed || sealing !== null || holdsRotation(reader, sealed)) return false;
  const keyset = keysetRecord(reader, meta(reader, 'epoch').active + 1)!.leaf_index;
  const newest = signed === 0 ? -1 : batchRecord(reader, signed - 1).leaf_index!;
  return sealed > Math.max(keyset, newest);
}

/** When a rotation is due. */
export interface Due {
  readonly reason: RotationReason;
  readonly at_height: number;
  readonly deadline_ms: number;
}

/** Publishes the next epoch's keyset: as a record, in the log, and in the feed. */
export function announce(step: Step, keyset: Keyset, digest: string, due: Due, now_ms: number): RotationRecord {
  const from_epoch = meta(step, 'epoch').active;
  const to_epoch = from_epoch + 1;
  assert(keyset.epoch === to_epoch && pendingRotation(step) === undefined, 'one rotation is announced at a time');
  step.begin(EPOCH, to_epoch, { epoch: to_epoch });
  step.put('keysets', to_epoch, { keyset, digest, leaf_index: appendLog(step, 'epoch', digest) });
  const record: RotationRecord = {
    from_epoch,
    to_epoch,
    ...due,
    announced_at_ms: now_ms,
    first_height: null,
    executed_at_ms: null,
  };
  putAnnounced(step, record, now_ms);
  return record;
}

/** Makes the announced rotation due at the next height, for a reason that outweighs its own. */
export function bringForward(step: Step, reason: RotationReason, now_ms: number): RotationRecord {
  const pending = pendingRotation(step);
  assert(pending !== undefined, 'what is brought forward was announced');
  const at_height = Math.min(pending.at_height, meta(step, 'heights').cut);
  const record = { ...pending, at_height, reason: graver(pending.reason, reason) };
  putAnnounced(step, record, now_ms);
  return record;
}

/** That old keys are out matters more than whatever else was announced. */
const graver = (before: RotationReason, now: RotationReason): RotationReason =>
  before === 'compromise' ? before : now;

function putAnnounced(step: Step, record: RotationRecord, now_ms: number): void {
  step.put('rotations', record.to_epoch, record);
  const { digest: keyset_digest, leaf_index } = keysetRecord(step, record.to_epoch)!;
  const { from_epoch, to_epoch, reason, at_height, deadline_ms } = record;
  const entry = {
    from_epoch,
    to_epoch,
    keyset_digest,
    leaf_index,
    reason,
    at_height,
    deadline: timestamp(deadline_ms),
  };
  step.journal('rotation_scheduled', { ...entry, created_at: timestamp(now_ms) }, now_ms);
}

/**
 * The new epoch signs from here on. What leaked one key may have leaked all that lay beside it: a compromise ends admission
 * under every older epoch at once.
 */
export function execute(step: Step, grace_ms: number, now_ms: number): RotationRecord {
  assert(isReady(step, now_ms), 'a rotation is executed when the old epoch has nothing left to sign');
  const compromised = pendingRotation(step)!.reason === 'compromise';
  return supersede(step, { grace_ms: compromised ? 0 : grace_ms, first_height: meta(step, 'heights').cut }, now_ms);
}

/**
 * The announced epoch is the active one.
 *
 * @param how.grace_ms  0 ends admission under every older epoch at once
 */
export function supersede(
  step: Step,
  how: { readonly grace_ms: number; readonly first_height: number },
  now_ms: number,
): RotationRecord {
  const pending = pendingRotation(step)!;
  const { from_epoch, to_epoch, reason } = pending;
  const { grace_ms, first_height } = how;
  const grace_ends_ms = now_ms + grace_ms;
  step.send(EPOCH, from_epoch, { type: 'superseded', grace_ends_ms });
  step.send(EPOCH, to_epoch, { type: 'activated' });
  const grace = [...inGrace(step), from_epoch];
  putMeta(step, 'epoch', { active: to_epoch, grace });
  if (grace_ms === 0) for (const epoch of grace) close(step, epoch);
  const record = { ...pending, first_height, executed_at_ms: now_ms };
  step.put('rotations', to_epoch, record);
  const rotated = rotations(step);
  putMeta(step, 'rotated', { ...rotated, [reason]: rotated[reason]! + 1 });
  const { digest: keyset_digest, leaf_index } = keysetRecord(step, to_epoch)!;
  const entry = { from_epoch, to_epoch, keyset_digest, leaf_index, reason, first_height };
  const times = { grace_ends_at: timestamp(grace_ends_ms), created_at: timestamp(now_ms) };
  step.journal('rotation_executed', { ...entry, ...times }, now_ms);
  return record;
}

/** How many were executed, for every reason. */
export function rotations(reader: Reader): Meta['rotated'] {
  const counted = reader.get('meta', 'rotated') as Meta['rotated'] | undefined;
  return { ...Object.fromEntries(ROTATION_REASONS.map((reason) => [reason, 0])), ...counted };
}
