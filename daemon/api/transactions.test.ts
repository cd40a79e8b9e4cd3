import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Admitted, AdmittedItem, TransactionStatus } from '../../actors/admission.ts';
import { receiptDigest } from '../../actors/digest.ts';
import { base64, concat, fromBase64, fromHex } from '../../actors/encoding.ts';
import { CIPHERTEXT_BYTES_MAX, type Envelope, identify } from '../../actors/envelope.ts';
import { REFUSALS, type Refusal } from '../../actors/refusal.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import { enveloped, forged, type House, openHouse, signed } from '../../test/house.ts';
import { PROBLEMS, Problem, type ProblemCode } from './problem.ts';

const BY_HAND = { batch_interval_ms: 60_000, batch_size: 50 };

type Answer = { statusCode: number; headers: Record<string, unknown>; body: string; json(): unknown };

const post = (house: House, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  house.server.app.inject({
    method: 'POST',
    url: '/transactions',
    headers: { 'content-type': 'application/json', ...headers },
    payload: typeof body === 'string' || body instanceof Buffer ? body : JSON.stringify(body),
  });

function expectProblem(answer: Answer, code: ProblemCode, field?: string): Problem {
  const found = Problem.parse(answer.json());
  expect({ code: found.code, field: found.field }).toEqual({ code, field });
  expect(answer.statusCode).toBe(PROBLEMS[code][0]);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  return found;
}

let house: House;
let good: Envelope;
beforeAll(async () => {
  house = await openHouse({ sequencer: BY_HAND, api: { envelopes_max: 256, rate_limit_per_s: 0 } });
  good = await enveloped(house.sequencer);
});
afterAll(() => house?.[Symbol.asyncDispose]());

const status = async (id: string): Promise<TransactionStatus> => {
  const answer = await house.server.app.inject(`/transactions/${id}`);
  expect(answer.statusCode).toBe(200);
  return TransactionStatus.parse(answer.json());
};

/** Submits, cuts, and waits until the batch has joined the log. */
async function sequence(envelopes: readonly Envelope[]): Promise<TransactionStatus[]> {
  const answer = await post(house, envelopes);
  const items = (answer.json() as unknown[]).map((each) => AdmittedItem.parse(each));
  const height = await house.sequencer.createBatch();
  await house.journaled('batch_created', (data) => data.height === height);
  return Promise.all(items.map(({ envelope_id }) => status(envelope_id)));
}

describe('a submission', () => {
  it('of one gets a receipt that the keyset verifies; the same again gets the same', async () => {
    const { sequencer } = house;
    const envelope = { ...(await enveloped(sequencer)), tx_id: 'mine' };
    const answer = await post(house, envelope);
    expect(answer.statusCode).toBe(202);
    const admitted = Admitted.parse(answer.json());
    expect(admitted.tx_id).toBe('mine');
    expect(fromHex(admitted.envelope_id)).toEqual(identify(envelope, sequencer.epoch.log).envelope_id);
    const key = createPublicKey({
      key: Buffer.concat([
        Buffer.from('302a300506032b6570032100', 'hex'),
        fromBase64(sequencer.epoch.keyset.keyset.receipt),
      ]),
      format: 'der',
      type: 'spki',
    });
    const { algorithm: _, signature, ...promise } = admitted.receipt;
    expect(verify(null, receiptDigest(promise), key, fromBase64(signature))).toBe(true);
    const { tx_id: __, ...unlabelled } = envelope;
    const again = Admitted.parse((await post(house, { ...unlabelled, timestamp: '2026-01-01T00:00:00Z' })).json());
    expect(again).toEqual({ envelope_id: admitted.envelope_id, receipt: admitted.receipt });
    expect(await status(admitted.envelope_id)).toMatchObject({ tx_id: 'mine', status: 'pending', sealed: false });
  });

  it('of many is answered one by one', async () => {
    const envelopes = await Promise.all([enveloped(house.sequencer), enveloped(house.sequencer)]);
    const bad = { ...envelopes[1]!, priority_fee: '01' };
    const answer = await post(house, [envelopes[0], bad, { ...envelopes[1]!, epoch: 7 }, envelopes[1], null]);
    expect(answer.statusCode).toBe(202);
    const [first, second, third, fourth, fifth] = answer.json() as unknown[];
    expect(AdmittedItem.parse(first).status).toBe(202);
    expect(Problem.parse(second)).toMatchObject({ status: 400, code: 'invalid_body', field: '[1].priority_fee' });
    expect(Problem.parse(third)).toMatchObject({ status: 409, code: 'epoch_not_accepted', current_epoch: 1 });
    expect(AdmittedItem.parse(fourth).status).toBe(202);
    expect(Problem.parse(fifth)).toMatchObject({ code: 'invalid_body', field: '[4]' });
  });

  it('of which nothing was admitted has the status of the first', async () => {
    const answer = await post(house, [{ ...good, epoch: 7 }, {}]);
    expect(answer.statusCode).toBe(409);
    expect((answer.json() as Problem[]).map(({ status }) => status)).toEqual([409, 400]);
  });

  it('is followed until it is sealed, by its id and by its hash', async () => {
    const [state] = await sequence([await enveloped(house.sequencer, undefined, 'x-wing')]);
    expect(state).toMatchObject({ status: 'sequenced', sealed: expect.any(Boolean) });
    await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(state!.height!));
    const sealed = await status(state!.envelope_id);
    expect(sealed.sealed).toBe(true);
    const { transactions } = house.sequencer.batch(sealed.height!)!;
    const { tx_hash, sender, envelope_id } = transactions[sealed.index!]!;
    expect(sealed).toMatchObject({ tx_hash, sender, envelope_id });
    expect(await status(tx_hash)).toEqual(sealed);
  });

  it('that nobody made is not found', async () => {
    const { app } = house.server;
    expectProblem(await app.inject(`/transactions/0x${'0'.repeat(64)}`), 'transaction_not_found');
    for (const id of ['0x', `0x${'0'.repeat(63)}`, `0x${'A'.repeat(64)}`, '0'.repeat(64), '..']) {
      expectProblem(
        await app.inject(`/transactions/${id}`),
        id === '..' ? 'route_not_found' : 'invalid_path',
        id === '..' ? undefined : 'id',
      );
    }
    expectProblem(await app.inject(`/transactions/0x${'0'.repeat(64)}?x=1`), 'invalid_query', 'x');
  });
});

