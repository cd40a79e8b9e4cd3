// The worker protocol (DESIGN §10): a backend that keeps its own schedule sends keys and what they are to point to, and publishes
// what comes back itself. It owns the sequence here, so it can point a name anywhere: hence a token of its own, off unless an
// operator says so, and never for names that are enrolled, whose owners' records decide.

import { base64, fromBase64 } from '../../actors/encoding.ts';
import {
  REPUBLISH_ENTRIES_MAX,
  RepublishEntry,
  type RepublishError,
  type RepublishResult,
} from '../../actors/enrolment.ts';
import { validityOf } from '../../actors/ipns.ts';
import type { NameThreads } from './threads.ts';

interface Modules {
  readonly threads: NameThreads;
  readonly isEnrolled: (name: string) => boolean;
  /** Whether what is encrypted to this epoch is still taken. */
  readonly accepts: (epoch: number) => boolean;
  readonly held: () => boolean;
  readonly lifetime_ms: number;
  readonly now: () => number;
}

/** 5 minutes, as the specification suggests. */
const TTL_NS = 300_000_000_000n;

/** Each entry on its own and in its place. @throws {Fault} when threads fail */
export function republish(modules: Modules, inputs: readonly unknown[]): Promise<RepublishResult[]> {
  if (inputs.length > REPUBLISH_ENTRIES_MAX) throw new RangeError(`at most ${REPUBLISH_ENTRIES_MAX} entries at once`);
  return Promise.all(inputs.map((input) => sign(modules, input)));
}

async function sign(
  { threads, isEnrolled, accepts, held, lifetime_ms, now }: Modules,
  input: unknown,
): Promise<RepublishResult> {
  const parsed = RepublishEntry.safeParse(input);
  if (!parsed.success) return refused(nameIn(input), 'invalid_entry');
  const { ipnsName, encryptedIpnsKey, keyEpoch: epoch, latestCid, sequenceNumber } = parsed.data;
  if (isEnrolled(ipnsName)) return refused(ipnsName, 'name_enrolled');
  if (!accepts(epoch)) return refused(ipnsName, 'key_epoch_not_accepted');
  if (held()) return refused(ipnsName, 'clock_held');
  const sequence = BigInt(sequenceNumber) + 1n;
  const signed = await threads.extend.add({
    name: ipnsName,
    ...{ epoch, wrapped: fromBase64(encryptedIpnsKey) },
    ...{ value: `/ipfs/${latestCid}`, sequence, ttl_ns: TTL_NS, validity: validityOf(now() + lifetime_ms) },
  });
  if (!signed.ok) return refused(ipnsName, signed.code === 'key_retired' ? 'key_epoch_not_accepted' : signed.code);
  // Enrolled while it was signed: the owner's record decides from then on.
  if (isEnrolled(ipnsName)) return refused(ipnsName, 'name_enrolled');
  const { record, rewrapped } = signed;
  return {
    ipnsName,
    success: true,
    signedRecord: base64(record),
    newSequenceNumber: String(sequence),
    ...(rewrapped !== null && {
      upgradedEncryptedKey: base64(rewrapped.wrapped),
      upgradedKeyEpoch: rewrapped.epoch,
    }),
  };
}

function refused(ipnsName: string, error: RepublishError): RepublishResult {
  return { ipnsName, success: false, error };
}

const ECHO_CHARACTERS_MAX = 128;

/** What the caller calls it, so that the answer can be told from others. */
function nameIn(input: unknown): string {
  const { ipnsName } = (typeof input === 'object' && input !== null ? input : {}) as { ipnsName?: unknown };
  return typeof ipnsName === 'string' ? ipnsName.slice(0, ECHO_CHARACTERS_MAX) : '';
}
