// Every code of the API, provoked over real HTTP in a daemon that runs here: the tables are `Record<ProblemCode, …>` and
// `Record<Refusal, …>`, so that a code which nothing provokes does not compile. How each field and each limit is refused is
// tested in daemon/api/; how a start ends that fails, in faults.test.ts.
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeFunctionData, parseAbi } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import WebSocket from 'ws';
import { TransactionStatus } from '../actors/admission.ts';
import { type RegistrationInput, SAME_ADDRESS_MAX } from '../actors/asset.ts';
import { base64, concat, fromBase64, fromHex, hex } from '../actors/encoding.ts';
import type { Envelope } from '../actors/envelope.ts';
import type { Order, UnsignedOrder } from '../actors/order.ts';
import { REFUSALS, type Refusal } from '../actors/refusal.ts';
import type { MigrationStatus } from '../daemon/api/migration.ts';
import { PROBLEMS, Problem, type ProblemCode } from '../daemon/api/problem.ts';
import { createServer, type Listening } from '../daemon/api/server.ts';
import { AssetData } from '../daemon/assetdata.ts';
import { assetRecord } from '../daemon/assets.ts';
import { checkpointOf, signedCheckpoint } from '../daemon/checkpoints.ts';
import { CHUNK_BYTES, HEADER_BYTES, makeHeader } from '../daemon/datastream.ts';
import { startAgent } from '../daemon/demo/agent.ts';
import { makeAppKeys } from '../daemon/demo/appkeys.ts';
import { Owner } from '../daemon/demo/owner.ts';
import { checkpointsMeta } from '../daemon/freeze.ts';
import { type Meta, meta, putMeta } from '../daemon/records.ts';
import type { Wraps } from '../daemon/wraps.ts';
import { makeAdmin } from './admin.ts';
import { handoverProblem } from './handoverproblems.ts';
import { enveloped, forged, type House, openHouse, quiet, signed } from './house.ts';
import { limitedDaemon } from './limited.ts';

interface Answer {
  readonly status: number;
  readonly body: unknown;
}
type Ask = { path?: string; method?: string; headers?: Record<string, string>; body?: string };

interface World {
  readonly house: House;
  readonly at: Listening;
  /** Has a pool of one place, an allowance of one envelope a second, and is about to end. */
  readonly small: House;
  readonly smallAt: Listening;
}

const BY_HAND = { batch_interval_ms: 60_000, batch_size: 50 };
const [alice, mallory] = [makeAdmin(1), makeAdmin(2)];
/** There is no second platform. */
const UNSUPPORTED = { type: 'set_redundancy', enabled: true, worker: null, enclave: null } as const;
const RETIRE = { type: 'retire_epoch', epoch: 1 } as const;
const METRICS_TOKEN = 'm'.repeat(64);
const DATA_TOKEN = 'd'.repeat(64);
const JSON_TYPE = { 'content-type': 'application/json' };

let world: World;
let credentials: string;
beforeAll(async () => {
  credentials = mkdtempSync(join(tmpdir(), 'aegis-credentials-'));
  writeFileSync(join(credentials, 'metrics.token'), METRICS_TOKEN);
  writeFileSync(join(credentials, 'data.token'), DATA_TOKEN);
  vi.stubEnv('CREDENTIALS_DIRECTORY', credentials);
  const house = await openHouse({
    sequencer: BY_HAND,
    admin: { keys: [alice.public_key] },
    api: { rate_limit_per_s: 0, request_timeout_ms: 400, envelopes_max: 64 },
    feed: { clients_max: 1 },
    risk: { simulation: true },
    // Nobody listens there.
    names: { router: 'http://127.0.0.1:9', names_max: 1 },
  });
  vi.unstubAllEnvs();
  const small = await openHouse({
    sequencer: BY_HAND,
    mempool: { capacity: 1, retry_after_s: 7 },
    api: { rate_limit_per_s: 1, rate_limit_burst: 20 },
  });
  world = { house, at: await house.server.listen(), small, smallAt: await small.server.listen() };
});
afterAll(async () => {
  await world?.house[Symbol.asyncDispose]();
  await world?.small[Symbol.asyncDispose]();
  await (await mover)?.house[Symbol.asyncDispose]();
  rmSync(credentials, { recursive: true, force: true });
});

/** A connection of its own for each request. */
function ask(target: object, { body, headers, ...options }: Ask): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const request = httpRequest({ ...target, agent: false, headers, ...options } as object, async (response) => {
    let text = '';
    for await (const chunk of response) text += chunk;
    resolve({ status: response.statusCode!, body: JSON.parse(text) });
  });
  request.on('error', reject);
  request.end(body);
  return promise;
}

