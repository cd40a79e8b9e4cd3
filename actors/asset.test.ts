import fc from 'fast-check';
import { getAddress } from 'viem';
import { describe, expect, it } from 'vitest';
import {
  actDigest,
  assetOf,
  assetsRoot,
  checksummed,
  isChecksummed,
  PolicyPatch,
  patched,
  policyDigestOf,
  protectionOf,
  Registration,
  type RegistrationInput,
  touchedOf,
} from './asset.ts';
import { hex } from './encoding.ts';
import { EMPTY_ROOT } from './tree.ts';
import { ASSET_TYPES } from './words.ts';

/** As the deployment guide writes it, with the address of its example. */
const guide: RegistrationInput = {
  asset_id: 'token_001',
  asset_type: 'OnChainToken',
  chain_id: 16584,
  contract_address: '0x72FC1db108e68afBFe8c251829CeFeeFf109B7D4',
  access_policy: { requires_pqc: true, requires_tee: true, risk_threshold: 5000 },
};
const policy = { requires_pqc: false, requires_tee: false, risk_threshold: 5_000 };

describe('a registration', () => {
  it('of the deployment guide is taken as it stands, if its address is right', () => {
    const lower = { ...guide, contract_address: guide.contract_address!.toLowerCase() };
    expect(assetOf(Registration.parse(lower), 7)).toMatchObject({
      asset_id: 'token_001',
      chain_id: '16584',
      contract_address: '0x72fc1db108e68afbfe8c251829cefeeff109b7d4',
      state: 'Active',
      grants: { data: ['encrypt', 'decrypt', 'rewrap'] },
      access_policy: { emergency_operations: [], requires_pqc: true, requires_tee: true, risk_threshold: 5000 },
    });
  });

  it.each(ASSET_TYPES)('takes %s with a policy that is filled in and shown', (asset_type) => {
    const off = asset_type.startsWith('OffChain');
    const place = off ? {} : { chain_id: '1', contract_address: `0x${'ab'.repeat(20)}` };
    const asset = assetOf(Registration.parse({ asset_id: 'a', asset_type, ...place, access_policy: policy }), 0);
    expect(asset.access_policy.allowed_operations.length).toBeGreaterThan(2);
    expect(asset.access_policy.allowed_operations).not.toContain('unknown');
    expect(protectionOf(asset, 'Active', undefined)).toMatchObject({ encryption_key: null, migration_state: 'Active' });
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['no id', { asset_id: '' }, 'asset_id'],
    ['an id with a slash', { asset_id: 'a/b' }, 'asset_id'],
    ['an id that is a path', { asset_id: '..' }, 'asset_id'],
    ['an id of 129 bytes', { asset_id: 'x'.repeat(129) }, 'asset_id'],
    ['an id with a control character', { asset_id: 'a\u001b[2J' }, 'asset_id'],
    ['another type', { asset_type: 'OnChainThing' }, 'asset_type'],
    ['a wrong checksum', { contract_address: '0x72FC1db108e68afBFe8c251829CeFeeFf109B7d4' }, 'contract_address'],
    ['a short address', { contract_address: '0x72' }, 'contract_address'],
    ['the zero address', { contract_address: `0x${'0'.repeat(40)}` }, 'contract_address'],
    ['chain 0', { chain_id: 0 }, 'chain_id'],
    ['a token without a contract', { contract_address: undefined }, 'contract_address'],
    ['a token without a chain', { chain_id: undefined }, 'chain_id'],
    ['a file on a chain', { asset_type: 'OffChainFile' }, 'chain_id'],
    ['no policy', { access_policy: undefined }, 'access_policy'],
    ['a threshold above the scale', { access_policy: { ...policy, risk_threshold: 10_001 } }, 'risk_threshold'],
    ['an operation twice', { access_policy: { ...policy, allowed_operations: ['a', 'a'] } }, 'allowed_operations'],
    ['an operation with spaces', { access_policy: { ...policy, allowed_operations: ['a b'] } }, 'allowed_operations'],
    [
      '65 operations',
      { access_policy: { ...policy, allowed_operations: Array.from({ length: 65 }, (_, i) => `f${i}`) } },
      'allowed_operations',
    ],
    ['a key that nobody knows', { access_policy: { ...policy, max: 1 } }, 'access_policy'],
    ['an ABI that cannot be read', { abi: ['function f(uint7)'] }, 'abi'],
    ['an ABI that takes our words', { abi: ['function encrypt(bytes)'] }, 'abi'],
    ['129 functions', { abi: Array.from({ length: 129 }, (_, i) => `f${i}()`) }, 'abi'],
    ['a grant to nobody', { grants: { metrics: ['encrypt'] } }, 'grants'],
    ['a grant of nothing known', { grants: { data: ['burn'] } }, 'grants'],
    ['its own key', { encryption_key: '' }, ''],
  ])('refuses %s', (_, change, field) => {
    const lower = { ...guide, contract_address: guide.contract_address!.toLowerCase(), ...change };
    const result = Registration.safeParse(lower);
    expect(result.success).toBe(false);
    expect(result.error?.issues[0]?.path.join('.')).toContain(field);
  });

  it('reads ABIs in both forms into one', () => {
    const one = Registration.parse({
      ...guide,
      ...place,
      abi: ['function f(uint a, bytes[] b) payable'],
    });
    const json = [
      {
        type: 'function',
        name: 'f',
        inputs: [{ type: 'uint256', name: 'a' }, { type: 'bytes[]' }],
        stateMutability: 'payable',
      },
    ];
    expect(Registration.parse({ ...guide, ...place, abi: json }).abi).toEqual(one.abi);
    expect(one.abi).toEqual(['f(uint256,bytes[])']);
  });
});

