// What the state folder remembers of the dstack platform that made its keys, so that another one is told by name instead of
// as a store that doesn't open. It is not what protects: a host that edits the file gains nothing, since keys of another
// root don't open the store. In production the KMS root comes from the settings besides (keys.kms_root).
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { Fault } from '../fault.ts';
import { writeWhole } from './secret.ts';

const FILE_BYTES_MAX = 4_096;

const Point = z.string().regex(/^0[23][0-9a-f]{64}$/);
const Pin = z.strictObject({
  version: z.literal(1),
  generation: z.string().max(32).describe('Of the API that gave the keys: another derives others.'),
  app_id: z.string().regex(/^[0-9a-f]{40}$/),
  app_root: Point.describe('SEC 1 compressed; signs each key.'),
  kms_root: Point.describe('SEC 1 compressed; signs the app root.'),
});
export type Pin = z.output<typeof Pin>;

/** @returns undefined where nothing is pinned yet */
export async function readPin(path: string): Promise<Pin | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new Fault({ code: 'key_source_failed', source: 'dstack', path, reason: `${path}: ${code}` }, { cause });
  }
  const parsed = Pin.safeParse(text.length <= FILE_BYTES_MAX ? parse(text) : undefined);
  if (parsed.success) return parsed.data;
  const field = parsed.error.issues[0]?.path.join('.') || 'the whole';
  const reason = `${path} is not what was written (${field}); take it away if the guest agent is to be pinned anew`;
  throw new Fault({ code: 'key_source_failed', source: 'dstack', path, reason });
}

export async function writePin(path: string, pin: Pin): Promise<void> {
  try {
    await writeWhole(path, `${JSON.stringify(pin, null, 2)}\n`);
  } catch (cause) {
    const reason = `${path} can't be written (${(cause as NodeJS.ErrnoException).code})`;
    throw new Fault({ code: 'key_source_failed', source: 'dstack', path, reason }, { cause });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
