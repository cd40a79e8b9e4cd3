// Assembles the sequencer's side of its witness from the configuration. Called by the sequencer at start; nothing is asked here, so
// a witness that is dead holds up no start.
import type { Keyset } from '../../actors/keyset.ts';
import type { Config } from '../../config/schema.ts';
import { loadEngine } from '../../workers/engine.ts';
import type { Pool } from '../../workers/pool.ts';
import type { Attester } from '../attester.ts';
import type { Fault } from '../fault.ts';
import { redundancyWish } from '../redundancy.ts';
import { evidenceRules } from '../rules.ts';
import type { Runtime } from '../runtime.ts';
import type { Store } from '../store.ts';
import { Witnessed } from '../witnessed.ts';

interface Modules {
  readonly config: Config;
  readonly store: Store;
  readonly runtime: Runtime;
  readonly pool: Pool;
  readonly attester: Attester;
  readonly keyset: () => Keyset;
  readonly accept_new: boolean;
  readonly now: () => number;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

/** @returns undefined where `attestation.witness` is off */
export async function openWitnessed(modules: Modules): Promise<Witnessed | undefined> {
  const { config, store, pool, attester, now } = modules;
  const { witness: mode, witness_url: url, witness_timeout_ms, quote_timeout_ms } = config.attestation;
  if (mode === 'off') return undefined;
  const engine = await loadEngine(config.signing.engine);
  const production = config.daemon.environment === 'production';
  const judge = { pool, engine, policy: evidenceRules(config), production, now };
  return new Witnessed({
    ...modules,
    mode,
    patience_ms: witness_timeout_ms,
    enclave: () => redundancyWish(store),
    line: {
      url,
      judge,
      timeout_ms: witness_timeout_ms,
      quote_timeout_ms,
      attest: (about) => attester.attest({ purpose: 'witness', ...about, not_after_ms: attester.notAfter(now()) }),
    },
  });
}
