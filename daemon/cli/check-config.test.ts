// The command as scripts see it: what it prints and with what it ends, from a process of its own.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../config/load.ts';

const folder = mkdtempSync(join(tmpdir(), 'aegis-check-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, text?: string) => {
  if (text !== undefined) writeFileSync(join(folder, name), text);
  return join(folder, name);
};

function check(...options: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const main = join(import.meta.dirname, '..', 'main.ts');
  return new Promise((resolve) => {
    execFile(process.execPath, [main, 'check-config', ...options], (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

describe('aegisd check-config --from', () => {
  const good = file('good.toml', '[performance]\nbatch_size = 25\n[security]\nencrypt_mempool = true\n');
  const full = join(import.meta.dirname, '../../test/fixtures/config/phala.toml');

  it('ends with 0 if every key acts here or is so anyway, and prints report and settings', async () => {
    const { code, stdout } = await check('--from', good);
    expect(code).toBe(0);
    expect(stdout).toContain(`${good}:2 performance.batch_size = 25: mapped: sets sequencer.batch_size\n`);
    expect(stdout).toContain(`${good}:4 security.encrypt_mempool = true: implied: only encrypted envelopes`);
    expect(stdout).toContain('2 keys: 1 mapped, 1 implied, 0 refused\n');
    expect(stdout.endsWith('[sequencer]\nbatch_size = 25\n')).toBe(true);
  });

  it('ends with 1 if one is refused, also as JSON', async () => {
    const { code, stdout } = await check('--from', full, '--json');
    expect(code).toBe(1);
    const { ok, settings, report } = JSON.parse(stdout);
    expect(ok).toBe(false);
    expect(settings).toContain('[quantum]\nhybrid_ecdsa = true\n');
    expect(report).toHaveLength(37);
    expect(report[0]).toEqual({
      key: 'phala.network',
      value: '"mainnet"',
      line: 4,
      outcome: 'refused',
      reason: expect.stringContaining('no Phala network'),
    });
  });

  it('writes settings that load, once, and over nothing', async () => {
    const target = file('sequencer.toml');
    const first = await check('--from', good, '--write', target);
    expect(first).toMatchObject({ code: 0, stdout: expect.stringContaining(`aegisd start --config ${target}`) });
    expect(loadConfig({ file: target, environment: {} }).config.sequencer.batch_size).toBe(25);
    const before = readFileSync(target, 'utf8');
    expect(await check('--from', full, '--write', target)).toEqual({
      code: 1,
      stdout: '',
      stderr: `${target}: is there already, and is left as it is\n`,
    });
    expect(readFileSync(target, 'utf8')).toBe(before);
    const nowhere = join(folder, 'none', 'sequencer.toml');
    expect(await check('--from', good, '--write', nowhere)).toMatchObject({
      code: 1,
      stderr: `${nowhere}: cannot be written: ENOENT\n`,
    });
  });

  it('says what is wrong with a file that is none, and with its own use', async () => {
    const broken = file('broken.toml', '[quantum\n');
    expect(await check('--from', broken)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`${broken}:1:9: not TOML`),
    });
    expect(await check('--from', file('none.toml'), '--json')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('"ok":false'),
    });
    expect(await check('--write', 'x')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--write needs --from'),
    });
    expect(await check('--from', good, '--config', good)).toMatchObject({ code: 2 });
  });
});

describe('aegisd check-config', () => {
  it('still says what a file of ours comes to', async () => {
    const own = file('own.toml', 'signing.engine = "noble"\n');
    const { code, stdout } = await check('--config', own);
    expect(code).toBe(0);
    expect(stdout).toContain('signing.engine = noble (default openssl)');
  });
});
