// One look of an auditor at a daemon's log: fetches what is new since the state that was kept, and lets client/auditor.ts
// judge it. Called by audit.ts. Every answer is bounded and must have its shape; an answer that is missing, short or
// malformed throws a RequestError and proves nothing, an answer that contradicts another is an alarm.
import { isDeepStrictEqual } from 'node:util';
import type { z } from 'zod';
import type { Header } from '../../actors/batch.ts';
import { sealDigest } from '../../actors/digest.ts';
import { hex } from '../../actors/encoding.ts';
import {
  Consistency,
  Headers,
  type ListedSeal,
  LogEntries,
  LogHead,
  PAGE_MAX,
  Seals,
  SignedHead,
} from '../../actors/head.ts';
import { type Alarm, Auditor, type AuditState, alarm } from '../../client/auditor.ts';
import { keptAt, verifyHead } from '../../client/head.ts';
import { checkGrowth, GROWTH_CODES } from '../../client/history.ts';
import type { VerifyOptions } from '../../client/verify.ts';
import { type Connection, RequestError } from './connection.ts';

export type Look =
  | { readonly ok: true; readonly state: AuditState | null; readonly isNew: boolean }
  /** `shown` is the signed head that contradicts what was kept, where there is one. */
  | { readonly ok: false; readonly alarm: Alarm; readonly shown: SignedHead | null };

/** @throws {RequestError} when the daemon doesn't answer, or answers something else */
export async function look(daemon: Connection, state: AuditState | null, judgement: VerifyOptions): Promise<Look> {
  const { sealed } = await ask(daemon, '/log/head', LogHead);
  if (sealed === null) {
    if (state === null) return { ok: true, state, isNew: false };
    return alarmed(alarm('history_shrank', `no head is sealed, and one of size ${state.head.seal.size} was`), null);
  }
  if (state !== null && isDeepStrictEqual(state.head.seal, sealed.seal)) return { ok: true, state, isNew: false };
  const verdict = verifyHead(sealed, judgement);
  if (!verdict.ok) {
    return alarmed(alarm('head_invalid', `${verdict.code}: ${verdict.field}: ${verdict.message}`), sealed);
  }
  const wrong = state === null ? null : await compare(daemon, state.head, sealed);
  return wrong === null ? walk(daemon, state, sealed, judgement) : alarmed(wrong, sealed);
}

/** The newest head continues the one that was kept. */
async function compare(daemon: Connection, kept: SignedHead, { seal }: SignedHead): Promise<Alarm | null> {
  const { size: from } = kept.seal;
  const { size: to } = seal;
  const growing = to > from && seal.log_id === kept.seal.log_id;
  const path = `/log/consistency?from=${from}&to=${to}`;
  const proof = growing ? (await ask(daemon, path, Consistency)).consistency_path : [];
  const growth = checkGrowth(kept.seal, seal, proof);
  if (!growth.ok) return alarm(growth.code, `size ${from} was kept, ${to} is shown: ${GROWTH_CODES[growth.code]}`);
  // Nothing signs two digests for one size, not even after a crash.
  return to > from ? null : alarm('head_conflict', `the head of size ${to} was sealed again`);
}

/** Takes every entry up to the head, and every seal that is listed on the way. */
async function walk(
  daemon: Connection,
  state: AuditState | null,
  head: SignedHead,
  judgement: VerifyOptions,
): Promise<Look> {
  const auditor = new Auditor(state);
  const seals = listSeals(daemon, auditor.size, head.seal.size);
  let seal = (await seals.next()).value;
  while (auditor.size < head.seal.size) {
    const from = auditor.size;
    const limit = Math.min(PAGE_MAX.entries, head.seal.size - from);
    const page = await ask(daemon, `/log/entries?from=${from}&limit=${limit}`, LogEntries);
    const entries = page.entries.slice(0, limit);
    if (entries.length === 0) throw incomplete(`the log has no entry ${from}, though a head covers it`);
    const batches = entries.filter(({ kind }) => kind === 'batch').length;
    const headers = await listHeaders(daemon, auditor.next_height, batches);
    for (const entry of entries) {
      const wrong = auditor.take(entry, entry.kind === 'batch' ? headers.shift() : undefined);
      if (wrong !== null) return alarmed(wrong, head);
      while (seal !== undefined && seal.seal.size === auditor.size) {
        const conflict = await checkListed(daemon, auditor, seal, head, judgement);
        if (conflict !== null) return conflict;
        seal = (await seals.next()).value;
      }
    }
  }
  const kept = auditor.keep(head);
  return 'code' in kept ? alarmed(kept, head) : { ok: true, state: kept, isNew: true };
}

/** A seal that was listed is of this log; or else its signatures tell whose lie it is. */
async function checkListed(
  daemon: Connection,
  auditor: Auditor,
  listed: ListedSeal,
  head: SignedHead,
  judgement: VerifyOptions,
): Promise<Look | null> {
  const { size } = listed.seal;
  const digest = hex(sealDigest(listed.seal));
  const isTwin = size === head.seal.size && digest !== hex(sealDigest(head.seal));
  const wrong = auditor.matches(listed);
  if (wrong === null && !isTwin && digest === listed.digest) return null;
  const shown = await ask(daemon, `/log/seals/${size}`, SignedHead);
  const isSigned =
    isDeepStrictEqual(shown.seal, listed.seal) && verifyHead(shown, { ...judgement, now_ms: keptAt(shown) }).ok;
  const message = wrong?.message ?? `the seal of size ${size} is listed with another digest`;
  return alarmed(alarm(isSigned ? 'head_conflict' : 'seal_conflict', message), shown);
}

async function* listSeals(daemon: Connection, after: number, until: number): AsyncGenerator<ListedSeal, undefined> {
  for (let at = after; at < until; ) {
    const { seals } = await ask(daemon, `/log/seals?after=${at}`, Seals);
    if (seals.length === 0) return undefined;
    for (const listed of seals) {
      if (listed.seal.size <= at) throw incomplete('the seals are not listed in order of size');
      at = listed.seal.size;
      if (at > until) return undefined;
      yield listed;
    }
  }
  return undefined;
}

async function listHeaders(daemon: Connection, from: number, count: number): Promise<Header[]> {
  const headers: Header[] = [];
  while (headers.length < count) {
    const at = from + headers.length;
    const limit = Math.min(PAGE_MAX.headers, count - headers.length);
    const page = await ask(daemon, `/batches/headers?from=${at}&limit=${limit}`, Headers);
    if (page.headers.length === 0) throw incomplete(`there is no batch ${at}, though the log has its digest`);
    headers.push(...page.headers.slice(0, limit));
  }
  return headers;
}

async function ask<Schema extends z.ZodType>(
  daemon: Connection,
  path: string,
  schema: Schema,
): Promise<z.output<Schema>> {
  const parsed = schema.safeParse(await daemon.get(path));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw incomplete(`GET ${path}: not the answer of an aegisd (${issue?.path.join('.')}: ${issue?.message})`);
}

function incomplete(message: string): RequestError {
  return new RequestError('unexpected_answer', message);
}

function alarmed(found: Alarm, shown: SignedHead | null): Look {
  return { ok: false, alarm: found, shown };
}
