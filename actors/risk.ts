// The risk score (DESIGN §9): a pure function of indicators, time, half-life and era, in whole numbers from end to end, so that
// every machine that is given the same gets the same; headers carry it, signed. docs/risk.md has the formula and an example
// that is computed from here. What the function promises, risk.test.ts holds as properties: 0 to 10,000; no indicator lowers it;
// later eras don't either; nothing dilutes a catastrophe; it halves with time; one source counts once for one threat.
import type { RiskAssessment } from './batch.ts';
import { timestamp } from './encoding.ts';
import { CATEGORY_WEIGHTS, type Threat } from './indicator.ts';
import type { Recommendation } from './recommendation.ts';
import { CATEGORIES, type Category, ERAS, type Era } from './words.ts';

/** The score and every part of it that is shown. */
export const SCORE_MAX = 10_000;

const PPM = 1_000_000;

/** What is left of certainty is kept finer than hazards are, so that rounding down a thousand times doesn't show. */
const CERTAIN = 1_000_000_000;

/** How much of a report is believed at most, in percent: one source alone never makes a certainty. */
const RELIANCE = 85;

/** In tenths. Evidence about better machines reaches further: what they break, they break everywhere at once. */
const ERA_TENTHS: Readonly<Record<Era, number>> = { pre_quantum: 8, nisq: 9, fault_tolerant: 10 };

/**
 * How high a category alone can lift the score, in ten-thousandths: from 7,000 for no weight to 10,000 for the heaviest. New
 * keys help against broken signatures; against a broken hash they don't, so that alone is no reason to rotate in haste.
 */
const REACH_LEAST = 7000;
const HEAVIEST = Math.max(...Object.values(CATEGORY_WEIGHTS));
export const reachOf = (category: Category): number =>
  REACH_LEAST + Math.floor(((SCORE_MAX - REACH_LEAST) * CATEGORY_WEIGHTS[category]) / HEAVIEST);

/** When and against what a list of threats is held. */
export interface Circumstances {
  readonly now_ms: number;
  /** At most HALF_LIFE_MAX_MS. */
  readonly half_life_ms: number;
  readonly era: Era;
}

/** Ten years; beyond it `decay` would leave the exact integers. */
export const HALF_LIFE_MAX_MS = 3650 * 86_400_000;

export interface CategoryScore {
  readonly category: Category;
  readonly score: number;
  /** Those that count: without duplicates. */
  readonly indicator_count: number;
}

/** A threat and what it weighs at the moment. */
export interface Weighed {
  readonly threat: Threat;
  /** In millionths; 0 once it has decayed. */
  readonly hazard: number;
  /** The threat that stands for it: the same said by the same source, weighing more. */
  readonly duplicate_of: string | null;
}

export interface Assessed {
  readonly score: number;
  /** All twelve, in the order of CATEGORIES. */
  readonly categories: readonly CategoryScore[];
  /** All threats, the heaviest first. */
  readonly weighed: readonly Weighed[];
}

/** 2^(−1/2), 2^(−1/4), … 2^(−1/2^14), times 2^26: products of two stay below 2^53. */
const ROOTS = [
  47453133, 56431603, 61539100, 64263668, 65670859, 66385968, 66746437, 66927405, 67018073, 67063453, 67086155,
  67097508, 67103186, 67106025,
] as const;
const ONE = 2 ** 26;
const STEPS = 2 ** ROOTS.length;

/**
 * 2^(−age / half-life), times 2^26. `Math.pow` may differ between engines in its last bit, so the fraction is made from square
 * roots of a half, bit by bit.
 *
 * @param age_ms  what is not yet old at all counts in full
 */
export function decay(age_ms: number, half_life_ms: number): number {
  if (age_ms <= 0) return ONE;
  const halvings = Math.floor(age_ms / half_life_ms);
  if (halvings > 26) return 0;
  const fraction = Math.floor(((age_ms - halvings * half_life_ms) * STEPS) / half_life_ms);
  let value: number = ONE;
  for (let bit = 0; bit < ROOTS.length; bit++) {
    if ((fraction >>> (ROOTS.length - 1 - bit)) & 1) value = Math.floor((value * ROOTS[bit]!) / ONE);
  }
  return value >>> halvings;
}

