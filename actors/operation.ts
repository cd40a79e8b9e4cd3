// What a call does to the contract that it reaches, by name (DESIGN §7): the operation that policies allow or refuse. It is the
// name of the function, which is what users of the upstream write in their policies, and a few words of ours for what has
// none. The functions of the common standards are known here, others come with an asset's registration. A known function
// whose arguments are not canonically encoded keeps its name and is `malformed`, so that no spelling makes it another.
import { type AbiFunction, type Budget, decodeArguments, parseFunction, type Value } from './abi.ts';
import { hex } from './encoding.ts';

/** Operations that are no function's name; a registered ABI may not take them. */
export const OWN_OPERATIONS = {
  native_transfer: 'the chain’s own currency, without calldata',
  create: 'a contract is created at the asset’s address',
  delegate: 'EIP-7702: the account is given other code',
  unknown: 'calldata that starts with no known selector',
  encrypt: 'data API: encrypt a stream under the data key',
  decrypt: 'data API: decrypt a stream',
  rewrap: 'data API: move the data key to the active epoch',
} as const;
export type OwnOperation = keyof typeof OWN_OPERATIONS;

/** By standard, as Solidity writes them. Overloads share a name, and so a rule. */
export const STANDARDS = {
  'ERC-20': [
    'transfer(address,uint256)',
    'transferFrom(address,address,uint256)',
    'approve(address,uint256)',
    'increaseAllowance(address,uint256)',
    'decreaseAllowance(address,uint256)',
  ],
  'permits (ERC-2612, DAI, ERC-7597)': [
    'permit(address,address,uint256,uint256,uint8,bytes32,bytes32)',
    'permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)',
    'permit(address,address,uint256,uint256,bytes)',
  ],
  'ERC-3009, ERC-1363': [
    'transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)',
    'receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)',
    'transferAndCall(address,uint256)',
    'transferAndCall(address,uint256,bytes)',
    'transferFromAndCall(address,address,uint256)',
    'transferFromAndCall(address,address,uint256,bytes)',
    'approveAndCall(address,uint256)',
    'approveAndCall(address,uint256,bytes)',
  ],
  'ERC-721, ERC-1155': [
    'safeTransferFrom(address,address,uint256)',
    'safeTransferFrom(address,address,uint256,bytes)',
    'setApprovalForAll(address,bool)',
    'safeTransferFrom(address,address,uint256,uint256,bytes)',
    'safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)',
  ],
  'ERC-4626, wrapped ether': [
    'deposit(uint256,address)',
    'mint(uint256,address)',
    'withdraw(uint256,address,address)',
    'redeem(uint256,address,address)',
    'deposit()',
    'withdraw(uint256)',
  ],
  'supply and control': [
    'mint(address,uint256)',
    'burn(uint256)',
    'burn(address,uint256)',
    'burnFrom(address,uint256)',
    'pause()',
    'unpause()',
    'grantRole(bytes32,address)',
    'revokeRole(bytes32,address)',
    'renounceRole(bytes32,address)',
    'transferOwnership(address)',
    'renounceOwnership()',
    'upgradeTo(address)',
    'upgradeToAndCall(address,bytes)',
    'changeAdmin(address)',
  ],
  'bridges (OP Stack, Arbitrum, CCTP, OFT, Across, Wormhole)': [
    'bridgeETH(uint32,bytes)',
    'bridgeETHTo(address,uint32,bytes)',
    'bridgeERC20(address,address,uint256,uint32,bytes)',
    'bridgeERC20To(address,address,address,uint256,uint32,bytes)',
    'bridgeERC721(address,address,uint256,uint32,bytes)',
    'bridgeERC721To(address,address,address,uint256,uint32,bytes)',
    'depositETH(uint32,bytes)',
    'depositETHTo(address,uint32,bytes)',
    'depositERC20(address,address,uint256,uint32,bytes)',
    'depositERC20To(address,address,address,uint256,uint32,bytes)',
    'depositTransaction(address,uint256,uint64,bool,bytes)',
    'withdraw(address,uint256,uint32,bytes)',
    'withdrawTo(address,address,uint256,uint32,bytes)',
    'initiateWithdrawal(address,uint256,bytes)',
    'sendMessage(address,bytes,uint32)',
    'relayMessage(uint256,address,address,uint256,uint256,bytes)',
    'finalizeBridgeETH(address,address,uint256,bytes)',
    'finalizeBridgeERC20(address,address,address,address,uint256,bytes)',
    'outboundTransfer(address,address,uint256,bytes)',
    'outboundTransfer(address,address,uint256,uint256,uint256,bytes)',
    'depositForBurn(uint256,uint32,bytes32,address)',
    'send((uint32,bytes32,uint256,uint256,bytes,bytes,bytes),(uint256,uint256),address)',
    'depositV3(address,address,address,address,uint256,uint256,uint256,address,uint32,uint32,uint32,bytes)',
    'transferTokens(address,uint256,uint16,bytes32,uint256,uint32)',
  ],
} as const;

