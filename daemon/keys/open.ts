// Chooses where the root of all keys comes from, by `keys.source`. Called by the sequencer at start, before the store, which
// is sealed under a key of it.
import type { Config } from '../../config/schema.ts';
import { Fault } from '../fault.ts';
import { credentialSource } from './credential.ts';
import { sgxSource } from './sgx.ts';
import { simulatorSource } from './simulator.ts';
import type { KeySource } from './source.ts';

export interface OpenOptions {
  readonly config: Config;
  /** `daemon.state_dir`, absolute. */
  readonly state_dir: string;
  /** CREDENTIALS_DIRECTORY and DSTACK_SIMULATOR_ENDPOINT are read. Default: the process's own. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Default: Gramine's. */
  readonly attestation_dir?: string;
}

/** @throws {Fault} that says in one sentence why there are no keys */
export async function openKeySource(options: OpenOptions): Promise<KeySource> {
  const { config, state_dir, environment = process.env, attestation_dir = '/dev/attestation' } = options;
  const { keys } = config;
  const production = config.daemon.environment === 'production';
  // The SDK would take it over any socket; here it is refused wherever somebody could believe that it acts.
  if (environment.DSTACK_SIMULATOR_ENDPOINT && (production || keys.source !== 'simulator')) {
    const reason = production ? 'daemon.environment is "production"' : `keys.source is "${keys.source}"`;
    throw new Fault({ code: 'simulator_endpoint', reason });
  }
  switch (keys.source) {
    case 'simulator':
      return simulatorSource(state_dir);
    case 'credential':
      return credentialSource(environment.CREDENTIALS_DIRECTORY, keys.credential);
    case 'sgx':
      return sgxSource({ state_dir, attestation_dir });
    case 'dstack': {
      const { dstackSource } = await import('./dstack.ts');
      return dstackSource({ state_dir, production, ...keys });
    }
  }
}
