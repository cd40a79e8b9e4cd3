// The risk room (DESIGN §9): keeps the indicators, assesses them whenever something is reported and as time goes by, and decides
// what a rise of the recommendation asks for. It promises that the score which orders a batch is durable before the batch is, that
// a decision and the effect which it owes are one commit, so that a crash in between ends in exactly one rotation, and that what it
// keeps is bounded. Reports come from administrators, signed feeds and the daemon's own eyes; nothing that a client can cause
// comes here. Changes are made one after the other, each on what the one before has left durable.
import { CATALOGUE } from '../../actors/catalogue.ts';
import { SCHEMES } from '../../actors/envelope.ts';
import { type Origin, type ReportedIndicator, type Threat, threatOf } from '../../actors/indicator.ts';
import {
  advance,
  CALM,
  escalation,
  nextChange,
  type Recommendation,
  recommendationOf,
  type Urgency,
} from '../../actors/recommendation.ts';
import { type Assessed, assess, assessmentOf, type Circumstances, unthreatened } from '../../actors/risk.ts';
import type { Config } from '../../config/schema.ts';
import { Fault } from '../fault.ts';
import { meta, putMeta, type RiskAct, type RiskRecord, riskRecord } from '../records.ts';
import type { Performer, Runtime, Step } from '../runtime.ts';
import type { Store } from '../store.ts';
import { type Change, type Changes, changesOf, contentId, crowdedOut, type Reported } from './changes.ts';
import type { Rotated } from './demand.ts';
import { remember } from './history.ts';

export type RiskOptions = Config['risk'];

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly options: () => RiskOptions;
  /** The time of day, for what is reported. */
  readonly now: () => number;
  /** What decay and overrides go by: stands still while the clock is held; `now` where left out. */
  readonly aging?: () => number;
  /** What rises and falls wait by: goes on through a hold, so that setting the clock puts off no rotation. */
  readonly dwell?: () => number;
  /** Something may have changed in what is recommended or allowed: durable. */
  readonly onChange: () => void;
  /** In the step of an assessment: the score that holds from then on. */
  readonly follow?: (step: Step, score: number, now_ms: number) => void;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

export type Report =
  | {
      readonly ok: true;
      readonly results: readonly Reported[];
      readonly score: number;
      readonly recommendation: Recommendation;
    }
  | { readonly ok: false; readonly index: number; readonly field: string; readonly detail: string };

/** The clocks of reporters may be ahead by so much. */
const AHEAD_MS_MAX = 300_000;

/** How many rotations are remembered with their outcome. */
const ACTS_KEPT = 16;

/** As many as the runtime takes up at a start. */
const OUTBOX_MAX = 10_000;

const DAY_MS = 86_400_000;

/** What an emergency leaves: no signature and no envelope that a quantum computer could forge or open alone. */
const IN_EMERGENCY: RiskRecord['allowed'] = { ecdsa: false, schemes: ['x-wing'] };

