// The witness's side of its channels: greetings that wait for their opening, and channels that are open. Both are few and end by
// themselves, so nobody can fill the memory of a witness. A message's sequence is taken once: a host that sends one again, or an
// answer that comes late, moves nothing.
import { randomBytes } from 'node:crypto';
import { hex } from '../../actors/encoding.ts';
import type { Greeting } from '../../actors/witness.ts';
import type { XWingHandle } from '../../workers/xwing.ts';
import type { ChannelKeys } from './channel.ts';

/** Each costs a quote of the platform, so there are few at a time. */
const GREETINGS_MAX = 16;
const GREETING_MS = 60_000;
/** One sequencer, its next start, and one that should not be there. */
const CHANNELS_MAX = 8;
/** How far behind the newest a message may come. */
const WINDOW = 64;

export interface Greeted {
  readonly log_id: string;
  readonly primary_nonce: string;
  readonly greeting: Omit<Greeting, 'ok' | 'attestation'>;
  readonly key: XWingHandle;
  /** What the secret is bound to. */
  readonly subject: Uint8Array;
}

export interface Channel {
  readonly session: string;
  readonly keys: ChannelKeys;
  readonly ends_ms: number;
}

interface OpenChannel extends Channel {
  highest: number;
  readonly taken: Set<number>;
}

export class Sessions {
  readonly #now: () => number;
  /** By the witness's nonce, oldest first. */
  readonly #greetings = new Map<string, Greeted & { readonly ends_ms: number }>();
  readonly #channels = new Map<string, OpenChannel>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The oldest one gives way. */
  greet(greeted: Greeted): void {
    this.#greetings.set(greeted.greeting.nonce, { ...greeted, ends_ms: this.#now() + GREETING_MS });
    if (this.#greetings.size > GREETINGS_MAX) this.#greetings.delete([...this.#greetings.keys()][0]!);
  }

  /** A greeting is answered once. */
  take(nonce: string): Greeted | undefined {
    const found = this.#greetings.get(nonce);
    this.#greetings.delete(nonce);
    return found === undefined || found.ends_ms < this.#now() ? undefined : found;
  }

  open(keys: ChannelKeys, ends_ms: number): Channel {
    const channel = { session: hex(randomBytes(16)), keys, ends_ms, highest: 0, taken: new Set<number>() };
    this.#channels.set(channel.session, channel);
    if (this.#channels.size > CHANNELS_MAX) this.#channels.delete([...this.#channels.keys()][0]!);
    return channel;
  }

  /** @returns undefined for a channel that is not, or no longer, there */
  find(session: string): Channel | undefined {
    const channel = this.#channels.get(session);
    if (channel !== undefined && channel.ends_ms > this.#now()) return channel;
    this.#channels.delete(session);
    return undefined;
  }

  /** Asked once a message has opened. @returns false for a sequence that was there before, or is too far behind */
  takes(session: string, sequence: number): boolean {
    const channel = this.#channels.get(session);
    if (channel === undefined || sequence <= channel.highest - WINDOW || channel.taken.has(sequence)) return false;
    channel.taken.add(sequence);
    channel.highest = Math.max(channel.highest, sequence);
    for (const old of channel.taken) if (old <= channel.highest - WINDOW) channel.taken.delete(old);
    return true;
  }
}
