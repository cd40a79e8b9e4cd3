// A deployment to dstack, checked by those that would take it: bash, dstack's own SDK, and the program itself, which has to start from
// what the Dockerfile copies.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getComposeHash } from '@phala/dstack-sdk/get-compose-hash';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadConfig } from '../../config/load.ts';
import {
  aegisd,
  BASE,
  bash,
  DIGEST,
  DSTACK,
  deployed,
  folder,
  fresh,
  IMAGE,
  PHALA,
  root,
  settings,
} from '../../test/deployed.ts';
import { openHouse } from '../../test/house.ts';
import { VERSION } from '../cli/program.ts';
import { isPinned } from './reference.ts';

/** dstack-types: the fields of `AppCompose` that its guests read, and no other. */
const AppCompose = z.strictObject({
  manifest_version: z.literal(2),
  name: z.string(),
  runner: z.literal('docker-compose'),
  docker_compose_file: z.string(),
  kms_enabled: z.literal(true),
  gateway_enabled: z.boolean(),
  local_key_provider_enabled: z.literal(false),
  key_provider_id: z.literal(''),
  public_logs: z.literal(false),
  public_sysinfo: z.literal(false),
  public_tcbinfo: z.boolean(),
  allowed_envs: z.array(z.string()),
  no_instance_id: z.literal(false),
  secure_time: z.boolean(),
  pre_launch_script: z.string(),
});

