// When a name is due and what is done about its record (DESIGN §10), as plain functions. Extending is not updating: the sequence
// stays and only the end of life moves, because a republisher that raises the sequence overwrites what the owner wrote
// meanwhile. Time and chance are arguments; daemon/names/ brings them.
import { sha512 } from './digest.ts';
import { utf8 } from './encoding.ts';

/** `[names]` of sequencer.toml, as far as rules need it. */
export interface Cycle {
  readonly interval_ms: number;
  /** How long a record lives from when it is signed. */
  readonly lifetime_ms: number;
}

/** Of a cycle, so that names whose phases lie together do not stay together. */
const JITTER = 0.05;

/**
 * The next time that a name is due, at least half a cycle ahead. Each name has a phase of its own in the cycle, so that the work
 * is spread whatever happened before.
 *
 * @param chance  from 0 up to 1
 */
export function nextDue(name: string, now_ms: number, interval_ms: number, chance: number): number {
  const phase = phaseOf(name, interval_ms);
  const earliest = now_ms + interval_ms / 2;
  const slot = phase + Math.ceil((earliest - phase) / interval_ms) * interval_ms;
  return Math.floor(slot + chance * JITTER * interval_ms);
}

/** By a hash, so that names which were made one after the other lie apart. */
export function phaseOf(name: string, interval_ms: number): number {
  const digest = sha512(utf8(name));
  return new DataView(digest.buffer, digest.byteOffset).getUint32(0) % interval_ms;
}

/** What the record that is held needs before it goes out. */
export type Need = 'extend' | 'resend';

/**
 * @param retried  it was signed for this cycle already and could not be sent: that is good for half its life
 */
export function needOf(eol_ms: number, now_ms: number, { lifetime_ms }: Cycle, retried: boolean): Need {
  const enough = retried ? lifetime_ms / 2 : lifetime_ms;
  return eol_ms >= now_ms + enough ? 'resend' : 'extend';
}

/** The end of life of a record that is signed anew: it never shrinks. */
export function extendedEol(eol_ms: number, now_ms: number, { lifetime_ms }: Cycle): number {
  return Math.max(now_ms + lifetime_ms, eol_ms + 1);
}

/**
 * Whether a record is signed anew although nobody could say what the newest is. Its sequence stays, so that it never wins over
 * an update; and near its end, a name that can't be resolved is worse.
 */
export function extendsUnresolved(eol_ms: number, now_ms: number, { lifetime_ms }: Cycle): boolean {
  return eol_ms < now_ms + lifetime_ms / 4;
}

/** What decides between two records of a name that are both validly signed. */
export interface Candidate {
  readonly value: string;
  readonly sequence: bigint;
  readonly eol_ms: number;
}

export interface Choice {
  /** The record that was found is taken over. */
  readonly adopt: boolean;
  /** Two values under one sequence: somebody signs twice, and the owner should hear of it. */
  readonly conflict: boolean;
}

/** As the selector of IPNS has it (record §8.3): the higher sequence, then the later end of life; what is held wins a tie. */
export function choose(held: Candidate, found: Candidate): Choice {
  if (found.sequence !== held.sequence) return { adopt: found.sequence > held.sequence, conflict: false };
  return { adopt: found.eol_ms > held.eol_ms, conflict: found.value !== held.value };
}

export type UpdateRefusal = 'record_outdated' | 'record_conflict';

/** What becomes of a record that the owner sends: the one that is held again, or an older form of it, is no error. */
export function judgeUpdate(
  held: Candidate,
  sent: Candidate,
): { readonly ok: true; readonly adopt: boolean } | { readonly ok: false; readonly code: UpdateRefusal } {
  if (sent.sequence < held.sequence) return { ok: false, code: 'record_outdated' };
  const { adopt, conflict } = choose(held, sent);
  return conflict ? { ok: false, code: 'record_conflict' } : { ok: true, adopt };
}

const BACKOFF_MIN_MS = 30_000;
const BACKOFF_MAX_MS = 3_600_000;

/**
 * How long to wait after a failure: 30 s, doubling to 1 h, with full jitter, and at least as long as the router asks for.
 *
 * @param failures       in a row, this one included
 * @param chance         from 0 up to 1
 * @param retry_after_ms what the router said; believed up to an hour
 */
export function backoff(failures: number, chance: number, retry_after_ms = 0): number {
  const most = Math.min(BACKOFF_MIN_MS * 2 ** Math.min(Math.max(failures - 1, 0), 20), BACKOFF_MAX_MS);
  return Math.max(Math.floor(chance * most), Math.min(Math.max(retry_after_ms, 0), BACKOFF_MAX_MS));
}
