// Every code of daemon/fault.ts. What can end a start does so here, in a process of its own over a state folder that was
// spoiled: exit code 1, one sentence that says what to do, no stack, no secret, nothing left running. What only happens
// inside names the test that provokes it. The table is a Record, so a code that nothing provokes does not compile.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, startDaemon } from '../daemon/demo/child.ts';
import { FAULTS, type FaultCode } from '../daemon/fault.ts';
import { storeKey } from '../daemon/keys/keyring.ts';
import { simulatorSource } from '../daemon/keys/simulator.ts';
import { acquireLock } from '../daemon/lock.ts';
import { SCHEMA_VERSION } from '../daemon/schema.ts';
import { openStore } from '../daemon/store.ts';
import { makeAdmin } from './admin.ts';
import { found } from './founded.ts';
import { settings } from './house.ts';

/** What a spoiled folder needs besides: lines of TOML for its start, and how to let go of what was held. */
interface Spoiled {
  readonly toml?: string;
  readonly release?: () => unknown;
}
/** Spoils the copy of a good state folder; may give a `Spoiled`. */
type Spoil = (state: string) => unknown;
type Provoked = { readonly ends: Spoil; readonly says: RegExp } | { readonly inside: string };

const PROVOKED: Record<FaultCode, Provoked> = {
  store_io: {
    ends: (state) => {
      rmSync(join(state, 'store', 'data.mdb'));
      mkdirSync(join(state, 'store', 'data.mdb'));
    },
    says: /^The store could not open at .+\/store: EISDIR/,
  },
  store_locked: {
    ends: (state) => ({ release: acquireLock(join(state, 'store')).release }),
    says: new RegExp(`^The store at .+/store is in use by process ${process.pid}\\. Stop that daemon`),
  },
  store_newer: { ends: migrated, says: /was written by a newer version \(schema \d+; this program knows \d+\)/ },
  store_older: { inside: 'daemon/store.damage.test.ts' },
  store_wrong_key: {
    ends: (state) => writeFileSync(join(state, 'simulator', 'root.key'), randomBytes(32)),
    says: /^The store at .+ was sealed under another key/,
  },
  store_corrupt: { ends: flipped, says: /^The store .*is damaged: .+ do not sign with this one\.$/ },
  store_foreign: {
    ends: () => ({ toml: '[chain]\nchain_id = 5\n' }),
    says: /chain\.chain_id is 5, but the store was made for 31337/,
  },
  store_rolled_back: {
    ends: (state) => cpSync(join(state, 'older.mdb'), join(state, 'store', 'data.mdb')),
    says: /^The store at .+ is older than its own marks: .+ Restore the newest copy\. Where that is lost, aegisd resolve-restore brings .+ order\.$/,
  },
  store_busy: { inside: 'test/faults.test.ts' },
  store_closed: { inside: 'daemon/store.damage.test.ts' },
  store_held: { inside: 'daemon/handover/handover.test.ts' },
  succession_failed: { inside: 'daemon/handover/handover.test.ts' },
  succession_unfinished: { inside: 'daemon/handover/handover.test.ts' },
  handed_over: { inside: 'daemon/handover/handover.test.ts' },
  watermark_missing: {
    ends: (state) => rmSync(join(state, 'store', 'watermark')),
    says: /^The watermark file at .+ is missing .+ --accept-missing-watermark\.$/,
  },
  watermark_unknown: { inside: 'daemon/watermark.test.ts' },
  worker_failed: { inside: 'daemon/proof.test.ts' },
  quote_failed: {
    ends: (state) => writeFileSync(join(state, 'simulator', 'pki', 'pki.json'), '{'),
    says: /pki\.json is damaged: it is not what was written/,
  },
  quote_busy: { inside: 'daemon/tee/platform.test.ts' },
  key_source_failed: {
    ends: (state) => writeFileSync(join(state, 'simulator', 'root.key'), 'abc'),
    says: /^The key source simulator gave no key: .+root\.key is not 32 bytes/,
  },
  key_source_changed: { inside: 'daemon/keys/source.test.ts' },
  guest_agent_timeout: { inside: 'daemon/dstack.test.ts' },
  guest_agent_failed: {
    ends: (state) => ({ toml: `[keys]\nsource = "dstack"\ndstack_socket = ${JSON.stringify(join(state, 'none'))}\n` }),
    says: /^The guest agent at .+none failed Info: there is no such socket\. See /,
  },
  simulator_endpoint: { inside: 'daemon/keys/source.test.ts' },
  admins_changed: {
    ends: () => ({ toml: `[admin]\nkeys = ["${makeAdmin(1).public_key}"]\n` }),
    says: /^The configuration names 0x[0-9a-f]{16}… as admin, but genesis fixed nobody\. Put the admin\.keys of genesis back/,
  },
  self_test_failed: { inside: 'daemon/proof.test.ts' },
  witness_failed: { inside: 'daemon/witnessed.test.ts' },
  witness_conflict: { inside: 'daemon/witnessed.test.ts' },
  witness_changed: { inside: 'daemon/witnessed.test.ts' },
  witness_rolled_back: { inside: 'daemon/witnessed.test.ts' },
  clock_held: { inside: 'daemon/clock.test.ts' },
  token_invalid: {
    ends: (state) => writeFileSync(join(state, 'admin.token'), ''),
    says: /^The token file at .+admin\.token holds no token/,
  },
  listen_failed: {
    ends: async () => {
      const busy = createServer().listen(0, '127.0.0.1');
      await once(busy, 'listening');
      const { port } = busy.address() as { port: number };
      return { toml: `[api]\nlisten = "127.0.0.1:${port}"\n`, release: () => busy.close() };
    },
    says: /^Cannot listen on 127\.0\.0\.1:\d+: another program listens there\./,
  },
};

