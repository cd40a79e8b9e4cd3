// Envelopes that wait in the pool: what a start after a crash has to take up. Their ciphertexts are noise, which nobody opens
// before the order is fixed, and their batch never comes.
import { randomBytes } from 'node:crypto';
import { base64 } from '../actors/encoding.ts';
import type { Config } from '../config/schema.ts';
import type { Sequencer } from '../daemon/sequencer.ts';

const CHUNK = 500;
const CIPHERTEXT_BYTES = 1_290;

/** Room for `count`, and no batch in the next minute. */
export function holding(config: Config, count: number): Config {
  return {
    ...config,
    daemon: { ...config.daemon, log_level: 'fatal' },
    sequencer: { ...config.sequencer, batch_interval_ms: 60_000, batch_size: count * 2 },
    mempool: { ...config.mempool, capacity: count },
  };
}

export async function admitPending(running: Sequencer, count: number): Promise<void> {
  for (let i = 0; i < count; i += CHUNK) {
    const envelopes = Array.from({ length: CHUNK }, (_, n) => ({
      scheme: 'x-wing' as const,
      epoch: 1,
      encrypted_data: base64(randomBytes(CIPHERTEXT_BYTES)),
      priority_fee: `${n + 1}000000000`,
    }));
    const admissions = await Promise.all(envelopes.map((envelope) => running.submitEncrypted(envelope)));
    if (admissions.some(({ ok }) => !ok)) throw new Error('an envelope was not admitted');
  }
}
