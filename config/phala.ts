/**
 * Reads the configuration of the upstream sequencer, `phala.toml`, as settings of ours. Every key of it acts through a
 * setting that has a name here, or is what Aegis always does, or is refused with the reason; none is dropped silently.
 * `aegisd check-config --from` prints the report. What it gives loads; what it can't give, it says.
 */
import type { TomlTable, TomlValue } from 'smol-toml';
import { conflicts } from './conflict.ts';
import { pathKey, positions, shorten } from './position.ts';
import { CONFIG_KEYS, type Config, type ConfigKey, schema } from './schema.ts';
import { nearest } from './suggestion.ts';

/** `implied`: true of every Aegis, so there is nothing to set. */
export type Outcome = 'mapped' | 'implied' | 'refused';

export interface ReportLine {
  /** `table.key` of phala.toml. */
  readonly key: string;
  /** As TOML on one line, shortened; absent for keys that phala.toml doesn't have, since it could be a secret. */
  readonly value?: string;
  /** From 1; absent where it couldn't be found. */
  readonly line?: number;
  readonly outcome: Outcome;
  /** What it sets. */
  readonly to?: readonly ConfigKey[];
  readonly reason: string;
}

export interface Conversion {
  /** TOML that `loadConfig` takes as the operator's file. */
  readonly settings: string;
  /** In the order of the file. */
  readonly report: readonly ReportLine[];
}

type Settings = Partial<Record<ConfigKey, bigint | string | boolean>>;
type Verdict =
  | { readonly outcome: 'mapped'; readonly set: Settings; readonly reason: string }
  | { readonly outcome: 'implied' | 'refused'; readonly reason: string };

/** How one key is read; `says` is its line in docs/configuration.md. */
interface Rule {
  readonly says: string;
  readonly judge: (value: TomlValue) => Verdict;
}

const implied = (reason: string): Verdict => ({ outcome: 'implied', reason });
const refused = (reason: string): Verdict => ({ outcome: 'refused', reason });

function field(key: ConfigKey) {
  const [section, name] = key.split('.') as [keyof typeof schema.shape, string];
  return (schema.shape[section].shape as Record<string, (typeof schema.shape.sequencer.shape)['batch_size']>)[name]!;
}

/** The same setting under another name, within our bounds. */
function sets(key: ConfigKey): Rule {
  return {
    says: `sets \`${key}\``,
    judge: (value) => {
      const parsed = field(key).safeParse(value);
      if (!parsed.success) return refused(`${key}: ${parsed.error.issues[0]!.message}`);
      return { outcome: 'mapped', set: { [key]: value as bigint | string | boolean }, reason: `sets ${key}` };
    },
  };
}

/** A switch that is on in every Aegis. */
function always(why: string, whyNot: string): Rule {
  return {
    says: `\`true\`: ${why}; \`false\` is refused: ${whyNot}`,
    judge: (value) => {
      if (value === true) return implied(why);
      return refused(value === false ? whyNot : 'expected true or false');
    },
  };
}

/** One value says what Aegis does; every other is refused. */
function only(wanted: bigint | string | boolean, why: string, whyNot: string): Rule {
  return {
    says: `\`${show(wanted)}\`: ${why}; else refused: ${whyNot}`,
    judge: (value) => (value === wanted ? implied(why) : refused(whyNot)),
  };
}

/** A list that has to name what Aegis uses, in any order. */
function exactly(names: readonly (readonly string[])[], why: string, whyNot: string): Rule {
  const wanted = names.map((list) => list.toSorted().join('\n'));
  return {
    says: `${names[0]!.map(show).join(', ')}: ${why}; else refused: ${whyNot}`,
    judge: (value) => {
      const listed = Array.isArray(value) && value.every((name) => typeof name === 'string');
      return listed && wanted.includes(value.toSorted().join('\n')) ? implied(why) : refused(whyNot);
    },
  };
}

/** A switch that takes terms out of the score; on, they are as `[ordering]` has them, though nothing feeds them yet. */
function weighs(lack: string, ...keys: ConfigKey[]): Rule {
  const named = keys.join(' and ');
  const why = `${named} ${keys.length > 1 ? 'count' : 'counts'} where ordering.mode says so, though ${lack}`;
  return {
    says: `\`true\`: ${why}; \`false\` sets ${named} to 0`,
    judge: (value) => {
      if (value === true) return implied(why);
      if (value !== false) return refused('expected true or false');
      const set: Settings = Object.fromEntries(keys.map((key) => [key, 0n]));
      return { outcome: 'mapped', set, reason: `sets ${named} to 0` };
    },
  };
}

function never(why: string): Rule {
  return { says: `refused: ${why}`, judge: () => refused(why) };
}

