// Names end to end but for HTTP of our own: a real router with its switches, real threads, a real store; records are judged by the
// `ipns` package wherever they come out.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { base64 } from '../actors/encoding.ts';
import { HOUR_MS, Named, ownerOf } from '../test/named.ts';
import { testPool } from '../test/vaulted.ts';
import type { Pool } from '../workers/pool.ts';
import { nameRecord, namesAgree } from './names/record.ts';

let pool: Pool;
let house: Named;
beforeAll(() => {
  pool = testPool();
});
afterAll(() => pool.close());
beforeEach(async () => {
  house = await Named.open(pool);
});
afterEach(async () => {
  expect(house.fatal).toEqual([]);
  expect(namesAgree(house.vaulted.store)).toBe(true);
  await house[Symbol.asyncDispose]();
});

const [alice, bob, carol] = [ownerOf(1), ownerOf(2), ownerOf(3)];

describe('a cycle', () => {
  it('moves the end of life and nothing else, again and again', async () => {
    await house.enrol(alice, '/ipfs/a', 7n);
    let before = (await house.resolve(alice))!;
    expect(before).toMatchObject({ value: '/ipfs/a', sequence: 7n, eol_ms: house.now_ms + 48 * HOUR_MS });
    for (let cycle = 0; cycle < 5; cycle++) {
      await house.pass(10);
      const after = (await house.resolve(alice))!;
      expect(after).toEqual({ ...before, eol_ms: house.now_ms + 48 * HOUR_MS });
      expect(after.eol_ms).toBeGreaterThan(before.eol_ms);
      before = after;
    }
    expect(house.names.overview.totals).toMatchObject({ published: 6, extended: 6 });
    expect(house.names.overview.soonest_expiry_ms).toBe(before.eol_ms);
  });

  it('sends a record that lives long enough as the owner signed it, and opens no key', async () => {
    await house.enrol(alice, '/ipfs/a', 1n, 1, 100 * HOUR_MS);
    expect((await house.resolve(alice))!.eol_ms).toBe(house.now_ms + 100 * HOUR_MS);
    expect(house.names.overview.totals.extended).toBeUndefined();
    await house.pass(10);
    expect(house.names.overview.totals).toMatchObject({ published: 2 });
    expect(house.names.overview.totals.extended).toBeUndefined();
  });

  it('takes over what the owner published past us, and never rolls it back', async () => {
    await house.enrol(alice, '/ipfs/old', 1n);
    await house.put(alice, await alice.record('/ipfs/new', 2n, house.now_ms + 12 * HOUR_MS));
    await house.pass(10);
    expect(await house.resolve(alice)).toMatchObject({
      value: '/ipfs/new',
      sequence: 2n,
      eol_ms: house.now_ms + 48 * HOUR_MS,
    });
    expect(house.shown(alice)).toMatchObject({ state: 'published', value: '/ipfs/new', sequence: 2n });
    expect(house.names.overview.totals).toMatchObject({ adopted: 1 });
  });

  it('of two values under one sequence keeps what the selector prefers, and says so without a name', async () => {
    await house.enrol(alice, '/ipfs/a', 1n);
    await house.put(alice, await alice.record('/ipfs/b', 1n, house.now_ms + 60 * HOUR_MS));
    await house.pass(10);
    expect(await house.resolve(alice)).toMatchObject({ value: '/ipfs/b', sequence: 1n });
    expect(house.journal('name_conflict')).toEqual([{}]);
    expect(house.names.overview.totals).toMatchObject({ conflicts: 1 });
  });

  it('passes over what a router makes up', async () => {
    await house.enrol(alice, '/ipfs/a', 1n);
    const forged = await bob.record('/ipfs/evil', 99n, house.now_ms + 90 * HOUR_MS);
    house.names = house.open();
    const get = globalThis.fetch;
    globalThis.fetch = async (url, init) => {
      if (init?.method === 'PUT') return get(url, init);
      return new Response(forged as BodyInit, { headers: { 'content-type': 'application/vnd.ipfs.ipns-record' } });
    };
    try {
      await house.pass(10);
    } finally {
      globalThis.fetch = get;
    }
    expect(await house.resolve(alice)).toMatchObject({ value: '/ipfs/a', sequence: 1n });
    expect(house.names.overview.totals).toMatchObject({ lies: 1, published: 2 });
  });

  it('moves the key to the active epoch with the record that it signs, and the old epoch is empty', async () => {
    await house.enrol(alice, '/ipfs/a');
    await house.vaulted.rotate(2);
    await house.pass(10);
    expect(house.shown(alice)).toMatchObject({ state: 'published', key_epoch: 2 });
    expect(house.emptied).toEqual([1]);
    house.vaulted.check(new Map([[`name/${alice.name}`, alice.seed]]));
    house.vaulted.keys.delete(1);
    await house.pass(10);
    expect(await house.resolve(alice)).toMatchObject({ eol_ms: house.now_ms + 48 * HOUR_MS });
  });
});

