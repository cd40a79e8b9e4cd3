// The key file of an admin, as `aegisd admin keygen` writes it and `sign` reads it: an ML-DSA-87 seed in a small JSON, mode 0600.
// It belongs on the admin's own machine, never on the daemon's: the point of an order is that the host alone can't give one. A
// key that may not lie in a file stays in an HSM, which signs the digest that `aegisd admin digest` prints.
import { createPrivateKey, createPublicKey, type KeyObject, randomFillSync } from 'node:crypto';
import { closeSync, fsyncSync, openSync, statSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { base64, Digest, fromBase64 } from '../../actors/encoding.ts';
import { AdminKey, adminId } from '../../actors/order.ts';
import { fieldPath } from '../../client/json.ts';
import { offHeap } from '../keys/secret.ts';
import { readDocument, UsageError } from './file.ts';

/** FIPS 204 §6.1: ξ. */
const SEED_BYTES = 32;
const FILE_BYTES_MAX = 16_384;

const KeyFile = z.strictObject({
  version: z.literal(1),
  algorithm: z.literal('ML-DSA-87'),
  admin: Digest,
  public_key: AdminKey,
  seed: z.string().regex(/^[0-9a-f]{64}$/, `expected ${SEED_BYTES} bytes as lower-case hex digits`),
});

export interface AdminPublic {
  /** SHA-512 of the public key, 0x-hex. */
  readonly admin: string;
  /** Base64. */
  readonly public_key: string;
}

/** Draws a key and writes it where nothing is yet. @throws {UsageError} when something is there */
export function makeKeyFile(path: string): AdminPublic {
  const file = openNew(path);
  const seed = offHeap(SEED_BYTES);
  try {
    randomFillSync(seed);
    const { admin, public_key } = publicOf(keyOf(seed));
    const content = { version: 1, algorithm: 'ML-DSA-87', admin, public_key, seed: seed.toHex() };
    writeSync(file, `${JSON.stringify(content, null, 2)}\n`);
    fsyncSync(file);
    return { admin, public_key };
  } finally {
    seed.fill(0);
    closeSync(file);
  }
}

/** @throws {UsageError} when it is no such file, can be read by others, or its parts don't fit together */
export function readKeyFile(path: string): AdminPublic & { readonly key: KeyObject } {
  const parsed = KeyFile.safeParse(document(path));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new UsageError(path, fieldPath(issue.path), issue.message);
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new UsageError(path, '', 'others can read it; if nobody has, `chmod 600` it, else make another key');
  }
  const seed = offHeap(SEED_BYTES);
  try {
    seed.setFromHex(parsed.data.seed);
    const key = keyOf(seed);
    const found = publicOf(key);
    if (found.admin === parsed.data.admin && found.public_key === parsed.data.public_key) return { ...found, key };
  } finally {
    seed.fill(0);
  }
  throw new UsageError(path, 'seed', 'does not give this public key: the file is damaged');
}

/** The parser quotes what it stumbles over, which could be the seed. */
function document(path: string): unknown {
  try {
    return readDocument(path, FILE_BYTES_MAX);
  } catch (error) {
    if (!(error instanceof UsageError) || error.field === '') throw error;
    throw new UsageError(path, '', 'is no file of `aegisd admin keygen`, or damaged');
  }
}

function openNew(path: string): number {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new UsageError(path, '', 'is there already, and is left as it is');
  }
}

const keyOf = (seed: Uint8Array<ArrayBuffer>): KeyObject =>
  createPrivateKey({ key: Buffer.from(seed.buffer), format: 'raw-seed', asymmetricKeyType: 'ml-dsa-87' });

function publicOf(key: KeyObject): AdminPublic {
  const public_key = base64(new Uint8Array(createPublicKey(key).export({ format: 'raw-public' })));
  return { admin: adminId(fromBase64(public_key)), public_key };
}
