// A deployment to a CVM of dstack (or Phala Cloud, which runs it): docker-compose.yaml with the settings in it, and app-compose.json,
// whose SHA-256 is the `compose-hash` that every quote carries. So whoever verifies a quote knows the image, the settings and all that
// may reach the daemon. Nothing in it is fetched by a name that could come to mean something else.
import { createHash } from 'node:crypto';
import { ConfigError } from '../../config/error.ts';
import { address, type Config } from '../../config/schema.ts';
import { ROLES, type Role } from '../api/token.ts';
import { imageFiles, NODE, START, UID } from './image.ts';
import { type Bundle, type BundleFile, type Plan, STATE_DIR } from './plan.ts';

export interface DstackOptions {
  /** Of the app, as dstack shows it. */
  readonly name: string;
  readonly version: string;
  /** Pinned: what the Dockerfile begins with; without it none is written. */
  readonly base?: string;
  /** Pinned: what compose runs; without it neither compose file is written. */
  readonly image?: string;
  /** Roles whose tokens come as encrypted environment variables. */
  readonly tokens: readonly Role[];
  /** The URL of the enclave whose log the app takes over. */
  readonly successor_of?: string;
}

/** Above what the daemon takes itself to stop (as TimeoutStopSec= of the unit). */
const STOP_MORE_S = 15;

export function dstackBundle(plan: Plan, options: DstackOptions): Bundle {
  const { base, image, version, tokens } = options;
  const files: BundleFile[] = base === undefined ? [] : imageFiles(base, version);
  const notes: string[] = [];
  if (base !== undefined)
    notes.push('./build.sh CHECKOUT builds the image; push it, and deploy with --image NAME@DIGEST');
  if (image === undefined) return { files, notes };
  const compose = composeFile(plan, { ...options, image });
  const app = appCompose(compose, plan.config, options);
  if (plan.config.daemon.environment !== 'production')
    notes.push('daemon.environment is development: the KMS that is seen first is believed, and simulations may run');
  notes.push('app-compose.json goes to dstack as it is, byte for byte: another spelling is another compose-hash');
  if (tokens.length > 0)
    notes.push(`encrypted environment variables that it waits for: ${tokens.map(variableOf).join(', ')}`);
  else notes.push('no --token: nothing outside the CVM can be an admin, or read the metrics');
  notes.push(...behindGateway(plan.config, tokens));
  if (options.successor_of !== undefined)
    notes.push(
      'it opens no port, and counts as unhealthy, until its predecessor has ended; allow_measurement names this compose-hash',
    );
  const more = [
    { path: 'docker-compose.yaml', text: compose },
    { path: 'app-compose.json', text: app },
  ];
  return { files: [...files, ...more], notes, compose_hash: createHash('sha256').update(app).digest('hex') };
}

/** What dstack's gateway, where clients' connections end, means for settings that were written for clients of one's own. */
function behindGateway({ api, feed, mempool }: Config, tokens: readonly Role[]): string[] {
  const shared = [
    ...(api.client_connections_max < api.connections_max ? ['api.client_connections_max'] : []),
    ...(feed.client_max < feed.clients_max ? ['feed.client_max'] : []),
    ...(mempool.client_max < mempool.capacity ? ['mempool.client_max'] : []),
    ...(api.rate_limit_per_s > 0 ? ['api.rate_limit_per_s (0 is off)'] : []),
    ...(api.rate_limit_per_s > 0 && api.refused_penalty > 0 ? ['api.refused_penalty (0 is off)'] : []),
  ];
  const notes: string[] = [];
  if (shared.length > 0)
    notes.push(
      `behind the gateway all clients have one address, and share what one may have; raise ${shared.join(', ')}`,
    );
  if (tokens.length > 0 && !api.tls)
    notes.push(
      'api.tls is false: tokens can be read where TLS ends, at the gateway, and by whoever listens between it and the daemon; set it, and let the gateway pass TLS through',
    );
  return notes;
}

export const variableOf = (role: Role): string => `AEGIS_${role.toUpperCase()}_TOKEN`;

/** Two when keys and quotes come from different agents. */
function sockets({ keys, attestation }: Config): string[] {
  const { primary, redundancy } = attestation;
  const quotes = primary === 'dstack' || redundancy === 'dstack' ? [attestation.dstack_socket] : [];
  return [...new Set([keys.dstack_socket, ...quotes])];
}

/** JSON's strings are YAML's; Compose puts variables in everywhere, so a dollar stands twice. */
const quoted = (text: string): string => JSON.stringify(text).replaceAll('$', '$$$$');

