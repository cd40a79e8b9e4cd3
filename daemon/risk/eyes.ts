// What the daemon sees itself (DESIGN §9 "the daemon's own eyes"), as indicators: a platform whose TCB status is worse than up to
// date, an attestation that isn't renewed, signatures of its own that don't verify. Pure; watch.ts looks and reports. Only what
// the platform and the daemon's own threads do is in here: failures that a client can cause never score.
import { timestamp } from '../../actors/encoding.ts';
import { type Threat, threatOf } from '../../actors/indicator.ts';
import type { Category } from '../../actors/words.ts';

export interface Sight {
  /** Of the newest quote that verified; undefined before the first. */
  readonly attestation:
    | { readonly status: string; readonly advisory_ids: readonly string[]; readonly not_after_ms: number }
    | undefined;
  readonly quote_lifetime_ms: number;
  /** When a signature that this process had just made last failed its check. */
  readonly signature_failed_ms: number | undefined;
}

/** How bad a status of the TCB is that isn't `UpToDate`; one that isn't listed is taken for out of date. */
const TCB_SEVERITY: Readonly<Record<string, number>> = {
  SWHardeningNeeded: 0.15,
  ConfigurationNeeded: 0.15,
  ConfigurationAndSWHardeningNeeded: 0.25,
  OutOfDate: 0.45,
  OutOfDateConfigurationNeeded: 0.5,
  Revoked: 0.95,
};
const TCB_SEVERITY_ELSE = 0.45;

/** It is renewed at half of its life; with less than an eighth left, that has failed for long. */
const AGING = 1 / 8;

const DAY_MS = 86_400_000;

/** What is the case is seen anew each day, so that it doesn't decay while it lasts, and is told once a day at most. */
const dayOf = (now_ms: number): number => now_ms - (now_ms % DAY_MS);

/** Everything that is wrong at the moment; what has healed is no longer there. */
export function seen(sight: Sight, now_ms: number): Threat[] {
  return [...tcb(sight, now_ms), ...aging(sight, now_ms), ...failing(sight)];
}

function tcb({ attestation }: Sight, now_ms: number): Threat[] {
  if (attestation === undefined || attestation.status === 'UpToDate') return [];
  const { status, advisory_ids } = attestation;
  const severity = TCB_SEVERITY[status] ?? TCB_SEVERITY_ELSE;
  const description = `The platform's TCB status is ${status.slice(0, 64)}.`;
  return [own('tcb-status', 'side_channel', 'tcb_status', severity, dayOf(now_ms), description, advisory_ids)];
}

function aging({ attestation, quote_lifetime_ms }: Sight, now_ms: number): Threat[] {
  if (attestation === undefined) return [];
  const { not_after_ms } = attestation;
  const aging_ms = Math.floor(not_after_ms - quote_lifetime_ms * AGING);
  if (now_ms < aging_ms) return [];
  const expired = now_ms >= not_after_ms;
  const description = expired ? 'The newest attestation has ended.' : 'The attestation is not renewed and ends soon.';
  const since_ms = expired ? not_after_ms : aging_ms;
  return [own('attestation-age', 'key_management', 'attestation_age', expired ? 0.4 : 0.2, since_ms, description, [])];
}

function failing({ signature_failed_ms }: Sight): Threat[] {
  if (signature_failed_ms === undefined) return [];
  const description = 'A signature that this daemon had just made failed its own check: a computing fault, or worse.';
  return [own('signature-check', 'key_management', 'own_signature', 0.95, signature_failed_ms, description, [])];
}

function own(
  id: string,
  category: Category,
  sub_category: string,
  severity: number,
  at_ms: number,
  description: string,
  references: readonly string[],
): Threat {
  const said = { category, sub_category, severity, confidence: 0.9, source: 'aegisd', description };
  const kept = references.slice(0, 8).map((each) => each.slice(0, 512));
  const when = { timestamp: timestamp(at_ms), era_relevance: 'pre_quantum' as const, references: kept };
  return threatOf({ ...said, ...when }, 'daemon', id);
}
