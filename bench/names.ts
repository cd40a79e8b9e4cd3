// What names cost: the signing pipeline of the rooms (records, chunks to a thread, the commits) beside the bare cryptography of the
// same work in the same run, both by the processor time of all threads, since a second per core is what is asked for; and what 100,000 enrolled names cost a tick and a start. The router answers at once, in this process, since
// routers are the limit everywhere else. `npm run bench` prints the figures.
import { createPublicKey, sign, verify } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { base64 } from '../actors/encoding.ts';
import { keyOfName, validityOf } from '../actors/ipns.ts';
import { loadConfig } from '../config/load.ts';
import { steadyCollector } from '../daemon/collector.ts';
import { Owner } from '../daemon/demo/owner.ts';
import { dueNames, newMachine, putName } from '../daemon/names/record.ts';
import { Names } from '../daemon/names.ts';
import type { Router } from '../daemon/router.ts';
import { openStore, type Store } from '../daemon/store.ts';
import { nameKind } from '../daemon/wrapkinds.ts';
import { type WrapKeys, Wraps } from '../daemon/wraps.ts';
import { eciesKey, openEcies, sealEcies } from '../workers/ecies.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { type Figure, median, time } from './figure.ts';

const SIGNED = 1_500;
const BARE = 500;
const WARM = 2;
const ENROLLED = 100_000;
const PAGE = 256;
const RATIO_REACH = 1.5;
const TICK_REACH_MS = 50;
const START_REACH_MS = 2_000;
const CYCLE_S = 21_600;
const HOUR_MS = 3_600_000;
const NOW_MS = Date.UTC(2030, 0, 1);

const names = eciesKey(new Uint8Array(32).fill(1));
const keys = { epoch: 1, names: names.handle, public: { names: base64(names.publicKey) } } as unknown as WrapKeys;
const ready: Router = {
  get: async () => ({ ok: true, record: null }),
  put: async () => ({ ok: true }),
};

export async function run(): Promise<Figure[]> {
  // As in a daemon.
  steadyCollector();
  const { config } = loadConfig({ environment: {} });
  const pool = createPool(config.workers);
  await pool.ready();
  try {
    const owners = Array.from({ length: SIGNED }, (_, n) => ownerOf(n));
    // A cycle takes hours and V8 a second to make code of it: that is spent before it counts.
    for (let warm = 0; warm < WARM; warm++) await pipelineRate(pool, owners);
    bareRate(owners.slice(0, BARE));
    // On both sides of it, since a machine is not as fast from one second to the next.
    const before = bareRate(owners.slice(0, BARE));
    const value = await pipelineRate(pool, owners);
    const floor = (before + bareRate(owners.slice(0, BARE))) / 2;
    return [...pipeline(value, floor), ...(await enrolled(pool))];
  } finally {
    await pool.close();
  }
}

function ownerOf(n: number): Owner {
  const seed = new Uint8Array(32).fill(7);
  new DataView(seed.buffer).setUint32(0, n);
  return new Owner(seed);
}

/** Names a second of one core: open the key, sign V1 and V2, verify; nothing else. */
function bareRate(owners: readonly Owner[]): number {
  const rows = owners.map(({ name, seed }) => ({ name, wrapped: sealEcies(names.publicKey, seed) }));
  const message = new Uint8Array(200);
  const ms = processorTime();
  for (const { name, wrapped } of rows) {
    const seed = openEcies(names.handle, wrapped)!;
    const key = { key: seed as Buffer, format: 'raw-private', asymmetricKeyType: 'ed25519' } as never;
    const signature = sign(null, message, key);
    sign(null, message, key);
    const publicKey = { key: keyOfName(name)!, format: 'raw-public', asymmetricKeyType: 'ed25519' } as const;
    if (!verify(null, message, createPublicKey(publicKey), signature)) throw new Error('not signed');
  }
  return (rows.length / ms()) * 1_000;
}

/** @returns tells the ms of all threads since then */
function processorTime(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  };
}

async function openHouse(pool: Pool, names_max = 1_000_000) {
  const folder = mkdtempSync(join(tmpdir(), 'bench-names-'));
  const { config } = loadConfig({ environment: {} });
  const open = () =>
    openStore({ folder, key: new Uint8Array(32), ...config.store, schema: { version: 1, migrations: [] } });
  const view = { active: () => 1, accepts: () => true, keysOf: () => keys };
  const clock = { now_ms: NOW_MS };
  const make = (store: Store) =>
    new Names({
      store,
      pool,
      wraps: new Wraps({ ...view, kinds: [nameKind(pool)], now: () => clock.now_ms }),
      epochs: { active: { keys }, keysOf: () => keys },
      options: () => ({ ...config.names, names_max, requests_per_s: 100_000, in_flight_max: 256, read_back_every: 0 }),
      accepts: () => true,
      onEmptied: () => {},
      now: () => clock.now_ms,
      router: ready,
      onFault: fail,
      fatal: fail,
    });
  return { folder, open, make, view, clock };
}

