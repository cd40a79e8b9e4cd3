/**
 * What sequencer.toml may say: one zod schema for every table and key. The loader feeds it the TOML as it was
 * written (integers are bigints, so that `1.0` and `1` stay apart), and gets numbers with known bounds back.
 * Defaults are not here: they are the file itself. A message says what is allowed; the loader adds where.
 * Rules between two keys live in conflict.ts.
 */
import { z } from 'zod';
import { FEEDS_MAX, feedSource } from './riskfeed.ts';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export const ENVIRONMENTS = ['development', 'production'] as const;
/** In the order in which a batch header numbers them (DESIGN §3, §4). */
export const ORDERING_MODES = ['risk_aware', 'asset_protection', 'migration_aware', 'hybrid'] as const;
/** In the order in which they come (DESIGN §9). */
export const ERAS = ['pre_quantum', 'nisq', 'fault_tolerant'] as const;
export const SIGNING_ENGINES = ['openssl', 'noble'] as const;
export const KEY_SOURCES = ['simulator', 'dstack', 'credential', 'sgx'] as const;
export const ATTESTATION_PROVIDERS = ['simulator', 'tsm', 'sgx', 'dstack'] as const;
/** What is enough when one of two platforms fails. */
export const REQUIRES = ['all', 'any', 'primary'] as const;
export type Require = (typeof REQUIRES)[number];
/** Whether orders and heads wait for the witness. */
export const WITNESS_MODES = ['off', 'preferred', 'required'] as const;
export type WitnessMode = (typeof WITNESS_MODES)[number];

/** SEC 1 §2.3.3, compressed or not; whether it is on the curve, the key source says. */
const POINT = /^(?:(?:0x)?(?:0[23][0-9A-Fa-f]{64}|04[0-9A-Fa-f]{128}))?$/;
const CHAIN_ID_MAX = 2n ** 256n - 1n;
const PATH_BYTES_MAX = 4096;

const kinds: Readonly<Record<string, string>> = {
  bigint: 'an integer',
  number: 'a float',
  string: 'a string',
  boolean: 'a boolean',
};

function kind(input: unknown): string {
  if (input instanceof Date) return 'a date';
  if (Array.isArray(input)) return 'a list';
  return kinds[typeof input] ?? 'a table';
}

/** Says which kind of value was found instead, and how to write it right where that is the whole mistake. */
function mismatch(wanted: 'bigint' | 'string' | 'boolean', input: unknown): string {
  if (typeof input === wanted) return '';
  if (input === undefined) return ' (missing)';
  const found = `, not ${kind(input)}`;
  if (wanted === 'bigint' && typeof input === 'string' && /^\d+$/.test(input)) return `${found} (drop the quotes)`;
  if (wanted === 'bigint' && Number.isInteger(input)) return `${found} (drop the decimal point)`;
  if (wanted === 'boolean' && (input === 'true' || input === 'false')) return `${found} (drop the quotes)`;
  return found;
}

/** A whole number with bounds and unit; both go into messages and into the test of the comments in sequencer.toml. */
function integer(minimum: number, maximum: number, unit: string) {
  const error = (issue: { input?: unknown }) =>
    `expected an integer from ${minimum} to ${maximum} (${unit})${mismatch('bigint', issue.input)}`;
  return z
    .bigint({ error })
    .min(BigInt(minimum), { error })
    .max(BigInt(maximum), { error })
    .transform(Number)
    .meta({ accepts: `${minimum} to ${maximum} ${unit}` });
}

function choice<const T extends readonly string[]>(values: T) {
  const listed = values.join(', ');
  const error = (issue: { input?: unknown }) => `expected one of ${listed}${mismatch('string', issue.input)}`;
  return z.enum(values, { error }).meta({ accepts: `One of ${listed}` });
}

const bytesOf = (text: string) => new TextEncoder().encode(text).length;

function path() {
  const error = (issue: { input?: unknown }) =>
    `expected a path of 1 to ${PATH_BYTES_MAX} bytes without NUL${mismatch('string', issue.input)}`;
  const fits = (text: string) =>
    text !== '' && !text.includes('\0') && text.isWellFormed() && bytesOf(text) <= PATH_BYTES_MAX;
  return z.string({ error }).refine(fits, { error }).meta({ accepts: 'A path' });
}

