// What each client address may submit: token buckets that count envelopes, not requests, because an array of 256 costs 256 times
// as much as one and an envelope that cannot be opened costs more still. The number of buckets is bounded: the address that was
// quiet for longest is forgotten first, which at worst gives it a full allowance again.
import { isIPv6 } from 'node:net';

export interface AllowanceOptions {
  readonly rate_limit_per_s: number;
  readonly rate_limit_burst: number;
  readonly refused_penalty: number;
}

export type Allowed = { readonly ok: true } | { readonly ok: false; readonly retry_after_s: number };

/** Addresses remembered at a time. */
const ADDRESSES_MAX = 65_536;

const ALLOWED: Allowed = { ok: true };

export class Allowance {
  readonly #options: () => AllowanceOptions;
  readonly #now: () => number;
  readonly #addresses_max: number;
  /** In the order of their last use; tokens may be negative, a debt of at most what a burst of refused envelopes costs. */
  readonly #buckets = new Map<string, { tokens: number; at_ms: number }>();

  /** @param now  monotonic, in ms */
  constructor(
    options: () => AllowanceOptions,
    now: () => number = () => performance.now(),
    addresses_max = ADDRESSES_MAX,
  ) {
    this.#options = options;
    this.#now = now;
    this.#addresses_max = addresses_max;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Takes that many envelopes or, when they are not there, none. */
  take(client: string | undefined, envelopes: number): Allowed {
    const { rate_limit_per_s: rate } = this.#options();
    if (client === undefined || rate === 0) return ALLOWED;
    const bucket = this.#bucket(client);
    const missing = envelopes - bucket.tokens;
    if (missing > 0) return { ok: false, retry_after_s: Math.max(1, Math.ceil(missing / rate)) };
    bucket.tokens -= envelopes;
    return ALLOWED;
  }

  /** An envelope of this client turned out to be refused. */
  punish(client: string): void {
    const { rate_limit_per_s, rate_limit_burst, refused_penalty } = this.#options();
    if (rate_limit_per_s === 0) return;
    const bucket = this.#bucket(client);
    // Refusals come long after a burst, all at once: a smaller bound would forgive most of them.
    bucket.tokens = Math.max(bucket.tokens - refused_penalty, -rate_limit_burst * refused_penalty);
  }

  #bucket(client: string): { tokens: number; at_ms: number } {
    const { rate_limit_per_s, rate_limit_burst } = this.#options();
    const now = this.#now();
    const bucket = this.#buckets.get(client) ?? { tokens: rate_limit_burst, at_ms: now };
    const refilled = bucket.tokens + ((now - bucket.at_ms) / 1000) * rate_limit_per_s;
    bucket.tokens = Math.min(rate_limit_burst, refilled);
    bucket.at_ms = now;
    this.#buckets.delete(client);
    this.#buckets.set(client, bucket);
    if (this.#buckets.size > this.#addresses_max) this.#buckets.delete(this.#buckets.keys().next().value!);
    return bucket;
  }
}

/** Who is charged: an IPv4 address, or the /64 of an IPv6 one, since that is what one customer gets. */
export function clientOf(address: string): string {
  const plain = address.split('%')[0]!;
  if (!isIPv6(plain)) return plain;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain);
  if (mapped !== null) return mapped[1]!;
  const [head = '', tail] = new URL(`http://[${plain}]`).hostname.slice(1, -1).split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail ? tail.split(':') : [];
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return `${groups.slice(0, 4).join(':')}::/64`;
}
