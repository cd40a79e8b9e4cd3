// What is taken of the old state, what is not, and that nothing goes without a line.
import { expect, it } from 'vitest';
import { LegacyState, readLegacy } from './legacy.ts';

const policy = { allowed_operations: ['transfer'], requires_pqc: true, requires_tee: true, risk_threshold: 5000 };
const token = {
  ...{ asset_id: 'token_001', asset_type: 'OnChainToken', chain_id: 1, contract_address: `0x${'11'.repeat(20)}` },
  ...{ encryption_key: [1, 2, 3], access_policy: policy, migration_state: 'Active' },
};
const read = (state: object) => readLegacy(LegacyState.parse(state));

it('takes an asset with its policy as it was, and never its key', () => {
  for (const assets of [[token], { token_001: token }]) {
    const { assets: found } = read({ assets });
    expect(found).toHaveLength(1);
    const [{ registration, lines }] = found as [(typeof found)[0]];
    expect(registration).toEqual({
      ...{ asset_id: 'token_001', asset_type: 'OnChainToken', chain_id: 1, contract_address: token.contract_address },
      access_policy: policy,
    });
    expect(JSON.stringify(found)).not.toContain('[1,2,3]');
    expect(lines).toMatchObject([{ item: 'assets token_001 encryption_key', outcome: 'not_taken' }]);
  }
});

it.each([
  ['a migration that is under way', { ...token, migration_state: 'Migrating' }, 'migration_state is Migrating'],
  ['a type that is none', { ...token, asset_type: 'Car' }, 'asset_type'],
  ['a token without its contract', { ...token, contract_address: null }, 'contract_address'],
  [
    'a threshold beyond the scale',
    { ...token, access_policy: { ...policy, risk_threshold: 10_001 } },
    'risk_threshold',
  ],
  ['no policy', { ...token, access_policy: undefined }, 'access_policy'],
  ['no object', 7, 'it'],
])('does not take %s, and says why', (_, asset, reason) => {
  const { assets } = read({ assets: [asset] });
  expect(assets).toMatchObject([{ registration: undefined, lines: [{ outcome: 'not_taken' }] }]);
  expect(assets[0]!.lines[0]!.reason).toContain(reason);
});

it('takes the first of two with one id', () => {
  const { assets } = read({ assets: [token], asset_protections: [token] });
  expect(assets.map(({ registration }) => registration !== undefined)).toEqual([true, false]);
});

it('has a line for pending transactions, attestations and what it does not know', () => {
  const { lines } = read({ pending: [{ tx_id: 'tx-1' }, 7], attestations: [{ worker_id: 'w0' }], extra: 1 });
  expect(lines.map(({ item, outcome }) => [item, outcome])).toEqual([
    ['pending tx-1', 'not_taken'],
    ['pending [1]', 'not_taken'],
    ['attestations w0', 'not_taken'],
    ['extra', 'not_taken'],
  ]);
});
