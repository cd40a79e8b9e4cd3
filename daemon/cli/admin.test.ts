// `aegisd admin` as people and scripts see it, in processes of its own: keys, orders signed here or elsewhere, and a real daemon
// that executes them.
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64, fromHex, hex } from '../../actors/encoding.ts';
import { adminId, digestOf, ExecutedOrder, judgeOrder, Order } from '../../actors/order.ts';
import { makeAdmin } from '../../test/admin.ts';
import { type House, openHouse } from '../../test/house.ts';
import { openssl } from '../../workers/engine.ts';
import { run } from '../demo/child.ts';

const LOG = `0x${'11'.repeat(64)}`;
const ACT = '{"type":"retire_epoch","epoch":1}';
const hsm = makeAdmin(9);

let folder: string;
let house: House;
let url: string;
let config: string;
let keyFile: string;
let key: { seed: string; public_key: string; admin: string };
const file = (name: string, content?: string) => {
  if (content !== undefined) writeFileSync(join(folder, name), content, { mode: 0o600 });
  return join(folder, name);
};
const admin = (...args: string[]) => run(['admin', ...args]);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-admin-'));
  keyFile = file('admin.key');
  const made = await admin('keygen', '--out', keyFile);
  expect(made).toMatchObject({ code: 0, stderr: '' });
  key = JSON.parse(readFileSync(keyFile, 'utf8'));
  expect(made.stdout).toContain(`keys = ["${key.public_key}"]`);
  expect(made.stdout).not.toContain(key.seed);
  house = await openHouse({ admin: { keys: [key.public_key, hsm.public_key] } });
  config = file('own.toml', `[daemon]\nstate_dir = ${JSON.stringify(house.state_dir)}\n`);
  ({ url } = await house.server.listen());
});
afterAll(async () => {
  await house?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const judge = (order: Order) => {
  const admins = new Map([[key.admin, fromBase64(key.public_key)]]);
  return judgeOrder(order, { log_id: LOG, admins, now_ms: Date.now() }, openssl.ml_dsa_87.verify);
};

describe('a key file', () => {
  it('is for its owner alone, and is never written over', async () => {
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(key.admin).toBe(adminId(fromBase64(key.public_key)));
    const again = await admin('keygen', '--out', keyFile, '--json');
    expect([again.code, JSON.parse(again.stdout)]).toEqual([
      2,
      { ok: false, error: { file: keyFile, field: '', message: 'is there already, and is left as it is' } },
    ]);
    expect(JSON.parse(readFileSync(keyFile, 'utf8'))).toEqual(key);
  });

  it('that others can read, that is damaged or no key file is refused without showing it', async () => {
    const open = file('open.key', JSON.stringify(key));
    chmodSync(open, 0o644);
    const spoiled = [
      open,
      file('cut.key', `{"seed":"${key.seed}`),
      file('noise.key', key.seed),
      file('short.key', JSON.stringify({ ...key, seed: key.seed.slice(2) })),
      file('other.key', JSON.stringify({ ...key, seed: key.seed.replace(/^./, (c) => (c === '0' ? '1' : '0')) })),
      file('extra.key', JSON.stringify({ ...key, more: 1 })),
      file('missing.key'),
    ];
    for (const path of spoiled) {
      const { code, stdout, stderr } = await admin('sign', '--key', path, '--act', ACT, '--log-id', LOG);
      expect([code, stdout], path).toEqual([2, '']);
      expect(stderr).toContain(path);
      expect(stderr).not.toContain(key.seed.slice(2, 12));
    }
  });
});

describe('signing', () => {
  it('makes an order that binds, and says in words what was signed', async () => {
    const { code, stdout, stderr } = await admin('sign', '--key', keyFile, '--act', ACT, '--log-id', LOG);
    expect(code).toBe(0);
    const order = Order.parse(JSON.parse(stdout));
    expect(judge(order)).toMatchObject({ ok: true });
    expect(order.not_after_ms - Date.now()).toBeLessThanOrEqual(3_600_000);
    expect(stderr).toContain('signed      retire_epoch {"epoch":1}\n');
    expect(stdout + stderr).not.toContain(key.seed);
  });

  it('takes the act from a file, and any end up to 30 days', async () => {
    const act = file('act.json', ACT);
    const args = ['sign', '--key', keyFile, '--act', `@${act}`, '--log-id', LOG, '--expires'];
    const order = Order.parse(JSON.parse((await admin(...args, '30d')).stdout));
    expect(judge(order)).toMatchObject({ ok: true });
    for (const wrong of ['31d', '0s', '1', '1w', '-1h']) expect(await admin(...args, wrong)).toMatchObject({ code: 2 });
  });

  it.each([
    ['{"type":"retire_epoch"}', '--act epoch'],
    ['{"type":"retire_epoch","epoch":1,"epoch":2}', '--act epoch'],
    ['{"type":"retire_epoch","epoch":1,"more":2}', '--act more'],
    ['{"type":"nothing"}', 'expected an act of one of these types: retire_epoch'],
    ['{', '--act'],
    ['@/nowhere', 'there is no such file'],
  ])('refuses the act %s', async (act, says) => {
    const { code, stdout, stderr } = await admin('sign', '--key', keyFile, '--act', act, '--log-id', LOG);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(says);
  });

  it('works with a key that is not in a file', async () => {
    const args = ['--public-key', hsm.public_key, '--act', ACT, '--log-id', LOG];
    const { code, stdout } = await admin('digest', ...args);
    expect(code).toBe(0);
    const { unsigned, digest, context } = JSON.parse(stdout);
    expect(digest).toBe(hex(digestOf(unsigned)));
    const unfinished = file('unsigned.json', stdout);
    const signature = hsm.sign(fromHex(digest), context).toBase64();
    const attached = await admin('attach', unfinished, '--signature', `@${file('signature', `${signature}\n`)}`);
    expect(attached.code).toBe(0);
    expect(Order.parse(JSON.parse(attached.stdout))).toEqual({ ...unsigned, signature });

    const wrong = hsm.sign(fromHex(digest), 'aegis/batch/v1').toBase64();
    expect(await admin('attach', unfinished, '--signature', wrong)).toMatchObject({ code: 2, stdout: '' });
    const turned = { ...JSON.parse(stdout), unsigned: { ...unsigned, act: { type: 'retire_epoch', epoch: 2 } } };
    const altered = await admin('attach', file('altered.json', JSON.stringify(turned)), '--signature', signature);
    expect(altered).toMatchObject({ code: 2, stderr: expect.stringContaining('digest: is not that of the order') });
  });
});

describe('handing in', () => {
  it('asks the daemon for its log, and tells what it answers', async () => {
    const signed = await admin('sign', '--key', keyFile, '--act', ACT, '--config', config);
    expect(signed.stderr).toContain('--log-id signs for one that you know');
    const order = file('order.json', signed.stdout);
    expect(Order.parse(JSON.parse(signed.stdout)).log_id).toBe(house.sequencer.epoch.log.log_id);
    const refused = await admin('submit', order, '--config', config);
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('act_refused: ') });
    expect(refused.stderr).toContain('but it is active');
  });

  it('is executed once', async () => {
    await house.sequencer.store.commit((tx) => {
      tx.put('machines', 'epoch/7', { version: 1, value: 'grace', context: { epoch: 7 } });
    });
    const act = '{"type":"retire_epoch","epoch":7}';
    const signed = await admin('sign', '--key', keyFile, '--act', act, '--config', config);
    const order = file('seven.json', signed.stdout);
    const done = await admin('submit', order, '--config', config, '--json');
    expect(done.code).toBe(0);
    const { leaf_index, order: executed } = ExecutedOrder.parse(JSON.parse(done.stdout));
    expect(executed).toEqual(JSON.parse(signed.stdout));
    const again = await admin('submit', order, '--config', config);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining(`log entry ${leaf_index}`) });
  });

  it('over TCP takes the token besides', async () => {
    const signed = await admin('sign', '--key', keyFile, '--act', ACT, '--url', url);
    const order = file('tcp.json', signed.stdout);
    const bare = await admin('submit', order, '--url', url);
    expect(bare).toMatchObject({ code: 1, stderr: expect.stringContaining('unauthorized') });
    const token = join(house.state_dir, 'admin.token');
    const answer = await admin('submit', order, '--url', url, '--token-file', token);
    expect(answer).toMatchObject({ code: 1, stderr: expect.stringContaining('act_refused') });
  });

  it('refuses what is no order before it asks', async () => {
    const answer = await admin('submit', file('none.json', '{}'), '--config', config, '--json');
    expect(answer.code).toBe(2);
    expect(JSON.parse(answer.stdout)).toMatchObject({ ok: false, error: { field: 'version' } });
  });
});
