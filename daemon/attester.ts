// Attests digests (DESIGN §6): asks the platforms that `attestation.primary` and `attestation.redundancy` name for quotes, and
// says by `attestation.require` what is enough when one of them fails. The sealer, the keyset's quote and status.ts call it.
// Each platform quotes under a purpose of its own, so neither's evidence passes for the other's. A platform that fails is
// asked again by itself, and takes part again from the seal after it answers.
import { keysetDigest, quoteDigest, type Statement, ZERO_DIGEST } from '../actors/digest.ts';
import type { Keyset } from '../actors/keyset.ts';
import { type Attestation, attest } from '../actors/quote.ts';
import { type Enclave, redundancy, redundancyNonce } from '../actors/redundancy.ts';
import { PROVIDER_BIT } from '../actors/seal.ts';
import type { Require } from '../config/schema.ts';
import { Fault } from './fault.ts';
import type { RedundancyWish } from './redundancy.ts';
import type { Platform, PlatformState, VerifiedQuote } from './tee/platform.ts';
import type { QuoteProvider } from './tee/provider.ts';
import type { WitnessQuote } from './witnessed.ts';

export type Role = keyof typeof PROVIDER_BIT;
export const ROLES = Object.keys(PROVIDER_BIT) as Role[];

/** How long a platform that failed is left alone. */
const RETRY_MS = 5_000;

export interface AttesterOptions {
  readonly quote_lifetime_s: number;
  readonly require: Require;
}

/** What a quote is to vouch for. */
export interface Subject {
  readonly purpose: Exclude<Statement['purpose'], 'redundancy' | 'agent'>;
  readonly subject: Uint8Array;
  readonly keyset: Keyset;
  readonly not_after_ms: number;
  readonly nonce?: Uint8Array;
  /** Of a seal: the platforms that must quote, bits of PROVIDER_BIT; the primary alone where left out. */
  readonly providers?: number;
  /** Of a seal: what the witness says of it, in the place of the second platform; undefined where it failed. */
  readonly witness?: Promise<WitnessQuote | undefined>;
}

export interface RoleState extends PlatformState {
  readonly role: Role;
  readonly provider: QuoteProvider['providerName'];
  readonly simulated: boolean;
}

export interface AttesterState {
  readonly require: Require;
  /** A platform that is wanted fails, and seals go on without it. */
  readonly degraded: boolean;
  readonly platforms: readonly RoleState[];
}

interface Modules {
  readonly primary: Platform;
  /** Undefined where `attestation.redundancy` is off. */
  readonly redundancy?: Platform | undefined;
  /** Whether the second one is wanted, and under which names, as it stands in the store. */
  readonly wish: () => RedundancyWish;
  readonly options: AttesterOptions;
  readonly now: () => number;
}

