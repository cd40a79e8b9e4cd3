// The keys of every epoch that has any (DESIGN §5): the one object that whoever signs, seals, opens or wraps asks for them, by
// the epoch that its own record names. At the start it derives them again and holds them against what was published, so that a
// changed key source is noticed before it signs. Least privilege: an epoch in grace loses what signs, a retired one everything.
import assert from 'node:assert';
import { EventEmitter } from 'node:events';
import { fromBase64 } from '../actors/encoding.ts';
import type { OpeningKeys } from '../workers/open.ts';
import { PK_ROOT_BYTES, slhDsaKeyOf } from '../workers/slhdsakey.ts';
import { inGrace } from './epoch.ts';
import { Fault } from './fault.ts';
import { type Founding, foundLog } from './genesis.ts';
import { openInherited } from './keys/inherited.ts';
import { deriveEpoch, deriveReading, type EpochKeys, keysetOf, type ReadingKeys } from './keys/keyring.ts';
import type { KeySource } from './keys/source.ts';
import { type KeysetRecord, keysetRecord, type Meta, meta } from './records.ts';
import type { Store } from './store.ts';

export interface ActiveEpoch {
  readonly keys: EpochKeys;
  readonly keyset: KeysetRecord;
  readonly log: Meta['genesis'];
}

export interface EpochsEvents {
  activated: [epoch: number];
  retired: [epoch: number];
}

/**
 * Every epoch of the store that is not retired, with its keys.
 *
 * @throws {Fault} key_source_failed when the keys are not those of a published keyset; store_foreign
 */
export async function openEpochs(modules: Founding & { store: Store }): Promise<Epochs> {
  const { store, source, chain_id } = modules;
  if (store.get('meta', 'genesis') === undefined) {
    const first = await foundLog(modules);
    return new Epochs(store, [first], []);
  }
  const genesis = meta(store, 'genesis');
  if (genesis.chain_id !== chain_id) {
    const reason = `chain.chain_id is ${chain_id}, but the store was made for ${genesis.chain_id}`;
    throw new Fault({ code: 'store_foreign', path: store.folder, reason });
  }
  const { active } = meta(store, 'epoch');
  const signing = [await deriveAgain(source, published(store, active), genesis)];
  const pending = keysetRecord(store, active + 1);
  if (pending !== undefined) signing.push(await deriveAgain(source, pending, genesis));
  const reading: ReadingKeys[] = [];
  for (const epoch of inGrace(store)) reading.push(await readAgain(store, source, published(store, epoch)));
  return new Epochs(store, signing, reading);
}

function published(store: Store, epoch: number): KeysetRecord {
  const record = keysetRecord(store, epoch);
  if (record === undefined) throw new Fault({ code: 'store_corrupt', reason: `the keyset of epoch ${epoch} is gone` });
  return record;
}

async function deriveAgain(source: KeySource, record: KeysetRecord, log: Meta['genesis']): Promise<EpochKeys> {
  const { epoch, secp256k1, slh_dsa_sha2_256s, tls, not_before_ms } = record.keyset;
  const root = fromBase64(slh_dsa_sha2_256s).subarray(-PK_ROOT_BYTES);
  const keys = await deriveEpoch(source, epoch, secp256k1 !== null, (seed) => slhDsaKeyOf(seed, root), tls !== null);
  if (keysetOf(keys, source.name, log, not_before_ms).digest !== record.digest) throw otherKeys(source, epoch);
  return keys;
}

async function readAgain(store: Store, source: KeySource, { keyset }: KeysetRecord): Promise<ReadingKeys> {
  const inherited = await openInherited(store, source, keyset.epoch);
  const { public: found, ...keys } = inherited ?? (await deriveReading(source, keyset.epoch));
  for (const name of ['x_wing', 'ecies', 'names'] as const) {
    if (found[name] !== keyset[name]) throw otherKeys(source, keyset.epoch);
  }
  return { ...keys, public: keyset };
}

function otherKeys(source: KeySource, epoch: number): Fault {
  const reason = `it gives other keys than those published for epoch ${epoch}`;
  return new Fault({ code: 'key_source_failed', source: source.name, reason });
}

function withoutSigning({ epoch, x_wing, ecies, asset, names, public: published }: EpochKeys): ReadingKeys {
  return { epoch, x_wing, ecies, asset, names, public: published };
}

export class Epochs {
  readonly log: Meta['genesis'];
  readonly events = new EventEmitter<EpochsEvents>();
  readonly #store: Store;
  readonly #signing: Map<number, EpochKeys>;
  readonly #reading: Map<number, ReadingKeys>;
  #active: ActiveEpoch;

  constructor(store: Store, signing: readonly EpochKeys[], reading: readonly ReadingKeys[]) {
    this.log = meta(store, 'genesis');
    this.#store = store;
    this.#signing = new Map(signing.map((keys) => [keys.epoch, keys]));
    this.#reading = new Map(reading.map((keys) => [keys.epoch, keys]));
    this.#active = this.#readActive();
  }

  /** What is signed, sealed and attested from now on. What is in the making goes by the epoch of its own record. */
  get active(): ActiveEpoch {
    return this.#active;
  }

  /** What reads: of the epochs that are pending, active or in grace. Undefined once an epoch is retired. */
  keysOf(epoch: number): ReadingKeys | undefined {
    return this.#signing.get(epoch) ?? this.#reading.get(epoch);
  }

  /** What signs: asserts that the epoch has not been superseded. */
  signing(epoch: number): EpochKeys {
    const keys = this.#signing.get(epoch);
    assert(keys !== undefined, `epoch ${epoch} signs no more`);
    return keys;
  }

  /** For the opening thread, of no more epochs than its task has envelopes of. */
  opening(wanted: Iterable<number>): OpeningKeys[] {
    return [...new Set(wanted)].map((epoch) => {
      const keys = this.keysOf(epoch);
      assert(keys !== undefined, `what was admitted under epoch ${epoch} is opened before it retires`);
      return { epoch, x_wing: keys.x_wing, ecies: keys.ecies };
    });
  }

  /** Keys of the epoch to come, before their keyset is published. */
  add(keys: EpochKeys): void {
    this.#signing.set(keys.epoch, keys);
  }

  /** This enclave has ended, and a seal says so: from here on nothing is signed, whoever asks. */
  endSigning(): void {
    const { keys, ...active } = this.#active;
    this.#signing.clear();
    this.#reading.set(keys.epoch, withoutSigning(keys));
    // Who asks what the epoch is gets an answer; who would sign finds no key.
    this.#active = { ...active, keys: { ...withoutSigning(keys), secp256k1: null } as unknown as EpochKeys };
  }

  /** Brings the memory in line with the store, after a commit that moved an epoch: keys that are not needed are let go. */
  refresh(): void {
    const { active } = meta(this.#store, 'epoch');
    const grace = new Set(inGrace(this.#store));
    for (const [epoch, keys] of this.#signing) {
      if (epoch >= active) continue;
      this.#signing.delete(epoch);
      this.#reading.set(epoch, withoutSigning(keys));
    }
    const before = this.#active.keys.epoch;
    if (active !== before) this.#active = this.#readActive();
    for (const epoch of this.#reading.keys()) {
      if (grace.has(epoch)) continue;
      this.#reading.delete(epoch);
      this.events.emit('retired', epoch);
    }
    if (active !== before) this.events.emit('activated', active);
  }

  #readActive(): ActiveEpoch {
    const { active } = meta(this.#store, 'epoch');
    return { keys: this.signing(active), keyset: published(this.#store, active), log: this.log };
  }
}
