// What operators watch with: alerts and dashboard name metrics that exist, with labels that these have; every alert has its
// runbook; promtool takes the rules, and each alert fires on what it is about and is silent on what is well. Then a Prometheus
// scrapes a daemon and is asked for every query of the dashboard. Both tools are Debian's package `prometheus`.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CONFIG_KEYS } from '../config/schema.ts';
import { catalogue } from '../daemon/api/metrics.ts';
import { type Child, run, startDaemon } from '../daemon/demo/child.ts';
import { READY_REASONS } from '../daemon/status.ts';
import { ALERTS, type AlertName, alertsFile, runbookOf } from '../docs/alerts.ts';
import { dashboardFile, PANELS } from '../docs/dashboard.ts';
import { SCENES, unitTests } from './alerts.ts';
import { until } from './house.ts';
import { needed } from './supervisor.ts';

const root = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'aegis-observability-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const METRICS = new Map(
  catalogue().flatMap(({ name, type, labels }) => {
    if (type !== 'histogram') return [[name, labels] as const];
    return [
      [`${name}_bucket`, [...labels, 'le']] as const,
      [`${name}_sum`, labels] as const,
      [`${name}_count`, labels] as const,
    ];
  }),
);
/** What Prometheus adds to every series. */
const TARGET = ['instance', 'job'];
const ALL_LABELS = new Set([...TARGET, ...[...METRICS.values()].flat()]);

/** Metrics with the labels that are matched, and labels that are grouped by. */
function parsed(expr: string) {
  const used = [...expr.matchAll(/\b((?:aegis|process)_\w+|up)\b(?:\{([^}]*)\})?/g)].map(([, name, matchers = '']) => ({
    name: name!,
    labels: [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label]) => label!),
  }));
  const grouped = [...expr.matchAll(/\b(?:by|without|on|ignoring)\s*\(([^)]*)\)/g)].flatMap(([, list]) =>
    list!.split(',').map((label) => label.trim()),
  );
  return { used, grouped };
}

const EXPRESSIONS: [string, string][] = [
  ...Object.entries(ALERTS).map(([name, { expr }]): [string, string] => [name, expr]),
  ...PANELS.flatMap(({ title, queries }) => queries.map(({ expr }): [string, string] => [title, expr])),
];

describe('expressions', () => {
  it.each(EXPRESSIONS)('%s asks for metrics and labels that exist: %s', (_, expr) => {
    const { used, grouped } = parsed(expr);
    expect(used.length).toBeGreaterThan(0);
    for (const { name, labels } of used) {
      const known = name === 'up' ? [] : METRICS.get(name);
      expect(known, name).toBeDefined();
      for (const label of labels) expect([...TARGET, ...known!], `${name}{${label}}`).toContain(label);
    }
    for (const label of grouped) expect([...ALL_LABELS]).toContain(label);
  });

  it('of panels have legends of labels that exist, and units', () => {
    for (const { queries, unit, title } of PANELS) {
      expect(unit, title).not.toBe('');
      for (const { legend } of queries)
        for (const [, label] of legend.matchAll(/\{\{(\w+)\}\}/g)) expect([...ALL_LABELS], title).toContain(label);
    }
  });
});

