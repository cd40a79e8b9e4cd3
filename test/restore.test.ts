// A store that was restored from a backup, in processes of its own: an older one does not start, an admin's order brings it forward over what was
// published since, and then the log goes on as one history: no height and no size is signed twice, nothing that was published
// is lost, and no transaction of the lost part comes again.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { BatchFile } from '../actors/batch.ts';
import type { Envelope } from '../actors/envelope.ts';
import type { LogHead } from '../actors/head.ts';
import type { Keyset } from '../actors/keyset.ts';
import { verifyHead } from '../client/head.ts';
import { findConflicts } from '../client/history.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { verifyBatch } from '../client/verify.ts';
import { connect } from '../daemon/cli/connection.ts';
import { type Child, run, startDaemon, startWitness } from '../daemon/demo/child.ts';
import type { ResolveRestore } from '../daemon/resolution.ts';
import { openSimulator } from '../daemon/tee/simulator.ts';
import { makeAdmin } from './admin.ts';
import { found } from './founded.ts';
import { PATIENCE_MS, settings, signed, until } from './house.ts';
import { itLong } from './long.ts';

vi.setConfig({ testTimeout: PATIENCE_MS, hookTimeout: PATIENCE_MS });

const admin = makeAdmin(1);
const SETTINGS = `[sequencer]
batch_interval_ms = 20
[seal]
interval_ms = 0
[admin]
keys = ["${admin.public_key}"]
`;

let folder: string;
let state_dir: string;
let log_id: string;
const at = (name: string) => join(folder, name);
const start = () => startDaemon(state_dir, at('daemon.log'), SETTINGS);
const aegisd = (...args: string[]) => run([...args, '--config', join(state_dir, 'sequencer.toml')]);
const resolve = (...args: string[]) => aegisd('resolve-restore', ...args);

interface Status {
  readonly sequencer: { readonly batch_count: number };
  readonly log: { readonly size: number; readonly sealed: number };
}

async function sealed({ url }: Child): Promise<number> {
  const ask = connect({ url });
  let status: Status | undefined;
  await until(async () => {
    status = await ask.get<Status>('/sequencer/status');
    return status.log.sealed === status.log.size;
  });
  return status!.sequencer.batch_count;
}

async function enveloped({ url }: Child, raw?: Uint8Array): Promise<Envelope> {
  const ask = connect({ url });
  const { active } = await ask.get<{ active: number }>('/epochs');
  const { keyset } = await ask.get<{ keyset: Keyset }>(`/epochs/${active}/keyset`);
  return encryptEnvelope({ keyset, raw: raw ?? (await signed()), scheme: 'ecies' });
}

/** One envelope, one batch. */
async function sequenced(daemon: Child, raw?: Uint8Array): Promise<Envelope> {
  const envelope = await enveloped(daemon, raw);
  await submitted(daemon, envelope);
  return envelope;
}

/** Until its batch is sealed. */
async function submitted({ url }: Child, envelope: Envelope): Promise<void> {
  const ask = connect({ url });
  const { envelope_id } = await ask.post<{ envelope_id: string }>('/transactions', envelope);
  await until(async () => (await ask.get<{ sealed: boolean }>(`/transactions/${envelope_id}`)).sealed);
}

const batchesOf = async ({ url }: Child, count: number): Promise<BatchFile[]> => {
  const ask = connect({ url });
  return Promise.all(Array.from({ length: count }, (_, height) => ask.get<BatchFile>(`/batches/${height}`)));
};
/** Signs what is asked for. */
async function resolved(dir: string, published: string): Promise<ResolveRestore> {
  const config = ['--config', join(dir, 'sequencer.toml')];
  const asked = await run(['resolve-restore', '--published', published, ...config]);
  const act = JSON.parse(asked.stdout) as ResolveRestore;
  const { log_id } = JSON.parse(readFileSync(published, 'utf8').split('\n', 1)[0]!) as { log_id: string };
  writeFileSync(at('signed.json'), JSON.stringify(admin.order(log_id, act)));
  const done = await run(['resolve-restore', '--published', published, '--order', at('signed.json'), ...config]);
  expect(done).toMatchObject({ code: 0, stderr: '' });
  return act;
}
const headOf = ({ url }: Child) => connect({ url }).get<LogHead>('/log/head');

