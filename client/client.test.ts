// The client library against a running daemon over HTTP, and against daemons that lie: every answer that is altered, late,
// too large or of someone else has its code, and nothing that a server says makes a function throw or wait for ever.
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type House, openHouse, signed } from '../test/house.ts';
import {
  checkReceipt,
  confirmTransaction,
  encryptEnvelope,
  envelopeIdOf,
  type FreshAttestation,
  fetchBatch,
  fetchConsistency,
  fetchInclusion,
  fetchKeyset,
  followTransaction,
  type Keyset,
  orThrow,
  type Receipt,
  submit,
  VerificationPolicy,
  type VerificationPolicyInput,
  verifyConsistency,
  verifyInclusion,
  verifyKeyset,
} from './index.ts';

const simulated = { allow_simulated: true } as const;
const DAY_MS = 86_400_000;

let house: House;
let url: string;
let keyset: Keyset;
const servers: Server[] = [];

beforeAll(async () => {
  house = await openHouse({ sequencer: { batch_interval_ms: 20 }, api: { rate_limit_burst: 10_000 } });
  url = (await house.server.listen()).url;
  keyset = orThrow(await fetchKeyset(url, simulated)).keyset;
});
afterAll(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await house?.[Symbol.asyncDispose]();
});

/** A server that answers as it is told. @returns its URL */
async function liar(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/behind/a/proxy`;
}

const saying = (value: unknown, status = 200) =>
  liar((_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  });

const codeOf = (outcome: { ok: true } | { ok: false; code: string; field: string }) =>
  outcome.ok ? 'ok' : `${outcome.code} ${outcome.field}`;

describe('fetchKeyset', () => {
  const nonce = new Uint8Array(32).fill(7);
  let answer: FreshAttestation;
  beforeAll(async () => {
    answer = (await (await fetch(`${url}/attestation?nonce=${nonce.toHex()}`)).json()) as FreshAttestation;
  });

  const judge = (
    edit: (copy: FreshAttestation) => void = () => {},
    policy: VerificationPolicyInput = {},
    now_ms = 0,
  ) => {
    const copy = structuredClone(answer);
    edit(copy);
    const at = now_ms === 0 ? {} : { now_ms };
    return codeOf(verifyKeyset(copy, { ...simulated, nonce, policy: VerificationPolicy.parse(policy), ...at }));
  };

  it('gives the keys of the enclave, and says what they are worth', async () => {
    const found = orThrow(await fetchKeyset(url, simulated));
    expect(found.keyset).toEqual(house.sequencer.epoch.keyset.keyset);
    expect(found).toMatchObject({ simulated: true, tcb_status: 'UpToDate' });
    expect(found.keyset_digest).toBe(house.sequencer.epoch.keyset.digest);
    expect(found.not_after_ms).toBeGreaterThan(Date.now());
    expect(found.notes).toHaveLength(1);
  });

  it('refuses a simulated enclave unless told otherwise', async () => {
    expect(codeOf(await fetchKeyset(url))).toBe('simulated_evidence attestation.quote');
  });

  it('judges the quote that has no nonce too', async () => {
    const plain = await (await fetch(`${url}/epochs/1/keyset`)).json();
    expect(codeOf(verifyKeyset(plain, simulated))).toBe('ok');
    expect(codeOf(verifyKeyset(plain, { ...simulated, nonce }))).toBe('nonce_mismatch nonce');
    expect(codeOf(verifyKeyset({ ...plain, nonce: `0x${nonce.toHex()}` }, { ...simulated, nonce }))).toBe(
      'report_data_mismatch attestation.report_data',
    );
    expect(codeOf(verifyKeyset({ ...plain, attestation: null }, simulated))).toBe('attestation_missing attestation');
  });

  it('names what was altered', () => {
    expect(judge()).toBe('ok');
    expect(judge((copy) => Object.assign(copy.keyset, { epoch: 2 }))).toBe('keyset_digest_mismatch keyset_digest');
    expect(judge((copy) => Object.assign(copy.keyset, { x_wing: 'AAAA' }))).toBe('malformed keyset.x_wing');
    expect(judge((copy) => Object.assign(copy, { nonce: `0x${'11'.repeat(32)}` }))).toBe('nonce_mismatch nonce');
    expect(judge((copy) => Object.assign(copy.attestation, { simulated: false }))).toBe(
      'simulated_mismatch attestation.simulated',
    );
    expect(judge((copy) => Object.assign(copy.attestation, { not_after_ms: copy.attestation.not_after_ms - 1 }))).toBe(
      'report_data_mismatch attestation.report_data',
    );
  });

  it('refuses other keys under the same quote, even when their digest is repaired', async () => {
    // Of another genesis: those of one are founded once, with one root.
    const other = await openHouse({ chain: { chain_id: 5n } });
    try {
      const theirs = other.sequencer.epoch.keyset;
      const swapped = judge((copy) => Object.assign(copy, { keyset: theirs.keyset, keyset_digest: theirs.digest }));
      expect(swapped).toBe('report_data_mismatch attestation.report_data');
    } finally {
      await other[Symbol.asyncDispose]();
    }
  });

  it('refuses what is expired, lives too long, or begins later', () => {
    const { not_after_ms } = answer.attestation;
    expect(judge(undefined, {}, not_after_ms - 1)).toBe('ok');
    expect(judge(undefined, {}, not_after_ms)).toBe('keyset_expired attestation.not_after_ms');
    expect(judge(undefined, {}, answer.keyset.not_before_ms - 300_001)).toBe(
      'keyset_not_yet_valid keyset.not_before_ms',
    );
    const long = Date.now() + DAY_MS + 600_000;
    expect(judge((copy) => Object.assign(copy.attestation, { not_after_ms: long }))).toBe(
      'not_after_invalid attestation.not_after_ms',
    );
    expect(judge(undefined, {}, Number.NaN)).toBe('now_invalid now_ms');
  });

  it('holds the keyset against the policy', () => {
    const wrong = `0x${'00'.repeat(64)}`;
    expect(judge(undefined, { chain_id: 1 })).toBe('wrong_chain keyset.chain_id');
    expect(judge(undefined, { log_id: wrong })).toBe('wrong_log keyset.log_id');
    expect(judge(undefined, { key_sources: ['dstack'] })).toBe('key_source_refused keyset.key_source');
    expect(judge(undefined, { keysets: [wrong] })).toBe('keyset_refused keyset');
    expect(judge(undefined, { measurements: [{ mrtd: `0x${'00'.repeat(48)}` }] })).toBe(
      'measurements_refused attestation.quote',
    );
    const { chain_id, log_id } = answer.keyset;
    const keysets = [answer.keyset_digest];
    expect(judge(undefined, { chain_id, log_id, keysets, key_sources: ['simulator'] })).toBe('ok');
  });

  it('is not satisfied with the answer to another nonce', async () => {
    const replay = await saying(answer);
    expect(codeOf(await fetchKeyset(replay, simulated))).toBe('nonce_mismatch nonce');
    expect(codeOf(await fetchKeyset(replay, { ...simulated, nonce }))).toBe('ok');
    await expect(fetchKeyset(url, { nonce: new Uint8Array(65) })).rejects.toThrow(RangeError);
  });
});

describe('a transaction', () => {
  it('is submitted, followed and found in a batch that verifies', async () => {
    const envelope = await encryptEnvelope({ keyset, raw: await signed(), tx_id: 'mine' });
    const { envelope_id, receipt } = orThrow(await submit(url, envelope, { keyset }));
    expect(envelope_id).toBe(envelopeIdOf(envelope, keyset));
    expect(orThrow(await submit(url, envelope, { keyset })).receipt).toEqual(receipt);
    const confirmed = orThrow(await confirmTransaction(url, envelope_id, { ...simulated, receipt }));
    expect(confirmed.transaction).toMatchObject({ envelope_id, tx_id: 'mine' });
    expect(confirmed.file.transactions[confirmed.index]).toBe(confirmed.transaction);
    expect(confirmed.verdict).toMatchObject({ status: 'sealed', simulated: true, log_id: keyset.log_id });
    const late = { ...receipt, order_by_height: '-1' };
    expect(codeOf(await confirmTransaction(url, envelope_id, { ...simulated, receipt: late }))).toMatch(
      'promise_broken',
    );
    expect(codeOf(await confirmTransaction(url, envelope_id))).toMatch('simulated_evidence');
  });

  it('is told why it was refused, by the batch', async () => {
    const raw = await signed();
    const sent = [
      orThrow(await submit(url, await encryptEnvelope({ keyset, raw }), { keyset })),
      orThrow(await submit(url, await encryptEnvelope({ keyset, raw }), { keyset })),
    ];
    const ends = await Promise.all(sent.map(({ envelope_id }) => confirmTransaction(url, envelope_id, simulated)));
    const refused = ends.find((end) => !end.ok);
    expect(ends.filter((end) => end.ok)).toHaveLength(1);
    expect(refused).toMatchObject({ code: 'transaction_refused', message: 'replayed', refusal: { code: 8 } });
  });

  it('ends what it waits for', async () => {
    const id = `0x${'12'.repeat(32)}`;
    const pending = await liar((_, response) => {
      response.end(JSON.stringify({ envelope_id: id, status: 'pending', sealed: false, receipt: RECEIPT }));
    });
    const busy = await saying({ code: 'feed_full', status: 503, title: 'Busy.', retry_after_s: 3_600 }, 503);
    const silent = await liar(() => {});
    expect(await followTransaction(pending, id, { timeout_ms: 250 })).toMatchObject({
      code: 'timeout',
      message: 'still pending after 250 ms',
    });
    for (const server of [busy, silent, 'http://127.0.0.1:1']) {
      expect(await followTransaction(server, id, { timeout_ms: 150 })).toMatchObject({ code: 'timeout' });
    }
    const abort = AbortSignal.timeout(100);
    expect(await followTransaction(pending, id, { signal: abort })).toMatchObject({ code: 'aborted' });
    expect(await followTransaction(url, id)).toMatchObject({
      code: 'problem',
      problem: { code: 'transaction_not_found', status: 404 },
    });
    await expect(followTransaction(url, 'no id')).rejects.toThrow(TypeError);
    await expect(followTransaction(url, id, { timeout_ms: 0 })).rejects.toThrow(RangeError);
  });

  it('cannot be confirmed by a daemon that points to another batch or another envelope', async () => {
    const envelope = await encryptEnvelope({ keyset, raw: await signed() });
    const { envelope_id, receipt } = orThrow(await submit(url, envelope, { keyset }));
    const { file, verdict } = orThrow(await confirmTransaction(url, envelope_id, simulated));
    const id = `0x${'34'.repeat(32)}`;
    let height = verdict.height;
    const crook = await liar(({ url: path }, response) => {
      const status = { envelope_id: id, status: 'sequenced', height, sealed: true, receipt };
      response.end(JSON.stringify(path?.includes('/transactions/') ? status : file));
    });
    expect(codeOf(await confirmTransaction(crook, id, simulated))).toMatch('envelope_missing');
    expect(codeOf(await confirmTransaction(crook, envelope_id, simulated))).toBe('id_mismatch envelope_id');
    height += 1;
    expect(codeOf(await confirmTransaction(crook, id, simulated))).toBe('height_mismatch height');
  });
});

const RECEIPT: Receipt = {
  log_id: `0x${'00'.repeat(64)}`,
  envelope_id: `0x${'00'.repeat(32)}`,
  admission_sequence: '0',
  timestamp_ms: 0,
  epoch: 1,
  order_by_height: '0',
  algorithm: 'Ed25519',
  signature: `${'A'.repeat(86)}==`,
};

describe('checkReceipt', () => {
  it('names what was altered', async () => {
    const envelope = await encryptEnvelope({ keyset, raw: await signed() });
    const { receipt } = orThrow(await submit(url, envelope, { keyset }));
    const check = (edit: Partial<Receipt>, of = keyset) => codeOf(checkReceipt({ ...receipt, ...edit }, of, envelope));
    expect(check({})).toBe('ok');
    expect(codeOf(checkReceipt(receipt, keyset))).toBe('ok');
    const { signature } = RECEIPT;
    for (const edit of [{ admission_sequence: '99' }, { timestamp_ms: 1 }, { order_by_height: '99' }, { signature }]) {
      expect(check(edit)).toBe('receipt_signature_invalid signature');
    }
    expect(check({ log_id: RECEIPT.log_id })).toBe('receipt_log_mismatch log_id');
    expect(check({ epoch: 2 })).toBe('receipt_epoch_mismatch epoch');
    expect(check({ envelope_id: RECEIPT.envelope_id })).toBe('receipt_envelope_mismatch envelope_id');
    expect(check({ signature: 'AAAA' })).toBe('malformed signature');
    expect(check({}, { ...keyset, receipt: RECEIPT.signature })).toBe('receipt_signature_invalid signature');
    expect(codeOf(checkReceipt(null, keyset))).toBe('malformed $');
  });

  it('is asked before a receipt is believed', async () => {
    const envelope = await encryptEnvelope({ keyset, raw: await signed() });
    const { envelope_id, receipt } = orThrow(await submit(url, envelope, { keyset }));
    const forged = await saying({ envelope_id, receipt: { ...receipt, order_by_height: '7' }, more: 1 }, 202);
    expect(codeOf(await submit(forged, envelope, { keyset }))).toBe('receipt_signature_invalid receipt.signature');
  });
});

describe('the log', () => {
  it('holds batches and keysets, and grows', async () => {
    const send = async () => {
      const { envelope_id } = orThrow(
        await submit(url, await encryptEnvelope({ keyset, raw: await signed() }), { keyset }),
      );
      const { log_id, size, root, height, batch_id } = orThrow(
        await confirmTransaction(url, envelope_id, simulated),
      ).verdict;
      return { log_id, size: size!, root: root!, height, batch_id };
    };
    const earlier = await send();
    const later = await send();
    expect(orThrow(await fetchConsistency(url, earlier, later))).toEqual({ ok: true });
    const batch = { kind: 'batch', digest: earlier.batch_id, height: earlier.height } as const;
    expect(codeOf(await fetchInclusion(url, batch, later))).toBe('ok');
    const { digest } = house.sequencer.epoch.keyset;
    expect(await fetchInclusion(url, { kind: 'epoch', digest, leaf_index: 0 }, later)).toEqual({
      ok: true,
      leaf_index: 0,
    });

    const root = `0x${'00'.repeat(64)}`;
    const get = async (path: string) => (await fetch(`${url}/log/${path}`)).json();
    const grown = await get(`consistency?from=${earlier.size}&to=${later.size}`);
    const growth = (edit: object, from = earlier, to = later) =>
      codeOf(verifyConsistency({ ...grown, ...edit }, from, to));
    expect(growth({ more: 1 })).toBe('ok');
    expect(growth({ from: earlier.size + 1 })).toBe('head_mismatch from');
    expect(growth({ from_root: root })).toBe('head_mismatch from_root');
    expect(growth({ from_root: root }, { ...earlier, root })).toBe('consistency_invalid consistency_path');
    expect(growth({ to: later.size + 1 })).toBe('head_mismatch to');
    expect(growth({ to_root: root })).toBe('head_mismatch to_root');
    expect(growth({ consistency_path: [] })).toBe('consistency_invalid consistency_path');
    expect(growth({ consistency_path: 1 })).toBe('malformed consistency_path');
    expect(growth({}, earlier, { ...later, log_id: root })).toBe('log_mismatch log_id');

    const proof = await get(`inclusion?height=${earlier.height}&size=${later.size}`);
    const inclusion = (edit: object) =>
      codeOf(verifyInclusion({ ...proof, ...edit }, later, 'batch', earlier.batch_id));
    expect(inclusion({})).toBe('ok');
    expect(inclusion({ size: 1 })).toBe('head_mismatch size');
    expect(inclusion({ root })).toBe('head_mismatch root');
    expect(inclusion({ kind: 'epoch' })).toBe('leaf_mismatch kind');
    expect(inclusion({ digest: root })).toBe('leaf_mismatch digest');
    expect(inclusion({ leaf_hash: root })).toBe('inclusion_invalid leaf_hash');
    expect(inclusion({ leaf_index: 0 })).toBe('inclusion_invalid inclusion_path');
    expect(inclusion({ leaf_index: -1 })).toBe('malformed leaf_index');
  });
});

describe('every answer', () => {
  const ask = (server: string, timeout_ms = 5_000) => fetchBatch(server, 0, { timeout_ms });

  it('has a shape, a size and a time', async () => {
    const raw = (text: string) => liar((_, response) => void response.end(text));
    expect(codeOf(await ask(await raw('<html>')))).toBe('malformed $');
    expect(codeOf(await ask(await raw('{"version":1,"version":1}')))).toBe('malformed version');
    expect(codeOf(await ask(await raw('{"version":1}')))).toMatch(/^malformed /);
    expect(codeOf(await ask(await liar((_, response) => void response.end(Uint8Array.of(34, 0xff, 34)))))).toMatch(
      'unreachable',
    );
    expect(codeOf(await ask(await liar((_, response) => void response.socket!.destroy())))).toMatch('unreachable');
    expect(codeOf(await ask(await liar(() => {}), 50))).toMatch('timeout');
    const drip = await liar((_, response) => {
      response.writeHead(200);
      response.write('{');
    });
    expect(codeOf(await ask(drip, 50))).toMatch('timeout');
  });

  it('is cut where it grows beyond what is right', async () => {
    const endless = await liar((_, response) => {
      const chunk = new Uint8Array(65_536).fill(32);
      const more = () => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on('drain', more);
      response.on('error', () => {});
      more();
    });
    const id = `0x${'12'.repeat(32)}`;
    expect(codeOf(await followTransaction(endless, id))).toMatch('answer_too_large');
  });

  it('leads nowhere else, and a problem need not be ours', async () => {
    const away = await liar((_, response) => void response.writeHead(302, { location: url }).end());
    expect(codeOf(await ask(away))).toMatch('unreachable');
    const proxy = await liar((_, response) => void response.writeHead(418).end('<html>'));
    expect(await ask(proxy)).toMatchObject({ code: 'problem', problem: { code: 'http_418', status: 418 } });
    expect(await ask(url.replace('http', 'ftp')).catch((error: unknown) => error)).toBeInstanceOf(TypeError);
    expect(await fetchBatch(url, 10_000)).toMatchObject({ code: 'problem', problem: { code: 'batch_not_found' } });
    expect(() => orThrow({ ok: false, code: 'x', field: 'a.b', message: 'why' })).toThrow('x: a.b: why');
  });
});
