// Checks a receipt: the enclave's signed promise that an envelope will be in a batch of some height or a lower one. Who keeps
// envelope and receipt can show it when the promise is broken. Ed25519, so classical: it holds for the seconds until the
// log covers the envelope post-quantum.
import { ed25519 } from '@noble/curves/ed25519.js';
import { receiptDigest } from '../actors/digest.ts';
import { fromBase64, hex } from '../actors/encoding.ts';
import { Envelope, type EnvelopeInput, identify } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import { Receipt } from '../actors/receipt.ts';
import { fieldPath } from './json.ts';
import { type Refused, refused } from './outcome.ts';

export const RECEIPT_CODES = [
  'malformed',
  'receipt_log_mismatch',
  'receipt_epoch_mismatch',
  'receipt_envelope_mismatch',
  'receipt_signature_invalid',
] as const;
export type ReceiptCode = (typeof RECEIPT_CODES)[number];

/**
 * @param keyset    verified before (`fetchKeyset`); of the receipt's epoch, which may be younger than the envelope's
 * @param envelope  what was submitted; its id is recomputed. Left out, the receipt may be of any envelope
 */
export function checkReceipt(
  receipt: unknown,
  keyset: Keyset,
  envelope?: EnvelopeInput,
): { readonly ok: true; readonly receipt: Receipt } | Refused<ReceiptCode> {
  const parsed = Receipt.safeParse(receipt);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    return refused('malformed', fieldPath(issue.path), issue.message);
  }
  const { log_id, epoch, envelope_id, signature } = parsed.data;
  if (log_id !== keyset.log_id) return refused('receipt_log_mismatch', 'log_id', `the keyset is of ${keyset.log_id}`);
  if (epoch !== keyset.epoch) return refused('receipt_epoch_mismatch', 'epoch', `the keyset is of ${keyset.epoch}`);
  const id = envelope === undefined ? envelope_id : envelopeIdOf(envelope, keyset);
  if (id !== envelope_id) return refused('receipt_envelope_mismatch', 'envelope_id', `the envelope's is ${id}`);
  if (isSigned(fromBase64(signature), receiptDigest(parsed.data), fromBase64(keyset.receipt))) {
    return { ok: true, receipt: parsed.data };
  }
  return refused('receipt_signature_invalid', 'signature', "does not verify under the keyset's receipt key");
}

/**
 * The id that an envelope gets, 0x-hex: over everything in it that is authenticated.
 *
 * @param log  chain and log, as a keyset names them
 * @throws {z.ZodError} when it is no envelope
 */
export function envelopeIdOf(envelope: EnvelopeInput, log: Pick<Keyset, 'chain_id' | 'log_id'>): string {
  return hex(identify(Envelope.parse(envelope), log).envelope_id);
}

/** RFC 8032 §5.1.7, as OpenSSL has it: encodings canonical, no cofactor. */
function isSigned(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  try {
    return ed25519.verify(signature, message, publicKey, { zip215: false });
  } catch {
    return false;
  }
}
