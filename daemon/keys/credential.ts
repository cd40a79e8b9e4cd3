// The key source of a self-hosted confidential VM: a root that systemd hands over as a credential (LoadCredentialEncrypted=,
// sealed to the TPM). It is read anew for every key and wiped after it, so in between it is in no memory of this process.
// Called by open.ts.
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, statfs } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { Fault } from '../fault.ts';
import { hexDigit, offHeap, readSecret } from './secret.ts';
import type { KeySource } from './source.ts';

const ROOT_BYTES = 32;
/** In hex, with the line feed that editors leave. */
const FILE_BYTES_MAX = 2 * ROOT_BYTES + 1;
/** File systems in memory, where systemd keeps credentials: TMPFS_MAGIC, RAMFS_MAGIC (statfs(2)). */
const MEMORY_FILE_SYSTEMS: readonly number[] = [0x01021994, 0x858458f6];

/**
 * @param directory  $CREDENTIALS_DIRECTORY, as systemd sets it
 * @param name       of the credential: 32 bytes, or 64 hex digits with or without a line feed
 * @throws {Fault} `key_source_failed` saying what is wrong with the file
 */
export async function credentialSource(directory: string | undefined, name: string): Promise<KeySource> {
  if (directory === undefined || !isAbsolute(directory)) {
    throw failed(
      '$CREDENTIALS_DIRECTORY is not set; start it as a systemd service with LoadCredential= or LoadCredentialEncrypted=',
    );
  }
  const path = join(directory, name);
  const material = () => readRoot(path);
  (await material()).fill(0);
  return { name: 'credential', material };
}

async function readRoot(path: string): Promise<Uint8Array> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw failed(`the credential ${path} can't be opened (${code})`, path, cause);
  }
  try {
    const fault = misplaced(await file.stat(), MEMORY_FILE_SYSTEMS.includes((await statfs(path)).type));
    if (fault !== undefined) throw failed(`the credential ${path} ${fault}`, path);
    const content = await readSecret(file, FILE_BYTES_MAX);
    const root = content && decode(content);
    content?.fill(0);
    if (root === undefined)
      throw failed(`the credential ${path} is neither ${ROOT_BYTES} bytes nor 64 hex digits`, path);
    return root;
  } finally {
    await file.close();
  }
}

/**
 * Who else could read or change it. Where the file system can't give a service its own file, systemd leaves root as the owner
 * and adds an ACL for the service's user; an ACL's mask is what stat shows as the mode of the group, which is root's.
 */
function misplaced(stats: Stats, inMemory: boolean): string | undefined {
  if (!stats.isFile()) return 'is not a regular file';
  const { mode, uid, gid } = stats;
  if (uid !== 0 && uid !== process.getuid?.()) return 'belongs to another user';
  if ((mode & 0o022) !== 0) return 'can be changed by others: its mode has to be 0400';
  if ((mode & 0o007) !== 0) return 'can be read by everyone: its mode has to be 0400';
  const masked = inMemory && uid === 0 && gid === 0;
  if ((mode & 0o040) !== 0 && !masked) return 'can be read by its group: its mode has to be 0400';
  return undefined;
}

function decode(content: Uint8Array): Uint8Array | undefined {
  const root = offHeap(ROOT_BYTES);
  if (content.length === ROOT_BYTES) {
    root.set(content);
    return root;
  }
  const digits = content.length === FILE_BYTES_MAX && content.at(-1) === 0x0a ? 2 * ROOT_BYTES : content.length;
  if (digits !== 2 * ROOT_BYTES) return undefined;
  // Digit by digit, since a string couldn't be wiped.
  for (let i = 0; i < ROOT_BYTES; i++) {
    const [high, low] = [hexDigit(content[2 * i]!), hexDigit(content[2 * i + 1]!)];
    if (high === undefined || low === undefined) {
      root.fill(0);
      return undefined;
    }
    root[i] = high * 16 + low;
  }
  return root;
}

function failed(reason: string, path?: string, cause?: unknown): Fault {
  const detail = {
    code: 'key_source_failed' as const,
    source: 'credential',
    reason,
    ...(path !== undefined && { path }),
  };
  return new Fault(detail, cause === undefined ? {} : { cause });
}
