import { Aes256Gcm, CipherSuite, HkdfSha256 } from '@hpke/core';
import { XWing } from '@hpke/hybridkem-x-wing';
import { decrypt, ECIES_CONFIG, PrivateKey } from 'eciesjs';
import { hexToBytes } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { describe, expect, it } from 'vitest';
import { envelopeInfo } from '../actors/digest.ts';
import { base64, fromBase64, hex } from '../actors/encoding.ts';
import { claimsAad } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import { encryptEnvelope } from './seal.ts';

const account = privateKeyToAccount('0x4646464646464646464646464646464646464646464646464646464646464646');
const seed = new Uint8Array(32).fill(5);
const secret = new Uint8Array(32).fill(6);
const pair = await new XWing().generateKeyPairDerand(seed);
const keyset = {
  chain_id: '31337',
  log_id: hex(new Uint8Array(64).fill(3)),
  epoch: 4,
  x_wing: base64(new Uint8Array(await new XWing().serializePublicKey(pair.publicKey))),
  ecies: base64(new PrivateKey(secret).publicKey.toBytes(false)),
} as Keyset;

const transfer = { type: 'eip1559', chainId: 31_337, nonce: 1, gas: 21_000n, maxFeePerGas: 8n } as const;
const raw = hexToBytes(await account.signTransaction({ ...transfer, maxPriorityFeePerGas: 2n }));

describe('encryptEnvelope', () => {
  it('seals to the X-Wing key with chain, epoch and claims bound', async () => {
    const timestamp = '2026-01-02T03:04:05Z';
    const envelope = await encryptEnvelope({ keyset, raw, asset_refs: ['x'], tx_id: 'é', timestamp });
    expect(envelope).toEqual({
      tx_id: 'é',
      scheme: 'x-wing',
      epoch: 4,
      encrypted_data: envelope.encrypted_data,
      asset_refs: ['x'],
      priority_fee: '2',
      risk_level: 0,
      requires_migration: false,
      timestamp,
    });
    const sealed = fromBase64(envelope.encrypted_data);
    const suite = new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
    const [enc, ct] = [sealed.slice(0, 1_120), sealed.slice(1_120)];
    const info = envelopeInfo(keyset);
    const opened = await suite.open({ recipientKey: pair.privateKey, enc, info }, ct, claimsAad(envelope, keyset));
    expect(new Uint8Array(opened)).toEqual(raw);
  });

  it('seals aad ‖ transaction in the eciesjs format, whatever its module-wide settings are', async () => {
    ECIES_CONFIG.isEphemeralKeyCompressed = true;
    ECIES_CONFIG.symmetricNonceLength = 12;
    const envelope = await encryptEnvelope({ keyset, raw, scheme: 'ecies', risk_level: 7, requires_migration: true });
    ECIES_CONFIG.isEphemeralKeyCompressed = false;
    ECIES_CONFIG.symmetricNonceLength = 16;
    const plaintext = decrypt(secret, fromBase64(envelope.encrypted_data));
    expect(plaintext.subarray(0, 64)).toEqual(claimsAad(envelope, keyset));
    expect(plaintext.subarray(64)).toEqual(raw);
  });

  it('never makes the same ciphertext twice', async () => {
    const [a, b] = [await encryptEnvelope({ keyset, raw }), await encryptEnvelope({ keyset, raw })];
    expect(a.encrypted_data).not.toBe(b.encrypted_data);
  });

  it.each([
    ['another chain', { chainId: 1 }, 'wrong_chain, signed for 1, not 31337'],
    ['no chain', { type: 'legacy', chainId: undefined, maxFeePerGas: undefined, gasPrice: 1n }, 'unprotected'],
  ])('refuses a transaction of %s', async (_, changes, message) => {
    const other = hexToBytes(await account.signTransaction({ ...transfer, ...changes } as never));
    await expect(encryptEnvelope({ keyset, raw: other })).rejects.toThrow(message);
  });

  it('refuses what the enclave would refuse, by name', async () => {
    await expect(encryptEnvelope({ keyset, raw: raw.subarray(1) })).rejects.toThrow('malformed_transaction');
    await expect(encryptEnvelope({ keyset: { ...keyset, ecies: null }, raw, scheme: 'ecies' })).rejects.toThrow(
      'x-wing',
    );
    await expect(encryptEnvelope({ keyset, raw, asset_refs: ['a', 'a'] })).rejects.toThrow('distinct');
    await expect(encryptEnvelope({ keyset, raw, risk_level: 10_001 })).rejects.toThrow('risk_level');
  });
});