const SIGNATURES = 'every batch is signed with ML-DSA-87, every seal with SLH-DSA-SHA2-256s and ML-DSA-87';
const SIGNATURES_NOT =
  'the signatures are always ML-DSA-87 and SLH-DSA-SHA2-256s (the upstream says SLH-DSA-256s), no more and no fewer';
const KEM = 'envelopes are opened under X-Wing, which is ML-KEM-768 and X25519';
const KEM_NOT = 'the KEM is always X-Wing (ML-KEM-768 and X25519); ML-KEM-1024 and HQC are not in it';
const PLATFORM =
  'attestation.primary says by which way to ask the platform (tsm, sgx, dstack or simulator), and the quote itself of what type it is';
const NETWORK = 'this version speaks to no Phala network; chain.chain_id names the chain';
const ONE = 'replication over several workers is not in this version, and [workers] sets threads';
const CONTRACT = 'the daemon deploys no contract, and anchoring on a chain is not in this version';
const ASSETS = 'assets of every type can be registered (POST /assets/register), and their policies count from then on';
const ASSETS_NOT = 'no type of asset can be switched off; register none of it';
const ROLLBACK = 'a migration can always be rolled back (POST /migration/rollback), until it is completed';

const asset = () => only(true, ASSETS, ASSETS_NOT);
const threshold = (value: bigint, recommendation: string) =>
  only(value, `the fixed threshold of ${recommendation}`, `the threshold of ${recommendation} is always ${value}`);

/** Every key of phala.toml, table by table. */
const RULES: Readonly<Record<string, Readonly<Record<string, Rule>>>> = {
  phala: { network: only('local', 'everything runs on this machine', NETWORK) },
  worker: {
    id: never('a daemon is known by its log_id and its keyset, not by a name'),
    enclave_type: never(PLATFORM),
    min_workers: only(1n, 'one daemon runs', ONE),
    max_workers: only(1n, 'one daemon runs', ONE),
  },
  contract: {
    name: never(CONTRACT),
    version: never(CONTRACT),
    gas_limit: never(CONTRACT),
    storage_deposit: never(CONTRACT),
  },
  quantum: {
    signature_algorithms: exactly(
      [
        ['ML-DSA-87', 'SLH-DSA-256s'],
        ['ML-DSA-87', 'SLH-DSA-SHA2-256s'],
      ],
      SIGNATURES,
      SIGNATURES_NOT,
    ),
    kem_algorithms: exactly([['X-Wing']], KEM, KEM_NOT),
    hybrid_ecdsa: sets('quantum.hybrid_ecdsa'),
    risk_scheduled: threshold(6000n, 'schedule_rotation'),
    risk_emergency: threshold(9000n, 'emergency_rotation'),
  },
  intelligence: {
    mode: sets('ordering.mode'),
    enable_asset_protection: weighs(
      'only registered assets count',
      'ordering.requires_pqc_weight',
      'ordering.requires_tee_weight',
    ),
    enable_migration: weighs('only what belongs to a running migration counts', 'ordering.migration_weight'),
  },
  assets: {
    onchain_tokens: asset(),
    onchain_nfts: asset(),
    onchain_data: asset(),
    offchain_database: asset(),
    offchain_files: asset(),
    offchain_streams: asset(),
    crosschain_bridges: asset(),
  },
  migration: {
    checkpoint_interval: sets('migration.checkpoint_interval'),
    enable_rollback: only(true, ROLLBACK, ROLLBACK),
    state_encryption: always(
      'every record at rest is sealed with AES-256-GCM',
      'there is no store that is not encrypted',
    ),
  },
  performance: {
    batch_size: sets('sequencer.batch_size'),
    mempool_capacity: sets('mempool.capacity'),
    max_transactions_per_batch: sets('sequencer.max_transactions_per_batch'),
  },
  monitoring: {
    enable_metrics: always('GET /metrics is there', 'metrics are always there, behind a token'),
    enable_logs: always(
      'the log goes to standard error',
      'the log cannot be turned off; daemon.log_level = "fatal" writes the least',
    ),
    log_level: sets('daemon.log_level'),
  },
  security: {
    require_tee_attestation: always(
      'every seal carries a quote that was verified; daemon.environment = "production" refuses what is simulated',
      'nothing is sealed without a quote',
    ),
    verify_phala_quote: always(
      'every quote is verified before it is published, whoever made it',
      'no quote is published unverified',
    ),
    enforce_pqc_signatures: always(
      'a verifier wants ML-DSA-87 and SLH-DSA-SHA2-256s, whatever else there is',
      'no batch goes without post-quantum signatures',
    ),
    encrypt_mempool: always(
      'only encrypted envelopes are admitted, and they are opened after they are ordered',
      'plain transactions are not admitted',
    ),
  },
};

/** For the documentation: every key, and what becomes of it. */
export const PHALA_KEYS: readonly { readonly key: string; readonly says: string }[] = Object.entries(RULES).flatMap(
  ([table, rules]) => Object.entries(rules).map(([name, { says }]) => ({ key: `${table}.${name}`, says })),
);

