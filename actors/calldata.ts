// Which contracts a transaction calls, as far as its calldata says (DESIGN §7): the call itself, the calls inside the common
// wrappers (multicalls, routers, smart accounts, Safe), found by recursion within bounds, and the tokens that bridges, Permit2
// and routers move by name. The policy judges each. A wrapper is read as leniently as a contract would read it, so that
// nothing hides in a strange encoding; that it was strange is said beside. What no contract could read is said, too.
import {
  addressOf,
  type Budget,
  bytesOf,
  decodeArguments,
  listOf,
  parseFunction,
  selectorOf,
  uintOf,
  VALUES_MAX,
  type Value,
} from './abi.ts';
import { hex } from './encoding.ts';
import { bySelector, type Interface, interfaceOf, type Make } from './operation.ts';

export type Address = `0x${string}`;

/** A call that will be made, or a token that one will move; `data` is a view. `strange`: inside of, or itself, no canonical wrapper. */
export type Reach =
  | {
      readonly to: Address;
      readonly data: Uint8Array;
      readonly strange: boolean;
      /** Nothing in itself: a contract's call of itself, or a router's step. What matters follows. */
      readonly transparent: boolean;
    }
  /** The operation is named by the contract that moves the token. */
  | { readonly to: Address; readonly operation: string; readonly strange: boolean };

export interface Reached {
  readonly reaches: readonly Reach[];
  /** A wrapper that no contract could read, or more than the bounds allow: what is inside is not known. */
  readonly hidden: 'unreadable' | 'too_complex' | null;
  /** What is left for reading arguments. */
  readonly budget: Budget;
}

interface Call {
  readonly to: Address;
  readonly data: Uint8Array;
  /** Of our own making: `data` is the arguments alone, and this the selector. */
  readonly as?: string;
}
interface Move {
  readonly token: Address;
  readonly operation: string;
}
interface Inside {
  readonly calls?: readonly Call[];
  readonly moves?: readonly Move[];
  /** Part of the arguments is packed by hand and does not add up. */
  readonly unreadable?: boolean;
}

/** Each inner call takes 64 bytes of its wrapper at least, so a canonical one of 96 KiB has 1,504. */
export const CALLS_MAX = 4_096;
export const DEPTH_MAX = 8;

/** What a transaction to `to` with `data` reaches, itself first. */
export function reach(to: Address, data: Uint8Array): Reached {
  const walk: Walk = { reaches: [], hidden: null, budget: { left: VALUES_MAX } };
  visit(walk, { to, data }, false, 0);
  return walk;
}

interface Walk extends Reached {
  reaches: Reach[];
  hidden: Reached['hidden'];
}

function visit(walk: Walk, call: Call, strange: boolean, depth: number): void {
  if (walk.reaches.length >= CALLS_MAX || depth > DEPTH_MAX) {
    walk.hidden ??= 'too_complex';
    return;
  }
  const { to, data, as } = call;
  const found = INNER.get(as ?? hex(data.subarray(0, 4)));
  const read = found && decodeArguments(found.call.inputs, as === undefined ? data.subarray(4) : data, walk.budget);
  if (read?.ok === false) walk.hidden ??= read.reason;
  if (found === undefined || read?.ok !== true) {
    walk.reaches.push({ to, data, strange, transparent: as !== undefined });
    return;
  }
  const within = strange || !read.exact;
  walk.reaches.push({ to, data, strange: within, transparent: as !== undefined || found.call.name === 'multicall' });
  const { calls = [], moves = [], unreadable = false } = found.make(read.values, to);
  if (unreadable) walk.hidden ??= 'unreadable';
  for (const { token, operation } of moves) walk.reaches.push({ to: token, operation, strange: within });
  for (const inner of calls) visit(walk, inner, within, depth + 1);
}

type Inner = (values: readonly Value[], to: Address) => Inside;

const callOf = (to: Value | undefined, data: Value | undefined): Call => ({ to: addressOf(to), data: bytesOf(data) });
const each = (list: Value | undefined, make: Make<Call>): Inside => ({
  calls: listOf(list).map((entry) => make(listOf(entry))),
});
/** Calls that a contract makes to itself, by `delegatecall`. */
const toSelf = (list: Value | undefined, to: Address): Inside => ({
  calls: listOf(list).map((data) => ({ to, data: bytesOf(data) })),
});
const zipped = (targets: Value | undefined, datas: Value | undefined): Inside => {
  const [to, data] = [listOf(targets), listOf(datas)];
  return { calls: to.slice(0, data.length).map((target, i) => callOf(target, data[i])) };
};
const moving = (operation: string, ...places: number[]): Inner => {
  return (values) => ({ moves: places.map((place) => ({ token: addressOf(values[place]), operation })) });
};

