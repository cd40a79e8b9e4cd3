// One transfer, as the predecessor gives it (DESIGN §8): chunk after chunk while the store is held, each asked for in its turn. The
// newest one is kept in its box and given again when it is asked for again, so that an answer that got lost costs one more question;
// nothing else of the state is in memory. Ends by being accepted, or by being dropped for whatever reason.
import { createHash } from 'node:crypto';
import { hex } from '../../actors/encoding.ts';
import type { VerifiedEvidence } from '../../actors/evidence.ts';
import { Accepted, type Succession } from '../../actors/handover.ts';
import type { Keyset } from '../../actors/keyset.ts';
import type { Hold } from '../store.ts';
import { box, type TransferKeys, unbox } from './channel.ts';
import type { PlainChunk } from './rows.ts';

export interface GivenChunk {
  readonly last: boolean;
  readonly box: string;
}

/** Between whom, and what of the successor was verified. */
export interface Parties extends Succession {
  readonly keyset: Keyset;
  readonly found: VerifiedEvidence;
}

interface Modules {
  readonly session: string;
  readonly parties: Parties;
  readonly keys: TransferKeys;
  readonly hold: Hold;
  readonly chunks: AsyncGenerator<PlainChunk, undefined>;
  /** What all of it comes to: the store's own. */
  readonly state: Promise<{ state_hash: string; asset_count: number }>;
}

export class Transfer {
  readonly session: string;
  readonly hold: Hold;
  readonly parties: Parties;
  readonly #modules: Modules;
  readonly #transcript = createHash('sha512');
  /** What was given last. */
  #newest: (GivenChunk & { readonly index: number }) | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #digest: string | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
    this.session = modules.session;
    this.hold = modules.hold;
    this.parties = modules.parties;
    // Whoever asks for it hears of a failure; nobody may ask.
    modules.state.catch(() => {});
  }

  /** What all of it comes to. @throws {Fault} */
  get state(): Promise<{ state_hash: string; asset_count: number }> {
    return this.#modules.state;
  }

  /** @returns undefined for an index that is neither the next nor the newest. @throws {Fault} */
  chunk(index: number): Promise<GivenChunk | undefined> {
    // One after the other: a question that comes twice must not take two turns of the generator.
    const given = this.#turn.then(() => this.#give(index));
    this.#turn = given.catch(() => {});
    return given;
  }

  async #give(index: number): Promise<GivenChunk | undefined> {
    const newest = this.#newest;
    if (newest?.index === index) return { last: newest.last, box: newest.box };
    if (index !== (newest?.index ?? -1) + 1 || newest?.last === true) return undefined;
    const { keys, session, chunks } = this.#modules;
    const next = await chunks.next();
    if (next.done) return undefined;
    const { bytes, last } = next.value;
    this.#transcript.update(bytes);
    const boxed = box(keys, { side: 'predecessor', session, index, last }, bytes).toBase64();
    // The first one holds keys.
    bytes.fill(0);
    this.#newest = { index, last, box: boxed };
    if (last) this.#digest = hex(this.#transcript.digest());
    return { last, box: boxed };
  }

  /** Whether the successor has all of it, and made of it what it is here. */
  async isAccepted(boxed: Uint8Array): Promise<boolean> {
    const { keys, session } = this.#modules;
    const plain = unbox(keys, { side: 'successor', session, index: 0, last: true }, boxed);
    if (plain === null || this.#digest === undefined) return false;
    const parsed = Accepted.safeParse(JSON.parse(new TextDecoder().decode(plain)));
    if (!parsed.success) return false;
    const { state_hash, asset_count } = await this.state;
    const { data } = parsed;
    return data.transcript === this.#digest && data.state_hash === state_hash && data.asset_count === asset_count;
  }
}
