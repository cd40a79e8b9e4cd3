// The records of names and everything that is kept beside them (DESIGN §10): the schedule as an index by due time, whose record ends
// first as another, and how many names stand where. Only this file writes them, all in the step that changes a name, so that
// the schedule is read and never rebuilt: names cost disk and no memory.
import assert from 'node:assert';
import type { Snapshot } from '../../actors/effect.ts';
import { begin, step as stepMachine } from '../../actors/effect.ts';
import { base64, fromBase64, uintBytes } from '../../actors/encoding.ts';
import type { Candidate } from '../../actors/extension.ts';
import type { IpnsEntry } from '../../actors/ipns.ts';
import { NAME_MACHINE_VERSION, type NameContext, type NameEvent, nameMachine } from '../../actors/name.ts';
import type { NameState } from '../../actors/words.ts';
import type { Reader, Transaction } from '../store.ts';

/** What a record says, and the record itself. */
export interface Held extends IpnsEntry {
  readonly eol_ms: number;
  readonly record: Uint8Array;
}

/** An enrolled name. Its key lies with the wrapped secrets (wraps.ts), under the kind `name`. */
export interface Name {
  readonly machine: Snapshot;
  readonly held: Held;
  /** When what is out there ends, as far as is known; left out where that is what is held. */
  readonly expiry_ms?: number;
  /** Null while it is quarantined. */
  readonly due_ms: number | null;
  /** Counts what the owner brought: what was under way for an earlier one is dropped. */
  readonly revision: number;
  /** The router should be asked what it has before it hears from us again. */
  readonly resolve: boolean;
  readonly enrolled_at_ms: number;
  /** Null before the first publication. */
  readonly published_at_ms: number | null;
}

/** As kept: wide integers as text, bytes in base64. */
interface Kept extends Omit<Name, 'held'> {
  readonly held: {
    readonly value: string;
    readonly sequence: string;
    readonly ttl_ns: string;
    readonly validity: string;
    readonly eol_ms: number;
    readonly record: string;
  };
}

export const NAME_TOTALS = [
  'due',
  'extended',
  'published',
  'failed',
  'stale',
  'quarantined',
  'adopted',
  'conflicts',
  'lies',
] as const;
export type NameTotal = (typeof NAME_TOTALS)[number];

/** `meta` record `names`. */
export interface NamesMeta {
  /** How many names stand in each state. */
  readonly counts: Readonly<Partial<Record<NameState, number>>>;
  /** What has ever happened. */
  readonly totals: Readonly<Partial<Record<NameTotal, number>>>;
  /** When a name was last published, or failed. */
  readonly last_run_at_ms: number | null;
}

export const namesMeta = (reader: Reader): NamesMeta =>
  (reader.get('meta', 'names') as NamesMeta | undefined) ?? { counts: {}, totals: {}, last_run_at_ms: null };

/** Where a name stands, for whoever wants none of what it holds: reading that costs as much again. */
export interface Standing extends Omit<Name, 'held'> {
  readonly held: Pick<Held, 'eol_ms'>;
}

export const standingOf = (reader: Reader, name: string): Standing | undefined =>
  reader.get('names', name) as Kept | undefined;

export function nameRecord(reader: Reader, name: string): Name | undefined {
  const kept = reader.get('names', name) as Kept | undefined;
  return kept === undefined ? undefined : nameOfKept(kept);
}

export function nameOfKept(kept: unknown): Name {
  const { held, ...rest } = kept as Kept;
  const { sequence, ttl_ns, record } = held;
  return { ...rest, held: { ...held, sequence: BigInt(sequence), ttl_ns: BigInt(ttl_ns), record: fromBase64(record) } };
}

export const newMachine = (): Snapshot => begin(nameMachine, NAME_MACHINE_VERSION, undefined).snapshot;

/** Steps that were made before. A step takes XState some 50 µs, a name takes five, and there are few different ones. */
const made = new Map<string, Snapshot>();
const MADE_MAX = 1_024;