export class Attester {
  readonly #modules: Modules;
  #newest: Attestation | undefined;
  /** What the second platform attested in the primary's place. */
  readonly #bySecond = new WeakSet<Attestation>();
  #timer: NodeJS.Timeout | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  get primary(): Platform {
    return this.#modules.primary;
  }

  /** The newest evidence that verified, or undefined before the first. */
  get newest(): Attestation | undefined {
    return this.#newest;
  }

  get state(): AttesterState {
    const platforms = this.#roles().map((role): RoleState => {
      const { state, provider } = this.#platform(role);
      return { role, provider: provider.providerName, simulated: provider.simulated, ...state };
    });
    return { require: this.#modules.options.require, degraded: this.providers() !== this.#all(), platforms };
  }

  /** Asks every platform at once whether it attests, and those that fail again later. Waits for none of them. */
  start(): void {
    for (const role of ROLES) if (this.#modules[role] !== undefined) this.#probe(this.#platform(role));
    this.#timer = setInterval(() => {
      for (const role of this.#roles()) if (this.#failing(role)) this.#probe(this.#platform(role));
    }, RETRY_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Whether its evidence, the second platform's aside, is that of the primary. */
  isByPrimary(attestation: Attestation): boolean {
    return !this.#bySecond.has(attestation);
  }

  /** When a quote made now ends, in ms. */
  notAfter(from_ms: number): number {
    return from_ms + this.#modules.options.quote_lifetime_s * 1000;
  }

  /**
   * Whether there are two platforms. Then a head is promised only after both have quoted it: a promised head keeps its
   * digest, which names them, and would wait for ever for one that is given up.
   */
  get redundant(): boolean {
    return this.#modules.redundancy !== undefined && this.#modules.wish().enabled;
  }

  /** Bits of the platforms that the next head is to be attested by: all, or as `require` allows, those that don't fail. */
  providers(): number {
    const all = this.#all();
    const { require } = this.#modules.options;
    const working = bits(this.#roles().filter((role) => !this.#failing(role)));
    if (require === 'all') return all;
    if (require === 'primary') return working | PROVIDER_BIT.primary;
    // Where none works, there is nothing to fall back to.
    return working === 0 ? all : working;
  }

  /**
   * @param about.nonce  of a client, at most 64 bytes
   * @throws {Fault}     quote_failed, quote_busy, worker_failed, guest_agent_failed, guest_agent_timeout
   */
  async attest(about: Subject): Promise<Attestation> {
    const attestation = await this.#attest(about);
    this.#newest = attestation;
    return attestation;
  }

  #attest(about: Subject): Promise<Attestation> {
    if (about.purpose !== 'seal') return this.#attestKeyset(about);
    return about.witness === undefined ? this.#attestSeal(about) : this.#attestWitnessed(about, about.witness);
  }

  /** By the primary, beside the witness. */
  async #attestWitnessed(about: Subject, witness: NonNullable<Subject['witness']>): Promise<Attestation> {
    const { worker_id, enclave_id } = this.#modules.wish();
    const quoting = this.#quote('primary', about, true);
    await Promise.allSettled([quoting, witness]);
    const [first, second] = [await quoting, await witness];
    const attestation = attestationOf(first, about.not_after_ms);
    if (second === undefined) return attestation;
    const { evidence, found, checked_at } = second;
    const enclave = { worker_id, enclave_id };
    const by = { checked_at, enclave, primary: first.found, witness: second.witness };
    return { ...attestation, phala_redundancy: redundancy(evidence, found, by) };
  }

  /** By every platform that the head names. */
  async #attestSeal(about: Subject): Promise<Attestation> {
    const { providers = PROVIDER_BIT.primary } = about;
    const { worker_id, enclave_id } = this.#modules.wish();
    const enclave = { worker_id, enclave_id };
    const quotes = ROLES.map((role) => {
      if ((providers & PROVIDER_BIT[role]) === 0) return undefined;
      // Alone, it stands in the place of the primary, where there is no room for names.
      return this.#quote(role, sealStatement(role, about, providers === BOTH ? enclave : NAMELESS), true);
    });
    // Both to their end, so that the state of each is known when one has failed.
    await Promise.allSettled(quotes);
    const [first, second] = await Promise.all(quotes);
    const { not_after_ms } = about;
    if (first === undefined) {
      const alone = attestationOf(second!, not_after_ms);
      this.#bySecond.add(alone);
      return alone;
    }
    const attestation = attestationOf(first, not_after_ms);
    if (second === undefined) return attestation;
    const { evidence, found, checked_at } = second;
    const phala_redundancy = redundancy(evidence, found, { checked_at, enclave, primary: first.found });
    return { ...attestation, phala_redundancy };
  }

  /** By the primary; where one platform is enough, by the other when it fails. */
  async #attestKeyset(about: Subject): Promise<Attestation> {
    const [first, ...others] = this.#inOrder();
    for (const role of [first!, ...others]) {
      try {
        const attestation = attestationOf(await this.#quote(role, about, false), about.not_after_ms);
        if (role === 'redundancy') this.#bySecond.add(attestation);
        return attestation;
      } catch (error) {
        if (role === (others.at(-1) ?? first) || !(error instanceof Fault) || error.code === 'quote_busy') throw error;
      }
    }
    throw new Error('the loop returns or throws');
  }

  #inOrder(): Role[] {
    if (this.#modules.options.require !== 'any') return ['primary'];
    return this.#roles().sort((a, b) => Number(this.#failing(a)) - Number(this.#failing(b)));
  }

  #quote(role: Role, about: Omit<Subject, 'purpose'> & Pick<Statement, 'purpose'>, urgent: boolean) {
    const { purpose, subject, not_after_ms, nonce } = about;
    const statement = { purpose, subject, keyset_digest: keysetDigest(about.keyset), not_after_ms };
    const report_data = quoteDigest(nonce === undefined ? statement : { ...statement, nonce });
    return this.#platform(role).attest(report_data, { urgent });
  }

  /** A quote that vouches for nothing: it was over when it was made. */
  #probe(platform: Platform): void {
    const nothing = { subject: ZERO_DIGEST, keyset_digest: ZERO_DIGEST, not_after_ms: 0 };
    // What comes of it stands in the platform's state.
    platform.attest(quoteDigest({ purpose: 'keyset', ...nothing }), { fresh: true }).catch(() => {});
  }

  #roles(): Role[] {
    return this.redundant ? ['primary', 'redundancy'] : ['primary'];
  }

  #platform(role: Role): Platform {
    return this.#modules[role]!;
  }

  #failing(role: Role): boolean {
    return this.#platform(role).state.state === 'failing';
  }

  #all(): number {
    return bits(this.#roles());
  }
}

/** What the platform in this role says of a seal; also what a verifier expects of it. */
function sealStatement(role: Role, about: Subject, enclave: Enclave) {
  if (role === 'primary') return about;
  const nonce = redundancyNonce(enclave);
  return { ...about, purpose: 'redundancy' as const, ...(nonce !== undefined && { nonce }) };
}

function attestationOf({ evidence, found, checked_at }: VerifiedQuote, not_after_ms: number): Attestation {
  return attest(evidence, found, not_after_ms, checked_at);
}

const BOTH = PROVIDER_BIT.primary | PROVIDER_BIT.redundancy;
const NAMELESS: Enclave = { worker_id: null, enclave_id: null };

const bits = (roles: readonly Role[]) => roles.reduce((sum, role) => sum | PROVIDER_BIT[role], 0);
