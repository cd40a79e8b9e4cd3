// The TEE provider protocol that agents use (ERC-8004 tooling), over any platform: keys that exist in this process alone, and
// evidence that ties key and message to the platform. Embedding programs call it. A key is an opaque handle: its secret lies
// in OpenSSL and can be neither read nor cloned from the handle. Promises: `verified` is true only after the evidence was
// verified over this very key and message; a signature that is handed out has been verified too (FIPS 204, ML-DSA-87).
import { createPublicKey, generateKeyPair, type KeyObject, sign, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { agentDigest, quoteDigest, ZERO_DIGEST } from '../../actors/digest.ts';
import { base64, equal, fromBase64, fromHex, utf8 } from '../../actors/encoding.ts';
import { type Attestation, attest, readAttestation } from '../../actors/quote.ts';
import type { Pool } from '../../workers/pool.ts';
import { runJob } from '../job.ts';
import type { Platform } from './platform.ts';
import type { QuoteProvider } from './provider.ts';

/** How long the evidence for an agent's key or signature holds. */
const LIFETIME_MS = 86_400_000;
const MESSAGE_BYTES_MAX = 1_048_576;
const CONTEXT = { context: utf8('aegis/agent/v1') };

const makePair = promisify(generateKeyPair);

/** Opaque: what else it is, only the provider that made it knows. */
export interface AgentKey {
  /** ML-DSA-87, base64. */
  readonly publicKey: string;
  readonly attestation: Attestation;
  readonly provider: QuoteProvider['providerName'];
}

export interface AgentSignature {
  /** ML-DSA-87 over `aegis/agent/v1` of key and message, base64. */
  readonly signature: string;
  /** Over the same digest. */
  readonly attestation: Attestation;
  /** The evidence was verified, over this key and message. */
  readonly verified: boolean;
  readonly provider: QuoteProvider['providerName'];
}

export interface AttestationReport {
  readonly provider: QuoteProvider['providerName'];
  readonly available: boolean;
  readonly simulated: boolean;
  /** Why there is no evidence; null where there is. */
  readonly reason: string | null;
  /** Of a quote over the nonce and no key; null where the platform gives none. */
  readonly attestation: Attestation | null;
}

/** The protocol, and `quote`. */
export interface TeeProvider extends QuoteProvider {
  generateKey(): Promise<AgentKey>;
  /** @throws {TypeError} when the key is not one that this provider made */
  sign(key: AgentKey, message: Uint8Array): Promise<AgentSignature>;
  /**
   * Whether the signature is the key's over the message, and the evidence was made for both by a platform that the policy
   * allows and still holds. Never throws for what is wrong with them.
   */
  verifyAttestation(
    signed: Pick<AgentSignature, 'signature' | 'attestation'>,
    about: { publicKey: string; message: Uint8Array },
  ): Promise<boolean>;
  /** @param nonce  at most 64 bytes, bound into the quote */
  getAttestationReport(nonce?: Uint8Array): Promise<AttestationReport>;
}

interface Modules {
  readonly platform: Platform;
  readonly pool: Pool;
  readonly now: () => number;
}

export function teeProvider(modules: Modules): TeeProvider {
  return new Agents(modules);
}

class Agents implements TeeProvider {
  readonly #modules: Modules;
  readonly #provider: QuoteProvider;
  /** Gone with the handle. */
  readonly #secrets = new WeakMap<AgentKey, KeyObject>();

  constructor(modules: Modules) {
    this.#modules = modules;
    this.#provider = modules.platform.provider;
  }

  get providerName() {
    return this.#provider.providerName;
  }

  get simulated() {
    return this.#provider.simulated;
  }

  isAvailable(): Promise<boolean> {
    return this.#provider.isAvailable();
  }

  /** In turn with every other quote of the platform, and verified. */
  async quote(report_data: Uint8Array) {
    return (await this.#modules.platform.attest(report_data)).evidence;
  }

  async generateKey(): Promise<AgentKey> {
    const { publicKey, privateKey } = await makePair('ml-dsa-87' as never);
    const raw = rawKey(publicKey as KeyObject);
    const attestation = await this.#attest(agentDigest({ public_key: raw }));
    const key: AgentKey = Object.freeze({ publicKey: base64(raw), attestation, provider: this.providerName });
    this.#secrets.set(key, privateKey as KeyObject);
    return key;
  }

  async sign(key: AgentKey, message: Uint8Array): Promise<AgentSignature> {
    const secret = this.#secrets.get(key);
    if (secret === undefined) throw new TypeError('key: expected a handle that generateKey of this provider gave');
    if (message.length > MESSAGE_BYTES_MAX)
      throw new RangeError(`message: expected at most ${MESSAGE_BYTES_MAX} bytes`);
    const digest = agentDigest({ public_key: fromBase64(key.publicKey), message });
    const signature = new Uint8Array(sign(null, digest, { key: secret, ...CONTEXT } as never));
    const attestation = await this.#attest(digest);
    const signed = { signature: base64(signature), attestation };
    // Also of the signature: a fault in the arithmetic must not leave the process.
    const verified = await this.verifyAttestation(signed, { publicKey: key.publicKey, message });
    return { ...signed, verified, provider: this.providerName };
  }

  async verifyAttestation(
    { signature, attestation }: Pick<AgentSignature, 'signature' | 'attestation'>,
    { publicKey, message }: { publicKey: string; message: Uint8Array },
  ): Promise<boolean> {
    try {
      const public_key = fromBase64(publicKey);
      const digest = agentDigest({ public_key, message });
      const key = createPublicKey({ key: public_key, format: 'raw-public', asymmetricKeyType: 'ml-dsa-87' } as never);
      if (!verify(null, digest, { key, ...CONTEXT } as never, fromBase64(signature))) return false;
      return await this.#holds(attestation, digest);
    } catch {
      return false;
    }
  }

  async getAttestationReport(nonce?: Uint8Array): Promise<AttestationReport> {
    const about = { provider: this.providerName, simulated: this.simulated };
    try {
      const attestation = await this.#attest(ZERO_DIGEST, nonce);
      return { ...about, available: true, reason: null, attestation };
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'unknown';
      return { ...about, available: false, reason, attestation: null };
    }
  }

  async #attest(subject: Uint8Array, nonce?: Uint8Array): Promise<Attestation> {
    const { platform, now } = this.#modules;
    const not_after_ms = now() + LIFETIME_MS;
    const statement = { purpose: 'agent', subject, keyset_digest: ZERO_DIGEST, not_after_ms } as const;
    const report_data = quoteDigest(nonce === undefined ? statement : { ...statement, nonce });
    const { evidence, found, checked_at } = await platform.attest(report_data);
    return attest(evidence, found, not_after_ms, checked_at);
  }

  async #holds(attestation: Attestation, subject: Uint8Array): Promise<boolean> {
    const { platform, pool, now } = this.#modules;
    const { not_after_ms } = attestation;
    const now_ms = now();
    if (not_after_ms <= now_ms || not_after_ms > now_ms + LIFETIME_MS) return false;
    const report_data = quoteDigest({ purpose: 'agent', subject, keyset_digest: ZERO_DIGEST, not_after_ms });
    if (!equal(fromHex(attestation.report_data), report_data)) return false;
    const evidence = readAttestation(attestation);
    return (await runJob(pool, 'evidence', { evidence, policy: { ...platform.policy, now_ms, report_data } })).ok;
  }
}

function rawKey(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ format: 'raw-public' } as never) as never);
}
