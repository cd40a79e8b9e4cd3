// How long `aegisd start` takes until it listens, as a supervisor sees it: a process of its own, with the store of a daemon that has
// nothing, as installed (JavaScript) and in a checkout (TypeScript). The very first start also makes the keys of the first epoch and
// tries them; the floor of that is one key and one signature of SLH-DSA, and that of the others a process of Node that does nothing.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js';
import { type Figure, median, time } from './figure.ts';
import { bareSlhDsa } from './pipeline.ts';

const ROUNDS = 7;
const FIRST_ROUNDS = 3;
const TIMEOUT_MS = 60_000;
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

export async function run(): Promise<Figure[]> {
  // Below the checkout, where its packages are found.
  const out = path('../node_modules/.cache/aegis-bench');
  execFileSync(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    path('../build.ts'),
    '--javascript',
    '--out',
    out,
  ]);
  const kinds = { installed: join(out, 'daemon/main.js'), 'in a checkout': path('../daemon/main.ts') };
  const figures: Figure[] = [];
  const seed = new Uint8Array(96).fill(1);
  const making = median([1, 2, 3].map(() => time(() => slh_dsa_sha2_256s.keygen(seed)))) + bareSlhDsa();
  const bare = median([1, 2, 3].map(() => time(() => execFileSync(process.execPath, ['-e', '0']))));
  for (const [kind, main] of Object.entries(kinds)) {
    const firsts: number[] = [];
    const laters: number[] = [];
    for (let i = 0; i < FIRST_ROUNDS; i++) {
      const folder = mkdtempSync(join(tmpdir(), 'aegis-bench-'));
      try {
        firsts.push(await listening(main, folder));
        for (let k = 0; i === 0 && k < ROUNDS; k++) laters.push(await listening(main, folder));
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }
    const [first, later] = [median(firsts), median(laters)];
    const reach = '< 1,000 ms';
    figures.push(
      { name: `start to listening, ${kind}`, value: later, unit: 'ms', floor: bare, reach, met: later < 1_000 },
      { name: `the very first, ${kind}`, value: first, unit: 'ms', floor: making, reach, met: first < 1_000 },
    );
  }
  return figures;
}

/** ms from the process's making to its announcement. */
async function listening(main: string, folder: string): Promise<number> {
  const config = join(folder, 'own.toml');
  writeFileSync(config, `[daemon]\nstate_dir = "${folder}/state"\n[api]\nlisten = "127.0.0.1:0"\n`);
  const start = performance.now();
  const args = [main, 'start', '--json', '--config', config];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'], timeout: TIMEOUT_MS });
  const ended = once(child, 'exit');
  const said = once(createInterface({ input: child.stdout }), 'line').then(() => performance.now() - start);
  const took = await Promise.race([said, ended]);
  child.kill('SIGTERM');
  await ended;
  if (typeof took !== 'number') throw new Error('the daemon ended before it listened');
  return took;
}
