// Keysets and their quotes over HTTP (DESIGN §5): what a client fetches and verifies before it encrypts anything. A quote over a
// nonce of the client's shows that the enclave is alive now; it costs the platform, so it is charged and few may wait for one.
import { z } from 'zod';
import { Counter, Digest, hex, Timestamp, timestamp, uint } from '../../actors/encoding.ts';
import { admits, EPOCH_STATES, ROTATION_REASONS } from '../../actors/epoch.ts';
import { AttestedKeyset, FreshAttestation } from '../../actors/quote.ts';
import { standing } from '../epoch.ts';
import { type KeysetRecord, keysetRecord, meta, rotationRecord } from '../records.ts';
import type { Sequencer } from '../sequencer.ts';
import { peerOf } from './door.ts';
import { integer, NoQuery } from './input.ts';
import { publicKey } from './rotation.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

const EPOCH_MAX = 2 ** 32 - 1;
/** Newest first; more is for the log. */
const LISTED_MAX = 1_000;
/** Of the client's allowance: a quote holds a thread for as long as this many envelopes. */
const QUOTE_COST = 50;
/** Who may wait for a quote over a nonce; well below the attester's own bound, so that a seal always finds room. */
const NONCES_MAX = 16;

const EpochEntry = z.strictObject({
  epoch: uint(32),
  status: z.enum(EPOCH_STATES),
  keyset_digest: Digest,
  leaf_index: Counter.describe('Of the keyset in the log.'),
  not_before_ms: Counter,
  admits: z.boolean().describe('Whether envelopes of it are admitted now.'),
  grace_ends_at: Timestamp.nullable().describe('Until when, once a newer epoch is active.'),
  backlog: Counter.describe('Secrets that its keys still wrap.'),
  reason: z.enum(['genesis', ...ROTATION_REASONS]).describe('Why it came after the one before.'),
  first_height: Counter.nullable().describe('The first batch that it signs; null while it is pending.'),
});
export const Epochs = z.strictObject({ active: uint(32), epochs: z.array(EpochEntry) }).meta({ id: 'Epochs' });

const PublicKey = z
  .strictObject({ epoch: uint(32), publicKey: z.string().length(130).describe('Uncompressed secp256k1 point, hex.') })
  .meta({ id: 'PublicKey' });

/** 1 to 64 bytes. */
const Nonce = z.string().regex(/^(?:0x)?(?:[0-9a-fA-F]{2}){1,64}$/, 'expected 1 to 64 bytes in hex');

export function epochs(app: App, { sequencer, allowance }: Modules): void {
  const { store } = sequencer;
  let waiting = 0;

  app.get(
    '/epochs',
    {
      config: { role: 'public' },
      schema: {
        summary: 'The epochs of keys, newest first',
        tags: ['epochs'],
        querystring: NoQuery,
        response: { 200: Epochs, ...problems('invalid_query') },
      },
    },
    async () => {
      const found = [...store.range('keysets', { limit: LISTED_MAX, reverse: true })];
      const entries = found.map(([epoch, record]) => entryOf(sequencer, epoch, record as KeysetRecord));
      return { active: meta(store, 'epoch').active, epochs: entries };
    },
  );

  app.get(
    '/epochs/:epoch/keyset',
    {
      config: { role: 'public' },
      schema: {
        summary: 'The public keys of an epoch, with the quote that binds them',
        tags: ['epochs'],
        params: z.strictObject({ epoch: integer(1, EPOCH_MAX) }),
        querystring: NoQuery,
        response: {
          200: AttestedKeyset,
          ...problems('invalid_path', 'invalid_query', 'epoch_not_found', 'attestation_unavailable'),
        },
      },
    },
    async (request, reply) => {
      const { epoch } = request.params;
      const record = keysetRecord(store, epoch);
      if (record === undefined) return refuse(reply, 'epoch_not_found');
      const { keyset, digest, leaf_index } = record;
      return { keyset, keyset_digest: digest, leaf_index, attestation: await attestation(sequencer, epoch) };
    },
  );

  app.get(
    '/attestation',
    {
      config: { role: 'public' },
      schema: {
        summary: 'A quote over the active keyset and your nonce',
        tags: ['epochs'],
        querystring: z.strictObject({ nonce: Nonce.optional() }),
        response: { 200: FreshAttestation, ...problems('invalid_query', 'rate_limited', 'attestation_unavailable') },
      },
    },
    async (request, reply) => {
      const { keyset, digest } = sequencer.epoch.keyset;
      const answer = { keyset, keyset_digest: digest };
      const { nonce } = request.query;
      if (nonce === undefined) return { ...answer, attestation: await sequencer.attestKeyset(), nonce: null };

      const allowed = allowance.take(peerOf(request.raw.socket).client, QUOTE_COST);
      if (!allowed.ok) return refuse(reply, 'rate_limited', { retry_after_s: allowed.retry_after_s });
      if (waiting >= NONCES_MAX) return refuse(reply, 'attestation_unavailable', { retry_after_s: 1 });
      const bytes = Uint8Array.fromHex(nonce.replace(/^0x/, ''));
      waiting += 1;
      try {
        return { ...answer, attestation: await sequencer.attestKeyset(bytes), nonce: hex(bytes) };
      } finally {
        waiting -= 1;
      }
    },
  );

  app.get(
    '/public-key',
    {
      config: { role: 'public' },
      schema: {
        summary: 'The key of an epoch that IPNS keys are encrypted to: secp256k1 for ecies, as hex',
        tags: ['epochs'],
        querystring: z.strictObject({ epoch: integer(1, EPOCH_MAX).optional() }),
        response: { 200: PublicKey, ...problems('invalid_query', 'epoch_not_found') },
      },
    },
    async (request, reply) => {
      const epoch = request.query.epoch ?? meta(store, 'epoch').active;
      const key = publicKey(store, epoch);
      return key === null ? refuse(reply, 'epoch_not_found') : { epoch, publicKey: key };
    },
  );
}

/** Of the active epoch and the announced one; the quotes of older ones have done their duty. */
function attestation(sequencer: Sequencer, epoch: number) {
  const { active } = meta(sequencer.store, 'epoch');
  if (epoch === active) return sequencer.attestKeyset();
  return epoch > active ? (sequencer.attestPending() ?? null) : null;
}

function entryOf(
  sequencer: Sequencer,
  epoch: number,
  { keyset, digest, leaf_index }: KeysetRecord,
): z.output<typeof EpochEntry> {
  const { store } = sequencer;
  const found = standing(store, epoch)!;
  const rotation = rotationRecord(store, epoch);
  return {
    epoch,
    status: found.state,
    keyset_digest: digest,
    leaf_index,
    not_before_ms: keyset.not_before_ms,
    admits: admits(found, sequencer.now()),
    grace_ends_at: found.grace_ends_ms === undefined ? null : timestamp(found.grace_ends_ms),
    backlog: sequencer.backlog(epoch),
    reason: rotation?.reason ?? 'genesis',
    first_height: rotation === undefined ? 0 : rotation.first_height,
  };
}
