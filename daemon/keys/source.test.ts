// What every key source promises, asked of all four; and what each one refuses, in one sentence without a secret.

import { hkdfSync, randomBytes } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import secp256k1 from 'secp256k1';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError } from '../../config/error.ts';
import { loadConfig } from '../../config/load.ts';
import type { Settings } from '../../config/schema.ts';
import { type Agent, type AgentOptions, startAgent } from '../demo/agent.ts';
import { deriveV1, issue, kmsRoot, makeAppKeys, openAppKeys } from '../demo/appkeys.ts';
import { Fault } from '../fault.ts';
import { openKeySource } from './open.ts';
import type { KeySource } from './source.ts';

const PATH = 'aegis/batch/ml-dsa-87/epoch/1';
const APPKEYS = new URL('../../test/fixtures/tee/dstack/appkeys.json', import.meta.url).pathname;
const [kms, app, app_id] = [randomBytes(32), randomBytes(32), new Uint8Array(randomBytes(20))];
const keys = issue(kms, app, app_id);

let folder: string;
let agent: Agent;
let environment: Record<string, string>;
const at = (...names: string[]) => join(folder, ...names);
const put = (path: string, content: string | Uint8Array, mode = 0o400) => {
  rmSync(path, { force: true });
  writeFileSync(path, content, { mode });
  chmodSync(path, mode);
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-keys-'));
  for (const name of ['credentials', 'attestation', 'attestation/keys']) mkdirSync(at(name));
  put(at('credentials', 'aegis-root'), randomBytes(32));
  put(at('attestation', 'keys', '_sgx_mrenclave'), randomBytes(16));
  environment = { CREDENTIALS_DIRECTORY: at('credentials') };
  agent = await startAgent({ socket: at('s'), keys });
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
let state_dir: string;
beforeEach(() => {
  state_dir = mkdtempSync(at('state-'));
});
afterEach(() => {
  agent.misbehave(undefined);
  agent.alter(undefined);
});

function open(settings: Settings['keys'], more: { environment?: Record<string, string>; socket?: string } = {}) {
  const { config } = loadConfig({
    environment: {},
    settings: { keys: { dstack_socket: more.socket ?? agent.socket, timeout_ms: 2_000, ...settings } },
  });
  const attestation_dir = at('attestation');
  return openKeySource({ config, state_dir, attestation_dir, environment: { ...environment, ...more.environment } });
}

async function fault(call: Promise<unknown>): Promise<Fault> {
  const error = await call.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (error instanceof Fault) return error;
  throw new Error(`not a Fault: ${error}`);
}

/** What the keyring makes of it. */
async function derived(source: KeySource, path: string): Promise<string> {
  const material = await source.material(path);
  const bytes = new Uint8Array(hkdfSync('sha512', material, new Uint8Array(0), path, 32));
  material.fill(0);
  return bytes.toHex();
}

describe.each(['simulator', 'dstack', 'credential', 'sgx'] as const)('the key source %s', (source) => {
  it('gives the same key for a path, after a restart too, and another for another path', async () => {
    const first = await open({ source });
    expect(first.name).toBe(source);
    const key = await derived(first, PATH);
    expect(await derived(first, PATH)).toBe(key);
    expect(await derived(await open({ source }), PATH)).toBe(key);
    expect(await derived(first, 'aegis/batch/ml-dsa-87/epoch/2')).not.toBe(key);
    expect(await derived(first, 'aegis/store/aes-256-gcm/epoch/0')).not.toBe(key);
  });

  it('gives 32 bytes off the heap, which are the caller’s to wipe', async () => {
    const opened = await open({ source });
    const [one, two] = await Promise.all([opened.material(PATH), opened.material(PATH)]);
    expect(one).toHaveLength(32);
    // Its own memory from its first byte on, neither V8's nor a slice of a pool.
    expect([one.byteOffset, one.buffer.byteLength]).toEqual([0, 32]);
    expect(one).toEqual(two);
    one.fill(0);
    expect(two.some((byte) => byte !== 0)).toBe(true);
    expect(await opened.material(PATH)).toEqual(two);
  });

  it('is right for 1,000 paths at once', async () => {
    const opened = await open({ source, timeout_ms: 25_000 });
    const paths = Array.from({ length: 1_000 }, (_, epoch) => `aegis/batch/ml-dsa-87/epoch/${epoch}`);
    const all = await Promise.all(paths.map((path) => derived(opened, path)));
    expect(new Set(all).size).toBe(1_000);
    expect(await derived(opened, paths[500]!)).toBe(all[500]);
    expect(agent.connections_max).toBeLessThanOrEqual(10);
  });

  it('keeps everything that it writes to its owner', async () => {
    await derived(await open({ source }), PATH);
    const files = readdirSync(state_dir, { recursive: true, withFileTypes: true });
    for (const file of files) expect(statSync(join(file.parentPath, file.name)).mode & 0o077).toBe(0);
  });
});

describe('the environment', () => {
  it('may not name a simulator of dstack, except where one is expected', async () => {
    const simulated = { environment: { DSTACK_SIMULATOR_ENDPOINT: agent.socket } };
    for (const source of ['dstack', 'credential', 'sgx'] as const) {
      const { code, message } = await fault(open({ source }, simulated));
      expect(code).toBe('simulator_endpoint');
      expect(message).toContain(`keys.source is "${source}"`);
    }
    expect((await open({ source: 'simulator' }, simulated)).name).toBe('simulator');
    const { config } = loadConfig({ environment: {} });
    const production = { ...config, daemon: { ...config.daemon, environment: 'production' as const } };
    const opened = openKeySource({ config: production, state_dir, environment: simulated.environment });
    expect((await fault(opened)).message).toContain('daemon.environment is "production"');
  });
});

describe('production', () => {
  const refusal = (settings: Settings) => {
    try {
      loadConfig({ environment: {}, settings: { ...settings, daemon: { environment: 'production' } } });
    } catch (error) {
      if (error instanceof ConfigError) return error.message;
      throw error;
    }
    return '';
  };

  it('refuses the simulator, and dstack without a KMS root', () => {
    expect(refusal({})).toContain('production refuses what is simulated');
    expect(refusal({ keys: { source: 'dstack' } })).toContain(
      'keys.source = "dstack": expected keys.kms_root beside it',
    );
    expect(refusal({ keys: { source: 'dstack', kms_root: agent.kms_root } })).not.toContain('kms_root');
    expect(refusal({ keys: { source: 'sgx' } })).not.toContain('kms_root');
  });

  it('refuses the KMS root of the official simulator, whatever the settings say', async () => {
    const official = openAppKeys(APPKEYS);
    await using other = await startAgent({ socket: at('official'), keys: official });
    const { config } = loadConfig({ environment: {} });
    const wanted = { source: 'dstack', dstack_socket: other.socket, kms_root: other.kms_root } as const;
    const production = {
      ...config,
      daemon: { ...config.daemon, environment: 'production' as const },
      keys: { ...config.keys, ...wanted },
    };
    const opened = await openKeySource({ config: production, state_dir, environment: {} });
    expect((await fault(opened.material(PATH))).message).toContain('the KMS root is that of the dstack simulator');
    expect((await open(wanted)).name).toBe('dstack');
  });
});

describe('dstack', () => {
  const dstack = (settings: Settings['keys'] = {}, socket?: string) =>
    open({ source: 'dstack', ...settings }, socket === undefined ? {} : { socket });
  const pin = () => JSON.parse(readFileSync(join(state_dir, 'keys', 'dstack.json'), 'utf8')) as Record<string, unknown>;
  const another = (options: Partial<AgentOptions>) => startAgent({ socket: at('other'), keys, ...options });

  it('pins KMS root, app root, app id and generation at the first key', async () => {
    const source = await dstack();
    expect(readdirSync(state_dir)).toEqual([]);
    await Promise.all([source.material(PATH), source.material(`${PATH}0`)]);
    expect(pin()).toMatchObject({ version: 1, generation: 'v0', app_id: agent.app_id, kms_root: agent.kms_root });
  });

  it('takes the KMS root and the app id in any usual form', async () => {
    for (const kms_root of [agent.kms_root, `0x${agent.kms_root.toUpperCase()}`, uncompressed()]) {
      const source = await dstack({ kms_root, app_id: `0x${agent.app_id.toUpperCase()}` });
      expect((await source.material(PATH)).length).toBe(32);
    }
  });

  const strangers: [name: string, options: () => Partial<AgentOptions>, says: RegExp][] = [
    [
      'another KMS',
      () => ({ keys: issue(randomBytes(32), app, app_id) }),
      /does not lead to the KMS root and app root/,
    ],
    ['another app root', () => ({ keys: issue(kms, randomBytes(32), app_id) }), /does not lead to the KMS root/],
    ['another app', () => ({ keys: makeAppKeys() }), /its app_id is [0-9a-f]{40}, and .+ says [0-9a-f]{40}/],
  ];
  it.each(strangers)('refuses %s once it has pinned one', async (_, options, says) => {
    const good = await (await dstack()).material(PATH);
    const before = pin();
    await using other = await another(options());
    const { code, message } = await fault(dstack({}, other.socket).then((source) => source.material(PATH)));
    expect(code).toBe('key_source_changed');
    expect(message).toMatch(says);
    expect(pin()).toEqual(before);
    expect(await (await dstack()).material(PATH)).toEqual(good);
  });

  it('refuses another KMS and another app than the settings say, from the first key on', async () => {
    await using other = await another({ keys: issue(randomBytes(32), app, app_id) });
    const source = await dstack({ kms_root: agent.kms_root }, other.socket);
    expect((await fault(source.material(PATH))).message).toContain('app root of keys.kms_root');
    expect(readdirSync(state_dir)).toEqual([]);
    expect((await fault(dstack({ app_id: '00'.repeat(20) }))).message).toContain(`serves the app ${agent.app_id}`);
    const beyond = `02${'f'.repeat(64)}`;
    expect((await fault(dstack({ kms_root: beyond }))).message).toContain('keys.kms_root is not a point on secp256k1');
  });

  it('refuses settings that contradict what is pinned', async () => {
    await (await dstack()).material(PATH);
    const root = kmsRoot(makeAppKeys()).toHex();
    expect((await fault(dstack({ kms_root: root }))).message).toContain(`its kms_root is ${root}, and`);
  });

  it('refuses a chain that was changed at any link, a changed key, and the key of another path', async () => {
    const source = await dstack();
    await source.material(PATH);
    const flip = (hex: string) => (hex.startsWith('0') ? `1${hex.slice(1)}` : `0${hex.slice(1)}`);
    const chain = (answer: Record<string, unknown>) => answer.signature_chain as [string, string];
    const changes: ((answer: Record<string, unknown>) => Record<string, unknown>)[] = [
      (answer) => ({ ...answer, key: flip(answer.key as string) }),
      (answer) => ({ ...answer, signature_chain: [flip(chain(answer)[0]), chain(answer)[1]] }),
      (answer) => ({ ...answer, signature_chain: [chain(answer)[0], flip(chain(answer)[1])] }),
      (answer) => ({ ...answer, signature_chain: chain(answer).toReversed() }),
    ];
    for (const change of changes) {
      agent.alter((method, answer) => (method === 'GetKey' ? change(answer) : answer));
      expect((await fault(source.material(PATH))).code).toMatch(/^key_source_(?:failed|changed)$/);
    }
    agent.alter(undefined);
    const other = await fetchKey(`${PATH}1`);
    agent.alter(() => other);
    expect((await fault(source.material(PATH))).code).toBe('key_source_changed');
  });

  it('never takes keys of the other generation of the API', async () => {
    const source = await dstack();
    await source.material(PATH);
    agent.alter((method, answer, request) => {
      if (method !== 'GetKey') return answer;
      const { key, signature_chain } = deriveV1(keys, String(request.path), 'secp256k1');
      return { key: key.toHex(), signature_chain: signature_chain.map((link) => link.toHex()) };
    });
    const mixed = await fault(source.material(PATH));
    expect(mixed.message).toContain('answers v0 requests with v1 keys');
    agent.alter(undefined);
    agent.misbehave('status_404');
    const gone = await fault(source.material(PATH));
    expect([mixed.code, gone.code]).toEqual(['key_source_changed', 'key_source_changed']);
    expect(gone.message).toContain('has no GetKey of the v0 API');
    agent.misbehave(undefined);
    writeFileSync(join(state_dir, 'keys', 'dstack.json'), JSON.stringify({ ...pin(), generation: 'v1' }));
    const { code, message } = await fault(dstack());
    expect(code).toBe('key_source_changed');
    expect(message).toContain('they are of its v1 API, and this version speaks v0');
  });

  it('takes the same keys from a newer agent that still serves the older API', async () => {
    const key = await (await dstack()).material(PATH);
    await using other = await another({ release: '0.6.0' });
    expect(await (await dstack({}, other.socket)).material(PATH)).toEqual(key);
  });

  it('says that its pin is damaged, and goes on with one that is gone', async () => {
    const key = await (await dstack()).material(PATH);
    const path = join(state_dir, 'keys', 'dstack.json');
    for (const content of [
      '',
      '{',
      JSON.stringify({ ...pin(), kms_root: 'x' }),
      JSON.stringify({ ...pin(), more: 1 }),
    ]) {
      writeFileSync(path, content);
      expect((await fault(dstack())).message).toContain('is not what was written');
    }
    rmSync(path);
    expect(await (await dstack()).material(PATH)).toEqual(key);
  });

  it('needs the agent when keys are needed, and not in between', async () => {
    const source = await dstack();
    const key = await source.material(PATH);
    await agent.die();
    expect((await fault(source.material(PATH))).code).toBe('guest_agent_failed');
    expect((await fault(dstack())).message).toContain('failed Info: nobody listens on its socket');
    await agent.rise();
    expect(await source.material(PATH)).toEqual(key);
  });

  async function fetchKey(path: string): Promise<Record<string, unknown>> {
    let answer: Record<string, unknown> = {};
    agent.alter((_, given) => {
      answer = given;
      return given;
    });
    await (await dstack()).material(path);
    return answer;
  }

  function uncompressed(): string {
    return Buffer.from(secp256k1.publicKeyConvert(Uint8Array.fromHex(agent.kms_root), false)).toString('hex');
  }
});

describe('a credential', () => {
  const name = 'aegis-root';
  const path = () => at('credentials', name);
  const credential = (more = {}) => open({ source: 'credential', credential: name }, { environment: more });
  afterEach(() => put(path(), randomBytes(32)));

  it('is 32 bytes, or the same in hex with or without a line feed', async () => {
    const root = randomBytes(32);
    const hex = root.toString('hex');
    for (const content of [root, hex, `${hex}\n`, hex.toUpperCase()]) {
      put(path(), content);
      expect(await (await credential()).material(PATH)).toEqual(new Uint8Array(root));
    }
  });

  it('of another length, or with other digits, is refused without being shown', async () => {
    const hex = randomBytes(32).toString('hex');
    const wrong = [
      '',
      randomBytes(31),
      randomBytes(33),
      hex.slice(1),
      `${hex}\n\n`,
      ` ${hex}`,
      `0x${hex}`,
      `g${hex.slice(1)}`,
    ];
    for (const content of wrong) {
      put(path(), content);
      const { message } = await fault(credential());
      expect(message).toContain('is neither 32 bytes nor 64 hex digits');
      expect(message).not.toContain(hex.slice(2, 20));
    }
  });

  it('is missing, or the folder is', async () => {
    rmSync(path());
    expect((await fault(credential())).message).toContain(`the credential ${path()} can't be opened (ENOENT)`);
    const unset = await fault(credential({ CREDENTIALS_DIRECTORY: '' }));
    expect(unset.message).toContain('$CREDENTIALS_DIRECTORY is not set');
    expect((await fault(credential({ CREDENTIALS_DIRECTORY: 'relative' }))).message).toContain('LoadCredential=');
  });

  it.each([
    [0o440, 'can be read by its group'],
    [0o404, 'can be read by everyone'],
    [0o444, 'can be read by everyone'],
    [0o620, 'can be changed by others'],
  ])('of mode %o is refused on a disk', async (mode, says) => {
    put(path(), randomBytes(32), mode);
    expect((await fault(credential())).message).toContain(says);
  });

  it('may show the mask of an ACL as its group where systemd keeps credentials, in memory and root’s', async () => {
    const memory = '/dev/shm';
    // Only where this machine has such a file system, and as root, whose file it has to be.
    if (process.getuid?.() !== 0 || !readdirSync('/dev').includes('shm')) return;
    const directory = mkdtempSync(join(memory, 'aegis-'));
    try {
      put(join(directory, name), randomBytes(32), 0o440);
      expect((await credential({ CREDENTIALS_DIRECTORY: directory })).name).toBe('credential');
      put(join(directory, name), randomBytes(32), 0o444);
      expect((await fault(credential({ CREDENTIALS_DIRECTORY: directory }))).message).toContain('by everyone');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('that is a link, a folder or a device is refused', async () => {
    put(at('credentials', 'target'), randomBytes(32));
    rmSync(path());
    symlinkSync(at('credentials', 'target'), path());
    expect((await fault(credential())).message).toContain('ELOOP');
    rmSync(path());
    mkdirSync(path());
    expect((await fault(credential())).message).toContain('is not a regular file');
    rmSync(path(), { recursive: true });
  });

  it('has a name that leads nowhere else', () => {
    for (const credential of ['', '.', '..', '../x', 'a/b', '/etc/shadow', 'x'.repeat(256)]) {
      expect(() => loadConfig({ environment: {}, settings: { keys: { credential } } })).toThrow(ConfigError);
    }
  });
});

describe('sgx', () => {
  const device = () => at('attestation', 'keys', '_sgx_mrenclave');
  const sealed = () => join(state_dir, 'keys', 'sgx.sealed');
  const sgx = () => open({ source: 'sgx' });

  it('writes its root sealed, never plain', async () => {
    const root = await (await sgx()).material(PATH);
    const content = readFileSync(sealed());
    expect(content).toHaveLength(61);
    expect(content.includes(root)).toBe(false);
    expect(readdirSync(join(state_dir, 'keys'))).toEqual(['sgx.sealed']);
  });

  it('does not open for another enclave, nor with any byte changed', async () => {
    await sgx();
    const content = readFileSync(sealed());
    for (let at = 0; at < content.length; at += 5) {
      const changed = Uint8Array.from(content);
      changed[at] = changed[at]! ^ 1;
      writeFileSync(sealed(), changed);
      expect((await fault(sgx())).message).toMatch(
        /is not a sealed root|does not open: .+ another MRENCLAVE, or it is damaged/,
      );
    }
    writeFileSync(sealed(), content.subarray(1));
    expect((await fault(sgx())).message).toContain('is not a sealed root');
    writeFileSync(sealed(), content);
    await sgx();
    const own = readFileSync(device());
    put(device(), randomBytes(16));
    expect((await fault(sgx())).message).toContain('another MRENCLAVE');
    put(device(), own);
    await sgx();
  });

  it('says when there is no Gramine, or a key of it of another length, and seals nothing then', async () => {
    const own = readFileSync(device());
    for (const length of [0, 15, 17, 32]) {
      put(device(), randomBytes(length));
      expect((await fault(sgx())).message).toContain('is not 16 bytes');
    }
    rmSync(device());
    expect((await fault(sgx())).message).toContain('it takes Gramine');
    expect(readdirSync(state_dir)).toEqual([]);
    put(device(), own);
  });

  it('makes no new root beside a store that an older one has sealed', async () => {
    mkdirSync(join(state_dir, 'store'));
    writeFileSync(join(state_dir, 'store', 'data.mdb'), 'x');
    expect((await fault(sgx())).message).toContain('the root of this store; restore it');
  });
});
