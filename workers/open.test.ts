import { encrypt } from 'eciesjs';
import { type Hex, hexToBytes, type TransactionSerializable } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { describe, expect, it } from 'vitest';
import { envelopeInfo } from '../actors/digest.ts';
import { base64, concat, fromBase64, fromHex, hex, utf8 } from '../actors/encoding.ts';
import { type Envelope, identify } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import { REFUSALS } from '../actors/refusal.ts';
import { encryptEnvelope, type SealRequest } from '../client/seal.ts';
import { eciesKey } from './ecies.ts';
import { type OpenTask, open, type Sealed } from './open.ts';
import { xwingKey } from './xwing.ts';

const account = privateKeyToAccount('0x4646464646464646464646464646464646464646464646464646464646464646');
const log = { chain_id: '31337', log_id: hex(new Uint8Array(64).fill(3)) };

function epochKeys(epoch: number) {
  const xwing = xwingKey(new Uint8Array(32).fill(2 * epoch + 1));
  const ecies = eciesKey(new Uint8Array(32).fill(2 * epoch + 2));
  const keyset = { ...log, epoch, x_wing: base64(xwing.publicKey), ecies: base64(ecies.publicKey) } as Keyset;
  return { keyset, keys: { epoch, x_wing: xwing.handle, ecies: ecies.handle } };
}
const [one, two] = [epochKeys(1), epochKeys(2)];

const transfer: TransactionSerializable = {
  type: 'eip1559',
  chainId: 31_337,
  nonce: 7,
  to: '0x3535353535353535353535353535353535353535',
  gas: 21_000n,
  maxFeePerGas: 100n,
  maxPriorityFeePerGas: 3n,
  value: 10n,
  data: '0xa9059cbb',
};
const sign = async (changes: Partial<TransactionSerializable> = {}): Promise<Uint8Array> =>
  hexToBytes(await account.signTransaction({ ...transfer, ...changes } as TransactionSerializable));

const seal = async (request: Partial<SealRequest> = {}) =>
  encryptEnvelope({ keyset: one.keyset, raw: await sign(), ...request });

/** As admission does: everything is recomputed from the envelope. */
function admitted(envelope: Envelope): Sealed {
  const { envelope_id, aad, ciphertext } = identify(envelope, log);
  const { scheme, epoch } = envelope;
  const info = envelopeInfo({ ...log, epoch });
  return {
    envelope_id: hex(envelope_id),
    scheme,
    epoch,
    ciphertext,
    aad,
    info,
    priority_fee: BigInt(envelope.priority_fee),
  };
}

const task = (...envelopes: Sealed[]): OpenTask => ({ chain_id: 31_337n, keys: [one.keys, two.keys], envelopes });
const codeOf = (sealed: Sealed): string => {
  const outcome = open(task(sealed))[0]!;
  return outcome.ok ? 'ok' : outcome.code;
};

/** An ecies envelope of any plaintext at all. */
async function eciesOf(plaintext: (aad: Uint8Array) => Uint8Array): Promise<Sealed> {
  const sealed = admitted(await seal({ scheme: 'ecies' }));
  return { ...sealed, ciphertext: encrypt(fromBase64(one.keyset.ecies!), plaintext(sealed.aad)) };
}

describe.each(['x-wing', 'ecies'] as const)('open, %s', (scheme) => {
  it('gives the transaction, its hash and its sender', async () => {
    const raw = await sign();
    const envelope = await seal({ scheme, raw, asset_refs: ['a', 'b'], risk_level: 9, tx_id: 'mine' });
    expect(envelope).toMatchObject({ scheme, epoch: 1, priority_fee: '3', tx_id: 'mine', risk_level: 9 });
    const sealed = admitted(envelope);
    const [outcome] = open(task(sealed));
    expect(outcome).toMatchObject({
      ok: true,
      envelope_id: sealed.envelope_id,
      raw,
      sender: account.address.toLowerCase(),
      type: 2,
      nonce: 7n,
      to: transfer.to,
      value: 10n,
      gas_limit: 21_000n,
      data: fromHex('0xa9059cbb'),
      max_fee_per_gas: 100n,
      max_priority_fee_per_gas: 3n,
    });
    expect(structuredClone(outcome)).toEqual(outcome);
  });

  it('opens all types, of two epochs, in order', async () => {
    const gasPrice = 9n;
    const fees = { maxFeePerGas: undefined, maxPriorityFeePerGas: undefined, gasPrice };
    const authorizationList = [
      await account.signAuthorization({ chainId: 0, nonce: 1, contractAddress: transfer.to as Hex }),
    ];
    const raws = [
      await sign({ type: 'legacy', ...fees } as never),
      await sign({ type: 'eip2930', ...fees } as never),
      await sign({ type: 'eip7702', authorizationList } as never),
      await sign({ to: undefined } as never),
    ];
    const envelopes = await Promise.all(raws.map((raw, i) => seal({ scheme, raw, keyset: [one, two][i % 2]!.keyset })));
    const outcomes = open(task(...envelopes.map(admitted)));
    expect(outcomes.map((outcome) => outcome.ok && outcome.raw)).toEqual(raws);
    expect(outcomes.map((outcome) => outcome.ok && outcome.type)).toEqual([0, 1, 4, 2]);
    expect(envelopes.map((envelope) => envelope.priority_fee)).toEqual(['9', '9', '3', '3']);
  });

  it('refuses a changed ciphertext, key or epoch, all alike', async () => {
    const sealed = admitted(await seal({ scheme }));
    const { ciphertext } = sealed;
    for (const at of [0, 40, 70, 90, 1_090, 1_110, 1_125].filter((i) => i < ciphertext.length)) {
      expect(codeOf({ ...sealed, ciphertext: ciphertext.with(at, ciphertext[at]! ^ 1) })).toBe('unopenable');
    }
    for (const bytes of [0, 1, 96, 97, 1_120, 1_135, ciphertext.length - 1].filter((n) => n < ciphertext.length)) {
      expect(codeOf({ ...sealed, ciphertext: ciphertext.slice(0, bytes) })).toBe('unopenable');
    }
    expect(codeOf({ ...sealed, epoch: 2 })).toBe('unopenable');
    expect(codeOf({ ...sealed, scheme: scheme === 'ecies' ? 'x-wing' : 'ecies' })).toBe('unopenable');
    expect(codeOf(sealed)).toBe('ok');
  });

  it('refuses public fields that were changed on the way', async () => {
    const envelope = await seal({ scheme, asset_refs: ['a', 'b'] });
    const changes: Partial<Envelope>[] = [
      { asset_refs: ['b', 'a'] },
      { asset_refs: ['a'] },
      { priority_fee: '4' },
      { risk_level: 1 },
      { requires_migration: true },
    ];
    const expected = scheme === 'ecies' ? 'aad_mismatch' : 'unopenable';
    for (const change of changes) expect(codeOf(admitted({ ...envelope, ...change }))).toBe(expected);
    expect(codeOf(admitted({ ...envelope, tx_id: 'other', timestamp: '2026-01-01T00:00:00Z' }))).toBe('ok');
  });

  it('lets no envelope touch another', async () => {
    const good = admitted(await seal({ scheme }));
    const bad = { ...good, ciphertext: new Uint8Array(2_000) };
    expect(open(task(bad, good, bad, good)).map((outcome) => outcome.ok)).toEqual([false, true, false, true]);
    expect(open(task())).toEqual([]);
  });
});