/** Text of one shape; `accepts` goes into the message and into the comment in sequencer.toml. */
function text(shape: RegExp, accepts: string) {
  const error = (issue: { input?: unknown }) => {
    const expected = `${accepts[0]?.toLowerCase()}${accepts.slice(1)}`;
    return `expected ${expected}${mismatch('string', issue.input)}`;
  };
  return z.string({ error }).regex(shape, { error }).meta({ accepts });
}

function flag() {
  return z
    .boolean({ error: (issue) => `expected true or false${mismatch('boolean', issue.input)}` })
    .meta({ accepts: 'true or false' });
}

/** What comes is signed, so plain http to a cache of one's own will do. */
const SERVICE = /^(?:https?:\/\/[\w.:[\]-]{1,255}(?:\/[\w./~-]{0,1024})?)?$/;

/** Rules as a verifier's policy file has them. This says only that it is a table; the daemon, which knows them, the rest. */
function rules() {
  return z
    .unknown()
    .transform((value, context): Rules => {
      if (kind(value) === 'a table') return plain(value) as Rules;
      context.addIssue({ code: 'custom', message: `expected a table of rules, not ${kind(value)}`, input: value });
      return z.NEVER;
    })
    .meta({ accepts: 'A table with the keys of a policy file' });
}

type Rules = Readonly<Record<string, unknown>>;

/** Integers come as bigints; rules have none that a number can't hold. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}

function chainId() {
  const expected = 'expected an integer or a decimal string from 1 to 2^256 - 1';
  const error = (issue: { input?: unknown }) => expected + mismatch('bigint', issue.input);
  return z
    .union([z.bigint(), z.string()], { error })
    .transform((value, context) => {
      const text = String(value);
      if (/^[1-9]\d{0,77}$/.test(text) && BigInt(text) <= CHAIN_ID_MAX) return BigInt(text);
      context.addIssue({ code: 'custom', message: expected, input: value });
      return z.NEVER;
    })
    .meta({ accepts: '1 to 2^256 - 1' });
}

const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;

function isHostname(host: string): boolean {
  const labels = host.split('.');
  // RFC 1123 §2.1: a name whose last label is all digits would be a mistyped IPv4 address (300.1.1.1, 127.1).
  return host.length <= 253 && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1)!);
}

/**
 * Takes `api.listen` apart.
 *
 * @param listen  `127.0.0.1:5050`, `[::1]:5050` or `localhost:5050`; port 0 to 65535
 * @returns       host without brackets, and port; undefined when it is neither
 */
export function address(listen: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(0|[1-9]\d{0,4})$/.exec(listen);
  if (!match) return undefined;
  const [, six, host = six ?? '', digits] = match;
  const port = Number(digits);
  const known =
    six === undefined ? z.ipv4().safeParse(host).success || isHostname(host) : z.ipv6().safeParse(six).success;
  return known && port <= 65_535 ? { host, port } : undefined;
}

/** Whether a host of `address()` can be reached from this machine alone: 127.0.0.0/8, ::1 or `localhost`. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true;
  if (host.includes(':')) return new URL(`http://[${host}]`).hostname === '[::1]';
  return z.ipv4().safeParse(host).success && host.startsWith('127.');
}

function listen() {
  const error = (issue: { input?: unknown }) =>
    `expected host:port such as 127.0.0.1:5050 or [::1]:5050, port 0 to 65535${mismatch('string', issue.input)}`;
  return z
    .string({ error })
    .refine((text) => address(text) !== undefined, { error })
    .meta({ accepts: 'host:port' });
}

function table<const T extends z.core.$ZodShape>(shape: T) {
  const error = (issue: { code?: string; input?: unknown }) =>
    issue.code === 'invalid_type'
      ? `expected a table with ${Object.keys(shape).join(', ')}, not ${kind(issue.input)}`
      : undefined;
  return z.strictObject(shape, { error });
}

/** FIPS 204 §4, table 2. */
const ADMIN_KEY_BYTES = 2592;
const ADMINS_MAX = 16;

