// The simulator's key source: a root in the state folder, readable by its owner alone. It protects nothing against the host;
// everything that its keys sign says `simulated`.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../fault.ts';
import { offHeap, writeWhole } from './secret.ts';
import type { KeySource } from './source.ts';

const ROOT_BYTES = 32;

/** @param state_dir  the root is made there on the first start, as `simulator/root.key`, mode 0600 */
export async function simulatorSource(state_dir: string): Promise<KeySource> {
  const path = join(state_dir, 'simulator', 'root.key');
  const root = (await read(path)) ?? (await create(path).catch((cause: Error) => raise(path, cause)));
  if (root.length !== ROOT_BYTES) {
    throw new Fault({
      code: 'key_source_failed',
      source: 'simulator',
      path,
      reason: `${path} is not ${ROOT_BYTES} bytes`,
    });
  }
  const material = async () => {
    const copy = offHeap(ROOT_BYTES);
    copy.set(root);
    return copy;
  };
  return { name: 'simulator', material };
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

async function create(path: string): Promise<Uint8Array> {
  const root = randomBytes(ROOT_BYTES);
  await writeWhole(path, root);
  return root;
}