describe('an owner', () => {
  const update = async (value: string, sequence: bigint, life_ms = 24 * HOUR_MS) =>
    house.names.update(alice.name, { record: base64(await alice.record(value, sequence, house.now_ms + life_ms)) });

  it('brings a newer record, which goes out at once', async () => {
    await house.enrol(alice, '/ipfs/a', 1n);
    expect(await update('/ipfs/b', 2n)).toMatchObject({ ok: true });
    await house.names.run();
    expect(await house.resolve(alice)).toMatchObject({ value: '/ipfs/b', sequence: 2n });
  });

  it('is told when a record is older, contradicts, has expired or is of another', async () => {
    await house.enrol(alice, '/ipfs/a', 5n);
    expect(await update('/ipfs/b', 4n)).toEqual({ ok: false, code: 'record_outdated' });
    expect(await update('/ipfs/b', 5n)).toEqual({ ok: false, code: 'record_conflict' });
    expect(await update('/ipfs/b', 6n, -1)).toEqual({ ok: false, code: 'record_expired' });
    expect(await update('/ipfs/a', 5n)).toMatchObject({ ok: true });
    const foreign = base64(await bob.record('/ipfs/b', 9n, house.now_ms + HOUR_MS));
    expect(await house.names.update(alice.name, { record: foreign })).toEqual({ ok: false, code: 'record_foreign' });
    expect(await house.names.update(alice.name, { record: 'AAAA' })).toEqual({ ok: false, code: 'record_invalid' });
    expect(await house.names.update(alice.name, {})).toMatchObject({ code: 'invalid_name', field: 'record' });
    expect(await house.names.update(bob.name, { record: foreign })).toEqual({ ok: false, code: 'name_not_found' });
    expect(house.shown(alice)).toMatchObject({ value: '/ipfs/a', sequence: 5n });
  });

  it('who updates while the old record is on its way is not overtaken by it', async () => {
    await house.enrol(alice, '/ipfs/a', 1n);
    house.router.switches.slow_ms = 200;
    const passing = house.pass(10);
    await expect.poll(() => house.router.seen.filter(({ method }) => method === 'PUT').length).toBe(2);
    expect(await update('/ipfs/b', 2n)).toMatchObject({ ok: true });
    await passing;
    house.router.switches.slow_ms = 0;
    expect(await house.resolve(alice)).toMatchObject({ value: '/ipfs/b', sequence: 2n });
    expect(house.shown(alice)).toMatchObject({ state: 'published', value: '/ipfs/b' });
  });

  it('who leaves takes the key along; nothing more is published', async () => {
    await house.enrol(alice, '/ipfs/a');
    expect([await house.names.remove(alice.name), await house.names.remove(alice.name)]).toEqual([true, false]);
    house.vaulted.check(new Map());
    const { length } = house.router.seen;
    await house.pass(10);
    expect(house.router.seen.length).toBe(length);
    expect(house.names.overview.soonest_expiry_ms).toBeUndefined();
  });
});

