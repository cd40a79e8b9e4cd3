// `aegisd migrate …`, `backup` and `import` against a daemon in this process, over its unix socket: the real commands and files. What restores
// a backup is in test/restore.test.ts, with processes of their own.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { type House, openHouse } from '../../test/house.ts';
import { readManifest } from '../backup.ts';
import { connect } from './connection.ts';
import { main } from './program.ts';

let house: House;
let config: string;
beforeAll(async () => {
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
  await house.server.listen();
  config = file('own.toml', `[daemon]\nstate_dir = ${JSON.stringify(house.state_dir)}\n`);
});
afterAll(() => house[Symbol.asyncDispose]());
afterEach(() => vi.restoreAllMocks());

function file(name: string, content?: string): string {
  const path = join(house.state_dir, name);
  if (content !== undefined) writeFileSync(path, content);
  return path;
}

async function run(...args: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => err.push(String(text)) > 0);
  const code = await main(['node', 'aegisd', ...args]);
  vi.restoreAllMocks();
  return { code, out: out.join(''), err: err.join('') };
}
const aegisd = (...args: string[]) => run(...args, '--config', config);
const migrate = (...args: string[]) => aegisd('migrate', ...args);

const policy = { allowed_operations: ['transfer'], requires_pqc: true, requires_tee: true, risk_threshold: 5_000 };
const legacy = (asset_id: string, digit: string, other: object = {}) => ({
  ...{ asset_id, asset_type: 'OnChainToken', chain_id: 31_337, contract_address: `0x${digit.repeat(40)}` },
  ...{ encryption_key: [1, 2, 3], access_policy: policy, migration_state: 'Active', ...other },
});

it('imports what it can of the old state, once, and says what it can not', async () => {
  const state = { assets: [legacy('gold', '1'), legacy('moving', '2', { migration_state: 'Migrating' })] };
  const path = file('phala.json', JSON.stringify(state));
  const dry = await aegisd('import', path, '--dry-run');
  expect(dry).toMatchObject({ code: 1, err: '' });
  expect(dry.out).toContain('1 of 2 assets would be taken');
  expect(house.sequencer.store.count('assets')).toBe(0);
  const taken = await aegisd('import', path, '--json');
  expect(taken).toMatchObject({ code: 1, err: '' });
  expect(JSON.parse(taken.out)).toMatchObject({ assets: 2, taken: 1, not_taken: 1, dry_run: false });
  expect(house.sequencer.getAssetProtection('gold')).toMatchObject({ migration_state: 'Active' });
  expect((await aegisd('import', file('good.json', JSON.stringify({ assets: [legacy('gold', '1')] })))).code).toBe(0);
  expect(await aegisd('import', file('bad.json', '{'))).toMatchObject({ code: 2, out: '' });
  expect((await aegisd('import', file('none.json', '{"assets": 7}'))).err).toMatch(/none\.json assets: /);
});

it('starts, shows, exports, rolls back and completes', async () => {
  expect((await migrate('status')).out).toBe('migration  none so far\n');
  const sender = `0x${'ab'.repeat(20)}`;
  const started = await migrate('start', '--sender', sender);
  expect(started).toMatchObject({ code: 0, err: '' });
  expect(started.out).toContain('migration  migrating, assets are Migrating');
  expect(started.out).toContain(`senders    ${sender}`);
  const twice = await migrate('start');
  expect([twice.code, twice.out]).toEqual([1, '']);
  expect(twice.err).toMatch(/aegisd\.sock: POST \/migration\/start: 409 migration_running: /);
  expect((await migrate('start', '--sender', '0x1')).err).toMatch(/invalid_body: .*senders/);

  const { checkpoint_id, checkpoint } = JSON.parse((await migrate('status', '--json')).out);
  expect(checkpoint).toMatchObject({ asset_count: 1, parts: 1 });
  await house.journaled('seal_created', ({ size }) => (size as number) > checkpoint.leaf_index);
  const out = file('checkpoint.json');
  expect(await migrate('export', checkpoint_id, '--out', out)).toMatchObject({
    ...{ code: 0, err: '', out: `${out}: ${checkpoint_id} of 1 assets, sealed\n` },
  });
  expect(await run('verify', out, '--allow-simulated')).toMatchObject({ code: 0 });
  expect((await migrate('export', checkpoint_id, '--out', out)).code).toBe(1);
  expect((await migrate('export', 'checkpoint_9', '--out', file('other.json'))).err).toContain('checkpoint_not_found');
  expect(existsSync(file('other.json'))).toBe(false);

  expect((await migrate('complete', 'checkpoint_9')).err).toContain('checkpoint_not_found');
  const back = await migrate('rollback', checkpoint_id);
  expect(back).toMatchObject({ code: 0, err: '' });
  expect(back.out).toContain('migration  rolled_back, assets are Active');
  expect((await migrate('complete', checkpoint_id)).err).toContain('migration_not_running');
  const again = JSON.parse((await migrate('start', '--json')).out);
  expect(again.checkpoint_id).not.toBe(checkpoint_id);
  expect((await migrate('complete', again.checkpoint_id)).out).toContain('migration  migrated, assets are Migrated');
});

it('copies the store where it is told to, and puts nothing back while a daemon runs', async () => {
  const out = file('copy');
  const taken = await aegisd('backup', '--out', out, '--json');
  expect(taken).toMatchObject({ code: 0, err: '' });
  expect(JSON.parse(taken.out)).toMatchObject({ out, ...readManifest(out) });
  expect(readdirSync(out).sort()).toEqual(['backup.json', 'data.mdb']);
  expect(await aegisd('backup', '--out', out)).toMatchObject({
    ...{ code: 2, out: '', err: `${out}: it is there already, and a backup never overwrites\n` },
  });
  // Nothing is copied that would have no place.
  const nowhere = file('nowhere');
  expect(await aegisd('backup', '--out', join(nowhere, 'copy'))).toMatchObject({
    ...{ code: 2, out: '', err: `${join(nowhere, 'copy')}: expected that ${nowhere} is there\n` },
  });
  expect((await aegisd('restore', '--from', out)).err).toMatch(/^The store at .+ is in use by process \d+/);
  const seal = file('seal.json', '{}');
  expect(await aegisd('restore', '--from', out, '--seal', seal)).toMatchObject({ code: 2, out: '' });
  // As it was fetched, or the head in it.
  await house.journaled('seal_created');
  const head = await connect({ config }).get<{ sealed: unknown }>('/log/head');
  for (const kept of [head, head.sealed]) {
    const newest = file('newest.json', JSON.stringify(kept));
    expect((await aegisd('restore', '--from', out, '--seal', newest)).err).toMatch(/is in use by process \d+/);
  }
  expect((await aegisd('resolve-restore', '--published', seal)).err).toMatch(/is in use by process \d+/);
});
