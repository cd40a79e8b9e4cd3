// Owners of IPNS names, for the demo and the tests, as applications of today are: a key of their own, records made by the `ipns`
// package, the key encrypted by eciesjs to the names key of an epoch. Nothing here is what the daemon signs with.
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { encrypt } from 'eciesjs';
import {
  createIPNSRecordWithExpiration,
  marshalIPNSRecord,
  multihashToIPNSRoutingKey,
  unmarshalIPNSRecord,
} from 'ipns';
import { ipnsValidator } from 'ipns/validator';
import { base64, concat } from '../../actors/encoding.ts';
import type { EnrolmentInput } from '../../actors/enrolment.ts';
import { keyOfName, nameOfKey, validityOf } from '../../actors/ipns.ts';

/** 5 minutes. */
const TTL_NS = 300_000_000_000n;

export class Owner {
  readonly name: string;
  readonly seed: Uint8Array;
  readonly #key: KeyObject;

  constructor(seed: Uint8Array) {
    this.seed = seed;
    this.#key = createPrivateKey({ key: seed, format: 'raw-private', asymmetricKeyType: 'ed25519' });
    this.name = nameOfKey(new Uint8Array(createPublicKey(this.#key).export({ format: 'raw-public' })));
  }

  /** A record as the owner's own application makes it. */
  async record(value: string, sequence: bigint, eol_ms: number): Promise<Uint8Array> {
    const signer = { type: 'Ed25519', sign: (message: Uint8Array) => sign(null, message, this.#key) };
    const options = { ttlNs: TTL_NS, v1Compatible: true };
    const made = createIPNSRecordWithExpiration(signer as never, value, sequence, validityOf(eol_ms), options as never);
    return marshalIPNSRecord(await made);
  }

  /** @param names  the names key of the epoch, as the keyset shows it: 65 bytes */
  enrolment(record: Uint8Array, keyEpoch: number, names: Uint8Array): EnrolmentInput {
    const encryptedIpnsKey = base64(new Uint8Array(encrypt(names, this.seed)));
    return { ipnsName: this.name, encryptedIpnsKey, keyEpoch, record: base64(record) };
  }
}

const MULTIHASH_PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);

/** What routers and nodes know a name by. */
export function routingKeyOf(name: string): Uint8Array {
  return multihashToIPNSRoutingKey({ bytes: concat(MULTIHASH_PREFIX, keyOfName(name)!) } as never);
}

/** What a node would resolve the name to: the record is judged by the `ipns` package. @throws when it is not valid */
export async function resolved(
  name: string,
  record: Uint8Array,
): Promise<{ value: string; sequence: bigint; eol_ms: number }> {
  await ipnsValidator(routingKeyOf(name), record);
  const { value, sequence, validity } = unmarshalIPNSRecord(record);
  return { value, sequence, eol_ms: Date.parse(validity.replace(/(\.\d{3})\d*Z$/, '$1Z')) };
}
