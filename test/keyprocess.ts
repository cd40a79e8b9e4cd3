// A process that takes keys from a source, wipes each, and waits: for test/keymemory.test.ts, which searches its memory.
//
//   node --expose-gc test/keyprocess.ts SETTINGS STATE_DIR ATTESTATION_DIR CREDENTIALS_DIR PATH…
import { setTimeout as delay } from 'node:timers/promises';
import { loadConfig } from '../config/load.ts';
import { openKeySource } from '../daemon/keys/open.ts';

const [settings = '{}', state_dir = '', attestation_dir = '', CREDENTIALS_DIRECTORY = '', ...paths] =
  process.argv.slice(2);
const { config } = loadConfig({ environment: {}, settings: { keys: JSON.parse(settings) } });
const source = await openKeySource({ config, state_dir, attestation_dir, environment: { CREDENTIALS_DIRECTORY } });
let bytes = 0;
for (const path of paths) {
  const material = await source.material(path);
  bytes += material.length;
  material.fill(0);
}
for (let i = 0; i < 3; i++) {
  (globalThis as { gc?: () => void }).gc?.();
  await delay(10);
}
process.stdout.write(`${bytes}\n`);
setInterval(() => {}, 60_000);
