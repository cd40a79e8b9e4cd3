// The simulator's key source: a root in the state folder, readable by its owner alone. It protects nothing against the host;
// everything that its keys sign says `simulated`.
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../fault.ts';
import type { KeySource } from './source.ts';

const ROOT_BYTES = 32;

/** @param state_dir  the root is made there on the first start, as `simulator/root.key`, mode 0600 */
export async function simulatorSource(state_dir: string): Promise<KeySource> {
  const folder = join(state_dir, 'simulator');
  const path = join(folder, 'root.key');
  const root = (await read(path)) ?? (await create(folder, path).catch((cause: Error) => raise(path, cause)));
  if (root.length !== ROOT_BYTES) {
    throw new Fault({
      code: 'key_source_failed',
      source: 'simulator',
      path,
      reason: `${path} is not ${ROOT_BYTES} bytes`,
    });
  }
  return { name: 'simulator', material: async () => new Uint8Array(root) };
}

async function read(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    return raise(path, cause as Error);
  }
}

function raise(path: string, cause: Error): never {
  throw new Fault({ code: 'key_source_failed', source: 'simulator', path, reason: cause.message }, { cause });
}

/** Written whole or not at all: a root that is cut short by a crash would lose the store that it seals. */
async function create(folder: string, path: string): Promise<Uint8Array> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const root = randomBytes(ROOT_BYTES);
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(root);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  const directory = await open(folder, 'r');
  await directory.sync().finally(() => directory.close());
  return root;
}