/** Raw ML-DSA-87 public keys, distinct, in padded base64 whatever they were written in. */
function adminKeys() {
  const expected = `expected a list of at most ${ADMINS_MAX} distinct ML-DSA-87 public keys`;
  return z
    .unknown()
    .transform((value, context): readonly string[] => {
      const refuse = (message: string) => {
        context.addIssue({ code: 'custom', message, input: value });
        return z.NEVER;
      };
      if (!Array.isArray(value)) return refuse(`${expected}, not ${kind(value)}`);
      if (value.length > ADMINS_MAX) return refuse(`${expected}, found ${value.length}`);
      const keys = value.map(adminKey);
      const wrong = keys.indexOf(undefined);
      const each = `each ${ADMIN_KEY_BYTES} bytes in hex or base64`;
      if (wrong !== -1) return refuse(`${expected}, ${each}; number ${wrong + 1} is none`);
      if (new Set(keys).size < keys.length) return refuse(`${expected}; one is there twice`);
      return keys as string[];
    })
    .meta({ accepts: `A list of at most ${ADMINS_MAX} public keys, each in hex or base64` });
}

/** @returns its one spelling; undefined for what is no key */
function adminKey(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length > 2 + 2 * ADMIN_KEY_BYTES) return undefined;
  const digits = /^(?:0x)?([0-9A-Fa-f]+)$/.exec(value)?.[1];
  try {
    const bytes =
      digits?.length === 2 * ADMIN_KEY_BYTES
        ? Uint8Array.fromHex(digits)
        : Uint8Array.fromBase64(value, { lastChunkHandling: 'strict' });
    return bytes.length === ADMIN_KEY_BYTES ? bytes.toBase64() : undefined;
  } catch {
    return undefined;
  }
}

/** Signed feeds of indicators, each in one text. */
function feeds() {
  const expected = `expected a list of at most ${FEEDS_MAX} feeds`;
  return z
    .unknown()
    .transform((value, context): readonly string[] => {
      const refuse = (message: string) => {
        context.addIssue({ code: 'custom', message, input: value });
        return z.NEVER;
      };
      if (!Array.isArray(value)) return refuse(`${expected}, not ${kind(value)}`);
      if (value.length > FEEDS_MAX) return refuse(`${expected}, found ${value.length}`);
      const found = value.map(feedSource);
      const wrong = found.indexOf(undefined);
      const each = '"name https://… ed25519:KEY" or "name https://… ml-dsa-87:KEY" with a raw key in base64';
      if (wrong !== -1) return refuse(`${expected}, each ${each}; number ${wrong + 1} is none`);
      if (new Set(found.map((feed) => feed?.name)).size < found.length)
        return refuse(`${expected}; a name is there twice`);
      return value as string[];
    })
    .meta({ accepts: `A list of at most ${FEEDS_MAX} feeds, each "name url algorithm:key"` });
}

/** For node-cron: five fields, or six with seconds first. */
const CRON = /^(?:[\d*,/-]{1,64} ){4,5}[\d*,/-]{1,64}$/;

const points = () => integer(0, 1_000_000, 'points');