/** Account abstraction: the account is called with what its owner signed. */
const USER_OPERATION = {
  v06: '(address,uint256,bytes,bytes,uint256,uint256,uint256,uint256,uint256,bytes,bytes)',
  v07: '(address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)',
};
const operations: Inner = ([ops]) => each(ops, ([sender, , , data]) => callOf(sender, data));

const BATCH = 'execute((address,uint256,bytes)[])';
const PLAN = 'execute(bytes,bytes[])';

const WRAPPERS: Readonly<Record<string, Inner>> = {
  // Multicall, Multicall2, Multicall3
  'aggregate((address,bytes)[])': ([calls]) => each(calls, ([to, data]) => callOf(to, data)),
  'blockAndAggregate((address,bytes)[])': ([calls]) => each(calls, ([to, data]) => callOf(to, data)),
  'tryAggregate(bool,(address,bytes)[])': ([, calls]) => each(calls, ([to, data]) => callOf(to, data)),
  'tryBlockAndAggregate(bool,(address,bytes)[])': ([, calls]) => each(calls, ([to, data]) => callOf(to, data)),
  'aggregate3((address,bool,bytes)[])': ([calls]) => each(calls, ([to, , data]) => callOf(to, data)),
  'aggregate3Value((address,bool,uint256,bytes)[])': ([calls]) => each(calls, ([to, , , data]) => callOf(to, data)),
  // OpenZeppelin, Uniswap
  'multicall(bytes[])': ([calls], to) => toSelf(calls, to),
  'multicall(uint256,bytes[])': ([, calls], to) => toSelf(calls, to),
  'multicall(bytes32,bytes[])': ([, calls], to) => toSelf(calls, to),
  // Safe
  'execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)': ([to, , data]) => ({
    calls: [callOf(to, data)],
  }),
  'execTransactionFromModule(address,uint256,bytes,uint8)': ([to, , data]) => ({ calls: [callOf(to, data)] }),
  'multiSend(bytes)': ([packed]) => packedCalls(bytesOf(packed)),
  // Smart accounts, governors, proxies
  'execute(address,uint256,bytes)': ([to, , data]) => ({ calls: [callOf(to, data)] }),
  'execute(address,uint256,bytes,uint8)': ([to, , data]) => ({ calls: [callOf(to, data)] }),
  'executeBatch(address[],bytes[])': ([to, data]) => zipped(to, data),
  'executeBatch(address[],uint256[],bytes[])': ([to, , data]) => zipped(to, data),
  'executeBatch((address,uint256,bytes)[])': ([calls]) => each(calls, ([to, , data]) => callOf(to, data)),
  [BATCH]: ([calls], self) => ({
    // ERC-7821: the zero address is the account itself.
    calls: listOf(calls).map((entry) => {
      const [to, , data] = listOf(entry);
      const call = callOf(to, data);
      return BigInt(call.to) === 0n ? { ...call, to: self } : call;
    }),
  }),
  // ERC-7579, ERC-7821: the first byte of the mode says how the rest is packed
  'execute(bytes32,bytes)': ([mode, packed], self) => executed(bytesOf(mode)[0]!, bytesOf(packed), self),
  'executeFromExecutor(bytes32,bytes)': ([mode, packed], self) => executed(bytesOf(mode)[0]!, bytesOf(packed), self),
  'upgradeToAndCall(address,bytes)': ([, data], to) => afterUpgrade(to, data),
  [`handleOps(${USER_OPERATION.v06}[],address)`]: operations,
  [`handleOps(${USER_OPERATION.v07}[],address)`]: operations,
  // Uniswap's Universal Router
  [PLAN]: ([commands, inputs], self) => routed(bytesOf(commands), listOf(inputs), self),
  'execute(bytes,bytes[],uint256)': ([commands, inputs], self) => routed(bytesOf(commands), listOf(inputs), self),
};

