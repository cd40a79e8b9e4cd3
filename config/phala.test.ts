/** Every key of the upstream's file has one outcome that is true here, and what comes out loads. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { parse } from 'smol-toml';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig } from './load.ts';
import { convertPhala, PHALA_KEYS, type ReportLine } from './phala.ts';
import { CONFIG_KEYS, type ConfigKey, setting } from './schema.ts';

const FIXTURE = new URL('../test/fixtures/config/phala.toml', import.meta.url);
const DOCS = new URL('../docs/configuration.md', import.meta.url);
const defaults = loadConfig({ environment: {} }).config;
const folder = mkdtempSync(join(tmpdir(), 'aegis-phala-'));
afterAll(() => rmSync(folder, { recursive: true }));

const convert = (text: string) => convertPhala({ text, table: parse(text, { integersAsBigInt: true }) }, defaults);

function load(settings: string) {
  const file = join(folder, 'sequencer.toml');
  writeFileSync(file, settings);
  return loadConfig({ file, environment: {} }).config;
}

/** The one line about one key. */
function about(key: string, value: string): ReportLine {
  const [table, name] = key.split('.');
  const { report, settings } = convert(`[${table}]\n${name} = ${value}\n`);
  expect(report).toHaveLength(1);
  load(settings);
  return report[0]!;
}

const full = readFileSync(FIXTURE, 'utf8');

describe("the upstream's own file", () => {
  const { report, settings } = convert(full);

  it('has every key that there are rules for, and no other', () => {
    expect(report.map(({ key }) => key)).toEqual(PHALA_KEYS.map(({ key }) => key));
    expect(PHALA_KEYS).toHaveLength(37);
  });

  it('maps what is a setting here, and the settings load', () => {
    const mapped = report.flatMap(({ key, to, outcome }) => (outcome === 'mapped' ? [[key, ...(to ?? [])]] : []));
    expect(mapped).toEqual([
      ['quantum.hybrid_ecdsa', 'quantum.hybrid_ecdsa'],
      ['intelligence.mode', 'ordering.mode'],
      ['migration.checkpoint_interval', 'migration.checkpoint_interval'],
      ['performance.batch_size', 'sequencer.batch_size'],
      ['performance.mempool_capacity', 'mempool.capacity'],
      ['performance.max_transactions_per_batch', 'sequencer.max_transactions_per_batch'],
      ['monitoring.log_level', 'daemon.log_level'],
    ]);
    // The upstream's values are our defaults.
    expect(load(settings)).toEqual(defaults);
  });

  it('finds the rest to be so anyway, or refuses it', () => {
    const keys = (wanted: string) => report.filter(({ outcome }) => outcome === wanted).map(({ key }) => key);
    expect(keys('implied')).toEqual([
      'quantum.signature_algorithms',
      'quantum.risk_scheduled',
      'quantum.risk_emergency',
      'intelligence.enable_asset_protection',
      'intelligence.enable_migration',
      'assets.onchain_tokens',
      'assets.onchain_nfts',
      'assets.onchain_data',
      'assets.offchain_database',
      'assets.offchain_files',
      'assets.offchain_streams',
      'assets.crosschain_bridges',
      'migration.enable_rollback',
      'migration.state_encryption',
      'monitoring.enable_metrics',
      'monitoring.enable_logs',
      'security.require_tee_attestation',
      'security.verify_phala_quote',
      'security.enforce_pqc_signatures',
      'security.encrypt_mempool',
    ]);
    expect(keys('refused')).toHaveLength(37 - 7 - 20);
    expect(report.every(({ reason }) => reason.length > 10)).toBe(true);
  });

  it('is reported with line and value', () => {
    const lines = full.split('\n');
    for (const { key, line, value } of report) {
      expect(lines[line! - 1]).toBe(`${key.split('.')[1]} = ${value}`);
    }
  });
});

