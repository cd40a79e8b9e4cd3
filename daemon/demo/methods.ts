// What each method of a simulated guest agent takes and answers, bytes as lowercase hex. Called by agent.ts. Source: dstack
// `docs/guest-api-v0.md` and the error texts of `guest-agent/src/rpc_service.rs`.
import { createHash, createPublicKey, sign as signBytes, verify as verifyBytes } from 'node:crypto';
import secp256k1 from 'secp256k1';
import { z } from 'zod';
import { type AppKeys, deriveV0, deriveV1, ed25519 } from './appkeys.ts';
import { Guest, type MakeQuote } from './guest.ts';

export type Body = Record<string, unknown>;

/** 0.6 serves v0 under `/v0` as well, has `/v1`, and answers 404 where 0.5 answers 400. */
export type Release = '0.5.11' | '0.6.0';

/** The method ran and failed, or isn't there. */
export class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** `bytes` of the JSON encoding: hex, an optional 0x before it. */
const Bytes = z
  .string()
  .regex(/^(?:0x)?(?:[0-9A-Fa-f]{2})*$/)
  .default('')
  .transform((text) => Uint8Array.fromHex(text.replace(/^0x/, '')));
const Text = z.string().default('');
const KeyArgs = z.object({ path: Text, purpose: Text, algorithm: Text });
const KeyV1Args = z.object({ domain: Text, algorithm: z.enum(['secp256k1', 'ed25519']) });
const QuoteArgs = z.object({ report_data: Bytes });
const EventArgs = z.object({ event: Text, payload: Bytes });
const SignArgs = z.object({ algorithm: Text, data: Bytes });
const VerifyArgs = z.object({ algorithm: Text, data: Bytes, signature: Bytes, public_key: Bytes });

const EVENTS_REMOVED =
  'EmitEvent was removed in dstack 0.6.0; runtime RTMR3 events are system-owned and cannot be extended by apps';

/** What each method answers; bytes as lowercase hex. */
export class Methods {
  readonly #keys: AppKeys;
  readonly #release: Release;
  readonly #guest: Guest;
  readonly #v0: Readonly<Record<string, (body: Body) => Body>> = {
    GetKey: (body) => this.#getKey(body),
    GetQuote: (body) => this.#guest.quote(padded(QuoteArgs.parse(body).report_data)),
    Info: () => this.#guest.info(),
    Version: () => ({ version: this.#release, rev: 'aegisd guest-agent, test equipment' }),
    EmitEvent: (body) => this.#emitEvent(body),
    Sign: (body) => this.#sign(body),
    Verify: (body) => verify(body),
    GetTlsKey: () => unsupported('GetTlsKey', 'it has no certificate authority'),
    Attest: () => unsupported('Attest', 'it has no attestation beyond GetQuote'),
  };
  readonly #v1: Readonly<Record<string, (body: Body) => Body>> = {
    GetKey: (body) => this.#getKeyV1(body),
    Version: () => this.#v0.Version!({}),
  };

  constructor(keys: AppKeys, release: Release, quote: MakeQuote) {
    this.#keys = keys;
    this.#release = release;
    this.#guest = new Guest(keys.app_id, quote);
  }

  call(url: string, body: Body): Body {
    const [, mount, method] = /^(\/v[01])?\/(\w+)$/.exec(url) ?? [];
    const newer = this.#release === '0.6.0';
    if (method === undefined || (mount !== undefined && !newer)) throw new Refused(404, 'no such page');
    const methods = mount === '/v1' ? this.#v1 : this.#v0;
    const act = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (act === undefined) throw new Refused(newer ? 404 : 400, `Service not found: ${method}`);
    return act(body);
  }

  #getKey(body: Body): Body {
    const { path, purpose, algorithm } = KeyArgs.parse(body);
    const name = { '': 'secp256k1', k256: 'secp256k1' }[algorithm] ?? algorithm;
    if (name !== 'secp256k1' && name !== 'ed25519') throw new Refused(400, 'Unsupported algorithm');
    const { key, signature_chain } = deriveV0(this.#keys, path, purpose, name);
    return { key: key.toHex(), signature_chain: signature_chain.map((link) => link.toHex()) };
  }

  #getKeyV1(body: Body): Body {
    const { domain, algorithm } = KeyV1Args.parse(body);
    const { key, public_key, signature_chain } = deriveV1(this.#keys, domain, algorithm);
    const chain = signature_chain.map((link) => link.toHex());
    return { key: key.toHex(), public_key: public_key.toHex(), signature_chain: chain };
  }

  #emitEvent(body: Body): Body {
    if (this.#release === '0.6.0') throw new Refused(400, EVENTS_REMOVED);
    const { event, payload } = EventArgs.parse(body);
    if (!this.#guest.emit(event, payload)) throw new Refused(400, 'the event log is full');
    return {};
  }

  #sign(body: Body): Body {
    const { algorithm, data } = SignArgs.parse(body);
    const mode = algorithm === 'k256' ? 'secp256k1' : algorithm;
    if (!['secp256k1', 'secp256k1_prehashed', 'ed25519'].includes(mode))
      throw new Refused(400, 'Unsupported algorithm');
    if (mode === 'secp256k1_prehashed' && data.length !== 32) {
      const message = `Pre-hashed signing requires a 32-byte digest, but received ${data.length} bytes`;
      throw new Refused(400, message);
    }
    const base = mode === 'ed25519' ? mode : 'secp256k1';
    const { key, public_key, signature_chain } = deriveV0(this.#keys, 'vms', 'signing', base);
    const signature =
      mode === 'ed25519'
        ? new Uint8Array(signBytes(null, data, ed25519(key)))
        : secp256k1.ecdsaSign(mode === 'secp256k1' ? sha256(data) : data, key).signature;
    const chain = [signature, ...signature_chain].map((link) => link.toHex());
    return { signature: signature.toHex(), signature_chain: chain, public_key: public_key.toHex() };
  }
}

/** Zero on the right to 64 bytes, which the answer echoes. */
function padded(report_data: Uint8Array): Uint8Array {
  if (report_data.length > 64) throw new Refused(400, 'Report data is too long');
  const all = new Uint8Array(64);
  all.set(report_data);
  return all;
}

function verify(body: Body): Body {
  const { algorithm, data, signature, public_key } = VerifyArgs.parse(body);
  try {
    if (algorithm === 'ed25519') {
      const der = Buffer.from(`302a300506032b6570032100${public_key.toHex()}`, 'hex');
      const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
      return { valid: verifyBytes(null, data, key, signature) };
    }
    const hashed = { secp256k1: true, k256: true, secp256k1_prehashed: false }[algorithm];
    if (hashed === undefined) throw new Refused(400, 'Unsupported algorithm');
    return { valid: secp256k1.ecdsaVerify(signature, hashed ? sha256(data) : data, public_key) };
  } catch (error) {
    throw error instanceof Refused ? error : new Refused(400, 'invalid signature or public key');
  }
}

function unsupported(method: string, why: string): never {
  throw new Refused(400, `${method} is not supported by this simulated guest agent: ${why}`);
}

const sha256 = (data: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(data).digest());
