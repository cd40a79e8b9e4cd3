// Wallets that go on submitting for as long as they are let, to a daemon that is killed and comes back: what a demo, a test and a bench
// of rotations put beside them. Keeps every receipt, and what was refused; what was not answered was promised to nobody.
import { setTimeout as delay } from 'node:timers/promises';
import type { Keyset } from '../../actors/keyset.ts';
import type { Receipt } from '../../actors/receipt.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import { connect, RequestError } from '../cli/connection.ts';
import { signTransactions } from './wallet.ts';

interface Answer {
  readonly status: number;
  readonly code?: string;
  readonly envelope_id: string;
  readonly receipt: Receipt;
}

export interface LoadOptions {
  readonly url: string;
  /** What is encrypted to, until another is set. */
  readonly keyset: Keyset;
  readonly body_envelopes: number;
  readonly pause_ms: number;
}

/** Signed at once; more as they are needed. */
const SIGNED = 100;
const RETRY_MS = 50;

export class Load {
  /** Of the daemon's present life. */
  url: string;
  keyset: Keyset;
  readonly receipts = new Map<string, Receipt>();
  /** Codes of what was refused. */
  readonly refused: string[] = [];
  /** From sending a body to its answer, in ms. */
  readonly answered_ms: number[] = [];
  unanswered = 0;
  readonly #options: LoadOptions;
  readonly #running: Promise<void>;
  #raws: Uint8Array[] = [];
  #stopped = false;

  constructor(options: LoadOptions) {
    this.url = options.url;
    this.keyset = options.keyset;
    this.#options = options;
    this.#running = this.#run();
    this.#running.catch(() => {});
  }

  /** @throws what a client met that was no refusal and no broken connection */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const body = await this.#body();
      const sent = performance.now();
      const answers = await this.#send(body);
      if (answers === undefined) {
        this.unanswered += body.length;
        await delay(RETRY_MS);
        continue;
      }
      this.answered_ms.push(performance.now() - sent);
      for (const { status, code, envelope_id, receipt } of answers) {
        if (status === 202) this.receipts.set(envelope_id, receipt);
        else this.refused.push(code ?? String(status));
      }
      await delay(this.#options.pause_ms);
    }
  }

  async #body() {
    const { body_envelopes } = this.#options;
    if (this.#raws.length < body_envelopes) this.#raws = await signTransactions(SIGNED, Number(this.keyset.chain_id));
    const { keyset } = this;
    return Promise.all(
      this.#raws
        .splice(0, body_envelopes)
        .map((raw, i) => encryptEnvelope({ keyset, raw, scheme: i % 2 === 0 ? 'x-wing' : 'ecies' })),
    );
  }

  /** Undefined where nothing came back: the daemon is dead, or died over it. */
  async #send(body: readonly object[]): Promise<Answer[] | undefined> {
    try {
      return await connect({ url: this.url }).post<Answer[]>('/transactions', body);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      if (GONE.has(error.code)) return undefined;
      this.refused.push(...body.map(() => error.code));
      return [];
    }
  }
}

const GONE: ReadonlySet<string> = new Set(['not_running', 'unreachable', 'timeout']);
