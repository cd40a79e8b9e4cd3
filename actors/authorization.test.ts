import { privateKeyToAccount } from 'viem/accounts';
import { describe, expect, it } from 'vitest';
import { authorityOf } from './authorization.ts';
import { hex } from './encoding.ts';
import type { Authorization } from './transaction.ts';

const account = privateKeyToAccount(hex(new Uint8Array(32).fill(7)));
const authority = account.address.toLowerCase();

async function authorized(chainId: number, nonce = 5): Promise<Authorization> {
  const address = '0x00000000000000000000000000000000000000aa';
  const { r, s, yParity } = await account.signAuthorization({ chainId, nonce, address });
  return { chain_id: BigInt(chainId), address, nonce: BigInt(nonce), y_parity: yParity!, r: BigInt(r), s: BigInt(s) };
}

describe('the authority of an authorization', () => {
  it('is the account that viem signed it with, on this chain and on every chain', async () => {
    expect(authorityOf(await authorized(31_337), 31_337n)).toBe(authority);
    expect(authorityOf(await authorized(0, 0), 31_337n)).toBe(authority);
    expect(authorityOf(await authorized(31_337, 300), 31_337n)).toBe(authority);
  });

  it('is nobody where the chain skips it', async () => {
    const good = await authorized(31_337);
    const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
    expect(authorityOf(good, 1n)).toBeNull();
    expect(authorityOf({ ...good, y_parity: 27 }, 31_337n)).toBeNull();
    expect(authorityOf({ ...good, s: ORDER - good.s }, 31_337n)).toBeNull();
    expect(authorityOf({ ...good, r: 0n }, 31_337n)).toBeNull();
  });
});
