// Orders over a real store: executed once and whole, across faults, refusals and restarts; and what only an order may do.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Act } from '../actors/act.ts';
import { ZERO_DIGEST } from '../actors/digest.ts';
import { hex } from '../actors/encoding.ts';
import { adminsDigestOf, digestOf } from '../actors/order.ts';
import { loadConfig } from '../config/load.ts';
import { makeAdmin } from '../test/admin.ts';
import { type Disk, faulty } from '../test/faulty.ts';
import { actHandlers } from './acts.ts';
import { admins, foundAdmins, openAdmins } from './admins.ts';
import { EPOCH, standing } from './epoch.ts';
import { type ActHandlers, executedOrders, type Ordered, type Orders, openOrders, requireOrder } from './orders.ts';
import { meta, putMeta } from './records.ts';
import { Runtime, type Step } from './runtime.ts';
import { openStore, type Store } from './store.ts';

const NOW_MS = 1_780_000_000_000;
const [alice, bob, mallory] = [makeAdmin(1), makeAdmin(2), makeAdmin(3)];
const keys = [alice.public_key, bob.public_key];
const defaults = loadConfig({ environment: {} }).config;
const config = { ...defaults, admin: { keys } };
const log = { chain_id: '1', log_id: `0x${'11'.repeat(64)}`, created_at_ms: NOW_MS };
const RISE: Act = { type: 'risk_override', score: 7, until_ms: NOW_MS };
const quiet = { warn: () => {}, error: () => {} };

let folder: string;
let store: Store;
let disk: Disk;
let runtime: Runtime;
let orders: Orders;
let told: number;

const order = (act: Act = RISE, by = alice) => by.order(log.log_id, act, { not_after_ms: NOW_MS + 60_000 });

async function open(acts: ActHandlers = { risk_override: put }): Promise<void> {
  const schema = { version: 1, migrations: [] };
  ({ store, disk } = faulty(await openStore({ folder, key: new Uint8Array(32), ...config.store, schema })));
  runtime = new Runtime({ store, log: quiet, fatal: () => {} });
  if (store.get('meta', 'log') === undefined) {
    const parent_digest = hex(ZERO_DIGEST);
    await runtime.commit((step) => {
      putMeta(step, 'log', { size: 0, sealed: 0, sealing: null });
      putMeta(step, 'heights', { cut: 0, opened: 0, signed: 0, forgotten: 0, parent_digest, timestamp_ms: NOW_MS });
      foundAdmins(step, log.log_id, keys);
    });
  }
  const onExecuted = () => {
    told += 1;
  };
  orders = await openOrders({ runtime, store, log, config, acts, now: () => NOW_MS, onExecuted });
}

/** An act that leaves a trace. */
function put(step: Step, ordered: Ordered<'risk_override'>) {
  const { score } = requireOrder(ordered, step, 'risk_override');
  step.put('batches', ordered.executed.leaf_index, { score });
  return { ok: true } as const;
}

/** All that an order could have written. */
const state = () => ({
  size: meta(store, 'log').size,
  orders: store.count('orders'),
  nonces: store.count('order_nonces'),
  acts: store.count('batches'),
  journal: store.journalHead().cursor,
});

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-orders-'));
  told = 0;
  await open();
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

