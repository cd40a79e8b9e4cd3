// Deployments for the tests of `aegisd deploy`: the command in this process, over settings of a test's own, and what it has written.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { main } from '../daemon/cli/program.ts';

export const root = join(import.meta.dirname, '..');
export const folder = mkdtempSync(join(tmpdir(), 'aegis-deploy-'));
afterAll(() => rmSync(folder, { recursive: true }));

export const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;
export const BASE = `node:26-bookworm-slim@${DIGEST}`;
export const IMAGE = `registry.example.org:5000/team/aegisd:1@${DIGEST}`;
export const PHALA = join(root, 'test/fixtures/config/phala.toml');
export const DSTACK = '[keys]\nsource = "dstack"\n[attestation]\nprimary = "dstack"\n[api]\nlisten = "0.0.0.0:5050"\n';

let count = 0;
export const fresh = () => join(folder, String(++count));
export function settings(text: string): string {
  const file = `${fresh()}.toml`;
  writeFileSync(file, text);
  return file;
}

/** In this process: what it prints and with what it ends. */
export async function aegisd(...args: string[]) {
  const said = { stdout: '', stderr: '' };
  const taken = (['stdout', 'stderr'] as const).map((name) => {
    const stream = process[name];
    const { write } = stream;
    stream.write = ((text: string) => {
      said[name] += text;
      return true;
    }) as typeof write;
    return () => {
      stream.write = write;
    };
  });
  try {
    const code = await main(['node', 'aegisd', 'deploy', ...args]);
    return { code, ...said };
  } finally {
    for (const give of taken) give();
  }
}

export async function deployed(...args: string[]) {
  const out = fresh();
  const { code, stdout, stderr } = await aegisd('--out', out, '--json', ...args);
  expect([code, stderr]).toEqual([0, '']);
  const answer = JSON.parse(stdout) as { files: string[]; notes: string[]; compose_hash: string };
  const read = (path: string) => readFileSync(join(out, path), 'utf8');
  const all = readdirSync(out, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(all.map(({ parentPath, name }) => join(parentPath, name).slice(out.length + 1)).toSorted()).toEqual(
    answer.files.toSorted(),
  );
  return { out, read, ...answer };
}

export function bash(args: string[], input: string) {
  const { status, stderr } = spawnSync('bash', args, { input, encoding: 'utf8' });
  return { status, stderr };
}

/** An installed program that can say its version. */
export function program(destination: string, version: string): void {
  const node = join(destination, 'usr/lib/aegisd/bin/node');
  mkdirSync(dirname(node), { recursive: true });
  writeFileSync(node, `#!/bin/sh\necho ${version}\n`);
  chmodSync(node, 0o755);
}
