import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadTokens } from './token.ts';

let state_dir: string;
let credentials_directory: string;
beforeEach(() => {
  state_dir = mkdtempSync(join(tmpdir(), 'aegis-token-'));
  credentials_directory = mkdtempSync(join(tmpdir(), 'aegis-credentials-'));
});
afterEach(() => {
  for (const folder of [state_dir, credentials_directory]) rmSync(folder, { recursive: true, force: true });
});

const asking = (...values: string[]) => ({
  headers: { authorization: values[0] },
  rawHeaders: values.flatMap((value) => ['Authorization', value]),
});

describe('tokens', () => {
  it('make an admin token once, for its owner alone', () => {
    const { admin_path } = loadTokens({ state_dir });
    const token = readFileSync(admin_path, 'utf8');
    expect(token).toMatch(/^[0-9a-f]{64}\n$/);
    expect(statSync(admin_path).mode & 0o777).toBe(0o600);
    const again = loadTokens({ state_dir });
    expect(readFileSync(admin_path, 'utf8')).toBe(token);
    expect(again.roleOf(asking(`Bearer ${token.trim()}`))).toBe('admin');
  });

  it('have the role of their credential file', () => {
    writeFileSync(join(credentials_directory, 'metrics.token'), `${'m'.repeat(40)}\n`);
    const tokens = loadTokens({ state_dir, credentials_directory });
    expect(tokens.roleOf(asking(`Bearer ${'m'.repeat(40)}`))).toBe('metrics');
    expect(tokens.roleOf(asking(`bearer   ${'m'.repeat(40)}`))).toBe('metrics');
  });

  it('are those of the files as they are now, whether written or renamed', () => {
    const warnings: string[] = [];
    const path = join(credentials_directory, 'data.token');
    const holding = (letter: string) => `Bearer ${letter.repeat(40)}`;
    writeFileSync(path, 'a'.repeat(40));
    const warn = (_: object, message: string) => void warnings.push(message);
    const tokens = loadTokens({ state_dir, credentials_directory, warn });
    const roles = () => ['a', 'b', 'c'].map((letter) => tokens.roleOf(asking(holding(letter))));
    expect(roles()).toEqual(['data', undefined, undefined]);
    writeFileSync(`${path}.new`, 'b'.repeat(40));
    renameSync(`${path}.new`, path);
    expect(roles()).toEqual([undefined, 'data', undefined]);
    // In the middle of being written, nobody has it.
    writeFileSync(path, 'c');
    expect(roles()).toEqual([undefined, undefined, undefined]);
    writeFileSync(path, 'c'.repeat(40));
    expect(roles()).toEqual([undefined, undefined, 'data']);
    rmSync(path);
    expect(roles()).toEqual([undefined, undefined, undefined]);
    const replaced = 'a token was replaced: the one before counts no more';
    const none = 'a token was replaced by what is none: nobody has this role by it';
    expect(warnings).toEqual([replaced, none, replaced, 'a token is gone']);

    const { admin_path } = tokens;
    const before = readFileSync(admin_path, 'utf8').trim();
    expect(tokens.roleOf(asking(`Bearer ${before}`))).toBe('admin');
    writeFileSync(admin_path, 'd'.repeat(40));
    expect(tokens.roleOf(asking(`Bearer ${before}`))).toBeUndefined();
    expect(tokens.roleOf(asking(holding('d')))).toBe('admin');
  });

  it('refuse a file that is there and holds none', () => {
    for (const text of ['', '\n', 'short', `${'a'.repeat(40)} ${'b'.repeat(40)}`, 'ü'.repeat(40)]) {
      writeFileSync(join(credentials_directory, 'data.token'), text);
      expect(() => loadTokens({ state_dir, credentials_directory })).toThrow(/data\.token holds no token/);
    }
  });

  it('refuse what is no file at once, also a pipe that nobody writes to', () => {
    const path = join(state_dir, 'admin.token');
    execFileSync('mkfifo', [path]);
    expect(() => loadTokens({ state_dir })).toThrow(/admin\.token holds no token: not a file/);
    rmSync(path);
    mkdirSync(path);
    expect(() => loadTokens({ state_dir })).toThrow(/admin\.token holds no token: not a file/);
    rmSync(path, { recursive: true });
    writeFileSync(path, 'a'.repeat(5_000));
    expect(() => loadTokens({ state_dir })).toThrow(/admin\.token holds no token: more than 4096 bytes/);
  });

  it('answer nothing to headers that are wrong, whatever they are', () => {
    const tokens = loadTokens({ state_dir });
    const token = readFileSync(tokens.admin_path, 'utf8').trim();
    const wrong = [
      [],
      [''],
      ['Bearer'],
      ['Bearer '],
      [token],
      [`Basic ${token}`],
      [`Bearer ${token}x`],
      [`Bearer ${token.slice(1)}`],
      [`Bearer ${'a'.repeat(100_000)}`],
      [`Bearer \u00fc${token}`],
      [`Bearer ${token}`, `Bearer ${token}`],
    ];
    for (const values of wrong) expect(tokens.roleOf(asking(...values))).toBeUndefined();
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        expect(tokens.roleOf(asking(`Bearer ${value}`))).toBeUndefined();
      }),
    );
  });
});
