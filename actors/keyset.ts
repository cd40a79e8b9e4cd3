// A keyset: the public keys of an epoch (DESIGN §4, §5). What clients encrypt to and verifiers check against; its digest
// is what a quote binds to the hardware, and every keyset is an entry of the log.
import { z } from 'zod';
import { base64Of, Counter, Digest, decimal, uint } from './encoding.ts';

export const KEY_SOURCES = ['simulator', 'dstack', 'credential', 'sgx'] as const;

/** FIPS 204 §4, table 2; FIPS 205 §11, table 2; SEC 1 §2.3.3 uncompressed; X-Wing = ML-KEM-768 ‖ X25519; RFC 8032. */
export const PUBLIC_KEY_BYTES = {
  ml_dsa_87: 2592,
  slh_dsa_sha2_256s: 64,
  secp256k1: 65,
  x_wing: 1216,
  ecies: 65,
  names: 65,
  receipt: 32,
  handover: 1216,
  tls: 65,
} as const;

export const Keyset = z
  .strictObject({
    chain_id: decimal(256),
    log_id: Digest,
    epoch: uint(32),
    key_source: z
      .int()
      .min(0)
      .max(KEY_SOURCES.length - 1)
      .describe('0 simulator, 1 dstack, 2 credential, 3 sgx'),
    not_before_ms: Counter,
    ml_dsa_87: base64Of(PUBLIC_KEY_BYTES.ml_dsa_87).describe('Signs batches and heads (FIPS 204).'),
    slh_dsa_sha2_256s: base64Of(PUBLIC_KEY_BYTES.slh_dsa_sha2_256s).describe('Signs heads of the log (FIPS 205).'),
    secp256k1: base64Of(PUBLIC_KEY_BYTES.secp256k1)
      .nullable()
      .describe('ECDSA over batches; null when hybrid_ecdsa is off.'),
    x_wing: base64Of(PUBLIC_KEY_BYTES.x_wing).describe('Envelopes of scheme x-wing: ML-KEM-768 ‖ X25519.'),
    ecies: base64Of(PUBLIC_KEY_BYTES.ecies).nullable().describe('Envelopes of scheme ecies, uncompressed secp256k1.'),
    names: base64Of(PUBLIC_KEY_BYTES.names).nullable().describe('IPNS keys, uncompressed secp256k1.'),
    receipt: base64Of(PUBLIC_KEY_BYTES.receipt).describe('Ed25519, signs receipts.'),
    handover: base64Of(PUBLIC_KEY_BYTES.handover).nullable().describe('X-Wing, state of a predecessor.'),
    tls: base64Of(PUBLIC_KEY_BYTES.tls)
      .nullable()
      .describe('Of the TLS that ends in the enclave, uncompressed P-256; null in keysets of the first versions.'),
  })
  .meta({ id: 'Keyset' });

export type Keyset = z.output<typeof Keyset>;
