// Indicators (DESIGN §9): one observed threat each, as operators, feeds and the daemon itself report them. The schema bounds
// every field, because indicators come from outside; the weights and eras here are what the score in risk.ts goes by. An
// indicator says what was seen and how sure its source is; what follows from it is not its business.
import { z } from 'zod';
import { Counter, Timestamp, timestamp } from './encoding.ts';
import { CATEGORIES, type Category, ERAS } from './words.ts';

/** Shares of the whole in ten-thousandths (DESIGN §9); they add up to 10,000. */
export const CATEGORY_WEIGHTS: Readonly<Record<Category, number>> = {
  digital_signatures: 1200,
  zk_proof_forgery: 1000,
  decryption_hndl: 1200,
  hash_reversal: 400,
  consensus_attacks: 1000,
  cross_chain_bridge: 800,
  network_layer: 600,
  key_management: 1000,
  mev_ordering: 800,
  smart_contracts: 800,
  side_channel: 600,
  migration_agility: 600,
};

/** How many may be reported at once, and how long one may be. */
export const INDICATORS_MAX = 256;
export const TEXT_MAX = { id: 64, sub_category: 64, source: 128, description: 1024, reference: 512 } as const;
export const REFERENCES_MAX = 8;

const oneLine = (length_max: number) =>
  z
    .string()
    .min(1, 'expected a text that is not empty')
    .max(length_max, `expected at most ${length_max} characters`)
    .regex(/^[^\p{C}]*$/u, 'expected text without control characters');

const share = (what: string) => {
  const expected = 'expected a number from 0 to 1';
  return z.number(expected).min(0, expected).max(1, expected).describe(what);
};

/** Names that others may take in turn: of an indicator, of a feed. */
export const IndicatorName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/, 'expected 1 to 64 letters, digits and any of "._:-"');

/** What an indicator says, in the one spelling that is kept and shown. */
export const Indicator = z
  .strictObject({
    category: z.enum(CATEGORIES),
    sub_category: oneLine(TEXT_MAX.sub_category).describe('What is threatened, such as ecdsa or ml_kem.'),
    severity: share('How bad it would be; counts in ten-thousandths.'),
    confidence: share('How sure the source is; counts in ten-thousandths.'),
    source: oneLine(TEXT_MAX.source).describe(
      'Who says so. One source counts once for each category and sub_category.',
    ),
    timestamp: Timestamp.describe('When it was observed; it decays from here.'),
    description: oneLine(TEXT_MAX.description),
    era_relevance: z.enum(ERAS).describe('The era of machines that the evidence is about.'),
    references: z.array(oneLine(TEXT_MAX.reference)).max(REFERENCES_MAX),
  })
  .meta({ id: 'Indicator' });
export type Indicator = z.output<typeof Indicator>;

/** One spelling of any RFC 3339 time; what is none is left for the schema to refuse. */
function spell(time: string): string {
  const time_ms = Date.parse(time);
  return Number.isFinite(time_ms) ? timestamp(time_ms) : time;
}

/** As it is reported: any RFC 3339 time, and an id by which the reporter can change it later. */
export const ReportedIndicator = z
  .strictObject({
    ...Indicator.shape,
    id: IndicatorName.optional().describe(
      'Reported again, it replaces the one before. Left out, it follows from the content.',
    ),
    timestamp: z.iso.datetime({ offset: true, error: 'expected an RFC 3339 time' }).overwrite(spell),
    references: Indicator.shape.references.default([]),
  })
  .meta({ id: 'ReportedIndicator' });
export type ReportedIndicator = z.output<typeof ReportedIndicator>;
export type ReportedIndicatorInput = z.input<typeof ReportedIndicator>;

/**
 * Who brought an indicator in; not the reporter's to choose. Ids of one origin can't replace those of another.
 * `feed:NAME` is a signed feed, `operator` the admin routes.
 */
export type Origin = 'operator' | 'daemon' | 'catalogue' | 'simulation' | `feed:${string}`;

/** An indicator as it is kept: `origin/id` is its name in the store. */
export const Threat = z
  .strictObject({
    ...Indicator.shape,
    id: z.string().describe('Origin and id, such as operator/cve-2025-1.'),
    origin: z.string().describe('operator, daemon, catalogue, simulation or feed:NAME.'),
    at_ms: Counter.describe('`timestamp` as a number.'),
  })
  .meta({ id: 'Threat' });
export type Threat = Indicator & { readonly id: string; readonly origin: Origin; readonly at_ms: number };

/** @param id  unique within its origin */
export function threatOf(indicator: Indicator, origin: Origin, id: string): Threat {
  const { category, sub_category, severity, confidence, source, timestamp, description, era_relevance, references } =
    indicator;
  const said = {
    category,
    sub_category,
    severity,
    confidence,
    source,
    timestamp,
    description,
    era_relevance,
    references,
  };
  return { ...said, id: `${origin}/${id}`, origin, at_ms: Date.parse(timestamp) };
}
