// A successor made by hand, for tests: says each message of a handover as a real one would, or with one thing wrong. Its keyset is that of
// the predecessor with the next epoch and a handover key of its own, since nobody looks at the rest before it signs.
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { keysetDigest, quoteDigest } from '../actors/digest.ts';
import { base64, fromBase64, fromHex, hex, utf8 } from '../actors/encoding.ts';
import { type PredecessorGreeting, type SuccessionOffer, secretInfo, successorSubject } from '../actors/handover.ts';
import type { Keyset } from '../actors/keyset.ts';
import { attest } from '../actors/quote.ts';
import { verifyEvidence } from '../actors/verification.ts';
import { box, openSecret, type TransferKeys, unbox } from '../daemon/handover/channel.ts';
import { type End, readChunk } from '../daemon/handover/rows.ts';
import { SCHEMA_VERSION } from '../daemon/schema.ts';
import { openSimulator } from '../daemon/tee/simulator.ts';
import { xwingKey } from '../workers/xwing.ts';
import type { Platforms } from './succession.ts';

export interface Said {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: an answer as it came
  readonly body: any;
}

export async function post(url: string, path: string, body: unknown): Promise<Said> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}

export interface OpenWish {
  /** Over what it is given: the keyset that is shown. */
  readonly keyset?: Partial<Keyset>;
  /** Whose evidence; its own where left out. */
  readonly image?: string;
  /** In the place of the nonce that it was greeted with. */
  readonly quoted_nonce?: string;
  readonly nonce?: string;
}

export class Petitioner {
  readonly url: string;
  readonly #platforms: Platforms;
  readonly #image: string;
  readonly #key = xwingKey(new Uint8Array(randomBytes(32)));
  readonly #nonce = hex(randomBytes(32));
  readonly #transcript = createHash('sha512');
  greeting!: PredecessorGreeting;
  keyset!: Keyset;
  offer!: SuccessionOffer;
  keys!: TransferKeys;
  end: End | undefined;

  constructor(platforms: Platforms, url: string, image = 'new') {
    this.#platforms = platforms;
    this.url = url;
    this.#image = image;
  }

  async hello(schema = SCHEMA_VERSION): Promise<Said> {
    const said = await post(this.url, 'handover/hello', { version: 1, schema, nonce: this.#nonce });
    if (said.status === 200) this.greeting = said.body;
    return said;
  }

  async open(wish: OpenWish = {}): Promise<Said> {
    const { keyset: from, nonce } = this.greeting;
    this.keyset = { ...from, epoch: from.epoch + 1, handover: base64(this.#key.publicKey), ...wish.keyset };
    const nonces = { nonce: wish.nonce ?? nonce, successor_nonce: this.#nonce };
    const opening = { ...nonces, keyset: this.keyset, attestation: await this.#attest(wish) };
    const said = await post(this.url, 'handover/open', opening);
    if (said.status !== 200) return said;
    this.offer = said.body;
    const all = { ...this.#about(), head_digest: this.offer.head.digest };
    this.keys = openSecret(this.#key.handle, fromBase64(this.offer.sealed), secretInfo(all))!;
    return said;
  }

  #about() {
    const { keyset: from, nonce } = this.greeting;
    return {
      log_id: from.log_id,
      from_keyset_digest: hex(keysetDigest(from)),
      to_keyset_digest: hex(keysetDigest(this.keyset)),
      nonces: { predecessor: nonce, successor: this.#nonce },
    };
  }

  async #attest({ image = this.#image, quoted_nonce }: OpenWish) {
    const nonce = fromHex(quoted_nonce ?? this.greeting.nonce);
    const not_after_ms = Date.now() + 3_600_000;
    const about = { purpose: 'handover', subject: successorSubject(this.#about()) } as const;
    const report_data = quoteDigest({ ...about, keyset_digest: keysetDigest(this.keyset), nonce, not_after_ms });
    const folder = join(this.#platforms.folder, this.#image, 'simulator', 'pki');
    const simulator = openSimulator(folder, Date.now, image);
    const evidence = await simulator.quote(report_data);
    const found = verifyEvidence(evidence, {
      ...{ roots: [simulator.root], now_ms: Date.now(), tcb_statuses: ['UpToDate'], report_data },
    });
    if (!found.ok) throw new Error(found.message);
    return attest(evidence, found, not_after_ms, new Date().toISOString());
  }

  ask = (index: number): Promise<Said> => post(this.url, 'handover/chunk', { session: this.offer.session, index });

  /** @returns null where it does not open */
  read(index: number, { last, box: boxed }: { last: boolean; box: string }): Uint8Array | null {
    const { session } = this.offer;
    return unbox(this.keys, { side: 'predecessor', session, index, last }, fromBase64(boxed));
  }

  /** All of the state. @returns how many chunks */
  async take(): Promise<number> {
    for (let index = 0; ; index++) {
      const { body } = await this.ask(index);
      const bytes = this.read(index, body)!;
      this.#transcript.update(bytes);
      this.end = readChunk(bytes).end;
      if (body.last) return index + 1;
    }
  }

  /** @param other  in the place of what is right */
  accept(other: Partial<{ transcript: string; state_hash: string; asset_count: number }> = {}): Promise<Said> {
    const { session } = this.offer;
    const transcript = hex(this.#transcript.copy().digest());
    const { state_hash = hex(new Uint8Array(64)), asset_count = 0 } = this.end ?? {};
    const said = utf8(JSON.stringify({ transcript, state_hash, asset_count, ...other }));
    const boxed = box(this.keys, { side: 'successor', session, index: 0, last: true }, said);
    return post(this.url, 'handover/accept', { session, box: base64(boxed) });
  }
}
