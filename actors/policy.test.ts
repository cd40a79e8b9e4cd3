// Each rule refuses something here and permits what it should; and no spelling of a call turns a refused operation into a
// permitted one, held against a second reader of calldata that is as lenient as contracts are: viem.
import fc from 'fast-check';
import { decodeFunctionData, encodeFunctionData, type Hex, hexToBytes, parseAbi } from 'viem';
import { describe, expect, it } from 'vitest';
import { type Asset, assetOf, Registration } from './asset.ts';
import { type Address, CALLS_MAX } from './calldata.ts';
import { assess, createdBy, judge, judgeData, type Subject, type World } from './policy.ts';

const TOKEN: Address = '0x1111111111111111111111111111111111111111';
const NFT: Address = '0x2222222222222222222222222222222222222222';
const BRIDGE: Address = '0x3333333333333333333333333333333333333333';
const ROUTER: Address = '0x9999999999999999999999999999999999999999';
const USER: Address = '0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa';
const CHAIN = '31337';

const abi = parseAbi([
  'function transfer(address to, uint256 amount)',
  'function approve(address spender, uint256 amount)',
  'function transferFrom(address from, address to, uint256 amount)',
  'function safeBatchTransferFrom(address from, address to, uint256[] ids, uint256[] amounts, bytes data)',
  'function pause()',
  'function frobnicate(uint256 x)',
  'function bridgeERC20(address localToken, address remoteToken, uint256 amount, uint32 gas, bytes data)',
  'function multicall(bytes[] data)',
  'struct Call3 { address target; bool allowFailure; bytes callData; }',
  'function aggregate3(Call3[] calls)',
  'struct Call { address target; bytes callData; }',
  'function tryAggregate(bool requireSuccess, Call[] calls)',
  'function execute(address to, uint256 value, bytes data)',
  'function execTransaction(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, bytes signatures)',
  'function multiSend(bytes transactions)',
]);
// biome-ignore lint/suspicious/noExplicitAny: names and arguments are those of the ABI above
const call = (functionName: string, ...args: any[]): Hex => encodeFunctionData({ abi, functionName, args } as never);
const transfer = call('transfer', USER, 5n);
const approve = call('approve', USER, 5n);

const registered = (over: Record<string, unknown> = {}, policy: Record<string, unknown> = {}): Asset =>
  assetOf(
    Registration.parse({
      asset_id: 'token',
      asset_type: 'OnChainToken',
      chain_id: Number(CHAIN),
      contract_address: TOKEN,
      access_policy: {
        ...{ allowed_operations: ['transfer'], requires_pqc: false, requires_tee: false, risk_threshold: 5_000 },
        ...policy,
      },
      ...over,
    }),
    0,
  );

const world = (assets: readonly Asset[], over: Partial<World> = {}): World => ({
  chain_id: CHAIN,
  held: 0,
  attested: true,
  find: (id) => assets.find(({ asset_id }) => asset_id === id),
  at: (address) => assets.filter((asset) => asset.chain_id === CHAIN && asset.contract_address === address),
  ...over,
});

const subject = (to: Address | null, data: Hex, over: Partial<Subject> = {}): Subject => ({
  ...{ sender: USER, nonce: 3n, to, data: hexToBytes(data), authorities: [], scheme: 'x-wing', migration: false },
  asset_refs: ['token'],
  ...over,
});

const reasonOf = (of: Subject, by: World) => {
  const verdict = judge(of, by);
  return verdict.ok ? null : verdict.reason;
};

