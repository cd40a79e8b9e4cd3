// A deployment under systemd: which drop-ins settings need, that systemd takes the unit with them without a word, and that the script
// puts everything in place, once, and over nothing that says something else.
import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bash, deployed, fresh, program, root, settings } from '../../test/deployed.ts';
import { needed } from '../../test/supervisor.ts';
import { VERSION } from '../cli/program.ts';

describe('for systemd', () => {
  const DROPINS = 'etc/systemd/system/aegisd.service.d';
  const dropins = (files: readonly string[]) =>
    files.filter((path) => path.startsWith(DROPINS)).map((path) => path.slice(DROPINS.length + 1));

  it.each([
    ['[daemon]\nlog_level = "warn"\n', []],
    ['[attestation]\nprimary = "tsm"\npccs_url = ""\nkds_url = ""\n', ['tsm.conf']],
    ['[keys]\nsource = "dstack"\n[attestation]\nprimary = "tsm"\n', ['dstack.conf', 'tsm.conf', 'egress.conf']],
    [
      '[keys]\nsource = "sgx"\n[attestation]\nprimary = "sgx"\npccs_url = "http://127.0.0.1:8081"\nkds_url = ""\n',
      ['sgx.conf'],
    ],
    ['[names]\nrouter = "http://router.example.org"\n', ['egress.conf']],
    ['[telemetry]\notlp_endpoint = "http://127.0.0.1:4318"\n', []],
    ['[telemetry]\notlp_endpoint = "http://[2001:db8::1]:4318"\n', ['egress.conf']],
    ['[attestation]\nwitness = "required"\nwitness_url = "https://witness.example.org"\n', ['egress.conf']],
    [
      '[risk]\nfeeds = ["lab https://lab.example.org/f.json ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]\n',
      ['egress.conf'],
    ],
    ['[daemon]\nstop_timeout_s = 90\n', ['own.conf']],
    ['[keys]\nsource = "credential"\ncredential = "other"\n', ['own.conf']],
  ])('has the drop-ins that these settings need: %j', async (text, wanted) => {
    const { files, read } = await deployed('--target', 'systemd', '--config', settings(text));
    expect(dropins(files)).toEqual(wanted);
    expect(read('etc/aegisd/sequencer.toml')).toBe(text);
    expect(read('usr/lib/systemd/system/aegisd.service')).toBe(
      readFileSync(join(root, 'systemd/aegisd.service'), 'utf8'),
    );
  });

  it('names whom it speaks to, for whoever narrows egress', async () => {
    const text = '[attestation]\nprimary = "tsm"\nkds_url = ""\n[names]\nrouter = "https://router.example.org/x"\n';
    const { notes } = await deployed('--target', 'systemd', '--config', settings(text));
    expect(notes.join('\n')).toContain(
      'narrow it to api.trustedservices.intel.com (attestation.pccs_url), router.example.org (names.router)',
    );
  });

  it('waits longer than the daemon takes to stop, and loads the root that the settings name', async () => {
    const text = '[daemon]\nstop_timeout_s = 90\n[keys]\nsource = "credential"\ncredential = "other"\n';
    const { read } = await deployed('--target', 'systemd', '--config', settings(text));
    expect(read(`${DROPINS}/own.conf`)).toMatch(
      /^\[Service\]\n#.*\nTimeoutStopSec=105\n#.*\nLoadCredentialEncrypted=other\n$/,
    );
  });

  it('is put in place by a script: where the program is, once, and over nothing that says something else', async () => {
    const { out, read, files } = await deployed(
      '--target',
      'systemd',
      '--config',
      settings('[seal]\ninterval_ms = 5\n'),
    );
    expect(bash(['-n'], read('apply.sh'))).toEqual({ status: 0, stderr: '' });
    const destination = fresh();
    const apply = (...args: string[]) =>
      spawnSync(join(out, 'apply.sh'), args, { encoding: 'utf8', env: { ...process.env, DESTDIR: destination } });
    expect(apply()).toMatchObject({ status: 1, stderr: expect.stringContaining('install the program first') });
    program(destination, '0.0.1');
    expect(apply()).toMatchObject({ status: 1, stderr: expect.stringContaining('Aegis 0.0.1 is installed') });
    program(destination, VERSION);
    expect(apply('--force').status).toBe(2);
    expect(apply()).toMatchObject({ status: 0, stderr: '' });
    expect(apply()).toMatchObject({ status: 0, stderr: '' });
    const installed = join(destination, 'etc/aegisd/sequencer.toml');
    for (const path of files.filter((path) => path !== 'apply.sh')) {
      expect(readFileSync(join(destination, path), 'utf8')).toBe(read(path));
      expect(statSync(join(destination, path)).mode & 0o777).toBe(0o644);
    }
    writeFileSync(installed, '[seal]\ninterval_ms = 6\n');
    expect(apply()).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('/etc/aegisd/sequencer.toml is there'),
    });
    expect(readFileSync(installed, 'utf8')).toContain('= 6');
    expect(apply('--replace').status).toBe(0);
    expect(readFileSync(installed, 'utf8')).toContain('= 5');
  });

  it('leaves no drop-in behind that the settings need no more, and names one that is somebody else’s', async () => {
    const destination = fresh();
    program(destination, VERSION);
    const deploy = async (text: string) => {
      const { out } = await deployed('--target', 'systemd', '--config', settings(text));
      return (...args: string[]) =>
        spawnSync(join(out, 'apply.sh'), args, { encoding: 'utf8', env: { ...process.env, DESTDIR: destination } });
    };
    const open = await deploy('[daemon]\nstop_timeout_s = 90\n[names]\nrouter = "http://router.example.org"\n');
    expect(open()).toMatchObject({ status: 0, stderr: '' });
    writeFileSync(join(destination, DROPINS, 'mine.conf'), '[Service]\n');
    const closed = await deploy('[seal]\ninterval_ms = 5\n');
    rmSync(join(destination, 'etc/aegisd/sequencer.toml'));
    const stale = `/${DROPINS}/egress.conf /${DROPINS}/own.conf`;
    expect(closed()).toMatchObject({ status: 1, stderr: expect.stringContaining(`${stale}: there, and not`) });
    expect(readdirSync(join(destination, DROPINS))).toEqual(['egress.conf', 'mine.conf', 'own.conf']);
    expect(closed('--replace')).toMatchObject({
      status: 0,
      stderr: `apply.sh: /${DROPINS}/mine.conf is not of this deployment, and holds\n`,
    });
    expect(readdirSync(join(destination, DROPINS))).toEqual(['mine.conf']);
  });

  const MISSING = needed('systemd-analyze', ['--version']);
  it.skipIf(MISSING !== undefined)(
    `is what systemd takes without a word${MISSING === undefined ? '' : ` (skipped: ${MISSING})`}`,
    async () => {
      const text = '[daemon]\nstop_timeout_s = 90\n[keys]\nsource = "dstack"\n[attestation]\nprimary = "tsm"\n';
      const { out } = await deployed('--target', 'systemd', '--config', settings(text));
      // Where the unit finds a program; it is not run.
      const units = join(out, 'units');
      cpSync(join(out, 'usr/lib/systemd/system'), units, { recursive: true });
      cpSync(join(out, 'etc/systemd/system/aegisd.service.d'), join(units, 'aegisd.service.d'), { recursive: true });
      const file = join(units, 'aegisd.service');
      program(out, VERSION);
      writeFileSync(
        file,
        readFileSync(file, 'utf8')
          .replaceAll(' /usr/lib/aegisd', ` ${out}/usr/lib/aegisd`)
          .replaceAll('=/usr/lib/aegisd', `=${out}/usr/lib/aegisd`),
      );
      const env = { ...process.env, SYSTEMD_UNIT_PATH: `${units}:` };
      const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], {
        encoding: 'utf8',
        env,
      });
      expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
    },
  );
});
