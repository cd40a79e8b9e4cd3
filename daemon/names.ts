// The names of a running sequencer (DESIGN §10): who is enrolled, with which record, and the rounds in which each that is due is
// signed anew and published. The API, the CLI and the demo ask here; the decisions are actors/extension.ts and actors/name.ts,
// the way of one name is names/cycle.ts, and the rounds are names/rounds.ts.
//
// Promises: what a caller brings is examined by a thread before anything is kept of it, and durable when it is acknowledged; a
// bad entry never costs the others theirs; a newer record is never replaced by an older one.

import { fromBase64 } from '../actors/encoding.ts';
import { Enrolment, NAMES_PER_REQUEST_MAX, RecordUpdate, type RepublishResult } from '../actors/enrolment.ts';
import { judgeUpdate, type UpdateRefusal } from '../actors/extension.ts';
import { NAME_STATES, type NameState } from '../actors/words.ts';
import type { Config } from '../config/schema.ts';
import type { KeyRefusal, WrappedName } from '../workers/name.ts';
import type { Pool } from '../workers/pool.ts';
import { firstIssue } from './api/input.ts';
import type { Fault } from './fault.ts';
import { Cycle, NAME_KEY } from './names/cycle.ts';
import { RouterLimit } from './names/limit.ts';
import {
  advance,
  contextOf,
  type Held,
  type Name,
  nameOfKept,
  nameRecord,
  namesMeta,
  newMachine,
  pendingNames,
  putName,
  soonestExpiry,
  stateOf,
} from './names/record.ts';
import { republish } from './names/republish.ts';
import { Rounds } from './names/rounds.ts';
import { NameThreads } from './names/threads.ts';
import { httpRouter, type Router } from './router.ts';
import type { Store, Transaction } from './store.ts';
import type { WrapKeys, Wraps } from './wraps.ts';

export type NameRefusal =
  | 'names_off'
  | 'names_full'
  | 'name_repeated'
  | 'name_not_found'
  | 'epoch_not_accepted'
  | 'record_invalid'
  | 'record_foreign'
  | 'record_expired'
  | UpdateRefusal
  | Exclude<KeyRefusal, 'key_retired'>;
export type Refusal =
  | { readonly ok: false; readonly code: NameRefusal }
  | { readonly ok: false; readonly code: 'invalid_name'; readonly field: string; readonly detail: string };
export type Enrolled =
  | {
      readonly ok: true;
      readonly name: string;
      readonly created: boolean;
      readonly record: Name;
      readonly key_epoch: number;
    }
  | Refusal;

/** What is shown of a name. */
export interface Shown {
  readonly name: string;
  readonly record: Name;
  readonly key_epoch: number;
}

export interface NamesModules {
  readonly store: Store;
  readonly wraps: Wraps;
  readonly pool: Pool;
  readonly epochs: { readonly active: { readonly keys: WrapKeys }; keysOf(epoch: number): WrapKeys | undefined };
  readonly options: () => Config['names'];
  /** Whether what is encrypted to this epoch is still taken. */
  readonly accepts: (epoch: number) => boolean;
  readonly onEmptied: (epoch: number) => void;
  readonly now: () => number;
  /** Whether nothing is signed, since the clock is held. */
  readonly held?: () => boolean;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
  /** The one of `names.router` where left out. */
  readonly router?: Router;
  /** From 0 up to 1. */
  readonly random?: () => number;
}

/** Names that are read for one page of those in a state. */
const PAGE_SCAN_MAX = 1_000;

export class Names {
  readonly threads: NameThreads;
  readonly #modules: NamesModules;
  readonly #limit: RouterLimit;
  readonly #rounds: Rounds | undefined;

  constructor(modules: NamesModules) {
    this.#modules = modules;
    const { store, wraps, options, now, onEmptied, random = Math.random } = modules;
    this.threads = new NameThreads(modules);
    this.#limit = new RouterLimit(options);
    const { router: url, timeout_ms } = options();
    const router = modules.router ?? (url === '' ? undefined : httpRouter(url, timeout_ms, now));
    if (router === undefined) return;
    const cycle = new Cycle({
      ...{ store, wraps, router, now, random, onEmptied },
      limit: this.#limit,
      extend: this.threads.extend,
      examine: this.threads.examine,
      options: () => {
        const { interval_s, lifetime_s, read_back_every } = options();
        return { interval_ms: interval_s * 1_000, lifetime_ms: lifetime_s * 1_000, read_back_every };
      },
    });
    const { onFault, fatal, held } = modules;
    this.#rounds = new Rounds({ store, now, held, onFault, fatal, pass: (name, signal) => cycle.pass(name, signal) });
  }