describe('a key', () => {
  it.each([
    ['phala.network', '"local"', 'implied', 'everything runs on this machine'],
    ['phala.network', '"testnet"', 'refused', 'speaks to no Phala network'],
    ['worker.min_workers', '1', 'implied', 'one daemon runs'],
    ['worker.max_workers', '2', 'refused', 'replication'],
    ['quantum.signature_algorithms', '["SLH-DSA-SHA2-256s", "ML-DSA-87"]', 'implied', 'every batch is signed'],
    ['quantum.signature_algorithms', '["ML-DSA-87"]', 'refused', 'no more and no fewer'],
    ['quantum.signature_algorithms', '["ML-DSA-87", "ML-DSA-87"]', 'refused', 'no more and no fewer'],
    ['quantum.signature_algorithms', '["ML-DSA-87", "SLH-DSA-256s", "Falcon-1024"]', 'refused', 'no more'],
    ['quantum.signature_algorithms', '"ML-DSA-87"', 'refused', 'no more and no fewer'],
    ['quantum.kem_algorithms', '["X-Wing"]', 'implied', 'X-Wing'],
    ['quantum.kem_algorithms', '["ML-KEM-768"]', 'refused', 'always X-Wing'],
    ['quantum.risk_scheduled', '6001', 'refused', 'always 6000'],
    ['quantum.risk_scheduled', '6000.0', 'refused', 'always 6000'],
    ['quantum.risk_emergency', '"9000"', 'refused', 'always 9000'],
    ['quantum.hybrid_ecdsa', '1', 'refused', 'quantum.hybrid_ecdsa: expected true or false, not an integer'],
    ['intelligence.mode', '"fifo"', 'refused', 'ordering.mode: expected one of risk_aware, asset_protection'],
    ['intelligence.enable_migration', '"no"', 'refused', 'expected true or false'],
    ['assets.onchain_nfts', 'true', 'implied', 'can be registered'],
    ['assets.onchain_nfts', 'false', 'refused', 'no type of asset'],
    ['migration.enable_rollback', 'true', 'implied', 'can always be rolled back'],
    ['migration.enable_rollback', 'false', 'refused', 'can always be rolled back'],
    ['migration.state_encryption', 'false', 'refused', 'no store that is not encrypted'],
    ['performance.batch_size', '0', 'refused', 'sequencer.batch_size: expected an integer from 1 to 10000'],
    ['performance.batch_size', '10.5', 'refused', 'not a float'],
    ['performance.batch_size', '51', 'refused', 'at most sequencer.max_transactions_per_batch = 50'],
    ['performance.max_transactions_per_batch', '9', 'refused', 'at least sequencer.batch_size = 10'],
    ['performance.max_transactions_per_batch', '201', 'refused', 'at most sequencer.open_max = 200'],
    ['performance.mempool_capacity', '2000000', 'refused', 'mempool.capacity: expected an integer from 1 to 1000000'],
    ['monitoring.enable_logs', 'false', 'refused', 'daemon.log_level = "fatal"'],
    ['monitoring.enable_metrics', '3', 'refused', 'expected true or false'],
    ['monitoring.log_level', '"verbose"', 'refused', 'daemon.log_level: expected one of fatal, error'],
    ['security.encrypt_mempool', 'false', 'refused', 'plain transactions are not admitted'],
    ['security.verify_phala_quote', 'false', 'refused', 'no quote is published unverified'],
  ])('%s = %s is %s', (key, value, outcome, reason) => {
    const line = about(key, value);
    expect(line).toMatchObject({ key, outcome, line: 2 });
    expect(line.reason).toContain(reason);
  });

  it.each([
    ['intelligence.enable_asset_protection', ['ordering.requires_pqc_weight', 'ordering.requires_tee_weight']],
    ['intelligence.enable_migration', ['ordering.migration_weight']],
  ])('%s = false takes its terms out of the score', (key, to) => {
    expect(about(key, 'false')).toMatchObject({ outcome: 'mapped', to });
    const [table, name] = key.split('.');
    const config = load(convert(`${table}.${name} = false`).settings);
    expect(to.map((weight) => setting(config, weight as ConfigKey))).toEqual(to.map(() => 0));
  });

  it.each([
    ['batch_size', '25', 'sequencer.batch_size', 25],
    ['mempool_capacity', '5', 'mempool.capacity', 5],
    ['max_transactions_per_batch', '200', 'sequencer.max_transactions_per_batch', 200],
  ] as const)('performance.%s = %s arrives', (name, value, key, expected) => {
    expect(about(`performance.${name}`, value)).toMatchObject({ outcome: 'mapped', to: [key] });
    expect(setting(load(convert(`[performance]\n${name} = ${value}`).settings), key)).toBe(expected);
  });

  it('that contradicts another is refused, and the other stays', () => {
    const { report, settings } = convert('[performance]\nbatch_size = 60\nmax_transactions_per_batch = 55');
    expect(report.map(({ outcome }) => outcome)).toEqual(['refused', 'mapped']);
    expect(load(settings).sequencer).toMatchObject({ batch_size: 10, max_transactions_per_batch: 55 });
  });
});

