// The way of one name through a cycle (DESIGN §10): ask the router what it has, take over what is newer, sign anew where the life is
// too short, commit, publish, commit. Each name goes its way alone, so that one that hangs holds up no other; threads and
// commits are shared by whatever comes in the same turn.
//
// Promises: what is signed is durable before the router sees it; an outcome that belongs to a record which its owner has replaced
// meanwhile changes nothing; a name is due again after whatever happened, unless nothing but its owner can mend it.
import type { Snapshot } from '../../actors/effect.ts';
import { backoff, choose, extendedEol, extendsUnresolved, needOf, nextDue } from '../../actors/extension.ts';
import { validityOf } from '../../actors/ipns.ts';
import { type NameEvent, STALE_FAILURES } from '../../actors/name.ts';
import type { ExamineOutcome, ExamineRow, ExtendOutcome, ExtendRow } from '../../workers/name.ts';
import type { Put, Router, RouterFailure } from '../router.ts';
import type { Store, Transaction } from '../store.ts';
import { nameOf, type Wrap, type Wraps } from '../wraps.ts';
import { Chunks, type Load, type RouterLimit } from './limit.ts';
import {
  advance,
  contextOf,
  expiryOf,
  type Held,
  type Name,
  type NamesMeta,
  NameTally,
  type NameTotal,
  nameRecord,
  placeName,
  standingOf,
  stateOf,
} from './record.ts';

/** The kind of names' keys in the room of wrapped secrets. */
export const NAME_KEY = 'name';

export interface CycleOptions {
  readonly interval_ms: number;
  readonly lifetime_ms: number;
  readonly read_back_every: number;
}

export interface CycleModules {
  readonly store: Store;
  readonly wraps: Wraps;
  readonly router: Router;
  readonly limit: RouterLimit;
  readonly options: () => CycleOptions;
  readonly extend: Chunks<ExtendRow, ExtendOutcome>;
  readonly examine: Chunks<ExamineRow, ExamineOutcome>;
  /** An epoch has lost its last wrap, durably. */
  readonly onEmptied: (epoch: number) => void;
  readonly now: () => number;
  /** From 0 up to 1. */
  readonly random: () => number;
}

/** What a name has come to be on its way; durable only as far as it was committed. */
interface Way {
  readonly name: string;
  readonly signal: AbortSignal;
  /** As it was read, or last written. */
  held: Held;
  /** When what is out there ends. */
  expiry_ms: number;
  machine: Snapshot;
  readonly revision: number;
  readonly told: NameTotal[];
}

/** How the record of a name changes. */
interface Change {
  readonly due_ms?: number | null;
  /** Given at the end of a way. */
  readonly told?: readonly NameTotal[];
  readonly resolve?: boolean;
  readonly published?: boolean;
  readonly rewrap?: { readonly held: Wrap; readonly to: Wrap | null };
}

interface Settlement {
  readonly way: Way;
  readonly machine: Snapshot;
  readonly change: Change;
}

interface News {
  readonly told: readonly NameTotal[];
  readonly reason: string | null;
  /** It was stale and is published. */
  readonly recovered: boolean;
}

/** Some milliseconds of the main thread. */
const SETTLED_MAX = 128;
/** A router answers for each name at another time, and a commit for each would cost a disk more than all the rest. */
const SETTLED_WAIT_MS = 10;

/** A retry of this instant would never leave the clock behind. */
const WAIT_MS_MIN = 1_000;

export class Cycle {
  readonly #modules: CycleModules;
  readonly #settlements = new Chunks<Settlement, boolean>(SETTLED_MAX, (rows) => this.#write(rows), SETTLED_WAIT_MS);

  constructor(modules: CycleModules) {
    this.#modules = modules;
  }