const tcp = ({ port }: Listening) => ({ host: '127.0.0.1', port });
const toSocket = ({ socket: socketPath }: Listening, method: string, path: string) =>
  ask({ socketPath }, { method, path });
const get = ({ at }: World, path: string) => ask(tcp(at), { path });
const post = (at: Listening, body: string, headers: Record<string, string> = JSON_TYPE) =>
  ask(tcp(at), { method: 'POST', path: '/transactions', headers, body });

/** As the admin on the machine. */
const rotate = ({ socket: socketPath }: Listening) =>
  ask({ socketPath }, { method: 'POST', path: '/epochs/rotate', headers: JSON_TYPE, body: '{}' });

/** What the server says to bytes that are no request, or not a whole one. */
async function raw({ at }: World, text: string): Promise<Answer> {
  const socket = connect(at.port, '127.0.0.1');
  socket.write(text);
  let said = '';
  socket.on('data', (chunk) => {
    said += String(chunk);
  });
  await once(socket, 'close');
  const [head, body] = said.split('\r\n\r\n');
  return { status: Number(head!.split(' ')[1]), body: JSON.parse(body!) };
}

/** Through the socket, as `aegisd admin submit` does. */
const hand = ({ at }: World, order: Order) =>
  ask(
    { socketPath: at.socket },
    { method: 'POST', path: '/admin/orders', headers: JSON_TYPE, body: JSON.stringify(order) },
  );
const ordered = ({ house }: World, other: Partial<UnsignedOrder> = {}, by = alice) =>
  by.order(house.sequencer.epoch.log.log_id, RETIRE, other);

const [named, unnamed] = [1, 2].map((n) => new Owner(new Uint8Array(32).fill(n)));
type Sent = { sequence?: bigint; value?: string; life_ms?: number; by?: Owner; keyOf?: Owner; record?: string };

/** What an owner's application would send, and what is wrong with it. */
async function enrolment({ house }: World, owner: Owner, sent: Sent = {}) {
  const { sequence = 5n, value = '/ipfs/a', life_ms = 3_600_000, by = owner, keyOf = owner } = sent;
  const record = await by.record(value, sequence, Date.now() + life_ms);
  const made = keyOf.enrolment(record, 1, fromBase64(house.sequencer.keyset.names!));
  return { ...made, ipnsName: owner.name, ...(sent.record !== undefined && { record: sent.record }) };
}
const ofNames = (at: Listening, method: string, path: string, body?: unknown) =>
  ask(
    { socketPath: at.socket },
    { method, path, ...(body !== undefined && { headers: JSON_TYPE, body: JSON.stringify(body) }) },
  );
const enrol = async (world: World, owner: Owner, sent: Sent = {}, other: object = {}) =>
  ofNames(world.at, 'POST', '/names', { ...(await enrolment(world, owner, sent)), ...other });
async function update(world: World, sent: Sent): Promise<Answer> {
  expect((await enrol(world, named!)).status).toBeLessThan(300);
  const { record } = await enrolment(world, named!, sent);
  return ofNames(world.at, 'PUT', `/names/${named!.name}/record`, { record });
}