const place = { chain_id: 1, contract_address: `0x${'ab'.repeat(20)}` };

describe('addresses', () => {
  it('are checked as EIP-55 says: viem agrees', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), fc.nat(39), (bytes, at) => {
        const address = getAddress(hex(bytes));
        expect(checksummed(hex(bytes))).toBe(address);
        expect(isChecksummed(address) && isChecksummed(hex(bytes))).toBe(true);
        const digit = address[2 + at]!;
        const swapped = digit === digit.toUpperCase() ? digit.toLowerCase() : digit.toUpperCase();
        const other = address.slice(0, 2 + at) + swapped + address.slice(3 + at);
        const oneCase =
          other.slice(2) === other.slice(2).toLowerCase() || other.slice(2) === other.slice(2).toUpperCase();
        if (other !== address && !oneCase) expect(isChecksummed(other)).toBe(false);
      }),
    );
  });
});

describe('digests', () => {
  const asset = assetOf(Registration.parse({ ...guide, ...place }), 0);

  it('of a policy change with everything in it', () => {
    const changes = [
      { requires_pqc: false },
      { requires_tee: false },
      { risk_threshold: 4_999 },
      { allowed_operations: ['transfer'] },
      { emergency_operations: ['pause'] },
      { grants: { data: ['encrypt' as const] } },
      { abi: ['f()'] },
    ];
    const digests = changes.map((change) => hex(policyDigestOf(patched(asset, PolicyPatch.parse(change)))));
    const moved = { ...asset, contract_address: '0x00000000000000000000000000000000000000cd' as const };
    const all = [
      ...digests,
      hex(policyDigestOf(asset)),
      hex(policyDigestOf(moved)),
      hex(policyDigestOf({ ...asset, chain_id: '2' })),
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  it('do not depend on the order in which a policy lists things', () => {
    const a = patched(
      asset,
      PolicyPatch.parse({ allowed_operations: ['a', 'b'], grants: { data: ['encrypt', 'decrypt'] } }),
    );
    const b = patched(
      asset,
      PolicyPatch.parse({ allowed_operations: ['b', 'a'], grants: { data: ['decrypt', 'encrypt'] } }),
    );
    expect(policyDigestOf(a)).toEqual(policyDigestOf(b));
  });

  it('of acts differ by act, asset, what it became and time', () => {
    const touched = touchedOf(asset, 'Active');
    const all = [
      actDigest('registered', 'a', touched, 1),
      actDigest('policy', 'a', touched, 1),
      actDigest('registered', 'b', touched, 1),
      actDigest('registered', 'a', { ...touched, migration_state: 'Protected' }, 1),
      actDigest('registered', 'a', touched, 2),
      actDigest('removed', 'a', undefined, 1),
    ];
    expect(new Set(all.map(hex)).size).toBe(all.length);
  });

  it('of a batch that touched nothing are the empty tree', () => {
    expect(assetsRoot([])).toEqual(EMPTY_ROOT);
  });
});

describe('a change of policy', () => {
  it('replaces what it names and nothing else', () => {
    const asset = assetOf(Registration.parse({ ...guide, ...place }), 0);
    const after = patched(asset, PolicyPatch.parse({ risk_threshold: 1 }));
    const expected = { ...asset, access_policy: { ...asset.access_policy, risk_threshold: 1 } };
    expect(after).toEqual({ ...expected, policy_digest: hex(policyDigestOf(expected)) });
    expect(after.policy_digest).not.toBe(asset.policy_digest);
    expect(PolicyPatch.safeParse({}).success).toBe(false);
    expect(PolicyPatch.safeParse({ asset_id: 'x' }).success).toBe(false);
  });
});
