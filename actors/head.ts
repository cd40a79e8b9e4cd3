// The log as it is shown to auditors (DESIGN §3 "Why a log"): sealed heads as they travel alone, proofs between them, and
// what the log holds. The API answers in these shapes, `aegisd audit` and `aegisd verify --since` read them. A signed head
// has the keyset that it verifies under and the evidence that binds it to an enclave, so it needs nothing beside trust
// anchors; client/head.ts judges it.
import { z } from 'zod';
import { Header, MlDsaSignature } from './batch.ts';
import { Counter, Digest } from './encoding.ts';
import { Keyset } from './keyset.ts';
import { Attestation } from './quote.ts';
import { Head, SealSignatures } from './seal.ts';
import { LOG_KINDS } from './tree.ts';

export const SignedHead = z
  .strictObject({
    seal: Head,
    digest: Digest.describe('What both signatures sign: the aegis/seal/v1 digest of `seal`.'),
    slh_dsa_sig: z.strictObject({
      algorithm: z.literal('SLH-DSA-SHA2-256s'),
      signature: SealSignatures.shape.signature,
    }),
    ml_dsa_sig: MlDsaSignature,
    attestation: Attestation.describe('Purpose 1 over the digest.'),
    keyset: Keyset.describe("Of the seal's epoch; `seal.keyset_digest` and the quote bind it."),
  })
  .meta({ id: 'SignedHead' });
export type SignedHead = z.output<typeof SignedHead>;

/** Proof that the first `from` leaves of a log of `to` are those that it had before (RFC 9162 §2.1.4). */
export const Consistency = z
  .strictObject({
    from: z.int().min(1),
    to: z.int().min(1),
    from_root: Digest,
    to_root: Digest,
    consistency_path: z.array(Digest).max(64),
  })
  .meta({ id: 'Consistency' });
export type Consistency = z.output<typeof Consistency>;

export const LogHead = z
  .strictObject({
    log_id: Digest,
    size: Counter.describe('Leaves now; those beyond the sealed size wait for the next seal.'),
    root: Digest.describe('Of `size` leaves, signed by nobody yet.'),
    sealed: SignedHead.nullable().describe('The newest seal; null before the first.'),
  })
  .meta({ id: 'LogHead' });
export type LogHead = z.output<typeof LogHead>;

/** At most this many of a kind in one answer. */
export const PAGE_MAX = { entries: 1_000, headers: 100, seals: 100 } as const;

export const LogEntry = z
  .strictObject({
    leaf_index: Counter,
    kind: z.enum(LOG_KINDS),
    digest: Digest.describe('Of a batch, a keyset, …; the leaf hash is SHA-512(0x00 ‖ kind ‖ digest).'),
  })
  .meta({ id: 'LogEntry' });
export type LogEntry = z.output<typeof LogEntry>;

export const LogEntries = z
  .strictObject({ entries: z.array(LogEntry).max(PAGE_MAX.entries) })
  .meta({ id: 'LogEntries' });

export const Headers = z
  .strictObject({
    headers: z.array(Header).max(PAGE_MAX.headers).describe('Their digests are the `batch` entries of the log.'),
  })
  .meta({ id: 'Headers' });

/** A head without what vouches for it. */
export const ListedSeal = z.strictObject({ seal: Head, digest: Digest });
export type ListedSeal = z.output<typeof ListedSeal>;

export const Seals = z.strictObject({ seals: z.array(ListedSeal).max(PAGE_MAX.seals) }).meta({ id: 'Seals' });