const PROVOKED: Record<ProblemCode, (world: World) => Promise<Answer>> = {
  names_off: async (w) => ofNames(w.smallAt, 'POST', '/names', await enrolment(w, named!)),
  names_full: async (w) => {
    await enrol(w, named!);
    return enrol(w, unnamed!);
  },
  too_many_names: ({ at }) => ofNames(at, 'POST', '/names', []),
  name_repeated: async (w) => {
    const twice = await enrolment(w, named!);
    const { body, status } = await ofNames(w.at, 'POST', '/names', [twice, twice]);
    expect([status, (body as Answer[]).length]).toEqual([200, 2]);
    const [, second] = body as { status: number }[];
    return { status: second!.status, body: second };
  },
  name_not_found: ({ at }) => ofNames(at, 'GET', `/names/${unnamed!.name}`),
  record_invalid: (w) => enrol(w, named!, { record: 'AAAA' }),
  record_foreign: (w) => enrol(w, named!, { by: unnamed! }),
  record_expired: (w) => enrol(w, named!, { life_ms: -1 }),
  record_outdated: (w) => update(w, { sequence: 4n }),
  record_conflict: (w) => update(w, { value: '/ipfs/b' }),
  key_unopenable: (w) => enrol(w, named!, {}, { encryptedIpnsKey: base64(new Uint8Array(129)) }),
  key_foreign: (w) => enrol(w, named!, { keyOf: unnamed! }),
  key_epoch_not_accepted: (w) => enrol(w, named!, {}, { keyEpoch: 999 }),
  worker_off: ({ at }) => ofNames(at, 'POST', '/republish', { entries: [] }),
  grant_missing: async ({ at, house }) => {
    for (const each of FILES) await house.sequencer.registerAsset(each);
    const headers = { authorization: `Bearer ${DATA_TOKEN}` };
    return ask(tcp(at), { method: 'POST', path: '/assets/mine/rewrap', headers });
  },
  operation_not_allowed: (w) => data(w, 'mine', 'rewrap'),
  asset_protected: (w) => data(w, 'vault', 'encrypt', 'x'),
  evidence_missing: async (w) => {
    const { assetData, store, wrapping, epochs } = w.house.sequencer as unknown as ConstructorParameters<
      typeof AssetData
    >[0] & {
      assetData: AssetData;
      wrapping: { wraps: Wraps };
    };
    // As the room is while no evidence verifies.
    const runtime = { commit: store.commit.bind(store) } as never;
    const blind = new AssetData({ runtime, store, wraps: wrapping.wraps, epochs, attested: () => false });
    const permit = assetData.permit.bind(assetData);
    assetData.permit = blind.permit.bind(blind);
    try {
      return await data(w, 'attested', 'encrypt', 'x');
    } finally {
      assetData.permit = permit;
    }
  },
  data_key_missing: (w) => data(w, 'fresh', 'rewrap'),
  data_key_retired: async (w) => {
    await w.house.sequencer.store.commit((step) => {
      step.put('wraps', 'asset/lost', Buffer.concat([Buffer.of(0, 0, 0, 99), Buffer.alloc(57)]));
    });
    return data(w, 'lost', 'encrypt', 'x');
  },
  stream_unknown: (w) => data(w, 'mine', 'decrypt', 'hello'),
  stream_foreign: async (w) =>
    data(w, 'fresh', 'decrypt', Buffer.from(makeHeader('mine', new Uint8Array(32))).toString('latin1')),
  stream_truncated: async (w) => data(w, 'mine', 'decrypt', (await sealed(w)).slice(0, -1)),
  stream_reordered: async (w) => {
    const stream = await sealed(w, 'x'.repeat(70_000));
    const [head, first] = [stream.slice(0, HEADER_BYTES), stream.slice(HEADER_BYTES, HEADER_BYTES + CHUNK_BYTES + 28)];
    return data(w, 'mine', 'decrypt', head + stream.slice(head.length + first.length));
  },
  stream_altered: async (w) => data(w, 'mine', 'decrypt', `${await sealed(w)}x`),
  streams_busy: async (w) => {
    const open = Array.from({ length: 8 }, () => streaming(w));
    await Promise.all(open.map(({ answered }) => answered));
    const answer = await data(w, 'mine', 'encrypt', 'x');
    for (const { request } of open) request.destroy();
    return answer;
  },
  asset_not_found: ({ at }) => ask(tcp(at), { path: '/assets/protection/nobody' }),
  asset_exists: async ({ at, house }) => {
    await house.sequencer.registerAsset(metal('tin', `0x${'66'.repeat(20)}`, FREE));
    const other = metal('tin', `0x${'66'.repeat(20)}`, { ...FREE, risk_threshold: 1 });
    return ask(
      { socketPath: at.socket },
      { method: 'POST', path: '/assets/register', headers: JSON_TYPE, body: JSON.stringify(other) },
    );
  },
  asset_frozen: async ({ at, house }) => {
    const { store } = house.sequencer;
    await house.sequencer.registerAsset(metal('zinc', `0x${'67'.repeat(20)}`, FREE));
    await store.commit((step) => {
      const { asset, leaf_index } = assetRecord(step, 'zinc')!;
      step.put('assets', 'zinc', { asset: { ...asset, state: 'Migrating' }, leaf_index });
    });
    return ask({ socketPath: at.socket }, { method: 'DELETE', path: '/assets/zinc' });
  },
  handover_no_url: ({ at }) =>
    ask({ socketPath: at.socket }, { method: 'POST', path: '/admin/handover', headers: JSON_TYPE, body: '{}' }),
  handover_not_open: () => handoverProblem('handover_not_open'),
  handover_ended: () => handoverProblem('handover_ended'),
  handover_session_unknown: () => handoverProblem('handover_session_unknown'),
  handover_not_accepted: () => handoverProblem('handover_not_accepted'),
  handover_not_drained: () => handoverProblem('handover_not_drained'),
  handover_running: () => handoverProblem('handover_running'),
  handed_over: () => handoverProblem('handed_over'),
  successor_other_schema: () => handoverProblem('successor_other_schema'),
  successor_keyset_refused: () => handoverProblem('successor_keyset_refused'),
  successor_evidence_refused: () => handoverProblem('successor_evidence_refused'),
  successor_not_allowed: () => handoverProblem('successor_not_allowed'),
  successor_not_in_force: () => handoverProblem('successor_not_in_force'),
  migration_running: () => migrating(({ at }) => moving(at, 'start')),
  migration_preparing: () =>
    migrating(async ({ at, sequencer, checkpoint_id }) => {
      // As it is while the signing thread has not answered.
      const { number } = sequencer.store.get('meta', 'migration') as Meta['migration'];
      const state = (value: string) =>
        sequencer.store.commit((tx) =>
          tx.put('machines', `migration/${number}`, { version: 1, value, context: { number } }),
        );
      await state('preparing');
      const answer = await moving(at, 'complete', checkpoint_id);
      await state('migrating');
      return answer;
    }),
  migration_ending: () =>
    migrating(async ({ at, sequencer: { store }, checkpoint_id }) => {
      const { number } = store.get('meta', 'migration') as Meta['migration'];
      const before = store.get('machines', `migration/${number}`)!;
      const context = { number };
      await store.commit((tx) => tx.put('machines', `migration/${number}`, { version: 1, value: 'moving', context }));
      const answer = await moving(at, 'rollback', checkpoint_id);
      await store.commit((tx) => tx.put('machines', `migration/${number}`, before));
      return answer;
    }),
  checkpoint_not_running: () =>
    migrating(async ({ at, checkpoint_id }) => {
      await moving(at, 'rollback', checkpoint_id);
      await moving(at, 'start');
      return moving(at, 'complete', checkpoint_id);
    }),
  checkpoint_foreign: () =>
    migrating(async ({ at, sequencer: { store }, checkpoint_id }) => {
      const given = { ...signedCheckpoint(checkpointOf(store, checkpoint_id)!)!, log_id: hex(new Uint8Array(64)) };
      return ask(
        { socketPath: at.socket },
        { method: 'POST', path: '/migration/complete', headers: JSON_TYPE, body: JSON.stringify(given) },
      );
    }),
  checkpoint_altered: () =>
    migrating(async ({ at, sequencer: { store }, checkpoint_id }) => {
      const given = { ...signedCheckpoint(checkpointOf(store, checkpoint_id)!)!, asset_count: 7 };
      return ask(
        { socketPath: at.socket },
        { method: 'POST', path: '/migration/complete', headers: JSON_TYPE, body: JSON.stringify(given) },
      );
    }),
  checkpoint_running: () =>
    migrating(async ({ at, sequencer: { store }, checkpoint_id }) => {
      await moving(at, 'rollback', checkpoint_id);
      const { next } = checkpointsMeta(store);
      const before = store.get('machines', `checkpoint/${next - 1}`)!;
      await store.commit((tx) => tx.put('machines', `checkpoint/${next - 1}`, { ...before, value: 'snapshotting' }));
      const answer = await moving(at, 'start');
      await store.commit((tx) => tx.put('machines', `checkpoint/${next - 1}`, before));
      return answer;
    }),
  migration_not_running: () =>
    migrating(async ({ at, checkpoint_id }) => {
      await moving(at, 'rollback', checkpoint_id);
      return moving(at, 'rollback', checkpoint_id);
    }),
  checkpoint_not_found: ({ at }) => moving(at, 'complete', 'checkpoint_4711'),
  asset_has_key: async ({ at, house }) => {
    const { store, wrapping } = house.sequencer;
    await house.sequencer.registerAsset(metal('iron', `0x${'69'.repeat(20)}`, FREE));
    await store.commit((step) => wrapping.wraps.create(step, 'asset', 'iron', new Uint8Array(32)));
    return ask({ socketPath: at.socket }, { method: 'DELETE', path: '/assets/iron' });
  },
  address_full: async ({ at, house }) => {
    const make = (i: number) => metal(`alloy_${i}`, `0x${'68'.repeat(20)}`, FREE);
    for (let i = 0; i < SAME_ADDRESS_MAX; i++) await house.sequencer.registerAsset(make(i));
    const body = JSON.stringify(make(SAME_ADDRESS_MAX));
    return ask({ socketPath: at.socket }, { method: 'POST', path: '/assets/register', headers: JSON_TYPE, body });
  },
  bad_request: (w) => raw(w, 'hello\r\n\r\n'),
  empty_body: ({ at }) => post(at, ''),
  invalid_json: ({ at }) => post(at, '{"epoch": 1'),
  invalid_body: async ({ at, house }) =>
    post(at, JSON.stringify({ ...(await enveloped(house.sequencer)), priority_fee: '01' })),
  too_many_envelopes: ({ at }) => post(at, '[]'),
  invalid_query: (w) => get(w, '/batches/recent?count=0'),
  invalid_path: (w) => get(w, '/batches/01'),
  unauthorized: ({ at }) => ask(tcp(at), { method: 'POST', path: '/batches/cut' }),
  forbidden: ({ at }) => {
    const headers = { authorization: `Bearer ${METRICS_TOKEN}` };
    return ask(tcp(at), { method: 'POST', path: '/batches/cut', headers });
  },
  order_admin_unknown: (w) => hand(w, ordered(w, {}, mallory)),
  order_signature_invalid: (w) => hand(w, { ...ordered(w), nonce: `0x${'00'.repeat(32)}` }),
  route_not_found: (w) => get(w, '/nope'),
  transaction_not_found: (w) => get(w, `/transactions/0x${'00'.repeat(32)}`),
  batch_not_found: (w) => get(w, '/batches/4096'),
  leaf_not_found: (w) => get(w, '/log/inclusion?leaf_index=4096'),
  epoch_not_found: (w) => get(w, '/epochs/9/keyset'),
  method_not_allowed: ({ at }) => ask(tcp(at), { method: 'DELETE', path: '/health' }),
  request_timeout: (w) => raw(w, 'GET /health HTTP/1.1\r\nHost: x\r\n'),
  epoch_not_accepted: async ({ at, house }) =>
    post(at, JSON.stringify({ ...(await enveloped(house.sequencer)), epoch: 7 })),
  order_wrong_log: (w) => hand(w, ordered(w, { log_id: `0x${'00'.repeat(64)}` })),
  order_expired: (w) => hand(w, ordered(w, { not_after_ms: Date.now() - 1 })),
  order_lifetime_too_long: (w) => hand(w, ordered(w, { not_after_ms: Date.now() + 31 * 86_400_000 })),
  order_replayed: async (w) => {
    await w.house.sequencer.store.commit((tx) => {
      tx.put('machines', 'epoch/7', { version: 1, value: 'grace', context: { epoch: 7 } });
    });
    const order = ordered(w, { act: { ...RETIRE, epoch: 7 } });
    expect(await hand(w, order)).toMatchObject({ status: 200 });
    return hand(w, order);
  },
  act_refused: (w) => hand(w, ordered(w)),
  indicator_not_found: ({ at }) => toSocket(at, 'POST', '/qrm/indicators/nobody/withdraw'),
  scheme_not_accepted: async () => {
    await using house = await openHouse({ risk: { rise_s: 0 } });
    const { sequencer } = house;
    const severe = (sub_category: string) => ({
      ...({
        category: 'digital_signatures',
        sub_category,
        severity: 0.95,
        confidence: 0.95,
        source: 'a laboratory',
      } as const),
      ...({ timestamp: new Date().toISOString(), description: 'An attack.', era_relevance: 'nisq' } as const),
    });
    await sequencer.updateThreat(['ecdsa', 'rsa', 'bls'].map(severe));
    return await post(await house.server.listen(), JSON.stringify(await enveloped(sequencer)));
  },
  simulation_not_allowed: ({ smallAt }) => toSocket(smallAt, 'POST', '/qrm/simulation/start'),
  simulation_not_running: ({ at }) => toSocket(at, 'POST', '/qrm/simulation/stop'),
  simulation_running: async ({ at }) => {
    await toSocket(at, 'POST', '/qrm/simulation/start?interval_ms=600000');
    const again = await toSocket(at, 'POST', '/qrm/simulation/start');
    await toSocket(at, 'POST', '/qrm/simulation/stop');
    return again;
  },
  rotation_pending: async ({ at }) => {
    await rotate(at);
    return rotate(at);
  },
  too_many_epochs: async ({ small, smallAt }) => {
    const { store } = small.sequencer;
    const before = meta(store, 'epoch');
    await store.commit((tx) => putMeta(tx, 'epoch', { ...before, grace: Array(16).fill(before.active) }));
    const answer = await rotate(smallAt);
    await store.commit((tx) => putMeta(tx, 'epoch', before));
    return answer;
  },
  future_cursor: (w) => get(w, '/feed/entries?after=999999'),
  outdated_cursor: async (w) => {
    await w.house.sequencer.store.commit((tx) => tx.remove('journal', 1));
    return get(w, '/feed/entries?after=0');
  },
  // Where a request may take its time: on a busy machine so many bytes need more than the other's 400 ms.
  body_too_large: ({ smallAt: { socket: socketPath } }) => {
    const body = JSON.stringify('x'.repeat(5 * 1024 * 1024));
    return ask({ socketPath }, { method: 'POST', path: '/transactions', headers: JSON_TYPE, body });
  },
  unsupported_media_type: ({ at }) => post(at, '{}', { 'content-type': 'text/plain' }),
  upgrade_required: (w) => get(w, '/feed'),
  // A quote over a nonce costs more than the whole burst.
  rate_limited: ({ smallAt }) => ask(tcp(smallAt), { path: '/attestation?nonce=c0ffee' }),
  headers_too_large: (w) => raw(w, `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}`),
  internal_error: (w) => brokenStatus(w),
  act_not_supported: (w) => hand(w, ordered(w, { act: UNSUPPORTED })),
  mempool_full: async ({ small, smallAt }) => {
    const { socket: socketPath } = smallAt;
    const submit = async () => {
      const body = JSON.stringify(await enveloped(small.sequencer));
      return ask({ socketPath }, { method: 'POST', path: '/transactions', headers: JSON_TYPE, body });
    };
    await submit();
    return submit();
  },
  draining: async () => {
    await using house = await openHouse();
    const at = await house.server.listen();
    house.sequencer.drain();
    return await post(at, JSON.stringify(await enveloped(house.sequencer)));
  },
  store_unavailable: () => limitedDaemon((url, envelope) => submitUntilRefused(url, envelope)),
  disk_low: async () => {
    await using house = await openHouse({ store: { free_bytes_min: 2 ** 50 } });
    return await post(await house.server.listen(), JSON.stringify(await enveloped(house.sequencer)));
  },
  keys_unavailable: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'aegis-agent-'));
    const agent = await startAgent({ socket: join(folder, 's'), keys: makeAppKeys() });
    try {
      await using house = await openHouse({ keys: { source: 'dstack', dstack_socket: agent.socket, timeout_ms: 500 } });
      const at = await house.server.listen();
      await agent[Symbol.asyncDispose]();
      return await rotate(at);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  attestation_unavailable: async (w) => {
    // More than may wait for a quote at once.
    const answers = await Promise.all(
      Array.from({ length: 24 }, (_, i) => get(w, `/attestation?nonce=${String(i).padStart(2, '0')}`)),
    );
    return answers.find(({ status }) => status !== 200) ?? answers[0]!;
  },
  feed_full: async (w) => {
    const first = new WebSocket(`ws://127.0.0.1:${w.at.port}/feed`);
    await once(first, 'open');
    const headers = {
      upgrade: 'websocket',
      connection: 'Upgrade',
      'sec-websocket-version': '13',
      'sec-websocket-key': base64(new Uint8Array(16)),
    };
    const answer = await ask(tcp(w.at), { path: '/feed', headers });
    first.close();
    await once(first, 'close');
    return answer;
  },
};

