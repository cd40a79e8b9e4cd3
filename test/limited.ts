// A daemon in a process of its own whose files may not grow: what a full disk is to it, without privilege and without filling
// one. For the tests of errors; the store's own are in daemon/store.damage.test.ts.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { base64 } from '../actors/encoding.ts';
import { startDaemon } from '../daemon/demo/child.ts';

const MAIN = join(import.meta.dirname, '..', 'daemon', 'main.ts');
/** Room for a start, and for a few large envelopes. */
const ROOM_BYTES = 1_048_576;
const CIPHERTEXT_BYTES = 65_536;
/** POSIX: what `ulimit -f` counts. */
const BLOCK_BYTES = 512;

/** Runs `body` while the daemon is up; `envelope` makes a large one that is admitted where there is room. */
export async function limitedDaemon<T>(body: (url: string, envelope: () => string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-limited-'));
  try {
    const log = join(folder, 'daemon.log');
    const settings = 'rate_limit_per_s = 0\n[sequencer]\nbatch_interval_ms = 60000\nbatch_size = 50\n';
    await (await startDaemon(folder, log, settings)).stop();
    const blocks = Math.ceil((statSync(join(folder, 'store', 'data.mdb')).size + ROOM_BYTES) / BLOCK_BYTES);
    writeFileSync(log, '');
    const command = `ulimit -S -f ${blocks}; exec "$0" "$@"`;
    const start = [MAIN, 'start', '--json', '--config', join(folder, 'sequencer.toml')];
    const child = spawn('/bin/sh', ['-c', command, process.execPath, ...start], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const exited = once(child, 'exit');
    try {
      const [line] = (await Promise.race([
        once(createInterface({ input: child.stdout }), 'line'),
        exited.then(() => Promise.reject(new Error('it did not start'))),
      ])) as [string];
      return await body((JSON.parse(line) as { url: string }).url, large);
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function large(): string {
  return JSON.stringify({
    scheme: 'ecies',
    epoch: 1,
    asset_refs: [],
    priority_fee: '1',
    risk_level: 0,
    requires_migration: false,
    encrypted_data: base64(randomBytes(CIPHERTEXT_BYTES)),
  });
}