function fail(error: unknown): never {
  throw error;
}

/** Puts names where enrolling would, without its checks. */
async function fill(
  store: Store,
  wraps: Wraps,
  owners: readonly { name: string; seed: Uint8Array }[],
  due_ms: (n: number) => number,
) {
  const record = new Uint8Array(350);
  for (let from = 0; from < owners.length; from += 500) {
    await store.commit((step) => {
      for (const [i, { name, seed }] of owners.slice(from, from + 500).entries()) {
        const eol_ms = NOW_MS + 42 * HOUR_MS;
        const entry = { value: `/ipfs/${name}`, sequence: 1n, ttl_ns: 1n, validity: validityOf(eol_ms) };
        putName(step, name, undefined, {
          ...{ machine: newMachine(), due_ms: due_ms(from + i), revision: 0, resolve: false },
          ...{ enrolled_at_ms: NOW_MS, published_at_ms: null, held: { ...entry, eol_ms, record } },
        });
        wraps.adopt(step, 'name', name, { epoch: 1, wrapped: wrapped ?? sealEcies(names.publicKey, seed) });
      }
    });
  }
}
/** Of 100,000 names that are never opened, one will do. */
let wrapped: Uint8Array | undefined;

function pipeline(value: number, floor: number): Figure[] {
  const ratio = floor / value;
  return [
    {
      ...{ name: 'names, signed and settled', value, unit: '/s of a core', floor, ratio },
      ...{ reach: `bare / this <= ${RATIO_REACH}`, met: ratio <= RATIO_REACH },
    },
    { name: 'names, capacity of 6 h of a core', value: value * CYCLE_S, unit: 'names' },
  ];
}

/** Names a second of one core, all threads together. */
async function pipelineRate(pool: Pool, owners: readonly Owner[]): Promise<number> {
  const house = await openHouse(pool);
  const store = await house.open();
  try {
    const wraps = new Wraps({ ...house.view, kinds: [nameKind(pool)], now: () => NOW_MS });
    await fill(store, wraps, owners, () => NOW_MS);
    const room = house.make(store);
    const ms = processorTime();
    await room.run();
    const value = (owners.length / ms()) * 1_000;
    if (room.overview.totals.published !== owners.length) throw new Error('not all were published');
    return value;
  } finally {
    await store.close();
    rmSync(house.folder, { recursive: true });
  }
}

async function enrolled(pool: Pool): Promise<Figure[]> {
  const house = await openHouse(pool);
  let store = await house.open();
  try {
    const wraps = new Wraps({ ...house.view, kinds: [nameKind(pool)], now: () => NOW_MS });
    const fake = Array.from({ length: ENROLLED }, (_, n) => ({
      name: `k51${n.toString(36).padStart(59, '0')}`,
      seed: new Uint8Array(32),
    }));
    wrapped = sealEcies(names.publicKey, new Uint8Array(32));
    await fill(store, wraps, fake, (n) => NOW_MS + (n * CYCLE_S * 1_000) / ENROLLED);
    await store.close();
    const began = performance.now();
    store = await house.open();
    const room = house.make(store);
    const { states } = room.overview;
    const start_ms = performance.now() - began;
    if (states.due !== ENROLLED) throw new Error('names are missing');
    const tick = (now_ms: number) =>
      median(Array.from({ length: 21 }, () => time(() => dueNames(store, now_ms, () => false, { limit: PAGE }))));
    const quiet = tick(NOW_MS + 30_000);
    const behind = tick(NOW_MS + CYCLE_S * 1_000);
    const figure = (name: string, value: number, reach: number): Figure => ({
      ...{ name: `names, 100,000 enrolled, ${name}`, value, unit: 'ms' },
      ...{ reach: `< ${reach} ms`, met: value < reach },
    });
    return [
      figure('a tick', quiet, TICK_REACH_MS),
      figure('a tick when all are due', behind, TICK_REACH_MS),
      figure('opening the store', start_ms, START_REACH_MS),
    ];
  } finally {
    await store.close();
    rmSync(house.folder, { recursive: true });
  }
}

if (import.meta.main) console.table(await run());
