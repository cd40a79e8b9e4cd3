// The state hash of a checkpoint by a path of its own, for tests: node:crypto and what LMDB holds, nothing of actors/checkpoint.ts or its tree.
import { createHash } from 'node:crypto';
import { byId } from '../actors/asset.ts';
import { fromHex } from '../actors/encoding.ts';
import { ASSET_STATES, ASSET_TYPES } from '../actors/words.ts';
import type { AssetRecord } from '../daemon/assets.ts';
import type { Store } from '../daemon/store.ts';

/** Recursion from above, as RFC 9162 §2.1.1 writes it. */
export function stateHash(store: Store): string {
  const sha = (...parts: Uint8Array[]) => {
    const hash = createHash('sha512');
    for (const part of parts) hash.update(part);
    return hash.digest();
  };
  const word = (value: number | bigint) => Buffer.from(BigInt(value).toString(16).padStart(64, '0'), 'hex');
  const tag = sha(Buffer.from('aegis/asset/v1'));
  const records = [...store.range('assets', { limit: 100_000 })].map(([, value]) => (value as AssetRecord).asset);
  const entries = records.sort(byId).map((asset) => {
    const preimage = [
      ...[sha(Buffer.from(asset.asset_id)), word(ASSET_TYPES.indexOf(asset.asset_type))],
      ...[word(ASSET_STATES.indexOf(asset.state)), fromHex(asset.policy_digest)],
    ];
    return Buffer.concat([sha(tag, tag, ...preimage), word(BigInt(asset.chain_id ?? 0))]);
  });
  const root = (from: number, count: number): Buffer => {
    if (count === 0) return sha();
    if (count === 1) return sha(Buffer.of(0), entries[from]!);
    const left = 2 ** (Math.ceil(Math.log2(count)) - 1);
    return sha(Buffer.of(1), root(from, left), root(from + left, count - left));
  };
  return `0x${root(0, entries.length).toString('hex')}`;
}
