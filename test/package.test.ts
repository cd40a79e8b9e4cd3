// The package as strangers get it: `npm pack`, installed into an empty folder, without this checkout. There the README's
// examples run and have types, the command works, and a browser with the bundled client library goes the whole way of a
// transaction against the installed daemon. Chromium is Debian's; without it the browser's part is left out, but not in CI.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hex } from '../actors/encoding.ts';
import { browse, CHROMIUM } from './browser.ts';
import { signed } from './house.ts';

const root = join(import.meta.dirname, '..');
const INSTALL_TIMEOUT_MS = 300_000;
const run = promisify(execFile);

let folder: string;
let app: string;
let packed: string[];
let daemon: ChildProcess;
let url: string;

/** As a shell in the folder would have it: the project's commands first, and nothing of the npm that runs these tests. */
const environment = () => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(?!config_(registry|cache))/.test(name))),
  PATH: `${join(app, 'node_modules/.bin')}:${process.env.PATH}`,
});

const inApp = (command: string, args: readonly string[]) =>
  run(command, args, { cwd: app, env: environment(), maxBuffer: 2 ** 24 });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-package-'));
  app = join(folder, 'app');
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), '{ "name": "app", "private": true, "type": "module" }\n');
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], {
    cwd: root,
    env: environment(),
    maxBuffer: 2 ** 24,
  });
  const [about] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as [
    { filename: string; size: number; files: { path: string }[] },
  ];
  packed = about.files.map(({ path }) => path);
  console.log(`package: ${about.size} bytes, ${packed.length} files`);
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  await inApp('npm', ['install', ...quiet, join(folder, about.filename)]);

  writeFileSync(join(app, 'sequencer.toml'), '[daemon]\nstate_dir = "daemon"\n[api]\nlisten = "127.0.0.1:0"\n');
  daemon = spawn('aegisd', ['start', '--json', '--config', 'sequencer.toml'], {
    cwd: app,
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [line] = await once(createInterface({ input: daemon.stdout! }), 'line');
  url = (JSON.parse(line as string) as { url: string }).url;
}, INSTALL_TIMEOUT_MS);