/** What was, when the disk was lost. */
let before: {
  readonly batches: BatchFile[];
  readonly head: LogHead;
  readonly last: Envelope;
  readonly raw: Uint8Array;
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-restore-'));
  state_dir = at('state');
  await found(settings(state_dir, { admin: { keys: [admin.public_key] } }));
  const daemon = await start();
  log_id = daemon.log_id;
  await sequenced(daemon);
  await sequenced(daemon);
  expect(await aegisd('backup', '--out', at('backup'))).toMatchObject({ code: 0, stderr: '' });
  await sequenced(daemon);
  expect(await aegisd('mirror', '--out', at('early'))).toMatchObject({ code: 0, stderr: '' });
  cpSync(at('early'), at('mirror'));
  // The keys rotate in the part that is lost.
  expect(await aegisd('epochs', 'rotate', '--delay-blocks', '0')).toMatchObject({ code: 0 });
  await until(async () => (await connect({ url: daemon.url }).get<{ active: number }>('/epochs')).active === 2);
  const raw = await signed();
  const last = await sequenced(daemon, raw);
  const batches = await batchesOf(daemon, await sealed(daemon));
  before = { batches, head: await headOf(daemon), last, raw };
  // Torn, as by a run that was killed: the next one cuts it off.
  writeFileSync(at('mirror'), `${readFileSync(at('mirror'), 'utf8')}{"entry":`);
  const mirrored = await aegisd('mirror', '--out', at('mirror'), '--json');
  expect(mirrored).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(mirrored.stdout)).toMatchObject({ log_id, batches: 4, entries: before.head.size });
  expect(await daemon.stop()).toBe(0);
  const restored = await aegisd('restore', '--from', at('backup'));
  expect(restored).toMatchObject({ code: 0, stderr: '' });
  expect(restored.stdout).toContain('resolve-restore');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('is refused at the start, and told what resolves it', async () => {
  await expect(start()).rejects.toThrow(/is older than its own marks: .+ aegisd resolve-restore/);
  const missing = await resolve('--published', at('nothing'));
  expect(missing.code).toBe(1);
  expect(missing.stderr).toMatch(/nothing/);
  // What was kept too early does not reach what was signed.
  const early = await resolve('--published', at('early'));
  expect(early).toMatchObject({ code: 1, stdout: '' });
  expect(early.stderr).toBe(
    'the watermark permitted batch 3, which the publication does not reach; nothing was changed\n',
  );
  const altered = before.batches[2]!;
  const lines = readFileSync(at('mirror'), 'utf8').replaceAll(altered.transactions[0]!.sender, `0x${'11'.repeat(20)}`);
  writeFileSync(at('altered'), lines);
  expect((await resolve('--published', at('altered'))).stderr).toMatch(
    /batch 2: sender_mismatch.+; nothing was changed/,
  );
});

it('is brought forward by exactly the order that it asks for, and goes on as one history', async () => {
  const asked = await resolve('--published', at('mirror'));
  expect(asked.code).toBe(0);
  expect(asked.stderr).toMatch(/^The feed goes on behind cursor \d+: /m);
  const act = JSON.parse(asked.stdout) as ResolveRestore;
  const { size, root, sealed: kept } = before.head;
  expect(act).toEqual({
    ...{ type: 'resolve_restore', from_size: act.from_size, to_size: size, root, next_height: 4 },
    heads_above: kept!.seal.size,
  });
  expect(act.from_size).toBeLessThan(size);

  const order = (wanted: ResolveRestore) => {
    writeFileSync(at('order.json'), JSON.stringify(admin.order(log_id, wanted)));
    return resolve('--published', at('mirror'), '--order', at('order.json'));
  };
  for (const wrong of [{ next_height: 3 }, { heads_above: act.heads_above - 1 }]) {
    const refused = await order({ ...act, ...wrong });
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(
      /^act_refused: this store and this publication take an order of .+; nothing was changed/,
    );
  }
  writeFileSync(at('forged.json'), JSON.stringify(makeAdmin(2).order(log_id, act)));
  const forged = await resolve('--published', at('mirror'), '--order', at('forged.json'));
  expect(forged.stderr).toBe('order_admin_unknown; nothing was changed\n');
  await expect(start()).rejects.toThrow(/is older than its own marks/);

  expect(await order(act)).toMatchObject({ code: 0, stderr: '' });
  const again = await resolve('--published', at('mirror'), '--order', at('order.json'));
  expect(again.stderr).toMatch(/^order_replayed: this order was executed: log entry \d+; nothing was changed/);

  const daemon = await start();
  try {
    await goesOn(daemon, act);
  } finally {
    await daemon.stop();
  }
});

