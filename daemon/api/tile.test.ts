// A log of several hundred entries, so that there are full tiles, two levels of them, and more than one seal.
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { globalRegistry } from 'zod';
import { batchDigest, sealDigest } from '../../actors/digest.ts';
import { concat, fromHex, hex } from '../../actors/encoding.ts';
import type { Head } from '../../actors/seal.ts';
import { type LogKind, logLeaf, readerOf, rootAt } from '../../actors/tree.ts';
import { enveloped, type House, openHouse } from '../../test/house.ts';
import { appendLog } from '../log.ts';
import { meta } from '../records.ts';
import type { Step } from '../runtime.ts';
import { PROBLEMS, type ProblemCode } from './problem.ts';

const FILLER = 300;
const FINAL = 'public, max-age=31536000, immutable';

let house: House;
let size: number;
beforeAll(async () => {
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000 } });
  const { sequencer } = house;
  await sequencer.store.commit((tx) => {
    for (let i = 0; i < FILLER; i++) appendLog(tx as unknown as Step, 'policy', hex(randomBytes(64)));
  });
  for (let i = 0; i < 2; i++) {
    await sequencer.submitEncrypted(await enveloped(sequencer));
    await sequencer.createBatch();
  }
  await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(1));
  size = meta(sequencer.store, 'log').size;
  expect(size).toBe(FILLER + 3);
});
afterAll(() => house?.[Symbol.asyncDispose]());

const registered = (id: string) => (globalRegistry as unknown as { _idmap: Map<string, z.ZodType> })._idmap.get(id)!;
const inject = (url: string) => house.server.app.inject(url);

async function get<T>(url: string, schema: string): Promise<T & { cached: boolean }> {
  const answer = await inject(url);
  expect([url, answer.statusCode]).toEqual([url, 200]);
  const cached = answer.headers['cache-control'] === FINAL;
  if (!cached) expect(answer.headers['cache-control']).toBe('no-cache');
  return { ...(registered(schema).parse(answer.json()) as T), cached };
}

async function tile(place: string): Promise<Uint8Array[]> {
  const answer = await inject(`/log/tile/${place}`);
  expect([place, answer.statusCode]).toEqual([place, 200]);
  expect(answer.headers['content-type']).toBe('application/octet-stream');
  expect(answer.headers['cache-control']).toBe(FINAL);
  const bytes = new Uint8Array(answer.rawPayload);
  return Array.from({ length: bytes.length / 64 }, (_, i) => bytes.slice(64 * i, 64 * i + 64));
}

interface Entry {
  leaf_index: number;
  kind: LogKind;
  digest: string;
}
const leavesOf = (entries: readonly Entry[]) => entries.map(({ kind, digest }) => logLeaf(kind, fromHex(digest)));
const all = async () => (await get<{ entries: Entry[] }>('/log/entries?limit=1000', 'LogEntries')).entries;

describe('entries', () => {
  it('give the sealed root', async () => {
    const entries = await all();
    expect(entries.map(({ leaf_index }) => leaf_index)).toEqual(Array.from({ length: size }, (_, i) => i));
    expect(entries[0]!.kind).toBe('epoch');
    const { sealed } = (await inject('/log/head')).json<{ sealed: { seal: Head } }>();
    expect(hex(rootAt(size, readerOf(leavesOf(entries))))).toBe(sealed.seal.root);
  });

  it('come in pages, which caches may keep when they are full and sealed', async () => {
    const entries = await all();
    const page = await get<{ entries: Entry[] }>('/log/entries?from=250&limit=10', 'LogEntries');
    expect(page).toEqual({ entries: entries.slice(250, 260), cached: true });
    expect(await get('/log/entries?from=300&limit=10', 'LogEntries')).toMatchObject({ cached: false });
    expect(await get(`/log/entries?from=${size}`, 'LogEntries')).toEqual({ entries: [], cached: false });
  });
});

