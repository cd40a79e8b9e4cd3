// What is sent to have IPNS names republished (DESIGN §10): enrolments, newer records, and the worker protocol of a backend that
// keeps its own schedule. One schema for each; the API validates with it, the OpenAPI document prints it. What only the bytes
// can tell (whether the key is the name's, whether the record is) a thread finds out.
import { z } from 'zod';
import { base64Of, base64UpTo, decimal, uint } from './encoding.ts';
import { IpnsName, RECORD_BYTES_MAX } from './ipns.ts';

export const NAMES_PER_REQUEST_MAX = 200;
export const REPUBLISH_ENTRIES_MAX = 100;

/** The ecies format's 97 bytes and a key of 32. */
export const WRAPPED_KEY_BYTES = 129;

const KeyEpoch = uint(32).min(1, 'expected a positive integer').describe('Whose names key it is encrypted to.');
const WrappedKey = base64Of(WRAPPED_KEY_BYTES).describe(
  'The 32-byte seed of the Ed25519 key, in the ecies format to the names key of `keyEpoch` (GET /public-key).',
);
const Record = base64UpTo(RECORD_BYTES_MAX).describe('The newest record that the owner signed, as published.');

export const Enrolment = z
  .strictObject({ ipnsName: IpnsName, encryptedIpnsKey: WrappedKey, keyEpoch: KeyEpoch, record: Record })
  .meta({ id: 'NameEnrolment' });
export type Enrolment = z.output<typeof Enrolment>;
export type EnrolmentInput = z.input<typeof Enrolment>;

export const RecordUpdate = z.strictObject({ record: Record }).meta({ id: 'NameRecordUpdate' });

const CID_CHARACTERS_MAX = 512;

/** An entry of `POST /republish`, under the names of that protocol. The caller owns the sequence. */
export const RepublishEntry = z
  .strictObject({
    encryptedIpnsKey: WrappedKey,
    keyEpoch: KeyEpoch,
    ipnsName: IpnsName,
    latestCid: z
      .string()
      .max(CID_CHARACTERS_MAX)
      .regex(/^(?:Qm[1-9A-HJ-NP-Za-km-z]{44}|[bkz][0-9A-Za-z]{8,})$/, 'expected a CID as text')
      .describe('What the name is to point to: `/ipfs/` and this.'),
    sequenceNumber: z
      .union([z.int().min(0), decimal(64)])
      .transform(String)
      .refine((text) => text !== '18446744073709551615', 'expected one that can still be raised')
      .describe('Of the record before; the new one has one more.'),
    currentEpoch: KeyEpoch.optional().describe('Ignored: the enclave knows its epochs.'),
    previousEpoch: uint(32).nullable().optional().describe('Ignored.'),
  })
  .meta({ id: 'RepublishEntry' });
export type RepublishEntry = z.output<typeof RepublishEntry>;

export const REPUBLISH_ERRORS = [
  'invalid_entry',
  'name_enrolled',
  'key_epoch_not_accepted',
  'key_unopenable',
  'key_foreign',
  'clock_held',
] as const;
export type RepublishError = (typeof REPUBLISH_ERRORS)[number];

export const RepublishResult = z
  .strictObject({
    ipnsName: z.string(),
    success: z.boolean(),
    signedRecord: z.string().optional().describe('Base64; publishing it is up to the caller.'),
    newSequenceNumber: z.string().optional(),
    upgradedEncryptedKey: z
      .string()
      .optional()
      .describe('To the names key of the active epoch, where it was of an older one.'),
    upgradedKeyEpoch: uint(32).optional(),
    error: z.enum(REPUBLISH_ERRORS).optional(),
  })
  .meta({ id: 'RepublishResult' });
export type RepublishResult = z.output<typeof RepublishResult>;
