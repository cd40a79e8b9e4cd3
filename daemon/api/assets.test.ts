// Assets over the API and through the whole pipeline: a daemon in this process, real LMDB, real threads, real envelopes.
import { readFileSync } from 'node:fs';
import { encodeFunctionData, parseAbi } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assetsRoot } from '../../actors/asset.ts';
import { fromHex, hex } from '../../actors/encoding.ts';
import type { Refusal } from '../../actors/refusal.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import { type House, openHouse } from '../../test/house.ts';
import { countsAgree } from '../assets.ts';
import { outcomeOf } from '../batches.ts';
import { envelopeRecord } from '../records.ts';

const TOKEN = '0x1111111111111111111111111111111111111111';
const policy = { allowed_operations: ['transfer'], requires_pqc: true, requires_tee: true, risk_threshold: 5_000 };
const token = {
  asset_id: 'token',
  asset_type: 'OnChainToken',
  chain_id: 31_337,
  contract_address: TOKEN,
  access_policy: policy,
};
const abi = parseAbi(['function transfer(address to, uint256 amount)', 'function approve(address to, uint256 amount)']);
const account = privateKeyToAccount(hex(new Uint8Array(32).fill(3)));
const data = (functionName: 'transfer' | 'approve') => encodeFunctionData({ abi, functionName, args: [TOKEN, 1n] });

let house: House;
beforeAll(async () => {
  house = await openHouse({
    sequencer: { batch_interval_ms: 60_000, batch_size: 50 },
    risk: { catalogue: false },
  });
  // Until there is evidence, policies that ask for it refuse.
  await house.sequencer.attestKeyset();
});
afterAll(() => house[Symbol.asyncDispose]());

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';
async function ask(method: Method, url: string, payload?: object) {
  const { app, adminTokenPath } = house.server;
  const authorization = `Bearer ${readFileSync(adminTokenPath, 'utf8').trim()}`;
  const answer = await app.inject({ method, url, headers: { authorization }, ...(payload && { payload }) });
  return { status: answer.statusCode, body: answer.json() };
}

let nonce = 0;
async function submit(over: {
  data?: `0x${string}`;
  to?: `0x${string}`;
  asset_refs?: string[];
  scheme?: 'x-wing' | 'ecies';
}): Promise<string> {
  const raw = fromHex(
    await account.signTransaction({
      ...{
        type: 'eip1559',
        chainId: 31_337,
        nonce: nonce++,
        to: over.to ?? TOKEN,
        data: over.data ?? data('transfer'),
      },
      ...{ gas: 100_000n, maxFeePerGas: 10n ** 12n, maxPriorityFeePerGas: 10n ** 9n },
    }),
  );
  const { keyset } = house.sequencer;
  const { scheme = 'x-wing', asset_refs = ['token'] } = over;
  const admitted = await house.sequencer.submitEncrypted(await encryptEnvelope({ keyset, raw, scheme, asset_refs }));
  expect(admitted).toMatchObject({ ok: true });
  return admitted.ok ? admitted.envelope_id : '';
}

/** Cuts what is pending and waits until it is signed. */
async function batch() {
  const height = await house.sequencer.createBatch();
  await house.journaled('batch_created', (entry) => entry.height === height);
  return house.sequencer.batch(height!)!;
}

