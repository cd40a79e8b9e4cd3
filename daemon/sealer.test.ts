import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hex } from '../actors/encoding.ts';
import { loadConfig } from '../config/load.ts';
import { type Disk, faulty } from '../test/faulty.ts';
import { Fault } from './fault.ts';
import { appendLog } from './log.ts';
import { meta, putMeta, sealRecord } from './records.ts';
import { Runtime } from './runtime.ts';
import { Sealer } from './sealer.ts';
import { openStore, type Store } from './store.ts';

const { config } = loadConfig({ environment: {} });
const quiet = { warn: () => {}, error: () => {} };
const turn = () => new Promise((resolve) => setImmediate(resolve));
const digest = hex(new Uint8Array(64));

let folder: string;
let store: Store;
let disk: Disk;
let runtime: Runtime;
let sealer: Sealer;
let quotes: (() => Promise<never>)[];
const signing: PromiseWithResolvers<{ slh_dsa: Uint8Array; ml_dsa: Uint8Array }>[] = [];
const faults: Fault[] = [];

/** One platform, unless a test says otherwise; each quote is one of `quotes`. */
const attester = {
  redundant: false,
  working: 1,
  asked: [] as number[],
  notAfter: (from_ms: number) => from_ms + 1000,
  providers: () => attester.working,
  attest({ providers }: { providers: number }) {
    attester.asked.push(providers);
    return quotes.shift()?.();
  },
};

/** Signatures and quotes as a test gives them; the store, its log and the runtime are the real ones. */
function makeSealer(): Sealer {
  const fatal = (error: unknown) => {
    throw error;
  };
  runtime = new Runtime({ store, log: quiet, fatal });
  return new Sealer({
    runtime,
    store,
    pool: {
      run: () => {
        signing.push(Promise.withResolvers());
        return signing.at(-1)!.promise;
      },
    } as never,
    attester: attester as never,
    watermark: { permit: () => Promise.resolve() } as never,
    epochs: { signing: () => ({}) as never },
    log: { chain_id: '1', log_id: digest, created_at_ms: 0 },
    config_digest: digest,
    interval_ms: () => 0,
    holds: () => false,
    retention_batches: 0,
    now: () => 1,
    onFault: (fault) => faults.push(fault),
    fatal,
  });
}

const sign = { slh_dsa: new Uint8Array(1), ml_dsa: new Uint8Array(1) };

/** A log of `size` keysets, none of them sealed. */
const grow = (size: number) =>
  store.commit((step) => {
    for (let n = 0; n < size; n++) appendLog(step as never, 'epoch', hex(new Uint8Array(64).fill(n % 251)));
  });

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-sealer-'));
  const schema = { version: 1, migrations: [] };
  ({ store, disk } = faulty(await openStore({ folder, key: new Uint8Array(32), ...config.store, schema })));
  await store.commit((step) => {
    putMeta(step, 'log', { size: 0, sealed: 0, sealing: null });
    putMeta(step, 'epoch', { active: 1 });
    step.put('keysets', 1, { keyset: { epoch: 1 }, digest, leaf_index: 0 });
    putMeta(step, 'heights', { cut: 0, opened: 0, signed: 0, forgotten: 0, parent_digest: digest, timestamp_ms: 0 });
  });
  faults.length = 0;
  signing.length = 0;
  quotes = [];
  Object.assign(attester, { redundant: false, working: 1, asked: [] });
  sealer = makeSealer();
  runtime.start([sealer.performer(10_000, () => {})]);
});
afterEach(async () => {
  sealer.stop();
  runtime.stop();
  await store.close();
  rmSync(folder, { recursive: true });
});