/** An event from inside: one that the state doesn't take is a bug. */
export function advance(machine: Snapshot, ...events: readonly NameEvent[]): Snapshot {
  return events.reduce((before, event) => {
    // Pure, so what it came to once it comes to again.
    const key = JSON.stringify([before.version, before.value, before.context, event]);
    const known = made.get(key);
    if (known !== undefined) return known;
    const stepped = stepMachine(nameMachine, before, event);
    assert(stepped.ok, `a name accepts no ${event.type} while ${String(before.value)}`);
    if (made.size >= MADE_MAX) made.clear();
    made.set(key, stepped.snapshot);
    return stepped.snapshot;
  }, machine);
}

export const stateOf = ({ machine }: Pick<Name, 'machine'>): NameState => machine.value as NameState;
export const contextOf = ({ machine }: Pick<Name, 'machine'>): NameContext => machine.context as NameContext;
export const candidateOf = ({ value, sequence, eol_ms }: Candidate): Candidate => ({ value, sequence, eol_ms });

/**
 * Writes what a name's owner has brought, which is out there already, with its places in the indexes, and counts.
 *
 * @param after  undefined removes it
 */
export function putName(step: Transaction, name: string, before: Name | undefined, after: Name | undefined): void {
  const tally = new NameTally();
  placeName(step, name, before, after && { ...after, expiry_ms: after.held.eol_ms }, tally);
  tally.write(step);
}

/** One of several names in a step, whose caller writes the tally of all. */
export function placeName(
  step: Transaction,
  name: string,
  before: Standing | undefined,
  after: Name | undefined,
  tally: NameTally,
): void {
  tally.move(before, after);
  const isPlaced = before !== undefined && after !== undefined && isSamePlace(before, after);
  if (before !== undefined && !isPlaced) removePlaces(step, name, before);
  if (after === undefined) step.remove('names', name);
  else {
    const { held, ...rest } = after;
    const { sequence, ttl_ns, record } = held;
    step.put('names', name, {
      ...rest,
      held: { ...held, sequence: String(sequence), ttl_ns: String(ttl_ns), record: base64(record) },
    } satisfies Kept);
    if (!isPlaced) putPlaces(step, name, after);
  }
}

const PLACE_BYTES = 8;
/** A record may have ended before 1970, or be made to look so. */
const placeOf = (time_ms: number): number => Math.max(0, Math.floor(time_ms));

export const expiryOf = ({ expiry_ms, held }: Standing): number => expiry_ms ?? held.eol_ms;

const isSamePlace = (a: Standing, b: Standing): boolean => a.due_ms === b.due_ms && expiryOf(a) === expiryOf(b);

function putPlaces(step: Transaction, name: string, after: Standing): void {
  const { due_ms } = after;
  if (due_ms === null) return;
  const [due, eol] = [placeOf(due_ms), placeOf(expiryOf(after))];
  step.put('name_due', [due, name], uintBytes(eol, PLACE_BYTES));
  step.put('name_expiry', [eol, name], uintBytes(due, PLACE_BYTES));
}

function removePlaces(step: Transaction, name: string, before: Standing): void {
  const { due_ms } = before;
  if (due_ms === null) return;
  step.remove('name_due', [placeOf(due_ms), name]);
  step.remove('name_expiry', [placeOf(expiryOf(before)), name]);
}

/** What a step changes in the counts and totals, so that the record of them is read and written once, however many names it settles. */
export class NameTally {
  readonly #counts = new Map<NameState, number>();
  readonly #totals = new Map<NameTotal, number>();
  #at_ms: number | null = null;