describe('for dstack', () => {
  it('is an app whose hash is what the SDK of dstack says', async () => {
    const { read, compose_hash, files } = await deployed(
      '--target',
      'dstack',
      '--config',
      settings(DSTACK),
      '--image',
      IMAGE,
    );
    expect(files).toEqual(['docker-compose.yaml', 'app-compose.json']);
    const text = read('app-compose.json');
    const app = AppCompose.parse(JSON.parse(text));
    expect(createHash('sha256').update(text).digest('hex')).toBe(compose_hash);
    expect(getComposeHash(app)).toBe(compose_hash);
    expect(app).toMatchObject({ name: 'aegisd', allowed_envs: [], docker_compose_file: read('docker-compose.yaml') });
  });

  it('carries settings that read back as they were, whatever stands in them', async () => {
    const odd = `${DSTACK}kds_url = ""\n\n# \${HOME} $$ "quoted" 'too' \\ # ü 東 🙂\t:\n# - [x]: |\n`.replace(
      'kds_url',
      '# kds_url',
    );
    const { read } = await deployed('--target', 'dstack', '--config', settings(odd), '--image', IMAGE);
    const compose = read('docker-compose.yaml');
    const block = /^ {4}content: \|2\n((?: {6}.*\n|\n)*)/m.exec(compose)![1]!;
    expect(block.replaceAll(/^ {6}/gm, '').replaceAll('$$', '$')).toBe(odd);
    // Whatever is outside of comments has no variable left.
    expect(compose.replaceAll('$$', '')).not.toContain('$');
    const said = spawnSync(join(root, 'node_modules/.bin/biome'), ['format', '--stdin-file-path=docker-compose.yaml'], {
      cwd: folder,
      input: compose,
      encoding: 'utf8',
    });
    expect(said.status, said.stderr).toBe(0);
  });

  it('runs nothing as root, mounts no more than the guest agent, and waits as long as the daemon takes to stop', async () => {
    const config = settings(`${DSTACK}[daemon]\nstop_timeout_s = 100\n`);
    const { read } = await deployed('--target', 'dstack', '--config', config, '--image', IMAGE);
    const compose = read('docker-compose.yaml');
    for (const line of [
      `    image: "${IMAGE}"`,
      '    user: "10001:10001"',
      '    stop_grace_period: 115s',
      '    cap_drop: [ALL]',
      '    security_opt: ["no-new-privileges:true"]',
      '    ports: ["5050:5050"]',
    ])
      expect(compose).toContain(`${line}\n`);
    expect([...compose.matchAll(/^ {6}- "(.*)"$/gm)].map(([, volume]) => volume)).toEqual([
      'state:/var/lib/aegisd',
      '/var/run/dstack.sock:/var/run/dstack.sock',
    ]);
    for (const never of ['privileged', 'network_mode', 'docker.sock', 'pull_policy', 'build:'])
      expect(compose).not.toContain(`${never}`);
  });

  it('gives the socket to the group of the daemon, by a script that bash reads', async () => {
    const own = DSTACK.replace('[keys]', `[keys]\ndstack_socket = "/run/it's/a b.sock"`);
    const { read } = await deployed('--target', 'dstack', '--config', settings(own), '--image', IMAGE);
    const { pre_launch_script } = AppCompose.parse(JSON.parse(read('app-compose.json')));
    expect(bash(['-n'], pre_launch_script)).toEqual({ status: 0, stderr: '' });
    // Whoever reads it in goes on, though there is no socket here.
    const script = fresh();
    writeFileSync(script, pre_launch_script);
    const { status, stderr } = spawnSync('bash', ['-c', 'set -e; source "$0"; exit 7', script], { encoding: 'utf8' });
    expect(status).toBe(7);
    expect(stderr).toContain("it's/a b.sock");
    expect(stderr.match(/no guest agent/g)).toHaveLength(2);
  });

  it('takes tokens as encrypted variables, each by its role', async () => {
    const args = ['--target', 'dstack', '--config', settings(DSTACK), '--image', IMAGE, '--token', 'metrics', 'admin'];
    const { read, notes } = await deployed(...args);
    const { allowed_envs, docker_compose_file } = AppCompose.parse(JSON.parse(read('app-compose.json')));
    expect(allowed_envs).toEqual(['AEGIS_ADMIN_TOKEN', 'AEGIS_METRICS_TOKEN']);
    for (const line of ['secrets: [admin.token, metrics.token]', 'admin.token: { environment: AEGIS_ADMIN_TOKEN }'])
      expect(docker_compose_file).toContain(line);
    expect(docker_compose_file).toContain('CREDENTIALS_DIRECTORY: /run/secrets');
    expect(notes.join('\n')).toContain('AEGIS_ADMIN_TOKEN, AEGIS_METRICS_TOKEN');
  });

  it('takes a log over where it is told from whom, which its hash covers', async () => {
    const app = (...more: string[]) =>
      deployed('--target', 'dstack', '--config', settings(DSTACK), '--image', IMAGE, ...more);
    const url = 'http://old.example:5050';
    const { read, notes, compose_hash } = await app('--successor-of', url);
    const [, command] = /^ {4}command: (\[.*\])$/m.exec(read('docker-compose.yaml'))!;
    const { read: image } = await deployed('--target', 'dstack', '--config', settings(DSTACK), '--base', BASE);
    const [, usual] = /^CMD (\[.*\])$/m.exec(image('Dockerfile'))!;
    expect(JSON.parse(command!)).toEqual([...(JSON.parse(usual!) as string[]), '--successor-of', url]);
    expect(notes.join('\n')).toContain('allow_measurement names this compose-hash');
    const plain = await app();
    expect(plain.read('docker-compose.yaml')).not.toContain('command:');
    expect(plain.compose_hash).not.toBe(compose_hash);
  });

  it('says what the gateway means for limits by address, and for tokens', async () => {
    const said = async (more: string) => {
      const args = ['--target', 'dstack', '--config', settings(DSTACK + more), '--image', IMAGE, '--token', 'admin'];
      return (await deployed(...args)).notes.join('\n');
    };
    const usual = await said('');
    expect(usual).toContain(
      'share what one may have; raise api.client_connections_max, feed.client_max, mempool.client_max, api.rate_limit_per_s (0 is off), api.refused_penalty (0 is off)',
    );
    expect(usual).toContain('api.tls is false: tokens can be read where TLS ends');
    const limits = 'client_connections_max = 2048\nrate_limit_per_s = 0\ntls = true\n';
    const fitting = await said(`${limits}[feed]\nclient_max = 1000\n[mempool]\nclient_max = 10000\n`);
    expect(fitting).not.toMatch(/gateway/);
  });

  it.each([
    ['plain', ''],
    ['TLS', 'tls = true\n'],
  ])('probes a listener that speaks %s by what it speaks', async (_, more) => {
    await using house = await openHouse({ api: { tls: more !== '' } });
    const { port } = await house.server.listen();
    const text = settings(DSTACK.replace('5050', String(port)) + more);
    const { read } = await deployed('--target', 'dstack', '--config', text, '--image', IMAGE);
    const [, script] = /test: \["CMD", "[^"]+", "-e", (".+")\]/.exec(read('docker-compose.yaml'))!;
    const child = spawn(process.execPath, ['-e', JSON.parse(script!) as string], { stdio: 'ignore' });
    expect(await once(child, 'close')).toEqual([0, null]);
  });

  it('takes a phala.toml, once it is said that some of its keys do nothing', async () => {
    const args = ['--target', 'dstack', '--from', PHALA, '--image', IMAGE];
    const out = fresh();
    const refused = await aegisd('--out', out, ...args);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`${PHALA}:4:1 phala.network = "mainnet": this version speaks to no Phala network`);
    expect(refused.stderr).toContain('--accept-refused');
    expect(() => statSync(out)).toThrow();
    const { read } = await deployed(...args, '--accept-refused');
    const block = /^ {4}content: \|2\n((?: {6}.*\n|\n)*)/m.exec(read('docker-compose.yaml'))![1]!;
    const { config } = loadConfig({ file: settings(block.replaceAll(/^ {6}/gm, '')), environment: {} });
    expect(config).toMatchObject({
      keys: { source: 'dstack' },
      attestation: { primary: 'dstack' },
      ordering: { mode: 'hybrid' },
    });
  });
});

