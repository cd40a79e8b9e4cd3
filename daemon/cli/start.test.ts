import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NO_PYTHON, Supervisor } from '../../test/supervisor.ts';
import { START_MS } from '../notify.ts';

const MAIN = new URL('../main.ts', import.meta.url).pathname;

let folder: string;
let config: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-start-'));
  config = join(folder, 'own.toml');
  writeFileSync(config, settings('state'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const settings = (state: string) =>
  `[daemon]\nstate_dir = ${JSON.stringify(join(folder, state))}\n[api]\nlisten = "127.0.0.1:0"\n`;

describe('aegisd start', () => {
  it('derives no key while a debugger could be attached', async () => {
    const args = ['--inspect=127.0.0.1:0', MAIN, 'start', '--config', config];
    const failed = await promisify(execFile)(process.execPath, args).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('the debugger is open') });
    expect(readdirSync(folder)).toEqual(['own.toml']);
  });

  it('lives through signals that it does nothing on, rotates on SIGUSR1, and ends on SIGTERM', async () => {
    const child = spawn(process.execPath, [MAIN, 'start', '--json', '--config', config], { stdio: 'pipe' });
    const ended = once(child, 'exit');
    try {
      const said = new Lines(child.stderr);
      await once(child.stdout, 'data');
      for (const signal of ['SIGHUP', 'SIGUSR2'] as const) {
        child.kill(signal);
        await said.line((line) => line.includes(signal));
      }
      child.kill('SIGUSR1');
      await said.line((line) => line.includes('the next epoch of keys is announced'));
      child.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
      expect(said.text).not.toContain('Debugger listening');
    } finally {
      child.kill('SIGKILL');
    }
  });
});

const suffix = NO_PYTHON === undefined ? '' : ` (skipped: ${NO_PYTHON})`;
describe.skipIf(NO_PYTHON !== undefined)(`aegisd start --successor-of${suffix}`, () => {
  it('is given time by its supervisor, says what it waits for, and is given up by a signal', async () => {
    await using supervisor = await Supervisor.open();
    const empty = join(folder, 'successor.toml');
    writeFileSync(empty, settings('successor'));
    // It answers, and hands nothing over.
    const answering = createServer((_, response) => response.writeHead(404).end()).listen(0, '127.0.0.1');
    await once(answering, 'listening');
    const url = `http://127.0.0.1:${(answering.address() as AddressInfo).port}`;
    const child = spawn(process.execPath, [MAIN, 'start', '--config', empty, '--successor-of', url], {
      stdio: 'ignore',
      env: { ...process.env, NOTIFY_SOCKET: supervisor.address },
    });
    const ended = once(child, 'exit');
    try {
      const { pid, lines } = await supervisor.take(([line]) => line!.startsWith('EXTEND_'));
      expect({ pid, lines }).toEqual({ pid: child.pid, lines: [`EXTEND_TIMEOUT_USEC=${START_MS}000`] });
      await supervisor.take(([line]) => line!.includes(`from ${url}; waiting for the predecessor: `));
      child.kill('SIGTERM');
      const stopping = await supervisor.take(([line]) => line === 'STOPPING=1');
      expect(stopping.lines[1]).toContain('given up until the next start');
      expect(await ended).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
      answering.close();
    }
  });
});

class Lines {
  text = '';
  readonly #stream: NodeJS.ReadableStream;

  constructor(stream: NodeJS.ReadableStream) {
    this.#stream = stream.on('data', (chunk) => {
      this.text += String(chunk);
    });
  }

  async line(fits: (line: string) => boolean): Promise<void> {
    while (!this.text.split('\n').some(fits)) await once(this.#stream, 'data');
  }
}