describe('an order', () => {
  it('is written down, logged, done and told in one commit', async () => {
    const signed = order();
    const { commits } = store.state();
    const outcome = await orders.execute(signed);
    const digest = hex(digestOf(signed));
    const executed = { leaf_index: 1, digest, executed_at_ms: NOW_MS, order: signed };
    expect(outcome).toEqual({ ok: true, executed });
    expect(store.state().commits).toBe(commits + 1);
    expect(executedOrders(store, undefined, 10)).toEqual([executed]);
    expect(store.get('log', 1)).toEqual({ kind: 3, digest });
    expect(store.get('batches', 1)).toEqual({ score: 7 });
    const [[, entry]] = [...store.range('journal', { limit: 10 })] as [[number, object]];
    const data = { leaf_index: 1, digest, admin: alice.admin, act: RISE };
    expect(entry).toMatchObject({ type: 'order_executed', at_ms: NOW_MS, data });
    expect(told).toBe(1);
  });

  it('counts once, also after a restart, and so does its nonce', async () => {
    const signed = order();
    await orders.execute(signed);
    const before = state();
    const replayed = (which: string) => {
      const detail = `${which} was executed: log entry 1`;
      return { ok: false, code: 'order_replayed', leaf_index: 1, detail };
    };
    expect(await orders.execute(signed)).toEqual(replayed('this order'));
    await store.close();
    await open();
    expect(await orders.execute(signed)).toEqual(replayed('this order'));
    const other = bob.order(log.log_id, { ...RISE, score: 8 }, { nonce: signed.nonce, not_after_ms: NOW_MS + 1 });
    expect(await orders.execute(other)).toEqual(replayed('another order with this nonce'));
    expect(state()).toEqual(before);
  });

  it('counts once when it comes many times at once', async () => {
    const signed = order();
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => orders.execute(signed)));
    expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1);
    expect(state()).toMatchObject({ size: 2, orders: 1, nonces: 1, acts: 1 });
  });

  it('that could not be made durable has left nothing, and can be handed in again', async () => {
    const signed = order();
    const before = state();
    disk.failures = 1;
    await expect(orders.execute(signed)).rejects.toMatchObject({ code: 'store_io' });
    expect([state(), told]).toEqual([before, 0]);
    expect(await orders.execute(signed)).toMatchObject({ ok: true });
  });

  it('is judged by the newest batch where the clock was set back', async () => {
    const signed = order();
    await runtime.commit((step) => {
      putMeta(step, 'heights', { ...meta(step, 'heights'), timestamp_ms: signed.not_after_ms });
    });
    expect(await orders.execute(signed)).toEqual({ ok: false, code: 'order_expired' });
  });

  it('is written down with the time that it was judged by, so that others judge likewise', async () => {
    const timestamp_ms = NOW_MS + 10 * 86_400_000;
    await runtime.commit((step) => putMeta(step, 'heights', { ...meta(step, 'heights'), timestamp_ms }));
    // Too far ahead for the clock that was set back.
    const signed = alice.order(log.log_id, RISE, { not_after_ms: timestamp_ms + 25 * 86_400_000 });
    expect(await orders.execute(signed)).toMatchObject({ ok: true, executed: { executed_at_ms: timestamp_ms } });
  });

  it('of somebody else, or for something else, changes nothing', async () => {
    const before = state();
    const codes = [
      order(RISE, mallory),
      { ...order(), signature: order().signature },
      { ...order(), log_id: `0x${'12'.repeat(64)}` },
      order({ type: 'set_redundancy', enabled: false, worker: null, enclave: null }),
    ].map(async (each) => {
      const outcome = await orders.execute(each);
      return outcome.ok ? 'ok' : outcome.code;
    });
    expect(await Promise.all(codes)).toEqual([
      'order_admin_unknown',
      'order_signature_invalid',
      'order_wrong_log',
      'act_not_supported',
    ]);
    expect([state(), told]).toEqual([before, 0]);
  });
});

