// Assets: how fast 100,000 are registered (each an entry of the log and of the journal), how long a start takes with 1,000,000
// and 100,000 envelopes that wait, what it holds and how long one is looked for; and streams of data beside bare AES-256-GCM. The first 100,000 come through
// the registry; the rest are written as their records alone, since what the log costs is measured with the first.
import { spawnSync } from 'node:child_process';
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Asset, assetOf, Registration, type RegistrationInput } from '../actors/asset.ts';
import { loadConfig } from '../config/load.ts';
import { placeAsset } from '../daemon/assetplaces.ts';
import { CHUNK_BYTES, decryptStream, encryptStream, makeHeader, streamKey } from '../daemon/datastream.ts';
import { createSequencer } from '../daemon/sequencer.ts';
import type { Figure } from './figure.ts';
import { admitPending, holding } from './pending.ts';

const REGISTERED = 100_000;
const ALL = 1_000_000;
const PENDING = 100_000;
const CHUNK = 1_000;
const LOOKUPS = 20_000;
const STREAM_BYTES = 256 * 1024 * 1024;

export async function run(): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-bench-'));
  try {
    const empty = child(join(folder, 'empty'), 'open');
    const { rate } = child(join(folder, 'full'), 'fill');
    const { started_ms, rss_mib, lookup_ms } = child(join(folder, 'full'), 'open');
    const name = `start with ${ALL.toLocaleString('en')} assets, ${PENDING.toLocaleString('en')} pending`;
    return [
      { name: `register ${REGISTERED.toLocaleString('en')} assets`, value: rate!, unit: '/s' },
      { ...beside(name, started_ms, empty.started_ms, 'ms'), reach: '< 5,000 ms', met: started_ms < 5_000 },
      { ...beside(`${name}, resident`, rss_mib, empty.rss_mib, 'MiB'), reach: '< 1,024 MiB', met: rss_mib < 1_024 },
      { name: 'look up an asset', value: lookup_ms!, unit: 'ms', reach: '< 0.2 ms', met: lookup_ms! < 0.2 },
      ...(await streams()),
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function beside(name: string, value: number, floor: number, unit: string): Figure {
  return { name, value, unit, floor, ratio: value / floor };
}

interface Said {
  readonly started_ms: number;
  readonly rss_mib: number;
  readonly rate?: number;
  readonly lookup_ms?: number;
}

function child(state_dir: string, act: 'open' | 'fill'): Said {
  const { stdout, stderr } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), act, state_dir], {
    encoding: 'utf8',
  });
  const line = stdout.trim().split('\n').at(-1);
  if (line === undefined || !line.startsWith('{')) throw new Error(`the other process said: ${stderr}`);
  return JSON.parse(line) as Said;
}

const registration = (i: number): RegistrationInput => ({
  asset_id: `token_${i.toString().padStart(7, '0')}`,
  asset_type: 'OnChainToken',
  chain_id: 31_337,
  contract_address: `0x${(i + 1).toString(16).padStart(40, '0')}`,
  access_policy: { requires_pqc: true, requires_tee: true, risk_threshold: i % 10_001 },
});

/** The other process: starts, fills or looks, and dies without a farewell. */
async function other(act: string, state_dir: string): Promise<void> {
  const { config } = loadConfig({ environment: { STATE_DIRECTORY: state_dir } });
  const start = performance.now();
  const running = await createSequencer({ config: holding(config, PENDING) });
  const started_ms = performance.now() - start;
  const said: Record<string, number> = { started_ms, rss_mib: process.memoryUsage.rss() / 2 ** 20 };
  if (act === 'fill') {
    const begun = performance.now();
    for (let i = 0; i < REGISTERED; i += CHUNK) {
      const chunk = Array.from({ length: CHUNK }, (_, n) => running.registerAsset(registration(i + n)));
      if ((await Promise.all(chunk)).some(({ ok }) => !ok)) throw new Error('an asset was not registered');
    }
    said.rate = (REGISTERED / (performance.now() - begun)) * 1_000;
    for (let i = REGISTERED; i < ALL; i += CHUNK) {
      const assets = Array.from({ length: CHUNK }, (_, n) => assetOf(Registration.parse(registration(i + n)), 0));
      await running.store.commit((step) => {
        for (const asset of assets) write(step, asset);
      });
    }
    await admitPending(running, PENDING);
  } else if (running.store.count('assets') > 0) {
    const begun = performance.now();
    for (let i = 0; i < LOOKUPS; i++) {
      if (running.getAssetProtection(registration((i * 7_919) % ALL).asset_id) === undefined) throw new Error('lost');
    }
    said.lookup_ms = (performance.now() - begun) / LOOKUPS;
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
  process.kill(process.pid, 'SIGKILL');
}

type Step = Parameters<Parameters<Awaited<ReturnType<typeof createSequencer>>['store']['commit']>[0]>[0];

function write(step: Step, asset: Asset): void {
  step.put('assets', asset.asset_id, { asset, leaf_index: 0 });
  placeAsset(step, asset);
  step.put('asset_contracts', `${asset.chain_id}/${asset.contract_address}`, { ids: [asset.asset_id] });
}

async function streams(): Promise<Figure[]> {
  const header = makeHeader('bench', randomBytes(32));
  const secret = randomBytes(32);
  const key = streamKey(secret, header);
  const piece = randomBytes(CHUNK_BYTES);
  const count = STREAM_BYTES / CHUNK_BYTES;
  async function* source() {
    for (let i = 0; i < count; i++) yield piece;
  }
  const sealed: Uint8Array[] = [];
  const encrypt = await timed(async () => {
    for await (const chunk of encryptStream(key, header, source())) sealed.push(chunk);
  });
  async function* back() {
    yield* sealed;
  }
  const decrypt = await timed(async () => {
    for await (const _ of decryptStream(async () => key, back()));
  });
  const bare = createSecretKey(randomBytes(32));
  const cipher = createCipheriv('aes-256-gcm', bare, new Uint8Array(12));
  const out: Uint8Array[] = [];
  const bareEncrypt = await timed(async () => {
    for (let i = 0; i < count; i++) out.push(cipher.update(piece));
  });
  const decipher = createDecipheriv('aes-256-gcm', bare, new Uint8Array(12));
  const bareDecrypt = await timed(async () => {
    for (const each of out) decipher.update(each);
  });
  const figure = (name: string, taken_ms: number, bare_ms: number): Figure => {
    const [value, floor] = [mibPerSecond(taken_ms), mibPerSecond(bare_ms)];
    return { ...beside(name, value, floor, 'MiB/s'), reach: '≥ 50 % of bare AES', met: value >= floor / 2 };
  };
  return [figure('encrypt a stream', encrypt, bareEncrypt), figure('decrypt a stream', decrypt, bareDecrypt)];
}

async function timed(act: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await act();
  return performance.now() - start;
}

const mibPerSecond = (ms: number): number => STREAM_BYTES / 2 ** 20 / (ms / 1_000);

if (import.meta.main) await other(process.argv[2]!, process.argv[3]!);
