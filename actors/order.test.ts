// Orders: what is signed is exactly the act, the log, the nonce and the time, so whatever is changed in one is refused; and an
// act has one meaning and one spelling.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeAdmin } from '../test/admin.ts';
import { openssl } from '../workers/engine.ts';
import { noble } from '../workers/noble.ts';
import { ACT_TYPES, Act, type ActType } from './act.ts';
import { canonicalJson } from './canonical.ts';
import { fromBase64, hex } from './encoding.ts';
import { adminId, adminsDigestOf, digestOf, judgeOrder, ORDER_LIFETIME_MAX_MS, Order } from './order.ts';

const NOW_MS = 1_780_000_000_000;
const log_id = `0x${'11'.repeat(64)}`;
const [alice, bob, mallory] = [makeAdmin(1), makeAdmin(2), makeAdmin(3)];
const admins = new Map([alice, bob].map(({ admin, public_key }) => [admin, fromBase64(public_key)]));

const register = `0x${'ab'.repeat(48)}`;
const tdx = {
  ...{ quote_type: 'TDX' as const, mrtd: register, rtmr0: register, rtmr1: register, rtmr2: register },
  compose_hash: `0x${'cd'.repeat(32)}`,
};

/** One of each kind. */
const SAMPLES: { readonly [Type in ActType]: Extract<Act, { type: Type }> } = {
  retire_epoch: { type: 'retire_epoch', epoch: 3 },
  allow_measurement: { type: 'allow_measurement', measurement: tdx, in_force_after_ms: NOW_MS },
  revoke_measurement: {
    type: 'revoke_measurement',
    measurement: { quote_type: 'SGX', mr_enclave: `0x${'01'.repeat(32)}`, mr_signer: `0x${'02'.repeat(32)}` },
  },
  set_redundancy: { type: 'set_redundancy', enabled: false, worker: null, enclave: 'b' },
  risk_override: { type: 'risk_override', score: 0, until_ms: NOW_MS },
  downgrade: { type: 'downgrade', algorithms: 7, schemes: ['x-wing', 'ecies'] },
  accept_clock: { type: 'accept_clock', time_ms: NOW_MS },
  resolve_restore: {
    ...{ type: 'resolve_restore', from_size: 3, to_size: 9, root: log_id, next_height: 6, heads_above: 8 },
  },
};
const acts = Object.values(SAMPLES);

const good = (act: Act = SAMPLES.retire_epoch, not_after_ms = NOW_MS + 1_000) =>
  alice.order(log_id, act, { not_after_ms });
const judge = (order: Order, now_ms = NOW_MS, engine = openssl) =>
  judgeOrder(order, { log_id, admins, now_ms }, engine.ml_dsa_87.verify);
const code = (order: Order, now_ms?: number) => {
  const judged = judge(order, now_ms);
  return judged.ok ? 'ok' : judged.code;
};

