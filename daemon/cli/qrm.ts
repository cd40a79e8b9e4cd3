// `aegisd qrm …`: the risk score of a running daemon for its operator: what it is, was and comes from; a threat to report, and
// a simulated one to play. What reports or plays needs the daemon's unix socket, or the admin's token over TCP.
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { timestamp } from '../../actors/encoding.ts';
import type { ReportedIndicatorInput } from '../../actors/indicator.ts';
import type { Category, Era } from '../../actors/words.ts';
import { Indicators, Reported, RiskHistory, Simulation } from '../api/risk.ts';
import { RiskView } from '../risk/view.ts';
import { askFor, type Common } from './asking.ts';
import { sizeOf, UsageError } from './file.ts';

/** 256 indicators at their limits. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;

export const status = (options: Common & { explain?: boolean }): Promise<number> =>
  askFor(options, RiskView, (daemon) => daemon.get(`/qrm/risk?explain=${options.explain === true ? 1 : 0}`), describe);

export const indicators = (options: Common): Promise<number> =>
  askFor(
    options,
    Indicators,
    (daemon) => daemon.get('/qrm/indicators'),
    ({ indicators: listed, feeds }) => [
      ...listed.map(({ id, category, severity, confidence, timestamp: at, description }) =>
        [at.slice(0, 10), share(severity), share(confidence), category.padEnd(19), `${id}: ${description}`].join('  '),
      ),
      ...feeds.map(({ name, sequence, quarantine }) => {
        const taken = sequence === null ? 'nothing taken yet' : `sequence ${sequence}`;
        return `feed ${name}: ${taken}${quarantine === null ? '' : `, QUARANTINED ${quarantine.code}: ${quarantine.detail}`}`;
      }),
    ],
  );

export function history(options: Common & { from?: number; to?: number; step?: number }): Promise<number> {
  const { from, to, step } = options;
  const given = Object.entries({ from, to, step }).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`],
  );
  return askFor(
    options,
    RiskHistory,
    (daemon) => daemon.get(`/qrm/history?${given.join('&')}`),
    ({ points }) =>
      points.map(
        ({ timestamp: at, score, recommendation }) => `${at}  ${String(score).padStart(5)}  ${recommendation}`,
      ),
  );
}

export interface Injection extends Common {
  readonly high?: boolean;
  readonly id?: string;
  readonly category: string;
  readonly subCategory: string;
  readonly severity?: number;
  readonly confidence?: number;
  readonly source: string;
  readonly description?: string;
  readonly era?: string;
  readonly reference?: string[];
}

/** One from its options, or what a file holds: one indicator or an array. */
export function inject(file: string | undefined, options: Injection): Promise<number> {
  return askFor(
    options,
    Reported,
    (daemon) => daemon.post('/qrm/indicators', file === undefined ? made(options) : readJson(file)),
    reported,
  );
}

export const withdraw = (id: string, options: Common): Promise<number> =>
  askFor(
    options,
    Reported,
    (daemon) => daemon.post(`/qrm/indicators/${encodeURIComponent(id)}/withdraw`, undefined),
    reported,
  );

export function simulate(options: Common & { seed: number; interval: number; stop?: boolean }): Promise<number> {
  const { seed, interval, stop } = options;
  const path = stop === true ? 'stop' : `start?seed=${seed}&interval_ms=${interval}`;
  return askFor(
    options,
    Simulation,
    (daemon) => daemon.post(`/qrm/simulation/${path}`, undefined),
    ({ seed: played, rounds }) =>
      stop === true
        ? [`stopped    the simulation of seed ${played} after ${rounds} rounds`]
        : [`started    a simulated threat of seed ${played}: ${rounds} rounds, one every ${interval} ms`],
  );
}

/** Of the upstream's two injections: a threat, and a high one. */
function made(options: Injection): ReportedIndicatorInput {
  const { high = false, id, category, subCategory: sub_category, source, reference = [] } = options;
  const said = {
    severity: options.severity ?? (high ? 0.95 : 0.5),
    confidence: options.confidence ?? (high ? 0.95 : 0.5),
    description:
      options.description ?? (high ? 'A high threat, injected by the operator.' : 'Injected by the operator.'),
    era_relevance: (options.era ?? (high ? 'fault_tolerant' : 'nisq')) as Era,
  };
  const when = { timestamp: timestamp(Date.now()), references: reference };
  return { ...(id !== undefined && { id }), category: category as Category, sub_category, source, ...said, ...when };
}

/** Shares are fractions, which documents that are signed never have: so not by their reader. The daemon checks the rest. */
function readJson(file: string): unknown {
  if (sizeOf(file) > FILE_BYTES_MAX) throw new UsageError(file, '', `expected at most ${FILE_BYTES_MAX} bytes`);
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new UsageError(file, '', error instanceof SyntaxError ? 'not JSON' : (error as Error).message);
  }
}

const share = (value: number) => value.toFixed(2);

function reported({ results, score, recommendation }: z.output<typeof Reported>): string[] {
  return [...results.map(({ id, outcome }) => `${outcome.padEnd(10)} ${id}`), `score      ${score}, ${recommendation}`];
}

function describe(view: RiskView): string[] {
  const { score, recommendation, current_era, thresholds, category_breakdown, rotations, allowed, override } = view;
  const newest = rotations.at(-1);
  return [
    `score      ${score} of 10000: ${recommendation}${view.dry_run ? ' (dry run)' : ''}`,
    `thresholds monitor ${thresholds.monitor}, scheduled ${thresholds.scheduled}, emergency ${thresholds.emergency}`,
    `era        ${current_era}, ${view.indicator_count} indicators, assessed ${view.timestamp}`,
    ...(override === null ? [] : [`OVERRIDDEN until ${override.until} by an admin's order`]),
    ...(allowed.ecdsa ? [] : [`allowed    ${allowed.schemes.join(', ')}; no ECDSA, until an admin's order`]),
    ...(newest === undefined ? [] : [`rotation   ${newest.urgency}, asked for ${newest.at}${rotated(newest)}`]),
    ...category_breakdown
      .filter(({ indicator_count }) => indicator_count > 0)
      .map(({ category, score: own, indicator_count: count, top_threats: [top] }) => {
        const worst = top === undefined ? '' : `: ${top.description}`;
        return `  ${category.padEnd(19)} ${String(own).padStart(5)}  ${count}${worst}`;
      }),
    ...(view.explanation ?? []).map(
      ({ id, hazard, alone, marginal, duplicate_of }) =>
        `  ${id}: hazard ${hazard}, alone ${alone}, marginal ${marginal}${duplicate_of === null ? '' : `, said by ${duplicate_of}`}`,
    ),
  ];
}

function rotated({ epoch, at_height, dry_run }: RiskView['rotations'][number]): string {
  if (dry_run) return ', dry run';
  return epoch === null ? '' : `: epoch ${epoch} at height ${at_height} at the latest`;
}
