// Brings a store that was restored from a backup forward over what was published since (docs/migration.md), so that the log goes on as one
// history and nothing is signed twice: what the watermark was ever asked for, the store then holds, and the file itself stays as
// it is. What was never published stays lost: admissions, assets, settings. An admin's order says exactly that this is meant; it is
// the next entry of the log. Everything is one step, so a restored store is brought forward whole or not at all.
import assert from 'node:assert';
import type { ActOf } from '../actors/act.ts';
import type { BatchFile } from '../actors/batch.ts';
import { canonicalJson } from '../actors/canonical.ts';
import { batchDigest } from '../actors/digest.ts';
import { hex } from '../actors/encoding.ts';
import { appendLog, logRoot } from './log.ts';
import type { Publication } from './publication.ts';
import { type BatchRecord, meta, putMeta, sealRecord, takenGaps } from './records.ts';
import type { Runtime, Step } from './runtime.ts';
import { dropOrder, type NewReceipt, sealBatches, takeBatch } from './takenbatch.ts';
import { beginEpoch, dropSuperseded, takeKeyset } from './takenepoch.ts';
import type { Position as Marks } from './watermark.ts';

export type ResolveRestore = ActOf<'resolve_restore'>;

export type Brought =
  | { readonly ok: true; readonly act: ResolveRestore }
  | { readonly ok: false; readonly detail: string };

export interface Forward {
  /** Beyond the store, and verified. */
  readonly publication: Publication;
  /** Of the file beside the store. */
  readonly marks: Marks;
  /** Says of an envelope, whose first receipt is lost, that it was ordered. */
  readonly receipt: NewReceipt;
}

/** Numbers that admissions which were never published may have had; a pool is smaller by far. */
const LOST_ADMISSIONS = 2 ** 24;

/** Ends the step's work; what it has written is for the caller to take back. */
class Refused extends Error {}

/**
 * Writes what was published. The caller takes the step back unless the answer is what an admin has ordered.
 *
 * @returns what the order must say, to the letter
 */
export function bringForward(step: Step, forward: Forward): Brought {
  try {
    return { ok: true, act: take(step, forward) };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, detail: error.message };
    throw error;
  }
}

/** What an order must say, with nothing written. @throws {Fault} store_… */
export async function tryForward(runtime: Runtime, forward: Forward): Promise<Brought> {
  let brought: Brought | undefined;
  const undone = new Error('a trial is taken back');
  await runtime
    .commit((step) => {
      brought = bringForward(step, forward);
      throw undone;
    })
    .catch((error: unknown) => {
      if (error !== undone) throw error;
    });
  assert(brought !== undefined, 'a trial has an outcome');
  return brought;
}

/** As an order is prepared: the very step that executes it brings the store forward first. */
export function asOrdered(step: Step, forward: Forward, ordered: ResolveRestore): Brought {
  const brought = bringForward(step, forward);
  if (!brought.ok || canonicalJson(brought.act) === canonicalJson(ordered)) return brought;
  return { ok: false, detail: `this store and this publication take an order of ${canonicalJson(brought.act)}` };
}

function take(step: Step, { publication, marks, receipt }: Forward): ResolveRestore {
  const { size: from_size } = meta(step, 'log');
  if (publication.entries.length === 0) throw new Refused('nothing was published beyond what the store has');
  dropUnsigned(step, publication);
  takeEntries(step, publication, receipt);
  const { size: to_size } = meta(step, 'log');
  const { signed: next_height } = meta(step, 'heights');
  takeHeads(step, publication.heads);
  const superseded = dropSuperseded(step);
  if (superseded !== undefined) throw new Refused(superseded);
  for (const mark of ['batch', 'head'] as const) holdMark(step, mark, marks[mark], { to_size, next_height });
  const { sealed } = meta(step, 'log');
  putMeta(step, 'taken', { gaps: [...takenGaps(step), { from: from_size, to: to_size }] });
  const mempool = meta(step, 'mempool');
  putMeta(step, 'mempool', { ...mempool, next_sequence: mempool.next_sequence + LOST_ADMISSIONS });
  const heads_above = Math.max(sealed, marks.head?.number ?? 0);
  return { type: 'resolve_restore', from_size, to_size, root: logRoot(step, to_size), next_height, heads_above };
}