/** Contracts that move a token which the arguments name. */
const MOVERS: Readonly<Record<string, Inner>> = {
  // Permit2
  'transferFrom(address,address,uint160,address)': moving('transferFrom', 3),
  'transferFrom((address,address,uint160,address)[])': ([list]) => ({
    moves: listOf(list).map((entry) => ({ token: addressOf(listOf(entry)[3]), operation: 'transferFrom' })),
  }),
  'approve(address,address,uint160,uint48)': moving('approve', 0),
  'permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)': ([, permit]) => permitted(permit, false),
  'permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)': ([, permit]) => permitted(permit, true),
  'permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)': ([permit]) => ({
    moves: [{ token: addressOf(listOf(listOf(permit)[0])[0]), operation: 'transferFrom' }],
  }),
  'permitTransferFrom(((address,uint256)[],uint256,uint256),(address,uint256)[],address,bytes)': ([permit]) => ({
    moves: listOf(listOf(permit)[0]).map((entry) => ({
      token: addressOf(listOf(entry)[0]),
      operation: 'transferFrom',
    })),
  }),
  // Bridges
  'bridgeERC20(address,address,uint256,uint32,bytes)': moving('bridgeERC20', 0),
  'bridgeERC20To(address,address,address,uint256,uint32,bytes)': moving('bridgeERC20To', 0),
  'bridgeERC721(address,address,uint256,uint32,bytes)': moving('bridgeERC721', 0),
  'bridgeERC721To(address,address,address,uint256,uint32,bytes)': moving('bridgeERC721To', 0),
  'depositERC20(address,address,uint256,uint32,bytes)': moving('depositERC20', 0),
  'depositERC20To(address,address,address,uint256,uint32,bytes)': moving('depositERC20To', 0),
  'withdraw(address,uint256,uint32,bytes)': moving('withdraw', 0),
  'withdrawTo(address,address,uint256,uint32,bytes)': moving('withdrawTo', 0),
  'outboundTransfer(address,address,uint256,bytes)': moving('outboundTransfer', 0),
  'outboundTransfer(address,address,uint256,uint256,uint256,bytes)': moving('outboundTransfer', 0),
  'depositForBurn(uint256,uint32,bytes32,address)': moving('depositForBurn', 3),
  'transferTokens(address,uint256,uint16,bytes32,uint256,uint32)': moving('transferTokens', 0),
  'depositV3(address,address,address,address,uint256,uint256,uint256,address,uint32,uint32,uint32,bytes)': moving(
    'depositV3',
    2,
  ),
  // Uniswap V2 and its forks: the first token of the path is paid, the last received
  'swapExactTokensForTokens(uint256,uint256,address[],address,uint256)': ([, , path]) => swapped(path),
  'swapTokensForExactTokens(uint256,uint256,address[],address,uint256)': ([, , path]) => swapped(path),
  'swapExactTokensForETH(uint256,uint256,address[],address,uint256)': ([, , path]) => swapped(path),
  'swapTokensForExactETH(uint256,uint256,address[],address,uint256)': ([, , path]) => swapped(path),
  'swapExactETHForTokens(uint256,address[],address,uint256)': ([, path]) => swapped(path),
  'swapETHForExactTokens(uint256,address[],address,uint256)': ([, path]) => swapped(path),
  // Uniswap V3
  'exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))': swapSingle,
  'exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))': swapSingle,
  'exactOutputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))': swapSingle,
  'exactOutputSingle((address,address,uint24,address,uint256,uint256,uint160))': swapSingle,
  'exactInput((bytes,address,uint256,uint256,uint256))': ([swap]) => swappedPacked(listOf(swap)[0]),
  'exactInput((bytes,address,uint256,uint256))': ([swap]) => swappedPacked(listOf(swap)[0]),
  'exactOutput((bytes,address,uint256,uint256,uint256))': ([swap]) => swappedPacked(listOf(swap)[0]),
  'exactOutput((bytes,address,uint256,uint256))': ([swap]) => swappedPacked(listOf(swap)[0]),
};

/** Universal Router: a command's number, and what its input asks for, as a function of ours. */
const COMMANDS: readonly (readonly [number: number, signature: string, make: Inner])[] = [
  [0, 'v3_swap_exact_in(address,uint256,uint256,bytes,bool)', ([, , , path]) => swappedPacked(path)],
  [1, 'v3_swap_exact_out(address,uint256,uint256,bytes,bool)', ([, , , path]) => swappedPacked(path)],
  [2, 'permit2_transfer_from(address,address,uint160)', moving('transferFrom', 0)],
  [
    3,
    'permit2_permit_batch(((address,uint160,uint48,uint48)[],address,uint256),bytes)',
    ([permit]) => permitted(permit, true),
  ],
  [4, 'router_sweep(address,address,uint256)', moving('transfer', 0)],
  [5, 'router_transfer(address,address,uint256)', moving('transfer', 0)],
  [6, 'router_pay_portion(address,address,uint256)', moving('transfer', 0)],
  [8, 'v2_swap_exact_in(address,uint256,uint256,address[],bool)', ([, , , path]) => swapped(path)],
  [9, 'v2_swap_exact_out(address,uint256,uint256,address[],bool)', ([, , , path]) => swapped(path)],
  [
    10,
    'permit2_permit(((address,uint160,uint48,uint48),address,uint256),bytes)',
    ([permit]) => permitted(permit, false),
  ],
  [
    13,
    'permit2_transfer_from_batch((address,address,uint160,address)[])',
    ([list]) => ({
      moves: listOf(list).map((entry) => ({ token: addressOf(listOf(entry)[3]), operation: 'transferFrom' })),
    }),
  ],
  [33, PLAN, ([commands, inputs], self) => routed(bytesOf(commands), listOf(inputs), self)],
];

