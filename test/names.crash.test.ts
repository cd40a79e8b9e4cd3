// A real daemon that republishes names over a real router is killed with SIGKILL in the middle, again and again, while owners go on
// publishing. What the router was ever sent must have been durable before, sequences are their owners' alone, and no end of life
// shrinks; and after the last life every name resolves to what its owner signed last. In the first life also the worker protocol, as a
// backend uses it.
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { base64, fromBase64 } from '../actors/encoding.ts';
import type { RepublishResult } from '../actors/enrolment.ts';
import { choose } from '../actors/extension.ts';
import { type Child, startDaemon } from '../daemon/demo/child.ts';
import { type Owner, resolved } from '../daemon/demo/owner.ts';
import { startRouter, type TestRouter } from '../daemon/demo/router.ts';
import { storeKey } from '../daemon/keys/keyring.ts';
import { simulatorSource } from '../daemon/keys/simulator.ts';
import { nameRecord, namesAgree } from '../daemon/names/record.ts';
import { MIGRATIONS, SCHEMA_VERSION } from '../daemon/schema.ts';
import { openStore } from '../daemon/store.ts';
import { PATIENCE_MS, settings, until } from './house.ts';
import { LONG } from './long.ts';
import { ownerOf } from './named.ts';
import { seeded } from './seed.ts';

const NAMES = 24;
const KILLS = LONG ? 4 : 2;
const HOUR_MS = 3_600_000;
const WORKER_TOKEN = 'w'.repeat(64);
const JSON_TYPE = { 'content-type': 'application/json' };
const CID = 'bafkreiem4twkqzsq2aj4shbycd4yvoj2cx72vezicletlhi7dijjciqpui';

/** A name as its owner knows it. */
interface Owned {
  readonly owner: Owner;
  value: string;
  sequence: bigint;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

let folder: string;
let router: TestRouter;
let daemon: Child;
const owned: Owned[] = Array.from({ length: NAMES }, (_, n) => ({
  owner: ownerOf(n),
  value: '/ipfs/first',
  sequence: 1n,
}));
const state = () => join(folder, 'state');

/** Slow enough that a kill falls between signing and publishing, and few at once. */
function start(worker = false): Promise<Child> {
  const names = `router = ${JSON.stringify(router.url)}\nin_flight_max = 4\nread_back_every = 0\nworker = ${worker}\n`;
  return startDaemon(state(), join(folder, 'log'), `[names]\n${names}`);
}

async function ask(method: string, path: string, body?: object): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const target = { socketPath: daemon.socket, agent: false, method, path, ...(body && { headers: JSON_TYPE }) };
  const request = httpRequest(target, async (response) => {
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) text += chunk;
    resolve({ status: response.statusCode!, body: JSON.parse(text) });
  });
  request.on('error', reject);
  request.end(body && JSON.stringify(body));
  return promise;
}

const recordOf = ({ owner, value, sequence }: Owned) => owner.record(value, sequence, Date.now() + 24 * HOUR_MS);
const puts = () => router.seen.flatMap(({ name, record }) => (record === undefined ? [] : [{ name, record }]));