describe('an act', () => {
  it('that is refused takes back all that its step has written', async () => {
    await store.close();
    let done = 0;
    let refuses = true;
    await open({
      risk_override: (step, ordered) => {
        put(step, ordered);
        if (refuses) return { ok: false, detail: 'not today' };
        const told = () => {
          done += 1;
        };
        return { ok: true, done: told };
      },
    });
    const signed = order();
    const before = state();
    expect(await orders.execute(signed)).toEqual({ ok: false, code: 'act_refused', detail: 'not today' });
    expect([state(), done]).toEqual([before, 0]);
    refuses = false;
    expect(await orders.execute(signed)).toMatchObject({ ok: true });
    expect(done).toBe(1);
  });

  it('that takes an order gets none from anywhere else, nor beyond its step', async () => {
    await store.close();
    let kept: Ordered<'risk_override'> | undefined;
    await open({
      risk_override: (step, ordered) => {
        kept = ordered;
        const another = ordered as unknown as Ordered<'retire_epoch'>;
        expect(() => requireOrder(another, step, 'retire_epoch')).toThrow('retire_epoch takes');
        return put(step, ordered);
      },
    });
    await orders.execute(order());
    await runtime.commit((step) => {
      const forged = { act: RISE, executed: kept!.executed } as unknown as Ordered<'risk_override'>;
      for (const each of [kept, forged, undefined]) {
        expect(() => requireOrder(each, step, 'risk_override')).toThrow('risk_override takes');
      }
    });
  });

  it('retire_epoch ends a grace and nothing else', async () => {
    await store.close();
    let woken = 0;
    const onForced = () => {
      woken += 1;
    };
    await open(actHandlers({ onForced, onRisk: () => {} }));
    const retire = (epoch: number) => orders.execute(order({ type: 'retire_epoch', epoch }));
    const refused = (found: string) => ({ ok: false, code: 'act_refused', detail: expect.stringContaining(found) });
    await runtime.commit((step) => {
      putMeta(step, 'mempool', { count: 0, next_sequence: 5 });
      step.begin(EPOCH, 1, { epoch: 1 });
    });
    expect(await retire(2)).toEqual(refused('no such epoch'));
    expect(await retire(1)).toEqual(refused('it is pending'));
    await runtime.commit((step) => step.send(EPOCH, 1, { type: 'activated' }));
    expect(await retire(1)).toEqual(refused('it is active'));
    await runtime.commit((step) => step.send(EPOCH, 1, { type: 'superseded', grace_ends_ms: NOW_MS }));
    expect(woken).toBe(0);
    expect(await retire(1)).toMatchObject({ ok: true });
    expect([woken, standing(store, 1)]).toEqual([1, expect.objectContaining({ forced: true, barrier: 5 })]);
    expect(await retire(1)).toEqual(refused('already'));
  });
});

describe('the list', () => {
  it('is in the order of the log, and goes on behind a leaf', async () => {
    for (let score = 0; score < 5; score++) await orders.execute(order({ type: 'risk_override', score, until_ms: 1 }));
    const leaves = (after?: number, limit = 10) => executedOrders(store, after, limit).map((each) => each.leaf_index);
    expect([leaves(), leaves(0), leaves(3), leaves(5), leaves(1, 2)]).toEqual([
      [1, 2, 3, 4, 5],
      [1, 2, 3, 4, 5],
      [4, 5],
      [],
      [2, 3],
    ]);
  });
});

describe('the admins', () => {
  it('are an entry of the log', () => {
    const digest = hex(adminsDigestOf(log.log_id, keys));
    expect(store.get('log', 0)).toEqual({ kind: 3, digest });
    const listed = [alice, bob].map(({ admin, public_key }) => ({ admin, public_key }));
    expect(admins(store)).toEqual({ admins: listed, digest, leaf_index: 0 });
  });

  it('are those of genesis, in any order, whatever is configured later', () => {
    expect([...openAdmins(store, keys.toReversed()).keys()]).toEqual([alice.admin, bob.admin]);
    for (const others of [[], keys.slice(1), [...keys, mallory.public_key], [alice.public_key, mallory.public_key]]) {
      expect(() => openAdmins(store, others)).toThrow(expect.objectContaining({ code: 'admins_changed' }));
    }
  });

  it('are nobody where genesis named none', async () => {
    await runtime.commit((step) => step.remove('meta', 'admins'));
    expect(admins(store)).toEqual({ admins: [], digest: null, leaf_index: null });
    expect(openAdmins(store, []).size).toBe(0);
    expect(() => openAdmins(store, keys)).toThrow(/genesis fixed nobody/);
  });
});