describe('an order', () => {
  it.each(acts)('of $type is accepted as it was signed, by two libraries', (act) => {
    const order = Order.parse(JSON.parse(JSON.stringify(good(act))));
    expect(judge(order)).toEqual({ ok: true, digest: digestOf(order) });
    expect(judge(order, NOW_MS, noble)).toEqual({ ok: true, digest: digestOf(order) });
  });

  it('is told by its code what is wrong with it', () => {
    expect(code({ ...good(), log_id: `0x${'12'.repeat(64)}` })).toBe('order_wrong_log');
    expect(code(mallory.order(log_id, SAMPLES.retire_epoch, { not_after_ms: NOW_MS + 1 }))).toBe('order_admin_unknown');
    expect(code({ ...good(), admin: bob.admin })).toBe('order_signature_invalid');
    const digest = digestOf(good());
    const signature = alice.sign(digest, 'aegis/batch/v1').toBase64();
    expect(code({ ...good(), signature })).toBe('order_signature_invalid');
  });

  it('has an end, and not a far one', () => {
    const at = (not_after_ms: number) => code(good(SAMPLES.retire_epoch, not_after_ms));
    expect([at(NOW_MS - 1), at(NOW_MS), at(NOW_MS + 1)]).toEqual(['order_expired', 'order_expired', 'ok']);
    const last = NOW_MS + ORDER_LIFETIME_MAX_MS;
    expect([at(last), at(last + 1)]).toEqual(['ok', 'order_lifetime_too_long']);
  });

  it('is refused whatever is changed in it', () => {
    const order = good(SAMPLES.allow_measurement);
    const leaves = paths(order);
    expect(leaves.map((path) => path.join('.'))).toContain('act.measurement.compose_hash');
    const change = fc.record({ path: fc.constantFrom(...leaves), at: fc.nat(), by: fc.integer({ min: 1, max: 255 }) });
    fc.assert(
      fc.property(change, ({ path, at, by }) => {
        const altered: unknown = structuredClone(order);
        alter(altered as Tree, path, at, by);
        const parsed = Order.safeParse(altered);
        expect(parsed.success && judge(parsed.data).ok, path.join('.')).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('is refused with a member too many or too few', () => {
    for (const path of [...paths(good(SAMPLES.allow_measurement)), ['act'], ['act', 'measurement']]) {
      const less = structuredClone(good(SAMPLES.allow_measurement)) as unknown as Tree;
      delete parentOf(less, path)[path.at(-1)!];
      expect(Order.safeParse(less).success, path.join('.')).toBe(false);
      const more = structuredClone(good(SAMPLES.allow_measurement)) as unknown as Tree;
      parentOf(more, path).extra = 1;
      expect(Order.safeParse(more).success, path.join('.')).toBe(false);
    }
  });
});

type Tree = { [key: string]: unknown };
const parentOf = (tree: Tree, path: readonly string[]): Tree =>
  path.slice(0, -1).reduce((at, key) => at[key] as Tree, tree);

function paths(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [[...path]];
  return Object.entries(value).flatMap(([key, each]) => paths(each, [...path, key]));
}

/** Another value in its place: a number moved, a text with another character. */
function alter(tree: Tree, path: readonly string[], at: number, by: number): void {
  const parent = parentOf(tree, path);
  const key = path.at(-1)!;
  const before = parent[key];
  if (typeof before === 'number') parent[key] = before + by;
  else {
    const text = before as string;
    const i = at % text.length;
    const code = (text.charCodeAt(i) + by) % 128;
    const other = code === text.charCodeAt(i) ? '!' : String.fromCharCode(code);
    parent[key] = text.slice(0, i) + other + text.slice(i + 1);
  }
}

describe('an act', () => {
  it('has a sample of each kind, and each another digest', () => {
    expect(Object.keys(SAMPLES).sort()).toEqual([...ACT_TYPES].sort());
    const order = good();
    expect(new Set(acts.map((act) => hex(digestOf({ ...order, act })))).size).toBe(ACT_TYPES.length);
  });

  it('is signed as canonical JSON, whatever the order of its members', () => {
    const { act } = good(SAMPLES.allow_measurement);
    const turned = Object.fromEntries(Object.entries(act).reverse()) as Act;
    expect(hex(digestOf({ ...good(), act: turned }))).not.toBe(hex(digestOf(good())));
    expect(canonicalJson(turned)).toBe(canonicalJson(act));
    expect(canonicalJson(SAMPLES.retire_epoch)).toBe('{"epoch":3,"type":"retire_epoch"}');
  });

  it.each([
    [{ type: 'nothing' }],
    [{}],
    [null],
    [{ type: 'retire_epoch', epoch: 0 }],
    [{ type: 'retire_epoch', epoch: 2 ** 32 }],
    [{ type: 'retire_epoch', epoch: 1.5 }],
    [{ type: 'retire_epoch', epoch: '1' }],
    [{ ...SAMPLES.allow_measurement, measurement: { ...tdx, quote_type: 'SGX' } }],
    [{ ...SAMPLES.allow_measurement, measurement: { ...tdx, mrtd: register.toUpperCase() } }],
    [{ ...SAMPLES.allow_measurement, measurement: {} }],
    [{ ...SAMPLES.allow_measurement, in_force_after_ms: -1 }],
    [{ ...SAMPLES.set_redundancy, enabled: 1 }],
    [{ ...SAMPLES.set_redundancy, worker: '' }],
    [{ ...SAMPLES.set_redundancy, worker: 'x'.repeat(129) }],
    [{ ...SAMPLES.set_redundancy, worker: '\ud800' }],
    [{ ...SAMPLES.risk_override, score: 10_001 }],
    [{ ...SAMPLES.risk_override, score: null }],
    [{ ...SAMPLES.risk_override, until_ms: null }],
    [{ ...SAMPLES.downgrade, algorithms: 4 }],
    [{ ...SAMPLES.downgrade, algorithms: 2 }],
    [{ ...SAMPLES.downgrade, schemes: [] }],
    [{ ...SAMPLES.downgrade, schemes: ['ecies'] }],
    [{ ...SAMPLES.downgrade, schemes: ['ecies', 'x-wing'] }],
    [{ ...SAMPLES.downgrade, schemes: ['x-wing', 'x-wing'] }],
  ])('is not %j', (act) => {
    expect(Act.safeParse(act).success).toBe(false);
  });

  it('of an unknown kind is told which there are', () => {
    const { error } = Act.safeParse({ type: 'nothing' });
    expect(error!.issues[0]).toMatchObject({ path: ['type'], message: expect.stringContaining('retire_epoch, ') });
  });
});

describe('the admins of a log', () => {
  const keys = [alice, bob].map(({ public_key }) => public_key);

  it('have one digest, whatever the order of their keys, and each set and log another', () => {
    const digest = hex(adminsDigestOf(log_id, keys));
    expect(hex(adminsDigestOf(log_id, keys.toReversed()))).toBe(digest);
    const others = [
      adminsDigestOf(log_id, keys.slice(1)),
      adminsDigestOf(log_id, [...keys, mallory.public_key]),
      adminsDigestOf(`0x${'12'.repeat(64)}`, keys),
    ];
    expect(new Set([digest, ...others.map(hex)]).size).toBe(4);
  });

  it('are named by the hash of their key', () => {
    expect(adminId(fromBase64(alice.public_key))).toBe(alice.admin);
    expect(alice.admin).toMatch(/^0x[0-9a-f]{128}$/);
  });
});