afterAll(async () => {
  if (daemon !== undefined && daemon.exitCode === null) {
    daemon.kill('SIGTERM');
    await once(daemon, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
});

/** The code of README.md that says of itself that it runs here. */
function example(name: string): string {
  const [, code] = readFileSync(join(root, 'README.md'), 'utf8').split(
    `<!-- runs in test/package.test.ts: ${name} -->\n`,
  );
  const block = /^```ts\n([\s\S]*?)^```$/m.exec(code ?? '')?.[1];
  if (block === undefined) throw new Error(`README.md has no example ${name}`);
  return block.replaceAll('http://127.0.0.1:5050', url);
}

describe('the package', () => {
  it('holds JavaScript with its types, and no sources or tests', () => {
    const wrong = packed.filter((path) => /(?<!\.d)\.ts$|\.test\.|fixtures|^(bench|docs|test|state)\//.test(path));
    expect(wrong).toEqual([]);
    expect(packed).toEqual(
      expect.arrayContaining(['LICENSE', 'README.md', 'aegisd.js', 'dist/sbom.cdx.json', 'dist/sequencer.toml']),
    );
  });

  it('has the command', async () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    expect((await inApp('npx', ['aegisd', '--version'])).stdout.trim()).toBe(version);
    expect((await inApp('node', ['--version'])).stdout).toMatch(/^v26\./);
    expect((await inApp('aegisd', ['check-config', '--config', 'sequencer.toml'])).stdout).toContain('api.listen');
    await inApp('aegisd', ['deploy', '--target', 'systemd', '--out', 'deployment']);
    expect(readFileSync(join(app, 'deployment/usr/lib/systemd/system/aegisd.service'), 'utf8')).toContain('ExecStart=');
  });

  it('runs a daemon whose debugger nobody opens', async () => {
    const said: string[] = [];
    daemon.stderr!.setEncoding('utf8').on('data', (text: string) => said.push(text));
    const heard = new Promise<void>((resolve) => {
      daemon.stderr!.on('data', () => {
        if (said.join('').includes('SIGUSR1')) resolve();
      });
    });
    daemon.kill('SIGUSR1');
    await heard;
    expect(said.join('')).not.toContain('Debugger');
    expect(daemon.exitCode).toBe(null);
  });
});

describe('the examples of README.md', () => {
  it('run', async () => {
    for (const name of ['client.ts', 'embedded.ts']) writeFileSync(join(app, name), example(name));
    expect((await inApp('node', ['client.ts'])).stdout).toMatch(
      /^0x[0-9a-f]{64} is in batch \d+: this batch is in one attested head of this log\n$/,
    );
    expect((await inApp('node', ['embedded.ts'])).stdout).toBe('0 this batch is in one attested head of this log\n');
  });

  it('have types', async () => {
    const options = { strict: true, noEmit: true, module: 'nodenext', target: 'esnext', lib: ['esnext', 'dom'] };
    const compilerOptions = { ...options, types: [], skipLibCheck: true, exactOptionalPropertyTypes: true };
    writeFileSync(join(app, 'wrong.ts'), "import { fetchKeyset } from 'aegisd/client';\nfetchKeyset(7);\n");
    writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
    const { stdout } = await inApp('node', [join(root, 'node_modules/typescript/bin/tsc'), '-p', app]).catch(
      (error: { stdout: string }) => error,
    );
    expect(stdout.trim().split('\n')).toEqual([expect.stringMatching(/^wrong\.ts\(2,13\): error TS2345/)]);
  });
});

/** What a wallet or a verifier loads, from the installed package. */
async function bundle(name: string, code: string): Promise<string> {
  writeFileSync(join(app, `${name}.js`), code);
  const warnings: string[] = [];
  await using bundler = await rolldown({
    input: join(app, `${name}.js`),
    cwd: app,
    platform: 'browser',
    onLog: (_, { message }) => warnings.push(message),
  });
  const { output } = await bundler.generate({ format: 'esm', minify: true });
  expect(warnings).toEqual([]);
  expect(output).toHaveLength(1);
  expect(output[0].imports).toEqual([]);
  // @hpke/common asks for it where there is no Web Crypto, which no page of a secure origin lacks.
  expect(output[0].dynamicImports.filter((name) => name !== 'crypto')).toEqual([]);
  const { length } = Buffer.from(output[0].code);
  console.log(`bundle ${name}: ${length} bytes, ${gzipSync(output[0].code, { level: 9 }).length} with gzip`);
  return output[0].code;
}

describe('aegisd/client in a browser', () => {
  let all: string;
  beforeAll(async () => {
    all = await bundle('everything', "export * from 'aegisd/client';\n");
  });

  it('bundles without a module of Node, and only what is used', async () => {
    const some = await bundle('encrypting', "export { encryptEnvelope } from 'aegisd/client';\n");
    expect(all).not.toMatch(/["'`]node:/);
    expect(some.length).toBeLessThan(all.length / 2);
    expect(all.length).toBeLessThan(1_000_000);
  });

  it.runIf(process.env.CI === 'true')('is not left out in CI', () => {
    expect(CHROMIUM).not.toBe(undefined);
  });

  it.skipIf(CHROMIUM === undefined)('goes the whole way of a transaction', { timeout: 120_000 }, async () => {
    const raws = await Promise.all([signed(), signed()]);
    const page = readFileSync(join(import.meta.dirname, 'page.js'), 'utf8');
    const report = await browse({
      folder: join(folder, 'chromium'),
      api: url,
      scripts: { 'client.js': all, 'page.js': page, 'raws.js': `export default ${JSON.stringify(raws.map(hex))};` },
    });
    expect(report).toMatchObject({
      keyset: { simulated: true, tcb_status: 'UpToDate' },
      distrusted: 'simulated_evidence',
      transactions: [
        { scheme: 'x-wing', status: 'sealed', simulated: true },
        { scheme: 'ecies', status: 'sealed', simulated: true },
      ],
      altered: 'tx_hash_mismatch',
      included: true,
      grown: true,
    });
    const { agent, times_ms } = report as { agent: string; times_ms: object };
    console.log(`${/Chrome\/[\d.]+/.exec(agent)?.[0]}: ${JSON.stringify(times_ms)} ms`);
  });
});