export const schema = table({
  daemon: table({
    state_dir: path(),
    stop_timeout_s: integer(1, 600, 'seconds'),
    log_level: choice(LOG_LEVELS),
    environment: choice(ENVIRONMENTS),
  }),
  api: table({
    listen: listen(),
    tls: flag(),
    socket: path(),
    // Not below one envelope of the largest size (128 KiB) in base64.
    body_bytes_max: integer(262_144, 67_108_864, 'bytes'),
    envelopes_max: integer(1, 256, 'envelopes'),
    connections_max: integer(1, 65_535, 'connections'),
    client_connections_max: integer(1, 65_535, 'connections'),
    request_timeout_ms: integer(100, 600_000, 'milliseconds'),
    rate_limit_per_s: integer(0, 1_000_000, 'envelopes per second'),
    rate_limit_burst: integer(1, 1_000_000, 'envelopes'),
    refused_penalty: integer(0, 10_000, 'envelopes'),
  }),
  feed: table({
    buffered_bytes_max: integer(65_536, 67_108_864, 'bytes'),
    clients_max: integer(1, 65_535, 'clients'),
    client_max: integer(1, 65_535, 'connections'),
    page: integer(1, 10_000, 'entries'),
    idle_ping_ms: integer(1000, 600_000, 'milliseconds'),
  }),
  chain: table({ chain_id: chainId() }),
  // At least twice the time between two marks of the clock.
  clock: table({ step_max_ms: integer(120_000, 86_400_000, 'milliseconds') }),
  sequencer: table({
    batch_interval_ms: integer(10, 60_000, 'milliseconds'),
    batch_size: integer(1, 10_000, 'envelopes'),
    max_transactions_per_batch: integer(1, 10_000, 'transactions'),
    open_max: integer(1, 20_000, 'envelopes'),
    in_flight_max: integer(1, 64, 'batches'),
  }),
  mempool: table({
    capacity: integer(1, 1_000_000, 'envelopes'),
    client_max: integer(1, 1_000_000, 'envelopes'),
    retry_after_s: integer(1, 3600, 'seconds'),
  }),
  // The largest score, 10,000 x risk_weight + 16 assets + migration + fee_weight x fee_score_max, stays below 2^53.
  ordering: table({
    mode: choice(ORDERING_MODES),
    risk_weight: points(),
    requires_pqc_weight: points(),
    requires_tee_weight: points(),
    migration_weight: points(),
    fee_weight: points(),
    fee_score_max: integer(0, 1_000_000, 'gwei'),
    age_max_cuts: integer(1, 100_000, 'cuts'),
  }),
  seal: table({ interval_ms: integer(0, 3_600_000, 'milliseconds') }),
  quantum: table({ hybrid_ecdsa: flag() }),
  rotation: table({
    interval_s: integer(0, 315_360_000, 'seconds'),
    delay_blocks: integer(0, 1_000_000, 'batches'),
    delay_max_s: integer(1, 2_592_000, 'seconds'),
    grace_s: integer(0, 31_536_000, 'seconds'),
    sweep_rows: integer(1, 1024, 'rows'),
    sweep_pause_ms: integer(0, 10_000, 'milliseconds'),
  }),
  risk: table({
    era: choice(ERAS),
    half_life_d: integer(1, 3650, 'days'),
    hysteresis: integer(0, 2999, 'points'),
    rise_s: integer(0, 86_400, 'seconds'),
    fall_s: integer(0, 31_536_000, 'seconds'),
    assess_interval_s: integer(1, 3600, 'seconds'),
    indicators_max: integer(16, 10_000, 'indicators'),
    retention_d: integer(1, 3650, 'days'),
    catalogue: flag(),
    dry_run: flag(),
    simulation: flag(),
    feeds: feeds(),
    feed_schedule: text(CRON, 'Five or six cron fields of digits and "*,/-"'),
    feed_timeout_ms: integer(100, 60_000, 'milliseconds'),
    feed_bytes_max: integer(16_384, 4_194_304, 'bytes'),
  }),
  signing: table({ engine: choice(SIGNING_ENGINES) }),
  keys: table({
    source: choice(KEY_SOURCES),
    dstack_socket: path(),
    // Below the SDK's own 30 s.
    timeout_ms: integer(100, 25_000, 'milliseconds'),
    kms_root: text(POINT, 'Empty, or a point in 66 or 130 hex digits'),
    app_id: text(/^(?:(?:0x)?[0-9A-Fa-f]{40})?$/, 'Empty, or 40 hex digits'),
    credential: text(/^(?!\.\.?$)[\w.-]{1,255}$/, '1 to 255 letters, digits, and any of "._-", but not "." or ".."'),
  }),
  admin: table({ keys: adminKeys() }),
  attestation: table({
    primary: choice(ATTESTATION_PROVIDERS),
    redundancy: choice(['off', ...ATTESTATION_PROVIDERS]),
    require: choice(REQUIRES),
    tsm_path: path(),
    sgx_path: path(),
    dstack_socket: path(),
    simulator_image: text(/^[\w.-]{0,64}$/, 'Empty, or up to 64 letters, digits, and any of "._-"'),
    quote_lifetime_s: integer(60, 86_400, 'seconds'),
    quote_timeout_ms: integer(100, 60_000, 'milliseconds'),
    collateral_dir: text(/^[^\0]{0,4096}$/, 'Empty, or a path'),
    pccs_url: text(SERVICE, 'Empty, or an http or https URL without query'),
    kds_url: text(SERVICE, 'Empty, or an http or https URL without query'),
    collateral_timeout_ms: integer(100, 60_000, 'milliseconds'),
    policy: rules(),
    witness: choice(WITNESS_MODES),
    witness_url: text(SERVICE, 'Empty, or an http or https URL without query'),
    witness_timeout_ms: integer(100, 60_000, 'milliseconds'),
  }),
  names: table({
    router: text(SERVICE, 'Empty, or an http or https URL without query'),
    interval_s: integer(60, 604_800, 'seconds'),
    lifetime_s: integer(120, 31_536_000, 'seconds'),
    timeout_ms: integer(100, 60_000, 'milliseconds'),
    requests_per_s: integer(1, 100_000, 'requests'),
    in_flight_max: integer(1, 256, 'requests'),
    read_back_every: integer(0, 1_000_000, 'publications'),
    names_max: integer(1, 10_000_000, 'names'),
    worker: flag(),
  }),
  migration: table({
    checkpoint_interval: integer(0, 1_000_000_000, 'batches'),
    checkpoints_max: integer(1, 1000, 'checkpoints'),
  }),
  handover: table({
    delay_ms: integer(0, 2_592_000_000, 'milliseconds'),
    successor_url: text(SERVICE, 'Empty, or an http or https URL without query'),
    drain_timeout_ms: integer(1000, 600_000, 'milliseconds'),
    idle_timeout_ms: integer(1000, 600_000, 'milliseconds'),
    transfer_timeout_ms: integer(1000, 86_400_000, 'milliseconds'),
  }),
  workers: table({
    open_threads: integer(1, 64, 'threads'),
    sign_threads: integer(1, 64, 'threads'),
    queue_max: integer(1, 65_536, 'tasks'),
    task_timeout_ms: integer(5000, 600_000, 'milliseconds'),
    seal_nice: integer(0, 19, 'steps'),
  }),
  store: table({
    map_bytes_max: integer(16_777_216, 70_368_744_177_664, 'bytes'),
    free_bytes_min: integer(0, 1_099_511_627_776, 'bytes'),
    retention_batches: integer(0, 1_000_000_000_000, 'batches'),
    commit_steps_max: integer(1, 65_536, 'steps'),
    retry_ms: integer(10, 60_000, 'milliseconds'),
  }),
  telemetry: table({ otlp_endpoint: text(SERVICE, 'Empty, or an http or https URL without query') }),
});

type Parsed = z.output<typeof schema>;

/** The effective settings. Frozen when they come from `loadConfig`: a reload makes a new one. */
export type Config = { readonly [S in keyof Parsed]: Readonly<Parsed[S]> };

/** What a program sets: only what differs from the defaults. */
export type Settings = { readonly [S in keyof Parsed]?: { readonly [K in keyof Parsed[S]]?: Given<Parsed[S][K]> } };
type Given<T> = T extends bigint ? bigint | number | string : T;

/** `section.key` of every setting, such as `seal.interval_ms`. */
export type ConfigKey = { [S in keyof Parsed]: `${S}.${keyof Parsed[S] & string}` }[keyof Parsed];

/** Every `section.key` that the schema knows, in its order. */
export const CONFIG_KEYS = Object.entries(schema.shape).flatMap(([section, { shape }]) =>
  Object.keys(shape).map((key) => `${section}.${key}`),
) as readonly ConfigKey[];

/** The value of one setting by its `section.key`. */
export function setting(
  config: Config,
  key: ConfigKey,
): string | number | bigint | boolean | readonly string[] | Rules {
  const [section, name] = key.split('.') as [keyof Config, never];
  return config[section][name];
}