const tenThousandths = (share: number): number => Math.round(share * 10_000);

const laterOf = (a: Era, b: Era): Era => (ERAS.indexOf(a) >= ERAS.indexOf(b) ? a : b);

/** What one threat weighs, in millionths. */
export function hazard(
  threat: Pick<Threat, 'severity' | 'confidence' | 'era_relevance' | 'at_ms'>,
  { now_ms, half_life_ms, era }: Circumstances,
): number {
  const said = tenThousandths(threat.severity) * tenThousandths(threat.confidence);
  const fresh = Math.floor((said * ERA_TENTHS[laterOf(era, threat.era_relevance)] * RELIANCE) / 100_000);
  return Math.floor((fresh * decay(now_ms - threat.at_ms, half_life_ms)) / ONE);
}

/**
 * Who stands behind it: a feed is one source whatever names it uses; what an operator reports names its own, which holds no
 * line end.
 */
const reporter = ({ origin, source }: Threat): string =>
  origin === 'daemon' || origin.startsWith('feed:') ? `\n${origin}` : source;

/**
 * How likely it is, in millionths, that at least one of independent hazards is real. Taken in falling order, so that the
 * rounding doesn't depend on the order of arrival.
 */
function combine(hazards: readonly number[]): number {
  const falling = Float64Array.from(hazards).sort();
  let spared = CERTAIN;
  for (let i = falling.length - 1; i >= 0; i--) spared = Math.floor((spared * (PPM - falling[i]!)) / PPM);
  return Math.floor((CERTAIN - spared) / (CERTAIN / PPM));
}

/** The worst category leads; all of them, by weight, take up what it leaves free. */
function scoreOf(dangers: Readonly<Record<Category, number>>): number {
  let worst = 0;
  let sum = 0;
  for (const category of CATEGORIES) {
    worst = Math.max(worst, Math.floor((dangers[category] * reachOf(category)) / SCORE_MAX));
    sum += Math.floor((dangers[category] * CATEGORY_WEIGHTS[category]) / SCORE_MAX);
  }
  return Math.floor((worst + Math.floor(((PPM - worst) * sum) / PPM)) / (PPM / SCORE_MAX));
}

/** Above the highest index, so that a hazard and an index fit into one exact number. */
const INDICES = 2 ** 24;

/**
 * The heaviest first, equal ones by id. Numbers sort many times faster than objects, so the order is made of hazards with
 * their indices, and only those that are equal are looked at again.
 */
function byWeight(threats: readonly Threat[], hazards: Float64Array): number[] {
  const places = hazards.map((hazard, i) => (PPM - hazard) * INDICES + i).sort();
  const order = Array.from(places, (place) => place % INDICES);
  const id = (place: number): string => threats[order[place]!]!.id;
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && hazards[order[end]!] === hazards[order[start]!]) end += 1;
    let sorted = true;
    for (let i = start + 1; i < end && sorted; i++) sorted = id(i - 1) < id(i);
    if (!sorted) {
      const equal = order.slice(start, end).sort((a, b) => (threats[a]!.id < threats[b]!.id ? -1 : 1));
      for (const [i, index] of equal.entries()) order[start + i] = index;
    }
    start = end;
  }
  return order;
}

/** Who has said what first. Maps in maps: a key that is put together would have to be hashed anew for each threat. */
class Sayings {
  readonly #known = new Map<string, Map<string, Map<string, string>>>();

