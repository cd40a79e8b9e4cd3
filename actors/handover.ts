// Handover to a successor enclave (DESIGN §8): which enclave may succeed, what the log says of it, and what the two enclaves say to
// each other. Both ends, the verifier and the tests use these schemas; the functions are pure. The predecessor's last seal
// covers the successor's keyset and, directly behind it, the entry of kind `handover`; whatever its keys sign beyond that
// is refused by everyone who has seen the entry.
import { z } from 'zod';
import { Measurement } from './act.ts';
import { handoverDigest, successionDigest } from './digest.ts';
import { base64Of, base64UpTo, Counter, Digest, fromHex, hexOf, uint } from './encoding.ts';
import type { VerifiedEvidence } from './evidence.ts';
import { SignedHead } from './head.ts';
import { Keyset } from './keyset.ts';
import { Attestation } from './quote.ts';
import { ML_DSA_SIGNATURE_BYTES } from './seal.ts';

/** An enclave that an admin's order lets succeed. */
export const AllowedSuccessor = z.strictObject({
  measurement: Measurement,
  in_force_after_ms: Counter,
  in_force_after_uptime_ms: Counter.describe(
    'And once the daemon has run this long over all its runs, whatever its clock shows.',
  ),
  leaf_index: Counter.describe('Of the order in the log.'),
});
export type AllowedSuccessor = z.output<typeof AllowedSuccessor>;

/** Each is an order that lowers security: more than a few at a time are a mistake. */
export const ALLOWED_MAX = 16;

/** Whether verified evidence is of this enclave, in all that the order names. */
export function isMeasured(by: Measurement, { measurements, compose_hash }: VerifiedEvidence): boolean {
  switch (by.quote_type) {
    case 'TDX': {
      if (!('mrtd' in measurements)) return false;
      const same = (['mrtd', 'rtmr0', 'rtmr1', 'rtmr2'] as const).every((name) => measurements[name] === by[name]);
      // Without a compose hash the registers must name the whole system: whatever it loads at run time is measured into RTMR3.
      return same && (by.compose_hash === null ? /^0x0+$/.test(measurements.rtmr3) : by.compose_hash === compose_hash);
    }
    case 'SEV-SNP':
      return 'measurement' in measurements && measurements.measurement === by.measurement;
    case 'SGX':
      return (
        'mrenclave' in measurements &&
        measurements.mrenclave === by.mr_enclave &&
        measurements.mrsigner === by.mr_signer
      );
  }
}

export type Admitted =
  | { readonly ok: true; readonly by: AllowedSuccessor }
  | { readonly ok: false; readonly code: 'successor_not_allowed' | 'successor_not_in_force' };

/** What an order's delay goes by: the agreed time, which stands still while the clock is held, and what the host can't set. */
export interface Elapsed {
  readonly aging_ms: number;
  readonly uptime_ms: number;
}

/** Whether an order in force lets this enclave succeed. */
export function mayImport(allowed: readonly AllowedSuccessor[], found: VerifiedEvidence, now: Elapsed): Admitted {
  const named = allowed.filter(({ measurement }) => isMeasured(measurement, found));
  const by = named.find(
    ({ in_force_after_ms, in_force_after_uptime_ms }) =>
      in_force_after_ms <= now.aging_ms && in_force_after_uptime_ms <= now.uptime_ms,
  );
  if (by !== undefined) return { ok: true, by };
  return { ok: false, code: named.length > 0 ? 'successor_not_in_force' : 'successor_not_allowed' };
}

// ---- what the log says

export const Handover = z
  .strictObject({
    log_id: Digest,
    leaf_index: Counter.describe(
      'Of the entry of kind `handover`; the keyset of the successor stands directly before it.',
    ),
    from_epoch: uint(32),
    from_keyset_digest: Digest,
    to_epoch: uint(32),
    to_keyset_digest: Digest,
    head_digest: Digest.describe('Of the newest seal before the state was handed over.'),
    state_hash: Digest.describe('Of all assets, as in a checkpoint.'),
    asset_count: Counter,
    timestamp_ms: Counter,
  })
  .meta({ id: 'Handover' });