describe('the sealer', () => {
  it('lets go of the thread while the disk refuses its promise, also at shutdown', async () => {
    await grow(1);
    [disk.asked, disk.failures] = [0, 500];
    sealer.wake();
    await turn();
    expect(disk.asked).toBe(1);
    expect(faults.map(({ code }) => code)).toEqual(['store_io']);
    const hurried = sealer.hurry().then(() => 'hurried');
    expect(await Promise.race([hurried, turn()])).toBeUndefined();
    sealer.stop();
    expect(await hurried).toBe('hurried');
    expect(disk.asked).toBe(1);
  });

  it('covers a long backlog in parts, to its end', async () => {
    await grow(600);
    const sizes: number[] = [];
    quotes = [1, 2, 3].map(() => async () => ({}) as never);
    sealer.wake();
    while (meta(store, 'log').sealed < 600) {
      await turn();
      const { sealing } = meta(store, 'log');
      if (sealing === null || sizes.at(-1) === sealing || signing.length === sizes.length) continue;
      sizes.push(sealing);
      signing.at(-1)!.resolve(sign);
    }
    expect(sizes).toEqual([256, 512, 600]);
  });

  it('waits for a signature in the making before it tries again without a quote', async () => {
    await grow(1);
    quotes = [() => Promise.reject(new Fault({ code: 'quote_failed' })), async () => ({}) as never];
    sealer.wake();
    while (signing.length === 0) await turn();
    for (let n = 0; n < 20; n++) await turn();
    expect([signing.length, runtime.state().faults]).toEqual([1, {}]);
    signing[0]!.resolve(sign);
    while (signing.length < 2) await turn();
    signing[1]!.resolve(sign);
    while (meta(store, 'log').sealed === 0) await turn();
    expect(meta(store, 'log')).toEqual({ size: 1, sealed: 1, sealing: null });
  });
});

describe('with two platforms', () => {
  const quoted = { by: 'test' } as never;
  const fails = (working: number) => () => {
    attester.working = working;
    return Promise.reject(new Fault({ code: 'quote_failed' }));
  };
  const seal = () => sealRecord(store, 1);
  beforeEach(() => Object.assign(attester, { redundant: true, working: 3 }));

  it('a head is promised only when both have quoted it', async () => {
    await grow(1);
    const { promise, resolve } = Promise.withResolvers<never>();
    quotes = [() => promise];
    sealer.wake();
    for (let n = 0; n < 20; n++) await turn();
    expect([attester.asked, seal(), signing.length]).toEqual([[3], undefined, 0]);
    resolve(quoted);
    while (signing.length === 0) await turn();
    expect(seal()).toMatchObject({ head: { providers: 3 }, quoted });
    signing[0]!.resolve(sign);
    while (meta(store, 'log').sealed === 0) await turn();
    expect(seal()).toMatchObject({ quoted: null, signed: { attestation: quoted } });
    expect(attester.asked).toEqual([3]);
  });

  it('one that fails is left out of the head, where that is enough', async () => {
    await grow(1);
    quotes = [fails(1), async () => quoted];
    sealer.wake();
    while (signing.length === 0) await turn();
    expect(attester.asked).toEqual([3, 1]);
    expect(seal()).toMatchObject({ head: { providers: 1 } });
    expect(faults).toEqual([]);
  });

  it('one that fails holds the head back unpromised, where both are wanted, until it is given up', async () => {
    await grow(1);
    quotes = [fails(3), async () => quoted];
    sealer.wake();
    while (faults.length === 0) await turn();
    expect([attester.asked, seal(), meta(store, 'log').sealing]).toEqual([[3], undefined, null]);
    Object.assign(attester, { redundant: false, working: 1 });
    while (signing.length === 0) await turn();
    expect(seal()).toMatchObject({ head: { providers: 1 }, quoted: null });
  });

  it('quotes of an epoch that was superseded meanwhile are dropped', async () => {
    await grow(1);
    const next = hex(new Uint8Array(64).fill(1));
    const rotate = () =>
      store.commit((step) => {
        putMeta(step, 'epoch', { active: 2 });
        step.put('keysets', 2, { keyset: { epoch: 2 }, digest: next, leaf_index: 0 });
      });
    quotes = [() => rotate().then(() => quoted), async () => quoted];
    sealer.wake();
    while (signing.length === 0) await turn();
    expect(attester.asked).toEqual([3, 3]);
    expect(seal()).toMatchObject({ head: { epoch: 2, keyset_digest: next }, quoted });
  });

  it('a signature that fails is made again under the same quotes', async () => {
    await grow(1);
    quotes = [async () => quoted];
    sealer.wake();
    while (signing.length === 0) await turn();
    signing[0]!.reject(new Fault({ code: 'worker_failed', job: 'seal' }));
    while (signing.length < 2) await turn();
    signing[1]!.resolve(sign);
    while (meta(store, 'log').sealed === 0) await turn();
    expect(attester.asked).toEqual([3]);
  });
});
