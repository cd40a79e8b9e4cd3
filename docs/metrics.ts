// docs/metrics.md: every metric of GET /metrics, made of the registry itself; generate.ts writes it and a test holds it up to date.
import { table } from '../daemon/api/guide.ts';
import { catalogue } from '../daemon/api/metrics.ts';

export function metricsPage(): string {
  const rows = catalogue().map(({ name, type, labels, help }) => [
    `\`${name}\``,
    type,
    labels.map((label) => `\`${label}\``).join(', '),
    help,
  ]);
  return `<!-- Made by docs/metrics.ts: npm run docs -->
# Metrics

\`GET /metrics\` in Prometheus' text format, for the role \`metrics\` (credential \`metrics.token\`) and the admin. Numbers "ever" are counted in the
store: they survive a restart, and no client can write them. What is a time is in seconds of Unix time, so that an exporter that
stands still alarms too. [\`observability/\`](observability) has the scrape, alerts and a dashboard; what to do on an alert stands in
[operations.md](operations.md#runbooks).

${table(['metric', 'type', 'labels', 'what it tells'], rows)}
`;
}
