// Wallets for the demo and the benchmarks: transactions of types 0, 1 and 2, transfers of ether and of an ERC-20 token, signed
// with viem by keys that are thrown away.
import { encodeFunctionData, parseAbi } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { fromHex } from '../../actors/encoding.ts';

const ERC20 = parseAbi(['function transfer(address to, uint256 value) returns (bool)']);
const TOKEN = '0x72FC1db108e68afBFe8c251829CeFeeFf109B7D4';
const GWEI = 1_000_000_000n;
const WALLETS = 20;

/** @returns raw signed transactions; each wallet's nonces rise from 0 */
export async function signTransactions(count: number, chainId: number): Promise<Uint8Array[]> {
  const wallets = Array.from({ length: Math.min(WALLETS, count) }, () => privateKeyToAccount(generatePrivateKey()));
  const raws: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const wallet = wallets[i % wallets.length]!;
    const to = wallets[(i + 1) % wallets.length]!.address;
    const nonce = Math.floor(i / wallets.length);
    const fee = BigInt(1 + (i % 50)) * GWEI;
    const call =
      i % 4 === 3
        ? {
            to: TOKEN,
            gas: 65_000n,
            data: encodeFunctionData({ abi: ERC20, functionName: 'transfer', args: [to, BigInt(i)] }),
          }
        : { to, gas: 21_000n, value: BigInt(i) };
    raws.push(fromHex(await wallet.signTransaction({ ...call, chainId, nonce, ...fees(i % 3, fee) } as never)));
  }
  return raws;
}

function fees(type: number, fee: bigint) {
  if (type === 2) return { type: 'eip1559', maxPriorityFeePerGas: fee, maxFeePerGas: 100n * GWEI };
  if (type === 1) return { type: 'eip2930', gasPrice: fee, accessList: [] };
  return { type: 'legacy', gasPrice: fee };
}
