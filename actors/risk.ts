// The assessment of quantum risk that a batch carries (DESIGN §9). Without indicators there is nothing to assess: the score is
// zero and the recommendation is to go on.
import type { RiskAssessment } from './batch.ts';
import { timestamp } from './encoding.ts';

/** The era that the field is in; with no indicator it weighs nothing. */
const CURRENT_ERA = 'nisq';

/** The assessment of no indicators at all, at `time_ms`. */
export function unthreatened(time_ms: number): RiskAssessment {
  return {
    score: 0,
    recommendation: 'continue',
    category_breakdown: [],
    current_era: CURRENT_ERA,
    timestamp: timestamp(time_ms),
  };
}