  move(before: Standing | undefined, after: Standing | undefined): void {
    if (before !== undefined) add(this.#counts, stateOf(before), -1);
    if (after !== undefined) add(this.#counts, stateOf(after), 1);
  }

  /** @param at_ms  null where that was no end of a way */
  tell(events: readonly NameTotal[], at_ms: number | null): void {
    for (const event of events) add(this.#totals, event, 1);
    this.#at_ms = at_ms ?? this.#at_ms;
  }

  /** @returns how it was and how it is now */
  write(step: Transaction): { readonly before: NamesMeta; readonly after: NamesMeta } {
    const before = namesMeta(step);
    const after: NamesMeta = {
      counts: summed(before.counts, this.#counts),
      totals: summed(before.totals, this.#totals),
      last_run_at_ms: this.#at_ms ?? before.last_run_at_ms,
    };
    step.put('meta', 'names', after);
    return { before, after };
  }
}

function add<Key>(numbers: Map<Key, number>, key: Key, by: number): void {
  numbers.set(key, (numbers.get(key) ?? 0) + by);
}

function summed<Key extends string>(
  known: Readonly<Partial<Record<Key, number>>>,
  changes: ReadonlyMap<Key, number>,
): Partial<Record<Key, number>> {
  const sum: Partial<Record<Key, number>> = { ...known };
  for (const [key, by] of changes) sum[key] = (sum[key] ?? 0) + by;
  return sum;
}

const wordOf = (value: Uint8Array): number => Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0));

/**
 * The names that are due, the nearest end of life first: all of them while they are few, and the most urgent when downtime has
 * left many behind.
 *
 * @param skip     names that are under way, or were given up for now
 * @param by.behind  many were due when it was asked last, so that the most urgent will do; if it is not so any more, it costs a read
 */
export function dueNames(
  reader: Reader,
  now_ms: number,
  skip: (name: string) => boolean,
  by: { readonly limit: number; readonly behind?: boolean },
): string[] {
  const { limit, behind = false } = by;
  const early = behind ? urgentNames(reader, now_ms, skip, limit) : [];
  if (early.length >= limit) return early.slice(0, limit);
  const page = [...reader.range('name_due', { end: [placeOf(now_ms) + 1, ''], limit: limit + 1 })];
  const due = page.map(([[, name], value]) => ({ name, eol_ms: wordOf(value) })).filter(({ name }) => !skip(name));
  if (page.length <= limit) return urgentFirst(due);
  const urgent = behind ? early : urgentNames(reader, now_ms, skip, limit);
  return [...new Set([...urgent, ...urgentFirst(due)])].slice(0, limit);
}

/** Of those that end first. Looks twice as far as is taken: some that end soon are under way, or wait for a retry. */
function urgentNames(reader: Reader, now_ms: number, skip: (name: string) => boolean, limit: number): string[] {
  return [...reader.range('name_expiry', { limit: 2 * limit })]
    .filter(([[, name], value]) => wordOf(value) <= now_ms && !skip(name))
    .map(([[, name]]) => name);
}

function urgentFirst(due: { readonly name: string; readonly eol_ms: number }[]): string[] {
  return due.sort((a, b) => a.eol_ms - b.eol_ms).map(({ name }) => name);
}

/** When the first record ends of those that are out there and republished; undefined when there are none. */
export function soonestExpiry(reader: Reader): number | undefined {
  const [first] = reader.range('name_expiry', { limit: 1 });
  return first?.[0][0];
}

const PENDING_MAX = 10_000;

/** How many names are due; counted up to 10,000. */
export function pendingNames(reader: Reader, now_ms: number): number {
  return [...reader.range('name_due', { end: [placeOf(now_ms) + 1, ''], limit: PENDING_MAX })].length;
}

/** For tests and checks: records, indexes and counts say the same. */
export function namesAgree(reader: Reader): boolean {
  const names = [...reader.range('names', { limit: 100_000 })].map(([name, kept]) => [name, nameOfKept(kept)] as const);
  const scheduled = names.filter(([, { due_ms }]) => due_ms !== null);
  const total = Object.values(namesMeta(reader).counts).reduce((sum, each) => sum + each, 0);
  const placed = scheduled.every(([name, record]) => {
    const due = reader.get('name_due', [placeOf(record.due_ms!), name]);
    return due !== undefined && wordOf(due) === placeOf(expiryOf(record));
  });
  return (
    placed &&
    total === names.length &&
    reader.count('name_due') === scheduled.length &&
    reader.count('name_expiry') === scheduled.length
  );
}