describe('runbooks', () => {
  const page = readFileSync(join(root, 'docs/operations.md'), 'utf8');
  const runbooks = page.split('\n## Runbooks\n')[1]!.split('\n## ')[0]!;
  const headings = [...runbooks.matchAll(/^### (.*)$/gm)].map(([, name]) => name);

  it('are there for every alert, and for no other', () => {
    expect(headings).toEqual(Object.keys(ALERTS));
    for (const name of Object.keys(ALERTS)) expect(runbookOf(name)).toBe(`docs/operations.md#${name.toLowerCase()}`);
  });

  it('have the reasons of /ready before them', () => {
    const [, listed] = /`\/ready` whether [^:]*:([^.]*)\./.exec(page)!;
    expect([...listed!.matchAll(/`(\w+)`/g)].map(([, reason]) => reason)).toEqual(READY_REASONS);
  });

  it('say of each reason of /ready where to go on', () => {
    const [, notReady] = /^### AegisNotReady\n([\s\S]*?)^### /m.exec(runbooks)!;
    for (const reason of READY_REASONS) expect(notReady).toContain(`\`${reason}\``);
  });

  it('say something, of settings that exist', () => {
    const sections = new Set(CONFIG_KEYS.map((key) => key.split('.')[0]));
    for (const [section, body] of runbooks
      .split(/^### /m)
      .slice(1)
      .map((text) => text.split(/\n\n([\s\S]*)/)))
      expect(body!.length, section).toBeGreaterThan(60);
    for (const [, key, section] of runbooks.matchAll(/`(([a-z]+)\.[a-z_]+)(?: = [^`]*)?`/g))
      if (sections.has(section!)) expect(CONFIG_KEYS).toContain(key);
  });
});

it('the dashboard has each panel once, on the grid, and one variable for the daemon', () => {
  const { panels, templating } = JSON.parse(dashboardFile()) as {
    panels: { id: number; type: string; title: string; gridPos: { x: number; y: number; w: number; h: number } }[];
    templating: { list: { name: string }[] };
  };
  const drawn = panels.filter(({ type }) => type !== 'row');
  expect(drawn.map(({ title }) => title)).toEqual(PANELS.map(({ title }) => title));
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  expect(templating.list.map(({ name }) => name)).toEqual(['datasource', 'instance']);
  const taken = new Set<string>();
  for (const { gridPos, title } of panels) {
    expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect(taken.has(`${x}/${y}`), title).toBe(false);
        taken.add(`${x}/${y}`);
      }
  }
});

const NO_PROMTOOL = needed('promtool', ['--version']);
const suffix = NO_PROMTOOL === undefined ? '' : ` (skipped: ${NO_PROMTOOL})`;

describe.skipIf(NO_PROMTOOL !== undefined)(`promtool${suffix}`, () => {
  const promtool = (...args: string[]) =>
    execFileSync('promtool', args, { cwd: folder, encoding: 'utf8', stdio: 'pipe' });
  beforeAll(() => writeFileSync(join(folder, 'alerts.yml'), alertsFile()));

  it('takes the rules, and the scrape beside them', () => {
    const count = Object.keys(ALERTS).length;
    expect(promtool('check', 'rules', 'alerts.yml')).toContain(`SUCCESS: ${count} rules found`);
    copyFileSync(join(root, 'docs/observability/prometheus.yml'), join(folder, 'prometheus.yml'));
    const text = readFileSync(join(folder, 'prometheus.yml'), 'utf8').replace('/etc/prometheus/', './');
    writeFileSync(join(folder, 'prometheus.yml'), text);
    writeFileSync(join(folder, 'aegis-metrics.token'), 'token\n');
    expect(promtool('check', 'config', 'prometheus.yml')).toContain('SUCCESS: prometheus.yml is valid');
  });

  it.each(Object.keys(SCENES) as AlertName[])('%s fires on what it is about, and is silent otherwise', (name) => {
    const file = `${name}.json`;
    writeFileSync(join(folder, file), JSON.stringify(unitTests(name)));
    expect(promtool('test', 'rules', file)).toContain('SUCCESS');
  });

  it('would notice an alert that stays silent', () => {
    const [fires] = unitTests('AegisNotReady').tests;
    const wrong = { ...fires!, input_series: [{ series: 'aegis_ready', values: '1x600' }] };
    writeFileSync(join(folder, 'wrong.json'), JSON.stringify({ ...unitTests('AegisNotReady'), tests: [wrong] }));
    expect(() => promtool('test', 'rules', 'wrong.json')).toThrow();
  });
});

describe.skipIf(NO_PROMTOOL !== undefined)(`a Prometheus that scrapes a daemon${suffix}`, () => {
  let daemon: Child;
  let prometheus: ChildProcess;
  let url: string;
  beforeAll(async () => {
    const state = join(folder, 'state');
    mkdirSync(state);
    daemon = await startDaemon(state, join(folder, 'daemon.log'), '[seal]\ninterval_ms = 100\n');
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    writeFileSync(join(folder, 'alerts.yml'), alertsFile());
    const scrape = {
      job_name: 'aegisd',
      authorization: { type: 'Bearer', credentials_file: join(state, 'admin.token') },
      static_configs: [{ targets: [new URL(daemon.url).host] }],
    };
    const global = { scrape_interval: '500ms', scrape_timeout: '500ms', evaluation_interval: '1s' };
    const config = { global, rule_files: ['alerts.yml'], scrape_configs: [scrape] };
    writeFileSync(join(folder, 'scrape.yml'), JSON.stringify(config));
    const args = ['--config.file=scrape.yml', '--storage.tsdb.path=tsdb', `--web.listen-address=127.0.0.1:${port}`];
    prometheus = spawn('prometheus', args, { cwd: folder, stdio: 'ignore' });
    await until(async () => (await fetch(`${url}/-/ready`).catch(() => undefined))?.status === 200);
  });
  afterAll(async () => {
    if (prometheus?.exitCode === null) {
      prometheus.kill('SIGTERM');
      await once(prometheus, 'exit');
    }
    await daemon?.stop();
  });

  const ask = async <T>(path: string): Promise<T> => {
    const answer = (await (await fetch(`${url}/api/v1/${path}`)).json()) as { status: string; data: T; error?: string };
    if (answer.status !== 'success') throw new Error(answer.error);
    return answer.data;
  };

  it('has data for every panel', async () => {
    for (const scheme of ['x-wing', 'ecies'])
      expect(await run(['send', '--sample', '--wait', '--scheme', scheme, '--url', daemon.url])).toMatchObject({
        code: 0,
      });
    await fetch(`${daemon.url}/batches/99999`);
    for (const { title, queries } of PANELS)
      for (const { expr, optional } of queries) {
        const query = expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*');
        const series = () => ask<{ result: { value: [number, string] }[] }>(`query?query=${encodeURIComponent(query)}`);
        if (optional) await series();
        else await until(async () => (await series()).result.length > 0);
        for (const { value } of (await series()).result)
          expect(Number.isNaN(Number(value[1])) && !query.includes('quantile'), `${title}: ${query}`).toBe(false);
      }
  });

  it('alerts of what is so, a simulator, and of nothing else', async () => {
    const firing = async () => {
      const { alerts } = await ask<{ alerts: { labels: { alertname: string }; state: string }[] }>('alerts');
      return alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname);
    };
    await until(async () => (await firing()).length > 0);
    expect(await firing()).toEqual(['AegisSimulated']);
    const { groups } = await ask<{ groups: { rules: { health: string; lastError?: string }[] }[] }>('rules');
    const rules = groups.flatMap((group) => group.rules);
    expect(rules).toHaveLength(Object.keys(ALERTS).length);
    await until(async () => {
      const { groups } = await ask<{ groups: { rules: { health: string }[] }[] }>('rules');
      return groups.every(({ rules }) => rules.every(({ health }) => health === 'ok'));
    });
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
