// A checkpoint as it is exported (DESIGN §8): everything that `aegisd verify` needs to judge it, but for trust anchors. Its snapshots
// are those that `state_hash` is over; the seal, the evidence and the keyset are in the shape of a batch's.
import { z } from 'zod';
import { SlhDsaSignature } from './batch.ts';
import { Checkpoint, Snapshot } from './checkpoint.ts';
import { Keyset } from './keyset.ts';
import { Attestation } from './quote.ts';

/** `aegisd verify` reads files of 64 MiB at most: some 200,000 snapshots. */
export const SNAPSHOTS_MAX = 1_000_000;

/** Where it is in the log, and what vouches for the head; both null until a seal covers it. */
export const AttestedInclusion = z.strictObject({
  slh_dsa_sig: SlhDsaSignature.nullable(),
  attestation: Attestation.nullable(),
  keyset: Keyset,
});

export const CheckpointFile = z
  .strictObject({
    version: z.literal(1),
    ...Checkpoint.shape,
    asset_snapshots: z.array(Snapshot).max(SNAPSHOTS_MAX),
    ...AttestedInclusion.shape,
  })
  .refine(
    (file) => (file.slh_dsa_sig === null) === (file.attestation === null),
    'slh_dsa_sig and attestation come together',
  )
  .meta({ id: 'CheckpointFile' });
export type CheckpointFile = z.output<typeof CheckpointFile>;
