import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const MAIN = new URL('../main.ts', import.meta.url).pathname;

let folder: string;
let config: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-start-'));
  config = join(folder, 'own.toml');
  const state = join(folder, 'state');
  writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(state)}\n[api]\nlisten = "127.0.0.1:0"\n`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

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