/** A start that is still up after this long did not fail. */
const END_MS = 120_000;

let base: string;
let copies: string;
beforeAll(async () => {
  copies = mkdtempSync(join(tmpdir(), 'aegis-faults-'));
  base = join(copies, 'base');
  mkdirSync(base);
  const log = join(copies, 'daemon.log');
  await found(settings(base));
  cpSync(join(base, 'store', 'data.mdb'), join(base, 'older.mdb'));
  const daemon = await startDaemon(base, log);
  const sent = await run(['send', '--sample', '--wait', '--url', daemon.url]);
  expect(sent).toMatchObject({ code: 0 });
  await daemon.stop();
});
afterAll(() => rmSync(copies, { recursive: true, force: true }));

interface Ended {
  readonly code: unknown;
  readonly signal: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

/** `aegisd start`, to its end. */
function start(config: string): Promise<Ended> {
  const main = join(import.meta.dirname, '..', 'daemon', 'main.ts');
  return new Promise((resolve) => {
    const options = { timeout: END_MS, killSignal: 'SIGKILL' } as const;
    execFile(process.execPath, [main, 'start', '--config', config], options, (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, signal: error?.signal ?? null, stdout, stderr });
    });
  });
}

let copied = 0;
async function spoil(how: Spoil): Promise<Ended & { state: string }> {
  const state = join(copies, String(copied++));
  cpSync(base, state, { recursive: true });
  const { toml = '', release } = ((await how(state)) ?? {}) as Spoiled;
  const config = join(state, 'spoiled.toml');
  const listen = toml.includes('listen') ? '' : '[api]\nlisten = "127.0.0.1:0"\n';
  writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(state)}\n${listen}${toml}`);
  try {
    return { ...(await start(config)), state };
  } finally {
    release?.();
  }
}

/** Whatever of the good folder's secrets could show. */
function secrets(): string[] {
  const root = readFileSync(join(base, 'simulator', 'root.key'));
  const pki = JSON.parse(readFileSync(join(base, 'simulator', 'pki', 'pki.json'), 'utf8')) as { keys: object };
  const token = readFileSync(join(base, 'admin.token'), 'utf8').trim();
  return [root.toString('hex'), root.toString('base64'), token, ...Object.values(pki.keys)];
}

function expectSentence({ code, signal, stdout, stderr }: Ended, says: RegExp): string {
  expect({ code, signal, stdout }, stderr).toEqual({ code: 1, signal: null, stdout: '' });
  const lines = stderr.trimEnd().split('\n');
  const said = lines.filter((line) => !line.startsWith('{"level":'));
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(says);
  expect(stderr).not.toMatch(/"stack"|^\s+at /m);
  for (const secret of secrets()) expect(stderr).not.toContain(secret);
  return said[0]!;
}

const entries = Object.entries(PROVOKED) as [FaultCode, Provoked][];

describe('a start ends with one sentence that says what to do:', () => {
  const ending = entries.flatMap(([code, provoked]) => ('ends' in provoked ? [{ code, ...provoked }] : []));

  it.each(ending)('$code', async ({ code, ends, says }) => {
    const said = expectSentence(await spoil(ends), says);
    const [, remedy] = FAULTS[code];
    expect(said.endsWith(` ${remedy}`)).toBe(true);
  });

  it('also after its port was open', async () => {
    const ended = await spoil((state) => writeFileSync(join(state, 'aegisd.sock'), 'mine'));
    expectSentence(ended, /^Cannot listen on .+aegisd\.sock: what lies there is no socket\./);
    expect(readFileSync(join(ended.state, 'aegisd.sock'), 'utf8')).toBe('mine');
  });

  it('also where no folder can be made', async () => {
    const file = join(copies, 'file');
    writeFileSync(file, '');
    const config = join(copies, 'nowhere.toml');
    writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(join(file, 'state'))}\n`);
    expectSentence(await start(config), /ENOTDIR/);
  });

  it('and the good folder starts', async () => {
    const daemon = await startDaemon(base, join(copies, 'daemon.log'));
    expect(await daemon.stop()).toBe(0);
  });
});

