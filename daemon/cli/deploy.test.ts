// What `aegisd deploy` refuses: settings that can't hold where they are to go, by file, line and key; to write over anything; and wrong
// use. What it writes is tested in daemon/deploy/.
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { aegisd, BASE, DSTACK, folder, fresh, IMAGE, settings } from '../../test/deployed.ts';

describe('refused', () => {
  const dstack = ['--target', 'dstack', '--image', IMAGE];
  it.each([
    ['', /keys\.source = "simulator": expected dstack/],
    [
      '[keys]\nsource = "dstack"\n[api]\nlisten = "0.0.0.0:1"\n',
      /api\.listen|attestation\.primary = "simulator": expected/,
    ],
    [DSTACK.replace('0.0.0.0', '127.0.0.1'), /\.toml:6:10 api\.listen = "127\.0\.0\.1:5050": expected 0\.0\.0\.0/],
    [
      `${DSTACK}[daemon]\nstate_dir = "/data"\n`,
      /\.toml:8:13 daemon\.state_dir = "\/data": expected none, or \/var\/lib\/aegisd/,
    ],
    [DSTACK.replace('[api]', '[api]\nsocket = "/run/a.sock"'), /api\.socket = "\/run\/a\.sock": expected a path below/],
    [`${DSTACK}[daemon]\nenvironment = "production"\n`, /keys\.kms_root|KMS root/],
    [`${DSTACK}nonsense = 1\n`, /nonsense/],
    [`${DSTACK}# \u2028\n`, /settings:7:1: expected printable characters/],
  ])('for dstack: %j', async (text, reason) => {
    const out = fresh();
    const { code, stderr } = await aegisd(...dstack, '--out', out, '--config', settings(text));
    expect(code).toBe(1);
    expect(stderr).toMatch(reason);
    expect(() => statSync(out)).toThrow();
  });

  it('over anything that is there, a dangling link too', async () => {
    const config = settings(DSTACK);
    const [file, empty, link] = [fresh(), fresh(), fresh()];
    writeFileSync(file, 'mine');
    mkdirSync(empty);
    symlinkSync(join(folder, 'nowhere'), link);
    for (const out of [file, empty, link]) {
      const { code, stderr } = await aegisd(...dstack, '--config', config, '--out', out);
      expect([code, stderr]).toEqual([1, `${out}: is there already, and is left as it is\n`]);
    }
    expect(readFileSync(file, 'utf8')).toBe('mine');
    expect(readdirSync(empty)).toEqual([]);
    const json = await aegisd(...dstack, '--config', config, '--out', file, '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, issues: [{ file }] });
  });

  it('in a folder that is not there, leaving nothing behind', async () => {
    const before = readdirSync(folder);
    const { code } = await aegisd(...dstack, '--config', join(folder, 'none.toml'), '--out', join(folder, 'no/where'));
    expect(code).toBe(1);
    const config = settings(DSTACK);
    const nowhere = await aegisd(...dstack, '--config', config, '--out', join(folder, 'no/where'));
    expect(nowhere).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('ENOENT') });
    expect(readdirSync(folder).filter((name) => !name.endsWith('.toml'))).toEqual(
      before.filter((name) => !name.endsWith('.toml')),
    );
  });

  it.each([
    [['--target', 'dstack']],
    [['--target', 'kubernetes', '--image', IMAGE]],
    [['--target', 'systemd', '--image', IMAGE]],
    [['--target', 'systemd', '--token', 'admin']],
    [['--target', 'systemd', '--successor-of', 'http://old:5050']],
    [['--target', 'dstack', '--base', BASE, '--successor-of', 'http://old:5050']],
    [['--target', 'dstack', '--image', IMAGE, '--successor-of', 'old']],
    [['--target', 'dstack', '--image', IMAGE, '--token', 'root']],
    [['--target', 'dstack', '--image', IMAGE, '--accept-refused']],
    [['--target', 'dstack', '--image', IMAGE, '--config', 'a', '--from', 'b']],
    [['--target', 'dstack', '--image', IMAGE, '--name', 'A b']],
    [['--target', 'dstack', '--image', 'aegisd:latest']],
    [['--target', 'dstack', '--base', 'node:26']],
  ])('as wrong use: %j', async (args) => {
    expect((await aegisd('--out', fresh(), ...args)).code).toBe(2);
  });
});
