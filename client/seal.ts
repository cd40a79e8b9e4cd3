// Encrypts a raw signed transaction to the keyset of an enclave, ready for `POST /transactions`. Wallets import it, so it
// runs in browsers: noble, @hpke and eciesjs, no node modules. What would certainly be refused later, at a cost, is
// refused here before it is sent. Verify the keyset first: encrypting to a key that no quote binds protects nothing.
import { Aes256Gcm, CipherSuite, HkdfSha256 } from '@hpke/core';
import { XWing } from '@hpke/hybridkem-x-wing';
import { encrypt } from 'eciesjs';
import { Config } from 'eciesjs/config';
import { envelopeInfo } from '../actors/digest.ts';
import { base64, concat, fromBase64 } from '../actors/encoding.ts';
import { type Claims, claimsAad, Envelope, type Scheme } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import { decodeTransaction, recoverSender } from '../actors/transaction.ts';

export interface SealRequest {
  readonly keyset: Keyset;
  /** The signed EIP-2718 bytes; the declared `priority_fee` is read from them. */
  readonly raw: Uint8Array;
  readonly scheme?: Scheme;
  readonly asset_refs?: readonly string[];
  readonly risk_level?: number;
  readonly requires_migration?: boolean;
  /** Your own label, sent in the clear. */
  readonly tx_id?: string;
  /** RFC 3339, sent in the clear. */
  readonly timestamp?: string;
}

/**
 * ```ts
 * const envelope = await encryptEnvelope({ keyset, raw: hexToBytes(await account.signTransaction(transaction)) });
 * await fetch(`${url}/transactions`, { method: 'POST', headers, body: JSON.stringify(envelope) });
 * ```
 *
 * @throws {TypeError} when the transaction is one that the enclave refuses, or the epoch takes no such scheme
 * @throws {z.ZodError} when another field is, by name
 */
export async function encryptEnvelope(request: SealRequest): Promise<Envelope> {
  const { keyset, raw, scheme = 'x-wing', tx_id, timestamp } = request;
  const claims: Claims = {
    scheme,
    epoch: keyset.epoch,
    asset_refs: [...(request.asset_refs ?? [])],
    priority_fee: priorityFee(raw, keyset),
    risk_level: request.risk_level ?? 0,
    requires_migration: request.requires_migration ?? false,
  };
  const aad = claimsAad(claims, keyset);
  const sealed = scheme === 'x-wing' ? await sealXWing(keyset, raw, aad) : sealEcies(keyset, raw, aad);
  return Envelope.parse({
    ...(tx_id === undefined ? {} : { tx_id }),
    ...claims,
    encrypted_data: base64(sealed),
    ...(timestamp === undefined ? {} : { timestamp }),
  });
}

function priorityFee(raw: Uint8Array, keyset: Keyset): string {
  const decoded = decodeTransaction(raw);
  if (!decoded.ok) throw new TypeError(`transaction refused: ${decoded.code}, ${decoded.detail}`);
  const { transaction } = decoded;
  if (transaction.chain_id !== BigInt(keyset.chain_id)) {
    throw new TypeError(`transaction refused: wrong_chain, signed for ${transaction.chain_id}, not ${keyset.chain_id}`);
  }
  if (recoverSender(transaction) === null) throw new TypeError('transaction refused: bad_signature, no sender');
  return transaction.max_priority_fee_per_gas.toString();
}

/** HPKE base mode (RFC 9180 §6.1): KEM X-Wing 0x647a, HKDF-SHA256, AES-256-GCM; enc ‖ ct. */
async function sealXWing(keyset: Keyset, raw: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
  const suite = new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
  const recipientPublicKey = await suite.kem.deserializePublicKey(fromBase64(keyset.x_wing));
  const { enc, ct } = await suite.seal({ recipientPublicKey, info: envelopeInfo(keyset) }, raw, aad);
  return concat(new Uint8Array(enc), new Uint8Array(ct));
}

/** The eciesjs format with its defaults, spelled out because its module-wide settings can be changed by anyone. */
function sealEcies(keyset: Keyset, raw: Uint8Array, aad: Uint8Array): Uint8Array {
  if (keyset.ecies === null) throw new TypeError(`epoch ${keyset.epoch} takes no ecies envelopes: use x-wing`);
  const config = new Config();
  config.ellipticCurve = 'secp256k1';
  config.isEphemeralKeyCompressed = false;
  config.isHkdfKeyCompressed = false;
  config.symmetricAlgorithm = 'aes-256-gcm';
  config.symmetricNonceLength = 16;
  return encrypt(fromBase64(keyset.ecies), concat(aad, raw), config);
}
