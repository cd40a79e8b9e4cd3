// What the API answers about a transaction: its admission, and later what became of it (DESIGN §3 "Envelope"). The daemon
// writes these, the client library reads them. Nothing in them but the receipt is signed, so a client holds what it relies
// on against the batch file.
import { z } from 'zod';
import { Bytes32, hexOf, uint } from './encoding.ts';
import { TxId } from './envelope.ts';
import { Receipt } from './receipt.ts';
import { REFUSALS } from './refusal.ts';

export const Admitted = z
  .strictObject({
    envelope_id: Bytes32,
    tx_id: TxId.optional().describe('Your label, as sent.'),
    receipt: Receipt,
  })
  .meta({ id: 'Admitted' });
export type Admitted = z.output<typeof Admitted>;

/** In an answer to an array: what the envelope would have been answered alone, and the status that it would have had. */
export const AdmittedItem = z.strictObject({ status: z.literal(202), ...Admitted.shape }).meta({ id: 'AdmittedItem' });
export type AdmittedItem = z.output<typeof AdmittedItem>;

const REASONS = Object.keys(REFUSALS) as [keyof typeof REFUSALS, ...(keyof typeof REFUSALS)[]];

export const TransactionStatus = z
  .strictObject({
    envelope_id: Bytes32,
    tx_id: TxId.optional(),
    status: z.enum(['pending', 'ordered', 'sequenced', 'refused']),
    code: uint(16).optional().describe('Why it was refused, as signed in the batch.'),
    reason: z.enum(REASONS).optional().describe('The name of the code.'),
    height: z.int().optional().describe('Of the batch that ordered it.'),
    index: z.int().optional().describe('Its place among the transactions of the batch.'),
    tx_hash: Bytes32.optional(),
    sender: hexOf(20).optional(),
    receipt: Receipt,
    sealed: z.boolean().describe('A seal covers the batch.'),
  })
  .meta({ id: 'TransactionStatus' });
export type TransactionStatus = z.output<typeof TransactionStatus>;
