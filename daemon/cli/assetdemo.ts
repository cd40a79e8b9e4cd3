// `aegisd demo --assets`: what registered assets are for, on a daemon of its own. A token lets a transfer through and refuses
// an approve; the risk rises and the same transfer is refused; it falls, and the transfer passes again; a file of 100 MB is
// encrypted and decrypted; and every batch is verified by a fresh process. Exit 0 only if all of it held.
import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { encodeFunctionData, parseAbi } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { Admitted, TransactionStatus } from '../../actors/admission.ts';
import type { BatchFile } from '../../actors/batch.ts';
import { fromHex, timestamp } from '../../actors/encoding.ts';
import type { Keyset } from '../../actors/keyset.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import { Shown } from '../api/assets.ts';
import { run, startDaemon } from '../demo/child.ts';
import { type SceneOptions, stage } from '../demo/scene.ts';
import { type Connection, connect, type RequestError } from './connection.ts';
import { attestedKeyset } from './keyset.ts';
import { EXIT } from './program.ts';

const TOKEN = '0x72fc1db108e68afbfe8c251829cefeeff109b7d4';
/** Above what a calm daemon scores, so that the demo's own threat is what protects. */
const ABOVE = 700;
const PIECE_BYTES = 1_000_000;
const PIECES = 100;
const POLL_MS = 100;
const TIMEOUT_MS = 60_000;
const ABI = parseAbi([
  'function transfer(address to, uint256 amount)',
  'function approve(address spender, uint256 amount)',
]);

export function assetDemo(options: SceneOptions): Promise<number> {
  return stage(options, async ({ folder, state_dir, say }) => {
    const held: Record<string, boolean> = {};
    const check = (name: string, holds: boolean, line: string) => {
      held[name] = holds;
      say(`${line.padEnd(78)} ${holds ? 'as it should' : 'NOT as it should'}`);
    };
    const daemon = await startDaemon(state_dir, join(folder, 'daemon.log'));
    say(`daemon    ${daemon.url}, log ${daemon.log_id.slice(0, 18)}…, SIMULATED platform`);
    let files: string[];
    try {
      const admin = connect({ config: join(state_dir, 'sequencer.toml') });
      const { score } = await admin.get<{ score: number }>('/qrm/risk');
      const risk_threshold = score + ABOVE;
      await policies(admin, risk_threshold, check);
      await data(admin, risk_threshold, check);
      files = await batches(admin, folder);
    } finally {
      await daemon.stop();
    }
    const { code } = await run(['verify', '--allow-simulated', '--json', ...files]);
    check('verified', files.length > 0 && code === EXIT.ok, `verified  ${files.length} batches by a fresh process`);
    const all = Object.values(held).every(Boolean);
    if (options.json === true) process.stdout.write(`${JSON.stringify({ held, all })}\n`);
    say(`\n${all ? 'All of it held' : 'NOT all of it held'}: ${Object.keys(held).length} checks.`);
    return all ? EXIT.ok : EXIT.refused;
  });
}

type Check = (name: string, holds: boolean, line: string) => void;

