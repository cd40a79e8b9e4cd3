// What a process loads decides how long it takes to be there: a package that only some daemons or commands need is loaded by those.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';

const MAIN = join(import.meta.dirname, '../daemon/main.ts');
const folder = mkdtempSync(join(tmpdir(), 'aegis-loading-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Ends `start` as soon as it listens, and says at the end which packages, and which parts of Node, were loaded. */
const SPY = `
import { registerHooks } from 'node:module';
const loaded = new Set();
registerHooks({ load(url, context, next) {
  const [, name] = /.*node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url) ?? [];
  if (name !== undefined) loaded.add(name);
  return next(url, context);
} });
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = (text) => (String(text).startsWith('{"url"') && process.kill(process.pid, 'SIGTERM'), true);
process.on('exit', () => {
  if (process.moduleLoadList.some((name) => name.includes('undici'))) loaded.add('undici');
  write(JSON.stringify([...loaded]));
});`;

async function loadedBy(...args: string[]): Promise<string[]> {
  const spy = `--import=data:text/javascript,${encodeURIComponent(SPY)}`;
  const { stdout } = await promisify(execFile)(process.execPath, [spy, MAIN, ...args], { timeout: 60_000 });
  return JSON.parse(stdout) as string[];
}

it('the command line loads nothing of what its commands do', async () => {
  expect(await loadedBy('--version')).toEqual(['commander']);
});

it('a start loads no verifier of quotes, no second KEM, no validator that it does not use', async () => {
  const config = join(folder, 'own.toml');
  writeFileSync(config, `[daemon]\nstate_dir = "${folder}/state"\n[api]\nlisten = "127.0.0.1:0"\n`);
  const loaded = await loadedBy('start', '--json', '--config', config);
  expect(loaded).toEqual(expect.arrayContaining(['fastify', 'lmdb', 'piscina', 'zod']));
  const needless = [
    'ajv',
    '@hpke/core',
    'mlkem',
    '@phala/dcap-qvl',
    'elliptic',
    '@phala/dstack-sdk',
    'eciesjs',
    'ipns',
    'undici',
  ];
  expect(needless.filter((name) => loaded.includes(name))).toEqual([]);
});