export type Handover = z.output<typeof Handover>;

/** @returns 64 bytes: the entry of kind 4 in the log */
export const digestOfHandover = (handover: Handover): Uint8Array => handoverDigest(handover);

/** What was signed: a head of this size under the keys of this epoch. */
export interface SignedPlace {
  readonly log_id: string;
  readonly epoch: number;
  /** Of the keyset that signed it, 0x-hex. */
  readonly keyset_digest: string;
  readonly size: number;
}

/**
 * Keys that had ended, or keys of the epoch to which the handover gave others: an old enclave that was put back to before its end
 * could rotate to it by itself. What it rotates to beyond that epoch, one handover can't tell from the successor's own.
 *
 * @returns the handover that says so; undefined where there is none
 */
export function endedBefore(handovers: readonly Handover[], place: SignedPlace): Handover | undefined {
  const { log_id, epoch, size, keyset_digest } = place;
  return handovers.find((each) => {
    if (each.log_id !== log_id) return false;
    if (epoch === each.to_epoch) return keyset_digest !== each.to_keyset_digest;
    return epoch <= each.from_epoch && size > each.leaf_index + 1;
  });
}

const SuccessorUrl = z.url({ protocol: /^https?$/, error: 'expected an http or https URL' }).max(2_048);

/** A handover that is sealed, with all that proves it: what verifiers keep. */
export const SealedHandover = z
  .strictObject({
    handover: Handover,
    keyset: Keyset.describe('Of the successor.'),
    successor_url: SuccessorUrl.describe('Where clients go on; signed by nobody.'),
    sealed: SignedHead.describe('The last head of the predecessor: its size is `leaf_index` + 1.'),
    inclusion_path: z.array(Digest).max(64).describe('Of the entry in `sealed`.'),
  })
  .meta({ id: 'SealedHandover' });
export type SealedHandover = z.output<typeof SealedHandover>;

/** `open`: a successor may come; `transferring`: one takes the state, and nothing is admitted; `ended`: never signs again. */
export const HANDOVER_STATES = ['none', 'open', 'transferring', 'ended'] as const;
export type HandoverState = (typeof HANDOVER_STATES)[number];

export const HandoverStatus = z
  .strictObject({
    state: z.enum(HANDOVER_STATES),
    successor_url: SuccessorUrl.nullable().describe('Where clients go on.'),
    allowed: z.array(AllowedSuccessor).describe('Which enclaves may succeed, and from when on.'),
    newest: SealedHandover.nullable().describe(
      'The newest handover of the log that is sealed: of this enclave once it has ended, or the one that it came by.',
    ),
  })
  .meta({ id: 'HandoverStatus' });
export type HandoverStatus = z.output<typeof HandoverStatus>;

export const OpenHandover = z
  .strictObject({ successor_url: SuccessorUrl.exactOptional().describe('`handover.successor_url` where left out.') })
  .meta({ id: 'OpenHandover' });

// ---- what passes between the two

const Nonce = hexOf(32);
const Session = hexOf(16);

export const SuccessorHello = z
  .strictObject({
    version: z.literal(1),
    schema: Counter.describe('Of the store: both must know the same.'),
    nonce: Nonce,
  })
  .meta({ id: 'SuccessorHello' });

export const PredecessorGreeting = z
  .strictObject({
    keyset: Keyset,
    nonce: Nonce,
    attestation: Attestation.describe('Purpose 3 over the aegis/succession/v1 digest of part 1.'),
  })
  .meta({ id: 'PredecessorGreeting' });
export type PredecessorGreeting = z.output<typeof PredecessorGreeting>;

