/**
 * Rules between two settings, each of which is right alone. The loader asks after every key has passed its own check.
 * A conflict names each key that could be changed to end it, with a message for each; the loader reports it where
 * the operator's own file set one of them.
 */
import { resolve } from 'node:path';
import { address, type Config, type ConfigKey, isLoopback, setting } from './schema.ts';

/** One way to look at a conflict: the key to report, and what that key would have to be. */
export interface Spot {
  readonly key: ConfigKey;
  readonly message: string;
}

/** sockaddr_un has room for 108 bytes with the final NUL on Linux, and 104 on macOS. */
const SOCKET_PATH_BYTES_MAX = 103;

function atMost(config: Config, low: ConfigKey, high: ConfigKey, why: string): Spot[] {
  const [least, most] = [setting(config, low), setting(config, high)];
  if (least <= most) return [];
  return [
    { key: low, message: `expected at most ${high} = ${most}: ${why}` },
    { key: high, message: `expected at least ${low} = ${least}: ${why}` },
  ];
}

function simulated(config: Config): string | undefined {
  if (config.keys.source === 'simulator') return 'keys.source = "simulator"';
  if (config.attestation.primary === 'simulator') return 'attestation.primary = "simulator"';
  if (config.attestation.redundancy === 'simulator') return 'attestation.redundancy = "simulator"';
  return undefined;
}

/** What noble may take for an SLH-DSA signature on a busy machine, with one task before it. */
const NOBLE_TIMEOUT_MS_MIN = 15_000;

function patience(config: Config): Spot[] {
  if (config.signing.engine !== 'noble' || config.workers.task_timeout_ms >= NOBLE_TIMEOUT_MS_MIN) return [];
  const why = 'it signs with SLH-DSA in 2 to 4 s of a core';
  return [
    {
      key: 'workers.task_timeout_ms',
      message: `expected at least ${NOBLE_TIMEOUT_MS_MIN} with the engine noble: ${why}`,
    },
    {
      key: 'signing.engine',
      message: `expected openssl while workers.task_timeout_ms is below ${NOBLE_TIMEOUT_MS_MIN}: ${why}`,
    },
  ];
}

function production(config: Config): Spot[] {
  const why = simulated(config);
  if (config.daemon.environment !== 'production' || why === undefined) return [];
  return [
    { key: 'daemon.environment', message: `expected development while ${why}: production refuses what is simulated` },
  ];
}

/** A simulated threat rotates real keys. */
function simulation({ daemon, risk }: Config): Spot[] {
  if (daemon.environment !== 'production' || !risk.simulation) return [];
  const message = 'expected false in production: a simulated threat would rotate real keys';
  return [
    { key: 'risk.simulation', message },
    { key: 'daemon.environment', message: 'expected development while risk.simulation = true' },
  ];
}

/** One cycle may fail, and no name may end by it. */
function lifetime({ names: { interval_s, lifetime_s } }: Config): Spot[] {
  if (lifetime_s >= 2 * interval_s) return [];
  return [
    { key: 'names.lifetime_s', message: `expected at least twice names.interval_s = ${interval_s}` },
    { key: 'names.interval_s', message: `expected at most half of names.lifetime_s = ${lifetime_s}` },
  ];
}

/** A platform beside itself vouches for nothing more. */
function platforms({ attestation: { primary, redundancy } }: Config): Spot[] {
  if (redundancy !== primary) return [];
  const message = `expected another platform than attestation.primary = "${primary}", or off: the same one again vouches for nothing more`;
  return [
    { key: 'attestation.redundancy', message },
    { key: 'attestation.primary', message: `expected another platform than attestation.redundancy = "${redundancy}"` },
  ];
}

function witness({ attestation: { witness, witness_url } }: Config): Spot[] {
  if (witness === 'off' || witness_url !== '') return [];
  return [
    {
      key: 'attestation.witness_url',
      message: `expected the URL of the witness while attestation.witness = "${witness}"`,
    },
    { key: 'attestation.witness', message: 'expected off while attestation.witness_url is empty' },
  ];
}

/** Within it nobody could object. */
const DELAY_MS_MIN = 3_600_000;

function objection({ daemon, handover }: Config): Spot[] {
  if (daemon.environment !== 'production' || handover.delay_ms >= DELAY_MS_MIN) return [];
  const message = `expected at least ${DELAY_MS_MIN} in production: other admins need the time to object`;
  return [
    { key: 'handover.delay_ms', message },
    { key: 'daemon.environment', message: 'expected development while handover.delay_ms is less than an hour' },
  ];
}

/** Whoever starts the CVM chooses its KMS; pinning the first that is seen would pin that choice. */
function anchor(config: Config): Spot[] {
  const { source, kms_root } = config.keys;
  if (config.daemon.environment !== 'production' || source !== 'dstack' || kms_root !== '') return [];
  const message =
    'expected the KMS root (DstackKms contract, kmsInfo().k256Pubkey) with keys.source = "dstack" in production: the host chooses the KMS';
  return [
    { key: 'keys.kms_root', message },
    { key: 'keys.source', message: `expected keys.kms_root beside it: ${message}` },
  ];
}

function exposure(config: Config): Spot[] {
  const why = simulated(config);
  const host = address(config.api.listen)?.host ?? '';
  if (why === undefined || isLoopback(host)) return [];
  const message = `expected a loopback address (127.0.0.1, [::1] or localhost) while ${why}: plain TCP would carry tokens past this machine`;
  return [{ key: 'api.listen', message }];
}

function asksDstack({ attestation: { primary, redundancy } }: Config): boolean {
  return primary === 'dstack' || redundancy === 'dstack';
}

function socket(path: string, ...keys: ConfigKey[]): Spot[] {
  const bytes = new TextEncoder().encode(path).length;
  if (bytes <= SOCKET_PATH_BYTES_MAX) return [];
  const message = `expected at most ${SOCKET_PATH_BYTES_MAX} bytes for the whole path ${path}, found ${bytes}: the kernel stores no more`;
  return keys.map((key) => ({ key, message }));
}

/**
 * Finds what contradicts.
 *
 * @returns  one list of spots for each conflict, the likeliest culprit first; none when the settings agree
 */
export function conflicts(config: Config): Spot[][] {
  const limited = config.api.rate_limit_per_s > 0;
  return [
    atMost(
      config,
      'sequencer.batch_size',
      'sequencer.max_transactions_per_batch',
      'what cuts a batch has to fit into it',
    ),
    atMost(
      config,
      'sequencer.max_transactions_per_batch',
      'sequencer.open_max',
      'each transaction of a batch takes one try to open it',
    ),
    atMost(
      config,
      'store.free_bytes_min',
      'store.map_bytes_max',
      'a store that small has never so much left, so nothing would be admitted',
    ),
    limited ? atMost(config, 'api.envelopes_max', 'api.rate_limit_burst', 'a full array could never pass') : [],
    atMost(
      config,
      'attestation.collateral_timeout_ms',
      'attestation.quote_timeout_ms',
      'a quote waits for its collateral',
    ),
    patience(config),
    production(config),
    simulation(config),
    exposure(config),
    anchor(config),
    socket(resolve(config.daemon.state_dir, config.api.socket), 'api.socket', 'daemon.state_dir'),
    platforms(config),
    witness(config),
    objection(config),
    lifetime(config),
    asksDstack(config) ? socket(resolve(config.attestation.dstack_socket), 'attestation.dstack_socket') : [],
    config.keys.source === 'dstack' ? socket(resolve(config.keys.dstack_socket), 'keys.dstack_socket') : [],
  ].filter((spots) => spots.length > 0);
}
