// The key source of an SGX enclave under Gramine: a random root, sealed with a key that the processor gives to this very
// enclave (MRENCLAVE) and no other, so a changed program can't open it. That key has 128 bits. The root is unsealed anew for
// every key and wiped after it. Called by open.ts.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, randomFillSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { concat, utf8 } from '../../actors/encoding.ts';
import { Fault } from '../fault.ts';
import { offHeap, readSecret, writeWhole } from './secret.ts';
import type { KeySource } from './source.ts';

/** HKDF info and AAD: what is sealed for one use opens for no other. */
const LABEL = utf8('aegis/sgx-root/mrenclave/v1');
const DEVICE_KEY_BYTES = 16;
const ROOT_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Version 1: one byte ‖ nonce ‖ ciphertext ‖ tag. */
const VERSION = 1;
const SEALED_BYTES = 1 + NONCE_BYTES + ROOT_BYTES + TAG_BYTES;

export interface SgxOptions {
  readonly state_dir: string;
  /** Gramine's folder, `/dev/attestation`. */
  readonly attestation_dir: string;
}

/**
 * Seals a root at the first start, and opens it at each.
 *
 * @throws {Fault} `key_source_failed` without Gramine, when the sealed root is gone or not of this enclave
 */
export async function sgxSource({ state_dir, attestation_dir }: SgxOptions): Promise<KeySource> {
  const device = join(attestation_dir, 'keys', '_sgx_mrenclave');
  const path = join(state_dir, 'keys', 'sgx.sealed');
  if (!existsSync(path)) {
    if (existsSync(join(state_dir, 'store', 'data.mdb'))) {
      throw failed(`${path} is gone, and with it the root of this store; restore it`, path);
    }
    const sealed = await withDeviceKey(device, seal);
    await writeWhole(path, sealed).catch((cause) => {
      throw failed(`${path} can't be written (${cause.code})`, path, cause);
    });
  }
  const material = async () => {
    const sealed = await read(path, SEALED_BYTES);
    return withDeviceKey(device, (key) => unseal(key, sealed, path));
  };
  (await material()).fill(0);
  return { name: 'sgx', material };
}

function seal(key: Uint8Array): Uint8Array {
  const root = randomFillSync(offHeap(ROOT_BYTES));
  const nonce = new Uint8Array(randomBytes(NONCE_BYTES));
  try {
    const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(LABEL);
    const sealed = concat(cipher.update(root), cipher.final());
    return concat(Uint8Array.of(VERSION), nonce, sealed, cipher.getAuthTag());
  } finally {
    root.fill(0);
  }
}

function unseal(key: Uint8Array, sealed: Uint8Array, path: string): Uint8Array {
  if (sealed.length !== SEALED_BYTES || sealed[0] !== VERSION) throw failed(`${path} is not a sealed root`, path);
  const [nonce, text, tag] = [sealed.subarray(1, 13), sealed.subarray(13, 45), sealed.subarray(45)];
  const cipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    .setAAD(LABEL)
    .setAuthTag(tag);
  const plain = cipher.update(text);
  try {
    cipher.final();
    const root = offHeap(ROOT_BYTES);
    root.set(plain);
    return root;
  } catch {
    throw failed(`${path} does not open: it was sealed by an enclave with another MRENCLAVE, or it is damaged`, path);
  } finally {
    plain.fill(0);
  }
}

/** HKDF-SHA-256 (RFC 5869) of the device's key, empty salt, info = the label. */
async function withDeviceKey<T>(device: string, use: (key: Uint8Array) => T): Promise<T> {
  const secret = await read(
    device,
    DEVICE_KEY_BYTES,
    'it takes Gramine with sgx.remote_attestation around this process',
  );
  try {
    if (secret.length !== DEVICE_KEY_BYTES) throw failed(`${device} is not ${DEVICE_KEY_BYTES} bytes`, device);
    const key = new Uint8Array(hkdfSync('sha256', secret, new Uint8Array(0), LABEL, 32));
    try {
      return use(key);
    } finally {
      key.fill(0);
    }
  } finally {
    secret.fill(0);
  }
}

/** @returns at most `bytes_max` bytes; nothing when there are more, which is no length that anyone takes */
async function read(path: string, bytes_max: number, hint?: string): Promise<Uint8Array> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    return (await readSecret(file, bytes_max)) ?? offHeap(0);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw failed(`${path} can't be read (${code})${hint === undefined ? '' : `; ${hint}`}`, path, cause);
  } finally {
    await file?.close();
  }
}

function failed(reason: string, path: string, cause?: unknown): Fault {
  return new Fault({ code: 'key_source_failed', source: 'sgx', path, reason }, cause === undefined ? {} : { cause });
}
