// `aegisd send`: verifies the daemon's keyset, encrypts a raw signed transaction to it and submits it, as a wallet would.
import { setTimeout as delay } from 'node:timers/promises';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { z } from 'zod';
import { Admitted, TransactionStatus } from '../../actors/admission.ts';
import { fromHex } from '../../actors/encoding.ts';
import type { Envelope } from '../../actors/envelope.ts';
import type { Keyset } from '../../actors/keyset.ts';
import { REFUSALS } from '../../actors/refusal.ts';
import { checkReceipt } from '../../client/receipt.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import type { VerifiedKeyset } from '../../client/trust.ts';
import { type Connection, connect, RequestError } from './connection.ts';
import { reportUsage, UsageError } from './file.ts';
import { attestedKeyset } from './keyset.ts';
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
  policy?: string;
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
    const first = await attestedKeyset(connection, options.policy);
    const { chain_id } = first.keyset;
    const raw = transaction === undefined ? await sample(chain_id) : await read(transaction);
    const { admitted, notes } = await submit(connection, first, raw, options);
    const say = (text: string) => options.json !== true && process.stdout.write(`${text}\n`);
    for (const note of notes) say(`keyset    ${note}`);
    say(`admitted  ${admitted.envelope_id}, in a batch by height ${admitted.receipt.order_by_height}`);
    const final = options.wait === true ? await follow(connection, admitted.envelope_id, options.timeout) : undefined;
    if (options.json === true) process.stdout.write(`${JSON.stringify(final ?? admitted)}\n`);
    if (final === undefined) return EXIT.ok;
    if (final.status === 'refused') {
      say(`refused   ${final.reason} (batch ${final.height})`);
      if (final.reason !== undefined) say(`          ${REFUSALS[final.reason].slice(1).join(' ')}`);
      return EXIT.refused;
    }
    say(`sealed    transaction ${final.tx_hash} is number ${final.index} of batch ${final.height}`);
    const judge = options.policy === undefined ? '--allow-simulated' : `--policy ${options.policy}`;
    say(
      `next      curl -s ${addressed(connection, options)}/batches/${final.height} > batch.json && npx aegisd verify ${judge} batch.json`,
    );
    return EXIT.ok;
  } catch (error) {
    if (error instanceof UsageError) {
      reportUsage(error, options.json ?? false);
      return EXIT.usage;
    }
    if (!(error instanceof RequestError || error instanceof SyntaxError)) throw error;
    process.stderr.write(`${connection.where}: ${error.message}\n`);
    return EXIT.refused;
  }
}

/** For curl. Settings of one's own may have another address, or one that is not known before it is taken. */
function addressed({ where }: Connection, { url, config }: Options): string {
  return url ?? (config === undefined ? 'http://127.0.0.1:5050' : `--unix-socket ${where} http://localhost`);
}

/** Keys may rotate between two requests: then it goes on with the keyset that is active now, once. @throws {RequestError} */
async function submit(connection: Connection, first: VerifiedKeyset, raw: Uint8Array, options: Options) {
  let current = first;
  const renew = async () => {
    current = await attestedKeyset(connection, options.policy);
    if (current.keyset.log_id === first.keyset.log_id && current.keyset.epoch > first.keyset.epoch) return;
    throw new RequestError('epoch_not_accepted', 'the daemon refuses its own active keyset');
  };
  const post = (envelope: Envelope) => connection.post('/transactions', envelope, Admitted);
  let envelope = await encrypt(first.keyset, raw, options);
  const admitted = await post(envelope).catch(async (error: unknown) => {
    if (!(error instanceof RequestError && error.code === 'epoch_not_accepted')) throw error;
    await renew();
    envelope = await encrypt(current.keyset, raw, options);
    return post(envelope);
  });
  // Admitted in the grace of its epoch: the one after it signs the receipt.
  if (admitted.receipt.epoch > current.keyset.epoch) await renew();
  const receipt = checkReceipt(admitted.receipt, current.keyset, envelope);
  if (!receipt.ok) throw new RequestError(receipt.code, `the receipt is not genuine: ${receipt.message}`);
  return { admitted, notes: current.notes };
}

/** @throws {SyntaxError} when the enclave would refuse it, or an option is wrong */
async function encrypt(keyset: Keyset, raw: Uint8Array, options: Options): Promise<Envelope> {
  const { scheme, asset: asset_refs = [], txId: tx_id } = options;
  try {
    return await encryptEnvelope({ keyset, raw, scheme, asset_refs, ...(tx_id !== undefined && { tx_id }) });
  } catch (cause) {
    if (cause instanceof z.ZodError) {
      const issue = cause.issues[0]!;
      throw new SyntaxError(`${issue.path.join('.')}: ${issue.message}`, { cause });
    }
    throw cause instanceof TypeError ? new SyntaxError(cause.message, { cause }) : cause;
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
  if (transaction !== '-') return bytesOf(transaction);
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk;
    if (text.length > INPUT_BYTES_MAX) throw new SyntaxError('standard input is larger than any transaction');
  }
  return bytesOf(text.trim());
}

function bytesOf(text: string): Uint8Array {
  try {
    return fromHex(text.toLowerCase());
  } catch (cause) {
    throw new SyntaxError('the transaction: expected 0x and an even number of hex digits', { cause });
  }
}

async function follow(connection: Connection, id: string, timeout_s: number): Promise<TransactionStatus> {
  const until = performance.now() + timeout_s * 1000;
  for (;;) {
    const state = await connection.get(`/transactions/${id}`, TransactionStatus);
    if (state.status === 'refused' || state.sealed) return state;
    if (performance.now() > until) throw new RequestError('timeout', `still ${state.status} after ${timeout_s} s`);
    await delay(POLL_MS);
  }
}
