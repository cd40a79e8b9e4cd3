// A receipt: the enclave's signed promise, given at admission, that an envelope will be ordered by a height (DESIGN §3).
// Ed25519, so classical: it holds for the seconds until the log covers the envelope post-quantum.
import { z } from 'zod';
import { Bytes32, base64Of, Counter, Digest, decimal, uint } from './encoding.ts';

export const Receipt = z
  .strictObject({
    log_id: Digest,
    envelope_id: Bytes32,
    admission_sequence: decimal(64),
    timestamp_ms: Counter,
    epoch: uint(32).describe('The epoch whose receipt key signed; not necessarily the one encrypted to.'),
    order_by_height: decimal(64).describe('The envelope is in a batch of this height or a lower one.'),
    algorithm: z.literal('Ed25519').describe('Classical, not post-quantum; the log covers it once ordered.'),
    signature: base64Of(64).describe('Over the aegis/receipt/v1 digest.'),
  })
  .meta({ id: 'Receipt' });

export type Receipt = z.output<typeof Receipt>;