describe('the registry over HTTP', () => {
  it('takes the body of the deployment guide as it stands, and shows it', async () => {
    const guide = {
      ...{ asset_id: 'token_001', asset_type: 'OnChainToken', chain_id: 16584 },
      contract_address: '0x72FC1db108e68afBFe8c251829CeFeeFf109B7D4'.toLowerCase(),
      access_policy: { requires_pqc: true, requires_tee: true, risk_threshold: 5000 },
    };
    const registered = await ask('POST', '/assets/register', guide);
    expect(registered.status).toBe(201);
    expect(await ask('POST', '/assets/register', guide)).toEqual(registered);
    const shown = await ask('GET', '/assets/protection/token_001');
    expect(shown).toEqual({ status: 200, body: registered.body });
    expect(shown.body).toMatchObject({ migration_state: 'Active', encryption_key: null, chain_id: '16584' });
    expect(shown.body.access_policy.allowed_operations).toContain('transfer');
  });

  it('puts each privileged act into the log and the feed, in one commit', async () => {
    const { store } = house.sequencer;
    const made = await ask('POST', '/assets/register', { ...token, asset_id: 'acts' });
    const changed = await ask('PATCH', '/assets/acts/policy', { risk_threshold: 4_000 });
    expect(changed.body).toMatchObject({ access_policy: { ...policy, risk_threshold: 4_000 } });
    expect(changed.body.policy_digest).not.toBe(made.body.policy_digest);
    const removed = await ask('DELETE', '/assets/acts');
    expect(removed.status).toBe(200);
    const acts = [...store.range('journal', { limit: 100_000 })]
      .map(([, entry]) => entry as { type: string; data: Record<string, unknown> })
      .filter(({ data: of }) => of.asset_id === 'acts');
    expect(acts.map(({ type }) => type)).toEqual(['asset_registered', 'asset_policy', 'asset_removed']);
    for (const [i, { body }] of [made, changed, removed].entries()) {
      const entry = store.get('log', body.leaf_index);
      expect(entry).toEqual({ kind: 3, digest: acts[i]!.data.act_digest });
    }
    expect((await ask('GET', '/assets/protection/acts')).body.code).toBe('asset_not_found');
    expect(countsAgree(store)).toBe(true);
  });

  it('does nothing, and says so, for an act that changes nothing', async () => {
    await ask('POST', '/assets/register', { ...token, asset_id: 'still', contract_address: `0x${'77'.repeat(20)}` });
    const { size } = house.sequencer.status().log;
    const answer = await ask('PATCH', '/assets/still/policy', { risk_threshold: 5_000 });
    expect(answer.status).toBe(200);
    expect(house.sequencer.status().log.size).toBe(size);
  });

  it.each<[string, Method, string, object | undefined, number, string]>([
    [
      'a wrong checksum',
      'POST',
      '/assets/register',
      { ...token, contract_address: '0x72FC1db108e68afBFe8c251829CeFeeFf109B7d4' },
      400,
      'invalid_body',
    ],
    ['nothing', 'POST', '/assets/register', undefined, 400, 'empty_body'],
    ['an empty change', 'PATCH', '/assets/still/policy', {}, 400, 'invalid_body'],
    ['a change of nobody', 'PATCH', '/assets/nobody/policy', { risk_threshold: 1 }, 404, 'asset_not_found'],
    [
      'another policy under a known id',
      'POST',
      '/assets/register',
      { ...token, asset_id: 'still' },
      409,
      'asset_exists',
    ],
    ['a removal of nobody', 'DELETE', '/assets/nobody', undefined, 404, 'asset_not_found'],
    ['an id that is a path', 'GET', '/assets/protection/..%2f..', undefined, 400, 'invalid_path'],
    ['an unknown type', 'GET', '/assets?type=Thing', undefined, 400, 'invalid_query'],
  ])('refuses %s', async (_, method, url, payload, status, code) => {
    expect(await ask(method, url, payload)).toMatchObject({ status, body: { code } });
  });

  it('is closed to who has no token', async () => {
    const { app } = house.server;
    const answer = await app.inject({ method: 'POST', url: '/assets/register', payload: token });
    expect(answer.statusCode).toBe(401);
    expect((await app.inject({ method: 'DELETE', url: '/assets/token' })).statusCode).toBe(401);
  });

  it('lists by type and state in pages, each asset once', async () => {
    for (let i = 0; i < 25; i++) {
      const file = { asset_id: `file_${i}`, asset_type: i % 2 === 0 ? 'OffChainFile' : 'OffChainStream' };
      const access_policy = { requires_pqc: false, requires_tee: false, risk_threshold: i * 400 };
      expect((await ask('POST', '/assets/register', { ...file, access_policy })).status).toBe(201);
    }
    const all = async (query: string) => {
      const ids: string[] = [];
      let after = '';
      for (;;) {
        const { body } = await ask('GET', `/assets?limit=4&${query}${after}`);
        ids.push(...body.assets.map((each: { asset_id: string }) => each.asset_id));
        if (body.next === null) return ids;
        after = `&after=${encodeURIComponent(body.next)}`;
      }
    };
    const whole = await all('');
    expect(new Set(whole).size).toBe(whole.length);
    expect(whole).toHaveLength(house.sequencer.store.count('assets'));
    const files = await all('type=OffChainFile');
    expect(files).toHaveLength(13);
    // A threshold of 0 is reached by any score.
    expect(await all('state=Protected')).toEqual(['file_0']);
    await house.sequencer.assets.followRisk(2_000);
    expect((await all('state=Protected')).sort()).toEqual(['file_0', 'file_1', 'file_2', 'file_3', 'file_4', 'file_5']);
    expect(await all('state=Protected&type=OffChainFile')).toEqual(['file_0', 'file_2', 'file_4']);
    expect([...(await all('state=Active')), ...(await all('state=Protected'))].sort()).toEqual([...whole].sort());
    await house.sequencer.assets.followRisk(0);
    expect(await all('state=Protected')).toEqual(['file_0']);
  });
});

