// The dashboard of one daemon for Grafana 10 and later: generate.ts writes it to docs/observability/dashboard.json, which Grafana
// imports. test/observability.test.ts asks a Prometheus that scrapes a daemon for every query, and holds their names against the
// metrics that exist. A row answers one question, and what an operator needs first stands first.

export interface Query {
  readonly expr: string;
  /** A legend, with Grafana's `{{label}}`. */
  readonly legend: string;
  /** It may have no series where all is well, or where what it is about isn't used. */
  readonly optional?: true;
}

export interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly kind: 'stat' | 'timeseries';
  readonly queries: readonly Query[];
  readonly about?: string;
}

interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

const one = (expr: string, legend: string, optional?: true): Query => ({ expr, legend, ...(optional && { optional }) });
const stat = (title: string, unit: string, expr: string, about?: string): Panel => ({
  ...{ title, unit, kind: 'stat', queries: [one(expr, '')] },
  ...(about !== undefined && { about }),
});
const lines = (title: string, unit: string, ...queries: Query[]): Panel => ({
  title,
  unit,
  kind: 'timeseries',
  queries,
});

const ON = '{instance=~"$instance"}';
const rate = (metric: string, labels = ON) => `rate(${metric}${labels}[$__rate_interval])`;

export const ROWS: readonly Row[] = [
  {
    title: 'Is it well?',
    panels: [
      stat('Ready', 'bool_yes_no', `aegis_ready${ON}`, 'What /ready says; /ready itself has the reasons.'),
      stat('Height', 'none', `aegis_height{instance=~"$instance",stage="signed"}`),
      stat('Epoch', 'none', `aegis_epoch${ON}`),
      stat('Risk score', 'none', `aegis_risk_score${ON}`, '3,000 monitor, 6,000 schedule a rotation, 9,000 emergency.'),
      stat('Quote ends in', 's', `aegis_attestation_not_after_seconds${ON} - time()`),
      stat('Up since', 'dateTimeAsIso', `aegis_start_time_seconds${ON} * 1000`),
    ],
  },
  {
    title: 'What passes through?',
    panels: [
      lines(
        'Envelopes and transactions a second',
        'ops',
        one(rate('aegis_envelopes_admitted_total'), 'admitted'),
        one(rate('aegis_transactions_sequenced_total'), 'sequenced'),
        one(rate('aegis_envelopes_refused_total'), 'refused: {{reason}}', true),
      ),
      lines('Pool', 'none', one(`aegis_mempool_envelopes${ON}`, 'waiting')),
      lines(
        'Batches and seals a second',
        'ops',
        one(rate('aegis_batches_signed_total'), 'signed'),
        one(rate('aegis_seals_total'), 'seals'),
      ),
      lines(
        'Not done yet',
        'none',
        one(
          `aegis_height{instance=~"$instance",stage="cut"} - ignoring(stage) aegis_height{instance=~"$instance",stage="signed"}`,
          'batches to sign',
        ),
        one(`aegis_log_size_leaves${ON} - aegis_log_sealed_leaves${ON}`, 'log entries to seal'),
        one(`aegis_store_waiting_steps${ON}`, 'steps to commit'),
      ),
    ],
  },
  {
    title: 'How do clients fare?',
    panels: [
      lines(
        'Requests a second, by route',
        'reqps',
        one(`sum by(route) (${rate('aegis_request_seconds_count')})`, '{{route}}'),
      ),
      lines(
        'Duration of requests',
        's',
        ...[0.5, 0.99].map((quantile) =>
          one(
            `histogram_quantile(${quantile}, sum by(le) (${rate('aegis_request_seconds_bucket')}))`,
            `p${quantile * 100}`,
          ),
        ),
      ),
      lines('Problems a second', 'ops', one(rate('aegis_problems_total'), '{{code}}')),
      lines(
        'Feed',
        'none',
        one(`aegis_feed_clients${ON}`, 'clients'),
        one(rate('aegis_feed_cuts_total'), 'cut: {{reason}}', true),
      ),
    ],
  },
  {
    title: 'Who vouches for it?',
    panels: [
      lines('Platforms that quote', 'bool', one(`aegis_attestation_platform${ON}`, '{{role}} {{provider}}')),
      lines(
        'Witness',
        'none',
        one(`aegis_witness_working${ON}`, 'working'),
        one(`aegis_witness_conflict${ON}`, 'conflict'),
      ),
      lines(
        'Risk',
        'none',
        one(`aegis_risk_score${ON}`, 'score'),
        one(`aegis_asset_protection_level${ON}`, 'assets protected up to'),
      ),
      lines(
        'Keys',
        'none',
        one(`aegis_epochs${ON}`, '{{state}} epochs'),
        one(`sum by(epoch) (aegis_wraps${ON})`, 'secrets under epoch {{epoch}}', true),
      ),
      lines('Host clock away from the agreed time', 's', one(`abs(aegis_clock_apart_seconds${ON})`, 'away')),
      lines('What fails', 'none', one(`aegis_effect_tries${ON}`, '{{effect}}', true)),
    ],
  },
  {
    title: 'Names and assets',
    panels: [
      lines('Names', 'none', one(`aegis_names${ON}`, '{{state}}')),
      lines(
        'Names a second',
        'ops',
        one(rate('aegis_names_published_total'), 'published'),
        one(rate('aegis_names_failed_total'), 'failed'),
      ),
      lines('Assets', 'none', one(`aegis_assets${ON}`, '{{state}}')),
      lines('Age of the newest checkpoint', 's', one(`time() - (aegis_checkpoint_seconds${ON} > 0)`, 'age', true)),
    ],
  },
  {
    title: 'What does it take?',
    panels: [
      lines('Memory', 'bytes', one(`process_resident_memory_bytes${ON}`, 'resident')),
      lines('Processor', 'percentunit', one(rate('process_cpu_seconds_total'), 'cores')),
      lines(
        'Delay of the main thread',
        's',
        one(`histogram_quantile(0.99, ${rate('aegis_event_loop_delay_seconds_bucket')})`, 'p99'),
      ),
      lines('Room for the store', 'bytes', one(`aegis_store_free_bytes${ON}`, 'free')),
      lines('Commits a second', 'ops', one(rate('aegis_store_commits_total'), 'durable')),
      lines('File descriptors', 'none', one(`process_open_fds${ON}`, 'open')),
    ],
  },
];