describe('what phala.toml has not', () => {
  it('is named with its line and what was meant, and its value never shown', () => {
    const text =
      '[performance]\nbatch_sise = "hunter2"\n[wroker]\nid = "hunter2"\n[quantum.deep]\nseed = "hunter2"\n[__proto__]\na = "hunter2"\n';
    const { report } = convert(text);
    expect(report.map(({ key, line }) => [key, line])).toEqual([
      ['performance.batch_sise', 2],
      ['wroker', 3],
      ['quantum.deep', 5],
      ['__proto__', 7],
    ]);
    expect(report.every(({ outcome }) => outcome === 'refused')).toBe(true);
    expect(report[0]!.reason).toContain('did you mean performance.batch_size?');
    expect(report[1]!.reason).toContain('did you mean worker?');
    expect(JSON.stringify(report)).not.toContain('hunter2');
  });

  it('may be a value in the place of a table, or a list of tables', () => {
    expect(convert('quantum = 5').report).toMatchObject([{ key: 'quantum', outcome: 'refused', line: 1 }]);
    expect(convert('[[quantum]]\nhybrid_ecdsa = true').report[0]).toMatchObject({ reason: 'expected a table' });
  });

  it('is nothing: an empty file sets nothing', () => {
    const { report, settings } = convert('');
    expect(report).toEqual([]);
    expect(load(settings)).toEqual(defaults);
  });
});

it('what comes out loads, whatever goes in, and changes only what the report says', () => {
  const values = [
    '0',
    '1',
    '9',
    '55',
    '300',
    '9000',
    '1.5',
    'true',
    'false',
    '""',
    '"hybrid"',
    '"info"',
    '[]',
    '{}',
    '["X-Wing"]',
  ];
  const entry = fc.tuple(
    fc.constantFrom(...PHALA_KEYS.map(({ key }) => key), 'x.y', 'quantum.x'),
    fc.constantFrom(...values),
  );
  fc.assert(
    fc.property(fc.uniqueArray(entry, { selector: ([key]) => key, maxLength: 40 }), (entries) => {
      const { report, settings } = convert(entries.map(([key, value]) => `${key} = ${value}`).join('\n'));
      const config = load(settings);
      const set = new Set<string>(report.flatMap(({ to }) => to ?? []));
      for (const key of CONFIG_KEYS) if (!set.has(key)) expect(setting(config, key)).toEqual(setting(defaults, key));
      expect(report.filter(({ key }) => !key.startsWith('x'))).toHaveLength(
        entries.filter(([key]) => !key.startsWith('x.')).length,
      );
    }),
  );
});

it('the documentation has a row for every key', () => {
  const rows = PHALA_KEYS.map(({ key, says }) => `| \`${key}\` | ${says} |`);
  const text = readFileSync(DOCS, 'utf8');
  expect(text.split('\n').filter((line) => /^\| `\w+\.\w+` \|/.test(line))).toEqual(rows);
});