async function keyOf(epoch: number): Promise<Uint8Array> {
  const { body } = await ask('GET', `/public-key?epoch=${epoch}`);
  return Uint8Array.fromHex((body as { publicKey: string }).publicKey);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-names-crash-'));
  mkdirSync(state());
  const credentials = join(folder, 'credentials');
  mkdirSync(credentials);
  writeFileSync(join(credentials, 'worker.token'), WORKER_TOKEN);
  vi.stubEnv('CREDENTIALS_DIRECTORY', credentials);
  router = await startRouter(join(folder, 'router'));
  router.switches.slow_ms = 15;
}, PATIENCE_MS);
afterAll(async () => {
  await daemon?.kill();
  await router?.[Symbol.asyncDispose]();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

/** What is durable, as the next life will find it: looked at in a copy. */
async function durable(): Promise<
  Map<string, { value: string; sequence: bigint; eol_ms: number; record: Uint8Array }>
> {
  const copy = join(folder, 'copy');
  rmSync(copy, { recursive: true, force: true });
  cpSync(join(state(), 'store'), copy, { recursive: true, filter: (path) => !path.endsWith('store.lock') });
  const schema = { version: SCHEMA_VERSION, migrations: MIGRATIONS };
  const key = await storeKey(await simulatorSource(state()));
  const store = await openStore({ ...settings(state()).store, folder: copy, key, schema });
  try {
    expect(namesAgree(store)).toBe(true);
    return new Map(owned.map(({ owner: { name } }) => [name, nameRecord(store, name)!.held]));
  } finally {
    await store.close();
  }
}

describe('the worker protocol of a whole daemon', { timeout: PATIENCE_MS }, () => {
  async function republish(entries: object[], token = WORKER_TOKEN): Promise<Answer> {
    const headers = { ...JSON_TYPE, authorization: `Bearer ${token}` };
    const answer = await fetch(`${daemon.url}/republish`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ entries }),
    });
    return { status: answer.status, body: await answer.json() };
  }
  const entryOf = async (n: number) => {
    const { record: _, ...key } = ownerOf(n).enrolment(new Uint8Array(1), 1, await keyOf(1));
    return { ...key, latestCid: CID, sequenceNumber: 7, currentEpoch: 1, previousEpoch: null };
  };

  it('is off unless an operator turns it on', async () => {
    daemon = await start();
    expect(await republish([await entryOf(100)])).toMatchObject({ status: 503, body: { code: 'worker_off' } });
    await daemon.kill();
  });

  it('has a token of its own, signs what it is told, and refuses enrolled names', async () => {
    daemon = await start(true);
    expect((await republish([], 'x'.repeat(64))).status).toBe(401);
    const [first] = owned;
    const enrolment = first!.owner.enrolment(await recordOf(first!), 1, await keyOf(1));
    expect((await ask('POST', '/names', enrolment)).status).toBe(201);
    const answer = await republish([await entryOf(100), await entryOf(0)]);
    const [signed, refused] = (answer.body as { results: RepublishResult[] }).results;
    expect(signed).toMatchObject({ success: true, newSequenceNumber: '8' });
    const seen = await resolved(ownerOf(100).name, fromBase64(signed!.signedRecord!));
    expect(seen).toMatchObject({ value: `/ipfs/${CID}`, sequence: 8n });
    expect(refused).toMatchObject({ success: false, error: 'name_enrolled' });
    // The backend publishes by itself.
    expect(puts().some(({ name }) => name === ownerOf(100).name)).toBe(false);
    await daemon.kill();
  });
});

describe('republishing over SIGKILL', { timeout: 4 * PATIENCE_MS }, () => {
  it(`sends nothing that is not durable, in ${KILLS} lives`, async () => {
    const next = seeded(579);
    for (let life = 0; life < KILLS; life++) {
      const before = puts().length;
      daemon = await start();
      if (life === 0) {
        const key = await keyOf(1);
        const enrolments = await Promise.all(
          owned.map(async (each) => each.owner.enrolment(await recordOf(each), 1, key)),
        );
        expect((await ask('POST', '/names', enrolments as never)).status).toBe(200);
      } else {
        for (const [n, each] of owned.entries()) if (n % KILLS === life) await update(each, `/ipfs/life-${life}`);
      }
      const wanted = 1 + Math.floor(next() * (life === 0 ? NAMES - 1 : NAMES / KILLS));
      await until(() => puts().length >= before + wanted);
      await daemon.kill();
      const held = await durable();
      for (const { name, record } of puts()) {
        const sent = await resolved(name, record);
        // Whatever came after it is in the store as well, and nothing in the store is older.
        expect(choose(held.get(name)!, sent).adopt, `${name} in life ${life}`).toBe(false);
        const { sequence, eol_ms } = held.get(name)!;
        if (sent.sequence === sequence && sent.eol_ms === eol_ms) expect(record).toEqual(held.get(name)!.record);
      }
    }

    daemon = await start();
    router.switches.slow_ms = 0;
    await until(async () => {
      const { body } = await ask('GET', '/names?state=published&limit=100');
      return (body as { names: unknown[] }).names.length === NAMES;
    });
    const held = await durable();
    for (const each of owned) await check(each, held.get(each.owner.name)!.record);
    await daemon.stop();
  });

  async function update(each: Owned, value: string): Promise<void> {
    Object.assign(each, { value, sequence: each.sequence + 1n });
    const body = { record: base64(await recordOf(each)) };
    expect((await ask('PUT', `/names/${each.owner.name}/record`, body)).status).toBe(200);
  }

  /** Of all that was sent for one name, in its order. */
  async function check({ owner: { name }, value, sequence }: Owned, stored: Uint8Array): Promise<void> {
    const sent = await Promise.all(
      puts()
        .filter((put) => put.name === name)
        .map(({ record }) => resolved(name, record)),
    );
    for (const [i, one] of sent.entries()) {
      const before = sent[i - 1];
      if (before === undefined) continue;
      expect(one.sequence, name).toBeGreaterThanOrEqual(before.sequence);
      if (one.sequence === before.sequence) expect(one.eol_ms, name).toBeGreaterThanOrEqual(before.eol_ms);
    }
    expect(sent.at(-1)).toMatchObject({ value, sequence });
    expect(sent.every((one) => one.sequence <= sequence)).toBe(true);
    expect(router.taken.findLast((put) => put.name === name)!.record).toEqual(stored);
  }
});
