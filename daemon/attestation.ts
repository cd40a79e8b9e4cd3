// Assembles what attests: the platforms of the configuration, the attester over them, and the journal's entry for each time
// that one of them fails or works again. Called by the sequencer at start.
import { join } from 'node:path';
import type { Config } from '../config/schema.ts';
import type { Pool } from '../workers/pool.ts';
import { Attester, type Role } from './attester.ts';
import { collateralSource } from './collateral.ts';
import { Fault } from './fault.ts';
import { redundancyWish } from './redundancy.ts';
import { evidenceRules } from './rules.ts';
import type { Runtime } from './runtime.ts';
import type { Store } from './store.ts';
import { openPlatforms } from './tee/open.ts';
import type { PlatformState } from './tee/platform.ts';

interface Modules {
  readonly config: Config;
  /** `daemon.state_dir`, absolute. */
  readonly state_dir: string;
  readonly store: Store;
  readonly runtime: Runtime;
  readonly pool: Pool;
  readonly now: () => number;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

/** @throws {Fault} `quote_failed` when the simulator's folder can't be read */
export async function openAttester(modules: Modules): Promise<Attester> {
  const { config, state_dir, store, now } = modules;
  const { collateral_dir, pccs_url, kds_url, collateral_timeout_ms: timeout_ms } = config.attestation;
  const cache = join(state_dir, 'collateral');
  const platforms = await openPlatforms({
    ...modules,
    collateral: collateralSource({ folder: collateral_dir, cache, pccs_url, kds_url, timeout_ms, now }),
    policy: evidenceRules(config),
    onChange: (role, state, before) => void journalChange(modules, role, state, before),
  });
  return new Attester({ ...platforms, wish: () => redundancyWish(store), options: config.attestation, now });
}

/** That a platform works from the start is no news. */
async function journalChange(
  { runtime, config, now, onFault, fatal }: Modules,
  role: Role,
  { state, reason }: PlatformState,
  before: PlatformState['state'],
): Promise<void> {
  if (before === 'unknown' && state === 'working') return;
  const { require, [role]: provider } = config.attestation;
  try {
    await runtime.commit((step) => {
      step.journal('attestation_changed', { role, provider, state, reason, require }, now());
    });
  } catch (error) {
    if (error instanceof Fault) onFault(error);
    else fatal(error);
  }
}