const named = (group: keyof typeof STANDARDS): string[] => [
  ...new Set(STANDARDS[group].map((signature) => signature.slice(0, signature.indexOf('(')))),
];

const DATA_OPERATIONS = ['encrypt', 'decrypt', 'rewrap'] as const;

/** What a policy allows that lists nothing: the everyday operations of its type. */
export const DEFAULT_OPERATIONS = {
  OnChainToken: [...named('ERC-20'), 'permit'],
  OnChainNFT: ['approve', 'transferFrom', ...named('ERC-721, ERC-1155')],
  OnChainData: DATA_OPERATIONS,
  OffChainDatabase: DATA_OPERATIONS,
  OffChainFile: DATA_OPERATIONS,
  OffChainStream: DATA_OPERATIONS,
  OffChainApi: DATA_OPERATIONS,
  CrossChainBridge: named('bridges (OP Stack, Arbitrum, CCTP, OFT, Across, Wormhole)'),
} as const satisfies Record<string, readonly string[]>;

/** Functions by their selector. */
export type Interface = ReadonlyMap<string, AbiFunction>;

export function interfaceOf(functions: readonly AbiFunction[]): Interface {
  return new Map(functions.map((each) => [each.selector, each]));
}

export const STANDARD: Interface = interfaceOf(Object.values(STANDARDS).flat().map(parseFunction));

export interface Operation {
  readonly name: string;
  /** Its arguments are not the canonical encoding of anything. */
  readonly malformed: boolean;
}

const SELECTOR_BYTES = 4;

/**
 * What calldata asks of a contract.
 *
 * @param known  functions to look it up in, in this order
 */
export function operationOf(data: Uint8Array, known: readonly Interface[] = [STANDARD], budget?: Budget): Operation {
  if (data.length === 0) return { name: 'native_transfer', malformed: false };
  const found = known.map((functions) => functionOf(data, functions)).find((each) => each !== undefined);
  if (found === undefined) return { name: 'unknown', malformed: false };
  const read = decodeArguments(found.inputs, data.subarray(SELECTOR_BYTES), budget);
  return { name: found.name, malformed: !read.ok || !read.exact };
}

/** Calldata of one to three bytes has no selector: a fallback function gets it, so it is unknown. */
export function functionOf(data: Uint8Array, known: Interface): AbiFunction | undefined {
  return data.length < SELECTOR_BYTES ? undefined : known.get(hex(data.subarray(0, SELECTOR_BYTES)));
}

/** A table from signature to what is to be made of the arguments, by selector. */
export function bySelector<T>(
  entries: Readonly<Record<string, T>>,
): ReadonlyMap<string, { readonly call: AbiFunction; readonly make: T }> {
  return new Map(
    Object.entries(entries).map(([signature, make]) => {
      const call = parseFunction(signature);
      return [call.selector, { call, make }];
    }),
  );
}

export type Make<T> = (values: readonly Value[]) => T;
