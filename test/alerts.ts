// What every alert is about, as series of Prometheus: how they are when it has to fire, and how when all is well. A new alert does
// not compile without its scene. `unitTests` makes of one what `promtool test rules` takes; JSON is YAML.
import { ALERTS, type AlertName } from '../docs/alerts.ts';

/** Series, each with its values as promtool writes them (`1x60`: 61 times 1, one a minute). */
type Series = Readonly<Record<string, string>>;

interface Scene {
  readonly fires: Series;
  readonly silent: Series;
  /** When it is looked, from the start of the values; after what `for` asks for. */
  readonly at: string;
}

const scene = (at: string, fires: Series, silent: Series): Scene => ({ at, fires, silent });
/** One gauge: the value that alarms, and one that doesn't. */
const gauge = (at: string, series: string, bad: number, good: number): Scene =>
  scene(at, { [series]: `${bad}x3000` }, { [series]: `${good}x3000` });

export const SCENES: Readonly<Record<AlertName, Scene>> = {
  AegisDown: gauge('5m', 'up{job="aegisd"}', 0, 1),
  AegisNotReady: gauge('10m', 'aegis_ready', 0, 1),
  AegisRestarting: scene(
    '20m',
    { aegis_start_time_seconds: '100 100 200 200 300 300 400 400 500x30' },
    { aegis_start_time_seconds: '100x10 200x30' },
  ),
  AegisSigningStuck: scene(
    '20m',
    { 'aegis_height{stage="cut"}': '9x60', 'aegis_height{stage="signed"}': '7x60', aegis_batches_signed_total: '7x60' },
    {
      'aegis_height{stage="cut"}': '2+1x60',
      'aegis_height{stage="signed"}': '0+1x60',
      aegis_batches_signed_total: '0+1x60',
    },
  ),
  AegisSealingStuck: scene(
    '40m',
    { aegis_log_size_leaves: '9x60', aegis_log_sealed_leaves: '7x60', aegis_seals_total: '3x60' },
    { aegis_log_size_leaves: '9+2x60', aegis_log_sealed_leaves: '7+2x60', aegis_seals_total: '0+1x60' },
  ),
  AegisEffectFailing: gauge('5m', 'aegis_effect_tries{effect="seal"}', 3, 1),
  AegisMempoolFull: scene(
    '5m',
    { aegis_mempool_envelopes: '9500x60', aegis_mempool_capacity_envelopes: '10000x60' },
    { aegis_mempool_envelopes: '100x60', aegis_mempool_capacity_envelopes: '10000x60' },
  ),
  AegisRefusals: scene(
    '40m',
    {
      'aegis_envelopes_refused_total{reason="unopenable"}': '0+50x60',
      'aegis_envelopes_refused_total{reason="replayed"}': '0+30x60',
      aegis_envelopes_admitted_total: '0+100x60',
    },
    {
      'aegis_envelopes_refused_total{reason="unopenable"}': '0+10x60',
      aegis_envelopes_admitted_total: '0+100x60',
    },
  ),
  AegisInternalErrors: scene(
    '20m',
    { 'aegis_problems_total{code="internal_error"}': '0x10 1x20' },
    { 'aegis_problems_total{code="internal_error"}': '1x30', 'aegis_problems_total{code="batch_not_found"}': '0+9x30' },
  ),
  AegisTokensGuessed: scene(
    '20m',
    {
      'aegis_problems_total{code="unauthorized"}': '0+50x60',
      'aegis_problems_total{code="forbidden"}': '0+50x60',
    },
    { 'aegis_problems_total{code="unauthorized"}': '0+5x60' },
  ),
  AegisEventLoopDelayed: scene(
    '30m',
    {
      'aegis_event_loop_delay_seconds_bucket{le="0.2"}': '0+100x60',
      'aegis_event_loop_delay_seconds_bucket{le="0.5"}': '0+1000x60',
      'aegis_event_loop_delay_seconds_bucket{le="+Inf"}': '0+1000x60',
    },
    {
      'aegis_event_loop_delay_seconds_bucket{le="0.001"}': '0+990x60',
      'aegis_event_loop_delay_seconds_bucket{le="0.2"}': '0+1000x60',
      'aegis_event_loop_delay_seconds_bucket{le="+Inf"}': '0+1000x60',
    },
  ),
  // Time begins at 0 there; one that has stopped exporting goes on to be seen only while its newest value is.
  AegisAttestationExpiring: gauge('10h', 'aegis_attestation_not_after_seconds', 38_000, 86_400),
  AegisPlatformFailing: gauge('20m', 'aegis_attestation_platform{role="primary",provider="tsm"}', 0, 1),
  AegisSimulated: scene('5m', { 'aegis_info{simulated="true"}': '1x60' }, { 'aegis_info{simulated="false"}': '1x60' }),
  AegisWitnessConflict: gauge('1m', 'aegis_witness_conflict', 1, 0),
  AegisWitnessSilent: scene(
    '20m',
    { aegis_witness_working: '1x3 0x60', aegis_witness_size_leaves: '9x60' },
    { aegis_witness_working: '0x60', aegis_witness_size_leaves: '0x60' },
  ),
  AegisRiskScheduled: gauge('1m', 'aegis_risk_recommendation', 2, 1),
  AegisRiskEmergency: gauge('1m', 'aegis_risk_recommendation', 3, 2),
  AegisRiskFeedQuarantined: gauge('2h', 'aegis_risk_feeds_quarantined', 1, 0),
  AegisRotationPending: gauge('4h', 'aegis_epochs{state="pending"}', 1, 0),
  AegisGraceOverdue: gauge('4h', 'aegis_epoch_grace_ends_seconds{epoch="1"}', 600, 20_000),
  AegisWrapsStuck: gauge('20m', 'aegis_wraps_stuck', 2, 0),
  AegisMigrationLong: scene(
    '3h',
    { 'aegis_migration{stage="migrating"}': '1x200', 'aegis_migration{stage="migrated"}': '0x200' },
    { 'aegis_migration{stage="migrating"}': '0x200', 'aegis_migration{stage="migrated"}': '1x200' },
  ),
  AegisStoreUnwritable: gauge('2m', 'aegis_store_writable', 0, 1),
  AegisDiskLow: gauge('10m', 'aegis_store_free_bytes', 500_000_000, 5_000_000_000),
  AegisDiskFilling: scene(
    '8h',
    { aegis_store_free_bytes: '100000000000-100000000x900' },
    { aegis_store_free_bytes: '100000000000-1000000x900' },
  ),
  AegisClockHeld: gauge('5m', 'aegis_clock_held', 1, 0),
  AegisNamesExpiring: gauge('10h', 'aegis_names_soonest_expiry_seconds', 60_000, 172_800),
  AegisNamesStale: gauge('2h', 'aegis_names{state="stale"}', 1, 0),
  AegisConfigRejected: gauge('10m', 'aegis_config_rejected', 1, 0),
  AegisRestartNeeded: gauge('8h', 'aegis_config_waiting', 1, 0),
  AegisDescriptors: scene(
    '10m',
    { process_open_fds: '900x60', process_max_fds: '1024x60' },
    { process_open_fds: '90x60', process_max_fds: '1024x60' },
  ),
};

/** Two runs of the rules: in the one it fires, in the other it doesn't. */
export function unitTests(name: AlertName) {
  const { fires, silent, at } = SCENES[name];
  const { severity } = ALERTS[name];
  const test = (series: Series, exp_samples: readonly object[]) => ({
    interval: '1m',
    input_series: Object.entries(series).map(([each, values]) => ({ series: each, values })),
    // The series that Prometheus makes of an alert has the labels of what it is about: only whether there is one is asked.
    promql_expr_test: [
      {
        expr: `group(ALERTS{alertname="${name}",alertstate="firing",severity="${severity}"})`,
        eval_time: at,
        exp_samples,
      },
    ],
  });
  return {
    rule_files: ['alerts.yml'],
    evaluation_interval: at.endsWith('h') ? '10m' : '1m',
    tests: [test(fires, [{ labels: '{}', value: 1 }]), test(silent, [])],
  };
}