describe('each rule', () => {
  const token = registered();
  const here = world([token]);

  it('allowed_operations: lets a listed operation through and says what was touched', () => {
    expect(judge(subject(TOKEN, transfer), here)).toEqual({ ok: true, touched: [{ asset: token, state: 'Active' }] });
    expect(judge(subject(TOKEN, approve), here)).toEqual({
      ...{ ok: false, reason: 'operation_not_allowed', asset_id: 'token', operation: 'approve' },
    });
  });

  it.each([
    ['the chain’s own currency', '0x', 'native_transfer'],
    ['an unknown selector', call('frobnicate', 1n), 'unknown'],
    ['less than a selector', '0xa905', 'unknown'],
  ] as const)('allowed_operations: %s', (_, data, operation) => {
    expect(judge(subject(TOKEN, data), here)).toMatchObject({ ok: false, operation });
    const open = registered({}, { allowed_operations: [operation] });
    expect(reasonOf(subject(TOKEN, data), world([open]))).toBeNull();
  });

  it('allowed_operations: functions of an ABI that was registered', () => {
    const own = registered({ abi: ['function frobnicate(uint256)'] }, { allowed_operations: ['frobnicate'] });
    expect(reasonOf(subject(TOKEN, call('frobnicate', 1n)), world([own]))).toBeNull();
    expect(reasonOf(subject(TOKEN, transfer), world([own]))).toBe('operation_not_allowed');
  });

  it('requires_pqc: refuses what came under ecies', () => {
    const strict = world([registered({}, { requires_pqc: true })]);
    expect(reasonOf(subject(TOKEN, transfer, { scheme: 'ecies' }), strict)).toBe('pqc_required');
    expect(reasonOf(subject(TOKEN, transfer), strict)).toBeNull();
    expect(reasonOf(subject(TOKEN, transfer, { scheme: 'ecies' }), here)).toBeNull();
  });

  it('requires_tee: refuses while the attestation is not valid', () => {
    const strict = [registered({}, { requires_tee: true })];
    expect(reasonOf(subject(TOKEN, transfer), world(strict, { attested: false }))).toBe('attestation_required');
    expect(reasonOf(subject(TOKEN, transfer), world(strict))).toBeNull();
    expect(reasonOf(subject(TOKEN, transfer), world([token], { attested: false }))).toBeNull();
  });

  it('risk_threshold: at it and above, only emergency operations and migration pass', () => {
    const guarded = [registered({}, { emergency_operations: ['pause'] })];
    const high = world(guarded, { held: 5_000 });
    expect(reasonOf(subject(TOKEN, transfer), high)).toBe('asset_protected');
    expect(reasonOf(subject(TOKEN, transfer), world(guarded, { held: 4_999 }))).toBeNull();
    expect(judge(subject(TOKEN, call('pause')), high)).toMatchObject({ ok: true, touched: [{ state: 'Protected' }] });
    expect(reasonOf(subject(TOKEN, call('pause')), world(guarded))).toBe('operation_not_allowed');
    expect(reasonOf(subject(TOKEN, transfer, { migration: true }), high)).toBeNull();
  });

  it('a migration holds back what is not part of it', () => {
    for (const state of ['Preparing', 'Migrating', 'Migrated', 'Rollback'] as const) {
      const moving = world([{ ...token, state }]);
      expect(reasonOf(subject(TOKEN, transfer), moving)).toBe('asset_migrating');
      expect(reasonOf(subject(TOKEN, transfer, { migration: true }), moving)).toBeNull();
    }
  });

  it('references: what is touched is declared, and what is declared is touched', () => {
    expect(reasonOf(subject(TOKEN, transfer, { asset_refs: [] }), here)).toBe('asset_undeclared');
    expect(reasonOf(subject(ROUTER, transfer), here)).toBe('asset_not_touched');
    expect(reasonOf(subject(TOKEN, transfer, { asset_refs: ['token', 'other'] }), here)).toBe('asset_not_touched');
    expect(reasonOf(subject(ROUTER, transfer, { asset_refs: [] }), here)).toBeNull();
  });

  it('references: an asset of another chain is never touched', () => {
    const far = world([registered({ chain_id: 16_584 })]);
    expect(reasonOf(subject(TOKEN, transfer), far)).toBe('asset_not_touched');
    expect(reasonOf(subject(TOKEN, transfer, { asset_refs: [] }), far)).toBeNull();
  });

  it('every asset at an address has its say', () => {
    const twin = registered({ asset_id: 'twin' }, { allowed_operations: ['approve'] });
    const both = world([token, twin]);
    expect(reasonOf(subject(TOKEN, transfer, { asset_refs: ['token', 'twin'] }), both)).toBe('operation_not_allowed');
    expect(reasonOf(subject(TOKEN, transfer), both)).toBe('asset_undeclared');
  });

  it('a creation at the address of an asset, and code given to it, are operations', () => {
    const created = createdBy({ sender: USER, nonce: 3n });
    const future = world([registered({ contract_address: created })]);
    expect(judge(subject(null, '0x6000'), future)).toMatchObject({
      reason: 'operation_not_allowed',
      operation: 'create',
    });
    expect(reasonOf(subject(null, '0x6000', { asset_refs: [] }), here)).toBeNull();
    const delegating = subject(ROUTER, '0x', { authorities: [TOKEN] });
    expect(judge(delegating, here)).toMatchObject({ reason: 'operation_not_allowed', operation: 'delegate' });
    const open = registered({}, { allowed_operations: ['delegate'] });
    expect(reasonOf(delegating, world([open]))).toBeNull();
  });

  it('the address of a creation is that of the Yellow Paper', () => {
    // go-ethereum, crypto_test.go
    const sender = '0x970e8128ab834e8eac17ab8e3812f010678cf791';
    expect([0n, 1n, 2n].map((nonce) => createdBy({ sender, nonce }))).toEqual([
      '0x333c3310824b7c685133f2bedb2ca4b8b4df633d',
      '0x8bda78331c916a08481428e4b07c96d3e916d165',
      '0xc9ddedf451bc62ce88bf9292afb13df35b670699',
    ]);
  });

  it('the data API has the same rules', () => {
    const file = assetOf(
      Registration.parse({
        ...{ asset_id: 'file', asset_type: 'OffChainFile' },
        access_policy: {
          ...{ requires_pqc: true, requires_tee: true, risk_threshold: 5_000 },
          ...{ allowed_operations: ['encrypt', 'decrypt'], emergency_operations: ['rewrap'] },
        },
      }),
      0,
    );
    const calm = { held: 0, attested: true };
    expect(judgeData(file, 'encrypt', calm)).toEqual({ ok: true });
    expect(judgeData(file, 'rewrap', calm)).toEqual({ ok: false, reason: 'operation_not_allowed' });
    expect(judgeData(file, 'decrypt', { held: 5_000, attested: true })).toMatchObject({ reason: 'asset_protected' });
    expect(judgeData(file, 'rewrap', { held: 5_000, attested: true })).toEqual({ ok: true });
    expect(judgeData(file, 'encrypt', { held: 0, attested: false })).toMatchObject({ reason: 'attestation_required' });
    expect(judgeData({ ...file, state: 'Migrated' }, 'encrypt', calm)).toMatchObject({ reason: 'asset_migrating' });
  });
});