describe('the image', () => {
  it('is pinned, made of the lock file, and of nobody special', async () => {
    const { read, out, files } = await deployed('--target', 'dstack', '--config', settings(DSTACK), '--base', BASE);
    expect(files).toEqual(['Dockerfile', 'Dockerfile.dockerignore', 'build.sh']);
    const dockerfile = read('Dockerfile');
    const from = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image!);
    expect(from).toEqual([BASE, BASE]);
    expect(dockerfile).toMatch(/^USER 10001:10001$/m);
    expect(dockerfile.indexOf('USER ')).toBeLessThan(dockerfile.indexOf('ENTRYPOINT '));
    for (const never of [/\bcurl\b|\bwget\b|\bapt\b|apt-get|\bapk\b|npx|git clone|\bADD\b|npm (install|i)\b|https?:/])
      for (const path of files) expect(read(path)).not.toMatch(never);
    expect([...dockerfile.matchAll(/^RUN.*\bnpm (\w+)/gm)].map(([, verb]) => verb)).toEqual(['ci']);
    expect(statSync(join(out, 'build.sh')).mode & 0o777).toBe(0o755);
    expect(statSync(join(out, 'Dockerfile')).mode & 0o777).toBe(0o644);
  });

  it('holds a program that starts, from exactly what is copied and not ignored', async () => {
    const { read } = await deployed('--target', 'dstack', '--config', settings(DSTACK), '--base', BASE);
    const dockerfile = read('Dockerfile');
    const app = fresh();
    mkdirSync(app);
    const copied = [...dockerfile.matchAll(/^COPY (?!--)(.*) \.\/.*$/gm)].flatMap(([, names]) => names!.split(' '));
    const [everything, ...rules] = read('Dockerfile.dockerignore').trim().split('\n');
    expect([everything, rules.at(-1)]).toEqual(['*', '**/*.test.ts']);
    expect(rules.slice(0, -1).toSorted()).toEqual(copied.map((name) => `!${name}`).toSorted());
    for (const name of copied)
      cpSync(join(root, name), join(app, name), { recursive: true, filter: (source) => !source.endsWith('.test.ts') });
    symlinkSync(join(root, 'node_modules'), join(app, 'node_modules'));
    const [, build] = /^RUN \["\S+node", (.*)\]$/m.exec(dockerfile)!;
    execFileSync(process.execPath, JSON.parse(`[${build}]`) as string[], { cwd: app });
    const [, sources] = /^RUN rm -rf (.*?) && /m.exec(dockerfile)!;
    for (const name of sources!.split(' ')) rmSync(join(app, name), { recursive: true });
    const [, entry] = /^ENTRYPOINT \["\S+node", (.*)\]$/m.exec(dockerfile)!;
    const args = entry!.split(', ').map((each) => JSON.parse(each).replace('/app/', `${app}/`) as string);
    const started = (...more: string[]) =>
      execFileSync(process.execPath, [...args, ...more], { cwd: folder, encoding: 'utf8' });
    expect(started('--version').trim()).toBe(VERSION);
    expect(started('check-config', '--config', settings(DSTACK))).toContain('keys.source = dstack');
  });

  it('is built by a script that bash reads, of this version alone, with the times of no machine', async () => {
    const { out, read } = await deployed('--target', 'dstack', '--config', settings(DSTACK), '--base', BASE);
    expect(bash(['-n'], read('build.sh'))).toEqual({ status: 0, stderr: '' });
    const build = (...args: string[]) => {
      // A docker that says what it was asked for, and answers as buildx does.
      const bin = join(out, 'bin');
      mkdirSync(bin, { recursive: true });
      const metadata = `{\n  "containerimage.digest": "${DIGEST}"\n}`;
      const script = `#!/bin/sh\necho "$SOURCE_DATE_EPOCH $*" >&2\ncat >'${join(out, 'image.json')}' <<'EOF'\n${metadata}\nEOF\n`;
      writeFileSync(join(bin, 'docker'), script, { mode: 0o755 });
      const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
      return spawnSync(join(out, 'build.sh'), args, { encoding: 'utf8', env });
    };
    const good = build(root);
    expect([good.status, good.stdout]).toEqual([0, `${DIGEST}\n`]);
    expect(good.stderr).toMatch(/^0 buildx build .*--no-cache .*--provenance=false .*rewrite-timestamp=true /);
    expect(build().status).toBe(2);
    expect(build(folder).stderr).toContain('expected the folder of a checkout');
    const other = fresh();
    mkdirSync(other);
    for (const name of ['aegisd.js', 'package-lock.json']) writeFileSync(join(other, name), '{}');
    writeFileSync(join(other, 'package.json'), '{\n  "version": "9.9.9",\n}\n');
    expect(build(other)).toMatchObject({ status: 1, stderr: expect.stringContaining('is Aegis 9.9.9; this is for') });
  });
});

describe('an image by its digest', () => {
  it.each([IMAGE, BASE, `aegisd@${DIGEST}`, `ghcr.io/a/b-c/d_e.f@${DIGEST}`, `localhost:5000/a@${DIGEST}`])(
    '%s',
    (image) => {
      expect(isPinned(image)).toBe(true);
    },
  );
  it.each([
    ...[
      '',
      'aegisd',
      'aegisd:latest',
      `aegisd@${DIGEST}0`,
      `aegisd@${DIGEST.slice(0, -1)}`,
      `@${DIGEST}`,
      `A/b@${DIGEST}`,
    ],
    ...[
      `a b@${DIGEST}`,
      `a@${DIGEST}\n`,
      `a@${DIGEST.toUpperCase()}`,
      `a"@${DIGEST}`,
      `a$b@${DIGEST}`,
      `${'a'.repeat(600)}@${DIGEST}`,
    ],
    `a@sha512:${'0'.repeat(128)}`,
  ])('is not %j', (image) => {
    expect(isPinned(image)).toBe(false);
  });
});