async function goesOn(daemon: Child, act: ResolveRestore): Promise<void> {
  const ask = connect({ url: daemon.url });
  const now_ms = Date.now();
  // All that was published is served again as it was.
  expect(await batchesOf(daemon, 4)).toEqual(before.batches);
  const entries = await ask.get<{ entries: { kind: string }[] }>(`/log/entries?from=${act.to_size}`);
  expect(entries.entries[0]).toMatchObject({ kind: 'policy' });

  // The last envelope was ordered, and the transaction in it is known in any other.
  const repeated = await ask.post<{ envelope_id: string }>('/transactions', before.last);
  expect(await ask.get(`/transactions/${repeated.envelope_id}`)).toMatchObject({
    status: 'sequenced',
    height: 3,
    sealed: true,
  });
  await sequenced(daemon, before.raw);
  await sequenced(daemon);
  const count = await sealed(daemon);
  const batches = await batchesOf(daemon, count);
  expect(batches[4]!.refused).toMatchObject([{ reason: 'replayed' }]);
  for (const file of batches) expect(verifyBatch(file, { allow_simulated: true, now_ms })).toMatchObject({ ok: true });
  expect(findConflicts(batches.map((file) => accepted(file, now_ms)))).toEqual([]);
  expect(batches.at(-1)!.transactions).toHaveLength(1);

  // Whoever kept a head sees it continued, and no size has two heads.
  const { sealed: head } = await headOf(daemon);
  expect(verifyHead(head, { allow_simulated: true, now_ms })).toMatchObject({ ok: true });
  expect(head!.seal.size).toBeGreaterThan(act.heads_above);
  writeFileSync(at('kept.json'), JSON.stringify(before.head.sealed));
  const since = await run(['verify', '--since', at('kept.json'), '--url', daemon.url, '--allow-simulated']);
  expect(since).toMatchObject({ code: 0 });
  const audited = await run(['audit', '--url', daemon.url, '--state', at('audit.json'), '--once', '--allow-simulated']);
  expect(audited).toMatchObject({ code: 0, stderr: '' });
}

function accepted(file: BatchFile, now_ms: number) {
  const verdict = verifyBatch(file, { allow_simulated: true, now_ms });
  if (!verdict.ok) throw new Error(verdict.code);
  return verdict;
}

itLong('goes on with the witness that has seen more, also when the host has put back every file', async () => {
  const places = { primary: at('primary'), witness: at('witness') };
  const root = (dir: string) => openSimulator(join(dir, 'simulator', 'pki'), Date.now).root.toBase64();
  for (const dir of Object.values(places)) mkdirSync(dir);
  const roots = { primary: root(places.primary), witness: root(places.witness) };
  const trusting = (of: string) => `[attestation]\npolicy = { roots = ["${of}"] }\n`;
  const witness = await startWitness(places.witness, at('witness.log'), trusting(roots.primary));
  const watched = `${SETTINGS}${trusting(roots.witness)}witness = "required"\nwitness_url = "${witness.url}"\n`;
  const begin = () => startDaemon(places.primary, at('primary.log'), watched);
  const witnessOf = async ({ url }: Child) =>
    (await connect({ url }).get<{ attestation: { witness: { state: string } } }>('/sequencer/status')).attestation
      .witness.state;
  try {
    const first = await begin();
    await sequenced(first);
    await first.stop();
    cpSync(places.primary, at('earlier'), { recursive: true, filter: (path) => !path.endsWith('.sock') });
    const second = await begin();
    await sequenced(second);
    expect(await run(['mirror', '--url', second.url, '--out', at('witnessed')])).toMatchObject({ code: 0 });
    const count = await sealed(second);
    await second.stop();
    rmSync(places.primary, { recursive: true });
    cpSync(at('earlier'), places.primary, { recursive: true });

    const rolledBack = await begin();
    await until(async () => (await witnessOf(rolledBack)) === 'conflict');
    // It is admitted, and nothing comes of it.
    const stray = await enveloped(rolledBack);
    await connect({ url: rolledBack.url }).post('/transactions', stray);
    await rolledBack.kill();
    const act = await resolved(places.primary, at('witnessed'));
    expect(act).toMatchObject({ next_height: count });

    const third = await begin();
    try {
      await submitted(third, stray);
      await sequenced(third);
      expect(await witnessOf(third)).toBe('working');
      const batches = await batchesOf(third, await sealed(third));
      expect(batches.length).toBeGreaterThan(count);
      expect(batches.map((file) => file.slh_dsa_sig!.seal.freshness)).toEqual(batches.map(() => 1));
      expect(findConflicts(batches.map((file) => accepted(file, Date.now())))).toEqual([]);
    } finally {
      await third.stop();
    }
  } finally {
    await witness.kill();
  }
});
