// A daemon in this process, as `aegisd start` assembles it, over a temporary state folder: for the tests of the API and the feed.
// Batches are cut by hand or by their interval, as a test sets it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encrypt } from 'eciesjs';
import { privateKeyToAccount } from 'viem/accounts';
import { vi } from 'vitest';
import { base64, concat, fromBase64, fromHex, hex } from '../actors/encoding.ts';
import { type Claims, claimsAad, type Envelope } from '../actors/envelope.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { createServer, type Server } from '../daemon/api/server.ts';
import { createSequencer, type Sequencer } from '../daemon/sequencer.ts';
import { found } from './founded.ts';

export type Overrides = { [S in keyof Config]?: Partial<Config[S]> };

export const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export function settings(state_dir: string, overrides: Overrides = {}): Config {
  const { config } = loadConfig({ environment: { STATE_DIRECTORY: state_dir } });
  const sections = Object.entries(config).map(([name, section]) => [
    name,
    { ...section, ...overrides[name as keyof Config] },
  ]);
  return Object.fromEntries(sections) as Config;
}

export interface House extends AsyncDisposable {
  readonly state_dir: string;
  readonly sequencer: Sequencer;
  readonly server: Server;
  /** Resolves when the journal has an entry of this type that fits. */
  journaled(type: string, fits?: (data: Record<string, unknown>) => boolean): Promise<void>;
}

export async function openHouse(overrides: Overrides = {}): Promise<House> {
  const state_dir = mkdtempSync(join(tmpdir(), 'aegis-api-'));
  const config = settings(state_dir, {
    ...overrides,
    api: { listen: '127.0.0.1:0', ...overrides.api },
    seal: { interval_ms: 0, ...overrides.seal },
  });
  const fatal = (error: unknown) => {
    throw error;
  };
  await found(config);
  const sequencer = await createSequencer({ config, log: quiet, fatal });
  const server = await createServer({ sequencer, log: quiet, version: '0.0.0-test' });
  return {
    state_dir,
    sequencer,
    server,
    journaled: (type, fits = () => true) => journaled(sequencer, type, fits),
    async [Symbol.asyncDispose]() {
      await server.close();
      await sequencer.close(0);
      rmSync(state_dir, { recursive: true, force: true });
    },
  };
}

/** Reads each entry of the journal once, however many commits there are until then. */
export async function journaled(
  { store }: Sequencer,
  type: string,
  fits: (data: Record<string, unknown>) => boolean,
): Promise<void> {
  let next = 1;
  const there = () => {
    for (const [cursor, entry] of store.range('journal', { start: next, limit: 100_000 })) {
      next = cursor + 1;
      if (entry.type === type && fits(entry.data as Record<string, unknown>)) return true;
    }
    return false;
  };
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const look = () => {
    try {
      if (there()) resolve();
    } catch (error) {
      reject(error);
    }
  };
  const end = store.onCommitted(look);
  look();
  try {
    await promise;
  } finally {
    end();
  }
}

/** Longer than anything takes on a machine that does much else; a test that waits in vain ends here. */
export const PATIENCE_MS = 200_000;

/** For what no entry of the journal tells of. Looks now and then: asking at every turn takes the processor from what is waited for. */
export function until(holds: () => boolean | Promise<boolean>): Promise<unknown> {
  return vi.waitUntil(holds, { timeout: PATIENCE_MS, interval: 20 });
}

const account = (from: number) => privateKeyToAccount(hex(new Uint8Array(32).fill(from + 1)));
let nonces = 0;

export interface Wish {
  /** Which of 255 wallets signs. */
  readonly from?: number;
  readonly chainId?: number;
  readonly fee_gwei?: number;
  readonly nonce?: number;
  readonly to?: `0x${string}`;
  readonly data?: `0x${string}`;
}

/** A signed transfer; no two alike unless the nonce is given. */
export async function signed({
  from = 6,
  chainId = 31_337,
  fee_gwei = 1,
  nonce = nonces++,
  to = '0x000000000000000000000000000000000000dEaD',
  data = '0x',
}: Wish = {}): Promise<Uint8Array> {
  return fromHex(
    await account(from).signTransaction({
      type: 'eip1559',
      chainId,
      nonce,
      to,
      data,
      gas: 21_000n,
      maxFeePerGas: 10n ** 12n,
      maxPriorityFeePerGas: BigInt(fee_gwei) * 10n ** 9n,
    }),
  );
}

/** An envelope as the client library makes it. */
export async function enveloped(
  { epoch }: Sequencer,
  raw?: Uint8Array,
  scheme: 'x-wing' | 'ecies' = 'ecies',
): Promise<Envelope> {
  return encryptEnvelope({ keyset: epoch.keyset.keyset, raw: raw ?? (await signed()), scheme });
}

/** An envelope that the client library would refuse to make: whatever plaintext, under whatever claims. */
export function forged({ epoch }: Sequencer, raw: Uint8Array, claims: Partial<Claims> = {}): Envelope {
  const { keyset } = epoch.keyset;
  const all = {
    scheme: 'ecies' as const,
    epoch: keyset.epoch,
    asset_refs: [],
    priority_fee: '1000000000',
    risk_level: 0,
    requires_migration: false,
    ...claims,
  };
  const ciphertext = encrypt(fromBase64(keyset.ecies!), concat(claimsAad(all, keyset), raw));
  return { ...all, asset_refs: [...all.asset_refs], scheme: 'ecies', encrypted_data: base64(ciphertext) };
}
