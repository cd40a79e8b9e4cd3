import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RiskAssessment } from './batch.ts';
import { CATALOGUE } from './catalogue.ts';
import { CATEGORY_WEIGHTS, type Indicator, type Origin, type Threat, threatOf } from './indicator.ts';
import { THRESHOLDS } from './recommendation.ts';
import { assess, assessmentOf, type Circumstances, decay, explain, HALF_LIFE_MAX_MS, hazard } from './risk.ts';
import { CATEGORIES, type Category, ERAS, type Era } from './words.ts';

const NOW_MS = Date.parse('2026-06-01T00:00:00.000Z');
const DAY_MS = 86_400_000;
const at = (over: Partial<Circumstances> = {}): Circumstances => ({
  now_ms: NOW_MS,
  half_life_ms: 180 * DAY_MS,
  era: 'nisq',
  ...over,
});

let serial = 0;
function threat(over: Partial<Threat> = {}): Threat {
  serial += 1;
  const indicator = {
    category: 'digital_signatures',
    sub_category: `scheme ${serial}`,
    severity: 0.9,
    confidence: 0.9,
    source: `laboratory ${serial}`,
    timestamp: new Date(over.at_ms ?? NOW_MS).toISOString(),
    description: 'An attack.',
    era_relevance: 'nisq',
    references: [],
    ...over,
  };
  return threatOf(indicator as Indicator, over.origin ?? 'operator', over.id ?? String(serial));
}

const arbitrary = fc
  .record({
    category: fc.constantFrom(...CATEGORIES),
    sub_category: fc.constantFrom('a', 'b', 'c'),
    severity: fc.double({ min: 0, max: 1, noNaN: true }),
    confidence: fc.double({ min: 0, max: 1, noNaN: true }),
    source: fc.constantFrom('x', 'y', 'z'),
    age_ms: fc.integer({ min: -DAY_MS, max: 900 * DAY_MS }),
    era_relevance: fc.constantFrom(...ERAS),
    origin: fc.constantFrom<Origin>('operator', 'feed:one', 'feed:two', 'daemon'),
  })
  .map(({ age_ms, ...over }) => threat({ ...over, at_ms: NOW_MS - age_ms }));
const list = fc.array(arbitrary, { maxLength: 40 });
const era = fc.constantFrom(...ERAS);
const score = (threats: readonly Threat[], over?: Partial<Circumstances>) => assess(threats, at(over)).score;

describe('the score', () => {
  it('is an integer from 0 to 10,000, and so is everything beside it', () => {
    fc.assert(
      fc.property(list, era, (threats, era) => {
        const assessed = assess(threats, at({ era }));
        for (const value of [assessed.score, ...assessed.categories.map((each) => each.score)]) {
          expect(Number.isInteger(value) && value >= 0 && value <= 10_000).toBe(true);
        }
        RiskAssessment.parse(assessmentOf(assessed, 'continue', era, NOW_MS));
      }),
    );
    expect(score([])).toBe(0);
    const worst = Array.from({ length: 500 }, () =>
      threat({ severity: 1, confidence: 1, era_relevance: 'fault_tolerant' }),
    );
    expect(score(worst)).toBe(10_000);
  });

  it('is never lowered by another indicator', () => {
    fc.assert(
      fc.property(list, arbitrary, era, (threats, more, era) => {
        expect(score([...threats, more], { era })).toBeGreaterThanOrEqual(score(threats, { era }));
      }),
      { numRuns: 500 },
    );
  });

  it('never falls when an indicator becomes more severe or more certain', () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(list, arbitrary, share, share, (threats, one, severity, confidence) => {
        const more = {
          ...one,
          severity: Math.max(one.severity, severity),
          confidence: Math.max(one.confidence, confidence),
        };
        expect(score([...threats, more])).toBeGreaterThanOrEqual(score([...threats, one]));
      }),
    );
  });

  it('does not depend on the order of arrival', () => {
    fc.assert(
      fc.property(
        list.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
        ([all, shuffled]) => {
          expect(assess(shuffled, at())).toEqual(assess(all, at()));
        },
      ),
    );
  });

  it('rises with the era of the world, and with the era that an indicator is about', () => {
    fc.assert(
      fc.property(list, (threats) => {
        const [pre, nisq, tolerant] = ERAS.map((era) => score(threats, { era })) as [number, number, number];
        expect(pre <= nisq && nisq <= tolerant).toBe(true);
        const about = (era_relevance: Era) => score(threats.map((each) => ({ ...each, era_relevance })));
        expect(about('pre_quantum') <= about('nisq') && about('nisq') <= about('fault_tolerant')).toBe(true);
      }),
    );
    const one = [threat({ era_relevance: 'pre_quantum' })];
    expect(score(one, { era: 'pre_quantum' })).toBeLessThan(score(one, { era: 'nisq' }));
    expect(score(one, { era: 'nisq' })).toBeLessThan(score(one, { era: 'fault_tolerant' }));
  });

  it.each(ERAS)('reaches an emergency by three confirmed severe threats to signatures alone, in the era %s', (era) => {
    for (const era_relevance of ERAS) {
      const severe = () => threat({ severity: 0.9, confidence: 0.9, era_relevance });
      expect(score([severe(), severe(), severe()], { era })).toBeGreaterThanOrEqual(THRESHOLDS.emergency);
      expect(score([severe()], { era })).toBeLessThan(THRESHOLDS.emergency);
    }
  });

  it('weighs what keys can do about it: a broken hash alone is no emergency', () => {
    const all = (category: Category) =>
      score(Array.from({ length: 20 }, () => threat({ category, severity: 1, confidence: 1 })));
    const reached = Object.fromEntries(CATEGORIES.map((category) => [category, all(category)]));
    expect(reached).toMatchObject({ digital_signatures: 10_000, decryption_hndl: 10_000, key_management: 9550 });
    expect(reached.hash_reversal).toBeLessThan(THRESHOLDS.emergency);
    expect(reached.side_channel).toBeLessThan(THRESHOLDS.emergency);
    expect(Math.min(...Object.values(reached))).toBeGreaterThanOrEqual(THRESHOLDS.scheduled);
    const weights = Object.values(CATEGORY_WEIGHTS);
    expect(weights.reduce<number>((sum, weight) => sum + weight, 0)).toBe(10_000);
  });

  it('falls as time goes by, and never rises', () => {
    fc.assert(
      fc.property(list, fc.nat(400 * DAY_MS), fc.nat(400 * DAY_MS), (threats, one, two) => {
        const [sooner, later] = [NOW_MS + Math.min(one, two), NOW_MS + Math.max(one, two)];
        expect(score(threats, { now_ms: later })).toBeLessThanOrEqual(score(threats, { now_ms: sooner }));
      }),
    );
    const far = NOW_MS + 100 * 365 * DAY_MS;
    expect(score([threat(), threat(), threat()], { now_ms: far })).toBe(0);
  });

  it('counts one source once for one threat, and a feed or the daemon as one source', () => {
    const said = { sub_category: 'ecdsa', source: 'a laboratory' };
    const once = score([threat(said)]);
    expect(score([threat(said), threat(said), threat(said)])).toBe(once);
    expect(score([threat(said), threat({ ...said, severity: 0.5 })])).toBe(once);
    expect(score([threat(said), threat({ ...said, source: 'another' })])).toBeGreaterThan(once);
    const feed = (source: string) => threat({ ...said, source, origin: 'feed:one' });
    expect(score([feed('a'), feed('b'), feed('c')])).toBe(once);
    expect(assess([threat(said), threat(said)], at()).categories[0]).toMatchObject({ indicator_count: 1 });
  });

  it('is the same on every machine: golden values', () => {
    const threats = Array.from({ length: 30 }, (_, i) =>
      threat({
        ...{ id: `golden ${i}`, sub_category: `s${i}`, source: `s${i}` },
        category: CATEGORIES[i % CATEGORIES.length]!,
        ...{ severity: ((i * 37) % 100) / 100, confidence: ((i * 61) % 100) / 100 },
        ...{ at_ms: NOW_MS - i * 11 * DAY_MS, era_relevance: ERAS[i % 3]! },
      }),
    );
    const assessed = assess(threats, at());
    expect([assessed.score, ...assessed.categories.map((each) => each.score)]).toMatchInlineSnapshot(`
      [
        6111,
        2105,
        4520,
        2925,
        1957,
        3751,
        1885,
        2971,
        961,
        5259,
        2639,
        521,
        312,
      ]
    `);
  });
});

