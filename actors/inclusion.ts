// The answer of `GET /log/inclusion`: proof that a leaf is in a head of the log (RFC 9162 §2.1.3). The API writes it,
// client/log.ts judges it against a head that was verified.
import { z } from 'zod';
import { Counter, Digest } from './encoding.ts';
import { LOG_KINDS } from './tree.ts';

export const Inclusion = z
  .strictObject({
    leaf_index: Counter,
    size: Counter,
    kind: z.enum(LOG_KINDS),
    digest: Digest.describe('What the leaf is about: the digest of a batch, a keyset, …'),
    leaf_hash: Digest.describe('SHA-512(0x00 ‖ kind ‖ digest)'),
    inclusion_path: z.array(Digest).max(64).describe('Siblings from the leaf up, RFC 9162 §2.1.3.'),
    root: Digest,
  })
  .meta({ id: 'Inclusion' });
export type Inclusion = z.output<typeof Inclusion>;
