// Polls the signed feeds of `risk.feeds` by node-cron and hands what they say to the room. A feed can only speak for itself, under
// its own origin; one that is late, broken, badly signed or older than before is quarantined: what it said last goes on counting (it
// decays by itself), its state says why, and it is asked ever more rarely until it is good again. A URL answers within a deadline
// and a bound, is never followed elsewhere, and hears its own ETag again.
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { concat, utf8 } from '../../actors/encoding.ts';
import { threatOf } from '../../actors/indicator.ts';
import { FEED_TAG, type FeedCode, judgeFeed } from '../../actors/riskfeed.ts';
import { type FeedSource, feedSource } from '../../config/riskfeed.ts';
import { Fault } from '../fault.ts';
import { putMeta, riskFeeds, type TakenFeed } from '../records.ts';
import type { Runtime } from '../runtime.ts';
import type { Store } from '../store.ts';
import type { RiskOptions, RiskRoom } from './room.ts';

/** What is known of a feed. */
export interface FeedState {
  readonly name: string;
  readonly url: string;
  /** Of what was taken last; null before the first. */
  readonly sequence: number | null;
  readonly taken_ms: number | null;
  readonly quarantine: { readonly code: FeedCode; readonly detail: string; readonly tries: number } | null;
}

interface Modules {
  readonly room: RiskRoom;
  readonly runtime: Runtime;
  readonly store: Store;
  readonly options: () => RiskOptions;
  readonly now: () => number;
  /** What a feed's own end goes by; `now` where left out. */
  readonly aging?: (() => number) | undefined;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
  readonly warn: (detail: object, message: string) => void;
}

interface Polled {
  readonly source: FeedSource;
  readonly key: KeyObject;
  taken: TakenFeed | undefined;
  etag: string | null;
  not_after_ms: number;
  quarantine: FeedState['quarantine'];
  /** Polls that are left out before the next. */
  pause: number;
}

/** Polls left out at most, one after the other, while a feed is quarantined: four days at the default schedule. */
const PAUSE_MAX = 384;

const ETAG_CHARACTERS_MAX = 256;

export class RiskFeeds {
  readonly #modules: Modules;
  readonly #polled: readonly Polled[];
  readonly #stop = new AbortController();
  #task: { destroy(): unknown } | undefined;
  #polling: Promise<void> | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
    const known = riskFeeds(modules.store);
    this.#polled = modules.options().feeds.map((text) => {
      const source = feedSource(text)!;
      const key = publicKey(source);
      const taken = known[source.name];
      return { source, key, taken, etag: null, not_after_ms: 0, quarantine: null, pause: 0 };
    });
  }

  /** Polls at once and then by the schedule; forgets what feeds have said that are no longer configured. */
  async start(): Promise<void> {
    await this.#forget();
    if (this.#polled.length === 0) return;
    const { default: cron } = await import('node-cron');
    const { feed_schedule } = this.#modules.options();
    this.#task = cron.schedule(feed_schedule, () => this.poll(), { noOverlap: true, timezone: 'Etc/UTC' });
    void this.poll();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#task?.destroy();
    await this.#polling;
  }

  states(): FeedState[] {
    return this.#polled.map(({ source: { name, url }, taken, quarantine }) => ({
      ...{ name, url, quarantine, sequence: taken?.sequence ?? null, taken_ms: taken?.taken_ms ?? null },
    }));
  }

  /** Asks every feed that isn't paused, all at once; resolves when each has been dealt with. */
  poll(): Promise<void> {
    this.#polling ??= Promise.all(this.#polled.map((feed) => this.#ask(feed))).then(() => {
      this.#polling = undefined;
    });
    return this.#polling;
  }

  async #ask(feed: Polled): Promise<void> {
    if (feed.pause > 0) {
      feed.pause -= 1;
      return;
    }
    const { fatal, onFault } = this.#modules;
    try {
      await this.#take(feed);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      if (error instanceof Quarantine) this.#quarantine(feed, error);
      else if (error instanceof Fault) onFault(error);
      else fatal(error);
    }
  }

  async #take(feed: Polled): Promise<void> {
    const { room, runtime, options, now, aging = now } = this.#modules;
    const { source, etag } = feed;
    const { feed_timeout_ms, feed_bytes_max } = options();
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(feed_timeout_ms)]);
    const answer = await fetchFeed(source.url, etag, feed_bytes_max, signal);
    if (answer === 'unchanged') {
      if (feed.not_after_ms <= aging()) throw new Quarantine('expired', 'it has ended, and there is no newer one');
      feed.quarantine = null;
      return;
    }
    const check = (payload: Uint8Array, signature: Uint8Array) => isSigned(source, feed.key, payload, signature);
    const judged = judgeFeed(answer.text, check, feed.taken, now());
    if (!judged.ok) throw new Quarantine(judged.code, judged.detail);
    const { indicators, sequence, not_after_ms } = judged.content;
    const origin = `feed:${source.name}` as const;
    await room.replace(
      origin,
      indicators.map((each) => threatOf(each, origin, each.id)),
    );
    const taken = { sequence, digest: judged.digest, taken_ms: now() };
    // Behind the indicators: after a crash in between the same content is taken again, which changes nothing.
    await runtime.commit((step) => {
      putMeta(step, 'risk_feeds', { ...riskFeeds(step), [source.name]: taken });
    });
    Object.assign(feed, { taken, not_after_ms, etag: answer.etag, quarantine: null, pause: 0 });
  }

  #quarantine(feed: Polled, { code, message: detail }: Quarantine): void {
    const tries = (feed.quarantine?.tries ?? 0) + 1;
    feed.quarantine = { code, detail, tries };
    feed.etag = null;
    feed.pause = Math.min(PAUSE_MAX, 2 ** Math.min(tries - 1, 20) - 1);
    this.#modules.warn({ feed: feed.source.name, code, detail, tries }, 'a risk feed is quarantined');
  }

  async #forget(): Promise<void> {
    const { room, options } = this.#modules;
    const names = new Set(options().feeds.map((text) => `feed:${feedSource(text)!.name}`));
    const origins = new Set(room.threats.map(({ origin }) => origin));
    for (const origin of origins) {
      if (origin.startsWith('feed:') && !names.has(origin)) await room.replace(origin as `feed:${string}`, []);
    }
  }
}

