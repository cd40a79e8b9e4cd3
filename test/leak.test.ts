// No leak: a real daemon under a root that the test knows goes through admission, sealing, errors at every boundary, SIGKILL,
// rotation and retirement, and then everything that it has written, said or still holds is searched for every key that follows from the
// root. What is in use is found, so the search can find; SECURITY.md names what stays and why.
import { randomBytes } from 'node:crypto';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import WebSocket from 'ws';
import type { Keyset } from '../actors/keyset.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { type Child, startDaemon } from '../daemon/demo/child.ts';
import { secretsOf, storeSecrets } from '../daemon/demo/derived.ts';
import { Search } from '../daemon/demo/memorysearch.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';

const root = new Uint8Array(randomBytes(32));
const COMMON = `rate_limit_per_s = 0
[sequencer]
batch_interval_ms = 20
[seal]
interval_ms = 0
[keys]
source = "credential"
`;
/** Epochs come and go by themselves. */
const ROTATING = `${COMMON}[rotation]
interval_s = 4
delay_blocks = 0
delay_max_s = 1
grace_s = 0
`;

/** What an epoch in use has in OpenSSL's memory, behind handles, and nothing else: no seed that was expanded, no root. */
const HANDLES = [
  'asset key',
  'batch secp256k1',
  'envelope ml-kem d',
  'envelope ml-kem z',
  'envelope secp256k1 limbs',
  'envelope x25519',
  'ml-dsa K',
  'ml-dsa seed',
  'names secp256k1 limbs',
  'receipt seed',
  'slh-dsa SK.prf',
  'slh-dsa SK.seed',
];

/** Collections come right behind what lets a key go; a busy machine takes its time, and each look at the memory a second or two. */
const PATIENCE = { timeout: 120_000, interval: 2_000 };

let folder: string;
let log: string;
const said: string[] = [];
const running: Child[] = [];
const before = process.env.CREDENTIALS_DIRECTORY;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-leak-'));
  log = join(folder, 'daemon.log');
  for (const name of ['state', 'credentials']) mkdirSync(join(folder, name), { mode: 0o700 });
  writeFileSync(join(folder, 'credentials', 'aegis-root'), root, { mode: 0o400 });
  process.env.CREDENTIALS_DIRECTORY = join(folder, 'credentials');
});
afterAll(async () => {
  for (const daemon of running) await daemon.kill();
  if (before === undefined) delete process.env.CREDENTIALS_DIRECTORY;
  else process.env.CREDENTIALS_DIRECTORY = before;
  rmSync(folder, { recursive: true, force: true });
});

async function start(settings: string): Promise<Child> {
  const daemon = await startDaemon(join(folder, 'state'), log, settings);
  running.push(daemon);
  return daemon;
}

/** Whatever comes back is kept for the search. */
async function ask(daemon: Child, path: string, init?: RequestInit): Promise<{ status: number; body: string }> {
  const answer = await fetch(`${daemon.url}${path}`, init);
  const body = await answer.text();
  said.push(body, JSON.stringify([...answer.headers]));
  return { status: answer.status, body };
}

const post = (daemon: Child, path: string, body: string) =>
  ask(daemon, path, { method: 'POST', headers: { 'content-type': 'application/json' }, body });

/** What clients do, right and wrong. */
async function use(daemon: Child, epoch: number): Promise<void> {
  const { keyset } = JSON.parse((await ask(daemon, `/epochs/${epoch}/keyset`)).body) as { keyset: Keyset };
  const raws = await signTransactions(6, Number(keyset.chain_id));
  const envelopes = [];
  for (const [i, raw] of raws.entries()) {
    envelopes.push(await encryptEnvelope({ keyset, raw, scheme: i % 2 === 0 ? 'x-wing' : 'ecies' }));
  }
  const unopenable = { ...envelopes[0]!, encrypted_data: randomBytes(1_500).toString('base64') };
  const admitted = await post(daemon, '/transactions', JSON.stringify([...envelopes, unopenable]));
  expect(JSON.parse(admitted.body).map(({ status }: { status: number }) => status)).toEqual(Array(7).fill(202));

  for (const body of ['', '{', '[]', '{"scheme":"x-wing"}', JSON.stringify({ ...envelopes[1], epoch: 999 })]) {
    expect((await post(daemon, '/transactions', body)).status).toBeGreaterThanOrEqual(400);
  }
  const wrong = [
    '/epochs/0/keyset',
    '/epochs/77/keyset',
    '/public-key?epoch=-1',
    '/attestation?nonce=x',
    '/none',
    '/batches/9999',
  ];
  for (const path of wrong) expect((await ask(daemon, path)).status).toBeGreaterThanOrEqual(400);
  await ask(daemon, '/metrics', { headers: { authorization: 'Bearer wrong' } });
  const right = [
    '/epochs',
    '/public-key',
    '/attestation?nonce=0011',
    '/sequencer/status',
    '/ready',
    '/health',
    '/log/head',
  ];
  for (const path of [...right, '/openapi.json', '/batches/recent?count=5', '/batches/0']) await ask(daemon, path);
}

/** Every entry from the first, until one fits. */
function follow(
  daemon: Child,
  fits: (entry: { type: string; data: Record<string, unknown> }) => boolean,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = new WebSocket(`${daemon.url.replace('http', 'ws')}/feed?cursor=0`);
  socket.on('error', reject);
  socket.on('message', (message) => {
    said.push(String(message));
    if (fits(JSON.parse(String(message)))) resolve();
  });
  return promise.finally(() => socket.terminate());
}

it.runIf(process.platform === 'linux')(
  'leaves no key in logs, files, answers, or in memory once its epoch has retired',
  async () => {
    const state_dir = join(folder, 'state');
    const first = await start(COMMON);
    await use(first, 1);
    await follow(first, ({ type, data }) => type === 'seal_created' && (data.heights as number[]).length > 0);
    const active = new Search({ root, ...secretsOf(root, 1) });
    const expected = HANDLES.map((name) => `epoch 1 ${name}`);
    await expect.poll(() => [...active.inMemory(first.pid).keys()].sort(), PATIENCE).toEqual(expected);
    await first.kill();

    const second = await start(ROTATING);
    await use(second, 1);
    await follow(second, ({ type, data }) => type === 'epoch_retired' && data.epoch === 2);
    const retired = new Search({ root, ...secretsOf(root, 1), ...secretsOf(root, 2) });
    // Right behind the commit that retires an epoch its keys are collected.
    await expect.poll(() => [...retired.inMemory(second.pid)], PATIENCE).toEqual([]);
    // The root is there for as long as the next epoch's keys are derived from it.
    const atRest = new Search(storeSecrets(root));
    await expect.poll(() => [...atRest.inMemory(second.pid).keys()], PATIENCE).toEqual(['store key']);
    expect(await second.stop()).toBe(0);

    const all = Array.from({ length: 12 }, (_, epoch) => secretsOf(root, epoch + 1));
    const search = new Search(Object.assign({}, storeSecrets(root), ...all));
    const files = globSync('**', { cwd: state_dir }).map((name) => join(state_dir, name));
    const written = [...files, log].filter((path) => statSync(path).isFile());
    expect(written.length).toBeGreaterThan(4);
    for (const path of written) expect([path, ...search.in(readFileSync(path))]).toEqual([path]);
    expect([...search.in(Buffer.from(said.join('\n')))]).toEqual([]);
  },
  240_000,
);