const moving = ({ socket: socketPath }: Listening, act: string, checkpoint_id?: string) =>
  ask(
    { socketPath },
    {
      ...{ method: 'POST', path: `/migration/${act}` },
      ...(checkpoint_id !== undefined && { headers: JSON_TYPE, body: JSON.stringify({ checkpoint_id }) }),
    },
  );

interface Moved {
  readonly at: Listening;
  readonly sequencer: House['sequencer'];
  readonly checkpoint_id: string;
}
let mover: Promise<{ house: House; at: Listening }> | undefined;

/** In one daemon for all of them, with a migration that has begun; whichever runs at the end is rolled back. */
async function migrating(act: (moved: Moved) => Promise<Answer>): Promise<Answer> {
  mover ??= openHouse().then(async (house) => ({ house, at: await house.server.listen() }));
  const { house, at } = await mover;
  const { sequencer } = house;
  const state = async () => (await ask(tcp(at), { path: '/migration/status' })).body as MigrationStatus;
  expect(await moving(at, 'start')).toMatchObject({ status: 200, body: { state: 'Migrating' } });
  const { checkpoint_id } = await state();
  const answer = await act({ at, sequencer, checkpoint_id: checkpoint_id! });
  const { running, checkpoint_id: newest } = await state();
  if (running) expect(await moving(at, 'rollback', newest!)).toMatchObject({ status: 200 });
  return answer;
}