export const SuccessorOpening = z
  .strictObject({
    nonce: Nonce.describe('Of the greeting.'),
    successor_nonce: Nonce.describe('As in the hello that the greeting answers.'),
    keyset: Keyset.describe('Of the epoch to come; the state is encrypted to its `handover` key.'),
    attestation: Attestation.describe('Purpose 3 over the aegis/succession/v1 digest of part 2.'),
  })
  .meta({ id: 'SuccessorOpening' });
export type SuccessorOpening = z.output<typeof SuccessorOpening>;

export const SuccessionOffer = z
  .strictObject({
    session: Session,
    head: SignedHead.describe('The newest seal: it covers all of the log that is handed over.'),
    sealed: base64UpTo(2_048).describe("The transfer's secret, HPKE under `handover` of the successor's keyset."),
    signature: base64Of(ML_DSA_SIGNATURE_BYTES).describe('ML-DSA-87 over the aegis/succession/v1 digest of part 4.'),
  })
  .meta({ id: 'SuccessionOffer' });
export type SuccessionOffer = z.output<typeof SuccessionOffer>;

/** A value of the store may be large; what is usual is a fraction of it. */
export const CHUNK_BYTES_MAX = 80 * 1_048_576;

export const ChunkAsk = z
  .strictObject({ session: Session, index: Counter.describe('The next one, or the last one again.') })
  .meta({ id: 'ChunkAsk' });
export const Chunk = z
  .strictObject({
    last: z.boolean(),
    box: base64UpTo(CHUNK_BYTES_MAX).describe('AES-256-GCM; index and `last` are authenticated.'),
  })
  .meta({ id: 'Chunk' });

export const Acceptance = z
  .strictObject({ session: Session, box: base64UpTo(4_096).describe('AES-256-GCM, from the successor.') })
  .meta({ id: 'Acceptance' });

/** What the successor says of the state, inside its box. */
export const Accepted = z.strictObject({
  transcript: Digest.describe('SHA-512 over all chunks in the clear, in their order.'),
  state_hash: Digest,
  asset_count: Counter,
});
export type Accepted = z.output<typeof Accepted>;

/** What both ends know of each other; a part takes what it names. */
export interface Succession {
  readonly log_id: string;
  readonly from_keyset_digest: string;
  readonly to_keyset_digest: string;
  readonly head_digest: string;
  /** 0x-hex. */
  readonly nonces: { readonly predecessor: string; readonly successor: string };
}

type Greeted = Pick<Succession, 'log_id' | 'from_keyset_digest' | 'nonces'>;

const bytesOf = ({ predecessor, successor }: Succession['nonces']) => ({
  predecessor: fromHex(predecessor),
  successor: fromHex(successor),
});

/** What the predecessor's quote is over. */
export function predecessorSubject({ log_id, from_keyset_digest, nonces }: Greeted): Uint8Array {
  return successionDigest({ part: 'predecessor', log_id, from_keyset_digest, nonces: bytesOf(nonces) });
}

/** What the successor's quote is over. */
export function successorSubject(about: Omit<Succession, 'head_digest'>): Uint8Array {
  const { log_id, from_keyset_digest, to_keyset_digest, nonces } = about;
  return successionDigest({
    ...{ part: 'successor', log_id, from_keyset_digest, to_keyset_digest },
    nonces: bytesOf(nonces),
  });
}

/** HPKE info of the secret. */
export function secretInfo({ nonces, ...about }: Succession): Uint8Array {
  return successionDigest({ part: 'secret', ...about, nonces: bytesOf(nonces) });
}

/** What the predecessor signs, so that nobody else's secret is taken for its. */
export function offerDigest({ nonces, ...about }: Succession, sealed: Uint8Array): Uint8Array {
  return successionDigest({ part: 'offer', ...about, nonces: bytesOf(nonces), sealed });
}

/** The context string of the offer's signature. */
export const OFFER_CONTEXT = 'aegis/succession/v1';