  /** @returns the id of the threat that has said the same before, by the same source; else this one is remembered, and null */
  before(threat: Threat): string | null {
    const { category, sub_category, id } = threat;
    const of = within(within(this.#known, category), sub_category);
    const source = reporter(threat);
    const first = of.get(source);
    if (first === undefined) of.set(source, id);
    return first ?? null;
  }
}

function within<V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let inner = map.get(key);
  if (inner === undefined) {
    inner = new Map();
    map.set(key, inner);
  }
  return inner;
}

function weigh(threats: readonly Threat[], circumstances: Circumstances): Weighed[] {
  const hazards = Float64Array.from(threats, (threat) => hazard(threat, circumstances));
  const sayings = new Sayings();
  return byWeight(threats, hazards).map((index) => {
    const threat = threats[index]!;
    return { threat, hazard: hazards[index]!, duplicate_of: sayings.before(threat) };
  });
}

/** Hazards that count, by category. */
function sortOut(weighed: readonly Weighed[]): Record<Category, number[]> {
  const sorted = Object.fromEntries(CATEGORIES.map((category) => [category, []])) as unknown as Record<
    Category,
    number[]
  >;
  for (const { threat, hazard, duplicate_of } of weighed) {
    if (duplicate_of === null && hazard > 0) sorted[threat.category].push(hazard);
  }
  return sorted;
}

const dangersOf = (sorted: Readonly<Record<Category, readonly number[]>>): Record<Category, number> =>
  Object.fromEntries(CATEGORIES.map((category) => [category, combine(sorted[category])])) as Record<Category, number>;

/**
 * The whole assessment.
 *
 * @param threats  in any order; ids are unique
 */
export function assess(threats: readonly Threat[], circumstances: Circumstances): Assessed {
  const weighed = weigh(threats, circumstances);
  const sorted = sortOut(weighed);
  const dangers = dangersOf(sorted);
  const categories = CATEGORIES.map((category) => ({
    category,
    score: Math.floor(dangers[category] / (PPM / SCORE_MAX)),
    indicator_count: sorted[category].length,
  }));
  return { score: scoreOf(dangers), categories, weighed };
}

/** What one indicator does to the score. */
export interface Contribution {
  readonly id: string;
  /** 0 to 10,000: its hazard. */
  readonly hazard: number;
  /** 0 to 10,000: how much of it time has left. */
  readonly decay: number;
  readonly duplicate_of: string | null;
  /** What the score would be with this one and no other. */
  readonly alone: number;
  /** What the score would lose without it. */
  readonly marginal: number;
}

/** Explains the heaviest threats of an assessment. @param count  how many; each costs a pass over its category */
export function explain({ score, weighed }: Assessed, circumstances: Circumstances, count: number): Contribution[] {
  const sorted = sortOut(weighed);
  const dangers = dangersOf(sorted);
  const none = dangersOf(sortOut([]));
  const share = (millionths: number) => Math.floor(millionths / (PPM / SCORE_MAX));
  return weighed.slice(0, count).map(({ threat, hazard, duplicate_of }) => {
    const { category, id } = threat;
    const left = Math.floor((decay(circumstances.now_ms - threat.at_ms, circumstances.half_life_ms) * SCORE_MAX) / ONE);
    const alone = scoreOf({ ...none, [category]: combine([hazard]) });
    const counts = duplicate_of === null && hazard > 0;
    const others = counts ? without(weighed, id, category) : [];
    const marginal = counts ? score - scoreOf({ ...dangers, [category]: combine(others) }) : 0;
    return { id, hazard: share(hazard), decay: left, duplicate_of, alone, marginal };
  });
}

/** The category's hazards as if one threat had not been reported: a duplicate of it takes its place. */
function without(weighed: readonly Weighed[], id: string, category: Category): number[] {
  let heir: string | undefined;
  const hazards: number[] = [];
  for (const { threat, hazard, duplicate_of } of weighed) {
    if (threat.category !== category || threat.id === id || hazard === 0) continue;
    if (duplicate_of === null) hazards.push(hazard);
    else if (duplicate_of === id && heir === undefined) {
      heir = threat.id;
      hazards.push(hazard);
    }
  }
  return hazards;
}

/** As batches carry it: categories without a danger say nothing. */
export function assessmentOf(
  { score, categories }: Pick<Assessed, 'score' | 'categories'>,
  recommendation: Recommendation,
  era: Era,
  now_ms: number,
): RiskAssessment {
  const category_breakdown = categories.filter(({ score, indicator_count }) => score > 0 || indicator_count > 0);
  return { score, recommendation, category_breakdown, current_era: era, timestamp: timestamp(now_ms) };
}

/** Before the first assessment. */
export const unthreatened = (time_ms: number): RiskAssessment =>
  assessmentOf({ score: 0, categories: [] }, 'continue', 'nisq', time_ms);