/** A mistake of ours: a sequencer whose status throws, behind doors of its own. */
async function brokenStatus({ house }: World): Promise<Answer> {
  const { config } = house.sequencer;
  let failing = false;
  const sequencer = new Proxy(house.sequencer, {
    get(target, name) {
      if (name === 'config') return { ...config, api: { ...config.api, socket: 'broken.sock' } };
      if (failing && name === 'status') throw new Error('a secret');
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  await using server = await createServer({ sequencer, log: quiet, version: '0' });
  const at = await server.listen();
  failing = true;
  const answer = await ask(tcp(at), { path: '/sequencer/status' });
  expect(JSON.stringify(answer.body)).not.toContain('secret');
  return answer;
}

/** Until the disk has no room: then nothing is acknowledged any more. */
async function submitUntilRefused(url: string, make: () => string): Promise<Answer> {
  const { port } = new URL(url);
  const target = { host: '127.0.0.1', port: Number(port) };
  for (let i = 0; i < 256; i++) {
    const answer = await ask(target, { method: 'POST', path: '/transactions', headers: JSON_TYPE, body: make() });
    if (answer.status !== 202) return answer;
  }
  throw new Error('the disk never filled');
}

describe('a problem is provoked over HTTP, and says what to do:', () => {
  it.each(Object.keys(PROVOKED) as ProblemCode[])('%s', async (code) => {
    const { status, body } = await PROVOKED[code](world);
    const [expected, title, remedy] = PROBLEMS[code];
    expect(Problem.parse(body)).toMatchObject({ code, status: expected, title, remedy });
    expect(status).toBe(expected);
  });

  it('in words that a reader can act on', () => {
    for (const [code, [, title, remedy]] of Object.entries(PROBLEMS)) {
      expect(title, code).toMatch(/^[A-Z].+\.$/);
      expect(remedy, code).toMatch(/^[A-Z].+\.$/);
      expect(remedy, code).not.toBe(title);
    }
  });
});

type Sequencer = House['sequencer'];

const [GOLD, SILVER, LEAD] = ['11', '22', '33'].map((byte) => `0x${byte.repeat(20)}` as const) as [
  `0x${string}`,
  `0x${string}`,
  `0x${string}`,
];
const TRANSFER = { to: GOLD, data: `0xa9059cbb${'0'.repeat(24)}${'44'.repeat(20)}${'0'.repeat(64)}` } as const;
const FREE = { requires_pqc: false, requires_tee: false, risk_threshold: 10_000 };
const ASSETS = [
  ['gold', GOLD, FREE],
  ['silver', SILVER, { ...FREE, requires_pqc: true }],
  ['lead', LEAD, { ...FREE, risk_threshold: 0 }],
] as const;
const metal = (asset_id: string, contract_address: string, access_policy: typeof FREE): RegistrationInput => ({
  ...{ asset_id, contract_address, access_policy, asset_type: 'OnChainToken', chain_id: 31_337 },
});

/** A call of a call of a call …: deeper than is looked into. */
function nested(depth: number): `0x${string}` {
  if (depth === 0) return '0x';
  const abi = parseAbi(['function execute(address to, uint256 value, bytes data)']);
  return encodeFunctionData({ abi, args: [GOLD, 0n, nested(depth - 1)] });
}

const OCTETS = { 'content-type': 'application/octet-stream' };
const file = (asset_id: string, policy: object = {}, over: object = {}): RegistrationInput => ({
  ...{ asset_id, asset_type: 'OffChainFile' as const, ...over },
  access_policy: { ...FREE, allowed_operations: ['encrypt', 'decrypt'], ...policy },
});
const FILES = [
  file('mine', {}, { grants: {} }),
  file('vault', { risk_threshold: 0 }),
  file('attested', { requires_tee: true }),
  file('fresh', { allowed_operations: ['decrypt', 'rewrap'] }),
  file('lost'),
];

/** Over the unix socket. Bytes as latin1 text. */
async function data({ at, house }: World, id: string, operation: string, body?: string): Promise<Answer> {
  for (const each of FILES) await house.sequencer.registerAsset(each);
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const headers = body === undefined ? {} : OCTETS;
  const path = `/assets/${id}/${operation}`;
  const request = httpRequest(
    { socketPath: at.socket, agent: false, method: 'POST', path, headers },
    async (response) => {
      let text = '';
      for await (const chunk of response.setEncoding('latin1')) text += chunk;
      const status = response.statusCode!;
      resolve({ status, body: status === 200 && operation !== 'rewrap' ? text : JSON.parse(text) });
    },
  );
  request.on('error', reject);
  request.end(body, 'latin1');
  return promise;
}

async function sealed(w: World, plain = 'hello'): Promise<string> {
  return (await data(w, 'mine', 'encrypt', plain)).body as string;
}

/** A request that has got the beginning of its answer, and stays. */
function streaming({ at }: World) {
  const request = httpRequest({ socketPath: at.socket, method: 'POST', path: '/assets/mine/encrypt', headers: OCTETS });
  request.on('error', () => {});
  request.write('x');
  return { request, answered: once(request, 'response') };
}

/** An envelope that is admitted, and refused once it is opened. */
const REFUSED: Record<Exclude<Refusal, keyof typeof ELSEWHERE>, (sequencer: Sequencer) => Promise<Envelope>> = {
  unopenable: async (s) => ({ ...(await enveloped(s)), encrypted_data: base64(new Uint8Array(300)) }),
  aad_mismatch: async (s) => ({ ...(await enveloped(s)), priority_fee: '2' }),
  malformed_transaction: async (s) => forged(s, new Uint8Array([1, 2, 3])),
  unsupported_type: async (s) => forged(s, concat(new Uint8Array([3]), await signed())),
  unprotected: async (s) => {
    const account = privateKeyToAccount(hex(new Uint8Array(32).fill(9)));
    const to = '0x000000000000000000000000000000000000dEaD';
    return forged(s, fromHex(await account.signTransaction({ type: 'legacy', to, gas: 21_000n, gasPrice: 10n ** 9n })));
  },
  wrong_chain: async (s) => forged(s, await signed({ chainId: 1 })),
  // s is what a signed transaction ends with.
  bad_signature: async (s) => forged(s, concat((await signed()).slice(0, -32), new Uint8Array(32).fill(0x80))),
  replayed: async (s) => enveloped(s, await replayed),
  claim_mismatch: async (s) => forged(s, await signed(), { priority_fee: '5' }),
  asset_undeclared: async (s) => enveloped(s, await signed(TRANSFER)),
  asset_not_touched: async (s) => forged(s, await signed(), { asset_refs: ['gold'] }),
  operation_not_allowed: async (s) => forged(s, await signed({ to: GOLD }), { asset_refs: ['gold'] }),
  pqc_required: async (s) => forged(s, await signed({ ...TRANSFER, to: SILVER }), { asset_refs: ['silver'] }),
  asset_protected: async (s) => forged(s, await signed({ ...TRANSFER, to: LEAD }), { asset_refs: ['lead'] }),
  calldata_malformed: async (s) => {
    return forged(s, await signed({ to: GOLD, data: `${TRANSFER.data}00` }), { asset_refs: ['gold'] });
  },
  calldata_too_complex: async (s) => forged(s, await signed({ data: nested(10) })),
};
/** Provoked over HTTP where their cause can be made: in refusals.test.ts. */
const ELSEWHERE = {
  ...{ attestation_required: 'no evidence', asset_migrating: 'a migration', migration_not_listed: 'a migration' },
} as const;
const replayed = signed();

describe('a refusal is provoked over HTTP, and says what to do:', () => {
  const outcomes = new Map<Refusal, TransactionStatus>();

  beforeAll(async () => {
    const { house, at } = world;
    const reasons = Object.keys(REFUSED) as (keyof typeof REFUSED)[];
    for (const [name, address, policy] of ASSETS) await house.sequencer.registerAsset(metal(name, address, policy));
    const first = await enveloped(house.sequencer, await replayed, 'x-wing');
    expect((await sequence([first]))[0]).toMatchObject({ status: 'sequenced' });
    const states = await sequence(await Promise.all(reasons.map((reason) => REFUSED[reason](house.sequencer))));
    for (const [i, reason] of reasons.entries()) outcomes.set(reason, states[i]!);

    async function sequence(envelopes: readonly Envelope[]): Promise<TransactionStatus[]> {
      const { status, body } = await post(at, JSON.stringify(envelopes));
      expect(status).toBe(202);
      const cut = await ask({ socketPath: at.socket }, { method: 'POST', path: '/batches/cut' });
      await house.journaled('batch_created', ({ height }) => height === (cut.body as { height: number }).height);
      const ids = (body as { envelope_id: string }[]).map(({ envelope_id }) => envelope_id);
      const answers = await Promise.all(ids.map((id) => ask(tcp(at), { path: `/transactions/${id}` })));
      return answers.map(({ body }) => TransactionStatus.parse(body));
    }
  });

  it('every one, here or where its cause can be made', () => {
    expect([...Object.keys(REFUSED), ...Object.keys(ELSEWHERE)].sort()).toEqual(Object.keys(REFUSALS).sort());
  });

  it.each(Object.keys(REFUSED) as Refusal[])('%s', (reason) => {
    const [code, sentence, remedy] = REFUSALS[reason];
    expect(outcomes.get(reason)).toMatchObject({ status: 'refused', reason, code });
    for (const text of [sentence, remedy]) expect(text).toMatch(/\.$/);
  });
});