export const PANELS: readonly Panel[] = ROWS.flatMap(({ panels }) => panels);

/** Grafana's grid has 24 columns, which the panels of a line share evenly. */
const COLUMNS = 24;
const LINE = { stat: { panels: 6, height: 4 }, timeseries: { panels: 3, height: 8 } };
const SOURCE = { type: 'prometheus', uid: `\${datasource}` };

export function dashboardFile(): string {
  let id = 0;
  let y = 0;
  const panels = ROWS.flatMap((row) => {
    const header = {
      id: ++id,
      type: 'row',
      title: row.title,
      collapsed: false,
      gridPos: { h: 1, w: COLUMNS, x: 0, y },
    };
    y += 1;
    const placed = linesOf(row.panels).flatMap((line) => {
      const { height: h } = LINE[line[0]!.kind];
      const w = COLUMNS / line.length;
      const found = line.map((panel, i) => drawn(++id, panel, { h, w, x: i * w, y }));
      y += h;
      return found;
    });
    return [header, ...placed];
  });
  return `${JSON.stringify({ ...FRAME, panels }, null, 2)}\n`;
}

/** Four stand in one line, since one alone in the next looks lost. */
function linesOf(panels: readonly Panel[]): Panel[][] {
  const most = panels.length === 4 ? 4 : LINE[panels[0]!.kind].panels;
  return Array.from({ length: Math.ceil(panels.length / most) }, (_, i) => panels.slice(i * most, (i + 1) * most));
}

function drawn(id: number, panel: Panel, gridPos: object): object {
  const { title, unit, kind, queries, about } = panel;
  return {
    ...{ id, type: kind, title, gridPos, datasource: SOURCE },
    ...(about !== undefined && { description: about }),
    fieldConfig: { defaults: { unit, ...(kind === 'timeseries' && { min: 0 }) }, overrides: [] },
    targets: queries.map(({ expr, legend }, i) => ({
      ...{ refId: String.fromCharCode(65 + i), datasource: SOURCE, expr },
      ...(legend !== '' && { legendFormat: legend }),
    })),
  };
}

const FRAME = {
  uid: 'aegisd',
  title: 'Aegis',
  tags: ['aegis'],
  schemaVersion: 39,
  editable: true,
  refresh: '30s',
  time: { from: 'now-6h', to: 'now' },
  templating: {
    list: [
      { name: 'datasource', type: 'datasource', query: 'prometheus', label: 'Source' },
      {
        ...{ name: 'instance', type: 'query', label: 'Daemon', datasource: SOURCE, refresh: 2 },
        ...{
          query: { query: 'label_values(aegis_info, instance)', refId: 'instances' },
          includeAll: true,
          multi: true,
        },
        current: { text: ['All'], value: ['$__all'] },
      },
    ],
  },
};