/** Its own loopback, and nothing but a status: whose key that is need not be asked. */
function probe(port: number, tls: boolean): string {
  const about = `{host:'127.0.0.1',port:${port},path:'/health',rejectUnauthorized:false}`;
  const ended = ".on('error',()=>process.exit(1))";
  return `require('${tls ? 'https' : 'http'}').get(${about},(answer)=>process.exit(answer.statusCode===200?0:1))${ended}`;
}

function composeFile(
  { settings, config }: Plan,
  { image, tokens, successor_of }: DstackOptions & { image: string },
): string {
  const port = address(config.api.listen)!.port;
  const health = probe(port, config.api.tls);
  const lines = [
    '# Written by aegisd deploy. The root of the container belongs to root and the daemon is nobody there; it is not read_only, because',
    '# Compose could not put the settings and tokens into one that is.',
    'services:',
    '  aegisd:',
    `    image: ${quoted(image)}`,
    `    user: "${UID}:${UID}"`,
    ...(successor_of === undefined
      ? []
      : [`    command: [${START.map(quoted).join(', ')}, "--successor-of", ${quoted(successor_of)}]`]),
    '    restart: on-failure',
    `    stop_grace_period: ${config.daemon.stop_timeout_s + STOP_MORE_S}s`,
    `    ports: ["${port}:${port}"]`,
    '    volumes:',
    `      - ${quoted(`state:${STATE_DIR}`)}`,
    ...sockets(config).map((socket) => `      - ${quoted(`${socket}:${socket}`)}`),
    '    configs:',
    '      - source: sequencer',
    '        target: /etc/aegisd/sequencer.toml',
    ...(tokens.length === 0
      ? []
      : [
          '    environment: { CREDENTIALS_DIRECTORY: /run/secrets }',
          `    secrets: [${tokens.map((role) => `${role}.token`).join(', ')}]`,
        ]),
    '    cap_drop: [ALL]',
    '    security_opt: ["no-new-privileges:true"]',
    '    pids_limit: 128',
    '    ulimits: { nofile: 65536, core: 0 }',
    '    healthcheck:',
    `      test: ["CMD", "${NODE}", "-e", ${quoted(health)}]`,
    '      interval: 30s',
    '      timeout: 5s',
    '      retries: 3',
    '      start_period: 300s',
    '    logging: { driver: json-file, options: { max-size: 16m, max-file: "4" } }',
    'volumes:',
    '  state: {}',
    'configs:',
    '  sequencer:',
    '    content: |2',
    ...settingsLines(settings),
    ...(tokens.length === 0
      ? []
      : ['secrets:', ...tokens.map((role) => `  ${role}.token: { environment: ${variableOf(role)} }`)]),
    '',
  ];
  return lines.join('\n');
}

/** Tabs and what has a shape; TOML's other line breaks are none of YAML's, and the other way round. */
const PLAIN = /^[\t\x20-\x7e\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]*$/u;

/** As a block of text, so that whoever reads what was measured can read the settings. */
function settingsLines(settings: string): string[] {
  const lines = settings.replace(/\n+$/, '').split(/\r?\n/);
  const wrong = lines.findIndex((line) => !PLAIN.test(line));
  if (wrong >= 0) {
    const message = 'expected printable characters only: this line cannot stand in a compose file as it is';
    throw new ConfigError([{ file: 'settings', line: wrong + 1, column: 1, key: '', message }]);
  }
  // The indentation says where the text ends; a blank line needs none.
  return lines.map((line) => (line === '' ? '' : `      ${line.replaceAll('$', '$$$$')}`));
}

/**
 * dstack-types `AppCompose`, every field said, in the spelling that its SDK hashes: keys sorted, no space. `key_provider_id` stays empty:
 * which KMS is trusted, `keys.kms_root` says to the daemon.
 */
function appCompose(docker_compose_file: string, config: Config, { name, tokens }: DstackOptions): string {
  const given = ROLES.filter((role) => tokens.includes(role));
  const app = {
    allowed_envs: given.map(variableOf).toSorted(),
    docker_compose_file,
    gateway_enabled: true,
    key_provider_id: '',
    kms_enabled: true,
    local_key_provider_enabled: false,
    manifest_version: 2,
    name,
    no_instance_id: false,
    pre_launch_script: preLaunch(config),
    public_logs: false,
    public_sysinfo: false,
    public_tcbinfo: true,
    runner: 'docker-compose',
    secure_time: true,
  };
  return JSON.stringify(app);
}

/** The guest agent's socket is root's; dstack reads this script into its own shell, so nothing here may end that. */
function preLaunch(config: Config): string {
  return sockets(config)
    .map(
      (socket) =>
        `chgrp ${UID} ${shell(socket)} && chmod 0660 ${shell(socket)} || echo "aegisd: no guest agent at its socket" >&2\n`,
    )
    .join('');
}

const shell = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
