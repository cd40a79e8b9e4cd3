// How long after an operator has put a new file in place the daemon goes by it: seen, left alone for a moment, read, checked,
// durable in the journal, applied. Beside it what reading and checking alone take.
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../config/load.ts';
import { FileWatch } from '../daemon/filewatch.ts';
import { createSequencer } from '../daemon/sequencer.ts';
import { type Figure, median, percentile, time } from './figure.ts';

const ROUNDS = 50;
const REACH_MS = 100;
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export async function run(): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-bench-'));
  const file = join(folder, 'sequencer.toml');
  const replace = (interval_ms: number) => {
    const state_dir = JSON.stringify(join(folder, 'state'));
    writeFileSync(`${file}.new`, `[daemon]\nstate_dir = ${state_dir}\n[seal]\ninterval_ms = ${interval_ms}\n`);
    renameSync(`${file}.new`, file);
  };
  // A daemon listens; here nothing else keeps the process.
  const awake = setInterval(() => {}, 60_000);
  try {
    replace(1000);
    await using sequencer = await createSequencer({ settings: file, log: silent });
    using _watch = new FileWatch(file, () => void sequencer.reload());
    const took: number[] = [];
    const bare: number[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      const start = performance.now();
      const reloaded = once(sequencer.events, 'reloaded');
      replace(1000 + round);
      await reloaded;
      took.push(performance.now() - start);
      bare.push(time(() => loadConfig({ file })));
    }
    const worst = percentile(took, 99);
    const floor = median(bare);
    return [
      {
        name: 'a changed file is in effect, p99',
        value: worst,
        unit: 'ms',
        floor,
        ratio: worst / floor,
        reach: `< ${REACH_MS} ms`,
        met: worst < REACH_MS,
      },
      { name: 'a changed file is in effect, median', value: median(took), unit: 'ms', floor },
    ];
  } finally {
    clearInterval(awake);
    rmSync(folder, { recursive: true, force: true });
  }
}
