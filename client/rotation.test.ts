// A wallet that kept a keyset, before a daemon that rotates; and one before a daemon that lies about it.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Keyset } from '../actors/keyset.ts';
import { type House, openHouse, signed } from '../test/house.ts';
import { orThrow } from './outcome.ts';
import { fetchSuccessor, submitTransaction } from './rotation.ts';
import { fetchKeyset } from './trust.ts';

const simulated = { allow_simulated: true };
let house: House;
let url: string;
let kept: Keyset;
beforeAll(async () => {
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
  ({ url } = await house.server.listen());
  kept = orThrow(await fetchKeyset(url, simulated)).keyset;
});
afterAll(() => house?.[Symbol.asyncDispose]());

const rotated = async (reason: 'manual' | 'compromise') => {
  const from = house.sequencer.keyset.epoch;
  await house.sequencer.rotate({ reason, delay_blocks: 0 });
  await house.journaled('rotation_executed', ({ from_epoch }) => from_epoch === from);
};

/** Hands the daemon's answers on, but for those that a test alters. */
async function between(alter: (path: string, text: string) => string | Promise<string>) {
  const server = createServer(async (request, response) => {
    const answer = await fetch(`${url}${request.url}`);
    const text = await alter(request.url!.split('?')[0]!, await answer.text());
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, [Symbol.dispose]: () => void server.close() };
}

const codeOf = (outcome: { ok: true } | { ok: false; code: string; field: string }) =>
  outcome.ok ? 'ok' : `${outcome.code} ${outcome.field.replace(/^http.*/, '')}`.trim();

describe('a wallet', () => {
  it('has no successor to follow before a rotation', async () => {
    expect(codeOf(await fetchSuccessor(url, kept, simulated))).toBe('keyset_not_newer epoch');
    const sent = orThrow(await submitTransaction(url, { keyset: kept, raw: await signed() }, simulated));
    expect([sent.envelope.epoch, sent.receipt.epoch, sent.keyset]).toEqual([1, 1, kept]);
  });

  it('goes on with its keyset in grace, and checks the receipt of the epoch after it', async () => {
    await rotated('manual');
    const sent = orThrow(await submitTransaction(url, { keyset: kept, raw: await signed() }, simulated));
    expect([sent.envelope.epoch, sent.receipt.epoch, sent.keyset.epoch]).toEqual([1, 2, 2]);
  });

  it('encrypts anew, once, when its epoch admits no more', async () => {
    await rotated('compromise');
    const sent = orThrow(await submitTransaction(url, { keyset: kept, raw: await signed() }, simulated));
    expect([sent.envelope.epoch, sent.receipt.epoch, sent.keyset.epoch]).toEqual([3, 3, 3]);
    expect(sent.keyset).toEqual(house.sequencer.keyset);
  });

  it('is given no epoch that is not of its log, or not in it', async () => {
    const other = { ...kept, log_id: `0x${'11'.repeat(64)}` };
    expect(codeOf(await fetchSuccessor(url, other, simulated))).toBe('keyset_other_log log_id');
    expect(codeOf(await fetchSuccessor(url, kept))).toBe('simulated_evidence attestation.quote');
    const head = (edit: (answer: { sealed: unknown }) => void) => (path: string, text: string) => {
      if (path !== '/log/head') return text;
      const answer = JSON.parse(text);
      edit(answer);
      return JSON.stringify(answer);
    };
    using unsealed = await between(head((answer) => Object.assign(answer, { sealed: null })));
    expect(codeOf(await fetchSuccessor(unsealed.url, kept, simulated))).toBe('keyset_unsealed sealed');
    using elsewhere = await between((path, text) =>
      path === '/epochs/3/keyset' ? JSON.stringify({ ...JSON.parse(text), leaf_index: 0 }) : text,
    );
    expect(codeOf(await fetchSuccessor(elsewhere.url, kept, simulated))).toBe('leaf_mismatch digest');
    using beyond = await between((path, text) =>
      path === '/epochs/3/keyset' ? JSON.stringify({ ...JSON.parse(text), leaf_index: 4096 }) : text,
    );
    expect(codeOf(await fetchSuccessor(beyond.url, kept, simulated))).toBe('keyset_unsealed leaf_index');
    // The head of before the rotations: genuine, but it vouches for nothing that came after it.
    const first = await (await fetch(`${url}/log/seals/1`)).text();
    using old = await between(head((answer) => Object.assign(answer, { sealed: JSON.parse(first) })));
    expect(codeOf(await fetchSuccessor(old.url, kept, simulated))).toBe('keyset_unsealed leaf_index');
  });
});