describe('a bad body', () => {
  const many = 'a'.repeat(200);
  it.each<[string, unknown, ProblemCode, string?]>([
    ['empty', '', 'empty_body'],
    ['not JSON', '{"epoch": nope}', 'invalid_json'],
    ['cut off', '{"epoch": 1', 'invalid_json'],
    ['not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'invalid_json'],
    ['a prototype', '{"__proto__": {"epoch": 1}}', 'invalid_json'],
    ['a key twice', '{"epoch": 1, "epoch": 2}', 'invalid_body', 'epoch'],
    ['a key twice in an array, spelled otherwise', '[{}, {"epoch": 1, "ep\\u006fch": 1}]', 'invalid_body', '[1].epoch'],
    ['a key twice beside colons in a string', '{"tx_id": "a:b:c", "tx_id": ":"}', 'invalid_body', 'tx_id'],
    ['null', 'null', 'empty_body'],
    ['a number', '5', 'invalid_body', ''],
    ['a text', '"x"', 'invalid_body', ''],
    ['an array of nothing', '[]', 'too_many_envelopes'],
    ['an array of 257', JSON.stringify(Array(257).fill(1)), 'too_many_envelopes'],
    ['nothing in it', '{}', 'invalid_body', 'epoch'],
    ['10 MB', `"${'x'.repeat(10 * 1024 * 1024)}"`, 'body_too_large'],
  ])('%s', async (_name, body, code, field) => {
    expectProblem(await post(house, body), code, field);
  });

  it.each<[string, Partial<Record<keyof Envelope | 'prioritee_fee' | 'constructor', unknown>>, string]>([
    ['wrong type', { epoch: '1' }, 'epoch'],
    ['negative', { epoch: -1 }, 'epoch'],
    ['not an integer', { risk_level: 0.5 }, 'risk_level'],
    ['too large', { risk_level: 10_001 }, 'risk_level'],
    ['unknown scheme', { scheme: 'rot13' }, 'scheme'],
    ['unknown key', { prioritee_fee: '1' }, 'prioritee_fee'],
    ['key of every object', { constructor: 1 }, 'constructor'],
    ['leading zero', { priority_fee: '01' }, 'priority_fee'],
    ['a number for a wide integer', { priority_fee: 1 }, 'priority_fee'],
    ['257 bits', { priority_fee: (2n ** 256n).toString() }, 'priority_fee'],
    ['hex for base64', { encrypted_data: '0x0' }, 'encrypted_data'],
    ['base64 without padding', { encrypted_data: 'AAAAAAA' }, 'encrypted_data'],
    ['no ciphertext', { encrypted_data: '' }, 'encrypted_data'],
    ['long ciphertext', { encrypted_data: base64(new Uint8Array(CIPHERTEXT_BYTES_MAX + 1)) }, 'encrypted_data'],
    ['17 assets', { asset_refs: Array.from({ length: 17 }, String) }, 'asset_refs'],
    ['one asset twice', { asset_refs: ['a', 'a'] }, 'asset_refs'],
    ['an asset without a name', { asset_refs: ['a', ''] }, 'asset_refs[1]'],
    ['a lone surrogate', { asset_refs: ['\ud800'] }, 'asset_refs[0]'],
    ['a long label', { tx_id: 'é'.repeat(65) }, 'tx_id'],
    ['not a time', { timestamp: 'yesterday' }, 'timestamp'],
    ['a long key', { [many]: 1 }, `${many.slice(0, 128)}…`],
  ])('%s', async (_name, change, field) => {
    expectProblem(await post(house, { ...good, ...change }), 'invalid_body', field);
  });

  it('says where it stops being JSON, and never what stands there', async () => {
    for (const body of ['{"secret": oops}', '{"secret" oops}', 'oops', '{"secret": 1} oops']) {
      const found = expectProblem(await post(house, body), 'invalid_json');
      expect(JSON.stringify(found)).not.toMatch(/secret|oops/);
    }
    expect(expectProblem(await post(house, '{"epoch" 1}'), 'invalid_json').position).toBe(9);
    expect(expectProblem(await post(house, '{"epoch": 1'), 'invalid_json').position).toBe(11);
  });

  it('has another media type, or none', async () => {
    expectProblem(await post(house, good, { 'content-type': 'text/plain' }), 'unsupported_media_type');
    expectProblem(await post(house, good, { 'content-encoding': 'gzip' }), 'unsupported_media_type');
    const { app } = house.server;
    expectProblem(await app.inject({ method: 'POST', url: '/transactions' }), 'empty_body');
    const payload = JSON.stringify(good);
    const utf8 = await post(house, payload, { 'content-type': 'application/json; charset=utf-8' });
    expect(utf8.statusCode).toBe(202);
    expectProblem(await app.inject({ method: 'POST', url: '/transactions?x=1', payload: good }), 'invalid_query', 'x');
  });

  it('was made for an epoch that is not there', async () => {
    const found = expectProblem(await post(house, { ...good, epoch: 2 }), 'epoch_not_accepted');
    expect(found).toMatchObject({ current_epoch: 1, keyset_digest: house.sequencer.epoch.keyset.digest });
  });
});

describe('a body that would take the thread for long', () => {
  const quotes = JSON.stringify('"'.repeat(70_000));
  it.each([
    ['too deep', `${'['.repeat(33)}1${']'.repeat(33)}`, /32 deep/],
    ['a megabyte of brackets', '['.repeat(1_000_000), /32 deep/],
    ['too many values', `[${'1,'.repeat(70_000)}1]`, /65536 marks/],
    ['too many keys', `{${Array.from({ length: 30_000 }, (_, i) => `"k${i}":1`).join(',')}}`, /65536 marks/],
    ['too many escaped quotes', quotes, /65536 marks/],
  ])('%s', async (_name, body, detail) => {
    expect(expectProblem(await post(house, body), 'invalid_body', '').detail).toMatch(detail);
  });

  it('is not one that is only large, or has odd strings', async () => {
    const odd = JSON.stringify(`"[{,:${'\\'.repeat(5)}`);
    expectProblem(await post(house, `{"tx_id": ${odd}}`), 'invalid_body', 'epoch');
    const nested = await post(house, `${'['.repeat(32)}${']'.repeat(32)}`);
    expect(nested.json()).toMatchObject([{ code: 'invalid_body', field: '[0]' }]);
    const asset_refs = Array.from({ length: 16 }, (_, i) => `${i}`.padEnd(100, 'x'));
    const full = { ...good, epoch: 99, tx_id: 'x'.repeat(100), asset_refs, timestamp: '2026-01-01T00:00:00Z' };
    const answer = await post(house, Array(256).fill(full));
    expect([answer.statusCode, (answer.json() as unknown[]).length]).toEqual([409, 256]);
  });
});

describe('what shows only when it is opened', () => {
  /** The envelope that a case makes of a good one, and why it is refused. */
  const cases: [string, (sequencer: House['sequencer']) => Promise<Envelope>, Refusal][] = [
    ['wrong key, x-wing', async (s) => toAnotherKey(s, 'x-wing'), 'unopenable'],
    ['wrong key, ecies', async (s) => toAnotherKey(s, 'ecies'), 'unopenable'],
    ['noise', async (s) => ({ ...(await enveloped(s)), encrypted_data: base64(randomBytes(300)) }), 'unopenable'],
    [
      'truncated ciphertext',
      async (s) => changed(await enveloped(s, undefined, 'x-wing'), (bytes) => bytes.slice(0, -1)),
      'unopenable',
    ],
    [
      'a ciphertext shorter than its key part',
      async (s) => changed(await enveloped(s), (bytes) => bytes.slice(0, 60)),
      'unopenable',
    ],
    ['bit flip, x-wing', async (s) => changed(await enveloped(s, undefined, 'x-wing'), flip), 'unopenable'],
    ['bit flip, ecies', async (s) => changed(await enveloped(s), flip), 'unopenable'],
    [
      'altered fee on a known ciphertext, x-wing',
      async (s) => ({ ...(await enveloped(s, undefined, 'x-wing')), priority_fee: '2000000000' }),
      'unopenable',
    ],
    [
      'altered fee on a known ciphertext, ecies',
      async (s) => ({ ...(await enveloped(s)), priority_fee: '2' }),
      'aad_mismatch',
    ],
    ['altered risk', async (s) => ({ ...(await enveloped(s)), risk_level: 9000 }), 'aad_mismatch'],
    ['altered assets', async (s) => ({ ...(await enveloped(s)), asset_refs: ['gold'] }), 'aad_mismatch'],
    ['altered migration', async (s) => ({ ...(await enveloped(s)), requires_migration: true }), 'aad_mismatch'],
    ['other scheme', async (s) => ({ ...(await enveloped(s)), scheme: 'x-wing' }), 'unopenable'],
    ['other chain', async (s) => forged(s, await signed({ chainId: 1 })), 'wrong_chain'],
    ['false claim', async (s) => forged(s, await signed(), { priority_fee: '5' }), 'claim_mismatch'],
    ['no transaction', async (s) => forged(s, new Uint8Array([1, 2, 3])), 'malformed_transaction'],
    ['a byte too many', async (s) => forged(s, concat(await signed(), new Uint8Array(1))), 'malformed_transaction'],
    ['no chain id', async (s) => forged(s, await unprotected()), 'unprotected'],
    ['a high s', async (s) => forged(s, withHighS(await signed())), 'bad_signature'],
    ['blob transaction', async (s) => forged(s, concat(new Uint8Array([3]), await signed())), 'unsupported_type'],
  ];

  it('is refused with its code and reason, takes no place, and is in the batch', async () => {
    const envelopes = await Promise.all(cases.map(([, make]) => make(house.sequencer)));
    const outcomes = await sequence([...envelopes, await enveloped(house.sequencer)]);
    expect(outcomes.slice(0, -1).map(({ reason }, i) => [cases[i]![0], reason])).toEqual(
      cases.map(([name, , reason]) => [name, reason]),
    );
    for (const { code, reason, ...rest } of outcomes.slice(0, -1)) {
      expect(code).toBe(REFUSALS[reason!][0]);
      expect(rest).toMatchObject({ status: 'refused', height: expect.any(Number) });
    }
    expect(outcomes.at(-1)).toMatchObject({ status: 'sequenced' });
    const batch = house.sequencer.batch(outcomes[0]!.height!)!;
    for (const { envelope_id, code, reason } of outcomes.slice(0, -1)) {
      expect(batch.refused).toContainEqual({ envelope_id, code, reason });
    }
  });

  it('a transaction that was sequenced before, in this batch or an earlier one', async () => {
    const raw = await signed();
    const [one, twin] = await sequence([await enveloped(house.sequencer, raw), await enveloped(house.sequencer, raw)]);
    expect([one!.status, twin!.status].sort()).toEqual(['refused', 'sequenced']);
    const [late] = await sequence([await enveloped(house.sequencer, raw, 'x-wing')]);
    expect(late).toMatchObject({ status: 'refused', reason: 'replayed', code: 8 });
  });
});

describe('a small house', () => {
  let small: House;
  beforeAll(async () => {
    small = await openHouse({
      sequencer: BY_HAND,
      mempool: { capacity: 2, retry_after_s: 7 },
      api: {
        envelopes_max: 4,
        rate_limit_per_s: 1,
        rate_limit_burst: 15,
        refused_penalty: 100,
        body_bytes_max: 262_144,
      },
    });
  });
  afterAll(() => small?.[Symbol.asyncDispose]());

  it('is full, charges for what is refused, and admits nothing while it drains', async () => {
    const envelopes = await Promise.all(Array.from({ length: 3 }, () => enveloped(small.sequencer)));
    const [bad] = envelopes;
    bad!.risk_level = 1;
    const answer = await post(small, envelopes);
    expect(answer.statusCode).toBe(202);
    expect(answer.headers['retry-after']).toBe('7');
    const items = answer.json() as Problem[];
    expect(items.map(({ status }) => status)).toEqual([202, 202, 503]);
    expect(expectProblem(await post(small, envelopes[2]), 'mempool_full').retry_after_s).toBe(7);
    expectProblem(await post(small, Array(5).fill(bad)), 'too_many_envelopes');
    expectProblem(await post(small, Array(100).fill(bad)), 'too_many_envelopes');
    expectProblem(await post(small, Array(4).fill(bad)), 'rate_limited');
    expect((await post(small, envelopes[1])).statusCode).toBe(202);

    await small.sequencer.createBatch();
    await small.journaled('batch_created');
    const limited = await post(small, envelopes[2]);
    // One refused envelope costs 100, less what was left of the burst, at one a second.
    expect(expectProblem(limited, 'rate_limited').retry_after_s).toBeGreaterThanOrEqual(85);
    expect(Number(limited.headers['retry-after'])).toBeLessThanOrEqual(101);
    expectProblem(await small.server.app.inject('/attestation?nonce=00'), 'rate_limited');

    small.sequencer.drain();
    const ready = await small.server.app.inject('/ready');
    // The first quote may still be on its way.
    expect([ready.statusCode, ready.json()]).toMatchObject([503, { ready: false }]);
    expect((ready.json() as { reasons: string[] }).reasons).toContain('draining');
  });
});

describe('a house that admits nothing', () => {
  let ailing: House;
  beforeAll(async () => {
    ailing = await openHouse({ store: { free_bytes_min: 2 ** 50 } });
  });
  afterAll(() => ailing?.[Symbol.asyncDispose]());

  it('says why, and when to come back', async () => {
    const envelope = await enveloped(ailing.sequencer);
    expect(expectProblem(await post(ailing, envelope), 'disk_low').retry_after_s).toBe(1);
    ailing.sequencer.drain();
    const answer = await post(ailing, envelope);
    expectProblem(answer, 'draining');
    expect(answer.headers['retry-after']).toBe('1');
    const many = await post(ailing, [envelope, envelope]);
    expect([many.statusCode, (many.json() as Problem[]).map(({ code }) => code)]).toEqual([
      503,
      ['draining', 'draining'],
    ]);
  });
});

/** The keyset's own keys for other purposes are well-formed, and wrong. */
async function toAnotherKey({ epoch }: House['sequencer'], scheme: 'x-wing' | 'ecies'): Promise<Envelope> {
  const { keyset } = epoch.keyset;
  const wrong = { ...keyset, x_wing: keyset.handover!, ecies: keyset.names };
  return encryptEnvelope({ keyset: wrong, raw: await signed(), scheme });
}

/** As before EIP-155. */
async function unprotected(): Promise<Uint8Array> {
  const account = privateKeyToAccount(generatePrivateKey());
  const to = '0x000000000000000000000000000000000000dEaD';
  return fromHex(await account.signTransaction({ type: 'legacy', to, gas: 21_000n, gasPrice: 10n ** 9n }));
}

/** s is what a signed transaction ends with. */
const withHighS = (raw: Uint8Array): Uint8Array => concat(raw.slice(0, -32), new Uint8Array(32).fill(0x80));

function changed(envelope: Envelope, change: (bytes: Uint8Array) => Uint8Array): Envelope {
  return { ...envelope, encrypted_data: base64(change(fromBase64(envelope.encrypted_data))) };
}

function flip(bytes: Uint8Array): Uint8Array {
  const flipped = bytes.slice();
  flipped[flipped.length - 20]! ^= 1;
  return flipped;
}
