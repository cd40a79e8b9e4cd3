// The settings that hold, and how they change while the daemon runs. Every room gets `view`, whose tables are read anew at each
// use, so what a reload applies counts from the next cut, seal or request on. A reload is a transaction: everything is read and checked
// before anything changes, what changes is in the journal before it holds, and on any mistake the old settings stay, whole.
import { canonicalJson } from '../actors/canonical.ts';
import { sha512 } from '../actors/digest.ts';
import { hex, utf8 } from '../actors/encoding.ts';
import { conflicts } from '../config/conflict.ts';
import { type Change, diff } from '../config/diff.ts';
import { ConfigError } from '../config/error.ts';
import { type Config, type ConfigKey, setting } from '../config/schema.ts';

/** What a reload came to. `waiting` are keys that differ from what runs, and need a restart. */
export type Reloaded =
  | { readonly ok: true; readonly changed: readonly Change[]; readonly waiting: readonly ConfigKey[] }
  | { readonly ok: false; readonly code: 'config_invalid'; readonly message: string; readonly issues: number };

export interface SettingsState {
  /** Of what holds; the next seal names it. */
  readonly config_digest: string;
  /** When a setting last changed; null before. */
  readonly reloaded_at_ms: number | null;
  readonly waiting: readonly ConfigKey[];
  /** Since when the newest settings are refused; null while they hold. */
  readonly rejected_at_ms: number | null;
}

export const OUTCOMES = ['applied', 'unchanged', 'rejected'] as const;
export type Outcome = (typeof OUTCOMES)[number];

interface Modules {
  readonly config: Config;
  /** Reads them anew. @throws {ConfigError} */
  readonly load: () => Config;
  /** Durable when it resolves. @throws {Fault} */
  readonly journal: (type: 'config_reloaded' | 'config_rejected', data: object, at_ms: number) => Promise<unknown>;
  /** Rooms that wait by an old setting look again. */
  readonly onApplied: (changes: readonly Change[]) => void;
  readonly now: () => number;
}

/** SHA-512 of the effective settings in canonical JSON: nothing in them is secret, and what changed them shows in the log. */
export const configDigest = (config: Config): string => hex(sha512(utf8(canonicalJson({ ...config }))));

export class Settings {
  /** What rooms are given: a Config that always says what holds. */
  readonly view: Config;
  readonly #modules: Modules;
  readonly #counts: Record<Outcome, number> = { applied: 0, unchanged: 0, rejected: 0 };
  #current: Config;
  #state: SettingsState;
  /** Of the newest refusal, so that one mistake is journaled once however often it is read. */
  #refused: string | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<Reloaded> | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
    this.#current = modules.config;
    this.view = viewOf(() => this.#current);
    this.#state = {
      config_digest: configDigest(modules.config),
      reloaded_at_ms: null,
      waiting: [],
      rejected_at_ms: null,
    };
  }

  get state(): SettingsState {
    return this.#state;
  }

  /** How reloads ended, since the start. */
  get counts(): Readonly<Record<Outcome, number>> {
    return this.#counts;
  }

  /**
   * One at a time. Whoever asks while one runs gets the one after it, which reads later than they asked: so one may wait,
   * however many ask.
   *
   * @throws {Fault} when the journal can't take it; then nothing has changed
   */
  reload(): Promise<Reloaded> {
    if (this.#next === undefined) {
      const next = this.#running.then(() => {
        this.#next = undefined;
        return this.#reload();
      });
      this.#next = next;
      this.#running = next.catch(() => {});
    }
    return this.#next;
  }

  async #reload(): Promise<Reloaded> {
    const { load, journal, onApplied, now } = this.#modules;
    let effective: Config;
    let changes: readonly Change[];
    try {
      changes = diff(this.#current, load());
      effective = applied(this.#current, changes);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return this.#reject(error);
    }
    const changed = changes.filter(({ live }) => live);
    const waiting = changes.filter(({ live }) => !live).map(({ key }) => key);
    const at_ms = now();
    const isNews =
      changed.length > 0 || this.#state.rejected_at_ms !== null || waiting.join() !== this.#state.waiting.join();
    const config_digest = changed.length > 0 ? configDigest(effective) : this.#state.config_digest;
    if (isNews) {
      const told = changed.map(({ key, before, after }) => ({ key, before, after }));
      // Of what waits the name alone: the feed is public, and paths and addresses are nobody else's business.
      await journal('config_reloaded', { changed: told, waiting, config_digest }, at_ms);
    }
    this.#counts[changed.length > 0 ? 'applied' : 'unchanged'] += 1;
    this.#refused = undefined;
    const reloaded_at_ms = changed.length > 0 ? at_ms : this.#state.reloaded_at_ms;
    this.#state = { config_digest, reloaded_at_ms, waiting, rejected_at_ms: null };
    this.#current = effective;
    if (changed.length > 0) onApplied(changed);
    return { ok: true, changed, waiting };
  }

  async #reject({ message, issues }: ConfigError): Promise<Reloaded> {
    const { journal, now } = this.#modules;
    this.#counts.rejected += 1;
    if (this.#refused !== message) {
      const at_ms = now();
      this.#state = { ...this.#state, rejected_at_ms: this.#state.rejected_at_ms ?? at_ms };
      // The count alone, for the same reason; the log has the rest.
      await journal('config_rejected', { issues: issues.length }, at_ms);
      this.#refused = message;
    }
    return { ok: false, code: 'config_invalid', message, issues: issues.length };
  }
}

/** A Config whose tables are those of the newest one. */
function viewOf(current: () => Config): Config {
  const tables = Object.keys(current()) as (keyof Config)[];
  const getters = tables.map((table) => [table, { enumerable: true, get: () => current()[table] }]);
  return Object.freeze(Object.defineProperties({}, Object.fromEntries(getters))) as Config;
}

/**
 * What holds once the live changes do. The file as a whole is without conflict, but what of it waits for a restart is not there
 * yet, and the old may not go with the new.
 *
 * @throws {ConfigError}
 */
function applied(before: Config, changes: readonly Change[]): Config {
  const tables: Record<string, Record<string, unknown>> = Object.fromEntries(
    Object.entries(before).map(([table, values]) => [table, { ...values }]),
  );
  for (const { key, after, live } of changes) {
    const [table = '', name = ''] = key.split('.');
    if (live) tables[table]![name] = after;
  }
  for (const table of Object.values(tables)) Object.freeze(table);
  const effective = Object.freeze(tables) as unknown as Config;
  const [spots] = conflicts(effective);
  if (spots === undefined) return effective;
  const reasons = spots.map(({ key, message }) => {
    return `${key} = ${String(setting(effective, key))}: ${message}; it needs a restart, which takes all changes at once`;
  });
  throw new ConfigError([{ file: 'reload', line: 0, column: 0, key: '', message: reasons.join('; or ') }]);
}
