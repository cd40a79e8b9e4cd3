// What GET /qrm/risk says: the assessment under which the next batch is ordered, with the heaviest indicators and, where it is
// asked for, what each does to the score. Plain functions over the room; the CLI and the library show the same.
import { z } from 'zod';
import { Counter, Timestamp, timestamp, uint } from '../../actors/encoding.ts';
import { RISK_MAX, SCHEMES } from '../../actors/envelope.ts';
import { type Threat, Threat as ThreatSchema } from '../../actors/indicator.ts';
import { RECOMMENDATIONS, THRESHOLDS } from '../../actors/recommendation.ts';
import { explain } from '../../actors/risk.ts';
import { CATEGORIES, ERAS } from '../../actors/words.ts';
import type { RiskRoom } from './room.ts';

const TOP_THREATS = 3;
const INDICATORS_SHOWN = 10;
/** Each costs a pass over its category. */
const EXPLAINED_MAX = 100;

const Score = z.int().min(0).max(RISK_MAX);

const TopThreat = z.strictObject({
  id: z.string(),
  sub_category: z.string(),
  source: z.string(),
  description: z.string(),
  hazard: Score,
});

const Rotation = z.strictObject({
  number: Counter,
  urgency: z.enum(['scheduled', 'emergency']),
  at: Timestamp,
  dry_run: z.boolean().describe('Only written down.'),
  epoch: uint(32).nullable().describe('The epoch that it begins; null while it is owed, or when another overtook it.'),
  at_height: Counter.nullable().describe('Where that epoch begins at the latest.'),
});

const Explained = z.strictObject({
  id: z.string(),
  hazard: Score.describe('Severity, confidence, era, reliance and decay in one, in ten-thousandths.'),
  decay: Score.describe('What time has left of it, in ten-thousandths.'),
  duplicate_of: z.string().nullable().describe('What stands for it: the same by the same source.'),
  alone: Score.describe('The score with this one and no other.'),
  marginal: Score.describe('What the score would lose without it.'),
});

export const RiskView = z
  .strictObject({
    score: Score,
    recommendation: z.enum(RECOMMENDATIONS),
    category_breakdown: z
      .array(
        z.strictObject({
          category: z.enum(CATEGORIES),
          score: Score,
          indicator_count: Counter.describe('Without duplicates and what has decayed.'),
          top_threats: z.array(TopThreat).max(TOP_THREATS),
        }),
      )
      .length(CATEGORIES.length),
    indicators: z.array(ThreatSchema).max(INDICATORS_SHOWN).describe('The heaviest first.'),
    indicator_count: Counter.describe('All that are kept, those of the catalogue included.'),
    current_era: z.enum(ERAS),
    timestamp: Timestamp.describe('Of the assessment.'),
    thresholds: z.strictObject({ monitor: Score, scheduled: Score, emergency: Score }),
    override: z
      .strictObject({ score: Score, until: Timestamp })
      .nullable()
      .describe('An admin’s order in the place of the computed score.'),
    allowed: z
      .strictObject({ ecdsa: z.boolean(), schemes: z.array(z.enum(SCHEMES)) })
      .describe('What an emergency has left; only an admin’s order gives the rest back.'),
    dry_run: z.boolean(),
    rotations: z.array(Rotation).describe('Those that the score asked for, the newest last.'),
    explanation: z.array(Explained).max(EXPLAINED_MAX).optional(),
  })
  .meta({ id: 'Risk' });
export type RiskView = z.output<typeof RiskView>;

/** @param explained  adds what each of the heaviest indicators does to the score */
export function riskView(room: RiskRoom, dry_run: boolean, explained: boolean): RiskView {
  const { record, assessed, circumstances } = room;
  const counting = assessed.weighed.filter(({ duplicate_of, hazard }) => duplicate_of === null && hazard > 0);
  const { override } = record;
  return {
    score: record.assessment.score,
    recommendation: record.assessment.recommendation,
    category_breakdown: assessed.categories.map(({ category, score, indicator_count }) => ({
      ...{ category, score, indicator_count },
      top_threats: counting
        .filter(({ threat }) => threat.category === category)
        .slice(0, TOP_THREATS)
        .map(({ threat, hazard }) => topThreat(threat, hazard)),
    })),
    indicators: counting.slice(0, INDICATORS_SHOWN).map(({ threat }) => threat),
    indicator_count: assessed.weighed.length,
    current_era: circumstances.era,
    timestamp: timestamp(circumstances.now_ms),
    thresholds: THRESHOLDS,
    override: override === null ? null : { score: override.score, until: timestamp(override.until_ms) },
    allowed: { ecdsa: record.allowed.ecdsa, schemes: [...record.allowed.schemes] },
    dry_run,
    rotations: record.acts.map(({ number, urgency, at_ms, dry_run: dry, rotated }) => ({
      ...{ number, urgency, at: timestamp(at_ms), dry_run: dry },
      ...{ epoch: rotated?.epoch ?? null, at_height: rotated?.at_height ?? null },
    })),
    ...(explained && { explanation: explain(assessed, circumstances, EXPLAINED_MAX) }),
  };
}

/** Millionths to ten-thousandths. */
const topThreat = ({ id, sub_category, source, description }: Threat, hazard: number) => ({
  ...{ id, sub_category, source, description },
  hazard: Math.floor(hazard / 100),
});