describe('ordering', () => {
  it('counts each registered asset once, and only those that a transaction here can touch', () => {
    const assets = [
      registered({}, { requires_pqc: true, requires_tee: true }),
      registered({ asset_id: 'far', chain_id: 1 }, { requires_pqc: true }),
      assetOf(
        Registration.parse({
          ...{ asset_id: 'file', asset_type: 'OffChainFile' },
          access_policy: { requires_pqc: true, requires_tee: true, risk_threshold: 0 },
        }),
        0,
      ),
    ];
    const { find } = world(assets);
    expect(assess(['token', 'token', 'far', 'file', 'nobody'], CHAIN, find)).toEqual({
      ...{ requires_pqc: 1, requires_tee: 1, count: 1 },
    });
  });
});

const packed = (calls: readonly (readonly [to: Address, data: Hex])[]): Hex =>
  `0x${calls
    .map(([to, data]) => {
      const length = ((data.length - 2) / 2).toString(16).padStart(64, '0');
      return `00${to.slice(2)}${'0'.repeat(64)}${length}${data.slice(2)}`;
    })
    .join('')}`;

/** Ways to have another contract make a call. */
const WRAPPERS: readonly ((to: Address, data: Hex) => Hex)[] = [
  (to, data) => call('aggregate3', [{ target: to, allowFailure: true, callData: data }]),
  (to, data) =>
    call('tryAggregate', false, [
      { target: ROUTER, callData: '0x' },
      { target: to, callData: data },
    ]),
  (to, data) => call('execute', to, 0n, data),
  (to, data) => call('execTransaction', to, 0n, data, 1, 0n, 0n, 0n, ROUTER, ROUTER, '0x1234'),
  (to, data) =>
    call(
      'multiSend',
      packed([
        [ROUTER, '0x'],
        [to, data],
      ]),
    ),
];

