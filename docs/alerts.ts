// The alerts that an operator of a daemon wants, and docs/observability/alerts.yml for Prometheus, which generate.ts writes of
// them. What to do on each stands under its name in docs/operations.md; test/observability.test.ts joins the two, holds every
// expression against the metrics that exist and the file against promtool, and makes every alert fire and be silent.
// Times are exported as times: a daemon that has stopped exporting still alarms.

export interface Alert {
  readonly expr: string;
  /** How long it has to hold. */
  readonly for: string;
  /** `critical`: somebody has to get up. `warning`: in the next working hours. */
  readonly severity: 'critical' | 'warning';
  readonly summary: string;
}

const critical = (expr: string, hold: string, summary: string): Alert => ({
  expr,
  for: hold,
  severity: 'critical',
  summary,
});
const warning = (expr: string, hold: string, summary: string): Alert => ({
  ...critical(expr, hold, summary),
  severity: 'warning',
});

/** By topic, as the page has them. */
export const ALERTS = {
  AegisDown: critical('up{job="aegisd"} == 0', '2m', 'The daemon gives no metrics.'),
  AegisNotReady: critical('aegis_ready == 0', '5m', 'The daemon runs but says that it should get no traffic.'),
  AegisRestarting: warning('changes(aegis_start_time_seconds[30m]) > 3', '0m', 'The daemon starts over and over.'),
  AegisSigningStuck: critical(
    '(aegis_height{stage="cut"} - ignoring(stage) aegis_height{stage="signed"}) > 0 and ignoring(stage) increase(aegis_batches_signed_total[5m]) == 0',
    '5m',
    'Batches are ordered and none is signed.',
  ),
  AegisSealingStuck: critical(
    '(aegis_log_size_leaves - aegis_log_sealed_leaves) > 0 and increase(aegis_seals_total[10m]) == 0',
    '10m',
    'The log has grown and no seal covers it.',
  ),
  AegisEffectFailing: warning('aegis_effect_tries >= 3', '2m', 'What the daemon owes fails again and again.'),
  AegisMempoolFull: warning(
    'aegis_mempool_envelopes / aegis_mempool_capacity_envelopes > 0.9',
    '2m',
    'Envelopes come faster than batches take them.',
  ),
  AegisRefusals: warning(
    'sum without(reason) (increase(aegis_envelopes_refused_total[15m])) > 0.5 * increase(aegis_envelopes_admitted_total[15m]) and increase(aegis_envelopes_admitted_total[15m]) > 100',
    '5m',
    'Most of what is admitted turns out to be refused.',
  ),
  AegisInternalErrors: warning(
    'increase(aegis_problems_total{code="internal_error"}[15m]) > 0',
    '0m',
    'A request met a mistake of the program.',
  ),
  AegisTokensGuessed: warning(
    'sum without(code) (rate(aegis_problems_total{code=~"unauthorized|forbidden"}[5m])) > 1',
    '5m',
    'Somebody keeps asking with tokens that are none.',
  ),
  AegisEventLoopDelayed: warning(
    'histogram_quantile(0.99, rate(aegis_event_loop_delay_seconds_bucket[5m])) > 0.2',
    '10m',
    'The main thread is late for what it does.',
  ),
  AegisAttestationExpiring: critical(
    'aegis_attestation_not_after_seconds - time() < 3600',
    '5m',
    'The newest verified quote ends within the hour, or has ended.',
  ),
  AegisPlatformFailing: warning('aegis_attestation_platform == 0', '10m', 'A platform gives no quote.'),
  AegisSimulated: critical(
    'aegis_info{simulated="true"} == 1',
    '0m',
    'No hardware vouches for what is signed. For a development machine, silence it.',
  ),
  AegisWitnessConflict: critical('aegis_witness_conflict == 1', '0m', 'The witness has seen another history.'),
  AegisWitnessSilent: warning(
    'aegis_witness_working == 0 and aegis_witness_size_leaves > 0',
    '5m',
    'The witness, which did acknowledge, does no longer.',
  ),
  AegisRiskScheduled: warning(
    'aegis_risk_recommendation == 2',
    '0m',
    'The risk score asks for a rotation of the keys.',
  ),
  AegisRiskEmergency: critical(
    'aegis_risk_recommendation == 3',
    '0m',
    'The risk score asks for an emergency rotation.',
  ),
  AegisRiskFeedQuarantined: warning(
    'aegis_risk_feeds_quarantined > 0',
    '1h',
    'The newest answer of a feed of indicators is not taken.',
  ),
  AegisRotationPending: warning(
    'aegis_epochs{state="pending"} > 0',
    '3h',
    'A rotation is announced and is not executed.',
  ),
  AegisGraceOverdue: warning(
    '(time() - aegis_epoch_grace_ends_seconds) > 3600 and aegis_epoch_grace_ends_seconds > 0',
    '1h',
    'The grace of an epoch is over and its keys are still there.',
  ),
  AegisWrapsStuck: warning('aegis_wraps_stuck > 0', '10m', 'Secrets of an old epoch do not open.'),
  AegisMigrationLong: warning(
    'sum without(stage) (aegis_migration{stage=~"preparing|migrating|moving|restoring"}) > 0',
    '2h',
    'A migration is under way, and its assets are frozen.',
  ),
  AegisStoreUnwritable: critical(
    'aegis_store_writable == 0',
    '1m',
    'Nothing can be committed, so nothing is admitted.',
  ),
  AegisDiskLow: warning('aegis_store_free_bytes < 1073741824', '5m', 'Less than 1 GiB is left for the store.'),
  AegisDiskFilling: warning(
    'predict_linear(aegis_store_free_bytes[6h], 86400) < 0',
    '1h',
    'At the pace of the last six hours the disk is full within a day.',
  ),
  AegisClockHeld: critical('aegis_clock_held == 1', '1m', 'The clock of the host was set, and nobody has agreed.'),
  AegisNamesExpiring: critical(
    'aegis_names_soonest_expiry_seconds - time() < 43200 and aegis_names_soonest_expiry_seconds > 0',
    '15m',
    'The record of a name ends within 12 hours, or has ended.',
  ),
  AegisNamesStale: warning('aegis_names{state="stale"} > 0', '1h', 'Names failed ten times in a row.'),
  AegisConfigRejected: warning(
    'aegis_config_rejected == 1',
    '5m',
    'The newest settings are refused; the old ones hold.',
  ),
  AegisRestartNeeded: warning('aegis_config_waiting > 0', '6h', 'Settings have changed and wait for a restart.'),
  AegisDescriptors: warning(
    'process_open_fds / process_max_fds > 0.8',
    '5m',
    'File descriptors run out, which connections and the store need.',
  ),
} as const satisfies Record<string, Alert>;

export type AlertName = keyof typeof ALERTS;

/** Where the heading of an alert is, for whoever is woken by it. */
export const runbookOf = (name: string): string => `docs/operations.md#${name.toLowerCase()}`;

/** None has a quote of this kind in it. */
const quoted = (text: string): string => `'${text}'`;

export function alertsFile(): string {
  const rules = Object.entries(ALERTS).flatMap(([name, { expr, for: hold, severity, summary }]) => [
    `      - alert: ${name}`,
    `        expr: ${quoted(expr)}`,
    `        for: ${hold}`,
    `        labels: { severity: ${severity} }`,
    '        annotations:',
    `          summary: ${quoted(summary)}`,
    `          runbook: ${quoted(runbookOf(name))}`,
  ]);
  return [
    '# Made by docs/alerts.ts: npm run docs. For rule_files of Prometheus; prometheus.yml beside it shows the scrape.',
    'groups:',
    '  - name: aegisd',
    '    rules:',
    ...rules,
    '',
  ].join('\n');
}
