// A whole daemon whose keys come from a guest agent on its socket: it starts, is killed, comes back with the same keyset, goes
// on while the agent is dead, and ends with one sentence where it needs a key and gets none. No byte of a key is in its log.
import { hkdfSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BatchFile } from '../actors/batch.ts';
import { base64, hex } from '../actors/encoding.ts';
import { KEY_SOURCES, type Keyset } from '../actors/keyset.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { connect } from '../daemon/cli/connection.ts';
import { type Agent, startAgent } from '../daemon/demo/agent.ts';
import { deriveV0, issue, makeAppKeys } from '../daemon/demo/appkeys.ts';
import { type Child, run, startDaemon } from '../daemon/demo/child.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';

const TIMEOUT_MS = 700;
const keys = makeAppKeys();

let state_dir: string;
let agent: Agent;
const log = () => join(state_dir, 'daemon.log');
const settings = (socket = agent.socket) => `[keys]
source = "dstack"
dstack_socket = ${JSON.stringify(socket)}
timeout_ms = ${TIMEOUT_MS}
[sequencer]
batch_interval_ms = 20
[seal]
interval_ms = 0
`;
const start = (): Promise<Child> => startDaemon(state_dir, log(), settings());

beforeAll(async () => {
  state_dir = mkdtempSync(join(tmpdir(), 'aegis-dstack-'));
  agent = await startAgent({ socket: join(state_dir, 's'), keys });
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  rmSync(state_dir, { recursive: true });
});

const keysetOf = async ({ url }: Child) =>
  (await connect({ url }).get<{ keyset: Keyset; digest: string }>('/epochs/1/keyset')).keyset;

/** Submits a transaction and waits for the batch that has it. */
async function sequence(daemon: Child, keyset: Keyset): Promise<BatchFile> {
  const connection = connect({ url: daemon.url });
  const [raw] = await signTransactions(1, Number(keyset.chain_id));
  const envelope = await encryptEnvelope({ keyset, raw: raw!, scheme: 'x-wing' });
  const { envelope_id } = await connection.post<{ envelope_id: string }>('/transactions', envelope);
  const sealed = connection.get<{ sealed: boolean; height?: number; status: string }>;
  for (;;) {
    const { sealed: done, height } = await sealed(`/transactions/${envelope_id}`);
    if (done && height !== undefined) return connection.get<BatchFile>(`/batches/${height}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** `aegisd start` to its end, which has to come by itself. */
function failing(toml: string) {
  const config = join(state_dir, 'failing.toml');
  writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(state_dir)}\n[api]\nlisten = "127.0.0.1:0"\n${toml}`);
  return run(['start', '--config', config]);
}

describe('a daemon on a guest agent', () => {
  it('keeps its keyset over SIGKILL, and sequences while the agent is dead', async () => {
    const first = await start();
    const keyset = await keysetOf(first);
    expect(KEY_SOURCES[keyset.key_source]).toBe('dstack');
    expect((await sequence(first, keyset)).keyset).toEqual(keyset);
    await first.kill();

    const second = await start();
    expect(await keysetOf(second)).toEqual(keyset);
    await agent.die();
    const batch = await sequence(second, keyset);
    expect(batch.height).toBe(1);
    expect(await second.stop()).toBe(0);
    await agent.rise();
  });

  // In less than the 30 s for which the SDK would wait, and hold the process.
  it('ends with one sentence and exit code 1 when the agent is dead, hangs or is another’s', {
    timeout: 25_000,
  }, async () => {
    await agent.die();
    const dead = await failing(settings());
    expect([dead.code, dead.stdout]).toEqual([1, '']);
    expect(dead.stderr).toMatch(/^The guest agent at .+ failed Info: nobody listens on its socket\. See .+\n$/);
    await agent.rise();

    agent.misbehave('hang');
    const hung = await failing(settings());
    expect(hung.code).toBe(1);
    expect(hung.stderr).toMatch(/^The guest agent at .+ did not answer Info within 700 ms\. See .+\n$/);
    agent.misbehave(undefined);

    await using other = await startAgent({ socket: join(state_dir, 'o'), keys: makeAppKeys() });
    const foreign = await failing(settings(other.socket));
    expect(foreign.code).toBe(1);
    expect(foreign.stderr).toMatch(/^The key source dstack is another than the one that made the keys .+\n$/);
  });

  it('whose store was made by another root says so even when its pin is gone', async () => {
    rmSync(join(state_dir, 'keys', 'dstack.json'));
    await using other = await startAgent({
      socket: join(state_dir, 'o'),
      keys: issue(new Uint8Array(32).fill(1), new Uint8Array(32).fill(2), keys.app_id),
    });
    const { code, stderr } = await failing(settings(other.socket));
    expect(code).toBe(1);
    expect(stderr).toMatch(/^The store at .+ was sealed under another key\. Give the key source .+\n$/);
  });

  it('has no byte of a key in its log', () => {
    const text = readFileSync(log(), 'utf8');
    expect(text).toContain('listening');
    const paths = new Set(agent.asked.flatMap(({ path }) => path ?? []));
    expect(paths.size).toBeGreaterThanOrEqual(9);
    const secrets = [...paths].flatMap((path) => {
      const { key } = deriveV0(keys, path, path, 'secp256k1');
      return [
        key,
        ...[32, 48, 96].map((bytes) => new Uint8Array(hkdfSync('sha512', key, new Uint8Array(0), path, bytes))),
      ];
    });
    for (const secret of [...secrets, keys.k256_key]) {
      const part = secret.subarray(0, 12);
      expect(text).not.toContain(hex(part).slice(2));
      expect(text).not.toContain(base64(part));
      expect(text).not.toContain([...part].join(','));
    }
  });
});
