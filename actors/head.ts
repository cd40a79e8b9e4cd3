// A sealed head as it travels alone (DESIGN §3 "Why a log"): what the log had come to, both signatures over it, the keyset
// that they verify under, and the evidence that binds all of it to an enclave. The API serves it, whoever audits keeps it,
// client/head.ts judges it; it needs nothing beside trust anchors.
import { z } from 'zod';
import { MlDsaSignature } from './batch.ts';
import { Digest } from './encoding.ts';
import { Keyset } from './keyset.ts';
import { Attestation } from './quote.ts';
import { Head, SealSignatures } from './seal.ts';

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
