import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { envelopeAad, envelopeId, sha512 } from './digest.ts';
import { base64, hex, utf8 } from './encoding.ts';
import { AssetId, AssetRefs, CIPHERTEXT_BYTES_MAX, claimsAad, Envelope, identify, refsRoot, TxId } from './envelope.ts';
import { EMPTY_ROOT, leafHash, nodeHash } from './tree.ts';

const log = { chain_id: '31337', log_id: hex(sha512(utf8('log'))) };
const input = { epoch: 1, encrypted_data: base64(utf8('ciphertext')), priority_fee: '1000000000' };
const envelope = Envelope.parse({ ...input, asset_refs: ['a', 'b'] });

describe('an envelope', () => {
  it('has defaults for what may be left out', () => {
    expect(Envelope.parse(input)).toEqual({
      ...input,
      scheme: 'x-wing',
      asset_refs: [],
      risk_level: 0,
      requires_migration: false,
    });
  });

  it.each<[string, object]>([
    ['an unknown key', { sender: '0x00' }],
    ['an unknown scheme', { scheme: 'rsa' }],
    ['no epoch', { epoch: undefined }],
    ['a negative epoch', { epoch: -1 }],
    ['an epoch as a string', { epoch: '1' }],
    ['an empty ciphertext', { encrypted_data: '' }],
    ['a ciphertext without padding', { encrypted_data: 'AA' }],
    ['too long a ciphertext', { encrypted_data: base64(new Uint8Array(CIPHERTEXT_BYTES_MAX + 1)) }],
    ['a fee as a number', { priority_fee: 1 }],
    ['a fee with a leading zero', { priority_fee: '01' }],
    ['a fee of 257 bits', { priority_fee: (2n ** 256n).toString() }],
    ['a risk above 10,000', { risk_level: 10_001 }],
    ['a broken risk', { risk_level: 0.5 }],
    ['a flag as a number', { requires_migration: 1 }],
    ['17 references', { asset_refs: Array.from({ length: 17 }, (_, i) => `asset ${i}`) }],
    ['a reference twice', { asset_refs: ['a', 'b', 'a'] }],
    ['an empty reference', { asset_refs: [''] }],
    ['a label of 129 bytes', { tx_id: 'x'.repeat(129) }],
    ['a label of 65 characters and 130 bytes', { tx_id: 'é'.repeat(65) }],
    ['a lone surrogate', { tx_id: '\ud800' }],
    ['a time that is none', { timestamp: 'today' }],
  ])('can not have %s', (_, other) => {
    expect(Envelope.safeParse({ ...input, ...other }).success).toBe(false);
  });

  it('at every limit fits 128 KiB', () => {
    const largest = {
      tx_id: 'x'.repeat(128),
      scheme: 'x-wing',
      epoch: 2 ** 32 - 1,
      encrypted_data: base64(new Uint8Array(CIPHERTEXT_BYTES_MAX)),
      asset_refs: Array.from({ length: 16 }, (_, i) => `${i}`.padEnd(128, 'x')),
      priority_fee: (2n ** 256n - 1n).toString(),
      risk_level: 10_000,
      requires_migration: false,
      timestamp: '2026-06-01T12:00:00.123456789+00:00',
    };
    expect(Envelope.safeParse(largest).success).toBe(true);
    expect(JSON.stringify(largest).length).toBeLessThanOrEqual(128 * 1024);
  });

  it('has labels that are exact in UTF-8', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const bytes = utf8(text);
        const exact = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) === text;
        expect(TxId.safeParse(text).success).toBe(exact && bytes.length <= 128);
        expect(AssetId.safeParse(text).success).toBe(exact && bytes.length <= 128 && text !== '');
      }),
    );
  });

  it('has references that are told apart by bytes, not by looks', () => {
    expect(AssetRefs.safeParse(['é', 'e\u0301']).success).toBe(true);
  });
});

describe('the identity of an envelope', () => {
  it('is over claims and ciphertext, as DESIGN §4 has it', () => {
    const { envelope_id, aad, ciphertext, ciphertext_sha512 } = identify(envelope, log);
    expect(ciphertext).toEqual(utf8('ciphertext'));
    expect(ciphertext_sha512).toEqual(sha512(ciphertext));
    const refs_root = nodeHash(leafHash(utf8('a')), leafHash(utf8('b')));
    expect(refsRoot(['a', 'b'])).toEqual(refs_root);
    expect(refsRoot([])).toEqual(EMPTY_ROOT);
    const { epoch, priority_fee, risk_level, requires_migration } = envelope;
    expect(aad).toEqual(
      envelopeAad({ ...log, epoch, priority_fee, risk_level, requires_migration, scheme: 0, refs_root }),
    );
    expect(envelope_id).toEqual(envelopeId(aad, ciphertext_sha512));
    expect(envelope_id).toHaveLength(32);
  });

  it('changes with every claim, the ciphertext and the log, and with nothing else', () => {
    const others: object[] = [
      { scheme: 'ecies' },
      { epoch: 2 },
      { asset_refs: ['b', 'a'] },
      { asset_refs: ['a'] },
      { asset_refs: ['ab'] },
      { priority_fee: '1000000001' },
      { risk_level: 1 },
      { requires_migration: true },
      { encrypted_data: base64(utf8('ciphertexT')) },
    ];
    const id = (other: object, of = log) => hex(identify(Envelope.parse({ ...envelope, ...other }), of).envelope_id);
    const ids = [id({}), ...others.map((other) => id(other)), id({}, { ...log, chain_id: '1' })];
    ids.push(id({}, { ...log, log_id: hex(sha512(utf8('other'))) }));
    expect(new Set(ids).size).toBe(ids.length);
    expect(id({ tx_id: 'label', timestamp: '2026-06-01T12:00:00Z' })).toBe(id({}));
  });

  it('can not be met by moving a reference into another', () => {
    const refs = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 3 }), { maxLength: 4 });
    fc.assert(
      fc.property(refs, refs, (a, b) => {
        const same = JSON.stringify(a) === JSON.stringify(b);
        const aad = (asset_refs: string[]) => hex(claimsAad({ ...envelope, asset_refs }, log));
        expect(aad(a) === aad(b)).toBe(same);
      }),
    );
  });
});