describe('open, what is inside', () => {
  const inside = async (raw: Uint8Array) => codeOf(await eciesOf((aad) => concat(aad, raw)));

  it('is refused with a code of its own', async () => {
    expect(await inside(await sign())).toBe('ok');
    expect(await inside(new Uint8Array(0))).toBe('malformed_transaction');
    expect(await inside(utf8('not a transaction'))).toBe('unsupported_type');
    expect(await inside(concat(await sign(), new Uint8Array(1)))).toBe('malformed_transaction');
    expect(await inside(concat(Uint8Array.of(3), (await sign()).subarray(1)))).toBe('unsupported_type');
    expect(await inside(await sign({ chainId: 1 }))).toBe('wrong_chain');
    expect(await inside(await sign({ maxPriorityFeePerGas: 4n } as never))).toBe('claim_mismatch');
    const legacy = { type: 'legacy', gasPrice: 3n, maxFeePerGas: undefined, maxPriorityFeePerGas: undefined };
    expect(await inside(await sign(legacy as never))).toBe('ok');
    expect(await inside(await sign({ ...legacy, gasPrice: 4n } as never))).toBe('claim_mismatch');
    expect(await inside(await sign({ ...legacy, chainId: undefined } as never))).toBe('unprotected');
  });

  it('is refused without a possible sender', async () => {
    const raw = await sign();
    // r = 5 is no x coordinate of a point. s and its prefix are the last 33 bytes, r and its prefix those before.
    const fields = raw.slice(2, -66);
    const s = raw.slice(-33);
    const payload = concat(fields, Uint8Array.of(5), s);
    expect(raw.subarray(0, 2)).toEqual(Uint8Array.of(2, 0xf8));
    expect(await inside(concat(Uint8Array.of(2, 0xf8, payload.length - 1), payload.subarray(1)))).toBe('bad_signature');
  });

  it('is refused under an aad that is missing, cut or foreign', async () => {
    const raw = await sign();
    expect(codeOf(await eciesOf(() => raw))).toBe('aad_mismatch');
    expect(codeOf(await eciesOf(() => new Uint8Array(0)))).toBe('aad_mismatch');
    expect(codeOf(await eciesOf((aad) => aad.subarray(1)))).toBe('aad_mismatch');
    expect(codeOf(await eciesOf((aad) => concat(aad.with(9, aad[9]! ^ 1), raw)))).toBe('aad_mismatch');
    expect(codeOf(await eciesOf((aad) => aad))).toBe('malformed_transaction');
  });

  it('has a number for each code', () => {
    const codes = [
      'unopenable',
      'aad_mismatch',
      'malformed_transaction',
      'unsupported_type',
      'unprotected',
      'wrong_chain',
      'bad_signature',
      'claim_mismatch',
    ];
    for (const code of codes) expect(Object.keys(REFUSALS)).toContain(code);
  });
});

describe('open, our own mistakes', () => {
  it('throws when a key is missing, before anything is judged', async () => {
    const sealed = admitted(await seal());
    expect(() => open({ ...task(sealed), keys: [two.keys] })).toThrow('no opening keys for epoch 1');
    const ecies = admitted(await seal({ scheme: 'ecies' }));
    expect(() => open({ ...task(ecies), keys: [{ ...one.keys, ecies: null }] })).toThrow('no ecies key for epoch 1');
  });
});
