// Opens the platforms that `attestation.primary` and `attestation.redundancy` name. Called by the sequencer at start. No device
// is asked here: a platform that is dead must not hold up the start, so what it has to say comes with its first quote
// (attester.ts). Only the simulator, which is a folder of ours, is made or read, and ends the start when it can't be read.
import { join } from 'node:path';
import type { ATTESTATION_PROVIDERS, Config } from '../../config/schema.ts';
import type { Pool } from '../../workers/pool.ts';
import type { Role } from '../attester.ts';
import { Fault } from '../fault.ts';
import { type Devices, devices as systemDevices } from './device.ts';
import { Platform, type PlatformModules, type PlatformState } from './platform.ts';
import type { QuoteProvider } from './provider.ts';
import { type CollateralSource, publisher } from './publish.ts';
import { openSimulator } from './simulator.ts';

export interface OpenOptions {
  readonly config: Pick<Config, 'attestation' | 'daemon'>;
  /** `daemon.state_dir`, absolute. */
  readonly state_dir: string;
  readonly pool: Pool;
  readonly now: () => number;
  /** By which quotes of hardware verify. */
  readonly collateral: CollateralSource;
  /** What evidence of hardware is held to. */
  readonly policy: PlatformModules['policy'];
  readonly onChange?: (role: Role, state: PlatformState, before: PlatformState['state']) => void;
  /** Default: the system's. */
  readonly devices?: Devices;
  /** DSTACK_SIMULATOR_ENDPOINT is read. Default: the process's own. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

export interface Platforms {
  readonly primary: Platform;
  readonly redundancy: Platform | undefined;
}

interface Opened {
  readonly provider: QuoteProvider;
  readonly policy: PlatformModules['policy'];
}

/** @throws {Fault} `quote_failed` when the simulator's folder can't be read, `simulator_endpoint` where that would stand in for dstack */
export async function openPlatforms(options: OpenOptions): Promise<Platforms> {
  const { primary, redundancy } = options.config.attestation;
  return {
    primary: await openPlatform('primary', primary, options),
    redundancy: redundancy === 'off' ? undefined : await openPlatform('redundancy', redundancy, options),
  };
}

async function openPlatform(role: Role, name: ProviderKind, options: OpenOptions): Promise<Platform> {
  const { pool, now, config, onChange } = options;
  const opened = await OPENERS[name](options);
  return new Platform({
    ...opened,
    production: config.daemon.environment === 'production',
    pool,
    now,
    options: config.attestation,
    onChange: (state, before) => onChange?.(role, state, before),
  });
}

type ProviderKind = (typeof ATTESTATION_PROVIDERS)[number];

/** The SDK of dstack takes a while to load, so each provider is loaded where it is wanted. */
const OPENERS: Record<ProviderKind, (options: OpenOptions) => Promise<Opened>> = {
  async simulator({ config, state_dir, now }) {
    const { simulator_image } = config.attestation;
    const provider = openSimulator(join(state_dir, 'simulator', 'pki'), now, simulator_image);
    return { provider, policy: { roots: [provider.root], tcb_statuses: ['UpToDate'] } };
  },
  async tsm(options) {
    const { tsmProvider } = await import('./tsm.ts');
    const { tsm_path } = options.config.attestation;
    const { devices = systemDevices } = options;
    return hardware(options, tsmProvider({ tsm_path, devices, publish: publisher('tsm', options.collateral) }));
  },
  async sgx(options) {
    const { sgxProvider } = await import('./sgx.ts');
    const { sgx_path } = options.config.attestation;
    const { devices = systemDevices } = options;
    return hardware(options, sgxProvider({ sgx_path, devices, publish: publisher('sgx', options.collateral) }));
  },
  async dstack(options) {
    // The SDK would take it over any socket.
    const { environment = process.env } = options;
    if (environment.DSTACK_SIMULATOR_ENDPOINT) {
      throw new Fault({ code: 'simulator_endpoint', reason: 'dstack attests here' });
    }
    const [{ dstackProvider }, { GuestAgent }] = await Promise.all([import('./dstack.ts'), import('../dstack.ts')]);
    const { dstack_socket: socket, quote_timeout_ms: timeout_ms } = options.config.attestation;
    const agent = new GuestAgent({ socket, timeout_ms });
    return hardware(options, dstackProvider({ agent, publish: publisher('dstack', options.collateral) }));
  },
};

function hardware({ policy }: OpenOptions, provider: QuoteProvider): Opened {
  return { provider, policy };
}
