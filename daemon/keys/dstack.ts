// The key source of a dstack CVM: the guest agent derives by path, from an app root that the KMS gives to this app alone.
// Every key's signature chain is checked against the KMS root (configured, or pinned at the first key), the own app id and
// the app root, and against the generation of the agent's API, because the same path gives other keys in another one.
// Called by open.ts.
import { join } from 'node:path';
import secp256k1 from 'secp256k1';
import { type DerivedKey, GuestAgent } from '../dstack.ts';
import { Fault, type FaultCode } from '../fault.ts';
import { issuers } from './chain.ts';
import { type Pin, readPin, writePin } from './pin.ts';
import type { KeySource } from './source.ts';

/** What the SDK 0.5.8 speaks. dstack 0.6 serves it beside `/v1`, whose keys differ. */
const GENERATION = 'v0';
const NOT_FOUND = 404;
/** Of the official simulator, whose keys are published (dstack `sdk/simulator/appkeys.json`). */
const SIMULATOR_KMS_ROOT = '0321529e458424ab1f710a3a57ec4dad2fb195ddca572f7469242ba6c7563085b6';

export interface DstackOptions {
  readonly state_dir: string;
  readonly dstack_socket: string;
  readonly timeout_ms: number;
  /** Hex of a point, SEC 1, compressed or not; empty: the first one that is seen is pinned. */
  readonly kms_root: string;
  /** 40 hex digits; empty: whatever the guest agent says at first is pinned. */
  readonly app_id: string;
  /** Refuses the keys of the official simulator. */
  readonly production: boolean;
}

/**
 * Asks the guest agent whose app this is, so that one that is dead is known at once.
 *
 * @throws {Fault} `guest_agent_timeout`, `guest_agent_failed`, `key_source_changed`, `key_source_failed`
 */
export async function dstackSource(options: DstackOptions): Promise<KeySource> {
  const source = new Dstack(options);
  await source.open();
  return source;
}

class Dstack implements KeySource {
  readonly name = 'dstack';
  readonly #agent: GuestAgent;
  readonly #options: DstackOptions;
  readonly #path: string;
  readonly #kms_root: string;
  #app_id!: Uint8Array;
  #pin: Pin | undefined;
  #pinning: Promise<void> | undefined;

  constructor(options: DstackOptions) {
    this.#options = options;
    this.#agent = new GuestAgent({ socket: options.dstack_socket, timeout_ms: options.timeout_ms });
    this.#path = join(options.state_dir, 'keys', 'dstack.json');
    this.#kms_root = compressed(options.kms_root);
  }

  async open(): Promise<void> {
    const { app_id: wanted } = this.#options;
    this.#pin = await readPin(this.#path);
    if (this.#pin !== undefined && this.#pin.generation !== GENERATION) {
      const reason = `${this.#path} says that they are of its ${this.#pin.generation} API, and this version speaks ${GENERATION}, which gives others`;
      throw failed(reason, 'key_source_changed');
    }
    this.#app_id = (await this.#agent.info()).app_id;
    const app_id = this.#app_id.toHex();
    if (wanted !== '' && app_id !== plain(wanted)) {
      throw failed(`the guest agent serves the app ${app_id}, and keys.app_id is ${plain(wanted)}`);
    }
    this.#compare({ app_id });
    if (this.#kms_root !== '') this.#compare({ kms_root: this.#kms_root });
  }

  async material(path: string): Promise<Uint8Array> {
    const derived = await this.#ask(path);
    try {
      await this.#check(path, derived);
      return derived.key;
    } catch (error) {
      derived.key.fill(0);
      throw error;
    }
  }

  /** The purpose doesn't change the key, but the app root signs it: so an answer to another path is none to this one. */
  async #ask(path: string): Promise<DerivedKey> {
    try {
      return await this.#agent.getKey(path, path);
    } catch (error) {
      if (!(error instanceof Fault && error.detail.status === NOT_FOUND)) throw error;
      const reason = `the guest agent has no GetKey of the ${GENERATION} API (${error.detail.reason}); run one that has, since a newer API gives other keys`;
      throw failed(reason, 'key_source_changed');
    }
  }

  async #check(path: string, { key, signature_chain }: DerivedKey): Promise<void> {
    const found = this.#issuers(path, key, signature_chain, GENERATION);
    if (found === undefined) throw failed(`the chain of ${path} is not signed as a key of it would be`);
    if (this.#trusted(found)) return await this.#pinned(found);
    const other = this.#issuers(path, key, signature_chain, 'v1');
    if (other !== undefined && this.#trusted(other)) {
      throw failed(`the guest agent answers ${GENERATION} requests with v1 keys, which differ`, 'key_source_changed');
    }
    // One wrong bit anywhere makes another root of it, so which link is wrong can't be told.
    const wanted = this.#kms_root === '' ? `pinned in ${this.#path}` : 'of keys.kms_root';
    throw failed(`the chain of ${path} does not lead to the KMS root and app root ${wanted}`, 'key_source_changed');
  }

  #issuers(path: string, key: Uint8Array, links: readonly Uint8Array[], generation: 'v0' | 'v1') {
    const found = issuers({ key, label: path, generation }, links, this.#app_id);
    return found && { app_root: found.app_root.toHex(), kms_root: found.kms_root.toHex() };
  }

  #trusted(found: { app_root: string; kms_root: string }): boolean {
    if (this.#kms_root !== '' && found.kms_root !== this.#kms_root) return false;
    const pin = this.#pin;
    return pin === undefined || (pin.kms_root === found.kms_root && pin.app_root === found.app_root);
  }

  /** The first key decides, once; a second that came beside it is held against the pin. */
  async #pinned(found: { app_root: string; kms_root: string }): Promise<void> {
    if (this.#options.production && found.kms_root === SIMULATOR_KMS_ROOT) {
      throw failed('the KMS root is that of the dstack simulator, whose keys everyone knows; production refuses it');
    }
    if (this.#pin === undefined) {
      this.#pin = { version: 1, generation: GENERATION, app_id: this.#app_id.toHex(), ...found };
      this.#pinning = writePin(this.#path, this.#pin);
    }
    await this.#pinning;
  }

  #compare(now: Partial<Pick<Pin, 'app_id' | 'kms_root'>>): void {
    for (const [name, value] of Object.entries(now)) {
      const before = this.#pin?.[name as keyof typeof now];
      if (before === undefined || before === value) continue;
      throw failed(`its ${name} is ${value}, and ${this.#path} says ${before}`, 'key_source_changed');
    }
  }
}

const plain = (hex: string): string => hex.replace(/^0x/, '').toLowerCase();

function compressed(hex: string): string {
  if (hex === '') return '';
  try {
    return secp256k1.publicKeyConvert(Uint8Array.fromHex(plain(hex)), true).toHex();
  } catch {
    throw failed('keys.kms_root is not a point on secp256k1');
  }
}

function failed(reason: string, code: FaultCode = 'key_source_failed'): Fault {
  return new Fault({ code, source: 'dstack', reason });
}