class Quarantine extends Error {
  readonly code: FeedCode;

  constructor(code: FeedCode, detail: string) {
    super(detail);
    this.code = code;
  }
}

function publicKey({ algorithm, public_key }: FeedSource): KeyObject {
  const key = { key: public_key, format: 'raw-public', asymmetricKeyType: algorithm };
  return createPublicKey(key as never);
}

function isSigned({ algorithm }: FeedSource, key: KeyObject, payload: Uint8Array, signature: Uint8Array): boolean {
  if (algorithm === 'ed25519') return verify(null, concat(utf8(`${FEED_TAG}\0`), payload), key, signature);
  return verify(null, payload, { key, context: utf8(FEED_TAG) } as never, signature);
}

/** @throws {Quarantine} */
async function fetchFeed(
  url: string,
  etag: string | null,
  bytes_max: number,
  signal: AbortSignal,
): Promise<'unchanged' | { text: string; etag: string | null }> {
  const headers = { accept: 'application/json', ...(etag !== null && { 'if-none-match': etag }) };
  try {
    // A redirect is an answer of somebody else.
    const answer = await fetch(url, { headers, signal, redirect: 'error', credentials: 'omit' });
    if (answer.status === 304 && etag !== null) return 'unchanged';
    if (answer.status !== 200) throw new Quarantine('unreachable', `it answered ${answer.status}`);
    const text = await collect(answer, bytes_max);
    const tag = answer.headers.get('etag');
    return { text, etag: tag !== null && tag.length <= ETAG_CHARACTERS_MAX ? tag : null };
  } catch (error) {
    if (error instanceof Quarantine) throw error;
    const { name, message, cause } = error as Error;
    const reason =
      name === 'TimeoutError' ? 'no whole answer in time' : ((cause as Error | undefined)?.message ?? message);
    throw new Quarantine('unreachable', reason.slice(0, 256));
  }
}

async function collect(answer: Response, bytes_max: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of answer.body ?? []) {
    length += (chunk as Uint8Array).length;
    if (length > bytes_max) throw new Quarantine('too_large', `more than ${bytes_max} bytes`);
    chunks.push(chunk as Uint8Array);
  }
  return new TextDecoder().decode(concat(...chunks));
}
