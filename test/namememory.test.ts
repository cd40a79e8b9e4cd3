// What signing leaves in memory of the keys of names: nothing. The keys are made here and reach the process encrypted, so
// whatever is found there was left by opening or signing. Both halves of each are searched, as bytes, hex and base64.
import { spawn } from 'node:child_process';
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { base64 } from '../actors/encoding.ts';
import { nameOfKey } from '../actors/ipns.ts';
import { Search } from '../daemon/demo/memorysearch.ts';
import { eciesKey, sealEcies } from '../workers/ecies.ts';

const COUNT = 60;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-names-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

// Memory is /proc's, and the search is of what Linux and glibc leave.
it.runIf(process.platform === 'linux')('is searched for sixty keys that have signed, and holds none', async () => {
  const scalars = [1, 2].map(() => Uint8Array.of(1, ...randomBytes(31)));
  const [mine, next] = scalars.map((scalar) => eciesKey(scalar).publicKey);
  const seeds = Array.from({ length: COUNT }, () => new Uint8Array(randomBytes(32)));
  const names = seeds.map((seed) => {
    const key = createPrivateKey({ key: seed, format: 'raw-private', asymmetricKeyType: 'ed25519' });
    const name = nameOfKey(new Uint8Array(createPublicKey(key).export({ format: 'raw-public' })));
    return { name, wrapped: base64(sealEcies(mine!, seed)) };
  });
  const file = join(folder, 'given.json');
  writeFileSync(file, JSON.stringify({ scalar: base64(scalars[0]!), point: base64(next!), names }));
  const child = spawn(process.execPath, [new URL('nameprocess.ts', import.meta.url).pathname, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [bytes] = (await once(child.stdout!, 'data')) as [Buffer];
    expect(Number(String(bytes))).toBe(2 * COUNT);
    const planted = Object.fromEntries(seeds.map((seed, i) => [`seed ${i}`, seed]));
    // The search finds what is there: a name's text, which the process was given.
    const known = { name: Buffer.from(names[0]!.name.slice(0, 32)) };
    const found = new Search({ ...planted, ...known }).inMemory(child.pid!);
    expect([...found.keys()]).toEqual(['name']);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
