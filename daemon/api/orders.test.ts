// Orders over HTTP: who may hand one in, what a stranger can check, and which field is wrong. Each code is provoked in
// test/errors.test.ts.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Act } from '../../actors/act.ts';
import { fromBase64, fromHex, hex } from '../../actors/encoding.ts';
import { Inclusion } from '../../actors/inclusion.ts';
import { Admins, adminsDigestOf, ExecutedOrder, judgeOrder } from '../../actors/order.ts';
import { logLeaf, verifyInclusion } from '../../actors/tree.ts';
import { makeAdmin } from '../../test/admin.ts';
import { type House, openHouse } from '../../test/house.ts';
import { openssl } from '../../workers/engine.ts';
import { Problem } from './problem.ts';
import { loadTokens } from './token.ts';

const [alice, bob] = [makeAdmin(1), makeAdmin(2)];
const retire = (epoch: number): Act => ({ type: 'retire_epoch', epoch });

let house: House;
let log_id: string;
let authorization: string;
beforeAll(async () => {
  house = await openHouse({ admin: { keys: [alice.public_key, bob.public_key] } });
  ({ log_id } = house.sequencer.epoch.log);
  const { admin_path } = loadTokens({ state_dir: house.state_dir });
  authorization = `Bearer ${readFileSync(admin_path, 'utf8').trim()}`;
  await house.sequencer.store.commit((tx) => {
    for (const epoch of [7, 8]) {
      tx.put('machines', `epoch/${epoch}`, { version: 1, value: 'grace', context: { epoch } });
    }
  });
});
afterAll(() => house?.[Symbol.asyncDispose]());

const get = async (url: string) => (await house.server.app.inject({ url })).json();
const post = (payload: object, headers: object = { authorization }) =>
  house.server.app.inject({ method: 'POST', url: '/admin/orders', payload, headers: headers as never });

describe('an order over HTTP', () => {
  it('takes the token besides the signature', async () => {
    const answer = await post(alice.order(log_id, retire(7)), {});
    expect([answer.statusCode, answer.json().code]).toEqual([401, 'unauthorized']);
    expect(await get('/admin/orders')).toEqual({ orders: [] });
  });

  it('is answered with what was written down, which a stranger can check against the log', async () => {
    const orders = [alice.order(log_id, retire(7)), bob.order(log_id, retire(8))];
    const answers = [];
    for (const order of orders) answers.push(ExecutedOrder.parse((await post(order)).json()));
    expect(answers.map(({ order }) => order)).toEqual(orders);

    const admins = Admins.parse(await get('/admin/keys'));
    const keys = admins.admins.map(({ public_key }) => public_key);
    expect(admins.digest).toBe(hex(adminsDigestOf(log_id, keys)));
    expect(await inTheLog(admins.leaf_index!, admins.digest!)).toBe(true);

    const known = new Map(admins.admins.map(({ admin, public_key }) => [admin, fromBase64(public_key)]));
    const listed = ExecutedOrder.array().parse((await get('/admin/orders')).orders);
    expect(listed).toEqual(answers);
    for (const { order, digest, leaf_index, executed_at_ms } of listed) {
      const judged = judgeOrder(order, { log_id, admins: known, now_ms: executed_at_ms }, openssl.ml_dsa_87.verify);
      expect(judged.ok && hex(judged.digest)).toBe(digest);
      expect(await inTheLog(leaf_index, digest)).toBe(true);
    }
    const [first] = listed;
    expect((await get(`/admin/orders?after=${first!.leaf_index}`)).orders).toEqual(listed.slice(1));
    expect((await get('/admin/orders?limit=1')).orders).toEqual([first]);
    await house.journaled('order_executed', ({ leaf_index }) => leaf_index === first!.leaf_index);
    await house.journaled('seal_created', ({ size }) => (size as number) > listed[1]!.leaf_index);
  });

  /** As a verifier finds out. */
  async function inTheLog(index: number, digest: string): Promise<boolean> {
    const { size, root, kind, inclusion_path } = Inclusion.parse(await get(`/log/inclusion?leaf_index=${index}`));
    const leaf = logLeaf('policy', fromHex(digest));
    return kind === 'policy' && verifyInclusion(leaf, index, size, inclusion_path.map(fromHex), fromHex(root));
  }

  it.each([
    ['version', (order: object) => ({ ...order, version: 2 })],
    ['nonce', (order: object) => ({ ...order, nonce: '0x00' })],
    ['not_after_ms', (order: object) => ({ ...order, not_after_ms: 1.5 })],
    ['signature', (order: object) => ({ ...order, signature: 'AAAA' })],
    ['act.type', (order: object) => ({ ...order, act: { type: 'nothing' } })],
    ['act.epoch', (order: object) => ({ ...order, act: { type: 'retire_epoch', epoch: -1 } })],
    ['act.more', (order: object) => ({ ...order, act: { ...retire(1), more: 1 } })],
    ['more', (order: object) => ({ ...order, more: 1 })],
  ])('names the field that is wrong: %s', async (field, spoil) => {
    const answer = await post(spoil(alice.order(log_id, retire(7))));
    expect(Problem.parse(answer.json())).toMatchObject({ status: 400, code: 'invalid_body', field });
  });

  it.each(['after=-1', 'after=x', 'limit=0', 'limit=101'])('refuses the query %s', async (query) => {
    expect(await get(`/admin/orders?${query}`)).toMatchObject({ code: 'invalid_query', field: query.split('=')[0] });
  });
});
