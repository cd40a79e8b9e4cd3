// The typed data (EIP-712) that the hybrid ECDSA signature of a batch is over, for wallets and contracts of today. The
// signing worker and the verifier both take the hash from here, so they can't disagree. It carries the batch digest of
// digest.ts and nothing that isn't in it already.
import { keccak_256 } from '@noble/hashes/sha3.js';
import { concat, uintBytes, utf8 } from './bytes.ts';

const DOMAIN_TYPE = keccak_256(utf8('EIP712Domain(string name,string version,uint256 chainId)'));
const BATCH_TYPE = keccak_256(utf8('Batch(uint64 height,bytes32 digestHi,bytes32 digestLo)'));
const NAME = keccak_256(utf8('Aegis'));
const VERSION = keccak_256(utf8('1'));

/**
 * `keccak256(0x1901 ‖ domain separator ‖ hashStruct(Batch))` of EIP-712.
 *
 * @param batch  chain id as a decimal string; digest is the 64 bytes of `batchDigest`
 * @returns      32 bytes: what secp256k1 signs, without any further hash
 * @throws {RangeError} when the height isn't a uint64 or the digest isn't 64 bytes
 */
export function batchHash(batch: { chain_id: string; height: number; digest: Uint8Array }): Uint8Array {
  if (batch.digest.length !== 64) throw new RangeError(`a batch digest has 64 bytes, not ${batch.digest.length}`);
  uintBytes(batch.height, 8);
  const { digestHi, digestLo } = halves(batch.digest);
  const domain = keccak_256(concat(DOMAIN_TYPE, NAME, VERSION, uintBytes(BigInt(batch.chain_id), 32)));
  const struct = keccak_256(concat(BATCH_TYPE, uintBytes(batch.height, 32), digestHi, digestLo));
  return keccak_256(concat(new Uint8Array([0x19, 0x01]), domain, struct));
}

/** `bytes32` halves of a digest, as EIP-712 and Solidity carry it. */
export function halves(digest: Uint8Array): { digestHi: Uint8Array; digestLo: Uint8Array } {
  return { digestHi: digest.slice(0, 32), digestLo: digest.slice(32) };
}
