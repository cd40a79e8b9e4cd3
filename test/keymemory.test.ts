// What a key source leaves in memory once its keys are wiped: nothing, neither as bytes nor as hex nor as base64. Searched from
// outside, in a process that did nothing else. The simulator isn't asked: its root lies on the disk and stays in memory.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadConfig } from '../config/load.ts';
import { type Agent, startAgent } from '../daemon/demo/agent.ts';
import { deriveV0, makeAppKeys } from '../daemon/demo/appkeys.ts';
import { openKeySource } from '../daemon/keys/open.ts';

const PIECE_BYTES = 1024 * 1024;
const PATHS = Array.from({ length: 30 }, (_, epoch) => `aegis/batch/ml-dsa-87/epoch/${epoch}`);
const keys = makeAppKeys();

let folder: string;
let agent: Agent;
const at = (...names: string[]) => join(folder, ...names);
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-memory-'));
  for (const name of ['credentials', 'attestation', 'attestation/keys', 'state']) mkdirSync(at(name));
  writeFileSync(at('credentials', 'aegis-root'), randomBytes(32), { mode: 0o400 });
  writeFileSync(at('attestation', 'keys', '_sgx_mrenclave'), randomBytes(16));
  agent = await startAgent({ socket: at('s'), keys });
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** Half of each secret is enough to be found by: a key that was half overwritten is still a leak. */
const forms = (secret: Uint8Array) => {
  const half = Buffer.from(secret.subarray(0, 15));
  return [half, Buffer.from(half.toString('hex')), Buffer.from(half.toString('base64'))];
};

/** @returns how many of the secrets are anywhere in what the process can write to */
function found(pid: number, secrets: readonly Uint8Array[]): number {
  const needles = secrets.map(forms);
  const seen = new Set<number>();
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const piece = Buffer.alloc(PIECE_BYTES + 64);
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
    if (from === undefined) continue;
    const end = Number.parseInt(to!, 16);
    for (let start = Number.parseInt(from, 16); start < end; start += PIECE_BYTES) {
      const length = read(memory, piece, start, Math.min(piece.length, end - start));
      const part = piece.subarray(0, length);
      needles.forEach((each, i) => void (each.some((needle) => part.includes(needle)) && seen.add(i)));
    }
  }
  closeSync(memory);
  return seen.size;
}

/** Some mappings can't be read; no secret of ours is in them. */
function read(memory: number, piece: Buffer, position: number, length: number): number {
  try {
    return readSync(memory, piece, 0, length, position);
  } catch {
    return 0;
  }
}

async function leftOf(source: 'dstack' | 'credential' | 'sgx', secrets: () => Promise<Uint8Array[]>): Promise<number> {
  const settings = JSON.stringify({ source, dstack_socket: agent.socket });
  const script = new URL('keyprocess.ts', import.meta.url).pathname;
  const folders = [at('state'), at('attestation'), at('credentials')];
  const child = spawn(process.execPath, ['--expose-gc', script, settings, ...folders, ...PATHS], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [bytes] = (await once(child.stdout!, 'data')) as [Buffer];
    expect(Number(String(bytes))).toBe(32 * PATHS.length);
    return found(child.pid!, await secrets());
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

// Memory is /proc's, and the search is of what Linux and glibc leave.
const linux = it.runIf(process.platform === 'linux');

linux('finds what is there: the paths that were asked for', async () => {
  const asPaths = async () => [Buffer.from(PATHS[7]!)];
  expect(await leftOf('credential', asPaths)).toBe(1);
});

linux('nothing is left of the keys that a guest agent gave', async () => {
  const given = async () => PATHS.map((path) => deriveV0(keys, path, path, 'secp256k1').key);
  expect(await leftOf('dstack', given)).toBe(0);
});

linux.each(['credential', 'sgx'] as const)('nothing is left of the root of %s', async (source) => {
  const root = async () => {
    const { config } = loadConfig({ environment: {}, settings: { keys: { source } } });
    const environment = { CREDENTIALS_DIRECTORY: at('credentials') };
    const opened = await openKeySource({
      config,
      state_dir: at('state'),
      attestation_dir: at('attestation'),
      environment,
    });
    return [await opened.material(PATHS[0]!)];
  };
  expect(await leftOf(source, root)).toBe(0);
});
