// A state folder as a daemon leaves it right after its first start: log founded, keys tried, genesis sealed, ended in good order. Half of
// what such a start costs is in that, so a run of the tests makes one for each genesis that they wish, and those that are not about a
// first start go on with a copy, as a daemon does after any stop. First starts are in daemon/sequencer.test.ts and wherever a process is
// started. Outside of a run nothing is kept, and a daemon founds its own.
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { meta } from '../daemon/records.ts';
import { createSequencer } from '../daemon/sequencer.ts';
import { SHARED } from './run.ts';

const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const fatal = (error: unknown) => {
  throw error;
};

/** @param config  its `daemon.state_dir` is filled, unless it has a store, or keys or quotes are not the simulator's */
export async function found(config: Config): Promise<void> {
  const { state_dir } = config.daemon;
  const shared = process.env[SHARED];
  const simulated = config.keys.source === 'simulator' && config.attestation.primary === 'simulator';
  if (shared === undefined || !simulated || existsSync(join(state_dir, 'store'))) return;
  const kept = join(shared, nameOf(config));
  if (!existsSync(kept)) await make(kept, config);
  cpSync(kept, state_dir, { recursive: true });
}

/** By what genesis fixes, and what a start holds against the one before. */
function nameOf({ chain, quantum, admin, attestation: { simulator_image } }: Config): string {
  const fixed = [String(chain.chain_id), quantum.hybrid_ecdsa, admin.keys, simulator_image];
  return createHash('sha256').update(JSON.stringify(fixed)).digest('hex').slice(0, 16);
}

/** Another process may make the same at the same time: the first one's is kept. */
async function make(kept: string, { chain, quantum, admin, attestation: { simulator_image } }: Config): Promise<void> {
  const state_dir = mkdtempSync(`${kept}-`);
  const { config } = loadConfig({ environment: { STATE_DIRECTORY: state_dir } });
  const seal = { ...config.seal, interval_ms: 0 };
  const attestation = { ...config.attestation, simulator_image };
  const sequencer = await createSequencer({
    config: { ...config, chain, quantum, admin, seal, attestation },
    log,
    fatal,
  });
  const { store } = sequencer;
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = () => {
    const { size, sealed } = meta(store, 'log');
    if (size === sealed && store.get('meta', 'measurements') !== undefined) resolve();
  };
  const end = store.onCommitted(look);
  look();
  await promise;
  end();
  await sequencer.close();
  try {
    renameSync(state_dir, kept);
  } catch (error) {
    if (!existsSync(kept)) throw error;
    rmSync(state_dir, { recursive: true });
  }
}