describe('tiles', () => {
  it('hold the hashes of the tree', async () => {
    const leaves = leavesOf(await all());
    expect(concat(...(await tile('0/0')))).toEqual(concat(...leaves.slice(0, 256)));
    const rest = await tile(`0/1.p/${size - 256}`);
    expect(concat(...rest)).toEqual(concat(...leaves.slice(256)));
    const [above, ...none] = await tile('1/0.p/1');
    expect(none).toEqual([]);
    expect(hex(above!)).toBe(hex(rootAt(256, readerOf(leaves))));
  });

  it('give the sealed root by themselves', async () => {
    const lower = [...(await tile('0/0')), ...(await tile(`0/1.p/${size - 256}`))];
    const { root } = (await inject('/log/head')).json<{ root: string }>();
    expect(hex(rootAt(size, readerOf(lower)))).toBe(root);
  });

  it.each([
    ['0/1', 'leaf_not_found'],
    ['0/1.p/200', 'leaf_not_found'],
    ['1/0', 'leaf_not_found'],
    ['6/0.p/1', 'leaf_not_found'],
    ['0/9007199254740991', 'leaf_not_found'],
    ['7/0', 'invalid_path', 'level'],
    ['0/0.p/0', 'invalid_path', 'width'],
    ['0/0.p/256', 'invalid_path', 'width'],
    ['0/01', 'invalid_path', 'index'],
    ['0/x001.p/3', 'invalid_path', 'index'],
    ['0/0?x=1', 'invalid_query', 'x'],
    ['0/0.p', 'invalid_path', 'index'],
    ['0', 'route_not_found'],
  ] as const)('%s: %s', async (place, code, field?: string) => {
    const answer = await inject(`/log/tile/${place}`);
    const { status, ...problem } = answer.json<{ status: number; code: ProblemCode; field?: string }>();
    expect({ code: problem.code, field: problem.field, status }).toEqual({ code, field, status: PROBLEMS[code][0] });
    expect(answer.headers['cache-control']).toBe('no-store');
  });
});

describe('seals', () => {
  it('are all there, each with its signatures', async () => {
    const { seals } = await get<{ seals: { seal: Head; digest: string }[] }>('/log/seals', 'Seals');
    expect(seals.length).toBeGreaterThan(1);
    expect(seals.at(-1)!.seal.size).toBe(size);
    const leaves = leavesOf(await all());
    for (const { seal, digest } of seals) {
      expect(seal.root).toBe(hex(rootAt(seal.size, readerOf(leaves))));
      expect(digest).toBe(hex(sealDigest(seal)));
      const whole = await get<{ seal: Head; digest: string }>(`/log/seals/${seal.size}`, 'SignedHead');
      expect(whole).toMatchObject({ seal, digest, cached: true });
    }
    const [first, ...later] = seals;
    expect(await get('/log/seals?limit=1', 'Seals')).toEqual({ seals: [first], cached: true });
    expect(await get(`/log/seals?after=${first!.seal.size}`, 'Seals')).toEqual({ seals: later, cached: false });
    expect(await get(`/log/seals?after=${size}`, 'Seals')).toEqual({ seals: [], cached: false });
    expect((await inject('/log/head')).json()).toMatchObject({ sealed: { seal: seals.at(-1)!.seal } });
  });

  it.each(['2', '298', '999999'])('there is none of size %s', async (which) => {
    expect((await inject(`/log/seals/${which}`)).json()).toMatchObject({ code: 'leaf_not_found', size });
  });
});

describe('headers', () => {
  it('are those of the batches in the log', async () => {
    const { headers, cached } = await get<{ headers: Parameters<typeof batchDigest>[0][] }>(
      '/batches/headers?limit=2',
      'Headers',
    );
    expect(cached).toBe(true);
    expect(headers.map(({ height }) => height)).toEqual([0, 1]);
    const batches = (await all()).filter(({ kind }) => kind === 'batch');
    expect(headers.map((header) => hex(batchDigest(header)))).toEqual(batches.map(({ digest }) => digest));
    expect(await get('/batches/headers?from=1', 'Headers')).toEqual({ headers: [headers[1]], cached: false });
    expect(await get('/batches/headers?from=2', 'Headers')).toEqual({ headers: [], cached: false });
  });
});

it.each([
  ['/log/entries?limit=1001', 'limit'],
  ['/log/entries?limit=0', 'limit'],
  ['/log/entries?from=-1', 'from'],
  ['/log/seals?limit=101', 'limit'],
  ['/log/seals?after=x', 'after'],
  ['/batches/headers?limit=101', 'limit'],
])('%s is refused', async (url, field) => {
  expect((await inject(url)).json()).toMatchObject({ code: 'invalid_query', field });
});