  /** @throws {Fault} when the store or a thread fails: the name is as it was, and still due */
  async pass(name: string, signal: AbortSignal): Promise<void> {
    const { store, options, now } = this.#modules;
    const record = nameRecord(store, name);
    if (record === undefined || record.due_ms === null) return;
    const machine = stateOf(record) === 'due' ? record.machine : advance(record.machine, { type: 'due' });
    const { held, revision } = record;
    const way: Way = { name, signal, held, expiry_ms: expiryOf(record), machine, revision, told: ['due'] };

    const { unsent } = contextOf(way);
    let need = needOf(way.held.eol_ms, now(), options(), unsent);
    if (!unsent || record.resolve) {
      const resolved = await this.#resolve(way);
      if (resolved === 'adopted') need = needOf(way.held.eol_ms, now(), options(), false);
      // Sending again what is held can't do harm; signing might, were there a newer record to take over.
      else if (resolved !== 'known' && need === 'extend' && !extendsUnresolved(way.held.eol_ms, now(), options())) {
        return this.#settleFailure(way, resolved);
      }
    }
    if (need === 'extend' && !(await this.#extend(way))) return;
    await this.#publish(way);
  }

  /** Takes over what the router has, where that wins. */
  async #resolve(way: Way): Promise<'adopted' | 'known' | RouterFailure> {
    const { router } = this.#modules;
    const got = await this.#ask(way.signal, () => router.get(way.name, way.signal));
    if (!got.ok) return got;
    if (got.record === null) return 'known';
    const examined = await this.#modules.examine.add({ name: way.name, record: got.record, key: null });
    // A router can't say what the owner didn't sign; what it makes up is passed over.
    if (!examined.ok || examined.entry === null) {
      way.told.push('lies');
      return 'known';
    }
    const found = { ...examined.entry, record: got.record };
    const { adopt, conflict } = choose(way.held, found);
    if (conflict) way.told.push('conflicts');
    if (!adopt) return 'known';
    way.told.push('adopted');
    way.held = found;
    way.expiry_ms = found.eol_ms;
    return 'adopted';
  }

  /** @returns false when that was the end of this way */
  async #extend(way: Way): Promise<boolean> {
    const { store, wraps, options, now } = this.#modules;
    const wrap = wraps.read(store, NAME_KEY, way.name);
    if (wrap === undefined) return false;
    way.machine = advance(way.machine, { type: 'taken' });
    const { value, sequence, ttl_ns } = way.held;
    const eol_ms = extendedEol(way.held.eol_ms, now(), options());
    const entry = { value, sequence, ttl_ns, validity: validityOf(eol_ms) };
    const signed = await this.#modules.extend.add({ name: way.name, ...wrap, ...entry });
    if (!signed.ok) {
      await this.#settle(way, { type: 'refused', reason: signed.code }, { due_ms: null, told: ['quarantined'] });
      return false;
    }
    way.held = { ...entry, eol_ms, record: signed.record };
    way.told.push('extended');
    return this.#settle(way, { type: 'signed' }, { rewrap: { held: wrap, to: signed.rewrapped } });
  }

