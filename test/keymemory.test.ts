// What a key source leaves in memory once its keys are wiped: nothing, neither as bytes nor as hex nor as base64. Searched from
// outside, in a process that did nothing else. The simulator isn't asked: its root lies on the disk and stays in memory.
import { spawn } from 'node:child_process';
import { hkdfSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadConfig } from '../config/load.ts';
import { type Agent, startAgent } from '../daemon/demo/agent.ts';
import { deriveV0, makeAppKeys } from '../daemon/demo/appkeys.ts';
import { secretsOf } from '../daemon/demo/derived.ts';
import { Search } from '../daemon/demo/memorysearch.ts';
import { openKeySource } from '../daemon/keys/open.ts';

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

/** @returns how many of the secrets are anywhere in what the process can write to */
const found = (pid: number, secrets: readonly Uint8Array[]): number =>
  new Search(Object.fromEntries(secrets.map((secret, i) => [String(i), secret]))).inMemory(pid).size;

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

linux(
  'nothing is left of wrapped secrets that were used and moved, nor of the keys of an epoch that was let go',
  async () => {
    const COUNT = 40;
    const root = randomBytes(32);
    const plant = (n: number) => new Uint8Array(hkdfSync('sha512', root, new Uint8Array(0), `planted/${n}`, 32));
    const planted = Object.fromEntries(Array.from({ length: COUNT }, (_, n) => [`secret ${n}`, plant(n)]));
    writeFileSync(at('wrap-root'), root);
    const script = new URL('wrapprocess.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, at('wraps'), at('wrap-root'), String(COUNT)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const [bytes] = (await once(child.stdout!, 'data')) as [Buffer];
      expect(Number(String(bytes))).toBe(4 * COUNT);
      const left = new Search({ ...planted, root, ...secretsOf(root, 1), ...secretsOf(root, 2) }).inMemory(child.pid!);
      // What epoch 2 opens with is in use, and found: the search can find keys.
      const expected = [...left.keys()].filter((name) => name.startsWith('epoch 2 '));
      expect(expected).toContain('epoch 2 asset key');
      expect([...left].filter(([name]) => !expected.includes(name))).toEqual([]);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  },
);