/**
 * Converts what was read of a phala.toml.
 *
 * @param source    as config/source.ts reads it
 * @param defaults  ours: a value that contradicts another, or a default, is refused
 */
export function convertPhala(source: { text: string; table: TomlTable }, defaults: Config): Conversion {
  const places = positions(source.text);
  const verdicts = entries(source.table).map((entry) => ({ ...entry, verdict: judge(entry) }));
  const set = settle(verdicts, defaults);
  const report = verdicts.map(({ path, value, known, verdict }): ReportLine => {
    const line = places.get(pathKey(path))?.key.line;
    return {
      key: shorten(keyText(path)),
      ...(known && { value: shorten(show(value)) }),
      ...(line !== undefined && { line }),
      outcome: verdict.outcome,
      ...(verdict.outcome === 'mapped' && { to: Object.keys(verdict.set) as ConfigKey[] }),
      reason: verdict.reason,
    };
  });
  return { settings: toml(set, report), report };
}

interface Entry {
  readonly path: readonly string[];
  readonly value: TomlValue;
  readonly known: boolean;
}

function isTable(value: TomlValue): value is TomlTable {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof Date);
}

/** One entry for each key of each table; what should be a table and isn't, or is no table that we know, is one by itself. */
function entries(table: TomlTable): Entry[] {
  return Object.entries(table).flatMap(([section, body]): Entry[] => {
    const rules = Object.hasOwn(RULES, section) ? RULES[section]! : undefined;
    if (rules === undefined || !isTable(body)) return [{ path: [section], value: body, known: false }];
    return Object.entries(body).map(([name, value]) => ({
      path: [section, name],
      value,
      known: Object.hasOwn(rules, name),
    }));
  });
}

function judge({ path, value, known }: Entry): Verdict {
  const [section = '', name] = path;
  if (known && name !== undefined) return RULES[section]![name]!.judge(value);
  if (name === undefined && Object.hasOwn(RULES, section)) return refused('expected a table');
  const keys = PHALA_KEYS.map(({ key }) => key);
  const meant = name === undefined ? nearest(section, Object.keys(RULES)) : nearest(path.join('.'), keys);
  const hint = meant === undefined ? '' : `, did you mean ${meant}?`;
  return refused(`unknown ${name === undefined ? 'table' : 'key'}: phala.toml has none of that name${hint}`);
}

/** Settings that contradict each other or a default are refused one after another, until what is left can be loaded. */
function settle(verdicts: { verdict: Verdict }[], defaults: Config): Settings {
  const mapped = () => verdicts.filter(({ verdict }) => verdict.outcome === 'mapped');
  const all = () => Object.assign({}, ...mapped().map(({ verdict }) => 'set' in verdict && verdict.set)) as Settings;
  for (;;) {
    const set = all();
    const spot = conflicts(over(defaults, set))
      .flat()
      .find(({ key }) => key in set);
    if (spot === undefined) return set;
    for (const line of mapped()) {
      if ('set' in line.verdict && spot.key in line.verdict.set) {
        line.verdict = refused(`${spot.key}: ${spot.message}`);
      }
    }
  }
}

function over(defaults: Config, set: Settings): Config {
  const sections = Object.entries(defaults).map(([section, values]) => {
    const own = Object.entries(set).flatMap(([key, value]) =>
      key.startsWith(`${section}.`)
        ? [[key.slice(section.length + 1), typeof value === 'bigint' ? Number(value) : value]]
        : [],
    );
    return [section, { ...values, ...Object.fromEntries(own) }];
  });
  return Object.fromEntries(sections) as Config;
}

/** Tables and keys in the order of sequencer.toml. */
function toml(set: Settings, report: readonly ReportLine[]): string {
  const lines = [
    '# What a phala.toml sets, as `aegisd check-config --from` reads it; sequencer.toml explains each key.',
  ];
  const refusals = report.filter(({ outcome }) => outcome === 'refused').length;
  if (refusals > 0)
    lines.push(`# Refused, so not here: ${refusals} of its keys. The report of that command has the reasons.`);
  let section = '';
  for (const key of CONFIG_KEYS) {
    const value = set[key];
    if (value === undefined) continue;
    const [table = '', name] = key.split('.');
    if (table !== section) lines.push('', `[${table}]`);
    section = table;
    lines.push(`${name} = ${show(value)}`);
  }
  return `${lines.join('\n')}\n`;
}

/** As TOML would have it, on one line. */
function show(value: TomlValue): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`;
  return isTable(value) ? '{…}' : String(value);
}

const keyText = (path: readonly string[]): string =>
  path.map((part) => (/^[\w-]+$/.test(part) ? part : JSON.stringify(part))).join('.');