describe('a start ends with the configuration that is wrong, by place:', () => {
  it.each([
    ['no file', undefined, /^.+\.toml: cannot be read: no such file$/],
    ['a value', '[daemon]\nlog_level = "loud"\n', /\.toml:2:13 daemon\.log_level = "loud": expected one of fatal, /],
    [
      'a key',
      '[daemon]\nlog_levle = "a secret"\n',
      /\.toml:2:1 daemon\.log_levle: unknown key, did you mean log_level\? /,
    ],
    ['TOML', '[daemon\n', /\.toml:1:8: not TOML/],
  ])('%s', async (_, toml, says) => {
    const config = join(copies, `${copied++}.toml`);
    if (toml !== undefined) writeFileSync(config, toml);
    const said = expectSentence(await start(config), says);
    expect(said).not.toContain('secret');
  });
});

describe('what only happens inside', () => {
  const inside = entries.flatMap(([code, provoked]) =>
    'inside' in provoked ? [[code, provoked.inside] as const] : [],
  );

  it.each(inside)('%s: %s', (code, file) => {
    expect(readFileSync(join(import.meta.dirname, '..', file), 'utf8')).toContain(`'${code}'`);
  });

  it('more steps than may wait for the disk', async () => {
    const folder = join(copies, 'busy');
    const schema = { version: 1, migrations: [] };
    const store = await openStore({ ...settings(folder).store, folder, key: randomBytes(32), queue_max: 4, schema });
    const commits = Array.from({ length: 5 }, () => store.commit(() => {}));
    await expect(commits.at(-1)).rejects.toMatchObject({ code: 'store_busy' satisfies FaultCode });
    await Promise.all(commits.slice(0, -1));
    await store.close();
  });
});

async function migrated(state: string): Promise<Spoiled> {
  const [from, to] = [SCHEMA_VERSION, SCHEMA_VERSION + 1];
  const store = await openStore({
    folder: join(state, 'store'),
    key: await storeKey(await simulatorSource(state)),
    ...settings(state).store,
    schema: { version: to, migrations: [{ from, to, migrate: () => {} }] },
  });
  await store.close();
  return {};
}

/** A bit of every page but LMDB's two own. */
function flipped(state: string): void {
  const path = join(state, 'store', 'data.mdb');
  const bytes = readFileSync(path);
  for (let at = 8_192 + 100; at < bytes.length; at += 4_096) bytes[at]! ^= 1;
  writeFileSync(path, bytes);
}