describe('wrappers', () => {
  const token = registered();
  const here = world([token]);

  it.each(WRAPPERS.map((wrap, i) => [i, wrap] as const))('%i: the call inside is judged', (_, wrap) => {
    expect(reasonOf(subject(ROUTER, wrap(TOKEN, transfer)), here)).toBeNull();
    expect(reasonOf(subject(ROUTER, wrap(TOKEN, approve)), here)).toBe('operation_not_allowed');
    expect(reasonOf(subject(ROUTER, wrap(TOKEN, transfer), { asset_refs: [] }), here)).toBe('asset_undeclared');
    expect(reasonOf(subject(ROUTER, wrap(ROUTER, wrap(TOKEN, approve))), here)).toBe('operation_not_allowed');
  });

  it('a contract’s multicall of itself is what it calls', () => {
    expect(reasonOf(subject(TOKEN, call('multicall', [transfer, transfer])), here)).toBeNull();
    expect(reasonOf(subject(TOKEN, call('multicall', [transfer, approve])), here)).toBe('operation_not_allowed');
  });

  it('a registered account names its wrappers in its policy', () => {
    const wrapped = call('execute', ROUTER, 0n, '0x');
    expect(judge(subject(TOKEN, wrapped), here)).toMatchObject({ operation: 'execute' });
    expect(reasonOf(subject(TOKEN, wrapped), world([registered({}, { allowed_operations: ['execute'] })]))).toBeNull();
  });

  it('a bridge that moves a token acts on both', () => {
    const bridge = registered(
      { asset_id: 'bridge', asset_type: 'CrossChainBridge', contract_address: BRIDGE },
      {
        allowed_operations: ['bridgeERC20'],
      },
    );
    const data = call('bridgeERC20', TOKEN, TOKEN, 1n, 0, '0x');
    const refs = { asset_refs: ['bridge', 'token'] };
    expect(judge(subject(BRIDGE, data, refs), world([token, bridge]))).toMatchObject({ operation: 'bridgeERC20' });
    const open = registered({}, { allowed_operations: ['bridgeERC20'] });
    expect(reasonOf(subject(BRIDGE, data, refs), world([open, bridge]))).toBeNull();
    expect(reasonOf(subject(BRIDGE, data, { asset_refs: ['bridge'] }), world([open, bridge]))).toBe('asset_undeclared');
  });

  it('a batch transfer is one operation', () => {
    const nft = registered({ asset_type: 'OnChainNFT', contract_address: NFT }, { allowed_operations: undefined });
    const data = call('safeBatchTransferFrom', USER, ROUTER, [1n, 2n], [1n, 1n], '0x');
    expect(reasonOf(subject(NFT, data), world([nft]))).toBeNull();
  });

  it('that no contract can read, or that are too deep, are refused whatever their target', () => {
    const cut = call('aggregate3', [{ target: TOKEN, allowFailure: true, callData: approve }]).slice(0, 200) as Hex;
    expect(reasonOf(subject(ROUTER, cut, { asset_refs: [] }), here)).toBe('calldata_malformed');
    let deep: Hex = approve;
    for (let i = 0; i < 10; i++) deep = call('execute', TOKEN, 0n, deep);
    expect(reasonOf(subject(ROUTER, deep, { asset_refs: [] }), here)).toBe('calldata_too_complex');
    const many = call(
      'multicall',
      Array.from({ length: CALLS_MAX }, () => '0x' as const),
    );
    expect(reasonOf(subject(ROUTER, many, { asset_refs: [] }), here)).toBe('calldata_too_complex');
  });
});

