// `aegisd send`: encrypts a raw signed transaction to the daemon's keyset and submits it, as a wallet would.
import { setTimeout as delay } from 'node:timers/promises';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { fromHex } from '../../actors/encoding.ts';
import type { Keyset } from '../../actors/keyset.ts';
import type { Receipt } from '../../actors/receipt.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import type { Status } from '../status.ts';
import { type Connection, connect, RequestError } from './connection.ts';
import { EXIT } from './program.ts';

interface Options {
  config?: string;
  url?: string;
  json?: boolean;
  sample?: boolean;
  scheme: 'x-wing' | 'ecies';
  asset?: string[];
  txId?: string;
  wait?: boolean;
  timeout: number;
}

/** How `GET /transactions/{id}` answers, as far as this command reads it. */
export interface TransactionStatus {
  envelope_id: string;
  status: 'pending' | 'ordered' | 'sequenced' | 'refused';
  reason?: string;
  height?: number;
  index?: number;
  tx_hash?: string;
  sealed: boolean;
}

const POLL_MS = 200;
const INPUT_BYTES_MAX = 1_048_576;

export async function send(transaction: string | undefined, options: Options): Promise<number> {
  if ((transaction === undefined) === (options.sample !== true)) {
    process.stderr.write('Give a signed transaction as 0x-hex (or - for standard input), or --sample.\n');
    return EXIT.usage;
  }
  const connection = connect(options);
  try {
    const { chain, epoch } = await connection.get<Status>('/sequencer/status');
    const raw = transaction === undefined ? await sample(chain.chain_id) : await read(transaction);
    const { keyset } = await connection.get<{ keyset: Keyset }>(`/epochs/${epoch.active}/keyset`);
    const envelope = await encryptEnvelope({
      keyset,
      raw,
      scheme: options.scheme,
      asset_refs: options.asset ?? [],
      ...(options.txId !== undefined && { tx_id: options.txId }),
    });
    const admitted = await connection.post<{ envelope_id: string; receipt: Receipt }>('/transactions', envelope);
    const say = (text: string) => options.json !== true && process.stdout.write(`${text}\n`);
    say(`admitted  ${admitted.envelope_id}, in a batch by height ${admitted.receipt.order_by_height}`);
    const final = options.wait === true ? await follow(connection, admitted.envelope_id, options.timeout) : undefined;
    if (options.json === true) process.stdout.write(`${JSON.stringify(final ?? admitted)}\n`);
    if (final === undefined) return EXIT.ok;
    if (final.status === 'refused') {
      say(`refused   ${final.reason} (batch ${final.height})`);
      return EXIT.refused;
    }
    say(`sealed    transaction ${final.tx_hash} is number ${final.index} of batch ${final.height}`);
    say(
      `next      curl -s ${options.url ?? 'http://127.0.0.1:5050'}/batches/${final.height} > batch.json && npx aegisd verify --allow-simulated batch.json`,
    );
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof RequestError || error instanceof SyntaxError)) throw error;
    process.stderr.write(`${connection.where}: ${error.message}\n`);
    return EXIT.refused;
  }
}

/** A signed transfer of nothing from a key that is thrown away. */
async function sample(chain_id: string): Promise<Uint8Array> {
  const raw = await privateKeyToAccount(generatePrivateKey()).signTransaction({
    type: 'eip1559',
    chainId: Number(chain_id),
    nonce: 0,
    to: '0x000000000000000000000000000000000000dEaD',
    value: 0n,
    gas: 21_000n,
    maxFeePerGas: 2_000_000_000n,
    maxPriorityFeePerGas: 1_000_000_000n,
  });
  return fromHex(raw);
}

async function read(transaction: string): Promise<Uint8Array> {
  if (transaction !== '-') return fromHex(transaction.toLowerCase());
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk;
    if (text.length > INPUT_BYTES_MAX) throw new SyntaxError('standard input is larger than any transaction');
  }
  return fromHex(text.trim().toLowerCase());
}

async function follow(connection: Connection, id: string, timeout_s: number): Promise<TransactionStatus> {
  const until = performance.now() + timeout_s * 1000;
  for (;;) {
    const state = await connection.get<TransactionStatus>(`/transactions/${id}`);
    if (state.status === 'refused' || state.sealed) return state;
    if (performance.now() > until) throw new RequestError('timeout', `still ${state.status} after ${timeout_s} s`);
    await delay(POLL_MS);
  }
}