  /** Whether a router is configured. */
  get on(): boolean {
    return this.#rounds !== undefined;
  }

  async start(): Promise<void> {
    await this.#rounds?.start();
  }

  /** What is on its way to a router is let go; what was signed is durable and goes out after the next start. */
  async stop(): Promise<void> {
    await this.#rounds?.stop();
  }

  /** Passes every name that is due; resolves when none is left. */
  async run(): Promise<void> {
    await this.#rounds?.run();
  }

  /**
   * Enrols names, each on its own and answered in its place; durable when it resolves. A name that is enrolled already gets the key
   * and, if it is newer, the record.
   *
   * @param inputs  from whoever, at most 200: each is validated here
   */
  async enrol(inputs: readonly unknown[]): Promise<Enrolled[]> {
    if (!this.on) return inputs.map(() => ({ ok: false, code: 'names_off' }));
    if (inputs.length > NAMES_PER_REQUEST_MAX) throw new RangeError(`at most ${NAMES_PER_REQUEST_MAX} names at once`);
    const seen = new Set<string>();
    const examined = await Promise.all(
      inputs.map(async (input): Promise<Refusal | { ok: true; given: Given }> => {
        const parsed = Enrolment.safeParse(input);
        if (!parsed.success) return { ok: false, code: 'invalid_name', ...firstIssue(parsed.error) };
        const { ipnsName: name, encryptedIpnsKey, keyEpoch: epoch, record } = parsed.data;
        if (seen.has(name)) return { ok: false, code: 'name_repeated' };
        seen.add(name);
        const key = { epoch, wrapped: fromBase64(encryptedIpnsKey) };
        const found = await this.#examine(name, fromBase64(record), key);
        return found.ok ? { ok: true, given: { name, key, held: found.held } } : found;
      }),
    );
    const good = examined.flatMap((each) => (each.ok ? [each.given] : []));
    if (good.length === 0) return examined as Refusal[];
    const kept = await this.#modules.store.commit((step) => {
      const outcomes = new Map(good.map((given) => [given.name, this.#keep(step, given)]));
      const changed = [...outcomes.values()].filter((each) => each.ok);
      const enrolled = changed.filter((each) => each.ok && each.created).length;
      const counted = { enrolled, updated: changed.length - enrolled };
      if (changed.length > 0) step.journal('names_enrolled', counted, this.#modules.now());
      return outcomes;
    });
    void this.run();
    return examined.map((each) => (each.ok ? kept.get(each.given.name)! : each));
  }

  /** Takes a newer record of the owner. */
  async update(name: string, input: unknown): Promise<Enrolled> {
    if (!this.on) return { ok: false, code: 'names_off' };
    const { store, wraps } = this.#modules;
    const parsed = RecordUpdate.safeParse(input);
    if (!parsed.success) return { ok: false, code: 'invalid_name', ...firstIssue(parsed.error) };
    if (nameRecord(store, name) === undefined) return { ok: false, code: 'name_not_found' };
    const examined = await this.#examine(name, fromBase64(parsed.data.record), null);
    if (!examined.ok) return examined;
    const outcome = await store.commit((step): Enrolled => {
      const known = nameRecord(step, name);
      if (known === undefined) return { ok: false, code: 'name_not_found' };
      const judged = judgeUpdate(known.held, examined.held);
      if (!judged.ok) return judged;
      const record = judged.adopt ? this.#replace(step, name, known, examined.held) : known;
      return { ok: true, name, created: false, record, key_epoch: wraps.read(step, NAME_KEY, name)!.epoch };
    });
    if (outcome.ok) void this.run();
    return outcome;
  }

  /** @returns whether it was there: its key goes with it, and what is published ends by itself */
  remove(name: string): Promise<boolean> {
    const { store, wraps, now } = this.#modules;
    return store.commit((step) => {
      const known = nameRecord(step, name);
      if (known === undefined) return false;
      putName(step, name, known, undefined);
      wraps.remove(step, NAME_KEY, name);
      step.journal('names_removed', { removed: 1 }, now());
      return true;
    });
  }

  show(name: string): Shown | undefined {
    const { store, wraps } = this.#modules;
    const record = nameRecord(store, name);
    return record === undefined ? undefined : { name, record, key_epoch: wraps.read(store, NAME_KEY, name)!.epoch };
  }

  /** Pages in the order of names. @param asked.state  a page may then hold fewer, and still have a next one */
  list(asked: { after?: string | undefined; state?: NameState | undefined; limit: number }): {
    names: Shown[];
    next: string | null;
  } {
    const { store, wraps } = this.#modules;
    const { after, state, limit } = asked;
    const scan = state === undefined ? limit : PAGE_SCAN_MAX;
    const start = after === undefined ? {} : { start: `${after}\0` };
    const found = [...store.range('names', { ...start, limit: scan + 1 })];
    const names: Shown[] = [];
    let last: string | undefined;
    for (const [name, kept] of found.slice(0, scan)) {
      if (names.length === limit) break;
      last = name;
      const record = nameOfKept(kept);
      if (state !== undefined && stateOf(record) !== state) continue;
      names.push({ name, record, key_epoch: wraps.read(store, NAME_KEY, name)!.epoch });
    }
    const more = found.length > scan || (last !== undefined && last !== found.at(-1)?.[0]);
    return { names, next: more ? last! : null };
  }

  /** Numbers for the health page and for metrics. */
  get overview() {
    const { store } = this.#modules;
    const { counts, totals, last_run_at_ms } = namesMeta(store);
    const states = Object.fromEntries(NAME_STATES.map((state) => [state, counts[state] ?? 0]));
    return {
      states: states as Record<NameState, number>,
      totals,
      last_run_at_ms,
      soonest_expiry_ms: soonestExpiry(store),
      in_flight_limit: this.#limit.limit,
    };
  }

  /** How many are due now; counted up to 10,000. */
  get pending(): number {
    return pendingNames(this.#modules.store, this.#modules.now());
  }

  /** The worker protocol, for a backend that keeps its own schedule. @throws {Fault} */
  republish(entries: readonly unknown[]): Promise<RepublishResult[]> {
    const { accepts, store, options, held, now } = this.#modules;
    return republish(
      {
        threads: this.threads,
        isEnrolled: (name) => store.get('names', name) !== undefined,
        accepts: (epoch) => accepts(epoch),
        held: () => held?.() === true,
        lifetime_ms: options().lifetime_s * 1_000,
        now,
      },
      entries,
    );
  }

  async #examine(
    name: string,
    record: Uint8Array,
    key: WrappedName | null,
  ): Promise<Refusal | { readonly ok: true; readonly held: Held }> {
    const examined = await this.threads.examine.add({ name, record, key });
    // Its keys are gone, or never were: to whoever asks, an epoch that isn't taken.
    if (!examined.ok)
      return examined.code === 'key_retired'
        ? { ok: false, code: 'epoch_not_accepted' }
        : { ok: false, code: examined.code };
    const { entry } = examined;
    if (entry === null || entry.eol_ms <= this.#modules.now()) return { ok: false, code: 'record_expired' };
    return { ok: true, held: { ...entry, record } };
  }

  #keep(step: Transaction, { name, key, held }: Given): Enrolled {
    const { wraps, options, now } = this.#modules;
    const known = nameRecord(step, name);
    if (known === undefined && step.count('names') >= options().names_max) return { ok: false, code: 'names_full' };
    const judged = known === undefined ? { ok: true as const, adopt: true } : judgeUpdate(known.held, held);
    if (!judged.ok) return judged;
    const adopted = wraps.adopt(step, NAME_KEY, name, key);
    if (!adopted.ok) return adopted;
    const at_ms = now();
    if (known !== undefined) {
      // Another key, perhaps: what the name was waiting for may be this.
      const record = this.#replace(step, name, known, judged.adopt ? held : known.held);
      return { ok: true, name, created: false, record, key_epoch: key.epoch };
    }
    const timing = { due_ms: at_ms, revision: 0, resolve: false, enrolled_at_ms: at_ms, published_at_ms: null };
    const record: Name = { machine: newMachine(), held, ...timing };
    putName(step, name, undefined, record);
    return { ok: true, name, created: true, record, key_epoch: key.epoch };
  }

  /** Due at once, whatever is on its way. */
  #replace(step: Transaction, name: string, known: Name, held: Held): Name {
    const machine = advance(known.machine, { type: 'updated' });
    const record = { ...known, machine, held, due_ms: this.#modules.now(), revision: known.revision + 1 };
    putName(step, name, known, record);
    return record;
  }
}

interface Given {
  readonly name: string;
  readonly key: WrappedName;
  readonly held: Held;
}

/** For pages and the CLI: what a name is waiting for. */
export const reasonOf = (record: Name): string | null => contextOf(record).reason;