/** Second reader: what a lenient contract would have called, by viem. */
function executes(to: string, data: Hex, wanted: string, depth = 0): boolean {
  if (depth > 6) return false;
  // biome-ignore lint/suspicious/noExplicitAny: shapes follow from the name
  let read: { functionName: string; args: any };
  try {
    read = decodeFunctionData({ abi, data }) as typeof read;
  } catch {
    return false;
  }
  const { functionName, args } = read;
  if (to.toLowerCase() === TOKEN && functionName === wanted) return true;
  const inner = (target: string, call: Hex) => executes(target, call, wanted, depth + 1);
  switch (functionName) {
    case 'aggregate3':
      return args[0].some((each: { target: string; callData: Hex }) => inner(each.target, each.callData));
    case 'tryAggregate':
      return args[1].some((each: { target: string; callData: Hex }) => inner(each.target, each.callData));
    case 'multicall':
      return args[0].some((each: Hex) => inner(to, each));
    case 'execute':
      return inner(args[0], args[2]);
    case 'execTransaction':
      return inner(args[0], args[2]);
    case 'multiSend': {
      const text = (args[0] as Hex).slice(2);
      for (let at = 0; at + 170 <= text.length; ) {
        const end = at + 170 + 2 * Number(`0x${text.slice(at + 106, at + 170)}`);
        if (end > text.length) return false;
        if (inner(`0x${text.slice(at + 2, at + 42)}`, `0x${text.slice(at + 170, end)}`)) return true;
        at = end;
      }
      return false;
    }
    default:
      return false;
  }
}

describe('no encoding trick', () => {
  const here = world([registered()]);
  const wrapping = fc.array(fc.constantFrom(...WRAPPERS), { maxLength: 3 });
  const nested = (wraps: typeof WRAPPERS, data: Hex): { to: Address; data: Hex } =>
    wraps.reduce<{ to: Address; data: Hex }>((at, wrap) => ({ to: ROUTER, data: wrap(at.to, at.data) }), {
      to: TOKEN,
      data,
    });
  const refs = fc.constantFrom([], ['token']);

  it('lets an approve through, however it is wrapped', () => {
    fc.assert(
      fc.property(wrapping, refs, (wraps, asset_refs) => {
        const { to, data } = nested(wraps, approve);
        expect(executes(to, data, 'approve')).toBe(true);
        expect(judge(subject(to, data, { asset_refs }), here).ok).toBe(false);
      }),
    );
  });

  it('lets an approve through that a lenient contract would still find: dirty words, moved offsets, gaps, more bytes', () => {
    const edit = fc.record({
      word: fc.nat(),
      byte: fc.nat(31),
      to: fc.constantFrom(0, 1, 0x20, 0x40, 0x60, 0x80, 0xa0, 0xff),
      gap: fc.constantFrom(0, 0, 0, 1),
    });
    const edits = fc.array(edit, { minLength: 1, maxLength: 3 });
    const behind = fc.uint8Array({ maxLength: 40 });
    let found = 0;
    fc.assert(
      fc.property(wrapping, edits, behind, refs, (wraps, all, more, asset_refs) => {
        const { to, data } = nested(wraps, approve);
        let bytes = [...hexToBytes(data)];
        for (const { word, byte, to: value, gap } of all) {
          const at = 4 + 32 * (word % Math.max(1, Math.floor((bytes.length - 4) / 32)));
          if (gap === 1) bytes = [...bytes.slice(0, at), ...new Uint8Array(32), ...bytes.slice(at)];
          else if (at + byte < bytes.length) bytes[at + byte] = value;
        }
        const changed = Uint8Array.from([...bytes, ...more]);
        if (!executes(to, `0x${changed.toHex()}`, 'approve')) return;
        found += 1;
        expect(judge({ ...subject(to, '0x'), data: changed, asset_refs }, here).ok).toBe(false);
      }),
      { numRuns: 3_000 },
    );
    expect(found).toBeGreaterThan(300);
  });

  it('makes a permitted transfer out of one with anything behind or between', () => {
    for (const data of [`${transfer}00`, `${transfer.slice(0, 10)}ff${transfer.slice(12)}`] as Hex[]) {
      expect(reasonOf(subject(TOKEN, data), here)).toBe('calldata_malformed');
      expect(reasonOf(subject(ROUTER, call('execute', TOKEN, 0n, data)), here)).toBe('calldata_malformed');
    }
    // A strange wrapper that reaches no asset is nobody's business.
    expect(reasonOf(subject(ROUTER, `${call('execute', ROUTER, 0n, '0x')}00`, { asset_refs: [] }), here)).toBeNull();
  });
});