async function policies(admin: Connection, risk_threshold: number, check: Check): Promise<void> {
  const { keyset } = await attestedKeyset(admin);
  await admin.post('/assets/register', {
    asset_id: 'token_001',
    asset_type: 'OnChainToken',
    chain_id: Number(keyset.chain_id),
    contract_address: TOKEN,
    access_policy: {
      ...{ allowed_operations: ['transfer'], requires_pqc: true, requires_tee: true, risk_threshold },
    },
  });
  const account = privateKeyToAccount(generatePrivateKey());
  let nonce = 0;
  const outcome = async (functionName: 'transfer' | 'approve', keysetNow: Keyset, scheme: 'x-wing' | 'ecies') => {
    const data = encodeFunctionData({ abi: ABI, functionName, args: [account.address, 1n] });
    const raw = await account.signTransaction({
      ...{ type: 'eip1559', chainId: Number(keyset.chain_id), nonce: nonce++, to: TOKEN, data, gas: 100_000n },
      ...{ maxFeePerGas: 2_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n },
    });
    const wish = { keyset: keysetNow, raw: fromHex(raw), scheme, asset_refs: ['token_001'] };
    const { envelope_id } = await admin.post('/transactions', await encryptEnvelope(wish), Admitted);
    const { status, reason } = await until(
      () => admin.get(`/transactions/${envelope_id}`, TransactionStatus),
      ({ sealed }) => sealed,
    );
    return reason ?? status;
  };
  const expect = async (name: string, wanted: string, line: string, ...wish: Parameters<typeof outcome>) => {
    const found = await outcome(...wish);
    check(name, found === wanted, `${line}: ${found}`);
  };
  await expect('transfer', 'sequenced', 'token     a transfer', 'transfer', keyset, 'x-wing');
  await expect('approve', 'operation_not_allowed', 'token     an approve', 'approve', keyset, 'x-wing');
  await expect('classical', 'pqc_required', 'token     a transfer under ecies', 'transfer', keyset, 'ecies');

  await admin.post('/qrm/indicators', {
    ...{ id: 'demo', category: 'digital_signatures', sub_category: 'ecdsa', severity: 0.9, confidence: 0.6 },
    ...{ source: 'the demo', timestamp: timestamp(Date.now()), description: 'A threat of the demo.' },
    era_relevance: 'nisq',
  });
  const protectedNow = await state(admin, 'Protected');
  check('protection', protectedNow, `risk      the score rises to ${risk_threshold} and more: protected`);
  await expect('protected', 'asset_protected', 'token     the same transfer', 'transfer', keyset, 'x-wing');
  await admin.post('/qrm/indicators/demo/withdraw', undefined);
  check('release', await state(admin, 'Active'), 'risk      the threat is withdrawn: active again');
  // The risk may have called for other keys.
  const { keyset: current } = await attestedKeyset(admin);
  await expect('released', 'sequenced', 'token     a transfer', 'transfer', current, 'x-wing');
}

async function state(admin: Connection, wanted: string): Promise<boolean> {
  const shown = await until(
    () => admin.get('/assets/protection/token_001', Shown),
    ({ migration_state }) => migration_state === wanted,
  );
  return shown.migration_state === wanted;
}

/** The last answer, once it is what was waited for or the time is up. */
async function until<T>(get: () => Promise<T>, done: (answer: T) => boolean): Promise<T> {
  const end = performance.now() + TIMEOUT_MS;
  for (;;) {
    const answer = await get();
    if (done(answer) || performance.now() > end) return answer;
    await delay(POLL_MS);
  }
}

async function data(admin: Connection, risk_threshold: number, check: Check): Promise<void> {
  const access_policy = { requires_pqc: true, requires_tee: true, risk_threshold };
  await admin.post('/assets/register', { asset_id: 'file_001', asset_type: 'OffChainFile', access_policy });
  const piece = randomBytes(PIECE_BYTES);
  const before = createHash('sha256');
  async function* plain() {
    for (let i = 0; i < PIECES; i++) {
      before.update(piece);
      yield piece;
    }
  }
  const start = performance.now();
  const sealed = await admin.stream('/assets/file_001/encrypt', Readable.from(plain(), { objectMode: false }));
  const opened = await admin.stream('/assets/file_001/decrypt', sealed);
  const after = createHash('sha256');
  for await (const part of opened) after.update(part as Buffer);
  const ms = Math.round(performance.now() - start);
  const same = before.digest('hex') === after.digest('hex');
  check('data', same, `file      ${(PIECES * PIECE_BYTES) / 1e6} MB encrypted and decrypted at once in ${ms} ms`);
  const foreign = await admin
    .stream('/assets/token_001/decrypt', Readable.from([Buffer.from('hello')], { objectMode: false }))
    .then(() => 'answered')
    .catch((error: RequestError) => error.code);
  check(
    'policy',
    foreign === 'operation_not_allowed',
    `token     its data, which the policy does not allow: ${foreign}`,
  );
}

async function batches(admin: Connection, folder: string): Promise<string[]> {
  const recent = await admin.get<BatchFile[]>('/batches/recent?count=50');
  const files: string[] = [];
  for (const batch of recent.filter(({ slh_dsa_sig }) => slh_dsa_sig !== null)) {
    const file = join(folder, `batch-${batch.height}.json`);
    await writeFile(file, JSON.stringify(batch));
    files.push(file);
  }
  return files;
}