describe('enrolling', () => {
  it('answers each entry on its own, and one that is bad costs the others nothing', async () => {
    const good = await house.enrolment(alice, '/ipfs/a');
    const other = await house.enrolment(bob, '/ipfs/b');
    const expired = await house.enrolment(carol, '/ipfs/c', 1n, 1, -1);
    const answers = await house.names.enrol([
      good,
      good,
      { ...other, encryptedIpnsKey: good.encryptedIpnsKey },
      { ...(await house.enrolment(ownerOf(4), '/ipfs/d')), keyEpoch: 2 },
      { ...(await house.enrolment(ownerOf(5), '/ipfs/e')), record: other.record },
      expired,
      { ...(await house.enrolment(ownerOf(6), '/ipfs/f')), keyEpoch: 1.5 },
      { ...(await house.enrolment(ownerOf(7), '/ipfs/g')), keyEpoch: -1 },
      { ...(await house.enrolment(ownerOf(8), '/ipfs/h')), encryptedIpnsKey: base64(new Uint8Array(128)) },
      { ...(await house.enrolment(ownerOf(9), '/ipfs/i')), record: base64(new Uint8Array(10_241)) },
      await house.enrolment(ownerOf(10), '/ipfs/j'),
      null,
    ]);
    expect(answers.map((each) => (each.ok ? each.created : [each.code, 'field' in each ? each.field : '']))).toEqual([
      true,
      ['name_repeated', ''],
      ['key_foreign', ''],
      ['key_unopenable', ''],
      ['record_foreign', ''],
      ['record_expired', ''],
      ['invalid_name', 'keyEpoch'],
      ['invalid_name', 'keyEpoch'],
      ['invalid_name', 'encryptedIpnsKey'],
      ['invalid_name', 'record'],
      true,
      ['invalid_name', ''],
    ]);
    expect(house.journal('names_enrolled')).toEqual([{ enrolled: 2, updated: 0 }]);
    expect(house.names.list({ limit: 10 }).names.map(({ name }) => name)).toEqual(
      [alice.name, ownerOf(10).name].sort(),
    );
  });

  it('again is no error, and brings a name back that nothing else could', async () => {
    await house.enrol(alice, '/ipfs/a');
    house.vaulted.keys.delete(1);
    await house.vaulted.rotate(2);
    await house.pass(10);
    expect(house.shown(alice)).toMatchObject({ state: 'quarantined', reason: 'key_retired' });
    expect(house.journal('names_quarantined')).toEqual([{ reason: 'key_retired' }]);
    await house.enrol(alice, '/ipfs/a', 1n, 2);
    expect(house.shown(alice)).toMatchObject({ state: 'published', key_epoch: 2, reason: null });
  });

  it('ends at the limit of names, and is off without a router', async () => {
    Object.assign(house.options, { names_max: 1 });
    await house.enrol(alice, '/ipfs/a');
    expect(await house.names.enrol([await house.enrolment(bob, '/ipfs/b')])).toEqual([
      { ok: false, code: 'names_full' },
    ]);
    await house.names.stop();
    Object.assign(house.options, { router: '' });
    const off = house.open();
    expect(off.on).toBe(false);
    expect(await off.enrol([null])).toEqual([{ ok: false, code: 'names_off' }]);
    await off.run();
  });
});

