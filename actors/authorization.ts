// Whose code an EIP-7702 authorization changes. The chain skips authorizations that are not valid, so they name nobody here;
// every other one is an act on the account that signed it, whoever sends the transaction. The opening workers ask.
import { concat, fromHex } from './bytes.ts';
import { encodeUint, listPrefix } from './rlp.ts';
import { type Authorization, type Hex, NOBLE, recoverSender } from './transaction.ts';

/** EIP-7702: keccak256(MAGIC ‖ rlp([chain_id, address, nonce])). */
const MAGIC = 5;
/** secp256k1's order. */
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** @returns the account, or null where the chain would skip the authorization whatever its state */
export function authorityOf(authorization: Authorization, chain_id: bigint, crypto = NOBLE): Hex | null {
  const { address, nonce, y_parity, r, s } = authorization;
  if (authorization.chain_id !== 0n && authorization.chain_id !== chain_id) return null;
  if ((y_parity !== 0 && y_parity !== 1) || r === 0n || r >= ORDER || s === 0n || s > ORDER / 2n) return null;
  const items = concat(encodeUint(authorization.chain_id), Uint8Array.of(0x94), fromHex(address), encodeUint(nonce));
  const signing_hash = crypto.keccak(concat(Uint8Array.of(MAGIC), listPrefix(items.length), items));
  return recoverSender({ signature: { r, s, y_parity }, signing_hash }, crypto);
}