export class RiskRoom {
  readonly #modules: Modules;
  /** Durable ones, by id. */
  #threats: ReadonlyMap<string, Threat>;
  #record: RiskRecord;
  #assessed: Assessed;
  #assessed_ms: number;
  /** The newest time that rises and falls were held against: never goes back. */
  #dwelt_ms: number;
  readonly #aging: () => number;
  readonly #dwell: () => number;
  #turn: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(modules: Modules) {
    const { store, options, now } = modules;
    this.#modules = modules;
    const kept = store.range('indicators', { limit: 100_000 });
    this.#threats = new Map([...kept].map(([id, threat]) => [id, threat as Threat]));
    this.#aging = modules.aging ?? now;
    this.#dwell = modules.dwell ?? now;
    this.#record = riskRecord(store) ?? beginning(this.#aging());
    this.#assessed_ms = Math.max(this.#aging(), this.#record.at_ms);
    this.#dwelt_ms = this.#assessed_ms;
    this.#assessed = assess(this.#counted(this.#threats), circumstances(options(), this.#assessed_ms));
  }

  /** Assesses what time has done meanwhile, durably, and goes on doing so. After the start of the runtime, before any cut. */
  async start(): Promise<void> {
    await this.#modules.runtime.commit((step) => this.#resume(step));
    await this.assess();
  }

  /** Resolves when nothing is being changed any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#turn;
  }

  /** The newest that is durable. */
  get record(): RiskRecord {
    return this.#record;
  }

  get inEmergency(): boolean {
    return this.#record.assessment.recommendation === 'emergency_rotation' && !this.#modules.options().dry_run;
  }

  get assessed(): Assessed {
    return this.#assessed;
  }

  get circumstances(): Circumstances {
    return circumstances(this.#modules.options(), this.#assessed_ms);
  }

  /** Kept, not counting the catalogue's; in the order of their ids. */
  get threats(): readonly Threat[] {
    return [...this.#threats.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /**
   * Takes what an operator reports: all or, when one is wrong, nothing. The same again changes nothing; a known id with other
   * content replaces what it said before.
   *
   * @param indicators  validated by their schema; at most INDICATORS_MAX
   * @throws {Fault}    of the store
   */
  async report(indicators: readonly ReportedIndicator[]): Promise<Report> {
    const early = this.#modules.now() + AHEAD_MS_MAX;
    const index = indicators.findIndex(({ timestamp }) => Date.parse(timestamp) > early);
    if (index !== -1) return { ok: false, index, field: 'timestamp', detail: 'expected a time that has been' };
    const threats = indicators.map((each) => threatOf(each, 'operator', each.id ?? contentId(each)));
    const results = await this.#change('reported', (known) => changesOf(known, threats));
    const { score, recommendation } = this.#record.assessment;
    return { ok: true, results, score, recommendation };
  }

  /** @returns whether an operator's indicator of this id was there */
  async withdraw(id: string): Promise<boolean> {
    const name = `operator/${id}`;
    const results = await this.#change('withdrawn', (known) => (known.has(name) ? [{ id: name, threat: null }] : []));
    return results.length > 0;
  }

  /** Makes these all that one origin says: what it no longer mentions goes. */
  async replace(origin: Exclude<Origin, 'operator' | 'catalogue'>, threats: readonly Threat[]): Promise<void> {
    await this.#change(origin, (known) => {
      const said = new Set(threats.map(({ id }) => id));
      const gone = [...known.keys()].filter((id) => id.startsWith(`${origin}/`) && !said.has(id));
      return [...changesOf(known, threats), ...gone.map((id) => ({ id, threat: null }))];
    });
  }

  /** Assesses now: after an order that has changed the record, and as time goes by. */
  async assess(): Promise<void> {
    await this.#change('time', () => []);
  }

  /** Rotations that are owed. @param rotate  must do nothing the second time that it is called for the same act */
  performer(rotate: (act: RiskAct) => Promise<Rotated | null>, timeout_ms: number): Performer<Rotated | null> {
    return {
      kind: 'protect',
      concurrency: 1,
      timeout_ms,
      perform: async (number) => {
        // The new keys go by what the decision allows: until its turn is over, that is known to the store alone.
        await this.#turn;
        const act = riskRecord(this.#modules.store)?.acts.find((each) => each.number === number);
        return act === undefined ? null : rotate(act);
      },
      settle: (step, number, rotated) => {
        const record = riskRecord(step)!;
        const acts = record.acts.map((act) => (act.number === number ? { ...act, rotated } : act));
        putMeta(step, 'risk', { ...record, acts });
        return { done: () => void this.assess().catch(() => {}) };
      },
    };
  }

  #counted(threats: ReadonlyMap<string, Threat>): Threat[] {
    return [...threats.values(), ...(this.#modules.options().catalogue ? CATALOGUE : [])];
  }

  /** One change after the other. @returns what became of each indicator that was said something about */
  #change(cause: string, changes: (known: ReadonlyMap<string, Threat>) => Changes): Promise<Reported[]> {
    const turn = this.#turn.then(() => this.#apply(cause, changes(this.#threats)));
    this.#turn = turn.catch(() => {});
    return turn.finally(() => this.#later());
  }

  async #apply(cause: string, wanted: Changes): Promise<Reported[]> {
    const { runtime, options } = this.#modules;
    const known = this.#threats;
    const changed = wanted.filter(({ outcome }) => outcome !== 'unchanged');
    const threats = new Map(known);
    for (const { id, threat } of changed) threat === null ? threats.delete(id) : threats.set(id, threat);
    const at = circumstances(options(), Math.max(this.#aging(), this.#assessed_ms));
    this.#dwelt_ms = Math.max(this.#dwell(), at.now_ms, this.#dwelt_ms);
    const crowded = new Set(crowdedOut(threats, options().indicators_max, at));
    for (const id of crowded) threats.delete(id);
    const assessed = assess(this.#counted(threats), at);
    const results = wanted.map(({ id, outcome = 'removed' }) => ({
      id,
      outcome: crowded.has(id) ? 'dropped' : outcome,
    }));
    const record = await runtime.commit((step) => {
      for (const id of crowded) if (known.has(id)) step.remove('indicators', id);
      for (const { id, threat } of changed) {
        if (threat === null) step.remove('indicators', id);
        else if (!crowded.has(id)) step.put('indicators', id, threat);
      }
      return this.#decide(step, assessed, at, { cause, changed, crowded: [...crowded], count: threats.size });
    });
    [this.#threats, this.#record, this.#assessed, this.#assessed_ms] = [threats, record, assessed, at.now_ms];
    this.#modules.onChange();
    return results as Reported[];
  }

  /** What the assessment means, and what is owed for it: part of the step that makes it durable. */
  #decide(
    step: Step,
    assessed: Assessed,
    at: Circumstances,
    news: { cause: string; changed: readonly Change[]; crowded: readonly string[]; count: number },
  ): RiskRecord {
    const options = this.#modules.options();
    const before = riskRecord(step) ?? beginning(at.now_ms);
    const override = before.override !== null && at.now_ms < before.override.until_ms ? before.override : null;
    const score = override?.score ?? assessed.score;
    const stance = advance(before.stance, score, this.#dwelt_ms, {
      margin: options.hysteresis,
      rise_ms: options.rise_s * 1000,
      fall_ms: options.fall_s * 1000,
    });
    const recommendation = recommendationOf(stance);
    const previous = before.assessment;
    const assessment = assessmentOf({ ...assessed, score }, recommendation, at.era, at.now_ms);
    const urgency = escalation(previous.recommendation, recommendation);
    const moved = score !== previous.score || recommendation !== previous.recommendation;
    const acted = urgency === undefined ? {} : this.#act(step, before, urgency, at.now_ms, options.dry_run);
    const told = news.changed.length > 0 || news.crowded.length > 0;
    const held = JSON.stringify([before.stance, previous.current_era, before.override]);
    const same = held === JSON.stringify([stance, at.era, override]);
    // A first record is written all the same: a start has something to go on from.
    if (same && !moved && !told && riskRecord(step) !== undefined) return before;
    if (!options.dry_run) this.#modules.follow?.(step, score, at.now_ms);
    const record: RiskRecord = { ...before, ...acted, assessment, stance, override, at_ms: at.now_ms };
    putMeta(step, 'risk', record);
    if (moved) remember(step, at.now_ms, { score, recommendation, indicator_count: news.count }, options.retention_d);
    if (moved || told) {
      const { score: from, recommendation: was } = previous;
      const indicators = news.changed.map(({ id, outcome = 'removed' }) => ({ id, outcome }));
      const said = { score, recommendation, previous: { score: from, recommendation: was }, current_era: at.era };
      const rotation = urgency === undefined ? null : { urgency, dry_run: options.dry_run };
      const { cause, crowded, count: indicator_count } = news;
      step.journal(
        'qrm_update',
        { ...said, cause, indicator_count, indicators, dropped: crowded, overridden: override !== null, rotation },
        at.now_ms,
      );
    }
    return record;
  }

  /** A rotation, decided and owed in one step. In a dry run it is only written down. */
  #act(step: Step, before: RiskRecord, urgency: Urgency, now_ms: number, dry_run: boolean): Partial<RiskRecord> {
    const number = before.act_count + 1;
    const to_epoch = meta(step, 'epoch').active + 1;
    const act: RiskAct = { number, urgency, at_ms: now_ms, to_epoch, dry_run, rotated: null };
    const acts = [...before.acts, act].slice(-ACTS_KEPT);
    if (dry_run) return { act_count: number, acts };
    step.owe({ kind: 'protect', subject: number });
    return { act_count: number, acts, ...(urgency === 'emergency' && { allowed: IN_EMERGENCY }) };
  }

  /** What could not be done before the last end is asked for again. */
  #resume(step: Step): void {
    const act = riskRecord(step)?.acts.at(-1);
    if (act === undefined || act.dry_run || act.rotated !== null) return;
    const owed = [...step.range('outbox', { limit: OUTBOX_MAX })];
    if (owed.some(([, { kind, subject }]) => kind === 'protect' && subject === act.number)) return;
    step.owe({ kind: 'protect', subject: act.number });
  }

  /** The next look: after the interval, or when a dwell time ends before. */
  #later(): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const { options, onFault, fatal } = this.#modules;
    const { assess_interval_s, rise_s, fall_s, hysteresis: margin } = options();
    const due_ms = nextChange(this.#record.stance, { margin, rise_ms: rise_s * 1000, fall_ms: fall_s * 1000 });
    const interval_ms = assess_interval_s * 1000;
    const wait_ms = due_ms === undefined ? interval_ms : Math.min(interval_ms, Math.max(10, due_ms - this.#dwell()));
    this.#timer = setTimeout(() => {
      this.assess().catch((error: unknown) => (error instanceof Fault ? onFault(error) : fatal(error)));
    }, wait_ms).unref();
  }
}

const circumstances = ({ half_life_d, era }: RiskOptions, now_ms: number): Circumstances => ({
  now_ms,
  half_life_ms: half_life_d * DAY_MS,
  era,
});

function beginning(now_ms: number): RiskRecord {
  const allowed = { ecdsa: true, schemes: SCHEMES };
  return {
    ...{ assessment: unthreatened(now_ms), stance: CALM, override: null, allowed },
    ...{ act_count: 0, acts: [], at_ms: now_ms },
  };
}