describe('a router that', () => {
  it('is out for two days makes names stale and then they come back by themselves', async () => {
    for (const owner of [alice, bob]) await house.enrol(owner, '/ipfs/a', 3n);
    house.router.switches.outage = true;
    house.chance = 0.99;
    for (let hour = 0; hour < 40; hour++) await house.pass(1);
    expect(house.shown(alice)).toMatchObject({ state: 'stale', reason: 'router_unreachable' });
    expect(house.shown(alice).failures).toBeGreaterThanOrEqual(10);
    expect(house.journal('names_stale')).toEqual([{ reason: 'router_unreachable' }]);
    house.router.switches.outage = false;
    await house.pass(2);
    for (const owner of [alice, bob]) {
      expect(house.shown(owner)).toMatchObject({ state: 'published', failures: 0, reason: null });
      expect(await house.resolve(owner)).toMatchObject({ value: '/ipfs/a', sequence: 3n });
    }
    expect(house.journal('names_recovered')).toEqual([{}]);
    expect(house.names.overview.totals).toMatchObject({ stale: 2 });
  });

  it.each([
    [{ status: 503 }, 'router_status_503'],
    [{ status: 500 }, 'router_status_500'],
    [{ status: 403 }, 'router_status_403'],
    [{ slow_ms: 1_500 }, 'router_timeout'],
    [{ outage: true }, 'router_unreachable'],
  ])('says %o for one name is tried again, and the other names go on', async (wrong, reason) => {
    for (const owner of [alice, bob]) await house.enrol(owner, '/ipfs/a');
    Object.assign(house.router.switches, wrong);
    house.router.switches.names.add(alice.name);
    await house.pass(10);
    expect(house.shown(alice)).toMatchObject({ state: 'retrying', failures: 1, reason });
    expect(house.shown(bob)).toMatchObject({ state: 'published', failures: 0 });
    Object.assign(house.router.switches, { status: null, slow_ms: 0, outage: false });
    await house.pass(1);
    expect(house.shown(alice)).toMatchObject({ state: 'published', failures: 0 });
  });

  it('asks for patience gets it', async () => {
    await house.enrol(alice, '/ipfs/a');
    Object.assign(house.router.switches, { status: 429, retry_after: '1800' });
    house.chance = 0;
    await house.pass(10);
    expect(nameRecord(house.vaulted.store, alice.name)!.due_ms).toBe(house.now_ms + 1_800_000);
  });

  it.each([400, 406, 415, 422])(
    'refuses a record with %i has it quarantined, until the owner brings another',
    async (status) => {
      await house.enrol(alice, '/ipfs/a');
      house.router.switches.status = status;
      Object.assign(house.router.switches, { status: null });
      const fetched = globalThis.fetch;
      globalThis.fetch = async (url, init) =>
        init?.method === 'PUT' ? new Response('', { status }) : fetched(url, init);
      try {
        await house.pass(10);
      } finally {
        globalThis.fetch = fetched;
      }
      expect(house.shown(alice)).toMatchObject({ state: 'quarantined', reason: `record_refused: ${status}` });
      const { length } = house.router.seen;
      await house.pass(100);
      expect(house.router.seen.length).toBe(length);
      const newer = await alice.record('/ipfs/b', 2n, house.now_ms + HOUR_MS);
      expect(await house.names.update(alice.name, { record: base64(newer) })).toMatchObject({ ok: true });
      await house.names.run();
      expect(house.shown(alice)).toMatchObject({ state: 'published', reason: null });
    },
  );

  it('says 200 and stores nothing is found out by reading back', async () => {
    Object.assign(house.options, { read_back_every: 1 });
    house.router.switches.lies = true;
    await house.enrol(alice, '/ipfs/a');
    expect(house.shown(alice)).toMatchObject({ state: 'retrying', reason: 'router_lied' });
    house.router.switches.lies = false;
    await house.pass(1);
    expect(house.shown(alice)).toMatchObject({ state: 'published' });
    expect(await house.resolve(alice)).toMatchObject({ value: '/ipfs/a' });
  });

  it('fails after signing gets the same bytes again, and the key is not touched for them', async () => {
    await house.enrol(alice, '/ipfs/a');
    const ends_ms = house.names.overview.soonest_expiry_ms!;
    const fetched = globalThis.fetch;
    const sent: string[] = [];
    globalThis.fetch = async (url, init) => {
      if (init?.method !== 'PUT') return fetched(url, init);
      sent.push(base64(init.body as never));
      return new Response('', { status: 503 });
    };
    try {
      for (let hour = 0; hour < 4; hour++) await house.pass(hour === 0 ? 10 : 1);
    } finally {
      globalThis.fetch = fetched;
    }
    expect(sent.length).toBe(4);
    expect(new Set(sent).size).toBe(1);
    expect(house.names.overview.totals).toMatchObject({ extended: 2, failed: 4 });
    // What nobody has got saves nobody: the soonest end is that of what is out there.
    expect(house.names.overview.soonest_expiry_ms).toBe(ends_ms);
    expect(namesAgree(house.vaulted.store)).toBe(true);
    // Durable before the first PUT: another life sends the same.
    await house.names.stop();
    house.open();
    await house.pass(1);
    expect(base64(house.router.taken.at(-1)!.record)).toBe(sent[0]);
    expect(house.names.overview.soonest_expiry_ms).toBe((await house.resolve(alice))!.eol_ms);
    expect(house.names.overview.soonest_expiry_ms).toBeGreaterThan(ends_ms);
    expect(namesAgree(house.vaulted.store)).toBe(true);
  });

  it('gives no answer near the end of a life does not keep the name from being signed anew', async () => {
    await house.enrol(alice, '/ipfs/a');
    const fetched = globalThis.fetch;
    globalThis.fetch = async (url, init) =>
      init?.method === 'PUT' ? fetched(url, init) : new Response('', { status: 502 });
    try {
      await house.pass(10);
      expect(house.shown(alice)).toMatchObject({ state: 'retrying', reason: 'router_status_502' });
      await house.pass(30);
    } finally {
      globalThis.fetch = fetched;
    }
    expect(await house.resolve(alice)).toMatchObject({ sequence: 1n, eol_ms: house.now_ms + 48 * HOUR_MS });
  });
});
