// A seal: a signed, attested head of the log (DESIGN §3 "Why a log", §4). The head is what is signed; the seal carries the
// two signatures over it. One seal covers every batch whose leaf index is below its size.
import { z } from 'zod';
import { base64Of, Counter, Digest, uint } from './encoding.ts';

/** FIPS 205 §11, table 2. */
export const SLH_DSA_SIGNATURE_BYTES = 29_792;
/** FIPS 204 §4, table 2. */
export const ML_DSA_SIGNATURE_BYTES = 4_627;

/** How much a head's newness is vouched for. */
export const FRESHNESS = { local: 0, witness: 1, anchored: 2 } as const;

/** Bits of `providers`: the platforms whose quotes the seal must carry. */
export const PROVIDER_BIT = { primary: 1, redundancy: 2 } as const;

export const Head = z
  .strictObject({
    log_id: Digest,
    size: Counter,
    root: Digest,
    timestamp_ms: Counter,
    epoch: uint(32),
    keyset_digest: Digest,
    config_digest: Digest,
    freshness: z.int().min(0).max(2),
    providers: z.int().min(1).max(3),
  })
  .meta({ id: 'Head' });

export type Head = z.output<typeof Head>;

export const SealSignatures = z.strictObject({
  signature: base64Of(SLH_DSA_SIGNATURE_BYTES),
  ml_dsa_signature: base64Of(ML_DSA_SIGNATURE_BYTES),
});