describe('decay', () => {
  it('halves with each half-life, exactly', () => {
    for (let n = 0; n <= 26; n++) expect(decay(n * DAY_MS, DAY_MS)).toBe(2 ** (26 - n));
    expect(decay(-1, DAY_MS)).toBe(2 ** 26);
    expect(decay(27 * DAY_MS, DAY_MS)).toBe(0);
  });

  it('is 2^(-age / half-life) to a ten-thousandth, and never rises, up to the longest half-life', () => {
    const half_life = fc.integer({ min: 1000, max: HALF_LIFE_MAX_MS });
    fc.assert(
      fc.property(
        half_life,
        fc.double({ min: 0, max: 20, noNaN: true }),
        fc.nat(1000),
        (half_life_ms, halves, more) => {
          const age_ms = Math.floor(halves * half_life_ms);
          const value = decay(age_ms, half_life_ms);
          expect(Math.abs(value / 2 ** 26 - 2 ** (-age_ms / half_life_ms))).toBeLessThan(1e-4);
          expect(decay(age_ms + more, half_life_ms)).toBeLessThanOrEqual(value);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('is in the hazard', () => {
    const one = threat({ at_ms: NOW_MS - 180 * DAY_MS });
    expect(hazard(one, at())).toBe(Math.floor(hazard({ ...one, at_ms: NOW_MS }, at()) / 2));
  });
});

describe('an explanation', () => {
  it('says what the score would be without each, as assessing without it does', () => {
    fc.assert(
      fc.property(list, (threats) => {
        const unique = [...new Map(threats.map((each) => [each.id, each])).values()];
        const assessed = assess(unique, at());
        for (const { id, marginal, alone, duplicate_of } of explain(assessed, at(), 10)) {
          expect(assessed.score - marginal).toBe(score(unique.filter((each) => each.id !== id)));
          expect(alone).toBe(score(unique.filter((each) => each.id === id)));
          if (duplicate_of !== null) expect(marginal).toBe(0);
        }
      }),
    );
  });
});

describe('the catalogue', () => {
  it('is cited, dated, and below every threshold that acts, whenever and in whatever era', () => {
    for (const { references, at_ms, id } of CATALOGUE) {
      expect(references.join(''), id).toMatch(/arXiv|eprint|NIST|CVE|https/);
      expect(at_ms, id).toBeLessThan(Date.parse('2026-01-01'));
    }
    expect(new Set(CATALOGUE.map(({ id }) => id)).size).toBe(CATALOGUE.length);
    for (const now_ms of CATALOGUE.map((each) => each.at_ms)) {
      const published = CATALOGUE.filter((each) => each.at_ms <= now_ms);
      for (const era of ERAS) expect(score(published, { now_ms, era })).toBeLessThan(THRESHOLDS.scheduled);
    }
    expect(score(CATALOGUE, { now_ms: Date.parse('2026-11-01') })).toBeLessThan(THRESHOLDS.monitor);
  });
});