/** What was on its way when the backup was taken and has come out since: it is owed no more. */
function dropUnsigned(step: Step, { entries, heads }: Publication): void {
  const end = meta(step, 'heights').signed + entries.filter(({ kind }) => kind === 'batch').length;
  const sealed = [...heads.keys()].at(-1) ?? 0;
  for (const [id, { kind, subject }] of step.range('outbox', { limit: 100_000 })) {
    const isBatch = (kind === 'open' || kind === 'sign') && Number(subject) < end;
    if (isBatch || (kind === 'seal' && Number(subject) <= sealed)) step.settle(id);
  }
  const log = meta(step, 'log');
  if (log.sealing === null || log.sealing > sealed) return;
  if (sealRecord(step, log.sealing)?.signed === null) step.remove('seals', log.sealing);
  putMeta(step, 'log', { ...log, sealing: null });
}

function takeEntries(step: Step, { entries, batches, keysets }: Publication, receipt: NewReceipt): void {
  for (const { leaf_index, kind, digest } of entries) {
    if (kind === 'epoch') {
      if (takeKeyset(step, keysets.get(digest), digest)) continue;
      throw new Refused(`entry ${leaf_index} begins an epoch whose keyset the publication lacks`);
    }
    if (kind === 'handover') throw new Refused(`entry ${leaf_index} hands the log over: only the successor goes on`);
    if (kind === 'batch') {
      const { signed: height } = meta(step, 'heights');
      const file = batches.get(height);
      if (file === undefined)
        throw new Refused(`the publication lacks batch ${height}, entry ${leaf_index} of the log`);
      checkBatch(step, file, digest);
      takeBatch(step, file, leaf_index, receipt);
    }
    appendLog(step, kind, digest);
  }
}

/** It follows the one before, and is what the store itself was about to sign for this height. */
function checkBatch(step: Step, file: BatchFile, digest: string): void {
  const { height, header } = file;
  const before = meta(step, 'heights');
  if (hex(batchDigest(header)) !== digest || header.parent_digest !== parentOf(step, height)) {
    throw new Refused(`batch ${height} of the publication is not the one in the log`);
  }
  if (!beginEpoch(step, header.epoch, height, header.timestamp_ms)) {
    throw new Refused(`batch ${height} is of epoch ${header.epoch}, which is neither the active one nor the next`);
  }
  const own = step.get('batches', height) as BatchRecord | undefined;
  if (own === undefined || height >= before.cut) return;
  if (own.digest !== null && own.digest !== digest) {
    throw new Refused(`the store has another batch ${height} on its way: two histories of one log`);
  }
  dropOrder(step, own, file.order);
}

function parentOf(step: Step, height: number): string {
  if (height === 0) return meta(step, 'heights').parent_digest;
  return (step.get('batches', height - 1) as BatchRecord).digest!;
}

/** Every head that was published is one of this log; the newest is what the next seal goes on from. */
function takeHeads(step: Step, heads: Publication['heads']): void {
  const { size } = meta(step, 'log');
  for (const { seal, digest, slh_dsa_sig, ml_dsa_sig, attestation } of heads.values()) {
    if (seal.size > size) throw new Refused(`the head of size ${seal.size} covers entries that the publication lacks`);
    if (logRoot(step, seal.size) !== seal.root) {
      throw new Refused(`the entries of the publication do not give the root of the head of size ${seal.size}`);
    }
    beginEpoch(step, seal.epoch, meta(step, 'heights').signed, seal.timestamp_ms);
    const held = step.get('watermarks', `head/${seal.size}`);
    if (held !== undefined && held.digest !== digest) {
      throw new Refused(`the store has promised another head of size ${seal.size}: two histories of one log`);
    }
    const signed = { slh_dsa: slh_dsa_sig.signature, ml_dsa: ml_dsa_sig.signature, attestation };
    step.put('seals', seal.size, { head: seal, digest, not_after_ms: attestation.not_after_ms, quoted: null, signed });
    step.put('watermarks', `head/${seal.size}`, { digest });
    sealBatches(step, meta(step, 'log').sealed, seal.size);
    putMeta(step, 'log', { ...meta(step, 'log'), sealed: seal.size });
  }
}

/** What was permitted is there: as it was published, or at least below what comes next. */
function holdMark(
  step: Step,
  kind: keyof Marks,
  mark: Marks[keyof Marks],
  { to_size, next_height }: { readonly to_size: number; readonly next_height: number },
): void {
  if (mark === undefined) return;
  const { number, digest } = mark;
  const covered = kind === 'batch' ? number < next_height : number <= to_size;
  if (!covered) throw new Refused(`the watermark permitted ${kind} ${number}, which the publication does not reach`);
  const held = step.get('watermarks', `${kind}/${number}`)?.digest;
  if (held !== undefined && held !== digest) {
    throw new Refused(`the watermark permitted another ${kind} ${number} than the publication has`);
  }
  // A head that was promised and never shown to anybody: its size is passed by.
  step.put('watermarks', `${kind}/${number}`, { digest });
}
