// What a report changes in the list of indicators: pure, for room.ts. A name that is known with the same content is no change,
// with other content a replacement; when the list is full, what weighs least goes, and it may be what has just come.
import { sha512 } from '../../actors/digest.ts';
import { utf8 } from '../../actors/encoding.ts';
import type { Indicator, Threat } from '../../actors/indicator.ts';
import { assess, type Circumstances } from '../../actors/risk.ts';

export interface Change {
  readonly id: string;
  /** null takes it away. */
  readonly threat: Threat | null;
  readonly outcome?: 'added' | 'updated' | 'unchanged';
}
export type Changes = readonly Change[];

/** `dropped`: the list is full of heavier ones. */
export type Outcome = 'added' | 'updated' | 'unchanged' | 'dropped' | 'removed';
export interface Reported {
  readonly id: string;
  readonly outcome: Outcome;
}

const ID_BYTES = 16;

/** For an indicator that was given no id: the same content has the same. */
export function contentId(indicator: Indicator): string {
  const { category, sub_category, severity, confidence, source, timestamp, description, era_relevance, references } =
    indicator;
  const content = [category, sub_category, severity, confidence, source, timestamp, description, era_relevance];
  return sha512(utf8(JSON.stringify([...content, references])))
    .subarray(0, ID_BYTES)
    .toHex();
}

/** The last of several with one id counts. */
export function changesOf(known: ReadonlyMap<string, Threat>, threats: readonly Threat[]): Change[] {
  const said = new Map(threats.map((threat) => [threat.id, threat]));
  return threats.map(({ id }) => {
    const threat = said.get(id)!;
    const before = known.get(id);
    if (before === undefined) return { id, threat, outcome: 'added' };
    return { id, threat, outcome: JSON.stringify(before) === JSON.stringify(threat) ? 'unchanged' : 'updated' };
  });
}

/** @returns ids, the lightest first, of what goes beyond `count_max`; duplicates weigh nothing */
export function crowdedOut(threats: ReadonlyMap<string, Threat>, count_max: number, at: Circumstances): string[] {
  if (threats.size <= count_max) return [];
  const { weighed } = assess([...threats.values()], at);
  return weighed
    .map(({ threat, hazard, duplicate_of }) => ({ threat, weight: duplicate_of === null ? hazard : 0 }))
    .sort((a, b) => a.weight - b.weight || a.threat.at_ms - b.threat.at_ms || (a.threat.id < b.threat.id ? -1 : 1))
    .slice(0, threats.size - count_max)
    .map(({ threat }) => threat.id);
}
