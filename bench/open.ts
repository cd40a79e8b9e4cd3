// What it takes to open a batch's worth of envelopes, beside the bare cryptography of the same envelopes in the same run:
// decapsulation, X25519, AES-GCM and public key recovery, with everything else (key schedule, decoding, hashes, checks)
// left out. `npm run bench` prints the figures.
import { createDecipheriv, createPublicKey, decapsulate, diffieHellman, randomBytes } from 'node:crypto';
import { hexToBytes } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { envelopeInfo } from '../actors/digest.ts';
import { base64, hex } from '../actors/encoding.ts';
import { identify } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import { decodeTransaction, recoverSender, type Transaction } from '../actors/transaction.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { eciesKey } from '../workers/ecies.ts';
import { type OpenTask, open, type Sealed } from '../workers/open.ts';
import { NATIVE } from '../workers/recovery.ts';
import { ENC_BYTES, type XWingHandle, xwingKey } from '../workers/xwing.ts';
import { type Figure, median, time } from './figure.ts';

const ENVELOPES = 50;
const ROUNDS = 15;

export async function run(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const scheme of ['x-wing', 'ecies'] as const) {
    const { task, handle } = await makeTask(scheme);
    const transactions = open(task).map((outcome) => {
      if (!outcome.ok) throw new Error(`an envelope did not open: ${outcome.code}`);
      return decode(outcome.raw);
    });
    const whole: number[] = [];
    const bare: number[] = [];
    const recovery: number[] = [];
    const byNoble: number[] = [];
    // In turns, so that a busy machine slows both alike.
    for (let round = 0; round < ROUNDS; round++) {
      whole.push(time(() => open(task)));
      recovery.push(time(() => transactions.map((transaction) => recoverSender(transaction, NATIVE))));
      byNoble.push(time(() => transactions.map((transaction) => recoverSender(transaction))));
      if (scheme === 'x-wing') bare.push(time(() => task.envelopes.map((sealed) => bareOpen(handle, sealed))));
    }
    const value = median(whole) / ENVELOPES;
    const recover = median(recovery) / ENVELOPES;
    const name = `open, ${scheme}, per envelope`;
    if (scheme === 'x-wing') {
      const floor = median(bare) / ENVELOPES + recover;
      figures.push({
        name,
        value,
        unit: 'ms',
        floor,
        ratio: value / floor,
        reach: '≤ 2 × bare crypto',
        met: value <= 2 * floor,
      });
      figures.push({ name: 'open, of which sender recovery', value: recover, unit: 'ms' });
      const noble = median(byNoble) / ENVELOPES;
      figures.push({
        name: 'sender recovery by noble',
        value: noble,
        unit: 'ms',
        floor: recover,
        ratio: noble / recover,
      });
    } else {
      figures.push({ name, value, unit: 'ms' });
    }
  }
  return figures;
}

/** Small ERC-20 transfers of type 2, each by a sender of its own. */
async function makeTask(scheme: 'x-wing' | 'ecies'): Promise<{ task: OpenTask; handle: XWingHandle }> {
  const log = { chain_id: '31337', log_id: hex(randomBytes(64)) };
  const xwing = xwingKey(randomBytes(32));
  const ecies = eciesKey(Uint8Array.of(1, ...randomBytes(31)));
  const keyset = { ...log, epoch: 0, x_wing: base64(xwing.publicKey), ecies: base64(ecies.publicKey) } as Keyset;
  const info = envelopeInfo({ ...log, epoch: 0 });
  const envelopes: Sealed[] = [];
  for (let nonce = 0; nonce < ENVELOPES; nonce++) {
    const envelope = await encryptEnvelope({ keyset, raw: await transfer(nonce), scheme });
    const { envelope_id, aad, ciphertext } = identify(envelope, log);
    const priority_fee = BigInt(envelope.priority_fee);
    envelopes.push({ envelope_id: hex(envelope_id), scheme, epoch: 0, ciphertext, aad, info, priority_fee });
  }
  const keys = [{ epoch: 0, x_wing: xwing.handle, ecies: ecies.handle }];
  return { task: { chain_id: 31_337n, keys, envelopes }, handle: xwing.handle };
}

async function transfer(nonce: number): Promise<Uint8Array> {
  const fees = { maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 10n ** 9n, gas: 60_000n };
  const data = `0xa9059cbb${randomBytes(64).toString('hex')}` as const;
  const to = '0x5fbdb2315678afecb367f032d93f642f64180aa3';
  const account = privateKeyToAccount(generatePrivateKey());
  return hexToBytes(await account.signTransaction({ type: 'eip1559', chainId: 31_337, nonce, to, data, ...fees }));
}

const KEY = randomBytes(32);
const NONCE = randomBytes(12);

/** The three primitives on the envelope's own bytes; the AEAD under another key, which takes the same time. */
function bareOpen(handle: XWingHandle, { ciphertext, aad }: Sealed): void {
  decapsulate(handle.mlkem, ciphertext.subarray(0, 1_088));
  const ephemeral = ciphertext.subarray(1_088, ENC_BYTES);
  const publicKey = createPublicKey({ key: ephemeral, format: 'raw-public', asymmetricKeyType: 'x25519' });
  diffieHellman({ privateKey: handle.x25519, publicKey });
  const decipher = createDecipheriv('aes-256-gcm', KEY, NONCE, { authTagLength: 16 });
  decipher.setAAD(aad);
  decipher.update(ciphertext.subarray(ENC_BYTES));
}

function decode(raw: Uint8Array): Transaction {
  const decoded = decodeTransaction(raw);
  if (!decoded.ok) throw new Error(decoded.detail);
  return decoded.transaction;
}
