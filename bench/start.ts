// How long a start takes with 100,000 envelopes pending, and what it holds in memory: a store is filled in a process that
// dies without closing it, as after a crash, and opened in a fresh one. Floor: the same start on an empty store.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../config/load.ts';
import { createSequencer } from '../daemon/sequencer.ts';
import type { Figure } from './figure.ts';
import { admitPending, holding } from './pending.ts';

const PENDING = 100_000;

export async function run(): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-bench-'));
  try {
    const empty = child(join(folder, 'empty'), 'open');
    child(join(folder, 'full'), 'fill');
    const full = child(join(folder, 'full'), 'open');
    const name = `start with ${PENDING.toLocaleString('en')} envelopes pending`;
    const { started_ms, rss_mib } = full;
    const floor = empty.started_ms;
    return [
      {
        name,
        value: started_ms,
        unit: 'ms',
        floor,
        ratio: started_ms / floor,
        reach: '< 3,000 ms',
        met: started_ms < 3_000,
      },
      {
        name: `${name}, resident`,
        value: rss_mib,
        unit: 'MiB',
        floor: empty.rss_mib,
        reach: '< 1,024 MiB',
        met: rss_mib < 1_024,
      },
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Said {
  readonly started_ms: number;
  readonly rss_mib: number;
}

function child(state_dir: string, act: 'open' | 'fill'): Said {
  const { stdout, stderr } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), act, state_dir], {
    encoding: 'utf8',
  });
  const line = stdout.trim().split('\n').at(-1);
  if (line === undefined || !line.startsWith('{')) throw new Error(`the other process said: ${stderr}`);
  return JSON.parse(line) as Said;
}

/** The other process: starts, fills where asked, and dies without a farewell. */
async function other(act: string, state_dir: string): Promise<void> {
  const { config } = loadConfig({ environment: { STATE_DIRECTORY: state_dir } });
  const start = performance.now();
  const running = await createSequencer({ config: holding(config, PENDING) });
  const started_ms = performance.now() - start;
  if (act === 'fill') await admitPending(running, PENDING);
  process.stdout.write(`${JSON.stringify({ started_ms, rss_mib: process.memoryUsage.rss() / 2 ** 20 })}\n`);
  process.kill(process.pid, 'SIGKILL');
}

if (import.meta.main) await other(process.argv[2]!, process.argv[3]!);
