// An envelope: an encrypted transaction as a client submits it (DESIGN §3). This schema validates `POST /transactions`,
// types the client library and is printed in the OpenAPI document; the functions compute what identifies and binds it.
import { z } from 'zod';
import { type Destination, envelopeAad, envelopeId, sha512 } from './digest.ts';
import { base64UpTo, decimal, fromBase64, uint, utf8 } from './encoding.ts';
import { rootOf } from './tree.ts';

/** Numbered as in the aad of §4. */
export const SCHEMES = ['x-wing', 'ecies'] as const;
export type Scheme = (typeof SCHEMES)[number];

export const schemeNumber = (scheme: Scheme): number => SCHEMES.indexOf(scheme);

/** With the base64 of its ciphertext and every field at its limit, an envelope stays below 128 KiB of JSON. */
export const CIPHERTEXT_BYTES_MAX = 96_256;
export const ASSET_REFS_MAX = 16;
export const LABEL_BYTES_MAX = 128;
export const RISK_MAX = 10_000;

/** Unicode without lone surrogates, so that its UTF-8 bytes are exact, within a byte limit. */
const label = (bytesMax: number) =>
  z
    .string()
    .max(bytesMax)
    .refine(
      (text) => text.isWellFormed() && utf8(text).length <= bytesMax,
      `expected at most ${bytesMax} bytes of UTF-8`,
    );

export const TxId = label(LABEL_BYTES_MAX);
export const AssetId = label(LABEL_BYTES_MAX).min(1);
export const AssetRefs = z
  .array(AssetId)
  .max(ASSET_REFS_MAX)
  .refine((refs) => new Set(refs).size === refs.length, 'expected distinct asset ids')
  .meta({ uniqueItems: true });

export const RiskLevel = z.int().min(0).max(RISK_MAX);

export const Envelope = z
  .strictObject({
    tx_id: TxId.optional().describe('Your own label; echoed, never trusted, signed by nobody.'),
    scheme: z.enum(SCHEMES).default('x-wing').describe('x-wing (post-quantum, the default) or ecies (secp256k1).'),
    epoch: uint(32).describe('The keyset that encrypted_data is encrypted to; active and grace are accepted.'),
    encrypted_data: base64UpTo(CIPHERTEXT_BYTES_MAX)
      .min(4, 'expected a ciphertext')
      .describe('Ciphertext of a raw signed EIP-2718 transaction, bound to the fields below.'),
    asset_refs: AssetRefs.default([]).describe('Ids of the assets that the transaction touches.'),
    priority_fee: decimal(256).describe('Wei per gas; equals maxPriorityFeePerGas (or gasPrice) of the transaction.'),
    risk_level: RiskLevel.default(0).describe('A hint from 0 to 10,000; never above the assessed risk of the assets.'),
    requires_migration: z.boolean().default(false).describe('Belongs to the running migration.'),
    timestamp: z.iso.datetime({ offset: true }).max(40).optional().describe('Informational, signed by nobody.'),
  })
  .meta({ id: 'Envelope' });

export type Envelope = z.output<typeof Envelope>;
export type EnvelopeInput = z.input<typeof Envelope>;

export interface Identity {
  readonly envelope_id: Uint8Array;
  readonly aad: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly ciphertext_sha512: Uint8Array;
}

/** `refs_root` of §4: the tree over the ids' UTF-8 bytes, in the client's order. */
export function refsRoot(asset_refs: readonly string[]): Uint8Array {
  return rootOf(asset_refs.map(utf8));
}

/** What an envelope's authenticated claims are, in the sense of the aad. */
export type Claims = Pick<Envelope, 'scheme' | 'epoch' | 'priority_fee' | 'risk_level' | 'requires_migration'> & {
  readonly asset_refs: readonly string[];
};

export function claimsAad(claims: Claims, log: Omit<Destination, 'epoch'>): Uint8Array {
  return envelopeAad({
    chain_id: log.chain_id,
    log_id: log.log_id,
    epoch: claims.epoch,
    scheme: schemeNumber(claims.scheme),
    refs_root: refsRoot(claims.asset_refs),
    priority_fee: claims.priority_fee,
    risk_level: claims.risk_level,
    requires_migration: claims.requires_migration,
  });
}

/** The envelope's id and what it is made of. `tx_id` and `timestamp` are not part of it: nobody signs them. */
export function identify(envelope: Envelope, log: Omit<Destination, 'epoch'>): Identity {
  const ciphertext = fromBase64(envelope.encrypted_data);
  const ciphertext_sha512 = sha512(ciphertext);
  const aad = claimsAad(envelope, log);
  return { envelope_id: envelopeId(aad, ciphertext_sha512), aad, ciphertext, ciphertext_sha512 };
}
