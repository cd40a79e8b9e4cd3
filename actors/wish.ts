// What an operator says of a migration (DESIGN §8): the bodies of `POST /migration/start`, `/complete` and `/rollback`, which are also
// what the library takes. A checkpoint is named by its id, or given as a batch or an exported file has it, and then
// it must be that one in every value.
import { z } from 'zod';
import { Checkpoint, CheckpointId } from './checkpoint.ts';

export const SENDERS_MAX = 1_024;

const Sender = z
  .string()
  .regex(/^0x[0-9a-fA-F]{40}$/, 'expected 0x and 40 hex digits')
  .transform((text) => text.toLowerCase());

export const StartMigration = z
  .strictObject({
    senders: z
      .array(Sender)
      .max(SENDERS_MAX)
      .default([])
      .describe('Whose transactions belong to it: theirs alone pass while it runs, and count for the order.'),
  })
  .meta({ id: 'StartMigration' });
export type StartMigrationInput = z.input<typeof StartMigration>;

const Named = z.strictObject({ checkpoint_id: CheckpointId });
/** As in a batch, which may have it without a signature. */
const Given = Checkpoint.extend({ pqc_signature: Checkpoint.shape.pqc_signature.nullable() });

export const CompleteMigration = z.union([Named, Given]).meta({ id: 'CompleteMigration' });
export type CompleteMigration = z.output<typeof CompleteMigration>;
export type CompleteMigrationInput = z.input<typeof CompleteMigration>;
