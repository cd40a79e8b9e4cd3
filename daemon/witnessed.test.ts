// A sequencer and its witness, in two processes, on two platforms with roots of their own: batches that both vouch for, as a
// stranger judges them; a witness that is lost, slow, lying, replaced or restored from a copy; and a sequencer that was restored from a
// copy, which signs nothing and says what to do.
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import type { BatchFile } from '../actors/batch.ts';
import { VerificationPolicy } from '../client/policy.ts';
import { verifyBatch } from '../client/verify.ts';
import { loadConfig } from '../config/load.ts';
import type { Settings } from '../config/schema.ts';
import { found } from '../test/founded.ts';
import { enveloped, journaled, quiet, settings } from '../test/house.ts';
import { itLong, LONG } from '../test/long.ts';
import { type ChildWitness, startWitness } from './demo/child.ts';
import type { Logger } from './embedding.ts';
import { FAULTS } from './fault.ts';
import { logRoot } from './log.ts';
import { createSequencer, type Sequencer, type SequencerOptions } from './sequencer.ts';
import { openSimulator } from './tee/simulator.ts';
import type { WitnessStatus } from './witness/api.ts';
import { serveWitness } from './witness/api.ts';
import { createWitness, type Witness } from './witness/witness.ts';

let folder: string;
let roots: { primary: string; witness: string };
let open: AsyncDisposable[];
const listeners = new Set<(detail: object) => void>();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-witness-'));
  for (const name of ['primary', 'witness']) mkdirSync(join(folder, name));
  roots = { primary: rootOf('primary'), witness: rootOf('witness') };
  open = [];
  listeners.clear();
});
afterEach(async () => {
  for (const each of open.reverse()) await each[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const rootOf = (name: string) => openSimulator(join(folder, name, 'simulator', 'pki'), Date.now).root.toBase64();

/** For cases that are not about the beginning of a log: the sequencer's has begun without a witness. */
async function begun(): Promise<void> {
  await found(settings(join(folder, 'primary')));
  roots.primary = rootOf('primary');
}

const fatal = (error: unknown) => {
  throw error;
};

/** The witness in a process of its own; its port stays the same over restarts. */
async function witness(name = 'witness', listen?: string): Promise<ChildWitness> {
  const settings = `[attestation]\npolicy = { roots = ["${roots.primary}"] }\n`;
  const child = await startWitness(join(folder, name), join(folder, 'witness.log'), settings, listen);
  open.push({ [Symbol.asyncDispose]: () => child.kill() });
  return child;
}
const portOf = ({ url }: { url: string }) => url.slice('http://'.length);

async function sequencer(
  url: string,
  attestation: Settings['attestation'] = {},
  {
    name = 'primary',
    ...options
  }: { name?: string } & Pick<SequencerOptions, 'accept_new_witness' | 'now' | 'monotonic'> = {},
): Promise<Sequencer> {
  const { config } = loadConfig({
    settings: {
      daemon: { state_dir: join(folder, name), stop_timeout_s: 1 },
      seal: { interval_ms: 0 },
      // Patient, so that a busy machine changes nothing of what is tested.
      workers: { task_timeout_ms: 120_000 },
      attestation: {
        witness: 'required',
        witness_timeout_ms: 30_000,
        witness_url: url,
        policy: { roots: [roots.witness] },
        ...attestation,
      },
    },
    environment: {},
  });
  const warn = (detail: object) => listeners.forEach((listener) => void listener(detail));
  const made = await createSequencer({ config, log: { ...quiet, warn }, fatal, ...options });
  open.push({ [Symbol.asyncDispose]: () => made.close(0) });
  return made;
}

async function cut(made: Sequencer): Promise<number> {
  const submitted = await made.submitEncrypted(await enveloped(made));
  if (!submitted.ok) throw new Error(submitted.code);
  return (await made.createBatch())!;
}

async function sealed(made: Sequencer, height: number): Promise<BatchFile> {
  await journaled(made, 'seal_created', ({ heights }) => (heights as number[]).includes(height));
  return made.batch(height)!;
}

/** Resolves when the newest word of the journal on the witness is this. */
async function became(made: Sequencer, state: string, reason = /^/): Promise<void> {
  const { store } = made;
  const isThere = () => {
    // A copy has the journal of the life before.
    if (made.status().attestation.witness?.state !== state) return false;
    for (const [, { type, data }] of store.range('journal', { limit: 1_000, reverse: true })) {
      const found = data as Record<string, unknown>;
      if (type !== 'attestation_changed' || found.role !== 'witness') continue;
      return found.state === state && reason.test(String(found.reason));
    }
    return false;
  };
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = store.onCommitted(() => isThere() && resolve());
  if (isThere()) resolve();
  await promise;
  end();
}

/** What to do about a fault ends what is said of it. */
const remedyOf = (code: keyof typeof FAULTS) => new RegExp(RegExp.escape(FAULTS[code][1]));

const judge = (file: BatchFile, more: object = {}) =>
  verifyBatch(file, {
    policy: VerificationPolicy.parse({ roots: [roots.primary, roots.witness], ...more }),
    allow_simulated: true,
    now_ms: Date.now(),
  });
const freshnessOf = (file: BatchFile) => file.slh_dsa_sig?.seal.freshness;
const seen = async (url: string) => (await (await fetch(`${url}/witness`)).json()) as z.output<typeof WitnessStatus>;

const second = (file: BatchFile) => file.attestation!.phala_redundancy!;
/** What a stranger says of a witnessed file in which one thing is another. */
const ALTERED: [code: string, alter: (file: BatchFile) => unknown][] = [
  [
    'acknowledgement_invalid',
    (file) => Object.assign(second(file).witness!, { acknowledgement: zeroed(second(file).witness!.acknowledgement) }),
  ],
  // The quote binds the key.
  ['report_data_mismatch', (file) => Object.assign(second(file).witness!, { key: zeroed(second(file).witness!.key) })],
  ['report_data_mismatch', (file) => Object.assign(second(file), { worker_id: 'another' })],
  ['malformed', (file) => Object.assign(second(file), { role: 'quote' })],
  [
    'freshness_unproven',
    (file) => {
      const { witness: _, ...rest } = second(file);
      file.attestation!.phala_redundancy = { ...rest, role: 'quote' };
    },
  ],
];

describe('a witness', { timeout: 240_000 }, () => {
  it('acknowledges orders and heads, quotes them, and shows auditors what it saw', async () => {
    const child = await witness();
    const made = await sequencer(child.url);
    const rounds = LONG ? 3 : 2;
    for (let round = 0; round < rounds; round++) {
      const file = await sealed(made, await cut(made));
      expect(freshnessOf(file)).toBe(1);
      expect(file.attestation?.phala_redundancy).toMatchObject({ role: 'witness', independent: true });
      expect(file.attestation?.phala_redundancy?.witness?.key).toBe(child.witness_key);
      expect(judge(file)).toMatchObject({ ok: true, simulated: true });
      for (const root of Object.values(roots)) expect(judge(file, { roots: [root] }).ok).toBe(false);
      for (const [code, alter] of ALTERED) {
        const altered = structuredClone(file);
        alter(altered);
        expect(judge(altered)).toMatchObject({ ok: false, code });
      }
    }
    const status = made.status();
    expect(await seen(child.url)).toMatchObject({
      log_id: status.log.log_id,
      position: { order_height: rounds, size: status.log.size },
      refused: { count: 0, newest: null },
    });
    expect(status.attestation.witness).toMatchObject({ mode: 'required', state: 'working', reason: null });
    expect(made.ready()).toMatchObject({ ready: true });
    const [own, shown] = await Promise.all([
      consistencyOf(made),
      (await fetch(`${child.url}/log/consistency?from=2&to=${status.log.size}`)).json(),
    ]);
    expect(shown).toMatchObject(own);
  });

  it('that is lost holds orders and heads, not admission, and takes them up when it is back', async () => {
    await begun();
    const child = await witness();
    const made = await sequencer(child.url);
    await sealed(made, await cut(made));
    await child.kill();
    const height = await cut(made);
    await became(made, 'failing', remedyOf('witness_failed'));
    expect(made.batch(height)).toBeUndefined();
    expect((await made.submitEncrypted(await enveloped(made))).ok).toBe(true);
    expect(made.ready()).toMatchObject({ ready: false, reasons: ['witness_missing'], witness: { state: 'failing' } });

    await witness('witness', portOf(child));
    const file = await sealed(made, height);
    expect([freshnessOf(file), judge(file).ok]).toEqual([1, true]);
    await became(made, 'working');
    expect(made.ready()).toMatchObject({ ready: true });
  });

  itLong('that is slow is done without under preferred, which seals say, and takes part again', async () => {
    const child = await witness();
    const made = await sequencer(child.url, { witness: 'preferred', witness_timeout_ms: 300 });
    await sealed(made, await cut(made));
    process.kill(child.pid, 'SIGSTOP');
    const file = await sealed(made, await cut(made));
    expect([freshnessOf(file), file.slh_dsa_sig?.seal.providers, judge(file).ok]).toEqual([0, 1, true]);
    expect(judge(file, { freshness_min: 1 })).toMatchObject({ ok: false, code: 'freshness_refused' });
    expect(made.ready()).toMatchObject({ ready: true, witness: { state: 'failing' } });

    process.kill(child.pid, 'SIGCONT');
    await became(made, 'working');
    // The batches that it missed are in the log that it follows, and covered by seals that say so.
    const whole = await sealed(made, await cut(made));
    expect([freshnessOf(whole), judge(whole, { freshness_min: 1 }).ok]).toEqual([1, true]);
  });

  it("agrees to the host's clock where its own shows the same, and to no other", async () => {
    await begun();
    const child = await witness();
    const [clock, day_ms] = [{ set_ms: 0, slept_ms: 0 }, 86_400_000];
    const made = await sequencer(child.url, undefined, {
      now: () => Date.now() + clock.set_ms,
      monotonic: () => performance.now() - clock.slept_ms,
    });
    await became(made, 'working');
    clock.set_ms = day_ms;
    await made.clock.look();
    expect(made.ready().reasons).toContain('clock_held');
    clock.set_ms = 0;
    await made.clock.look();
    await journaled(made, 'clock_agreed', ({ by }) => by === 'host');

    // The machine slept: the host's clock is right, and the one that nobody sets is not.
    clock.slept_ms = day_ms;
    await journaled(made, 'clock_held', ({ apart_ms }) => (apart_ms as number) > day_ms / 2);
    await journaled(made, 'clock_agreed', ({ by }) => by === 'witness');
    expect(made.clock.held).toBe(false);
  });

  itLong('judges the quote of the sequencer anew when another epoch signs, before it is asked about it', async () => {
    await begun();
    const judged: { epoch?: number }[] = [];
    const info = (detail: object, message: string) =>
      void (/has opened a channel/.test(message) && judged.push(detail as { epoch?: number }));
    const made = await sequencer(await liar(() => {}, { ...quiet, info }));
    await sealed(made, await cut(made));
    expect(judged.map(({ epoch }) => epoch)).toEqual([1]);
    expect(await made.rotate({ reason: 'manual', delay_blocks: 0 })).toMatchObject({ ok: true });
    await journaled(made, 'rotation_executed', ({ to_epoch }) => to_epoch === 2);
    const file = await sealed(made, await cut(made));
    expect([file.header.epoch, freshnessOf(file), judge(file).ok]).toEqual([2, 1, true]);
    expect(judged.map(({ epoch }) => epoch)).toEqual([1, 2]);
    // Never without one: whatever was asked meanwhile has waited.
    expect(made.status().attestation.witness).toMatchObject({ state: 'working', reason: null });
  });

  itLong('that comes to a log that is there already follows it from its beginning', async () => {
    const before = await sequencer('', { witness: 'off' });
    for (let round = 0; round < 3; round++) await sealed(before, await cut(before));
    await before.close();
    const child = await witness();
    const after = await sequencer(child.url);
    const file = await sealed(after, await cut(after));
    expect([freshnessOf(file), judge(file).ok]).toEqual([1, true]);
  });
});

/** A witness in this process, whose part is replaced by one that lies. */
async function liar(lie: (witness: Witness) => void, log: Logger = quiet): Promise<string> {
  const { config } = loadConfig({
    settings: {
      daemon: { state_dir: join(folder, 'witness') },
      api: { listen: '127.0.0.1:0' },
      attestation: { policy: { roots: [roots.primary] } },
    },
    environment: {},
  });
  const made = await createWitness({ config, log, fatal });
  lie(made);
  const server = await serveWitness(made, config, quiet);
  open.push(made, server);
  return server.url;
}

const zeroed = (signature: string) => Buffer.alloc(Buffer.from(signature, 'base64').length).toString('base64');

const LIES: [how: string, lie: (witness: Witness) => void, reason: RegExp][] = [
  [
    'with an acknowledgement of its own making',
    ({ book }) => {
      const honest = book.acknowledgeOrders.bind(book);
      book.acknowledgeOrders = async (claims) => {
        const { ok, orders } = await honest(claims);
        return {
          ok,
          orders: orders.map((each) => (each.ok ? { ...each, signature: zeroed(each.signature) } : each)),
        };
      };
    },
    /its acknowledgement of order 0 does not verify/,
  ],
  [
    'by acknowledging something else',
    ({ book }) => {
      const honest = book.acknowledgeOrders.bind(book);
      book.acknowledgeOrders = (claims) => honest(claims.map((claim) => ({ ...claim, height: claim.height + 1 })));
    },
    /its acknowledgement of order 0 does not verify/,
  ],
  [
    'with the quote of another subject',
    (witness) => {
      const { platform } = witness;
      const honest = platform.attest.bind(platform);
      platform.attest = (_, options) => honest(new Uint8Array(64).fill(7), options);
    },
    /report_data_mismatch|report data|says something else/,
  ],
];

describe('a witness that lies', { timeout: 240_000 }, () => {
  it.each(LONG ? LIES : LIES.slice(-1))('%s gets nothing opened', async (_, lie, reason) => {
    await begun();
    const made = await sequencer(await liar(lie));
    const height = await cut(made);
    await became(made, 'failing', reason);
    expect(made.batch(height)).toBeUndefined();
  });
});

describe('what was restored from a copy', { timeout: 240_000 }, () => {
  it('if it is the witness, it is told apart, and taken only on the word of the operator', async () => {
    await begun();
    const first = await witness();
    const made = await sequencer(first.url);
    await sealed(made, await cut(made));
    await first.stop();
    cpSync(join(folder, 'witness'), join(folder, 'older'), { recursive: true });
    const second = await witness('witness', portOf(first));
    await sealed(made, await cut(made));
    await second.stop();
    await made.close();

    // Its store alone, put back: it knows by itself.
    cpSync(join(folder, 'older', 'witness', 'data.mdb'), join(folder, 'witness', 'witness', 'data.mdb'));
    await expect(witness('witness')).rejects.toThrow(/is older than its own marks/);
    // All of it: its sequencer knows.
    const older = await witness('older');
    const held = await sequencer(older.url);
    await became(held, 'failing', remedyOf('witness_rolled_back'));
    await held.close(0);
    const accepted = await sequencer(older.url, {}, { accept_new_witness: true });
    expect(freshnessOf(await sealed(accepted, await cut(accepted)))).toBe(1);
    await accepted.close();

    // Another one is not the one that is remembered.
    mkdirSync(join(folder, 'other'));
    cpSync(join(folder, 'witness', 'simulator', 'pki'), join(folder, 'other', 'simulator', 'pki'), { recursive: true });
    const other = await witness('other');
    const changed = await sequencer(other.url);
    await became(changed, 'failing', remedyOf('witness_changed'));
  });

  it('if it is the sequencer, it signs nothing and says how to go on', async () => {
    await begun();
    const child = await witness();
    const before = await sequencer(child.url);
    await sealed(before, await cut(before));
    await before.close();
    cpSync(join(folder, 'primary'), join(folder, 'older'), { recursive: true });
    const newest = await sequencer(child.url);
    await sealed(newest, await cut(newest));
    await newest.close();

    const older = await sequencer(child.url, {}, { name: 'older' });
    await became(older, 'conflict');
    const told = faulted('open', /restore the newest copy, or let the other go on/);
    const height = await cut(older);
    expect(older.ready()).toMatchObject({ ready: false, reasons: expect.arrayContaining(['witness_conflict']) });
    expect(older.status().attestation.witness).toMatchObject({ state: 'conflict' });
    await told;
    expect(older.batch(height)).toBeUndefined();
    expect(older.status().log.size).toBe(older.status().log.sealed);
  });

  itLong('and two that run at once can not order one height twice', async () => {
    const child = await witness();
    const before = await sequencer(child.url);
    await sealed(before, await cut(before));
    await before.close();
    cpSync(join(folder, 'primary'), join(folder, 'twin'), { recursive: true });
    const [one, twin] = [
      await sequencer(child.url),
      await sequencer(child.url, { witness: 'preferred' }, { name: 'twin' }),
    ];
    await Promise.all([one, twin].map((made) => became(made, 'working')));
    const height = await cut(one);
    expect(freshnessOf(await sealed(one, height))).toBe(1);
    expect(await cut(twin)).toBe(height);
    await became(twin, 'conflict');
    expect(twin.batch(height)).toBeUndefined();
    expect(await seen(child.url)).toMatchObject({ refused: { count: 1, newest: { code: 'order_conflict' } } });
    expect(freshnessOf(await sealed(one, await cut(one)))).toBe(1);
  });
});

/** Its own proof that the log of today continues that of two entries. */
function consistencyOf(made: Sequencer) {
  const { size } = made.status().log;
  return { from: 2, to: size, from_root: logRoot(made.store, 2), to_root: logRoot(made.store, size) };
}

/** Resolves when an effect has failed in these words: each try says so in the log. */
function faulted(kind: string, words: RegExp): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  listeners.add((detail) => {
    const { kind: of, err } = detail as { kind?: string; err?: Error };
    if (of === kind && words.test(err?.message ?? '')) resolve();
  });
  return promise;
}