describe('policing in the pipeline', () => {
  beforeAll(async () => {
    expect((await ask('POST', '/assets/register', token)).status).toBe(201);
  });

  it('lets through what the policy allows and refuses the rest with its reason, signed', async () => {
    const ids = {
      fine: await submit({}),
      approve: await submit({ data: data('approve') }),
      classical: await submit({ scheme: 'ecies' }),
      silent: await submit({ asset_refs: [] }),
      elsewhere: await submit({ to: `0x${'55'.repeat(20)}` }),
      unregistered: await submit({ to: `0x${'55'.repeat(20)}`, asset_refs: ['nobody'] }),
      dirty: await submit({ data: `${data('transfer')}00` }),
      other: await submit({ to: `0x${'55'.repeat(20)}`, asset_refs: [] }),
    };
    const file = await batch();
    const { store } = house.sequencer;
    const reasons = Object.fromEntries(file.refused.map(({ envelope_id, reason }) => [envelope_id, reason]));
    const expected: Partial<Record<keyof typeof ids, Refusal>> = {
      approve: 'operation_not_allowed',
      classical: 'pqc_required',
      silent: 'asset_undeclared',
      elsewhere: 'asset_not_touched',
      unregistered: 'asset_not_touched',
      dirty: 'calldata_malformed',
    };
    for (const [name, id] of Object.entries(ids)) expect([name, reasons[id]]).toEqual([name, expected[name as 'fine']]);
    expect(outcomeOf(store, envelopeRecord(store, ids.fine)!).status).toBe('sequenced');
    const { policy_digest } = house.sequencer.getAssetProtection('token')!;
    expect(file.asset_protections).toEqual([
      { asset_id: 'token', asset_type: 'OnChainToken', migration_state: 'Active', policy_digest },
    ]);
    expect(file.header.assets_root).toBe(hex(assetsRoot(file.asset_protections)));
  });

  it('a batch that touches nothing has the empty root', async () => {
    await submit({ to: `0x${'55'.repeat(20)}`, asset_refs: [] });
    const file = await batch();
    expect(file.asset_protections).toEqual([]);
    expect(file.header.assets_root).toBe(hex(assetsRoot([])));
  });

  it('protects at the threshold and lets go below it, with one entry in the feed each', async () => {
    const { store, assets } = house.sequencer;
    await assets.followRisk(6_000);
    expect(house.sequencer.getAssetProtection('token')!.migration_state).toBe('Protected');
    const { total, assets: listed } = (await ask('GET', '/assets?state=Protected&limit=1000')).body;
    expect(listed.length).toBeGreaterThan(0);
    const authorization = `Bearer ${readFileSync(house.server.adminTokenPath, 'utf8').trim()}`;
    const { body } = await house.server.app.inject({ url: '/metrics', headers: { authorization } });
    expect(body).toContain(`aegis_assets{state="Protected"} ${listed.length}\n`);
    expect(body).toContain(`aegis_assets{state="Active"} ${total - listed.length}\n`);
    expect(body).toContain('aegis_assets{state="Migrated"} 0\n');
    const entries = () =>
      [...store.range('journal', { limit: 100_000 })].filter(([, { type }]) => type === 'asset_protection').length;
    const before = entries();
    await assets.followRisk(6_000);
    expect(entries()).toBe(before);
    await assets.followRisk(0);
    expect(entries()).toBe(before + 1);
    expect(house.sequencer.getAssetProtection('token')!.migration_state).toBe('Active');
  });

  it('scores a reference to a registered asset of this chain, and no other', async () => {
    const { store } = house.sequencer;
    const ids = [await submit({}), await submit({ asset_refs: ['token_001', 'file_0', 'nobody'] })];
    const pending = [...store.range('pending', { limit: 100 })].map(
      ([, value]) => value as { envelope_id: string; assets: object },
    );
    const assessed = ids.map((id) => pending.find(({ envelope_id }) => envelope_id === id)!.assets);
    expect(assessed[0]).toMatchObject({ requires_pqc: 1, requires_tee: 1 });
    expect(assessed[1]).toEqual({ requires_pqc: 0, requires_tee: 0, risk: 0 });
    await batch();
  });
});
