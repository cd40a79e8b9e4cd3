// Whether seals carry the second platform's evidence too (DESIGN §6), as it was last ordered: a record in the store, so that it
// outlives restarts and counts from the moment that it is durable. attester.ts asks for it before each head, the sequencer's
// `setRedundancy` and an admin's order write it.
import { utf8 } from '../actors/encoding.ts';
import type { Enclave } from '../actors/redundancy.ts';
import type { Config } from '../config/schema.ts';
import type { Runtime, Step } from './runtime.ts';
import type { Reader } from './store.ts';

/** Names are the operator's, 1 to 128 bytes; null where there are none. */
export interface RedundancyWish extends Enclave {
  readonly enabled: boolean;
}

/** What holds before anything was ordered: what `attestation.redundancy` says. */
const AS_CONFIGURED: RedundancyWish = { enabled: true, worker_id: null, enclave_id: null };

export const redundancyWish = (reader: Reader): RedundancyWish =>
  (reader.get('meta', 'redundancy') as RedundancyWish | undefined) ?? AS_CONFIGURED;

const NAME_BYTES_MAX = 128;

/**
 * The act of an embedding program, which needs no order of an admin.
 *
 * @returns false where `attestation.redundancy` names no platform that could be turned on
 * @throws {RangeError} when a name is empty or longer than 128 bytes
 */
export async function setRedundancy(
  runtime: Runtime,
  { attestation }: Pick<Config, 'attestation'>,
  wish: RedundancyWish,
  at_ms: number,
): Promise<boolean> {
  for (const name of ['worker_id', 'enclave_id'] as const) {
    const bytes = wish[name] === null ? 1 : utf8(wish[name]).length;
    if (bytes < 1 || bytes > NAME_BYTES_MAX) throw new RangeError(`${name}: expected 1 to ${NAME_BYTES_MAX} bytes`);
  }
  if (wish.enabled && attestation.redundancy === 'off') return false;
  await runtime.commit((step) => orderRedundancy(step, wish, at_ms));
  return true;
}

/** Part of a step: what is ordered counts from the next head on. */
export function orderRedundancy(step: Step, wish: RedundancyWish, at_ms: number): void {
  step.put('meta', 'redundancy', wish);
  step.journal('attestation_changed', { role: 'redundancy', ...wish }, at_ms);
}