  async #publish(way: Way): Promise<void> {
    const { router, options, now, random } = this.#modules;
    way.machine = advance(way.machine, { type: 'sent' });
    let put = await this.#ask(way.signal, () => router.put(way.name, way.held.record, way.signal));
    const { read_back_every, interval_ms } = options();
    if (put.ok && read_back_every > 0 && random() * read_back_every < 1) put = await this.#readBack(way);
    if (put.ok) {
      const due_ms = nextDue(way.name, now(), interval_ms, random());
      await this.#settle(way, { type: 'published' }, { due_ms, told: ['published'], published: true });
    } else if (put.kind === 'refused') {
      const refused = { type: 'refused', reason: 'record_refused', detail: String(put.status) } as const;
      await this.#settle(way, refused, { due_ms: null, told: ['quarantined'] });
    } else await this.#settleFailure(way, put);
  }

  /** Whether the router has what it said that it took, or something that beats it. */
  async #readBack(way: Way): Promise<Put> {
    const { router, examine } = this.#modules;
    const got = await this.#ask(way.signal, () => router.get(way.name, way.signal));
    if (!got.ok) return got;
    const examined = got.record === null ? null : await examine.add({ name: way.name, record: got.record, key: null });
    if (examined?.ok && examined.entry !== null && !choose(examined.entry, way.held).adopt) return { ok: true };
    way.told.push('lies');
    return { ok: false, kind: 'failed', reason: 'router_lied', resolve: true };
  }

  async #settleFailure(way: Way, failure: RouterFailure): Promise<void> {
    const { now, random } = this.#modules;
    const { reason, retry_after_ms, resolve = false } = failure;
    const { failures } = contextOf(way);
    const wait_ms = Math.max(WAIT_MS_MIN, backoff(failures + 1, random(), retry_after_ms));
    await this.#settle(
      way,
      { type: 'failed', reason, resolve },
      { due_ms: now() + wait_ms, told: ['failed'], resolve },
    );
  }

  async #ask<T extends { ok: boolean }>(signal: AbortSignal, request: () => Promise<T>): Promise<T> {
    const { limit } = this.#modules;
    const answer = await limit.pass(signal, request, loadOf);
    signal.throwIfAborted();
    const { retry_after_ms } = answer as Partial<RouterFailure>;
    if (retry_after_ms !== undefined) limit.pause(retry_after_ms);
    return answer;
  }

  /** @returns whether it was written: not when the owner has brought something newer, or removed the name */
  async #settle(way: Way, event: NameEvent, change: Change): Promise<boolean> {
    const machine = advance(way.machine, event);
    const settled = await this.#settlements.add({ way, machine, change });
    if (!settled) return false;
    way.machine = machine;
    way.told.length = 0;
    return true;
  }

  /** Whatever was settled together is one step. */
  async #write(settlements: readonly Settlement[]): Promise<boolean[]> {
    const { store, onEmptied, now } = this.#modules;
    const { settled, emptied } = await store.commit((step) => {
      const at_ms = now();
      const tally = new NameTally();
      const outcomes = settlements.map((settlement) => this.#put(step, settlement, tally, at_ms));
      const { before, after } = tally.write(step);
      const news = outcomes.flatMap((outcome) => (outcome === undefined ? [] : [outcome.news]));
      tell(step, news, before, after, at_ms);
      const epochs = outcomes.map((outcome) => outcome?.emptied).filter((epoch) => epoch !== undefined);
      return { settled: outcomes.map((outcome) => outcome !== undefined), emptied: new Set(epochs) };
    });
    for (const epoch of emptied) onEmptied(epoch);
    return settled;
  }

  #put(step: Transaction, { way, machine, change }: Settlement, tally: NameTally, at_ms: number) {
    const kept = standingOf(step, way.name);
    if (kept === undefined || kept.revision !== way.revision) return undefined;
    const wentStale = machine.value === 'stale' && contextOf({ machine }).failures === STALE_FAILURES;
    const told = [...way.told, ...(change.told ?? []), ...(wentStale ? (['stale'] as const) : [])];
    const after: Name = {
      ...kept,
      machine,
      held: way.held,
      // What is signed is not out there before the router has it.
      expiry_ms: change.published === true ? way.held.eol_ms : way.expiry_ms,
      due_ms: change.due_ms === undefined ? kept.due_ms : change.due_ms,
      resolve: change.resolve ?? false,
      published_at_ms: change.published === true ? at_ms : kept.published_at_ms,
    };
    placeName(step, way.name, kept, after, tally);
    tally.tell(told, change.told === undefined ? null : at_ms);
    const { reason } = contextOf(after);
    const recovered = told.includes('published') && contextOf(kept).failures >= STALE_FAILURES;
    return { emptied: this.#rewrap(step, way.name, change.rewrap), news: { told, reason, recovered } };
  }

  /** The key moves with the record that it has signed. @returns the epoch that has no wraps left by it */
  #rewrap(
    step: Transaction,
    name: string,
    rewrap?: { readonly held: Wrap; readonly to: Wrap | null },
  ): number | undefined {
    if (rewrap === undefined || rewrap.to === null) return undefined;
    const { wraps } = this.#modules;
    const { held, to } = rewrap;
    const moved = wraps.move(step, [{ name: nameOf(NAME_KEY, name), held, wrapped: to.wrapped }], to.epoch);
    return moved > 0 && wraps.backlog(step, held.epoch) === 0 ? held.epoch : undefined;
  }
}

/** A limit that sinks for what a router says on purpose would starve the others: only trouble counts. */
function loadOf(answer: { readonly ok: boolean; readonly kind?: string }): Load {
  return answer.ok || answer.kind === 'refused' ? 'well' : 'badly';
}

/**
 * Says what an operator should see, in numbers: everyone may read the feed, and which names there are is for nobody to read.
 * When all of them fail at once, the first one speaks for the rest.
 */
function tell(step: Transaction, news: readonly News[], before: NamesMeta, after: NamesMeta, at_ms: number): void {
  for (const { told } of news) if (told.includes('conflicts')) step.journal('name_conflict', {}, at_ms);
  const first = (state: 'stale' | 'quarantined') => {
    return (before.counts[state] ?? 0) === 0 ? news.find(({ told }) => told.includes(state)) : undefined;
  };
  const [stale, quarantined] = [first('stale'), first('quarantined')];
  if (stale !== undefined) step.journal('names_stale', { reason: stale.reason }, at_ms);
  const recovered = news.some((each) => each.recovered);
  if (recovered && (after.counts.stale ?? 0) === 0) step.journal('names_recovered', {}, at_ms);
  if (quarantined !== undefined) step.journal('names_quarantined', { reason: quarantined.reason }, at_ms);
}
