// A real daemon for the drills: under whatever limits or preloads a drill wants, with a client that keeps what was acknowledged. What
// it holds in memory and in files is read from /proc, as an operator would.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect as connectTcp, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import WebSocket from 'ws';
import type { Keyset } from '../actors/keyset.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';
import type { Ready } from '../daemon/status.ts';
import { found } from './founded.ts';
import { settings } from './house.ts';

const MAIN = join(import.meta.dirname, '..', 'daemon', 'main.ts');

export interface DrillOptions {
  readonly state_dir: string;
  /** Lines of TOML: what differs from the drills' own. */
  readonly toml?: string;
  /** For Node, before the program. */
  readonly node?: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
}

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the daemon said
  readonly json: any;
}

export class Drilled implements AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Envelopes that got a receipt. */
  readonly acknowledged: string[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown[]>;
  #keyset: Keyset | undefined;
  #raws: Uint8Array[] = [];

  private constructor(child: ChildProcess, exited: Promise<unknown[]>, url: string) {
    this.#child = child;
    this.#exited = exited;
    this.url = url;
    this.port = Number(new URL(url).port);
  }

  static async start({ state_dir, toml = '', node = [], environment = {} }: DrillOptions): Promise<Drilled> {
    mkdirSync(state_dir, { recursive: true });
    await found(settings(state_dir));
    const config = join(state_dir, 'sequencer.toml');
    writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(state_dir)}\n${toml}`);
    const child = spawn(process.execPath, [...node, MAIN, 'start', '--json', '--config', config], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    const exited = once(child, 'exit');
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4_000);
    });
    const line = await Promise.race([
      once(createInterface({ input: child.stdout }), 'line').then(([text]) => text as string),
      exited.then(() => Promise.reject(new Error(`it did not start: ${said}`))),
    ]);
    return new Drilled(child, exited, (JSON.parse(line) as { url: string }).url);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** What this process has ever had in memory at once, in MiB. */
  get peakMebibytes(): number {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))![1]) / 1024;
  }

  /** A request on a connection of its own. @param localAddress  of 127.0.0.0/8: another client to the daemon */
  async ask(path: string, body?: unknown, localAddress = '127.0.0.1'): Promise<Answer> {
    const method = body === undefined ? 'GET' : 'POST';
    const headers = { 'content-type': 'application/json' };
    const sent = request({ host: '127.0.0.1', port: this.port, localAddress, agent: false, path, method, headers });
    // The daemon may close before it has read all; what it said of it counts.
    sent.on('error', () => {});
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = await once(sent, 'response');
    let text = '';
    for await (const chunk of response) text += chunk;
    return { status: response.statusCode, json: JSON.parse(text) };
  }

  async ready(): Promise<Ready> {
    return (await this.ask('/ready')).json as Ready;
  }

  /** Submits one transaction, and keeps its id where it was acknowledged. */
  async submit(localAddress?: string): Promise<Answer> {
    this.#keyset ??= (await this.ask('/epochs/1/keyset', undefined, localAddress)).json.keyset as Keyset;
    const keyset = this.#keyset;
    if (this.#raws.length === 0) this.#raws = await signTransactions(50, Number(keyset.chain_id));
    const envelope = await encryptEnvelope({ keyset, raw: this.#raws.pop()!, scheme: 'x-wing' });
    const answer = await this.ask('/transactions', envelope, localAddress);
    if (answer.status === 202) this.acknowledged.push(answer.json.envelope_id);
    return answer;
  }

  /** Which of the acknowledged envelopes this daemon doesn't know. */
  async lost(acknowledged: readonly string[] = this.acknowledged): Promise<string[]> {
    const lost: string[] = [];
    for (const id of acknowledged) {
      const { status, json } = await this.ask(`/transactions/${id}`);
      if (status !== 200 || json.status === 'refused') lost.push(id);
    }
    return lost;
  }

  connect(localAddress = '127.0.0.1'): Socket {
    return connectTcp({ host: '127.0.0.1', port: this.port, localAddress }).on('error', () => {});
  }

  /** An idle client of the feed, once it is connected. */
  async follow(localAddress?: string): Promise<WebSocket> {
    const url = `ws://127.0.0.1:${this.port}/feed?types=tx_submitted`;
    const ws = new WebSocket(url, localAddress === undefined ? {} : { localAddress });
    await once(ws, 'open');
    return ws;
  }

  /** SIGTERM. @returns the exit code */
  async stop(): Promise<unknown> {
    this.#child.kill('SIGTERM');
    return (await this.#exited)[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isRunning) this.#child.kill('SIGKILL');
    await this.#exited;
  }
}
