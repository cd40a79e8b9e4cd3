// What a deployment is made from: settings that have been checked, also against the place where they are to hold. Called by `aegisd
// deploy`; dstack.ts and systemd.ts make files of what this gives. It promises settings with which the daemon starts there, or a
// ConfigError that names each that it wouldn't start with by file, line and key.
import { isAbsolute } from 'node:path';
import { parse } from 'smol-toml';
import { ConfigError } from '../../config/error.ts';
import { type Flaw, loadConfig } from '../../config/load.ts';
import { convertPhala, type ReportLine } from '../../config/phala.ts';
import { address, type Config, isLoopback, type Settings } from '../../config/schema.ts';
import { readSource } from '../../config/source.ts';
import { ruleFlaws } from '../rules.ts';
import type { Target } from './target.ts';

export interface Plan {
  /** Text of sequencer.toml as it is deployed. */
  readonly settings: string;
  readonly config: Config;
  /** Of a phala.toml: what became of each key. */
  readonly report: readonly ReportLine[];
}

/** A file of a bundle, by its path in it. */
export interface BundleFile {
  readonly path: string;
  readonly text: string;
  /** 0755 in place of 0644. */
  readonly executable?: true;
}

export interface Bundle {
  readonly files: readonly BundleFile[];
  /** What the operator should know, and does next. */
  readonly notes: readonly string[];
  /** dstack: what quotes will carry as `compose-hash`, in hex. */
  readonly compose_hash?: string;
}

/** The state folder of every target; `$STATE_DIRECTORY` says so to the daemon. */
export const STATE_DIR = '/var/lib/aegisd';

/** What a phala.toml leaves to the place where it runs. */
const PLACED = `
# What the target dstack adds.
[api]
listen = "0.0.0.0:5050"

[keys]
source = "dstack"

[attestation]
primary = "dstack"
`;

const environment = { STATE_DIRECTORY: STATE_DIR };

/** @throws {ConfigError} */
export function planned(target: Target, file: string | undefined): Plan {
  const { config } = loadConfig({ file, environment, check: (found) => flaws(target, found) });
  const settings = file === undefined ? '# Every setting has its default.\n' : readSource(file, file).text;
  return { settings, config, report: [] };
}

/**
 * @param accept_refused  the operator has read that some keys of it do nothing here
 * @throws {ConfigError} with each refused key, unless that is accepted
 */
export function plannedFromPhala(target: Target, file: string, accept_refused: boolean): Plan {
  const source = readSource(file, file);
  const { settings, report } = convertPhala(source, loadConfig({ environment: {} }).config);
  const refused = report.filter(({ outcome }) => outcome === 'refused');
  if (refused.length > 0 && !accept_refused) {
    const issues = refused.map(({ key, value, line = 0, reason: message }) => {
      return { file, line, column: line === 0 ? 0 : 1, key, ...(value !== undefined && { value }), message };
    });
    throw new ConfigError(issues);
  }
  const text = target === 'dstack' ? settings + PLACED : settings;
  const check = (found: Config) => flaws(target, found);
  const { config } = loadConfig({ settings: parse(text) as Settings, environment, check });
  return { settings: text, config, report };
}

function flaws(target: Target, config: Config): Flaw[] {
  return [...ruleFlaws(config), ...everywhere(config), ...(target === 'dstack' ? inContainer(config) : [])];
}

const flaw = (section: keyof Config, key: string, message: string): Flaw => ({ path: [section, key], message });

/** The unit and the container give one folder, and everything else is read-only to the daemon. */
function everywhere({ daemon, api }: Config): Flaw[] {
  return [
    ...(daemon.state_dir === STATE_DIR ? [] : [flaw('daemon', 'state_dir', `expected none, or ${STATE_DIR}`)]),
    ...(isAbsolute(api.socket) ? [flaw('api', 'socket', 'expected a path below the state folder')] : []),
  ];
}

function inContainer({ api, keys, attestation }: Config): Flaw[] {
  const found: Flaw[] = [];
  if (keys.source !== 'dstack')
    found.push(flaw('keys', 'source', 'expected dstack: nothing else in a CVM of dstack keeps a root of keys'));
  if (attestation.primary !== 'dstack' && attestation.redundancy !== 'dstack')
    found.push(flaw('attestation', 'primary', 'expected dstack, whose quotes say which app runs'));
  if (isLoopback(address(api.listen)!.host))
    found.push(flaw('api', 'listen', 'expected 0.0.0.0 and a port: the loopback of a container is its own'));
  return found;
}