const INNER = bySelector<Inner>({
  ...WRAPPERS,
  ...MOVERS,
  ...Object.fromEntries(COMMANDS.map(([, signature, make]) => [signature, make])),
});

/** A command is visited as a call of our own making, so that the walk's bounds hold for it. */
const SELECTOR_OF_COMMAND: ReadonlyMap<number, string> = new Map(
  COMMANDS.map(([number, signature]) => [number, selectorOf(signature)]),
);

/** How wrappers are called, where a policy has to name them. */
export const WRAPPER_INTERFACE: Interface = interfaceOf(Object.keys(WRAPPERS).map(parseFunction));

/** The signatures that are looked into, for the docs. */
export const WRAPPER_SIGNATURES: readonly string[] = Object.keys(WRAPPERS);
export const MOVER_SIGNATURES: readonly string[] = Object.keys(MOVERS);

/** The new implementation is called at once, as the proxy; without calldata it is not. */
function afterUpgrade(to: Address, data: Value | undefined): Inside {
  const call = bytesOf(data);
  return call.length === 0 ? {} : { calls: [{ to, data: call }] };
}

function permitted(permit: Value | undefined, batch: boolean): Inside {
  const details = listOf(permit)[0];
  const entries = batch ? listOf(details).map(listOf) : [listOf(details)];
  return { moves: entries.map(([token]) => ({ token: addressOf(token), operation: 'permit' })) };
}

const SWAP = 'swap';

function swapped(path: Value | undefined): Inside {
  return { moves: listOf(path).map((token) => ({ token: addressOf(token), operation: SWAP })) };
}

function swapSingle([swap]: readonly Value[]): Inside {
  const [tokenIn, tokenOut] = listOf(swap);
  return { moves: [tokenIn, tokenOut].map((token) => ({ token: addressOf(token), operation: SWAP })) };
}

/** V3 paths are packed: token (20), then fee (3) and token (20) for each pool. */
function swappedPacked(path: Value | undefined): Inside {
  const bytes = bytesOf(path);
  const moves: Move[] = [];
  for (let at = 0; at + 20 <= bytes.length; at += 23) {
    moves.push({ token: hex(bytes.subarray(at, at + 20)), operation: SWAP });
  }
  return { moves, unreadable: bytes.length < 43 || (bytes.length - 20) % 23 !== 0 };
}

/** Safe's multiSend: uint8 operation ‖ address ‖ uint256 value ‖ uint256 length ‖ data, again and again. */
function packedCalls(bytes: Uint8Array): Inside {
  const calls: Call[] = [];
  const HEAD = 85;
  for (let at = 0; at < bytes.length; ) {
    if (at + HEAD > bytes.length) return { calls, unreadable: true };
    const length = uintOf(bytes.subarray(at + 53, at + HEAD));
    if (length > BigInt(bytes.length - at - HEAD)) return { calls, unreadable: true };
    const end = at + HEAD + Number(length);
    calls.push({ to: hex(bytes.subarray(at + 1, at + 21)), data: bytes.subarray(at + HEAD, end) });
    at = end;
  }
  return { calls };
}

/** The low six bits of each byte are a command; one that is not known is code of the router, which nobody can see into. */
function routed(commands: Uint8Array, inputs: readonly Value[], self: Address): Inside {
  const calls: Call[] = [];
  for (const [i, command] of commands.entries()) {
    const selector = SELECTOR_OF_COMMAND.get(command & 0x3f);
    const input = inputs[i];
    if (selector === undefined || input === undefined) continue;
    calls.push({ to: self, data: bytesOf(input), as: selector });
  }
  return { calls };
}

/** ERC-7579: 0 is one call, 1 a batch, 0xff a `delegatecall`. */
function executed(kind: number, packed: Uint8Array, self: Address): Inside {
  if (kind === 1) return { calls: [{ to: self, data: packed, as: selectorOf(BATCH) }] };
  if (kind !== 0 && kind !== 0xff) return {};
  const head = kind === 0 ? 52 : 20;
  if (packed.length < head) return { unreadable: true };
  return { calls: [{ to: hex(packed.subarray(0, 20)), data: packed.subarray(head) }] };
}
