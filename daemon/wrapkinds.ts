// The kinds of wrapped secrets: which key of an epoch wraps them, and which job of a thread moves them. Assets' data keys lie
// under the epoch's `asset` key; the keys of IPNS names under its `names` key, as users encrypted them. The assembly gives
// these to the room (wraps.ts); a new kind is one line there.
import { fromBase64 } from '../actors/encoding.ts';
import { sealEcies } from '../workers/ecies.ts';
import type { Pool } from '../workers/pool.ts';
import { openWrap, sealWrap } from '../workers/wrap.ts';
import { runJob } from './job.ts';
import { offHeap } from './keys/secret.ts';
import type { WrapKeys, WrapKind } from './wraps.ts';

/** A row takes 15 µs of a thread. */
const SEALED_ROWS_MAX = 1_024;
/** A row takes a millisecond and more: ECDH twice. */
const NAME_ROWS_MAX = 16;
/** An Ed25519 seed, a secp256k1 scalar, or a protobuf of either. */
const NAME_SECRET_BYTES_MAX = 256;

/** AES-256-GCM under the `asset` key, bound to kind, id and epoch. Opening takes 10 µs, so it is done where it is asked for. */
export function sealedKind(kind: string, pool: Pool): WrapKind {
  const placeOf = (id: string, { epoch }: WrapKeys) => ({ kind, id, epoch });
  const end = ({ epoch, asset: key }: WrapKeys) => ({ epoch, key });
  return {
    kind,
    rows_max: SEALED_ROWS_MAX,
    wrap: (id, secret, keys) => sealWrap(keys.asset, placeOf(id, keys), secret),
    open: async ({ id, wrapped }, keys) => openWrap(keys.asset, placeOf(id, keys), wrapped),
    rewrap: (rows, from, to) => runJob(pool, 'rewrap', { scheme: 'aes', kind, rows, from: end(from), to: end(to) }),
  };
}

/** ecies to the `names` key: 129 bytes for a key of 32. Opening costs a thread 0.8 ms. */
export function nameKind(pool: Pool): WrapKind {
  const point = ({ public: { names } }: WrapKeys): Uint8Array => {
    if (names === null) throw new Error('an epoch has a names key');
    return fromBase64(names);
  };
  return {
    kind: 'name',
    rows_max: NAME_ROWS_MAX,
    wrap: (_id, secret, keys) => sealEcies(point(keys), secret),
    async open({ wrapped }, { names }) {
      const into = new SharedArrayBuffer(NAME_SECRET_BYTES_MAX);
      const shared = new Uint8Array(into);
      try {
        const length = await runJob(pool, 'unwrap', { names, wrapped, into });
        if (length === null) return null;
        const secret = offHeap(length);
        secret.set(shared.subarray(0, length));
        return secret;
      } finally {
        shared.fill(0);
      }
    },
    rewrap: (rows, from, to) => runJob(pool, 'rewrap', { scheme: 'ecies', rows, from: from.names, to: point(to) }),
  };
}
