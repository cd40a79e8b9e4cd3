/**
 * What changed between two configurations, and whether a running daemon can take it. A reload asks: it applies what
 * is live and names what waits for a restart. Each section reads its live keys anew at each use; nothing else may.
 */
import { CONFIG_KEYS, type Config, type ConfigKey, setting } from './schema.ts';

/** The one table of what may change while running. Each comment in sequencer.toml says the same, and a test compares. */
export const LIVE_KEYS: ReadonlySet<ConfigKey> = new Set<ConfigKey>([
  'daemon.log_level',
  'api.rate_limit_per_s',
  'api.rate_limit_burst',
  'api.refused_penalty',
  'sequencer.batch_interval_ms',
  'sequencer.batch_size',
  'sequencer.max_transactions_per_batch',
  'sequencer.open_max',
  'ordering.mode',
  'ordering.risk_weight',
  'ordering.requires_pqc_weight',
  'ordering.requires_tee_weight',
  'ordering.migration_weight',
  'ordering.fee_weight',
  'ordering.fee_score_max',
  'ordering.age_max_cuts',
  'seal.interval_ms',
  'risk.era',
  'risk.half_life_d',
  'risk.hysteresis',
  'risk.rise_s',
  'risk.fall_s',
  'risk.dry_run',
  'rotation.sweep_rows',
  'rotation.sweep_pause_ms',
  'names.requests_per_s',
  'names.in_flight_max',
  'names.read_back_every',
  'store.free_bytes_min',
]);

export interface Change {
  readonly key: ConfigKey;
  readonly before: ReturnType<typeof setting>;
  readonly after: ReturnType<typeof setting>;
  /** Whether a reload may apply it; else it waits for a restart. */
  readonly live: boolean;
}

/** Every setting that differs, in the order of the schema; empty when nothing changed. */
export function diff(before: Config, after: Config): Change[] {
  return CONFIG_KEYS.filter((key) => !isSame(setting(before, key), setting(after, key))).map((key) => ({
    key,
    before: setting(before, key),
    after: setting(after, key),
    live: LIVE_KEYS.has(key),
  }));
}

/** Lists and tables are the same when all that is in them is. */
function isSame(a: Change['before'], b: Change['after']): boolean {
  if (typeof a !== 'object' || typeof b !== 'object') return a === b;
  return JSON.stringify(a) === JSON.stringify(b);
}
